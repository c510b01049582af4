//! What pages and programs see of groups, a bounded piece at a time.

use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::nodes::Node;
use super::rows::{Policy, State};
use super::{At, Rank};
use crate::accounts::Account;
use crate::refusal::Refusal;
use crate::site::Site;

/// Rows of one page.
pub const ROWS_MAX: i64 = 50;
/// Groups that somebody's own page shows.
const MINE_MAX: i64 = 500;

/// A group of somebody's.
#[derive(Clone, Debug, Serialize)]
pub struct Mine {
    /// Its name.
    pub group: String,
    /// What one is there.
    pub state: &'static str,
    /// Whether one administrates it.
    pub administrator: bool,
}

/// A group, as one of its members sees it, or somebody else.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// Its name.
    pub group: String,
    /// What one is there; nothing if one never asked.
    pub state: Option<&'static str>,
    /// Whether one administrates it.
    pub administrator: bool,
    /// What only members see.
    pub inside: Option<Inside>,
}

/// What only members see of a group.
#[derive(Clone, Debug, Serialize)]
pub struct Inside {
    /// How many members there are.
    pub members: i64,
    /// How many people ask to be let in.
    pub asking: i64,
    /// How many nodes wait for an administrator.
    pub waiting: i64,
    /// When nodes get a certificate: `sign`, `first` or `ask`.
    pub policy: &'static str,
    /// The number of `first`.
    pub first: u16,
    /// The number of the newest revocation list.
    pub list: i64,
    /// When the authority ends, in seconds since 1970 (UTC).
    pub ends: i64,
    /// Nothing is signed: the database was restored, or may have been, and revocations are missing.
    pub held: bool,
}

/// A member among others.
#[derive(Clone, Debug, Serialize)]
pub struct MemberRow {
    /// The user's name.
    pub user: String,
    /// Whether it administrates the group.
    pub administrator: bool,
    /// Since when, in seconds since 1970 (UTC).
    pub since: i64,
    /// How many nodes it has that get certificates.
    pub nodes: i64,
}

/// A line of the audit log.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its number; it grows.
    pub id: i64,
    /// When, in seconds since 1970 (UTC).
    pub at: i64,
    /// Who did it.
    pub actor: String,
    /// What.
    pub act: String,
    /// To whom or what.
    pub subject: String,
}

/// Some rows, and where the next ones begin.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// At most 50.
    pub rows: Vec<T>,
    /// What to ask for to see the next ones; nothing at the end.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Of one row more than a page has.
    fn of(mut rows: Vec<T>, mark: impl FnOnce(&T) -> String) -> Self {
        let more = rows.len() as i64 > ROWS_MAX;
        rows.truncate(ROWS_MAX as usize);
        let next = rows.last().filter(|_| more).map(mark);
        Self { rows, next }
    }
}

fn count(db: &Connection, sql: &str, group: i64) -> Result<i64, Refusal> {
    Ok(db.query_row(sql, [group], |row| row.get(0))?)
}

impl Site {
    /// Somebody's groups.
    ///
    /// # Errors
    /// Nothing can be read.
    pub async fn mine(&self, account: &Account) -> Result<Vec<Mine>, Refusal> {
        let id = account.id;
        let ask = move |db: &Connection| {
            let sql = "SELECT groups.name, members.state, members.admin FROM members
                JOIN groups ON groups.id = members.group_id WHERE members.account = ?1
                ORDER BY groups.name LIMIT ?2";
            let mut rows = db.prepare(sql)?;
            let read = |row: &Row<'_>| {
                let state: State = row.get(1)?;
                Ok(Mine { group: row.get(0)?, state: state.word(), administrator: row.get(2)? })
            };
            let rows = rows.query_map(params![id, MINE_MAX], read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        self.store.read(ask).await
    }

    /// What one sees of a group.
    ///
    /// # Errors
    /// There is no such group.
    pub async fn overview(&self, at: &At) -> Result<Overview, Refusal> {
        self.look(at, Rank::Anyone, |scene| {
            let member = scene.member.as_ref();
            let is_in = member.is_some_and(|member| member.state == State::Member);
            let of = |state: State| -> Result<i64, Refusal> {
                let sql = "SELECT count(*) FROM members WHERE group_id = ?1 AND state = ?2";
                Ok(scene.db.query_row(sql, params![scene.group.id, state], |row| row.get(0))?)
            };
            let (group, policy) = (&scene.group, scene.group.policy);
            let inside = || -> Result<Inside, Refusal> {
                let waiting = "SELECT count(*) FROM nodes WHERE group_id = ?1 AND state = 'waiting'";
                let list = "SELECT coalesce(max(number), 0) FROM lists WHERE group_id = ?1";
                Ok(Inside {
                    members: of(State::Member)?,
                    asking: of(State::Asking)?,
                    waiting: count(scene.db, waiting, group.id)?,
                    policy: policy.word(),
                    first: Policy::number(policy),
                    list: count(scene.db, list, group.id)?,
                    ends: group.ends,
                    held: group.held,
                })
            };
            Ok(Overview {
                group: group.name.clone(),
                state: member.map(|member| member.state.word()),
                administrator: is_in && member.is_some_and(|member| member.admin),
                inside: is_in.then(inside).transpose()?,
            })
        })
        .await
    }

    /// Members, or those who ask to be, by name; those behind `after`.
    ///
    /// # Errors
    /// Only a member may see them, and only an administrator who asks.
    pub async fn members(&self, at: &At, state: State, after: &str) -> Result<Page<MemberRow>, Refusal> {
        let rank = if state == State::Member { Rank::Member } else { Rank::Administrator };
        let after = after.to_owned();
        self.look(at, rank, move |scene| {
            let sql = "SELECT name, admin, since, (SELECT count(*) FROM nodes
                    WHERE nodes.group_id = members.group_id AND nodes.account = members.account
                    AND nodes.state = 'admitted')
                FROM members WHERE group_id = ?1 AND state = ?2 AND name > ?3 ORDER BY name LIMIT ?4";
            let mut rows = scene.db.prepare(sql)?;
            let read = |row: &Row<'_>| {
                let (user, administrator) = (row.get(0)?, row.get(1)?);
                Ok(MemberRow { user, administrator, since: row.get(2)?, nodes: row.get(3)? })
            };
            let rows = rows.query_map(params![scene.group.id, state, after, ROWS_MAX + 1], read)?;
            Ok(Page::of(rows.collect::<Result<_, _>>()?, |row: &MemberRow| row.user.clone()))
        })
        .await
    }

    /// The nodes of one member.
    ///
    /// # Errors
    /// Only a member may see them.
    pub async fn nodes(&self, at: &At, user: &str) -> Result<Vec<Node>, Refusal> {
        let user = user.to_owned();
        self.look(at, Rank::Member, move |scene| {
            let member = scene.member_called(&user)?;
            let sql = format!("{NODES} WHERE nodes.group_id = ?1 AND nodes.account = ?2 ORDER BY nodes.id");
            let mut rows = scene.db.prepare(&sql)?;
            let rows = rows.query_map(params![scene.group.id, member.account], Node::read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The nodes that wait for an administrator, those behind `after`.
    ///
    /// # Errors
    /// Only an administrator may see them.
    pub async fn waiting(&self, at: &At, after: &str) -> Result<Page<Node>, Refusal> {
        let after = after.to_owned();
        self.look(at, Rank::Administrator, move |scene| {
            let sql = format!(
                "{NODES} WHERE nodes.group_id = ?1 AND nodes.state = 'waiting' AND nodes.address > ?2
                ORDER BY nodes.address LIMIT ?3"
            );
            let mut rows = scene.db.prepare(&sql)?;
            let rows = rows.query_map(params![scene.group.id, after, ROWS_MAX + 1], Node::read)?;
            Ok(Page::of(rows.collect::<Result<_, _>>()?, |node: &Node| node.address.clone()))
        })
        .await
    }

    /// The audit log, the newest first; those before the line of this number.
    ///
    /// # Errors
    /// Only an administrator may see it.
    pub async fn audit(&self, at: &At, before: Option<i64>) -> Result<Page<Entry>, Refusal> {
        self.look(at, Rank::Administrator, move |scene| {
            let sql = "SELECT id, at, actor, act, subject FROM audit
                WHERE group_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
            let mut rows = scene.db.prepare(sql)?;
            let read = |row: &Row<'_>| {
                let (id, at, actor) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Entry { id, at, actor, act: row.get(3)?, subject: row.get(4)? })
            };
            let before = before.unwrap_or(i64::MAX);
            let rows = rows.query_map(params![scene.group.id, before, ROWS_MAX + 1], read)?;
            Ok(Page::of(rows.collect::<Result<_, _>>()?, |entry: &Entry| entry.id.to_string()))
        })
        .await
    }
}

/// Nodes with their newest certificates.
const NODES: &str = "SELECT (SELECT name FROM accounts WHERE id = nodes.account), nodes.address,
    nodes.state, nodes.since, nodes.seen, newest.serial, newest.ends
    FROM nodes LEFT JOIN certificates AS newest
    ON newest.id = (SELECT max(id) FROM certificates WHERE node = nodes.id)";
