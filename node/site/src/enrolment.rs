//! Enrolment: a node asks for a certificate, and asks again to renew it.
//!
//! The request is made with the key that the user's file holds. It names its time and carries a number that is used once;
//! of the certificate request only the key counts. What is not made with the user's key does not reach the writer.

use std::fmt;
use std::sync::Arc;

use atoll_core::security::Epoch;
use openssl::pkey::{PKey, Public};
use openssl::x509::{X509, X509Req};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use crate::authority::{Leaf, Span, own_address, random_serial};
use crate::groups::{Group, Member, NodeState, Policy, State, group, member_called, note, wall};
use crate::keys;
use crate::limits::Remote;
use crate::refusal::Refusal;
use crate::revocation::{epochs, hex};
use crate::site::{Site, Try};
use crate::vault::{Vault, mac, same};

/// How far a request's time may be from the site's, in seconds.
pub const FRESH: i64 = 300;
/// How long a certificate is valid if the operator says nothing else: 90 days, in seconds.
pub const VALID: i64 = 90 * 86_400;
/// Letters of a certificate request at most.
const REQUEST_MAX: usize = 8 * 1024;
/// Nodes of one member, those that are gone or revoked not counted.
const NODES_MAX: i64 = 64;
/// Nodes that one member ever had.
const NODES_EVER_MAX: i64 = 1024;
/// When a node that waits may ask again, in seconds; nodes that wait for long ask more rarely.
const ASK_AGAIN: u32 = 5;

/// What a node sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The group.
    pub group: String,
    /// The user.
    pub user: String,
    /// A certificate request (PEM) that the node's key signed.
    pub request: String,
    /// The node's clock, in seconds since 1970 (UTC).
    pub time: i64,
    /// 16 random bytes as hexadecimal digits, never used before.
    pub nonce: String,
    /// The number of the newest revocation list that the node knows; zero if it knows none.
    pub list: i64,
    /// [`Enrol::code`] as hexadecimal digits.
    pub mac: String,
}

impl Enrol {
    /// HMAC-SHA-256 over all the rest, each part behind its length (8 bytes, big endian).
    ///
    /// # Errors
    /// OpenSSL does not take the key.
    pub fn code(&self, key: &[u8]) -> Result<String, Refusal> {
        let (time, list) = (self.time.to_string(), self.list.to_string());
        let texts = [&self.group, &self.user, &self.request, &time, &self.nonce, &list];
        let mut parts = vec![&b"atoll enrol 1"[..]];
        parts.extend(texts.map(String::as_bytes));
        Ok(hex(&mac(key, &parts)?))
    }
}

/// What a node is answered that is not refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Enrolled {
    /// It has a certificate.
    Issued {
        /// The certificate (PEM).
        certificate: String,
        /// The authority's own (PEM).
        authority: String,
        /// Its serial number.
        serial: String,
        /// When it ends, in seconds since 1970 (UTC).
        ends: i64,
        /// The number of the group's newest revocation list.
        list: i64,
        /// The salt that the group has since the last notice of a revocation, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<EpochPart>,
    },
    /// An administrator decides.
    Waiting {
        /// When to ask again, in seconds.
        again: u32,
    },
}

/// A salt that members are found by: whoever was revoked is not told it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochPart {
    /// The number of the notice since which it is the group's.
    pub number: u64,
    /// 16 bytes as hexadecimal digits; the notice has a hash of them.
    pub salt: String,
}

/// It is a secret.
impl fmt::Debug for EpochPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochPart").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A request that was made with the user's key.
struct Proved {
    group: i64,
    account: i64,
    name: String,
    key: PKey<Public>,
    address: String,
    nonce: Vec<u8>,
    list: i64,
}

impl Site {
    /// Answers a node's request.
    ///
    /// # Errors
    /// Why the node gets no certificate.
    pub async fn enrol(&self, ask: Enrol, from: Remote) -> Result<Enrolled, Refusal> {
        let (now, vault) = (self.now(), Arc::clone(&self.vault));
        let proved = self.store.read(move |db| prove(db, &vault, &ask, now)).await;
        if proved.as_ref().is_err_and(|why| matches!(why, Refusal::Forged | Refusal::Malformed)) {
            self.attempt(&Try::Forgery(from))?;
        }
        let proved = proved?;
        self.attempt(&Try::Enrol { group: proved.group, account: proved.account })?;
        let (vault, memory) = (Arc::clone(&self.vault), Arc::clone(&self.memory));
        let span = Validity { now, valid: self.valid };
        let answer = move |db: &Connection| {
            let desk = Desk::open(db, &vault, span, &proved)?;
            if !desk.group.held && desk.list_number()? < proved.list {
                memory.say_outdated((desk.group.id, &desk.group.name), proved.list);
            }
            desk.answer()
        };
        self.store.write(answer).await
    }
}

/// Whether the request is the user's and fresh; strangers and wrong keys have one answer.
fn prove(db: &Connection, vault: &Vault, ask: &Enrol, now: i64) -> Result<Proved, Refusal> {
    let nonce = unhex(&ask.nonce).filter(|nonce| nonce.len() == 16).ok_or(Refusal::Malformed)?;
    if ask.request.len() > REQUEST_MAX {
        return Err(Refusal::TooLong);
    }
    let group = group(db, &ask.group)?.ok_or(Refusal::Forged)?;
    let member = member_called(db, group.id, &ask.user)?.ok_or(Refusal::Forged)?;
    let key = member.key(vault, &group).map_err(|why| match why {
        Refusal::NotMember => Refusal::Forged,
        other => other,
    })?;
    if !same(ask.code(&key)?.as_bytes(), ask.mac.as_bytes()) {
        return Err(Refusal::Forged);
    }
    if ask.time.abs_diff(now) > FRESH.unsigned_abs() {
        return Err(Refusal::Stale);
    }
    let request = X509Req::from_pem(ask.request.as_bytes()).map_err(|_| Refusal::BadRequest)?;
    let key = keys::requested(&request).map_err(|_| Refusal::BadRequest)?;
    let address = own_address(&key)?.to_string();
    let (group, account, name) = (group.id, member.account, member.name);
    Ok(Proved { group, account, name, key, address, nonce, list: ask.list })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|letter| letter.is_ascii_hexdigit());
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    if is_hex { (0..text.len()).step_by(2).map(byte).collect() } else { None }
}

/// When certificates are signed, and how long they are valid.
#[derive(Clone, Copy)]
struct Validity {
    now: i64,
    valid: i64,
}

/// One request, in the write that answers it.
struct Desk<'a> {
    db: &'a Connection,
    vault: &'a Vault,
    now: i64,
    valid: i64,
    ask: &'a Proved,
    group: Group,
    member: Member,
}

struct Known {
    id: i64,
    account: i64,
    state: NodeState,
}

impl<'a> Desk<'a> {
    /// Looks again at what may have changed since the request was proved, and takes its nonce.
    fn open(
        db: &'a Connection,
        vault: &'a Vault,
        Validity { now, valid }: Validity,
        ask: &'a Proved,
    ) -> Result<Self, Refusal> {
        let group = crate::groups::group_numbered(db, ask.group)?.ok_or(Refusal::Forged)?;
        let member = member_called(db, ask.group, &ask.name)?.ok_or(Refusal::Forged)?;
        match member.state {
            State::Member => {}
            State::Revoked => return Err(Refusal::Revoked),
            _ => return Err(Refusal::NotMember),
        }
        let sql = "INSERT INTO nonces (group_id, account, nonce, at) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT DO NOTHING";
        if db.execute(sql, params![ask.group, ask.account, ask.nonce, now])? == 0 {
            return Err(Refusal::Replayed);
        }
        Ok(Self { db, vault, now, valid, ask, group, member })
    }

    fn answer(&self) -> Result<Enrolled, Refusal> {
        if self.list_number()? < self.ask.list || self.group.held {
            return Err(Refusal::Restored);
        }
        let node = match self.known()? {
            Some(node) if node.account != self.ask.account => return Err(Refusal::OtherNode),
            Some(node) => self.seen(&node)?,
            None => self.enter()?,
        };
        match node.state {
            NodeState::Admitted => self.certificate(node.id),
            NodeState::Waiting => Ok(Enrolled::Waiting { again: ASK_AGAIN }),
            NodeState::Refused => Err(Refusal::Refused),
            NodeState::Revoked | NodeState::Gone => Err(Refusal::Revoked),
        }
    }

    fn list_number(&self) -> Result<i64, Refusal> {
        let sql = "SELECT coalesce(max(number), 0) FROM lists WHERE group_id = ?1";
        Ok(self.db.query_row(sql, [self.group.id], |row| row.get(0))?)
    }

    fn known(&self) -> Result<Option<Known>, Refusal> {
        let sql = "SELECT id, account, state FROM nodes WHERE group_id = ?1 AND address = ?2";
        let read = |row: &Row<'_>| Ok(Known { id: row.get(0)?, account: row.get(1)?, state: row.get(2)? });
        Ok(self.db.query_row(sql, params![self.group.id, self.ask.address], read).optional()?)
    }

    /// A node that asked before; one whose user had left is judged anew.
    fn seen(&self, node: &Known) -> Result<Known, Refusal> {
        let state = if node.state == NodeState::Gone { self.first_state()? } else { node.state };
        let sql = "UPDATE nodes SET seen = ?2, state = ?3 WHERE id = ?1";
        self.db.execute(sql, params![node.id, self.now, state])?;
        Ok(Known { state, ..*node })
    }

    fn enter(&self) -> Result<Known, Refusal> {
        let (state, account) = (self.first_state()?, self.ask.account);
        let sql = "INSERT INTO nodes (group_id, account, address, state, since, seen)
            VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
        self.db.execute(sql, params![self.group.id, account, self.ask.address, state, self.now])?;
        let id = self.db.last_insert_rowid();
        if state == NodeState::Waiting {
            self.note("ask for node", &self.ask.address)?;
        }
        Ok(Known { id, account, state })
    }

    /// What the policy says of a node that is new.
    fn first_state(&self) -> Result<NodeState, Refusal> {
        let sql = "SELECT count(*) FILTER (WHERE state NOT IN ('gone', 'revoked')),
            count(*) FILTER (WHERE state IN ('admitted', 'revoked')), count(*)
            FROM nodes WHERE group_id = ?1 AND account = ?2";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let place = params![self.group.id, self.ask.account];
        let (own, signed, ever): (i64, i64, i64) = self.db.query_row(sql, place, read)?;
        if own >= NODES_MAX || ever >= NODES_EVER_MAX {
            return Err(Refusal::TooMany);
        }
        let at_once = match self.group.policy {
            Policy::Sign => true,
            Policy::First(number) => signed < i64::from(number),
            Policy::Ask => false,
        };
        Ok(if at_once { NodeState::Admitted } else { NodeState::Waiting })
    }

    /// The node's newest certificate while more than half of it is left, so that an answer that was lost is given again;
    /// else a new one.
    fn certificate(&self, node: i64) -> Result<Enrolled, Refusal> {
        // Also says whether anything may be signed at all.
        let key = self.group.key(self.vault, self.now)?;
        let sql = "SELECT serial, ends, der FROM certificates WHERE node = ?1 AND made <= ?2 AND ends > ?3
            AND serial NOT IN (SELECT serial FROM revoked_serials WHERE group_id = ?4)
            ORDER BY id DESC LIMIT 1";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let place = params![node, self.now, self.now + self.valid / 2, self.group.id];
        let known: Option<(String, i64, Vec<u8>)> = self.db.query_row(sql, place, read).optional()?;
        match known {
            Some((serial, ends, der)) => self.issued(&X509::from_der(&der)?, serial, ends),
            None => self.sign(node, &self.group.pen(&key)),
        }
    }

    fn sign(&self, node: i64, pen: &crate::authority::Pen<'_>) -> Result<Enrolled, Refusal> {
        let serial = random_serial()?;
        let ends = (self.now + self.valid).min(self.group.ends);
        let leaf = Leaf {
            key: &self.ask.key,
            group: &self.group.name,
            user: &self.member.name,
            address: self.ask.address.parse().map_err(|_| Refusal::Broken)?,
            serial: &serial,
        };
        let certificate = pen.leaf(&leaf, Span { now: wall(self.now), until: wall(ends) })?;
        let serial = serial.to_string();
        let sql = "INSERT INTO certificates (group_id, serial, node, user, made, ends, der)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (group, der) = (self.group.id, certificate.to_der()?);
        self.db.execute(sql, params![group, serial, node, self.member.name, self.now, ends, der])?;
        self.note("certificate", &format!("{serial} for {}", self.ask.address))?;
        self.issued(&certificate, serial, ends)
    }

    fn issued(&self, certificate: &X509, serial: String, ends: i64) -> Result<Enrolled, Refusal> {
        let pem = |certificate: &X509| String::from_utf8(certificate.to_pem()?).map_err(|_| Refusal::Broken);
        let authority = pem(&self.group.authority()?)?;
        let list = self.list_number()?;
        let epoch = self.epoch();
        Ok(Enrolled::Issued { certificate: pem(certificate)?, authority, serial, ends, list, epoch })
    }

    /// A certificate without the salt is better than none: the node asks again.
    fn epoch(&self) -> Option<EpochPart> {
        let last = epochs(self.db, self.vault, (self.group.id, 1)).unwrap_or_else(|refusal| {
            tracing::warn!(group = self.group.name, %refusal, "the group's salt cannot be read");
            Vec::new()
        });
        let part = |epoch: &Epoch| EpochPart { number: epoch.number, salt: hex(&epoch.salt.0) };
        last.first().map(part)
    }

    fn note(&self, act: &str, subject: &str) -> Result<(), Refusal> {
        note(self.db, (self.group.id, self.now), [&self.member.name, act, subject])
    }
}
