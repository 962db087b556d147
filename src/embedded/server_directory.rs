//! Prepares and removes the directory of a server. The directory contains:
//!
//! - `made-by-meter-sync`: an empty file that marks the directory as created by this program. Without it, nothing in
//!   the directory is changed.
//! - `data`: Postgres's own data directory.
//! - `log`: the server's log. It is locked while any process of the server runs.
//! - `port`, `pid` and `exited`: written by the supervisor, the shell that runs the server.
//! - `password`: the server's password, if it requires one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use etcetera::BaseStrategy;
use uuid::Uuid;

use super::server_account::{ServerAccount, run};
use super::{EmbeddedError, FileErrorContext, PostgresBinaries, blocking};

/// How many times to try to lock the log, with a pause of [`RELEASE_POLL`] in between: 5 s in all. The server of a
/// killed process stops and releases the log within that time.
const RELEASE_TRIES: u32 = 50;
const RELEASE_POLL: std::time::Duration = std::time::Duration::from_millis(100);

/// The name of the file with the server's password. It exists only if the server requires a password.
pub(super) const PASSWORD: &str = "password";

/// Where a server keeps its data, and whether the data outlives the server.
#[derive(Clone, Debug)]
pub enum DataDirectory {
    /// A new directory, in shared memory if there is room. It is removed when the server stops, and does not survive a
    /// power cut. Every program that can connect to the loopback port can read and write the data without a password.
    Temporary,
    /// This directory, which is created if it does not exist and kept for the next start. Connections need a password.
    Persistent(PathBuf),
}

impl DataDirectory {
    /// Returns the persistent directory `meter-sync/{name}` inside the user's data directory, such as `~/.local/share`.
    /// For root, it is inside `/var/lib`, because the account under which the servers then run cannot enter root's
    /// home.
    pub fn kept(name: &str) -> Result<Self, EmbeddedError> {
        let parent = if rustix::process::geteuid().is_root() {
            PathBuf::from("/var/lib")
        } else {
            let base = etcetera::choose_base_strategy();
            let base = base.map_err(|error| EmbeddedError::Account {
                reason: error.to_string(),
            })?;
            base.data_dir()
        };
        Ok(Self::Persistent(parent.join("meter-sync").join(name)))
    }

    /// Returns an error if this is a persistent directory that is not empty and that this program did not create.
    pub fn refuse_foreign(&self) -> Result<(), EmbeddedError> {
        match self {
            Self::Temporary => Ok(()),
            Self::Persistent(home) => refuse_foreign(home),
        }
    }

    /// Removes a persistent directory, for a fresh start. Returns an error if a server uses it, or if this program did
    /// not create it. Does nothing for a temporary one.
    pub async fn erase(&self) -> Result<(), EmbeddedError> {
        match self.clone() {
            Self::Temporary => Ok(()),
            Self::Persistent(home) => blocking(move || erase(&home)).await,
        }
    }
}

/// Prepares the directory of a server, and creates a database cluster in it if there is none. Returns the path of the
/// directory, and the server's log file, which is locked.
pub(super) fn prepare(
    account: &ServerAccount,
    binaries: &PostgresBinaries,
    data: &DataDirectory,
) -> Result<(PathBuf, File), EmbeddedError> {
    match data {
        DataDirectory::Temporary => temporary(account, binaries),
        DataDirectory::Persistent(home) => persistent(account, binaries, home),
    }
}

/// The name of the file that marks a directory as created by this program. Only such a directory may be removed.
const MARKER: &str = "made-by-meter-sync";

/// Returns an error if the directory `home` is not empty and this program did not create it.
pub(super) fn refuse_foreign(home: &Path) -> Result<(), EmbeddedError> {
    if home.join(MARKER).exists() {
        return Ok(());
    }
    let is_empty = match fs::read_dir(home) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(EmbeddedError::file(home, error)),
    };
    if is_empty {
        return Ok(());
    }
    Err(EmbeddedError::Foreign {
        path: home.to_owned(),
    })
}

/// Creates and marks a server's directory, or reuses one that this program created before. Error if something else is
/// there.
fn create_marked_directory(
    account: &ServerAccount,
    home: PathBuf,
) -> Result<PathBuf, EmbeddedError> {
    refuse_foreign(&home)?;
    let home = account.private_directory(home)?;
    let marker = home.join(MARKER);
    fs::write(&marker, "").of_file(marker)?;
    Ok(home)
}

/// Removes a server's directory, if it exists. Returns an error if a server uses it, or if this program did not create
/// it.
pub(super) fn erase(home: &Path) -> Result<(), EmbeddedError> {
    refuse_foreign(home)?;
    if !home.exists() {
        return Ok(());
    }
    let _log = released_log(&ServerAccount::current()?, home)?;
    fs::remove_dir_all(home).of_file(home)
}

/// Returns the text of a small file, without blanks at its ends; empty if the file cannot be read.
pub(super) fn read(directory: &Path, name: &str) -> String {
    let bytes = fs::read(directory.join(name)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

pub(super) fn remove(directory: &Path, name: &str) -> Result<(), EmbeddedError> {
    let path = directory.join(name);
    fs::remove_file(&path).or_else(gone).of_file(path)
}

fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

fn temporary(
    account: &ServerAccount,
    binaries: &PostgresBinaries,
) -> Result<(PathBuf, File), EmbeddedError> {
    let scratch = account.scratch()?;
    let one_at_a_time = account.lock(&scratch.join("lock"), true)?;
    remove_leftovers(account, &scratch)?;
    let template = template(account, binaries, &scratch)?;
    let home =
        create_marked_directory(account, scratch.join(format!("server-{}", Uuid::now_v7())))?;
    let log = account.lock(&home.join("log"), false)?;
    drop(one_at_a_time);
    run(account
        .command("cp")
        .arg("-Rp")
        .arg(template)
        .arg(home.join("data")))?;
    match log {
        Some(log) => Ok((home, log)),
        None => Err(EmbeddedError::InUse { path: home }),
    }
}

fn persistent(
    account: &ServerAccount,
    binaries: &PostgresBinaries,
    home: &Path,
) -> Result<(PathBuf, File), EmbeddedError> {
    let parent = home.parent().unwrap_or(home);
    if !parent.exists() {
        let above = parent.parent().unwrap_or(parent);
        fs::create_dir_all(above).of_file(above)?;
        account.private_directory(parent.to_owned())?;
    }
    let home = create_marked_directory(account, home.to_owned())?;
    let log = released_log(account, &home)?;
    let cluster = home.join("data");
    if !cluster.exists() {
        let password = home.join(PASSWORD);
        let random = "umask 077; od -An -N16 -tx1 /dev/urandom | tr -d ' \\n' >\"$1\"";
        run(account
            .command("/bin/sh")
            .args(["-c", random, "sh"])
            .arg(&password))?;
        let mut careful = initdb(account, binaries);
        careful
            .args(["-A", "scram-sha-256", "--pwfile"])
            .arg(&password);
        initialise(account, careful, &cluster)?;
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

/// Locks the server's log and empties it. Waits up to 5 s for the lock, because a server whose process was just killed
/// holds it until it has stopped. Error if the lock is still held.
fn released_log(account: &ServerAccount, home: &Path) -> Result<File, EmbeddedError> {
    for _ in 0..RELEASE_TRIES {
        if let Some(log) = account.lock(&home.join("log"), false)? {
            log.set_len(0).of_file(home)?;
            return Ok(log);
        }
        std::thread::sleep(RELEASE_POLL);
    }
    Err(EmbeddedError::InUse {
        path: home.to_owned(),
    })
}

/// Removes what killed temporary servers left: directories in `scratch` whose log no process has locked. The caller
/// must hold the lock of `scratch`. A new server creates its directory and locks its log while it holds that lock, so
/// its directory is never removed.
fn remove_leftovers(account: &ServerAccount, scratch: &Path) -> Result<(), EmbeddedError> {
    let entries = fs::read_dir(scratch).of_file(scratch)?;
    for entry in entries.flatten() {
        let home = entry.path();
        let a_server = entry.file_name().to_string_lossy().starts_with("server-");
        // If another process is removing the directory at this moment, the lock fails, and there is nothing to do.
        if a_server
            && home.join(MARKER).exists()
            && account
                .lock(&home.join("log"), false)
                .is_ok_and(|log| log.is_some())
        {
            tracing::info!(path = %home.display(), "removing what a killed run left");
            fs::remove_dir_all(&home).or_else(gone).of_file(home)?;
        }
    }
    Ok(())
}

/// Returns the path of an empty database cluster, which each new temporary server copies. Creates it once for each
/// Postgres version and account: `initdb` takes a second, a copy a tenth of that.
fn template(
    account: &ServerAccount,
    binaries: &PostgresBinaries,
    scratch: &Path,
) -> Result<PathBuf, EmbeddedError> {
    let path = scratch.join(format!("template-{}", binaries.version()));
    if !path.exists() {
        let mut hasty = initdb(account, binaries);
        hasty.args(["-A", "trust", "--no-sync"]);
        initialise(account, hasty, &path)?;
    }
    Ok(path)
}

fn initdb(account: &ServerAccount, binaries: &PostgresBinaries) -> Command {
    let mut command = account.command(binaries.program("initdb"));
    command.args([
        "-U",
        "postgres",
        "-E",
        "UTF8",
        "--locale=C",
        "--wal-segsize=4",
    ]);
    command
}

/// Creates a database cluster under a temporary name and then renames it to `path`, so that a crash in the middle
/// leaves nothing that looks like a complete cluster.
fn initialise(
    account: &ServerAccount,
    mut initdb: Command,
    path: &Path,
) -> Result<(), EmbeddedError> {
    let half_way = path.with_file_name("half-way");
    run(account.command("rm").arg("-rf").arg(&half_way))?;
    run(initdb.arg("-D").arg(&half_way))?;
    run(account.command("mv").arg(&half_way).arg(path)).map(drop)
}
