//! Signatures that always have the same length, so that the same seed gives datagrams of the same sizes.

use std::sync::Arc;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

/// The most common length of an ECDSA signature over P-256 in DER: every second one has it.
const LENGTH: usize = 71;
/// Signatures made at most until one has that length; all of them miss it once in 2^64.
const SIGNATURES_MAX: usize = 64;

/// A key on P-256 whose signatures are all of one length. Which of them are thrown away depends only on what anybody
/// sees of them, so nothing about the key gets out.
#[derive(Debug)]
pub(super) struct SteadyKey(pub(super) Arc<dyn SigningKey>);

impl SigningKey for SteadyKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(offered).map(|signer| Box::new(Steady(signer)) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.0.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[derive(Debug)]
struct Steady(Box<dyn Signer>);

impl Signer for Steady {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        for _ in 1..SIGNATURES_MAX {
            let signature = self.0.sign(message)?;
            if signature.len() == LENGTH {
                return Ok(signature);
            }
        }
        self.0.sign(message)
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}
