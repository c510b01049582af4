//! What the members of a group put into the DHT of another overlay to be found, and where: both follow from the secret, and
//! from the salt that the group has since somebody was revoked.
//!
//! Whoever holds an entry there sees who wrote it and how long it is, and neither the group nor the member. The same member
//! writes the same bytes each time, so that a renewal is one: the cipher takes that well (RFC 8452 section 9).

use std::fmt;
use std::net::SocketAddr;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize as _;

use super::{Epoch, GroupSecret};
use crate::wire::Address;
use crate::wire::codec::{Malformed, Reader, Write as _};

const ENTRY_LABEL: &[u8] = b"atoll discovery entry 1";
const PLACE_LABEL: &[u8] = b"atoll discovery place 1";
const KEY: usize = 32;
const NONCE: [u8; 12] = [0; 12];

/// Bytes of a transport address, or of none, in an entry: all entries are of one length.
const TRANSPORT_LEN: usize = 19;
/// Keys that the entries of a group stand under; a newcomer reads one, and another if that one is empty.
pub const SHARDS: u64 = 2;
/// Bytes of a sealed entry.
pub const ENTRY_LEN: usize = 2 * Address::LEN + TRANSPORT_LEN + 16;

/// A member of a group: who it is there, and who it is in the overlay that it is found through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its address in the group's overlay.
    pub member: Address,
    /// Its address in the overlay whose DHT holds the entry.
    pub public: Address,
    /// Where strangers may reach it over UDP, if no NAT is in front of it.
    pub transport: Option<SocketAddr>,
}

/// The entries of a group in one epoch of its secret.
pub struct Entries {
    secret: GroupSecret,
    /// What stands behind each label.
    epoch: Vec<u8>,
    key: LessSafeKey,
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
    }
}

impl Entries {
    /// The entries of an epoch, which has a number of the configuration's and the salt since the last notice, if there is
    /// one; members of another epoch neither find nor read them.
    #[must_use]
    pub fn new(secret: GroupSecret, number: u64, salted: Option<Epoch>) -> Self {
        let mut epoch = number.to_be_bytes().to_vec();
        if let Some(Epoch { number, salt }) = salted {
            epoch.extend(number.to_be_bytes());
            epoch.extend(salt.0);
        }
        let mut bytes = [0; KEY];
        secret.derive(&[ENTRY_LABEL, &epoch].concat(), &mut bytes);
        let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes).expect("the key has the length of AES-256");
        bytes.zeroize();
        Self { secret, epoch, key: LessSafeKey::new(key) }
    }

    /// The key in the DHT under which a shard of the group's entries stands.
    #[must_use]
    pub fn place(&self, shard: u64) -> [u8; Address::LEN] {
        let mut bytes = [0; Address::LEN];
        // The parts have one length for each kind of epoch: none reads like another.
        let label = [PLACE_LABEL, &self.epoch, &shard.to_be_bytes()].concat();
        self.secret.derive(&label, &mut bytes);
        bytes
    }

    /// An entry as the DHT holds it.
    #[must_use]
    pub fn seal(&self, entry: Entry) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRY_LEN);
        bytes.extend(entry.member.to_bytes());
        bytes.extend(entry.public.to_bytes());
        match entry.transport {
            Some(transport) => bytes.put_transport(transport),
            None => bytes.put_u8(0),
        }
        bytes.resize(ENTRY_LEN - 16, 0);
        let nonce = Nonce::assume_unique_for_key(NONCE);
        let sealed = self.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes);
        sealed.expect("an entry is shorter than 2^36 bytes");
        bytes
    }

    /// The entry, if a holder of the secret wrote it.
    #[must_use]
    pub fn open(&self, value: &[u8]) -> Option<Entry> {
        let mut bytes = value.to_vec();
        let nonce = Nonce::assume_unique_for_key(NONCE);
        let plain = self.key.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?;
        read(plain).ok()
    }
}

fn read(plain: &[u8]) -> Result<Entry, Malformed> {
    let mut reader = Reader::new(plain);
    let (member, public) = (reader.address()?, reader.address()?);
    let transport = reader.observed()?;
    Ok(Entry { member, public, transport })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{SALT_LEN, Salt};

    fn entries(secret: u8, epoch: u64) -> Entries {
        Entries::new(GroupSecret::new([secret; 32]), epoch, None)
    }

    fn salted(number: u64, salt: u8) -> Entries {
        let epoch = Epoch { number, salt: Salt([salt; SALT_LEN]) };
        Entries::new(GroupSecret::new([1; 32]), 0, Some(epoch))
    }

    fn entry() -> Entry {
        let transport = Some(SocketAddr::from(([192, 0, 2, 1], 4242)));
        Entry { member: Address::from_bytes([1; 20]), public: Address::from_bytes([2; 20]), transport }
    }

    #[test]
    fn members_of_one_group_and_epoch_find_and_read_each_other() {
        let (one, other) = (entries(1, 0), entries(1, 0));
        assert_eq!(one.place(1), other.place(1));
        assert_eq!(other.open(&one.seal(entry())), Some(entry()));
        assert_eq!(one.seal(entry()), other.seal(entry()), "a renewal is the same value");
        for transport in [None, entry().transport, Some(SocketAddr::from(([7; 8], 1)))] {
            let entry = Entry { transport, ..entry() };
            assert_eq!(one.seal(entry).len(), ENTRY_LEN);
            assert_eq!(other.open(&one.seal(entry)), Some(entry));
        }
    }

    #[test]
    fn nobody_else_finds_or_reads_them() {
        let ours = entries(1, 0);
        for theirs in [entries(2, 0), entries(1, 1), salted(1, 1)] {
            assert!((0..4).all(|shard| ours.place(shard) != theirs.place(shard)));
            assert_eq!(theirs.open(&ours.seal(entry())), None);
        }
        assert_ne!(ours.place(0), ours.place(1));
        assert_ne!(salted(1, 1).place(0), salted(1, 2).place(0));
        assert_eq!(salted(2, 1).open(&salted(1, 1).seal(entry())), None);
        let mut changed = ours.seal(entry());
        changed[3] ^= 1;
        assert_eq!(ours.open(&changed), None);
        assert_eq!(ours.open(b""), None);
        let value = ours.seal(entry());
        let shown = |address: Address| value.windows(4).any(|window| address.to_bytes().starts_with(window));
        assert!(!shown(entry().member) && !shown(entry().public));
    }
}
