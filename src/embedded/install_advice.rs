//! Says how a person can install Postgres on this system.

use std::fs;

/// The file that says which Linux distribution this is
/// (<https://www.freedesktop.org/software/systemd/man/latest/os-release.html>).
const OS_RELEASE: &str = "/etc/os-release";

/// The commands that install Postgres, by distribution: its `ID` in `/etc/os-release`, or an id in its `ID_LIKE`, which
/// names similar distributions.
const COMMANDS: [(&str, &str); 7] = [
    ("debian", "apt-get install postgresql"),
    ("ubuntu", "apt-get install postgresql"),
    ("fedora", "dnf install postgresql-server"),
    ("rhel", "dnf install postgresql-server"),
    ("alpine", "apk add postgresql"),
    ("arch", "pacman -S postgresql"),
    ("suse", "zypper install postgresql-server"),
];

/// Returns how to install Postgres on this system, to end a sentence with, such as "run `sudo apt-get install
/// postgresql`".
pub(super) fn what_to_do() -> String {
    let release = fs::read_to_string(OS_RELEASE).unwrap_or_default();
    what_to_do_on(&release, rustix::process::geteuid().is_root())
}

fn what_to_do_on(release: &str, is_root: bool) -> String {
    if cfg!(target_os = "macos") {
        return "run `brew install postgresql@18`".to_owned();
    }
    let sudo = if is_root { "" } else { "sudo " };
    let known = ids(release).find_map(|id| COMMANDS.iter().find(|(known, _)| *known == id));
    match known {
        Some((_, command)) => format!("run `{sudo}{command}`"),
        None => {
            "install Postgres by this system's package manager, or Python with pip, by which it can be downloaded".to_owned()
        }
    }
}

/// Returns the `ID` in `release`, the text of `/etc/os-release`, then the ids in its `ID_LIKE`.
fn ids(release: &str) -> impl Iterator<Item = &str> {
    let value = |name: &str| {
        let lines = release.lines();
        let found = lines
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == name);
        found.map_or("", |(_, value)| value.trim_matches(['"', '\'']))
    };
    let like = value("ID_LIKE").split_whitespace();
    std::iter::once(value("ID")).chain(like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_that_of_the_system() {
        for (release, is_root, told) in [
            ("ID=debian\n", true, "run `apt-get install postgresql`"),
            (
                "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"",
                false,
                "run `sudo apt-get install postgresql`",
            ),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                false,
                "run `sudo dnf install postgresql-server`",
            ),
            ("ID='alpine'", true, "run `apk add postgresql`"),
            (
                "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"",
                true,
                "run `zypper install postgresql-server`",
            ),
        ] {
            assert_eq!(what_to_do_on(release, is_root), told, "{release}");
        }
        assert!(what_to_do_on("", true).starts_with("install Postgres by"));
    }
}
