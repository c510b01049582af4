//! Where the site is in the public overlay, as the authorities of its groups say it.
//!
//! Each group's authority signs a value for the DHT under a key of its own, which whoever holds the authority's certificate finds
//! (`member.atoll` has it). Nothing but a statement is signed here; putting it where it belongs is for whoever runs the member.

use std::time::Duration;

use atoll_core::dht::prove;
use atoll_core::security::address_of;
use atoll_core::wire::{Address, Key, Proof};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::watch;

use crate::groups::group_numbered;
use crate::refusal::Refusal;
use crate::site::Site;

/// The authority's key in the public overlay's DHT, as people write it: `atoll-node dht get "atoll site" --owner ADDRESS`.
pub const SITE_KEY: &str = "atoll site";
/// Bytes of a statement at most.
const STATEMENT_MAX: usize = 256;
/// Groups that are named at once.
const PAGE: i64 = 256;

/// What an authority says, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The member of the public overlay beside which the site is.
    pub member: Address,
    /// Until when, in seconds since 1970 (UTC).
    pub until: u64,
}

impl Statement {
    /// Reads a value; nothing if it is none.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        if value.len() <= STATEMENT_MAX { serde_json::from_slice(value).ok() } else { None }
    }

    /// The value.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn value(&self) -> Result<Vec<u8>, Refusal> {
        serde_json::to_vec(self).map_err(|_| Refusal::Broken)
    }
}

/// A statement that a group's authority signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The address that belongs to the authority's key, who owns the value.
    pub authority: Address,
    /// The statement.
    pub value: Vec<u8>,
    /// That it is the authority's.
    pub proof: Proof,
}

/// What shall be said.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// Of the public overlay.
    pub member: Address,
    /// For how long: 1 ms to 49 days.
    pub lease: Duration,
    /// The lowest sequence number that the statement may have; it follows from the site's clock if that is higher.
    pub sequence: u64,
}

impl Site {
    /// Groups whose numbers are higher than this, by number and name; the lowest ones first and 256 at most.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn groups_after(&self, number: i64) -> Result<Vec<(i64, String)>, Refusal> {
        let ask = move |db: &Connection| {
            let sql = "SELECT id, name FROM groups WHERE id > ?1 ORDER BY id LIMIT ?2";
            let mut rows = db.prepare(sql)?;
            let rows = rows.query_map(params![number, PAGE], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        self.store.read(ask).await
    }

    /// Changes whenever a group is founded.
    #[must_use]
    pub fn founded(&self) -> watch::Receiver<()> {
        self.founded.subscribe()
    }

    /// Has the authority of the group with this number say where the site is. One whose revocations are missing says it as
    /// well: members that know the newest list bring it here.
    ///
    /// # Errors
    /// There is no such group, its authority has ended, or the database refuses.
    pub async fn announce(&self, number: i64, term: Term) -> Result<Announcement, Refusal> {
        let (now, vault) = (self.now(), Arc::clone(&self.vault));
        let sign = move |db: &Connection| {
            let group = group_numbered(db, number)?.ok_or(Refusal::NotFound)?;
            let key = group.freed().key(&vault, now)?;
            let now = u64::try_from(now).unwrap_or(0);
            let authority = address_of(&key)?;
            let statement =
                Statement { member: term.member, until: now.saturating_add(term.lease.as_secs()) };
            let value = statement.value()?;
            let sequence = term.sequence.max(now << 16);
            let lease = u32::try_from(term.lease.as_millis()).unwrap_or(u32::MAX);
            let proof = prove(&key, &Key::owned(authority, SITE_KEY), &value, (sequence, lease))?;
            Ok(Announcement { authority, value, proof })
        };
        self.store.read(sign).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_read_as_it_was_written_and_nothing_else_is_one() {
        let said = Statement { member: Address::from_bytes([7; Address::LEN]), until: 1_800_000_000 };
        let value = said.value().unwrap();
        assert_eq!(Statement::read(&value), Some(said));
        let text = String::from_utf8(value.clone()).unwrap();
        assert!(text.contains("\"until\":1800000000"), "{text}");
        for wrong in [&b""[..], b"here", b"{}", b"{\"member\":\"07\",\"until\":1}", &value[..value.len() - 1]]
        {
            assert_eq!(Statement::read(wrong), None);
        }
        assert_eq!(Statement::read(&[value, vec![b' '; STATEMENT_MAX]].concat()), None, "it is too long");
    }
}
