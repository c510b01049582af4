//! Groups: who founds, asks, invites, is let in, leaves and administrates.
//!
//! Everything that is done to a group is done in one write, which judges whether the one who asks may, and notes it in the
//! group's audit log.

mod found;
mod invitations;
mod membership;
mod nodes;
mod rows;
mod unknown;
mod view;

use std::cell::Cell;
use std::sync::Arc;

use rusqlite::{Connection, params};

pub use invitations::Invitation;
pub use nodes::{Node, NodeState};
pub(crate) use rows::{Group, Member, group, group_numbered, member, member_called, wall};
pub use rows::{Policy, State};
pub use unknown::Unknown;
pub use view::{Entry, Inside, MemberRow, Mine, Overview, Page, ROWS_MAX};

use crate::accounts::Account;
use crate::refusal::Refusal;
use crate::revocation::Listed;
use crate::site::Site;
use crate::vault::Vault;

/// What somebody has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    Anyone,
    Member,
    Administrator,
}

/// A group, and the one who does something there.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) vault: &'a Vault,
    pub(crate) now: i64,
    pub(crate) group: Group,
    pub(crate) account: Account,
    pub(crate) member: Option<Member>,
    /// The number of the list that was signed meanwhile.
    pub(crate) listed: Cell<Option<i64>>,
}

impl Scene<'_> {
    /// Writes a line into the group's audit log.
    pub(crate) fn note(&self, act: &str, subject: &str) -> Result<(), Refusal> {
        note(self.db, (self.group.id, self.now), [&self.account.name, act, subject])
    }

    fn check(&self, rank: Rank) -> Result<(), Refusal> {
        let member = self.member.as_ref().filter(|member| member.state == State::Member);
        match rank {
            Rank::Anyone => Ok(()),
            Rank::Member if member.is_some() => Ok(()),
            Rank::Administrator if member.is_some_and(|member| member.admin) => Ok(()),
            Rank::Administrator if member.is_some() => Err(Refusal::NotAdministrator),
            Rank::Member | Rank::Administrator => Err(Refusal::NotMember),
        }
    }

    /// Another account's place in the group.
    pub(crate) fn member_called(&self, name: &str) -> Result<Member, Refusal> {
        member_called(self.db, self.group.id, name)?.ok_or(Refusal::NotFound)
    }
}

/// Writes a line into a group's audit log: who did what to whom.
pub(crate) fn note(
    db: &Connection,
    (group, now): (i64, i64),
    [actor, act, subject]: [&str; 3],
) -> Result<(), Refusal> {
    let sql = "INSERT INTO audit (group_id, at, actor, act, subject) VALUES (?1, ?2, ?3, ?4, ?5)";
    db.execute(sql, params![group, now, actor, act, subject])?;
    Ok(())
}

/// Who asks, and in which group.
#[derive(Clone, Debug)]
pub struct At {
    /// Who is logged in.
    pub account: Account,
    /// The group's name.
    pub group: String,
}

impl At {
    /// Somebody in a group.
    #[must_use]
    pub fn new(account: &Account, group: &str) -> Self {
        Self { account: account.clone(), group: group.to_owned() }
    }

    fn scene<'a>(
        self,
        db: &'a Connection,
        (vault, now): (&'a Vault, i64),
        rank: Rank,
    ) -> Result<Scene<'a>, Refusal> {
        let group = group(db, &self.group)?.ok_or(Refusal::NotFound)?;
        let member = member(db, group.id, self.account.id)?;
        let scene = Scene { db, vault, now, group, account: self.account, member, listed: Cell::new(None) };
        scene.check(rank)?;
        Ok(scene)
    }
}

impl Site {
    /// Changes something in a group.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        at: &At,
        rank: Rank,
        act: impl FnOnce(&Scene<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (at, vault, now) = (at.clone(), Arc::clone(&self.vault), self.now());
        let change = move |db: &Connection| {
            let scene = at.scene(db, (&vault, now), rank)?;
            let done = act(&scene)?;
            let listed = scene.listed.get().map(|number| Listed { group: scene.group.name, number });
            Ok((done, listed))
        };
        self.write_list(change).await
    }

    /// Looks something up in a group.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        at: &At,
        rank: Rank,
        ask: impl FnOnce(&Scene<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (at, vault, now) = (at.clone(), Arc::clone(&self.vault), self.now());
        self.store.read(move |db| ask(&at.scene(db, (&vault, now), rank)?)).await
    }
}
