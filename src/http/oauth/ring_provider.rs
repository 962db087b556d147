//! Lets the crate `jsonwebtoken` verify signatures with `ring`, which TLS uses already. Signing is not implemented.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature as by_ring;
use ring::signature::{
    EcdsaVerificationAlgorithm, EdDSAParameters, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

/// The cryptography that `jsonwebtoken` uses. Its functions for private keys are left out, because this process has no
/// private keys.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes `jsonwebtoken` use [`PROVIDER`] in this process. Does nothing if a provider is installed already.
pub(super) fn install() {
    if CryptoProvider::try_get_default().is_none() && PROVIDER.install_default().is_err() {
        tracing::debug!("another thread installed the cryptography of access tokens");
    }
}

/// A signature scheme, with the parameters that `ring` needs to verify it. RSA keys must have 2048 to 8192 bits.
#[derive(Clone, Copy)]
enum RingScheme {
    Rsa(&'static RsaParameters),
    Ecdsa(&'static EcdsaVerificationAlgorithm),
    Ed25519(&'static EdDSAParameters),
}

impl RingScheme {
    fn of(algorithm: Algorithm) -> Option<Self> {
        let known = [
            (
                Algorithm::RS256,
                Self::Rsa(&by_ring::RSA_PKCS1_2048_8192_SHA256),
            ),
            (
                Algorithm::RS384,
                Self::Rsa(&by_ring::RSA_PKCS1_2048_8192_SHA384),
            ),
            (
                Algorithm::RS512,
                Self::Rsa(&by_ring::RSA_PKCS1_2048_8192_SHA512),
            ),
            (
                Algorithm::PS256,
                Self::Rsa(&by_ring::RSA_PSS_2048_8192_SHA256),
            ),
            (
                Algorithm::PS384,
                Self::Rsa(&by_ring::RSA_PSS_2048_8192_SHA384),
            ),
            (
                Algorithm::PS512,
                Self::Rsa(&by_ring::RSA_PSS_2048_8192_SHA512),
            ),
            (
                Algorithm::ES256,
                Self::Ecdsa(&by_ring::ECDSA_P256_SHA256_FIXED),
            ),
            (
                Algorithm::ES384,
                Self::Ecdsa(&by_ring::ECDSA_P384_SHA384_FIXED),
            ),
            (Algorithm::EdDSA, Self::Ed25519(&by_ring::ED25519)),
        ];
        let found = known.into_iter().find(|(name, _)| *name == algorithm);
        found.map(|(_, scheme)| scheme)
    }
}

/// Verifies signatures of one algorithm with one key.
struct RingVerifier {
    algorithm: Algorithm,
    scheme: RingScheme,
    key: DecodingKey,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let scheme = RingScheme::of(*algorithm).filter(|_| key.family() == algorithm.family());
    Ok(Box::new(RingVerifier {
        algorithm: *algorithm,
        scheme: scheme.ok_or_else(|| new_error(ErrorKind::InvalidAlgorithm))?,
        key: key.clone(),
    }))
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), signature::Error> {
        let verified = match (self.scheme, self.key.kind()) {
            (RingScheme::Rsa(rsa), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(rsa, message, signature)
            }
            (RingScheme::Ecdsa(ecdsa), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(ecdsa, key).verify(message, signature)
            }
            (RingScheme::Ed25519(ed25519), DecodingKeyKind::SecretOrDer(key)) => {
                UnparsedPublicKey::new(ed25519, key).verify(message, signature)
            }
            (RingScheme::Rsa(_), DecodingKeyKind::SecretOrDer(_))
            | (
                RingScheme::Ecdsa(_) | RingScheme::Ed25519(_),
                DecodingKeyKind::RsaModulusExponent { .. },
            ) => Err(ring::error::Unspecified),
        };
        verified.map_err(|_unspecified| signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
