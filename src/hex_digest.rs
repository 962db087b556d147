//! SHA-256 digests in hexadecimal.

use sha2::{Digest, Sha256};

/// The length of a complete SHA-256 digest, in bytes.
pub(crate) const WHOLE: usize = 32;

/// Returns the first `bytes` bytes of the SHA-256 digest of a text, in hexadecimal.
pub(crate) fn hex_digest(text: &str, bytes: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let bytes = digest.iter().take(bytes);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
