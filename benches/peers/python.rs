//! Tools from PyPI, in a directory of their own beside what cargo builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Where the packages of a tool are.
pub(crate) fn directory(tool: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("peers")
        .join(tool)
}

/// Installs packages for a tool, unless it was done before.
pub(crate) fn install(tool: &str, packages: &[&str]) -> Result<()> {
    let directory = directory(tool);
    let done = directory.join(format!("installed {}", packages.join(" ")));
    if done.exists() {
        return Ok(());
    }
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--upgrade",
        "--only-binary=:all:",
        "--target",
    ]);
    pip.arg(&directory).args(packages);
    pip.env("PIP_ROOT_USER_ACTION", "ignore")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    let output = pip.output().context("there is no python3")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "pip could not install it: {}",
        text.trim_end().lines().next_back().unwrap_or_default()
    );
    Ok(std::fs::write(done, "")?)
}

/// A command with a home of its own and nothing of our environment but the `PATH`.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).current_dir(home);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}
