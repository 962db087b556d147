//! Files of Debian's packages: as installed, else installed as root, else unpacked beside the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A file of a package, and where its package and what that needs lie if they are not installed.
pub(crate) struct PackageFile {
    pub(crate) file: PathBuf,
    unpacked: Option<PathBuf>,
}

impl PackageFile {
    /// What the dynamic linker is to be told for a program that was unpacked.
    pub(crate) fn library_path(&self) -> Option<PathBuf> {
        let root = self.unpacked.as_ref()?;
        // Such as usr/lib/x86_64-linux-gnu.
        folders(&root.join("usr/lib")).find(|folder| folder.to_string_lossy().contains("linux-gnu"))
    }
}

/// One at a time: the package manager takes a lock.
static FETCHING: Mutex<()> = Mutex::new(());

/// The file of `package` that `find` finds below a root.
pub(crate) fn found(package: &str, find: fn(&Path) -> Option<PathBuf>) -> PackageFile {
    let _one = FETCHING.lock().unwrap();
    let installed = || {
        let file = find(Path::new("/"))?;
        let unpacked = None;
        Some(PackageFile { file, unpacked })
    };
    if let Some(found) = installed() {
        return found;
    }
    if rustix::process::geteuid().is_root() {
        // The lists may be older than what can be fetched, or not there.
        for words in [
            &["update"][..],
            &["install", "--no-install-recommends", package],
        ] {
            let mut apt = Command::new("apt-get");
            apt.args(["-y", "-qq"]).args(words);
            apt.env("DEBIAN_FRONTEND", "noninteractive");
            run(&mut apt, package);
        }
        return installed().unwrap_or_else(|| panic!("{package} should be installed now"));
    }
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
    if find(&root).is_none() {
        unpack(package, &root);
    }
    let file = find(&root).unwrap_or_else(|| panic!("{package} should be unpacked now"));
    let unpacked = Some(root);
    PackageFile { file, unpacked }
}

/// Fetches a package and those that are missing for it, and unpacks them; all of which takes no right.
fn unpack(package: &str, root: &Path) {
    let fetched = tempfile::tempdir().unwrap();
    let plan = Command::new("apt-get")
        .args(["-s", "install", "--no-install-recommends", package])
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", needs(package)));
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    let missing = plan
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    let mut download = Command::new("apt-get");
    download.arg("download").args(missing);
    run(download.current_dir(fetched.path()), package);
    for archive in folders(fetched.path()) {
        run(
            Command::new("dpkg").arg("-x").arg(archive).arg(root),
            package,
        );
    }
}

fn run(command: &mut Command, package: &str) {
    let done = command.output();
    let done = done.unwrap_or_else(|error| panic!("{}: {error}", needs(package)));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {said}", needs(package));
}

fn needs(package: &str) -> String {
    format!(
        "this test needs {package}: as root, `apt-get install -y --no-install-recommends {package}`"
    )
}

/// What lies in a folder.
pub(crate) fn folders(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}
