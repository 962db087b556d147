//! Files that are read again when they change: a rotated password or token counts without a restart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What tells that a file was replaced or written: when, how long it is, and which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(SystemTime, u64, u64);

/// A file as it was when it was last read.
#[derive(Clone, Debug)]
pub(crate) struct Reread {
    path: PathBuf,
    stamp: Option<Stamp>,
}

impl Reread {
    /// To be made before the file is read, so that no change in between is missed.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            stamp: stamp(path),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was written or replaced since. A file that is gone is as it was: it may be about to be replaced.
    pub(crate) fn has_changed(&self) -> bool {
        let now = stamp(&self.path);
        now.is_some() && now != self.stamp
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some(Stamp(found.modified().ok()?, found.len(), found.ino()))
}

/// A file's text without the byte order mark that some editors put at its beginning.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The text of a secret's file, without the blanks around it; `None` where it holds none.
pub(super) fn read(path: &Path) -> std::io::Result<Option<String>> {
    let text = fs::read_to_string(path)?;
    let text = without_mark(&text).trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
