//! What the process itself computes: what sums tell apart, and the cron line. `cargo bench --bench pure`.

use std::hint::black_box;

use anyhow::Result;
use chrono::{DateTime, Utc};
use criterion::Criterion;
use meter_sync::config::Schedule;
use meter_sync::engine::compare_sums::{self, NumberedSums};

/// As many buckets as a run ever makes.
const BUCKETS: u32 = 65_536;

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    bucket_sums(&mut criterion);
    schedule(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// Sums of all buckets; those whose number is divisible by `other` are not as those of another side.
fn some(other: u32) -> NumberedSums {
    let sum =
        |n: u32| i64::from(n.wrapping_mul(2_654_435_761)) << u32::from(n.is_multiple_of(other));
    (0..BUCKETS).map(|n| (n, sum(n))).collect()
}

fn bucket_sums(criterion: &mut Criterion) {
    let (a, b) = (some(100), some(101));
    let digits: String = a
        .iter()
        .map(|(n, sum)| format!("{n:08x}{sum:016x}"))
        .collect();
    let mut group = criterion.benchmark_group("sums of 65,536 buckets");
    group.bench_function("read", |bench| {
        bench.iter(|| compare_sums::parse([black_box(digits.as_str())]));
    });
    group.bench_function("unequal", |bench| {
        bench.iter(|| compare_sums::unequal(black_box(&a), black_box(&b)));
    });
    group.bench_function("unmatched", |bench| {
        bench.iter(|| compare_sums::unmatched(black_box(&a), black_box(&b)));
    });
    group.finish();
}

fn schedule(criterion: &mut Criterion) -> Result<()> {
    let zone = chrono_tz::Europe::Berlin;
    let now: DateTime<Utc> = "2026-10-24T22:30:00Z".parse()?;
    let hourly = Schedule::parse("0 * * * *", zone)?;
    criterion.bench_function("parse a cron line", |bench| {
        bench.iter(|| Schedule::parse(black_box("*/15 6-18 * * 1-5"), zone));
    });
    criterion.bench_function("the next hour on the day the clock goes back", |bench| {
        bench.iter(|| hourly.next_after(black_box(now)));
    });
    Ok(())
}
