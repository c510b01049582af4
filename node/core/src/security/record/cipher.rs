//! AES-128-GCM over a buffer in place, or the model of it.

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::TAG;
use crate::security::Side;

const KEY: usize = 16;
const IV: usize = 12;

/// The keys of both directions, seen from one end.
#[derive(ZeroizeOnDrop)]
pub struct Keys {
    seal: [u8; KEY + IV],
    open: [u8; KEY + IV],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Bytes that both ends derive.
    pub const LEN: usize = 2 * (KEY + IV);

    /// Splits what both ends derived: the initiator's direction first. The bytes are wiped.
    #[must_use]
    pub fn split(bytes: &mut [u8; Self::LEN], side: Side) -> Self {
        let mut keys = Self { seal: [0; KEY + IV], open: [0; KEY + IV] };
        let (initiator, responder) = bytes.split_at(KEY + IV);
        let (seal, open) = match side {
            Side::Initiator => (initiator, responder),
            Side::Responder => (responder, initiator),
        };
        keys.seal.copy_from_slice(seal);
        keys.open.copy_from_slice(open);
        bytes.zeroize();
        keys
    }

    pub(super) fn ciphers(&self) -> (Cipher, Cipher) {
        (Cipher::new(&self.seal), Cipher::new(&self.open))
    }
}

/// One direction's key.
pub(super) enum Cipher {
    /// The real one.
    Real { key: LessSafeKey, iv: [u8; IV] },
    /// No cryptography: the tag is zero, and so is the padding before it.
    Model { padding: usize },
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real { .. } => "AES-128-GCM",
            Self::Model { .. } => "model",
        })
    }
}

impl Cipher {
    fn new(bytes: &[u8; KEY + IV]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, &bytes[..KEY]).expect("the key has the length of AES-128");
        let mut iv = [0; IV];
        iv.copy_from_slice(&bytes[KEY..]);
        Self::Real { key: LessSafeKey::new(key), iv }
    }

    /// Bytes between a payload and its tag.
    pub(super) fn padding(&self) -> usize {
        match self {
            Self::Real { .. } => 0,
            Self::Model { padding } => *padding,
        }
    }

    /// Encrypts in place and returns the tag.
    pub(super) fn seal(&self, number: u64, context: &[u8], payload: &mut [u8]) -> [u8; TAG] {
        let mut tag = [0; TAG];
        if let Self::Real { key, iv } = self {
            let sealed = key.seal_in_place_separate_tag(nonce(iv, number), Aad::from(context), payload);
            tag.copy_from_slice(sealed.expect("a payload is shorter than 2^36 bytes").as_ref());
        }
        tag
    }

    /// Decrypts in place, the tag at the end included. False if it was not sealed with this key.
    pub(super) fn open(&self, number: u64, context: &[u8], sealed: &mut [u8]) -> bool {
        match self {
            Self::Real { key, iv } => {
                key.open_in_place(nonce(iv, number), Aad::from(context), sealed).is_ok()
            }
            Self::Model { .. } => sealed.ends_with(&[0; TAG]),
        }
    }
}

fn nonce(iv: &[u8; IV], number: u64) -> Nonce {
    let mut bytes = *iv;
    for (byte, mask) in bytes[IV - 8..].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= mask;
    }
    Nonce::assume_unique_for_key(bytes)
}
