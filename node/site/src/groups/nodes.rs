//! A member's nodes: admitted, refused, revoked one by one.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{OptionalExtension as _, Row, params};

use super::{At, Rank, Scene};
use crate::refusal::Refusal;
use crate::revocation;
use crate::site::Site;

/// How far a node's enrolment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// An administrator decides.
    Waiting,
    /// It gets certificates.
    Admitted,
    /// It gets none.
    Refused,
    /// Its certificates were revoked.
    Revoked,
    /// Its user left the group.
    Gone,
}

impl NodeState {
    const ALL: [Self; 5] = [Self::Waiting, Self::Admitted, Self::Refused, Self::Revoked, Self::Gone];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Revoked => "revoked",
            Self::Gone => "gone",
        }
    }
}

impl ToSql for NodeState {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.word().into())
    }
}

impl FromSql for NodeState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        Self::ALL.into_iter().find(|state| state.word() == word).ok_or(FromSqlError::InvalidType)
    }
}

/// A node, and its newest certificate.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Node {
    /// Whose it is.
    pub user: String,
    /// Its place on the ring.
    pub address: String,
    /// How far its enrolment is.
    pub state: NodeState,
    /// When it asked first, and last: seconds since 1970 (UTC).
    pub since: i64,
    /// The same of the last time.
    pub seen: i64,
    /// The serial number of its newest certificate.
    pub serial: Option<String>,
    /// When that one ends.
    pub ends: Option<i64>,
}

impl Node {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            user: row.get(0)?,
            address: row.get(1)?,
            state: row.get(2)?,
            since: row.get(3)?,
            seen: row.get(4)?,
            serial: row.get(5)?,
            ends: row.get(6)?,
        })
    }
}

struct Found {
    id: i64,
    account: i64,
    state: NodeState,
}

fn find(scene: &Scene<'_>, address: &str) -> Result<Found, Refusal> {
    let sql = "SELECT id, account, state FROM nodes WHERE group_id = ?1 AND address = ?2";
    let read = |row: &Row<'_>| Ok(Found { id: row.get(0)?, account: row.get(1)?, state: row.get(2)? });
    let found = scene.db.query_row(sql, params![scene.group.id, address], read).optional()?;
    found.ok_or(Refusal::NotFound)
}

impl Site {
    /// Admits a node that waits, or refuses it; it learns so when it asks again.
    ///
    /// # Errors
    /// Only an administrator may, and only while the node waits or was refused.
    pub async fn decide_node(&self, at: &At, address: &str, admitted: bool) -> Result<(), Refusal> {
        let address = address.to_owned();
        self.change(at, Rank::Administrator, move |scene| {
            let node = find(scene, &address)?;
            let state = if admitted { NodeState::Admitted } else { NodeState::Refused };
            if !matches!(node.state, NodeState::Waiting | NodeState::Refused) || node.state == state {
                return Err(Refusal::State);
            }
            scene.db.execute("UPDATE nodes SET state = ?2 WHERE id = ?1", params![node.id, state])?;
            scene.note(if admitted { "admit node" } else { "refuse node" }, &address)
        })
        .await
    }

    /// Revokes every certificate of one node, for good.
    ///
    /// # Errors
    /// Only its user or an administrator may.
    pub async fn revoke_node(&self, at: &At, address: &str) -> Result<(), Refusal> {
        let address = address.to_owned();
        self.change(at, Rank::Member, move |scene| revoke(scene, &address)).await
    }
}

/// Ends a node for somebody who may.
pub(super) fn revoke(scene: &Scene<'_>, address: &str) -> Result<(), Refusal> {
    let node = find(scene, address)?;
    let is_admin = scene.member.as_ref().is_some_and(|member| member.admin);
    if node.account != scene.account.id && !is_admin {
        return Err(Refusal::NotAdministrator);
    }
    if node.state == NodeState::Revoked {
        return Err(Refusal::State);
    }
    scene.note("revoke node", address)?;
    revocation::end_node(scene, node.id)
}
