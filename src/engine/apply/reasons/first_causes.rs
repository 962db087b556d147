//! Finds the first cause of a rejection. A rejected row may need a unique value of another rejected row, which may need
//! a value of a third one, and so on. The first cause is the reason of the last row of this chain.

use std::collections::{HashMap, HashSet};

/// A meter that holds a unique value which another row needs, although the plan would have made the meter give it up.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ValueHolder {
    /// The number of the meter's row in the plan.
    pub(in crate::engine) n: i64,
    /// The meter's key, as shown to people.
    pub(in crate::engine) name: String,
}

/// Returns a text on the first cause of the rejection of `row`, which is added to the row's reason. `holders` maps a
/// row to the meter that holds the value it needs, and `reasons` maps a rejected row to its reason. Returns `None` if
/// `row` needs no value of another row, if that row was not rejected, or if the rows need each other's values in a
/// ring.
pub(in crate::engine) fn first_cause(
    row: i64,
    holders: &HashMap<i64, ValueHolder>,
    reasons: &HashMap<i64, String>,
) -> Option<String> {
    let holder = holders.get(&row)?;
    let (mut last, mut seen) = (holder, HashSet::from([row]));
    let reason = loop {
        let reason = reasons.get(&last.n)?;
        if !seen.insert(last.n) {
            return None;
        }
        match holders.get(&last.n) {
            Some(next) if reasons.contains_key(&next.n) => last = next,
            Some(_) | None => break reason,
        }
    };
    let cause = match last.n == holder.n {
        true => "it was rejected".to_owned(),
        false => format!("meter {} was rejected", last.name),
    };
    Some(format!(
        "meter {} keeps it because {cause}: {reason}",
        holder.name
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{ValueHolder, first_cause};

    #[test]
    fn rows_are_followed_to_the_one_that_waits_for_nobody() {
        let holder = |n: i64| ValueHolder {
            n,
            name: format!("M{n}"),
        };
        let holders = [(1, 2), (2, 3), (4, 5), (5, 4), (6, 7)];
        let holders: HashMap<i64, ValueHolder> = holders.map(|(row, n)| (row, holder(n))).into();
        let reasons = [1, 2, 3, 4, 5, 6].map(|n| (n, format!("reason {n}")));
        let reasons: HashMap<i64, String> = reasons.into();
        let cause = |row| first_cause(row, &holders, &reasons);
        let first = "meter M2 keeps it because meter M3 was rejected: reason 3";
        assert_eq!(cause(1).as_deref(), Some(first));
        let second = "meter M3 keeps it because it was rejected: reason 3";
        assert_eq!(cause(2).as_deref(), Some(second));
        // Row 3 is at fault by itself, row 4 is in a ring, and the holder of row 6 was not rejected.
        assert_eq!([cause(3), cause(4), cause(6)], [None, None, None]);
    }
}
