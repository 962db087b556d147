//! The operating system account that servers run under. This module runs commands as that account, and creates
//! directories that only that account may enter.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, OFlags};

use super::{EmbeddedError, FileErrorContext};

/// How many bytes must be free in shared memory (`/dev/shm`) for temporary servers to keep their data there.
const SHARED_MEMORY_FREE: u64 = 1 << 30;

/// The operating system account that Postgres runs under. It is never root, because Postgres refuses to run as root.
#[derive(Clone, Debug)]
pub(super) struct ServerAccount {
    uid: u32,
    gid: u32,
    /// Whether commands must switch to this account, because this process is root.
    must_switch_user: bool,
}

impl ServerAccount {
    /// Returns the account of this process or, if that is root, the account `postgres`, or else `nobody`. Error if
    /// there is no such account, or if it is not in `/etc/passwd`.
    pub(super) fn current() -> Result<Self, EmbeddedError> {
        let uid = rustix::process::geteuid().as_raw();
        if uid != 0 {
            // `initdb` looks up the user's name, and its own error message does not say what to do.
            id(&["-u", "-n"]).ok_or_else(|| EmbeddedError::Account {
                reason: format!("user id {uid} has no entry in /etc/passwd, which initdb needs; add one, or run as another user or as root"),
            })?;
            let gid = rustix::process::getegid().as_raw();
            return Ok(Self {
                uid,
                gid,
                must_switch_user: false,
            });
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| {
                let uid = id(&["-u", name])?.parse().ok()?;
                let gid = id(&["-g", name])?.parse().ok()?;
                Some(Self { uid, gid, must_switch_user: true })
            })
            .ok_or_else(|| EmbeddedError::Account {
                reason: "it refuses root, and there is neither a user `postgres` nor `nobody`; add one of them".to_owned(),
            })
    }

    pub(super) fn is_stand_in_for_root(&self) -> bool {
        self.must_switch_user
    }

    /// Returns a command that runs as this account. From the environment of this process, it inherits only `PATH`.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().envs([("LC_ALL", "C"), ("TZ", "UTC")]);
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.current_dir("/").stdin(Stdio::null());
        if self.must_switch_user {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Returns the private directory in which temporary servers keep their data, and creates it if it does not exist:
    /// in shared memory if enough is free, otherwise in the temporary directory.
    pub(super) fn scratch(&self) -> Result<PathBuf, EmbeddedError> {
        let memory = Path::new("/dev/shm");
        let roomy = rustix::fs::statvfs(memory)
            .is_ok_and(|free| free.f_bavail.saturating_mul(free.f_frsize) > SHARED_MEMORY_FREE);
        let parent = if roomy {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        self.private_in(&parent)
    }

    /// Returns this account's private directory inside `parent`, which other accounts use, too. Creates it if it does
    /// not exist.
    pub(super) fn private_in(&self, parent: &Path) -> Result<PathBuf, EmbeddedError> {
        self.private_directory(parent.join(format!("meter-sync-{}", self.uid)))
    }

    /// Creates a directory that only this account may enter. If the path exists, returns an error unless it is such a
    /// directory: in a shared `/tmp`, another user may have created a directory or a link with this name.
    pub(super) fn private_directory(&self, path: PathBuf) -> Result<PathBuf, EmbeddedError> {
        let check = || {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let found = fs::symlink_metadata(&path)?;
            let ours = found.uid() == self.uid || (self.must_switch_user && found.uid() == 0);
            if !found.is_dir() || !ours || found.mode() & 0o077 != 0 {
                return Err(io::Error::other(
                    "it is not a private directory of this account",
                ));
            }
            if self.must_switch_user {
                std::os::unix::fs::lchown(&path, Some(self.uid), Some(self.gid))?;
            }
            Ok(())
        };
        check().of_file(&path)?;
        Ok(path)
    }

    /// Opens a file of this account for appending, and locks it. If another process holds the lock, waits for it, or
    /// returns `None` if `wait` is false.
    ///
    /// The lock lasts until this process and all child processes that inherited the open file have closed it. So a
    /// server that writes its output to the file holds the lock while it runs.
    pub(super) fn lock(&self, path: &Path, wait: bool) -> Result<Option<File>, EmbeddedError> {
        let operation = if wait {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        let open = || {
            let mut options = File::options();
            let no_link = OFlags::NOFOLLOW.bits().cast_signed();
            options
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(no_link);
            let file = options.open(path)?;
            if self.must_switch_user {
                std::os::unix::fs::fchown(&file, Some(self.uid), Some(self.gid))?;
            }
            Ok(file)
        };
        let file = open().of_file(path)?;
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(EmbeddedError::file(path, error.into())),
        }
    }
}

/// Runs a command to its end and returns its standard output. Error if the command cannot be run, or exits with a code
/// other than 0.
pub(super) fn run(command: &mut Command) -> Result<String, EmbeddedError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |output| EmbeddedError::Command {
        program: program.clone(),
        output,
    };
    let done = command.output().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            let program = program.clone();
            return EmbeddedError::Missing { program };
        }
        failed(error.to_string())
    })?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let text = [done.stdout, done.stderr].concat();
    Err(failed(last_lines(&String::from_utf8_lossy(&text), 10)))
}

/// Returns the last `count` lines of a text.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines
        .get(lines.len().saturating_sub(count)..)
        .unwrap_or_default()
        .join("\n")
}

fn id(arguments: &[&str]) -> Option<String> {
    let text = run(Command::new("id").args(arguments)).ok()?;
    Some(text.trim().to_owned())
}
