//! The directory of a server: `data` (Postgres's own), `log` (locked while any of its processes
//! lives), `pid` and `exited` (written by the supervisor), `port` (the last one that was good).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::account::{Account, lock, run};
use super::{Binaries, Data, EmbeddedError};

/// A killed process's server goes down in well under this; the next start waits for it.
const RELEASE_TRIES: u32 = 100;
const RELEASE_POLL: std::time::Duration = std::time::Duration::from_millis(100);

/// Makes a server's directory ready to run in, and gives it with its log, locked.
pub(super) fn prepare(
    account: &Account,
    binaries: &Binaries,
    data: &Data,
) -> Result<(PathBuf, File), EmbeddedError> {
    let scratch = account.scratch()?;
    let one_at_a_time = lock(&scratch.join("lock"), true)?;
    sweep(&scratch)?;
    let template = template(account, binaries, &scratch)?;
    let (home, log) = match data {
        Data::Temporary => temporary(account, &scratch)?,
        Data::Persistent(path) => persistent(account, path)?,
    };
    drop(one_at_a_time);
    let cluster = home.join("data");
    if !cluster.exists() {
        copy(account, &template, &cluster)?;
    }
    let made_by = read(&cluster, "PG_VERSION");
    if made_by != binaries.major().to_string() {
        return Err(EmbeddedError::OtherMajor {
            path: home,
            made_by,
            binaries: binaries.major(),
        });
    }
    Ok((home, log))
}

/// A small file's text, empty when it is not there.
pub(super) fn read(directory: &Path, name: &str) -> String {
    let bytes = fs::read(directory.join(name)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

pub(super) fn write(directory: &Path, name: &str, text: &str) -> Result<(), EmbeddedError> {
    let path = directory.join(name);
    fs::write(&path, text).map_err(EmbeddedError::file(path))
}

pub(super) fn remove(directory: &Path, name: &str) -> Result<(), EmbeddedError> {
    let path = directory.join(name);
    fs::remove_file(&path)
        .or_else(gone)
        .map_err(EmbeddedError::file(path))
}

fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

fn temporary(account: &Account, scratch: &Path) -> Result<(PathBuf, File), EmbeddedError> {
    let home = account.private_directory(scratch.join(format!("server-{}", Uuid::now_v7())))?;
    let log = lock(&home.join("log"), false)?;
    log.map(|log| (home.clone(), log))
        .ok_or(EmbeddedError::InUse { path: home })
}

fn persistent(account: &Account, home: &Path) -> Result<(PathBuf, File), EmbeddedError> {
    let parent = home.parent().unwrap_or(home);
    fs::create_dir_all(parent).map_err(EmbeddedError::file(parent))?;
    let home = account.private_directory(home.to_owned())?;
    for _ in 0..RELEASE_TRIES {
        if let Some(log) = lock(&home.join("log"), false)? {
            log.set_len(0).map_err(EmbeddedError::file(&home))?;
            return Ok((home, log));
        }
        std::thread::sleep(RELEASE_POLL);
    }
    Err(EmbeddedError::InUse { path: home })
}

/// Removes the directories of servers none of whose processes lives, which their supervisor could
/// not. Runs under the lock under which new directories get their log.
fn sweep(scratch: &Path) -> Result<(), EmbeddedError> {
    let entries = fs::read_dir(scratch).map_err(EmbeddedError::file(scratch))?;
    for entry in entries.flatten() {
        let home = entry.path();
        let a_server = entry.file_name().to_string_lossy().starts_with("server-");
        // one that is being removed this moment cannot be locked, and needs no sweeping
        if a_server && lock(&home.join("log"), false).is_ok_and(|log| log.is_some()) {
            tracing::info!(path = %home.display(), "removing what a killed run left");
            fs::remove_dir_all(&home)
                .or_else(gone)
                .map_err(EmbeddedError::file(home))?;
        }
    }
    Ok(())
}

/// An empty cluster to copy, made once for each version and account: `initdb` takes a second, a
/// copy a tenth of that.
fn template(
    account: &Account,
    binaries: &Binaries,
    scratch: &Path,
) -> Result<PathBuf, EmbeddedError> {
    let path = scratch.join(format!("template-{}", binaries.version()));
    if path.exists() {
        return Ok(path);
    }
    let half_way = scratch.join("template.new");
    let mut initdb = account.command(binaries.program("initdb"));
    initdb.args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    initdb.args(["--wal-segsize=4", "-D"]).arg(&half_way);
    run(account.command("rm").arg("-rf").arg(&half_way))?;
    run(&mut initdb)?;
    run(account.command("mv").arg(&half_way).arg(&path))?;
    Ok(path)
}

/// Copies a cluster so that a death in the middle leaves nothing that looks like one.
fn copy(account: &Account, template: &Path, cluster: &Path) -> Result<(), EmbeddedError> {
    let half_way = cluster.with_extension("new");
    run(account.command("rm").arg("-rf").arg(&half_way))?;
    run(account
        .command("cp")
        .arg("-Rp")
        .arg(template)
        .arg(&half_way))?;
    run(account.command("mv").arg(&half_way).arg(cluster))?;
    Ok(())
}
