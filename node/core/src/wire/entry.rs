//! What the DHT holds: keys, and the values under them with their leases and proofs.

use openssl::sha::{Sha256, sha256};

use super::Address;
use super::address::Distance;
use super::codec::{Malformed, Reader, Write};
use crate::buffer::Buffer;

/// Bytes of a value at most.
pub const VALUE_MAX: usize = 1024;
/// Bytes of a value under an owned key at most: together with its proof it is no longer than any other.
pub const OWNED_VALUE_MAX: usize = 832;
/// Points of the ring at which each key is held.
pub const POINTS: usize = 3;

const PLACE_LABEL: &[u8] = b"atoll dht place 1";
const NAME_LABEL: &[u8] = b"atoll dht name 1";
const MARK_LABEL: &[u8] = b"atoll dht mark 1";
/// Bytes of a public key and of a signature at most (P-256, DER).
const PUBLIC_MAX: usize = 91;
const SIGNATURE_MAX: usize = 72;

const PLAIN: u8 = 0;
const CREATED: u8 = 1;
const OWNED: u8 = 2;

/// What values are found by. Its kind is mixed into its place, so no value of one kind of key is ever found under another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Anybody may put values under it.
    Plain([u8; Address::LEN]),
    /// Only whoever holds the private key of `owner` may put a value under it.
    Owned {
        /// The address that belongs to the public key.
        owner: Address,
        /// Which of the owner's keys.
        name: [u8; Address::LEN],
    },
}

impl Key {
    /// The key that everybody gets from this text.
    #[must_use]
    pub fn named(text: &str) -> Self {
        Self::Plain(name(text))
    }

    /// The key that everybody gets from this text and the address of its owner.
    #[must_use]
    pub fn owned(owner: Address, text: &str) -> Self {
        Self::Owned { owner, name: name(text) }
    }

    /// The key's place on the ring, which is its first point.
    #[must_use]
    pub fn place(&self) -> Address {
        let mut hash = Sha256::new();
        hash.update(PLACE_LABEL);
        match self {
            Self::Plain(name) => {
                hash.update(&[PLAIN]);
                hash.update(name);
            }
            Self::Owned { owner, name } => {
                hash.update(&[OWNED]);
                hash.update(&owner.to_bytes());
                hash.update(name);
            }
        }
        Address::from_bytes(front(hash.finish()))
    }

    pub(super) fn write(&self, body: &mut Buffer) {
        match self {
            Self::Plain(name) => {
                body.put_u8(PLAIN);
                body.put(name);
            }
            Self::Owned { owner, name } => {
                body.put_u8(OWNED);
                body.put_address(*owner);
                body.put(name);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            PLAIN => Ok(Self::Plain(reader.address()?.to_bytes())),
            OWNED => Ok(Self::Owned { owner: reader.address()?, name: reader.address()?.to_bytes() }),
            _ => Err(Malformed),
        }
    }
}

/// The points of a key with this place: a third of the ring from each other.
#[must_use]
pub fn points(place: Address) -> [Address; POINTS] {
    let third: Distance =
        Address::from_bytes([0; Address::LEN]).clockwise(Address::from_bytes([0x55; Address::LEN]));
    let second = place.plus(third);
    [place, second, second.plus(third)]
}

fn name(text: &str) -> [u8; Address::LEN] {
    let mut hash = Sha256::new();
    hash.update(NAME_LABEL);
    hash.update(text.as_bytes());
    front(hash.finish())
}

fn front<const N: usize>(hash: [u8; 32]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&hash[..N]);
    bytes
}

/// Names a value under its key, and orders it among the others there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u128);

/// That the owner of a key put a value there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The owner's public key (DER, `SubjectPublicKeyInfo`).
    pub public: Vec<u8>,
    /// A value with a higher one replaces it.
    pub sequence: u64,
    /// The lease that was signed, in milliseconds; no holder grants more.
    pub lease: u32,
    /// ECDSA with SHA-256 (DER).
    pub signature: Vec<u8>,
}

/// A value, and what it is beyond that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One of many under its key.
    Plain {
        /// The value.
        value: Vec<u8>,
    },
    /// The only one under its key: the first writer won.
    Created {
        /// The value.
        value: Vec<u8>,
        /// Who that was, as its packet said.
        creator: Address,
    },
    /// The only one under an owned key.
    Owned {
        /// The value.
        value: Vec<u8>,
        /// That it is the owner's.
        proof: Proof,
    },
}

impl Content {
    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        match self {
            Self::Plain { value } | Self::Created { value, .. } | Self::Owned { value, .. } => value,
        }
    }

    /// Names the value under its key. Owned ones of different sequence numbers are different.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let mut hash = Sha256::new();
        hash.update(MARK_LABEL);
        match self {
            Self::Plain { .. } => hash.update(&[PLAIN]),
            Self::Created { creator, .. } => {
                hash.update(&[CREATED]);
                hash.update(&creator.to_bytes());
            }
            Self::Owned { proof, .. } => {
                hash.update(&[OWNED]);
                hash.update(&proof.sequence.to_be_bytes());
            }
        }
        hash.update(&sha256(self.value()));
        Mark(u128::from_be_bytes(front(hash.finish())))
    }

    /// Whether such a content belongs under this kind of key, and is not too long.
    #[must_use]
    pub fn fits(&self, key: &Key) -> bool {
        match (self, key) {
            (Self::Plain { value } | Self::Created { value, .. }, Key::Plain(_)) => value.len() <= VALUE_MAX,
            (Self::Owned { value, .. }, Key::Owned { .. }) => value.len() <= OWNED_VALUE_MAX,
            _ => false,
        }
    }
}

/// A value on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Names the writing that gave the value its lease; the same at all points.
    pub stamp: u32,
    /// What is left of the lease, in milliseconds.
    pub lease: u32,
    /// The value.
    pub content: Content,
}

impl Item {
    /// Bytes on the wire.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        let more = match &self.content {
            Content::Plain { .. } => 0,
            Content::Created { .. } => Address::LEN,
            Content::Owned { proof, .. } => 14 + proof.public.len() + proof.signature.len(),
        };
        11 + self.content.value().len() + more
    }

    pub(super) fn write(&self, body: &mut Buffer) {
        body.put_u32(self.stamp);
        body.put_u32(self.lease);
        match &self.content {
            Content::Plain { .. } => body.put_u8(PLAIN),
            Content::Created { creator, .. } => {
                body.put_u8(CREATED);
                body.put_address(*creator);
            }
            Content::Owned { proof, .. } => {
                body.put_u8(OWNED);
                write_proof(proof, body);
            }
        }
        write_value(self.content.value(), body);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (stamp, lease) = (reader.u32()?, reader.u32()?);
        let content = match reader.u8()? {
            PLAIN => Content::Plain { value: read_value(reader)? },
            CREATED => {
                let creator = reader.address()?;
                Content::Created { creator, value: read_value(reader)? }
            }
            OWNED => {
                let proof = read_proof(reader)?;
                Content::Owned { proof, value: read_value(reader)? }
            }
            _ => return Err(Malformed),
        };
        Ok(Self { stamp, lease, content })
    }
}

pub(super) fn write_value(value: &[u8], body: &mut Buffer) {
    let value = &value[..value.len().min(VALUE_MAX)];
    body.put_u16(value.len() as u16);
    body.put(value);
}

pub(super) fn read_value(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    match usize::from(reader.u16()?) {
        len if len <= VALUE_MAX => Ok(reader.take(len)?.to_vec()),
        _ => Err(Malformed),
    }
}

fn write_proof(proof: &Proof, body: &mut Buffer) {
    body.put_u64(proof.sequence);
    body.put_u32(proof.lease);
    write_short(&proof.public, PUBLIC_MAX, body);
    write_short(&proof.signature, SIGNATURE_MAX, body);
}

fn read_proof(reader: &mut Reader<'_>) -> Result<Proof, Malformed> {
    Ok(Proof {
        sequence: reader.u64()?,
        lease: reader.u32()?,
        public: read_short(reader, PUBLIC_MAX)?,
        signature: read_short(reader, SIGNATURE_MAX)?,
    })
}

fn write_short(bytes: &[u8], max: usize, body: &mut Buffer) {
    let bytes = &bytes[..bytes.len().min(max)];
    body.put_u8(bytes.len() as u8);
    body.put(bytes);
}

fn read_short(reader: &mut Reader<'_>, max: usize) -> Result<Vec<u8>, Malformed> {
    match usize::from(reader.u8()?) {
        len if len <= max => Ok(reader.take(len)?.to_vec()),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_kinds_have_different_places() {
        let owner = Address::from_bytes([7; Address::LEN]);
        let keys = [
            Key::named("a"),
            Key::named("b"),
            Key::owned(owner, "a"),
            Key::owned(owner, "b"),
            Key::owned(Address::from_bytes([8; Address::LEN]), "a"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(keys[..at].iter().all(|other| other.place() != key.place()), "{key:?}");
        }
    }

    #[test]
    fn points_are_a_third_of_the_ring_apart() {
        let points = points(Key::named("a").place());
        for (one, next) in [(0, 1), (1, 2), (2, 0)] {
            let share = points[one].clockwise(points[next]).fraction();
            assert!((share - 1.0 / 3.0).abs() < 1e-9, "{share}");
        }
    }

    #[test]
    fn a_value_with_its_proof_is_no_longer_than_the_longest_without() {
        let proof =
            Proof { public: vec![1; PUBLIC_MAX], sequence: 1, lease: 1, signature: vec![1; SIGNATURE_MAX] };
        let owned = Content::Owned { value: vec![1; OWNED_VALUE_MAX], proof };
        let plain = Content::Plain { value: vec![1; VALUE_MAX] };
        let len = |content| Item { stamp: 1, lease: 1, content }.wire_len();
        assert!(len(owned) <= len(plain));
    }
}
