//! Notices: each revocation by itself, signed when it happens, so that members can tell each other at once. Each has a salt of
//! its own, which only members are told that stay.

use atoll_core::security::{Epoch, Notice, SALT_LEN, SERIALS_MAX, Salt, Serial};
use openssl::base64::encode_block;
use openssl::sha::sha256;
use rusqlite::{Connection, OptionalExtension as _, params};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use super::{last, sign};
use crate::authority::random_serial;
use crate::groups::{Group, Scene};
use crate::refusal::Refusal;
use crate::vault::Vault;

/// Notices that go out with a list: members that missed older ones have the list itself.
const LATEST: i64 = 64;
/// Whose certificate a notice names that is about nobody, or nobody that the site knows.
pub(super) const NOBODY: &str = "nobody";

/// Who is revoked.
pub(super) enum Out<'a> {
    /// A user with all nodes, for good.
    User(&'a str),
    /// These certificates of a user.
    Certificates(&'a str, Vec<Serial>),
}

impl Out<'_> {
    fn user(&self) -> &str {
        match self {
            Self::User(user) | Self::Certificates(user, _) => user,
        }
    }

    /// The serial numbers of each notice; a user's notice names none.
    fn parts(&self) -> Vec<Vec<Serial>> {
        match self {
            Self::User(_) => vec![Vec::new()],
            Self::Certificates(_, serials) => serials.chunks(SERIALS_MAX).map(<[_]>::to_vec).collect(),
        }
    }
}

/// A group that something is signed for.
pub(super) struct Desk<'a> {
    pub(super) db: &'a Connection,
    pub(super) vault: &'a Vault,
    pub(super) group: &'a Group,
    pub(super) now: i64,
}

impl<'a> Desk<'a> {
    pub(super) fn of(scene: &'a Scene<'_>) -> Self {
        Self { db: scene.db, vault: scene.vault, group: &scene.group, now: scene.now }
    }

    /// Signs the next list of the group, and notices of what is new on it.
    pub(super) fn sign(&self, out: &Out<'_>) -> Result<i64, Refusal> {
        self.sign_behind(last(self.db, self.group.id)?.number, out)
    }

    /// The same with numbers that are higher than this, which is the group's last one. Each notice has a number of its own; the
    /// last has that of the list, which it gives. A list without its notices is better than neither.
    pub(super) fn sign_behind(&self, before: i64, out: &Out<'_>) -> Result<i64, Refusal> {
        let parts = out.parts();
        let count = i64::try_from(parts.len()).map_err(|_| Refusal::Broken)?;
        let number = sign(self.db, self.vault, (self.group, self.now), before + count.max(1))?;
        for (part, number) in parts.into_iter().zip(number + 1 - count..) {
            let after = if number == before + 1 { before } else { number - 1 };
            let named = Named { user: out.user(), serials: part };
            if let Err(refusal) = self.note(number, after, named) {
                let group = &self.group.name;
                tracing::warn!(group, number, %refusal, "a revocation has no notice: members learn it from the list");
            }
        }
        Ok(number)
    }

    fn note(&self, number: i64, after: i64, named: Named<'_>) -> Result<(), Refusal> {
        let salt = fresh_salt()?;
        let notice = Notice {
            group: self.group.name.clone(),
            number: unsigned(number)?,
            after: unsigned(after)?,
            at: unsigned(self.now)?,
            digest: digest(self.db, self.group.id)?,
            mark: Salt(*salt).mark(),
            user: named.user.to_owned(),
            serials: named.serials,
        };
        let key = self.group.key(self.vault, self.now)?;
        let bytes = notice.sign(&key).map_err(|_| Refusal::Broken)?;
        let salt = self.vault.seal(&place(self.group.id, number), &*salt)?;
        let sql = "INSERT INTO notices (group_id, number, bytes, salt) VALUES (?1, ?2, ?3, ?4)";
        self.db.execute(sql, params![self.group.id, number, bytes, salt])?;
        Ok(())
    }

    /// Signs a list and a notice that revoke nobody anew, for the salt that comes with it: the database may have an older one than
    /// members know. The notice says again what was said before; if nothing was, it names a certificate that nobody has.
    pub(super) fn sign_fresh(&self, before: i64) -> Result<i64, Refusal> {
        let sql = "SELECT user FROM revoked_users WHERE group_id = ?1 ORDER BY at DESC, user LIMIT 1";
        let user: Option<String> = self.db.query_row(sql, [self.group.id], |row| row.get(0)).optional()?;
        if let Some(user) = user {
            return self.sign_behind(before, &Out::User(&user));
        }
        let serial = random_serial()?;
        let sql = "INSERT INTO revoked_serials (group_id, serial, at) VALUES (?1, ?2, ?3)";
        self.db.execute(sql, params![self.group.id, serial.to_string(), self.now])?;
        self.sign_behind(before, &Out::Certificates(NOBODY, vec![serial]))
    }
}

struct Named<'a> {
    user: &'a str,
    serials: Vec<Serial>,
}

/// Where a salt is sealed for.
fn place(group: i64, number: i64) -> String {
    format!("salt {group} {number}")
}

/// The salts of the last notices of a group, so many at most, the last first.
pub(crate) fn epochs(
    db: &Connection,
    vault: &Vault,
    (group, most): (i64, i64),
) -> Result<Vec<Epoch>, Refusal> {
    let sql = "SELECT number, salt FROM notices WHERE group_id = ?1 ORDER BY number DESC LIMIT ?2";
    let mut rows = db.prepare(sql)?;
    let rows = rows.query_map(params![group, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let open = |row: rusqlite::Result<(i64, Vec<u8>)>| {
        let (number, sealed) = row?;
        let salt = vault.open_sealed(&place(group, number), &sealed).map_err(|_| Refusal::Broken)?;
        let salt = <[u8; SALT_LEN]>::try_from(salt.as_slice()).map_err(|_| Refusal::Broken)?;
        Ok(Epoch { number: unsigned(number)?, salt: Salt(salt) })
    };
    rows.map(open).collect()
}

fn fresh_salt() -> Result<Zeroizing<[u8; SALT_LEN]>, Refusal> {
    let mut salt = Zeroizing::new([0; SALT_LEN]);
    getrandom(&mut *salt, GetRandomFlags::empty()).map_err(std::io::Error::from)?;
    Ok(salt)
}

fn unsigned(number: i64) -> Result<u64, Refusal> {
    u64::try_from(number).map_err(|_| Refusal::Broken)
}

fn digest(db: &Connection, group: i64) -> Result<[u8; 32], Refusal> {
    let text: String =
        db.query_row("SELECT text FROM lists WHERE group_id = ?1", [group], |row| row.get(0))?;
    Ok(sha256(text.as_bytes()))
}

/// The latest notices in the order of their numbers, in Base64.
pub(super) fn latest(db: &Connection, group: i64) -> Result<Vec<String>, Refusal> {
    let sql = "SELECT bytes FROM notices WHERE group_id = ?1 ORDER BY number DESC LIMIT ?2";
    let mut rows = db.prepare(sql)?;
    let rows = rows.query_map(params![group, LATEST], |row| row.get::<_, Vec<u8>>(0))?;
    let mut notices: Vec<String> =
        rows.map(|row| row.map(|bytes| encode_block(&bytes))).collect::<Result<_, _>>()?;
    notices.reverse();
    Ok(notices)
}
