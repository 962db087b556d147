//! Finds Postgres server binaries on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server_account::{ServerAccount, run};
use super::{EmbeddedError, blocking, download_directories};

/// Where operating systems install several major versions of Postgres side by side, as pairs of `parent` and `prefix`.
/// The binaries of a version are in `{parent}/{prefix}{major}/bin`.
const VERSIONED: [(&str, &str); 6] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/usr/libexec", "postgresql"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@"),
];

/// A directory with the programs `initdb` and `postgres`, which the account under which servers run can execute.
#[derive(Clone, Debug)]
pub struct PostgresBinaries {
    directory: PathBuf,
    /// The version in the output of `postgres --version`, such as `15.14`.
    version: String,
    major: u32,
}

impl PostgresBinaries {
    /// Finds installed binaries; `None` if there are none. Looks in this order: on the `PATH`, in `pg_config --bindir`,
    /// in the usual directories of operating systems (newest version first), in the directory of our own earlier
    /// download.
    ///
    /// If `explicit` names a directory, looks only there, and returns an error if it has no binaries that can run.
    pub async fn find(explicit: Option<&Path>) -> Result<Option<Self>, EmbeddedError> {
        let explicit = explicit.map(Path::to_owned);
        blocking(move || look(&ServerAccount::current()?, explicit)).await
    }

    /// The major version, such as 15.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The full version, such as `15.14`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the path of one of the programs, such as `psql`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Finds installed binaries that the account can run, in the order that [`PostgresBinaries::find`] describes;
    /// `None` if there are none.
    pub(super) fn installed(account: &ServerAccount) -> Option<Self> {
        let places = on_path().into_iter().chain(pg_config()).chain(versioned());
        let downloads = download_directories::wheel_places(account);
        places
            .chain(downloads)
            .find_map(|place| Self::probe(account, &place))
    }

    /// Returns the binaries in a directory; `None` if they are missing or the account cannot run them.
    pub(super) fn probe(account: &ServerAccount, directory: &Path) -> Option<Self> {
        let postgres = directory.join("postgres");
        if !postgres.is_file() || !directory.join("initdb").is_file() {
            return None;
        }
        let text = run(account.command(&postgres).arg("--version")).ok()?;
        let version = text.split_whitespace().nth(2)?.to_owned();
        let digits = version
            .split(|letter: char| !letter.is_ascii_digit())
            .next()?;
        Some(Self {
            directory: directory.to_owned(),
            major: digits.parse().ok()?,
            version,
        })
    }
}

pub(super) fn look(
    account: &ServerAccount,
    explicit: Option<PathBuf>,
) -> Result<Option<PostgresBinaries>, EmbeddedError> {
    if let Some(directory) = explicit {
        return match PostgresBinaries::probe(account, &directory) {
            None => Err(EmbeddedError::NotThere { directory }),
            found => Ok(found),
        };
    }
    Ok(PostgresBinaries::installed(account))
}

/// Returns the directories of the `postgres` programs on the `PATH`. Follows symbolic links, because only the directory
/// of the real file is sure to have `initdb`, too.
fn on_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter_map(|directory| fs::canonicalize(directory.join("postgres")).ok())
        .filter_map(|program| program.parent().map(Path::to_owned))
        .collect()
}

fn pg_config() -> Option<PathBuf> {
    let text = run(Command::new("pg_config").arg("--bindir")).ok()?;
    Some(PathBuf::from(text.trim()))
}

fn versioned() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix) in VERSIONED {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        found.extend(entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let major = name.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        }));
    }
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, place)| place).collect()
}
