//! Rows of groups and of members, as types.

use atoll_core::security::Wall;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use crate::authority::Pen;
use crate::refusal::Refusal;
use crate::vault::Vault;

/// When a node gets its first certificate without being asked about. One that has had a certificate gets the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Always.
    Sign,
    /// If its user has fewer nodes than this.
    First(u16),
    /// Never: an administrator admits each.
    Ask,
}

impl Policy {
    /// From its word and number, as forms and rows have them.
    #[must_use]
    pub fn of(word: &str, first: u16) -> Option<Self> {
        match word {
            "sign" => Some(Self::Sign),
            "first" if first > 0 => Some(Self::First(first)),
            "ask" => Some(Self::Ask),
            _ => None,
        }
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::First(_) => "first",
            Self::Ask => "ask",
        }
    }

    /// The number of `First`; 1 for the others.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::First(number) => number,
            _ => 1,
        }
    }
}

/// What somebody is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked to be let in.
    Asking,
    /// Is in.
    Member,
    /// Was refused; may ask again.
    Refused,
    /// Left; may ask again.
    Left,
    /// Was revoked, for good.
    Revoked,
}

impl State {
    const ALL: [Self; 5] = [Self::Asking, Self::Member, Self::Refused, Self::Left, Self::Revoked];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Asking => "asking",
            Self::Member => "member",
            Self::Refused => "refused",
            Self::Left => "left",
            Self::Revoked => "revoked",
        }
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.word().into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        Self::ALL.into_iter().find(|state| state.word() == word).ok_or(FromSqlError::InvalidType)
    }
}

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// Of the authority, in DER.
    pub(crate) certificate: Vec<u8>,
    key: Vec<u8>,
    secret: Vec<u8>,
    /// When the authority ends.
    pub(crate) ends: i64,
    pub(crate) policy: Policy,
    /// Nothing is signed: revocations are missing.
    pub(crate) held: bool,
}

impl Group {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (word, first): (String, u16) = (row.get("policy")?, row.get("first")?);
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            certificate: row.get("certificate")?,
            key: row.get("key")?,
            secret: row.get("secret")?,
            ends: row.get("ends")?,
            policy: Policy::of(&word, first).unwrap_or(Policy::Ask),
            held: row.get("held")?,
        })
    }

    /// Where the group's things are sealed for.
    pub(crate) fn place(name: &str, what: &str) -> String {
        format!("group {} {what}", name.to_ascii_lowercase())
    }

    fn open(&self, vault: &Vault, what: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        vault.open_sealed(&Self::place(&self.name, what), sealed).map_err(|error| {
            tracing::warn!(group = self.name, what, %error, "cannot be opened");
            Refusal::Broken
        })
    }

    /// The group's secret.
    pub(crate) fn secret(&self, vault: &Vault) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        self.open(vault, "secret", &self.secret)
    }

    /// The authority's key, unless nothing may be signed with it.
    pub(crate) fn key(&self, vault: &Vault, now: i64) -> Result<PKey<Private>, Refusal> {
        if self.held {
            return Err(Refusal::Restored);
        }
        if self.ends <= now {
            return Err(Refusal::AuthorityEnded);
        }
        Ok(PKey::private_key_from_pkcs8(&self.open(vault, "key", &self.key)?)?)
    }

    /// The same, with nothing in the way of signing.
    pub(crate) fn freed(&self) -> Self {
        Self { held: false, ..self.clone() }
    }

    pub(crate) fn pen<'a>(&'a self, key: &'a PKey<Private>) -> Pen<'a> {
        Pen { key, group: &self.name }
    }

    pub(crate) fn until(&self) -> Wall {
        wall(self.ends)
    }

    pub(crate) fn authority(&self) -> Result<X509, Refusal> {
        Ok(X509::from_der(&self.certificate)?)
    }
}

/// A time of the database as the wall clock has it.
pub(crate) fn wall(seconds: i64) -> Wall {
    Wall(u64::try_from(seconds).unwrap_or(0))
}

/// Somebody's place in a group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) account: i64,
    pub(crate) name: String,
    pub(crate) admin: bool,
    pub(crate) state: State,
    key: Option<Vec<u8>>,
}

impl Member {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            account: row.get("account")?,
            name: row.get("name")?,
            admin: row.get("admin")?,
            state: row.get("state")?,
            key: row.get("key")?,
        })
    }

    pub(crate) fn place(group: i64, account: i64) -> String {
        format!("member {group} {account}")
    }

    /// The key that the member's nodes show to the site.
    pub(crate) fn key(&self, vault: &Vault, group: &Group) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let sealed = self.key.as_ref().ok_or(Refusal::NotMember)?;
        vault.open_sealed(&Self::place(group.id, self.account), sealed).map_err(|_| Refusal::Broken)
    }
}

pub(crate) fn group(db: &Connection, name: &str) -> Result<Option<Group>, Refusal> {
    Ok(db.query_row("SELECT * FROM groups WHERE name = ?1", [name], Group::read).optional()?)
}

pub(crate) fn group_numbered(db: &Connection, id: i64) -> Result<Option<Group>, Refusal> {
    Ok(db.query_row("SELECT * FROM groups WHERE id = ?1", [id], Group::read).optional()?)
}

pub(crate) fn member(db: &Connection, group: i64, account: i64) -> Result<Option<Member>, Refusal> {
    let sql = "SELECT * FROM members WHERE group_id = ?1 AND account = ?2";
    Ok(db.query_row(sql, params![group, account], Member::read).optional()?)
}

pub(crate) fn member_called(db: &Connection, group: i64, name: &str) -> Result<Option<Member>, Refusal> {
    let sql = "SELECT members.* FROM accounts JOIN members ON members.account = accounts.id
        WHERE accounts.name = ?2 AND members.group_id = ?1";
    Ok(db.query_row(sql, params![group, name], Member::read).optional()?)
}
