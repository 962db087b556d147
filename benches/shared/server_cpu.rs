//! The processor time of a server, from what Linux says in `/proc`.

use std::fs;

/// The unit of times in `/proc`: `USER_HZ`, which is 100 on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processor time of a server so far: of its first process, of those that ended, and of those
/// that run.
pub(crate) fn server_cpu_seconds(pid: u32) -> f64 {
    let running: f64 = children(pid)
        .into_iter()
        .map(|pid| seconds(&read(pid, "stat"), 2))
        .sum();
    running + seconds(&read(pid, "stat"), 4)
}

/// The processes that a process has started and that run.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let children = read(pid, &format!("task/{pid}/children"));
    let pids = children.split_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// A file of a process; empty if there is none.
pub(crate) fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// The sum of the first `count` of utime, stime, cutime and cstime in a `stat` file. The name before
/// them may hold blanks and parentheses.
pub(crate) fn seconds(stat: &str, count: usize) -> f64 {
    let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(count);
    let ticks: f64 = times.filter_map(|time| time.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}
