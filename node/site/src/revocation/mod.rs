//! Revocation: a set of users and serial numbers for each group that only grows, and the lists that are signed of it.
//!
//! A database that was restored from an older copy has forgotten some. Then nothing is signed for the group until a member
//! gives the newest list back, or the operator says that there is none.

mod memory;
mod notices;
mod restored;
mod told;
mod turns;

use atoll_core::security::{LIST_MAX, Serial, UserList, Wall, list_digest, sign_list};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::sha::sha256;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::Arc;

pub(crate) use memory::{Listed, Memory};
pub(crate) use notices::epochs;
use notices::{Desk, NOBODY, Out};
pub(crate) use restored::GIVEN_NOTICES_MAX;
pub use restored::Given;
pub use told::Say;

use crate::authority::{List, Revoked};
use crate::groups::{Group, Member, Scene, Unknown, wall};
use crate::limits::Remote;
use crate::refusal::Refusal;
use crate::site::{Site, Try};
use crate::vault::{Vault, mac, same};

/// The newest list of a group.
#[derive(Clone, Debug, Serialize)]
pub struct SignedList {
    /// Its number.
    pub number: i64,
    /// The SHA-256 of its text.
    pub digest: String,
    /// What is signed.
    pub text: String,
    /// By the authority's key: ECDSA with SHA-256, in DER and then in Base64.
    pub signature: String,
    /// The same serial numbers as a list of X.509 (PEM), under the same number.
    pub x509: String,
    /// The latest notices, each a revocation by itself, in Base64.
    pub notices: Vec<String>,
}

/// The newest list, for whoever asks.
#[derive(Clone, Debug)]
pub struct Newest {
    /// Another one for every list that was ever signed, as HTTP has it (RFC 9110, section 8.8.3).
    pub tag: String,
    /// The list, unless whoever asks has shown this tag.
    pub list: Option<SignedList>,
}

struct Last {
    number: i64,
    at: i64,
}

fn last(db: &Connection, group: i64) -> Result<Last, Refusal> {
    let sql = "SELECT number, at FROM lists WHERE group_id = ?1";
    let read = |row: &Row<'_>| Ok(Last { number: row.get(0)?, at: row.get(1)? });
    Ok(db.query_row(sql, [group], read).optional()?.unwrap_or(Last { number: 0, at: 0 }))
}

/// Signs the next list of a group, its number `floor` or higher; gives the number.
pub(crate) fn sign(
    db: &Connection,
    vault: &Vault,
    (group, now): (&Group, i64),
    floor: i64,
) -> Result<i64, Refusal> {
    let (last, key) = (last(db, group.id)?, group.key(vault, now)?);
    let (number, at) = ((last.number + 1).max(floor), now.max(last.at + 1));
    let (users, serials) = (users(db, group.id)?, serials(db, group.id)?);
    let x509 = x509(group, (number, at), &serials, &group.pen(&key))?;
    let text = UserList { group: group.name.clone(), number, at, users, serials }.text();
    if text.len() > LIST_MAX {
        return Err(Refusal::TooMany);
    }
    let signature = sign_list(&key, &text).map_err(|_| Refusal::Broken)?;
    let sql =
        "INSERT INTO lists (group_id, number, at, text, signature, x509) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT DO UPDATE SET number = excluded.number, at = excluded.at, text = excluded.text,
            signature = excluded.signature, x509 = excluded.x509";
    db.execute(sql, params![group.id, number, at, text, signature, x509])?;
    Ok(number)
}

fn x509(
    group: &Group,
    (number, at): (i64, i64),
    serials: &[(String, i64)],
    pen: &crate::authority::Pen<'_>,
) -> Result<Vec<u8>, Refusal> {
    let revoked = serials.iter().map(|(serial, at)| {
        let serial: Serial = serial.parse().map_err(|_| Refusal::Broken)?;
        Ok(Revoked { serial, at: wall(*at) })
    });
    let revoked = revoked.collect::<Result<_, Refusal>>()?;
    let list = List { number: u64::try_from(number).unwrap_or(0), at: wall(at), revoked };
    let until = group.until().max(Wall(list.at.0 + 1));
    Ok(pen.list(&list, until)?.to_der()?)
}

fn users(db: &Connection, group: i64) -> Result<Vec<(String, i64)>, Refusal> {
    let mut rows = db.prepare("SELECT user, at FROM revoked_users WHERE group_id = ?1 ORDER BY user")?;
    let rows = rows.query_map([group], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All of them for ever: by a clock that is ahead certificates look ended that members go on believing.
fn serials(db: &Connection, group: i64) -> Result<Vec<(String, i64)>, Refusal> {
    let mut rows =
        db.prepare("SELECT serial, at FROM revoked_serials WHERE group_id = ?1 ORDER BY serial")?;
    let rows = rows.query_map([group], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Ends all nodes of a member: its certificates are revoked, and a new list is signed.
pub(crate) fn end_nodes(scene: &Scene<'_>, member: &Member, state: &str) -> Result<(), Refusal> {
    let sql = "INSERT INTO revoked_serials (group_id, serial, at)
        SELECT ?1, certificates.serial, ?3 FROM certificates JOIN nodes ON nodes.id = certificates.node
        WHERE nodes.group_id = ?1 AND nodes.account = ?2 ON CONFLICT DO NOTHING";
    let whole = state == "revoked";
    let serials = if whole { Vec::new() } else { current(scene, "nodes.account", member.account)? };
    scene.db.execute(sql, params![scene.group.id, member.account, scene.now])?;
    let sql = "UPDATE nodes SET state = ?3 WHERE group_id = ?1 AND account = ?2 AND state <> 'revoked'";
    scene.db.execute(sql, params![scene.group.id, member.account, state])?;
    sign_in(scene, &if whole { Out::User(&member.name) } else { Out::Certificates(&member.name, serials) })
}

/// Ends one node for good.
pub(crate) fn end_node(scene: &Scene<'_>, node: i64) -> Result<(), Refusal> {
    let sql = "INSERT INTO revoked_serials (group_id, serial, at)
        SELECT group_id, serial, ?2 FROM certificates WHERE node = ?1 ON CONFLICT DO NOTHING";
    let serials = current(scene, "nodes.id", node)?;
    let user = "SELECT members.name FROM members JOIN nodes USING (group_id, account) WHERE nodes.id = ?1";
    let user: String = scene.db.query_row(user, [node], |row| row.get(0))?;
    scene.db.execute(sql, params![node, scene.now])?;
    scene.db.execute("UPDATE nodes SET state = 'revoked' WHERE id = ?1", [node])?;
    sign_in(scene, &Out::Certificates(&user, serials))
}

/// Signs that a user is revoked of whom the group knows no certificate.
pub(crate) fn end_name(scene: &Scene<'_>, name: &str) -> Result<(), Refusal> {
    sign_in(scene, &Out::User(name))
}

/// Ends a certificate that the site has not signed as far as it knows.
pub(crate) fn end_certificate(scene: &Scene<'_>, serial: Serial, unknown: Unknown) -> Result<(), Refusal> {
    let text = serial.to_string();
    let sql = "SELECT count(*) FROM revoked_serials WHERE group_id = ?1 AND serial = ?2";
    let listed: i64 = scene.db.query_row(sql, params![scene.group.id, text], |row| row.get(0))?;
    if listed > 0 {
        return Err(Refusal::State);
    }
    if unknown == Unknown::Refuse {
        return Err(Refusal::Unknown);
    }
    let sql = "INSERT INTO revoked_serials (group_id, serial, at) VALUES (?1, ?2, ?3)";
    scene.db.execute(sql, params![scene.group.id, text, scene.now])?;
    scene.note("revoke unknown certificate", &text)?;
    sign_in(scene, &Out::Certificates(NOBODY, vec![serial]))
}

/// The serial numbers of certificates that may be in use, of one node or of all that somebody has in the group: those that have
/// not ended, and the newest of each node that gets some, whatever the clock says.
fn current(scene: &Scene<'_>, column: &str, whose: i64) -> Result<Vec<Serial>, Refusal> {
    let sql = format!(
        "SELECT certificates.serial FROM certificates JOIN nodes ON nodes.id = certificates.node
            WHERE nodes.group_id = ?1 AND {column} = ?2 AND (certificates.ends > ?3
                OR nodes.state = 'admitted' AND certificates.id = (SELECT max(id) FROM certificates WHERE node = nodes.id))
            ORDER BY certificates.id"
    );
    let mut rows = scene.db.prepare(&sql)?;
    let place = params![scene.group.id, whose, scene.now];
    let rows = rows.query_map(place, |row| row.get::<_, String>(0))?;
    rows.map(|serial| serial?.parse().map_err(|_| Refusal::Broken)).collect()
}

fn sign_in(scene: &Scene<'_>, out: &Out<'_>) -> Result<(), Refusal> {
    let number = Desk::of(scene).sign(out)?;
    scene.note("sign list", &number.to_string())?;
    scene.listed.set(Some(number));
    Ok(())
}

/// Bytes as hexadecimal digits.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What proves to the site that somebody knows the group's secret, and may read its lists.
///
/// # Errors
/// OpenSSL refuses.
pub fn reader_proof(secret: &[u8]) -> Result<String, Refusal> {
    Ok(hex(&mac(secret, &[b"atoll lists 1"])?))
}

/// Whether a word proves that.
pub(crate) fn check_reader(vault: &Vault, group: &Group, proof: &str) -> Result<(), Refusal> {
    let own = reader_proof(&group.secret(vault)?)?;
    if same(own.as_bytes(), proof.as_bytes()) { Ok(()) } else { Err(Refusal::Forged) }
}

/// The number alone would not do: a database that was restored uses numbers again.
fn tag(number: i64, signature: &[u8]) -> String {
    format!("\"{number}-{}\"", hex(&sha256(signature)[..16]))
}

/// Members ask every minute, and a list may be long: it is made ready only for those who do not know it.
fn newest(db: &Connection, group: i64, known: Option<&str>) -> Result<Newest, Refusal> {
    let sql = "SELECT number, signature FROM lists WHERE group_id = ?1";
    let read = |row: &Row<'_>| Ok(tag(row.get(0)?, &row.get::<_, Vec<u8>>(1)?));
    let tag = db.query_row(sql, [group], read).optional()?.ok_or(Refusal::NotFound)?;
    if known == Some(tag.as_str()) { Ok(Newest { tag, list: None }) } else { signed(db, group) }
}

fn signed(db: &Connection, group: i64) -> Result<Newest, Refusal> {
    let sql = "SELECT number, text, signature, x509 FROM lists WHERE group_id = ?1";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let (number, text, signature, x509): (i64, String, Vec<u8>, Vec<u8>) =
        db.query_row(sql, [group], read).optional()?.ok_or(Refusal::NotFound)?;
    let x509 = openssl::x509::X509Crl::from_der(&x509)?.to_pem()?;
    let list = SignedList {
        number,
        digest: list_digest(&text),
        text,
        signature: STANDARD.encode(&signature),
        x509: String::from_utf8(x509).map_err(|_| Refusal::Broken)?,
        notices: notices::latest(db, group)?,
    };
    Ok(Newest { tag: tag(number, &signature), list: Some(list) })
}

impl Site {
    /// Whether somebody may read a group's lists.
    ///
    /// # Errors
    /// There is no such group or the proof is wrong, or there were too many such attempts.
    pub async fn check_reader(&self, group: &str, proof: &str, from: Remote) -> Result<(), Refusal> {
        let (name, proof, vault) = (group.to_owned(), proof.to_owned(), Arc::clone(&self.vault));
        let ask = move |db: &Connection| {
            // A group that does not exist and a wrong proof have one answer.
            check_reader(&vault, &crate::groups::group(db, &name)?.ok_or(Refusal::Forged)?, &proof)
        };
        let checked = self.store.read(ask).await;
        if checked == Err(Refusal::Forged) {
            self.attempt(&Try::Forgery(from))?;
        }
        checked
    }

    /// The newest list of a group, for whoever knows the group's secret, and perhaps the list with this tag.
    ///
    /// # Errors
    /// There is no such group, the proof is wrong, or the list may be missing revocations.
    pub async fn list(
        &self,
        group: &str,
        proof: &str,
        from: Remote,
        known: Option<&str>,
    ) -> Result<Newest, Refusal> {
        self.check_reader(group, proof, from).await?;
        let (name, known) = (group.to_owned(), known.map(str::to_owned));
        let ask = move |db: &Connection| {
            let group = crate::groups::group(db, &name)?.ok_or(Refusal::NotFound)?;
            if group.held { Err(Refusal::Restored) } else { newest(db, group.id, known.as_deref()) }
        };
        self.store.read(ask).await
    }
}
