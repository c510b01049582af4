//! Revocations: what a group's authority says of them, and what a member knows of that.
//!
//! What is known is a union that only grows: nothing that anybody says later takes a revocation back. The statements
//! themselves are kept as well, because whoever is told by a member believes the authority and not the member.

mod list;
mod notice;

use std::collections::BTreeMap;
use std::sync::Arc;

use openssl::pkey::{PKeyRef, Public};
use openssl::sha::sha256;

use super::{Refusal, Serial};

pub use crate::wire::{Epoch, SALT_LEN, Salt};
pub use list::{LIST_MAX, UserList, digest, sign_list};
pub use notice::{Mark, NOTICE_MAX, Notice, SERIALS_MAX};

/// Notices that are kept to be handed on, at most; beyond, the oldest is let go, and what it says stays known.
const NOTICES_MAX: usize = 4096;

/// A list with its signature, in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedList {
    number: u64,
    bytes: Arc<[u8]>,
}

impl SignedList {
    /// A list's text and its signature behind each other, as members hand it on and keep it.
    ///
    /// ```text
    /// length of the signature 1 | signature | text
    /// ```
    #[must_use]
    pub fn join(text: &str, signature: &[u8]) -> Vec<u8> {
        // A signature of 255 bytes is none of P-256: what is cut off cannot have been good.
        let signature = signature.get(..usize::from(u8::MAX)).unwrap_or(signature);
        [&[signature.len() as u8], signature, text.as_bytes()].concat()
    }

    fn part(bytes: &[u8]) -> Option<(&str, &[u8])> {
        let (length, rest) = bytes.split_first()?;
        let (signature, text) = rest.split_at_checked(usize::from(*length))?;
        Some((std::str::from_utf8(text).ok()?, signature))
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// It as [`SignedList::join`] makes it.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    after: u64,
    bytes: Vec<u8>,
}

/// What a member knows of its group's revocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Users, and when they were revoked, in seconds since 1970 (UTC).
    users: BTreeMap<String, u64>,
    /// The same of serial numbers.
    serials: BTreeMap<Serial, u64>,
    /// A sum over both that is the same for whoever knows the same.
    digest: u64,
    /// Notices that say more than the list, by number.
    notices: BTreeMap<u64, Kept>,
    list: Option<SignedList>,
    /// Everything up to this number is known.
    complete: u64,
    /// The number and the mark of the last notice.
    epoch: (u64, Mark),
    /// That notice, which is there whatever the list says.
    last: Vec<u8>,
}

impl Known {
    /// Whether a member is revoked.
    #[must_use]
    pub fn has(&self, user: Option<&str>, serial: &Serial) -> bool {
        user.is_some_and(|user| self.users.contains_key(user)) || self.serials.contains_key(serial)
    }

    /// Revoked users and serial numbers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.users.len() + self.serials.len()
    }

    /// The authority's number up to which everything is known.
    #[must_use]
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// Equal for those who know the same.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The number of the last notice, and the mark of the salt that the group has since.
    #[must_use]
    pub fn epoch(&self) -> (u64, Mark) {
        self.epoch
    }

    /// That last notice, as the authority signed it; nothing if there was none.
    #[must_use]
    pub fn last_notice(&self) -> Option<&[u8]> {
        (!self.last.is_empty()).then_some(self.last.as_slice())
    }

    /// The newest list.
    #[must_use]
    pub fn list(&self) -> Option<&SignedList> {
        self.list.as_ref()
    }

    /// The notices of higher numbers than this, in their order.
    pub fn notices_after(&self, number: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let above = (std::ops::Bound::Excluded(number), std::ops::Bound::Unbounded);
        self.notices.range(above).map(|(number, kept)| (*number, kept.bytes.as_slice()))
    }

    /// Whether a notice of these bytes is kept.
    #[must_use]
    pub fn holds(&self, number: u64, bytes: &[u8]) -> bool {
        self.notices.get(&number).is_some_and(|kept| kept.bytes == bytes)
    }

    /// Whether what a notice says was told before. Its number alone does not tell: a site that was restored from an older copy
    /// may have used it before.
    #[must_use]
    pub fn knows(&self, notice: &Notice) -> bool {
        let number = notice.number;
        let was_told = self.notices.contains_key(&number) || number <= self.complete.min(self.epoch.0);
        was_told && self.says_nothing_new(notice)
    }

    fn says_nothing_new(&self, notice: &Notice) -> bool {
        if notice.serials.is_empty() {
            return self.users.contains_key(&notice.user);
        }
        notice.serials.iter().all(|serial| self.serials.contains_key(serial))
    }

    /// Takes what a notice says, and keeps its bytes. False if it was known.
    pub fn take(&mut self, notice: &Notice, bytes: &[u8]) -> bool {
        if self.knows(notice) {
            return false;
        }
        if notice.serials.is_empty() {
            self.add_user(notice.user.clone(), notice.at);
        }
        for serial in &notice.serials {
            self.add_serial(serial.clone(), notice.at);
        }
        if self.epoch.0 < notice.number {
            self.epoch = (notice.number, notice.mark);
            bytes.clone_into(&mut self.last);
        }
        if self.list.as_ref().is_none_or(|list| list.number < notice.number) {
            if self.notices.len() == NOTICES_MAX {
                self.notices.pop_first();
            }
            self.notices.insert(notice.number, Kept { after: notice.after, bytes: bytes.to_vec() });
        }
        self.advance();
        true
    }

    /// Takes what a list says; how many revocations were new. Notices that say no more than it need not be kept.
    ///
    /// # Errors
    /// It is older than the one that is there: what it says was known.
    pub fn take_list(&mut self, list: &UserList, bytes: &[u8]) -> Result<usize, Refusal> {
        let number = u64::try_from(list.number).map_err(|_| Refusal::Malformed)?;
        let before = self.count();
        if self.list.as_ref().is_some_and(|own| own.number > number) {
            return Err(Refusal::Expired);
        }
        let when = |at: i64| u64::try_from(at).unwrap_or(0);
        for (user, at) in &list.users {
            self.add_user(user.clone(), when(*at));
        }
        for (serial, at) in &list.serials {
            self.add_serial(serial.parse().map_err(|_| Refusal::Malformed)?, when(*at));
        }
        self.list = Some(SignedList { number, bytes: bytes.into() });
        self.notices.retain(|kept, _| *kept > number);
        self.advance();
        Ok(self.count() - before)
    }

    fn add_user(&mut self, user: String, at: u64) {
        if !self.users.contains_key(&user) {
            self.digest = self.digest.wrapping_add(digest_of(b'u', user.as_bytes()));
            self.users.insert(user, at);
        }
    }

    fn add_serial(&mut self, serial: Serial, at: u64) {
        if !self.serials.contains_key(&serial) {
            self.digest = self.digest.wrapping_add(digest_of(b's', &serial.0));
            self.serials.insert(serial, at);
        }
    }

    /// Whoever knows everything up to where a notice goes on knows everything up to that notice.
    fn advance(&mut self) {
        let listed = self.list.as_ref().map_or(0, SignedList::number);
        let from = self.complete.max(listed);
        self.complete = self.notices.iter().fold(from, |complete, (number, kept)| {
            if kept.after <= complete { complete.max(*number) } else { complete }
        });
    }
}

/// What one revocation adds to the sum.
fn digest_of(kind: u8, name: &[u8]) -> u64 {
    let hash = sha256(&[&[kind], name].concat());
    hash.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Reads a list that came in one piece with its signature.
///
/// # Errors
/// It cannot be read, or somebody else signed it.
pub(super) fn read_signed(key: &PKeyRef<Public>, bytes: &[u8]) -> Result<UserList, Refusal> {
    let (text, signature) = SignedList::part(bytes).ok_or(Refusal::Malformed)?;
    UserList::verified(key, text, signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn notice(number: u64, after: u64, user: &str) -> Notice {
        let (group, mark) = ("chess".to_owned(), Salt([number as u8; SALT_LEN]).mark());
        let (user, serials) = (user.to_owned(), Vec::new());
        Notice { group, number, after, at: number, digest: [0; 32], mark, user, serials }
    }

    fn tell(known: &mut Known, notice: &Notice) -> bool {
        known.take(notice, b"bytes")
    }

    fn list(number: i64, users: &[&str]) -> UserList {
        let users = users.iter().map(|user| ((*user).to_owned(), 1)).collect();
        UserList { group: "chess".to_owned(), number, at: 1, users, serials: Vec::new() }
    }

    #[test]
    fn a_notice_with_a_number_that_was_used_before_counts_as_well() {
        let mut known = Known::default();
        assert!(tell(&mut known, &notice(1, 0, "eve")) && tell(&mut known, &notice(1, 0, "bob")));
        assert!(!tell(&mut known, &notice(1, 0, "eve")) && !tell(&mut known, &notice(1, 0, "bob")));
        assert!(known.count() == 2 && known.complete() == 1);
    }

    #[test]
    fn a_gap_is_known_to_be_one_until_it_is_filled() {
        let mut known = Known::default();
        assert!(tell(&mut known, &notice(2, 0, "ann")) && known.complete() == 2);
        assert!(tell(&mut known, &notice(5, 4, "cleo")) && known.complete() == 2);
        assert!(tell(&mut known, &notice(4, 2, "bob")) && known.complete() == 5);
        assert_eq!(known.epoch().0, 5, "the mark is that of the last notice, whenever it came");
        assert!(!tell(&mut known, &notice(4, 2, "bob")), "told twice");
    }

    #[test]
    fn a_list_stands_for_all_notices_up_to_it_and_an_older_one_takes_nothing_back() {
        let mut known = Known::default();
        tell(&mut known, &notice(5, 4, "eve"));
        assert_eq!(known.take_list(&list(4, &["ann", "bob"]), b"four"), Ok(2));
        assert_eq!((known.complete(), known.notices_after(0).count()), (5, 1));
        assert_eq!(known.take_list(&list(6, &["ann"]), b"six"), Ok(0));
        assert_eq!((known.complete(), known.notices_after(0).count(), known.count()), (6, 0, 3));
        assert_eq!(known.take_list(&list(5, &["zoe"]), b"five"), Err(Refusal::Expired));
        assert!(known.has(Some("bob"), &Serial::default()) && !known.has(Some("zoe"), &Serial::default()));
        assert_eq!(known.list().map(|list| list.bytes().to_vec()), Some(b"six".to_vec()));
    }

    #[test]
    fn the_oldest_notice_is_let_go_and_what_it_says_is_not() {
        let mut known = Known::default();
        let all = NOTICES_MAX as u64 + 3;
        for number in 1..=all {
            tell(&mut known, &notice(number, number - 1, &format!("u{number}")));
        }
        assert_eq!((known.notices_after(0).count(), known.count() as u64), (NOTICES_MAX, all));
        assert!(known.has(Some("u1"), &Serial::default()) && known.complete() == all);
        assert!(!tell(&mut known, &notice(1, 0, "u1")));
    }

    proptest! {
        #[test]
        fn those_who_were_told_the_same_know_the_same_in_whatever_order(
            order in Just((1..20u64).collect::<Vec<_>>()).prop_shuffle(), twice in 1..20u64, listed in 0..20i64,
        ) {
            let (mut one, mut other) = (Known::default(), Known::default());
            let user = |number: u64| format!("u{number}");
            for number in 1..20 {
                tell(&mut one, &notice(number, number - 1, &user(number)));
            }
            let users: Vec<String> = (1..=listed as u64).map(user).collect();
            for (turn, number) in order.into_iter().chain([twice]).enumerate() {
                if turn as i64 == listed {
                    let named: Vec<&str> = users.iter().map(String::as_str).collect();
                    let _ = other.take_list(&list(listed, &named), b"list");
                }
                tell(&mut other, &notice(number, number - 1, &user(number)));
            }
            prop_assert_eq!((one.digest(), one.count(), one.complete()), (other.digest(), other.count(), other.complete()));
            prop_assert_eq!(one.epoch(), other.epoch());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = SignedList::part(&bytes);
        }
    }

    #[test]
    fn a_list_and_its_signature_are_parted_as_they_were_joined() {
        let joined = SignedList::join("text", b"signature");
        assert_eq!(SignedList::part(&joined), Some(("text", &b"signature"[..])));
        assert_eq!(SignedList::part(b""), None);
        assert_eq!(SignedList::part(&[5, 1, 2]), None);
    }
}
