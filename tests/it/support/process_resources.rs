//! What runs on this machine.

use std::fs;
use std::path::Path;

/// The processes that work in a directory or name it in their command line.
pub(crate) fn processes_in(directory: &Path) -> Vec<String> {
    let directory = directory.display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| {
            let place = fs::read_link(process.path().join("cwd")).unwrap_or_default();
            let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let text = format!("{} {}", place.display(), String::from_utf8_lossy(&command));
            text.contains(&directory).then_some(text)
        })
        .collect()
}

/// The memory that a process has in use.
pub(crate) fn memory_kb(pid: u32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.and_then(|text| text.trim().strip_suffix(" kB"));
    memory.and_then(|kb| kb.parse().ok()).expect("a number")
}

/// How many files and connections a process has open.
pub(crate) fn descriptors(pid: u32) -> i64 {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    i64::try_from(files.count()).expect("a number")
}
