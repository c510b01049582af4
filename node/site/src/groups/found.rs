//! A new group: its authority's key and certificate, its secret, its first list; its founder is its administrator.

use rusqlite::{Connection, params};
use rustix::rand::{GetRandomFlags, getrandom};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::membership::{Admission, admit};
use super::note;
use super::rows::{self, Group, wall};
use crate::accounts::{Account, is_site_name};
use crate::authority::{LIFE, Pen, SECRET_BYTES, Span, random_serial};
use crate::keys;
use crate::refusal::Refusal;
use crate::revocation::{self, Listed};
use crate::site::{Site, Try};
use crate::vault::Vault;

/// Groups of one site.
const GROUPS_MAX: i64 = 100_000;
/// Groups that one account administrates.
const ADMINISTRATED_MAX: i64 = 64;

/// What is written down of a new group.
struct Fresh {
    name: String,
    certificate: Vec<u8>,
    key: Vec<u8>,
    secret: Vec<u8>,
    ends: i64,
}

impl Site {
    /// Founds a group.
    ///
    /// # Errors
    /// The name is taken or none, or there are too many groups.
    pub async fn found(&self, account: &Account, name: &str) -> Result<(), Refusal> {
        if !is_site_name(name) {
            return Err(Refusal::Name);
        }
        self.attempt(&Try::Found(account.id))?;
        let fresh = fresh(&self.vault, name, self.now())?;
        let (account, vault, now) = (account.clone(), Arc::clone(&self.vault), self.now());
        // A name may have been another group's before the database was restored: the numbers of lists go on.
        let number = self.memory.watermark.of(name) + 1;
        let write = move |db: &Connection| {
            insert(db, &fresh, (account.id, now))?;
            let group = rows::group(db, &fresh.name)?.ok_or(Refusal::Broken)?;
            admit(db, &vault, &Admission { group: &group, account: &account, admin: true, now })?;
            note(db, (group.id, now), [&account.name, "found", &group.name])?;
            let number = revocation::sign(db, &vault, (&group, now), number)?;
            Ok(((), Some(Listed { group: group.name, number })))
        };
        // Whoever is killed between the write and its watermark finds that the group is new, and no other copy's.
        let (memory, begun) = (Arc::clone(&self.memory), name.to_owned());
        let begin = spawn_blocking(move || memory.watermark.begin(&begun)).await;
        if let Err(why) = begin.unwrap_or_else(|why| Err(std::io::Error::other(why))) {
            tracing::warn!(group = name, %why, "the watermark cannot be written: no group is founded");
            return Err(Refusal::Unavailable);
        }
        if let Err(refusal) = self.write_list(write).await {
            self.memory.watermark.give_up(name);
            return Err(refusal);
        }
        self.founded.send_replace(());
        Ok(())
    }
}

fn fresh(vault: &Vault, name: &str, now: i64) -> Result<Fresh, Refusal> {
    let key = keys::generate()?;
    let span = Span { now: wall(now), until: wall(now + LIFE as i64) };
    let root = Pen { key: &key, group: name }.root(&random_serial()?, span)?;
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    getrandom(&mut *secret, GetRandomFlags::empty()).map_err(std::io::Error::from)?;
    let pkcs8 = Zeroizing::new(key.private_key_to_pkcs8()?);
    Ok(Fresh {
        name: name.to_owned(),
        certificate: root.to_der()?,
        key: vault.seal(&Group::place(name, "key"), &pkcs8)?,
        secret: vault.seal(&Group::place(name, "secret"), &*secret)?,
        ends: now + LIFE as i64,
    })
}

fn insert(db: &Connection, fresh: &Fresh, (founder, now): (i64, i64)) -> Result<(), Refusal> {
    let sql = "SELECT (SELECT coalesce(max(id), 0) FROM groups),
        (SELECT count(*) FROM members WHERE account = ?1 AND admin AND state = 'member')";
    let (groups, own): (i64, i64) = db.query_row(sql, [founder], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if groups >= GROUPS_MAX || own >= ADMINISTRATED_MAX {
        return Err(Refusal::TooMany);
    }
    let sql = "INSERT INTO groups (name, certificate, key, secret, ends, policy, first, made)
        VALUES (?1, ?2, ?3, ?4, ?5, 'sign', 1, ?6) ON CONFLICT DO NOTHING";
    let row = params![fresh.name, fresh.certificate, fresh.key, fresh.secret, fresh.ends, now];
    if db.execute(sql, row)? == 0 { Err(Refusal::Taken) } else { Ok(()) }
}
