//! Asking, being let in or refused, leaving, administrators, policy, and the key of a member's file.

use rusqlite::{Connection, params};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use super::rows::{Group, Member, Policy, State, member_called};
use super::{At, Rank, Scene};
use crate::accounts::Account;
use crate::refusal::Refusal;
use crate::revocation;
use crate::site::Site;
use crate::vault::Vault;

/// Bytes of the key that a member shares with the site.
const KEY: usize = 32;
/// Members of one group.
const MEMBERS_MAX: i64 = 100_000;
/// Requests of one group that wait for an answer.
const ASKING_MAX: i64 = 10_000;

/// Somebody who becomes a member.
pub(crate) struct Admission<'a> {
    pub(crate) group: &'a Group,
    pub(crate) account: &'a Account,
    pub(crate) admin: bool,
    pub(crate) now: i64,
}

/// Makes somebody a member, with a new key.
pub(crate) fn admit(db: &Connection, vault: &Vault, who: &Admission<'_>) -> Result<(), Refusal> {
    bounded(db, who.group.id, State::Member, MEMBERS_MAX)?;
    let key = fresh_key(vault, who.group.id, who.account.id)?;
    let sql = "INSERT INTO members (group_id, account, name, admin, state, key, since)
        VALUES (?1, ?2, ?3, ?4, 'member', ?5, ?6)
        ON CONFLICT DO UPDATE SET state = 'member', admin = excluded.admin, key = excluded.key,
            since = excluded.since";
    db.execute(sql, params![who.group.id, who.account.id, who.account.name, who.admin, key, who.now])?;
    Ok(())
}

fn fresh_key(vault: &Vault, group: i64, account: i64) -> Result<Vec<u8>, Refusal> {
    let mut key = Zeroizing::new([0; KEY]);
    getrandom(&mut *key, GetRandomFlags::empty()).map_err(std::io::Error::from)?;
    Ok(vault.seal(&Member::place(group, account), &*key)?)
}

/// Refuses if as many are in this state as there may be.
fn bounded(db: &Connection, group: i64, state: State, most: i64) -> Result<(), Refusal> {
    let sql = "SELECT count(*) FROM members WHERE group_id = ?1 AND state = ?2";
    let count: i64 = db.query_row(sql, params![group, state], |row| row.get(0))?;
    if count < most { Ok(()) } else { Err(Refusal::TooMany) }
}

impl Site {
    /// Asks to be let in.
    ///
    /// # Errors
    /// Who is in, has asked already or was revoked does not ask.
    pub async fn ask(&self, at: &At) -> Result<(), Refusal> {
        self.change(at, Rank::Anyone, |scene| {
            may_enter(scene)?;
            if scene.member.as_ref().is_some_and(|member| member.state == State::Asking) {
                return Err(Refusal::State);
            }
            bounded(scene.db, scene.group.id, State::Asking, ASKING_MAX)?;
            let sql = "INSERT INTO members (group_id, account, name, state, since)
                VALUES (?1, ?2, ?3, 'asking', ?4)
                ON CONFLICT DO UPDATE SET state = 'asking', since = excluded.since";
            let account = &scene.account;
            scene.db.execute(sql, params![scene.group.id, account.id, account.name, scene.now])?;
            scene.note("ask", &account.name)
        })
        .await
    }

    /// Lets somebody in who asked, or refuses.
    ///
    /// # Errors
    /// Only an administrator may, and only if it was asked.
    pub async fn decide(&self, at: &At, user: &str, admitted: bool) -> Result<(), Refusal> {
        let user = user.to_owned();
        self.change(at, Rank::Administrator, move |scene| {
            let member = scene.member_called(&user)?;
            if member.state != State::Asking {
                return Err(Refusal::State);
            }
            if !admitted {
                set_state(scene, &member, State::Refused)?;
                return scene.note("refuse", &member.name);
            }
            let account = Account { id: member.account, name: member.name.clone() };
            let (group, now) = (&scene.group, scene.now);
            admit(scene.db, scene.vault, &Admission { group, account: &account, admin: false, now })?;
            scene.note("admit", &member.name)
        })
        .await
    }

    /// Leaves: every certificate of the member is revoked, and it may ask again.
    ///
    /// # Errors
    /// The last administrator stays.
    pub async fn leave(&self, at: &At) -> Result<(), Refusal> {
        self.change(at, Rank::Member, |scene| {
            let member = scene.member.clone().ok_or(Refusal::NotMember)?;
            keep_administrator(scene, &member)?;
            set_state(scene, &member, State::Left)?;
            forget_invitations(scene, &member)?;
            scene.note("leave", &member.name)?;
            revocation::end_nodes(scene, &member, "gone")
        })
        .await
    }

    /// Revokes a user for good: every certificate that there is, and none will be given again.
    ///
    /// # Errors
    /// Only an administrator may; the last one stays. A name that the group does not know may be mistyped: for that there is
    /// [`Site::revoke_name`].
    pub async fn revoke_user(&self, at: &At, user: &str) -> Result<(), Refusal> {
        let user = user.to_owned();
        self.change(at, Rank::Administrator, move |scene| {
            match member_called(scene.db, scene.group.id, &user)? {
                Some(member) if member.state != State::Revoked => revoke(scene, &member),
                None if !is_listed(scene, &user)? => Err(Refusal::Unknown),
                _ => Err(Refusal::State),
            }
        })
        .await
    }

    /// Names an administrator, or takes that back.
    ///
    /// # Errors
    /// Only an administrator may; the last one stays.
    pub async fn set_administrator(&self, at: &At, user: &str, admin: bool) -> Result<(), Refusal> {
        let user = user.to_owned();
        self.change(at, Rank::Administrator, move |scene| {
            let member = scene.member_called(&user)?;
            if member.state != State::Member || member.admin == admin {
                return Err(Refusal::State);
            }
            keep_administrator(scene, &member)?;
            let sql = "UPDATE members SET admin = ?3 WHERE group_id = ?1 AND account = ?2";
            scene.db.execute(sql, params![scene.group.id, member.account, admin])?;
            scene.note(if admin { "name administrator" } else { "unname administrator" }, &member.name)
        })
        .await
    }

    /// Says when nodes get their first certificate.
    ///
    /// # Errors
    /// Only an administrator may.
    pub async fn set_policy(&self, at: &At, policy: Policy) -> Result<(), Refusal> {
        self.change(at, Rank::Administrator, move |scene| {
            let sql = "UPDATE groups SET policy = ?2, first = ?3 WHERE id = ?1";
            scene.db.execute(sql, params![scene.group.id, policy.word(), policy.number()])?;
            let subject = match policy {
                Policy::First(number) => format!("first {number}"),
                other => other.word().to_owned(),
            };
            scene.note("set policy", &subject)
        })
        .await
    }

    /// Makes a new key for the member's file: what was downloaded before is of no use any more.
    ///
    /// # Errors
    /// Only a member may.
    pub async fn renew_key(&self, at: &At) -> Result<(), Refusal> {
        self.change(at, Rank::Member, |scene| {
            let key = fresh_key(scene.vault, scene.group.id, scene.account.id)?;
            let place = params![scene.group.id, scene.account.id, key];
            scene.db.execute("UPDATE members SET key = ?3 WHERE group_id = ?1 AND account = ?2", place)?;
            let place = params![scene.group.id, scene.account.id];
            scene.db.execute("DELETE FROM links WHERE group_id = ?1 AND account = ?2", place)?;
            scene.note("renew file", &scene.account.name)
        })
        .await
    }
}

/// Revokes a member for good.
pub(super) fn revoke(scene: &Scene<'_>, member: &Member) -> Result<(), Refusal> {
    keep_administrator(scene, member)?;
    set_state(scene, member, State::Revoked)?;
    forget_invitations(scene, member)?;
    scene.note("revoke user", &member.name)?;
    let sql = "INSERT INTO revoked_users (group_id, user, at) VALUES (?1, ?2, ?3)
        ON CONFLICT DO NOTHING";
    scene.db.execute(sql, params![scene.group.id, member.name, scene.now])?;
    revocation::end_nodes(scene, member, "revoked")
}

/// Whether a name is revoked, however it is spelled.
pub(super) fn is_listed(scene: &Scene<'_>, name: &str) -> Result<bool, Refusal> {
    let sql = "SELECT count(*) FROM revoked_users WHERE group_id = ?1 AND user = ?2 COLLATE NOCASE";
    let listed: i64 = scene.db.query_row(sql, params![scene.group.id, name], |row| row.get(0))?;
    Ok(listed > 0)
}

/// Whether somebody who is not in may come in.
pub(super) fn may_enter(scene: &Scene<'_>) -> Result<(), Refusal> {
    let revoked = is_listed(scene, &scene.account.name)?;
    match scene.member.as_ref().map(|member| member.state) {
        _ if revoked => Err(Refusal::Revoked),
        Some(State::Revoked) => Err(Refusal::Revoked),
        Some(State::Member) => Err(Refusal::State),
        _ => Ok(()),
    }
}

fn set_state(scene: &Scene<'_>, member: &Member, state: State) -> Result<(), Refusal> {
    // The key stays: it proves who is told that the membership is over.
    let sql = "UPDATE members SET state = ?3, admin = 0, since = ?4
        WHERE group_id = ?1 AND account = ?2";
    scene.db.execute(sql, params![scene.group.id, member.account, state, scene.now])?;
    Ok(())
}

fn forget_invitations(scene: &Scene<'_>, member: &Member) -> Result<(), Refusal> {
    let (group, db) = (scene.group.id, scene.db);
    db.execute("DELETE FROM invitations WHERE group_id = ?1 AND maker = ?2", params![group, member.name])?;
    db.execute("DELETE FROM links WHERE group_id = ?1 AND account = ?2", params![group, member.account])?;
    Ok(())
}

fn keep_administrator(scene: &Scene<'_>, member: &Member) -> Result<(), Refusal> {
    let sql = "SELECT count(*) FROM members WHERE group_id = ?1 AND admin AND state = 'member'
        AND account <> ?2";
    let place = params![scene.group.id, member.account];
    let others: i64 = scene.db.query_row(sql, place, |row| row.get(0))?;
    if member.admin && others == 0 { Err(Refusal::LastAdministrator) } else { Ok(()) }
}
