//! Revoking what the database does not know: a copy that was put back has forgotten who and what came after it.

use atoll_core::security::Serial;
use rusqlite::{OptionalExtension as _, params};

use super::membership::{is_listed, revoke};
use super::rows::{State, member_called};
use super::{At, Rank, Scene, nodes};
use crate::accounts::is_site_name;
use crate::refusal::Refusal;
use crate::revocation;
use crate::site::Site;

/// What is to be done about somebody or something that the site does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It may be mistyped.
    Refuse,
    /// It was forgotten.
    Revoke,
}

impl Site {
    /// Revokes a user name for good, also one that the group or the whole site does not know.
    ///
    /// # Errors
    /// Only an administrator may; the last one stays. No user has such a name, or it is revoked already.
    pub async fn revoke_name(&self, at: &At, name: &str) -> Result<(), Refusal> {
        let name = name.to_owned();
        self.change(at, Rank::Administrator, move |scene| {
            match member_called(scene.db, scene.group.id, &name)? {
                Some(member) if member.state != State::Revoked => revoke(scene, &member),
                _ if !is_site_name(&name) => Err(Refusal::Name),
                _ => list_name(scene, name),
            }
        })
        .await
    }

    /// Revokes a certificate by its serial number, and the node that has it if the site knows which one that is.
    ///
    /// # Errors
    /// Only an administrator may. It is no serial number, unknown, or revoked already.
    pub async fn revoke_certificate(&self, at: &At, serial: &str, unknown: Unknown) -> Result<(), Refusal> {
        let serial: Serial = serial.parse().map_err(|_| Refusal::Field)?;
        self.change(at, Rank::Administrator, move |scene| {
            let sql = "SELECT nodes.address FROM certificates JOIN nodes ON nodes.id = certificates.node
                WHERE certificates.group_id = ?1 AND certificates.serial = ?2";
            let place = params![scene.group.id, serial.to_string()];
            let node: Option<String> = scene.db.query_row(sql, place, |row| row.get(0)).optional()?;
            match node {
                Some(address) => nodes::revoke(scene, &address),
                None => revocation::end_certificate(scene, serial, unknown),
            }
        })
        .await
    }
}

/// Puts a name on the list. An account that exists is listed as it is written itself, for so its certificates have it.
fn list_name(scene: &Scene<'_>, typed: String) -> Result<(), Refusal> {
    let sql = "SELECT id, name FROM accounts WHERE name = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let account: Option<(i64, String)> = scene.db.query_row(sql, [&typed], read).optional()?;
    let is_first = !is_listed(scene, &typed)?;
    let name = match account {
        Some((id, own)) if is_first => {
            let sql = "INSERT INTO members (group_id, account, name, state, since)
                VALUES (?1, ?2, ?3, 'revoked', ?4) ON CONFLICT DO NOTHING";
            scene.db.execute(sql, params![scene.group.id, id, own, scene.now])?;
            own
        }
        _ => typed,
    };
    let sql = "INSERT INTO revoked_users (group_id, user, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    if scene.db.execute(sql, params![scene.group.id, name, scene.now])? == 0 {
        return Err(Refusal::State);
    }
    scene.note("revoke unknown user", &name)?;
    revocation::end_name(scene, &name)
}
