//! Detects that a file has changed, so that it is read again: a new password or token is used without a restart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The modification time, length and inode of a file, which show whether the file was written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp(SystemTime, u64, u64);

/// A file, with its modification time, length and inode (the *stamp*) from before it was last read. The stamp is `None`
/// if the file did not exist.
#[derive(Clone, Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    stamp: Option<FileStamp>,
}

impl WatchedFile {
    /// Records the modification time, length and inode that the file has now. Call this before the file is read, so
    /// that no change in between is missed.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            stamp: stamp(path),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file was written or replaced since this value was created. A missing file counts as unchanged,
    /// because it may be about to be replaced.
    pub(crate) fn has_changed(&self) -> bool {
        let now = stamp(&self.path);
        now.is_some() && now != self.stamp
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    let found = fs::metadata(path).ok()?;
    Some(FileStamp(found.modified().ok()?, found.len(), found.ino()))
}

/// Returns the text of a file without the byte order mark that some editors put at its beginning.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Reads a file that holds a secret. Returns its text, trimmed; `None` if nothing is left.
pub(super) fn read(path: &Path) -> std::io::Result<Option<String>> {
    let text = fs::read_to_string(path)?;
    let text = without_mark(&text).trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
