//! Compares two lists of sums of row hashes. Each sum belongs to a bucket or to a chunk of buckets, and is listed with
//! the number of that bucket or chunk. If a number is not in a list, its sum is 0.

use std::cmp::Ordering;

/// Pairs of the number of a bucket or chunk and its sum, in ascending order.
pub type NumberedSums = Vec<(u32, i64)>;

/// How many buckets form a chunk.
pub const CHUNK: u32 = 64;

/// How many hexadecimal digits the number of a bucket or chunk has in the texts that [`parse`] takes.
const NUMBER_DIGITS: usize = 8;
const SUM_DIGITS: usize = 16;
pub(super) const ENTRY_DIGITS: usize = NUMBER_DIGITS + SUM_DIGITS;

/// Reads pairs of a number and a sum from texts of hexadecimal digits, in which Postgres shows `int4send(number) ||
/// int8send(sum)` after `\x`. Skips entries that do not have this form. Returns the pairs in ascending order.
pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> NumberedSums {
    let mut sums = NumberedSums::new();
    for text in texts {
        let digits = text.trim_start_matches("\\x").as_bytes();
        for entry in digits.chunks_exact(ENTRY_DIGITS) {
            let (n, sum) = entry.split_at(NUMBER_DIGITS);
            let number = |digits| u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
            if let (Some(n), Some(sum)) = (number(n), number(sum)) {
                let n = u32::try_from(n).unwrap_or(u32::MAX);
                sums.push((n, i64::from_ne_bytes(sum.to_ne_bytes())));
            }
        }
    }
    sums.sort_unstable();
    sums
}

/// Returns the numbers whose sums differ between the lists. Both lists must be in ascending order. A number that is not
/// listed has the sum 0.
pub fn unequal(a: &[(u32, i64)], b: &[(u32, i64)]) -> Vec<u32> {
    let differences = differences(a, b);
    differences.iter().map(|(n, _)| *n).collect()
}

/// Like [`unequal`], and also returns the exclusive or of both sums for each number.
pub fn differences(a: &[(u32, i64)], b: &[(u32, i64)]) -> NumberedSums {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut differences = NumberedSums::new();
    loop {
        let (n, here, there) = match (a.peek(), b.peek()) {
            (None, None) => return differences,
            (Some(&&(n, sum)), None) => (n, sum, 0),
            (None, Some(&&(n, sum))) => (n, 0, sum),
            (Some(&&(n, here)), Some(&&(m, there))) => match n.cmp(&m) {
                Ordering::Less => (n, here, 0),
                Ordering::Equal => (n, here, there),
                Ordering::Greater => (m, 0, there),
            },
        };
        a.next_if(|&&(m, _)| m == n);
        b.next_if(|&&(m, _)| m == n);
        if here != there {
            differences.push((n, here ^ there));
        }
    }
}

/// Returns the numbers of the pairs (of a number and a sum) that one list contains more often than the other. Both
/// lists must be in ascending order. They may contain several pairs with the same number, or the same pair several
/// times.
pub fn unmatched(a: &[(u32, i64)], b: &[(u32, i64)]) -> Vec<u32> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut unmatched = Vec::new();
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.cmp(other),
        };
        let single = match order {
            Ordering::Less => a.next(),
            Ordering::Greater => b.next(),
            Ordering::Equal => {
                a.next();
                b.next();
                None
            }
        };
        unmatched.extend(single.map(|(n, _)| *n));
    }
    unmatched.dedup();
    unmatched
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quickcheck::quickcheck;

    use super::*;

    type Map = BTreeMap<u32, i64>;

    fn sums(map: &Map) -> NumberedSums {
        map.iter().map(|(n, sum)| (*n, *sum)).collect()
    }

    fn sorted(mut numbers: Vec<u32>) -> Vec<u32> {
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    quickcheck! {
        fn what_postgres_writes_is_read(map: Map) -> bool {
            let digits: String = map.iter().map(|(n, sum)| format!("{n:08x}{sum:016x}")).collect();
            parse([format!("\\x{digits}").as_str()]) == sums(&map)
        }

        fn numbers_are_unequal_where_a_map_says_so(a: Map, b: Map) -> bool {
            let of = |map: &Map, n: &u32| map.get(n).copied().unwrap_or(0);
            let mut expected = sorted(a.keys().chain(b.keys()).copied().collect());
            expected.retain(|n| of(&a, n) != of(&b, n));
            let differing = expected.iter().map(|n| (*n, of(&a, n) ^ of(&b, n)));
            differences(&sums(&a), &sums(&b)) == differing.collect::<NumberedSums>()
                && unequal(&sums(&a), &sums(&b)) == expected
        }

        fn entries_without_a_match_are_found_as_by_counting(a: Vec<(u8, i8)>, b: Vec<(u8, i8)>) -> bool {
            let entries = |of: &[(u8, i8)]| {
                let few = of.iter().map(|(n, sum)| (u32::from(*n % 4), i64::from(*sum % 3)));
                let mut entries: NumberedSums = few.collect();
                entries.sort_unstable();
                entries
            };
            let (a, b) = (entries(&a), entries(&b));
            let often = |of: &NumberedSums, entry: &(u32, i64)| of.iter().filter(|e| *e == entry).count();
            let is_single = |entry: &&(u32, i64)| often(&a, entry) != often(&b, entry);
            let singles = a.iter().chain(&b).filter(is_single).map(|(n, _)| *n);
            unmatched(&a, &b) == sorted(singles.collect())
        }
    }

    #[test]
    fn what_is_no_sum_is_left_out() {
        assert_eq!(parse(["\\x00", "", "zz"]), NumberedSums::new());
    }
}
