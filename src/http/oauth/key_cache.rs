//! Caches the public keys of the authorization server, with which access tokens are verified. The keys come from a file
//! or from a URL. Whenever a token arrives, the cache decides whether to read them again:
//!
//! - A file is read again when it has changed.
//! - A URL is fetched for the first token, when the keys are an hour old, and when a token names an unknown key.
//!   Unknown keys cause at most one fetch a minute, so that strangers cannot make this server flood the key server.
//! - While the cache has no keys, it tries to read them at most every 3 s.
//! - If the keys cannot be read again, the former keys stay valid, however old they are.
//! - One fetch runs at a time, in a background task. Only requests whose key is missing wait for it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::Uri;
use jsonwebtoken::Algorithm;
use tokio::sync::watch;

use super::key_set::{KeySet, PublicKey};
use crate::config::{JwksSource, WatchedFile};
use crate::http_client::{MAX_BYTES, fetch};
use crate::shutdown::Shutdown;

/// How old fetched keys may become before they are fetched again.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// While the cache has keys: the shortest time between two fetches for tokens with unknown keys, and the shortest time
/// after a failed fetch until old keys are fetched again.
const PAUSE: Duration = Duration::from_secs(60);
/// The shortest time between two attempts to read the keys while the cache has none. It is short, so that tokens are
/// accepted soon after the keys become readable.
const PAUSE_WITHOUT_KEYS: Duration = Duration::from_secs(3);

/// A handle to the cached keys. Clones share the cache.
#[derive(Clone, Debug)]
pub(super) struct KeyCache(Arc<KeyCacheInner>);

/// What the clones of a [`KeyCache`] share.
#[derive(Debug)]
struct KeyCacheInner {
    source: JwksSource,
    held: Mutex<CachedKeys>,
    /// Notifies the requests that wait for a fetch when the fetch has ended.
    ended: watch::Sender<()>,
    shutdown: Shutdown,
}

/// The keys as last read, and what decides when they are read again.
#[derive(Debug, Default)]
struct CachedKeys {
    keys: Option<KeySet>,
    /// The path of the key file and its state when it was last read, to notice changes; `None` if the keys come from a
    /// URL.
    file: Option<WatchedFile>,
    is_fetching: bool,
    /// When a read of the keys last began, whether or not it succeeded.
    tried: Option<Instant>,
    /// When the keys were last read successfully.
    read: Option<Instant>,
    /// When a fetch was last begun because a token named an unknown key.
    looked_for: Option<Instant>,
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKeyReason {
    /// The cache has keys, but none for this token.
    Key,
    /// The cache has no keys: none could be read so far.
    AllKeys,
}

impl KeyCache {
    /// Creates the cache. If the keys are in a file, reads them at once; a URL is fetched when the first token arrives.
    pub(super) fn new(source: JwksSource, shutdown: &Shutdown) -> Self {
        let mut held = CachedKeys::default();
        if let JwksSource::File(path) = &source {
            held.read_file(path, Instant::now());
        }
        Self(Arc::new(KeyCacheInner {
            source,
            held: Mutex::new(held),
            ended: watch::Sender::new(()),
            shutdown: shutdown.clone(),
        }))
    }

    /// Finds the key with this id for this algorithm. If the key is missing and a fetch is running, waits for the end
    /// of the fetch. `id` is `None` if the token names no key.
    pub(super) async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<PublicKey>, NoKeyReason> {
        // Subscribe before reading the cache, so that the end of a fetch is not missed.
        let mut ended = self.0.ended.subscribe();
        let (found, is_fetching) = self.look(id, algorithm);
        if found.is_ok() || !is_fetching || ended.changed().await.is_err() {
            return found;
        }
        self.held().find(id, algorithm)
    }

    /// Reads the key file again, or begins a fetch of the URL, if that is due. Returns the key as the cache has it now,
    /// and whether a fetch is running.
    fn look(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> (Result<Arc<PublicKey>, NoKeyReason>, bool) {
        let now = Instant::now();
        let mut held = self.held();
        match &self.0.source {
            JwksSource::File(path) => held.read_file_if_due(path, now),
            JwksSource::Url(url) => {
                let is_unknown = held.find(id, algorithm).is_err();
                if held.begin_fetch_if_due(is_unknown, now) {
                    let refreshed = self.clone().refresh(url.clone());
                    self.0.shutdown.tasks().spawn(refreshed);
                }
            }
        }
        (held.find(id, algorithm), held.is_fetching)
    }

    async fn refresh(self, url: Uri) {
        let stopped = self.0.shutdown.token();
        let fetched = stopped.run_until_cancelled(fetch(&url)).await;
        let mut held = self.held();
        held.is_fetching = false;
        match fetched {
            Some(Ok(text)) => held.replace(KeySet::parse(&text)),
            Some(Err(error)) => held.replace(Err(error.to_string())),
            None => {}
        }
        drop(held);
        self.0.ended.send_replace(());
    }

    fn held(&self) -> MutexGuard<'_, CachedKeys> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedKeys {
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<PublicKey>, NoKeyReason> {
        let keys = self.keys.as_ref().ok_or(NoKeyReason::AllKeys)?;
        keys.find(id, algorithm).ok_or(NoKeyReason::Key)
    }

    /// Returns whether a fetch is due. If it is, the caller must begin it; it is marked as running. `is_unknown` says
    /// that a token needs a key that is not in the cache.
    fn begin_fetch_if_due(&mut self, is_unknown: bool, now: Instant) -> bool {
        if self.is_fetching {
            return false;
        }
        let is_over =
            |since: Option<Instant>, pause| since.is_none_or(|since| now - since >= pause);
        let is_due = match &self.keys {
            None => is_over(self.tried, PAUSE_WITHOUT_KEYS),
            Some(_) if is_unknown && is_over(self.looked_for, PAUSE) => {
                self.looked_for = Some(now);
                true
            }
            Some(_) => is_over(self.read, MAX_AGE) && is_over(self.tried, PAUSE),
        };
        if is_due {
            (self.is_fetching, self.tried) = (true, Some(now));
        }
        is_due
    }

    fn read_file_if_due(&mut self, path: &Path, now: Instant) {
        let has_changed = self.file.as_ref().is_some_and(WatchedFile::has_changed);
        let may_try = self
            .tried
            .is_none_or(|tried| now - tried >= PAUSE_WITHOUT_KEYS);
        if has_changed || self.keys.is_none() && may_try {
            self.read_file(path, now);
        }
    }

    fn read_file(&mut self, path: &Path, now: Instant) {
        (self.file, self.tried) = (Some(WatchedFile::new(path)), Some(now));
        let text = read(path).map_err(|error| error.to_string());
        self.replace(text.and_then(|text| KeySet::parse(&text)));
    }

    fn replace(&mut self, read: Result<KeySet, String>) {
        match read {
            Ok(keys) => {
                tracing::info!(keys = keys.len(), "read the keys of METER_SYNC_OAUTH_JWKS");
                (self.keys, self.read) = (Some(keys), Some(Instant::now()));
            }
            Err(why) if self.keys.is_some() => tracing::warn!(
                "the keys of METER_SYNC_OAUTH_JWKS could not be read again, so the former keys count: {why}"
            ),
            Err(why) => tracing::warn!(
                "the keys of METER_SYNC_OAUTH_JWKS could not be read, so no access token counts: {why}"
            ),
        }
    }
}

/// Reads at most 1 MiB of the file. A longer file is cut, so it fails to parse as JSON.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(most).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &[u8] = br#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AQAB"}]}"#;
    const SECOND: Duration = Duration::from_secs(1);

    /// Returns whether a fetch is due at `now`. If one is, treats it as ended at once.
    fn fetches(held: &mut CachedKeys, is_unknown: bool, now: Instant) -> bool {
        let begins = held.begin_fetch_if_due(is_unknown, now);
        held.is_fetching = false;
        begins
    }

    #[test]
    fn keys_are_fetched_each_hour_and_each_minute_at_most_for_unknown_ones() {
        let (mut held, start) = (CachedKeys::default(), Instant::now());
        assert!(held.begin_fetch_if_due(true, start));
        assert!(
            !held.begin_fetch_if_due(true, start + MAX_AGE),
            "one at a time"
        );
        held.is_fetching = false;
        assert!(
            !fetches(&mut held, true, start + SECOND),
            "none yet, and just tried"
        );
        assert!(fetches(&mut held, true, start + PAUSE_WITHOUT_KEYS));
        held.replace(KeySet::parse(SET));
        held.read = Some(start);
        assert!(!fetches(&mut held, false, start + PAUSE));
        assert!(fetches(&mut held, true, start + SECOND * 10));
        assert!(!fetches(&mut held, true, start + SECOND * 69));
        assert!(fetches(&mut held, true, start + SECOND * 70));
        assert!(fetches(&mut held, false, start + MAX_AGE));
        held.replace(Err("it is away".to_owned()));
        assert!(!fetches(&mut held, false, start + MAX_AGE + SECOND * 59));
        assert!(
            fetches(&mut held, false, start + MAX_AGE + PAUSE),
            "it failed"
        );
        assert!(held.find(None, Algorithm::EdDSA).is_ok(), "the former keys");
    }
}
