//! Notices: each revocation by itself, signed when it happens, so that members can tell each other at once.

use atoll_core::security::{Notice, SALT_LEN, SERIALS_MAX, Salt, Serial};
use openssl::base64::encode_block;
use openssl::sha::sha256;
use rusqlite::{Connection, params};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use super::{last, sign};
use crate::groups::Scene;
use crate::refusal::Refusal;

/// Notices that go out with a list: members that missed older ones have the list itself.
const LATEST: i64 = 64;

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

/// Signs the next list of the group, and notices of what is new on it, each with a number of its own; the last has that of
/// the list, which it gives.
pub(super) fn sign_with_notices(scene: &Scene<'_>, out: &Out<'_>) -> Result<i64, Refusal> {
    let (before, parts) = (last(scene.db, scene.group.id)?.number, out.parts());
    let count = i64::try_from(parts.len()).map_err(|_| Refusal::Broken)?;
    let number = sign(scene.db, scene.vault, (&scene.group, scene.now), before + count)?;
    let digest = digest(scene.db, scene.group.id)?;
    let first = number + 1 - count;
    for (part, number) in parts.into_iter().zip(first..) {
        let salt = fresh_salt()?;
        let notice = Notice {
            group: scene.group.name.clone(),
            number: unsigned(number)?,
            after: unsigned(if number == first { before } else { number - 1 })?,
            at: unsigned(scene.now)?,
            digest,
            mark: Salt(*salt).mark(),
            user: out.user().to_owned(),
            serials: part,
        };
        insert(scene, number, &notice, &salt)?;
    }
    Ok(number)
}

fn insert(
    scene: &Scene<'_>,
    number: i64,
    notice: &Notice,
    salt: &Zeroizing<[u8; SALT_LEN]>,
) -> Result<(), Refusal> {
    let key = scene.group.key(scene.vault, scene.now)?;
    let bytes = notice.sign(&key).map_err(|_| Refusal::Broken)?;
    let salt = scene.vault.seal(&format!("salt {} {number}", scene.group.id), &**salt)?;
    let sql = "INSERT INTO notices (group_id, number, bytes, salt) VALUES (?1, ?2, ?3, ?4)";
    scene.db.execute(sql, params![scene.group.id, number, bytes, salt])?;
    Ok(())
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
