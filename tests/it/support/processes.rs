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
