//! What a group's site and members say to each other through the ring of the public overlay: who carries it learns neither
//! the group nor what is said, and who records it cannot play it from or to anywhere else.
//!
//! ```text
//! nonce 12 | AES-256-GCM-SIV of the message | tag 16
//! ```
//! Whoever knows the group's secret can make up an announcement, but not the notices in it, which the authority signed, nor
//! the receipt of another member, which that one signs.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKeyRef, Private};
use openssl::sha::Sha256;
use openssl::sign::{Signer, Verifier};
use openssl::x509::X509;
use zeroize::Zeroize as _;

use super::{Claim, GroupSecret};
use crate::wire::{Address, PacketKind};

const LABEL: &[u8] = b"atoll announcement 1";
const RECEIPT_LABEL: &[u8] = b"atoll announcement receipt 1\n";
const KEY: usize = 32;
const NONCE: usize = 12;
/// Bytes of a nonce.
pub type Once = [u8; NONCE];

/// Which message it is, and between which members of the public overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// An announcement or a receipt.
    pub kind: PacketKind,
    /// Who says it.
    pub from: Address,
    /// To whom.
    pub to: Address,
}

impl Course {
    fn bytes(self) -> Vec<u8> {
        [&[self.kind as u8][..], &self.from.to_bytes(), &self.to.to_bytes()].concat()
    }
}

/// What seals and opens the messages of a group.
pub struct Envelope(LessSafeKey);

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Envelope")
    }
}

impl Envelope {
    /// Of the group with this secret.
    #[must_use]
    pub fn new(secret: &GroupSecret) -> Self {
        let mut bytes = [0; KEY];
        secret.derive(LABEL, &mut bytes);
        let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes).expect("the key has the length of AES-256");
        bytes.zeroize();
        Self(LessSafeKey::new(key))
    }

    /// A message as it travels. The nonce is random.
    #[must_use]
    pub fn seal(&self, course: Course, once: Once, message: &[u8]) -> Vec<u8> {
        let mut bytes = message.to_vec();
        let (nonce, course) = (Nonce::assume_unique_for_key(once), course.bytes());
        let sealed = self.0.seal_in_place_append_tag(nonce, Aad::from(&course), &mut bytes);
        sealed.expect("a message is shorter than 2^36 bytes");
        [&once[..], &bytes].concat()
    }

    /// The message, if whoever knows the secret said it on this course.
    #[must_use]
    pub fn open(&self, course: Course, sealed: &[u8]) -> Option<Vec<u8>> {
        let (once, rest) = sealed.split_first_chunk::<NONCE>()?;
        let (nonce, course, mut bytes) = (Nonce::assume_unique_for_key(*once), course.bytes(), rest.to_vec());
        let plain = self.0.open_in_place(nonce, Aad::from(&course), &mut bytes).ok()?;
        Some(plain.to_vec())
    }
}

/// What a member signs that has these notices. It says so for good: whoever hears it again learns nothing new.
fn statement(notices: &[Vec<u8>]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for notice in notices {
        hash.update(&(notice.len() as u64).to_be_bytes());
        hash.update(notice);
    }
    [RECEIPT_LABEL, &hash.finish()].concat()
}

/// A member's signature that it has these notices.
///
/// # Errors
/// OpenSSL does not work with the key.
pub fn sign_receipt(key: &PKeyRef<Private>, notices: &[Vec<u8>]) -> Result<Vec<u8>, ErrorStack> {
    Signer::new(MessageDigest::sha256(), key)?.sign_oneshot_to_vec(&statement(notices))
}

/// Whether whoever makes this claim signed that it has these notices. A bare address signs nothing: it is for the trust rule
/// to say whether that is enough.
#[must_use]
pub fn holds_receipt(claim: &Claim, notices: &[Vec<u8>], signature: &[u8]) -> bool {
    match claim {
        Claim::Address(_) => signature.is_empty(),
        Claim::Certificate(der) => verify(der, notices, signature).unwrap_or(false),
    }
}

fn verify(der: &[u8], notices: &[Vec<u8>], signature: &[u8]) -> Result<bool, ErrorStack> {
    let key = X509::from_der(der)?.public_key()?;
    Verifier::new(MessageDigest::sha256(), &key)?.verify_oneshot(signature, &statement(notices))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::Credentials;

    fn address(byte: u8) -> Address {
        Address::from_bytes([byte; Address::LEN])
    }

    #[test]
    fn a_message_opens_for_its_group_on_its_course_and_nowhere_else() {
        let [ours, theirs] = [1, 2].map(|secret| Envelope::new(&GroupSecret::new([secret; 32])));
        let course = Course { kind: PacketKind::Announcement, from: address(1), to: address(2) };
        let sealed = ours.seal(course, [7; NONCE], b"message");
        assert_eq!(ours.open(course, &sealed), Some(b"message".to_vec()));
        assert_eq!(theirs.open(course, &sealed), None);
        let elsewhere = [
            Course { kind: PacketKind::Receipt, ..course },
            Course { from: address(3), ..course },
            Course { to: address(3), ..course },
        ];
        assert!(elsewhere.into_iter().all(|other| ours.open(other, &sealed).is_none()));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(ours.open(course, &changed), None, "byte {at}");
            assert_eq!(ours.open(course, &sealed[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn a_receipt_is_for_its_notices_and_by_its_member_alone() {
        let [ours, theirs] = [1, 2].map(|seed| Credentials::derived([seed; 32], "o").unwrap());
        let claim = Claim::Certificate(ours.certificate().to_der().unwrap());
        let notices = [b"one".to_vec(), b"other".to_vec()];
        let signature = sign_receipt(ours.key(), &notices).unwrap();
        assert!(holds_receipt(&claim, &notices, &signature));
        assert!(!holds_receipt(&claim, &[b"oneother".to_vec()], &signature));
        assert!(!holds_receipt(&claim, &notices, &sign_receipt(theirs.key(), &notices).unwrap()));
        assert!(!holds_receipt(&claim, &notices, b""));
        assert!(!holds_receipt(&Claim::Certificate(b"none".to_vec()), &notices, &signature));
        let bare = Claim::Address(address(1));
        assert!(holds_receipt(&bare, &notices, b"") && !holds_receipt(&bare, &notices, b"x"));
    }
}
