//! Invitations: links that let whoever has one become a member, a number of times and until a day.

use rusqlite::params;

use super::membership::{Admission, admit, may_enter};
use super::{At, Rank, Scene};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::token::Token;

/// Invitations of one group that hold at once.
const INVITATIONS_MAX: i64 = 256;
const DAY: i64 = 86_400;
const DAYS: std::ops::RangeInclusive<u16> = 1..=365;
const USES: std::ops::RangeInclusive<u16> = 1..=10_000;

/// An invitation, without its link, which is shown once.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Invitation {
    /// Its number on this site.
    pub id: i64,
    /// Who made it.
    pub maker: String,
    /// How many may still use it.
    pub uses: i64,
    /// When it ends, in seconds since 1970 (UTC).
    pub ends: i64,
}

impl Site {
    /// Makes an invitation for so many uses and days; gives what its link holds.
    ///
    /// # Errors
    /// Only an administrator may; a number is out of range, or there are as many that hold as may be.
    pub async fn invite(&self, at: &At, uses: u16, days: u16) -> Result<Token, Refusal> {
        if !USES.contains(&uses) || !DAYS.contains(&days) {
            return Err(Refusal::Field);
        }
        let token = Token::fresh()?;
        let proof = token.hash();
        self.change(at, Rank::Administrator, move |scene| {
            let sql = "SELECT count(*) FROM invitations WHERE group_id = ?1 AND ends > ?2 AND uses > 0";
            let place = params![scene.group.id, scene.now];
            let count: i64 = scene.db.query_row(sql, place, |row| row.get(0))?;
            if count >= INVITATIONS_MAX {
                return Err(Refusal::Invitations);
            }
            let sql = "INSERT INTO invitations (group_id, token, maker, uses, ends)
                VALUES (?1, ?2, ?3, ?4, ?5)";
            let ends = scene.now + i64::from(days) * DAY;
            scene.db.execute(sql, params![scene.group.id, proof, scene.account.name, uses, ends])?;
            scene.note("invite", &format!("{uses} uses, {days} days"))
        })
        .await
        .map(|()| token)
    }

    /// The URL of an invitation.
    #[must_use]
    pub fn invitation_url(&self, group: &str, token: &Token) -> String {
        let url = self.url();
        format!("{url}/invite/{group}/{}", token.text())
    }

    /// The invitations that hold: 256 at most.
    ///
    /// # Errors
    /// Only an administrator may see them.
    pub async fn invitations(&self, at: &At) -> Result<Vec<Invitation>, Refusal> {
        self.look(at, Rank::Administrator, |scene| {
            let sql = "SELECT id, maker, uses, ends FROM invitations
                WHERE group_id = ?1 AND ends > ?2 AND uses > 0 ORDER BY id";
            let mut rows = scene.db.prepare(sql)?;
            let read = |row: &rusqlite::Row<'_>| {
                Ok(Invitation { id: row.get(0)?, maker: row.get(1)?, uses: row.get(2)?, ends: row.get(3)? })
            };
            let rows = rows.query_map(params![scene.group.id, scene.now], read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Ends an invitation.
    ///
    /// # Errors
    /// Only an administrator may.
    pub async fn withdraw(&self, at: &At, invitation: i64) -> Result<(), Refusal> {
        self.change(at, Rank::Administrator, move |scene| {
            let sql = "DELETE FROM invitations WHERE group_id = ?1 AND id = ?2";
            if scene.db.execute(sql, params![scene.group.id, invitation])? == 0 {
                return Err(Refusal::NotFound);
            }
            scene.note("withdraw invitation", &invitation.to_string())
        })
        .await
    }

    /// Whether an invitation holds.
    ///
    /// # Errors
    /// It has ended or is used up.
    pub async fn invited(&self, at: &At, token: &Token) -> Result<(), Refusal> {
        let proof = token.hash();
        self.look(at, Rank::Anyone, move |scene| {
            let sql =
                "SELECT 1 FROM invitations WHERE token = ?1 AND group_id = ?2 AND uses > 0 AND ends > ?3";
            let mut found = scene.db.prepare(sql)?;
            let holds = found.exists(params![proof, scene.group.id, scene.now])?;
            if holds { Ok(()) } else { Err(Refusal::Ended) }
        })
        .await
    }

    /// Becomes a member by an invitation.
    ///
    /// # Errors
    /// It has ended or is used up, or the one who has it is in already or was revoked.
    pub async fn accept(&self, at: &At, token: &Token) -> Result<(), Refusal> {
        let proof = token.hash();
        self.change(at, Rank::Anyone, move |scene| {
            let sql = "UPDATE invitations SET uses = uses - 1
                WHERE token = ?1 AND group_id = ?2 AND uses > 0 AND ends > ?3";
            if scene.db.execute(sql, params![proof, scene.group.id, scene.now])? == 0 {
                return Err(Refusal::Ended);
            }
            may_enter(scene)?;
            enter(scene)
        })
        .await
    }
}

fn enter(scene: &Scene<'_>) -> Result<(), Refusal> {
    let Scene { group, account, now, .. } = scene;
    admit(scene.db, scene.vault, &Admission { group, account, admin: false, now: *now })?;
    scene.note("accept invitation", &account.name)
}
