//! The wrap around every handshake datagram of a group with a secret.
//!
//! ```text
//! nonce 12 | AES-256-GCM-SIV of the datagram | tag 16
//! ```
//! What does not open gets no answer, and certificates stay inside. A datagram that was recorded opens again: it shows
//! to whoever plays it that a member of some group is here, and nothing else.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::buffer::Buffer;
use crate::rng::Rng;

const KEY: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Bytes that the wrap adds.
pub(super) const OVERHEAD: usize = NONCE + TAG;

const LABEL: &[u8] = b"atoll handshake wrap 1";
const TAG_LABEL: &[u8] = b"atoll overlay tag 1";

/// What the members of a group share beforehand.
#[derive(Clone, ZeroizeOnDrop)]
pub struct GroupSecret([u8; 32]);

impl GroupSecret {
    /// The secret of these bytes, which must be uniform.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What names the overlay on the wire to those who know the secret.
    #[must_use]
    pub fn tag(&self) -> u32 {
        let mut bytes = [0; 4];
        self.derive(TAG_LABEL, &mut bytes);
        u32::from_be_bytes(bytes)
    }

    /// Fills `bytes` with what only those know who know the secret.
    pub(super) fn derive(&self, label: &[u8], bytes: &mut [u8]) {
        let prk = Salt::new(HKDF_SHA256, &[]).extract(&self.0);
        let label = [label];
        let okm = prk.expand(&label, Length(bytes.len())).expect("HKDF-SHA256 gives 8,160 bytes");
        okm.fill(bytes).expect("the buffer has the length that was asked for");
    }
}

impl fmt::Debug for GroupSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupSecret")
    }
}

pub(super) struct Wrap {
    key: LessSafeKey,
    rng: Rng,
}

impl fmt::Debug for Wrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wrap")
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Wrap {
    pub(super) fn new(secret: &GroupSecret, rng: Rng) -> Self {
        let mut bytes = [0; KEY];
        secret.derive(LABEL, &mut bytes);
        let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes).expect("the key has the length of AES-256");
        bytes.zeroize();
        Self { key: LessSafeKey::new(key), rng }
    }

    pub(super) fn seal(&mut self, datagram: &mut Buffer) {
        let mut nonce = [0; NONCE];
        self.rng.fill(&mut nonce);
        let unique = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(unique, Aad::empty(), datagram);
        datagram.extend(tag.expect("a datagram is shorter than 2^36 bytes").as_ref());
        datagram.prepend(&nonce);
    }

    /// Opens in place; false if it was not wrapped with this secret.
    pub(super) fn open(&self, datagram: &mut Buffer) -> bool {
        let Some((nonce, sealed)) = datagram.split_first_chunk_mut::<NONCE>() else { return false };
        let nonce = Nonce::assume_unique_for_key(*nonce);
        if self.key.open_in_place(nonce, Aad::empty(), sealed).is_err() {
            return false;
        }
        datagram.advance(NONCE);
        datagram.truncate(datagram.len() - TAG);
        true
    }
}
