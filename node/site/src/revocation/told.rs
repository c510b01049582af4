//! Members are told: whoever is revoked is out at once, and not only when members ask for the list.
//!
//! A member of the public overlay that runs beside the site brings notices to some members of the group, who tell all others.
//! What nobody has confirmed is told again, after a restart as well. None of this is in the way of a revocation: what fails
//! here is said aloud, and tried later.

use std::collections::BTreeSet;
use std::sync::Arc;

use atoll_core::Telling;
use atoll_core::security::{Epoch, Notice, SignedList};
use atoll_core::wire::{ANNOUNCED_BYTES, ANNOUNCED_MAX, Address};
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::epochs;
use super::turns::{Due, Turns};
use crate::groups::{Group, group_numbered};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::vault::Vault;

/// Salts of a group that members may still be found by: so many revocations may have come in a row.
const EPOCHS_MAX: i64 = 6;
/// Nodes whose addresses are known beforehand at most.
const NODES_MAX: i64 = 4096;
/// How long after a revocation it is tried, in seconds: who comes back later asks the site.
const TRIED: i64 = 86_400;

/// Something to be told to members of a group.
#[derive(Debug)]
pub struct Say {
    /// What, and to whom.
    pub telling: Telling,
    /// How many members have confirmed; dropped if it could not be tried.
    pub done: oneshot::Sender<u32>,
}

/// What the members of a group were not told, and the numbers of its notices.
struct Untold {
    numbers: Vec<i64>,
    telling: Telling,
}

impl Site {
    /// Has members told of revocations, as long as somebody takes what is to be said.
    pub async fn spread(self: Arc<Self>, say: mpsc::Sender<Say>) {
        let (mut turns, mut tasks) =
            (Turns::resumed(&self.untold_groups().await, Instant::now()), JoinSet::new());
        while !say.is_closed() {
            let (untold, now) = (self.untold_groups().await, Instant::now());
            for due in turns.next(&untold, now) {
                let (site, say) = (Arc::clone(&self), say.clone());
                let is_known = turns.was_vain(due);
                let task = tasks.spawn(async move { site.tell(due.group, is_known, &say).await });
                turns.begin(due, task.id());
            }
            tokio::select! {
                () = self.memory.signed.notified() => {}
                Some(ended) = tasks.join_next_with_id() => match ended {
                    Ok((task, true)) => turns.done(task),
                    Ok((task, false)) => turns.failed(task, Instant::now()),
                    Err(why) => turns.failed(why.id(), Instant::now()),
                },
                () = sleep_until(turns.wake(now)) => {}
                () = say.closed() => return,
            }
        }
    }

    /// Groups whose members were not told of everything, those first in which something was signed last.
    async fn untold_groups(&self) -> Vec<Due> {
        let ask = |db: &Connection| {
            let sql = "SELECT notices.group_id, max(notices.number) FROM notices
                JOIN groups ON groups.id = notices.group_id JOIN lists ON lists.group_id = notices.group_id
                WHERE told IS NULL AND held = 0 GROUP BY notices.group_id ORDER BY lists.at DESC";
            let mut rows = db.prepare(sql)?;
            let rows = rows.query_map([], |row| Ok(Due { group: row.get(0)?, newest: row.get(1)? }))?;
            Ok(rows.collect::<Result<Vec<Due>, _>>()?)
        };
        self.store.read(ask).await.unwrap_or_else(|refusal| {
            tracing::warn!(%refusal, "whom to tell of revocations cannot be read");
            Vec::new()
        })
    }

    /// Tells members of a group what comes first; false if nobody confirmed, which is said aloud unless it `is_known`.
    async fn tell(&self, group: i64, is_known: bool, say: &mpsc::Sender<Say>) -> bool {
        let (vault, now) = (Arc::clone(&self.vault), self.now());
        let untold = match self.store.read(move |db| untold(db, &vault, (group, now))).await {
            Ok(untold) => untold,
            Err(refusal) => {
                tracing::warn!(group, %refusal, "what to tell a group's members cannot be read");
                return false;
            }
        };
        let (numbers, members) = match untold {
            Next::Nothing => return true,
            Next::TooOld(numbers) => (numbers, 0),
            Next::Tell(untold) => {
                let Untold { numbers, telling } = *untold;
                let name = telling.group.clone();
                let (done, answer) = oneshot::channel();
                let members = match say.send(Say { telling, done }).await {
                    Ok(()) => answer.await.unwrap_or(0),
                    Err(_) => 0,
                };
                if members == 0 {
                    let hint = "it is tried again; members that ask the site learn it from its list";
                    let what = "no member confirmed that it was told of a revocation";
                    if is_known {
                        tracing::debug!(group = name, "{what}");
                    } else {
                        tracing::warn!(group = name, hint, "{what}");
                    }
                    return false;
                }
                tracing::info!(group = name, members, ?numbers, "members were told of a revocation");
                (numbers, members)
            }
        };
        self.note_told(group, numbers, if members == 0 { 0 } else { now }).await
    }

    async fn note_told(&self, group: i64, numbers: Vec<i64>, when: i64) -> bool {
        let note = move |db: &Connection| {
            for number in numbers {
                let sql = "UPDATE notices SET told = ?3 WHERE group_id = ?1 AND number = ?2";
                db.execute(sql, params![group, number, when])?;
            }
            Ok(())
        };
        let noted = self.store.write(note).await;
        if let Err(refusal) = &noted {
            tracing::warn!(group, %refusal, "that members were told is not kept: they are told again");
        }
        noted.is_ok()
    }
}

/// What to tell next.
enum Next {
    Nothing,
    /// These, which nobody confirmed in time.
    TooOld(Vec<i64>),
    Tell(Box<Untold>),
}

fn untold(db: &Connection, vault: &Vault, (id, now): (i64, i64)) -> Result<Next, Refusal> {
    let group = group_numbered(db, id)?.ok_or(Refusal::NotFound)?;
    let sql = "SELECT number, bytes FROM notices WHERE group_id = ?1 AND told IS NULL
        ORDER BY number DESC LIMIT 64";
    let mut rows = db.prepare(sql)?;
    let rows = rows.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
    let since = u64::try_from(now - TRIED).unwrap_or(0);
    let is_new = |bytes: &[u8]| Notice::read(bytes).is_ok_and(|(notice, _)| notice.at >= since);
    let (new, old): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, bytes)| is_new(bytes));
    if new.is_empty() {
        let numbers: Vec<i64> = old.into_iter().map(|(number, _)| number).collect();
        return Ok(if numbers.is_empty() { Next::Nothing } else { Next::TooOld(numbers) });
    }
    let (mut numbers, mut notices, mut room) = (Vec::new(), Vec::new(), ANNOUNCED_BYTES);
    for (number, bytes) in new {
        if notices.len() == ANNOUNCED_MAX || bytes.len() > room {
            break;
        }
        room -= bytes.len();
        numbers.push(number);
        notices.push(bytes);
    }
    // Members take them in their order.
    notices.reverse();
    let telling = telling(db, vault, (&group, notices))?;
    Ok(Next::Tell(Box::new(Untold { numbers, telling })))
}

fn telling(
    db: &Connection,
    vault: &Vault,
    (group, notices): (&Group, Vec<Vec<u8>>),
) -> Result<Telling, Refusal> {
    let secret = group.secret(vault)?;
    let salts = epochs(db, vault, (group.id, EPOCHS_MAX)).unwrap_or_else(|refusal| {
        tracing::warn!(group = group.name, %refusal, "the group's salts cannot be read");
        Vec::new()
    });
    // Those who were told none are where everybody was before the first.
    let epochs: Vec<Option<Epoch>> = salts.into_iter().map(Some).chain([None]).collect();
    let list = "SELECT text, signature FROM lists WHERE group_id = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (text, signature): (String, Vec<u8>) = db.query_row(list, [group.id], read)?;
    Ok(Telling {
        group: group.name.clone(),
        secret: secret.as_slice().try_into().map_err(|_| Refusal::Broken)?,
        authority: group.certificate.clone(),
        list: Some(SignedList::join(&text, &signature)),
        notices,
        epochs,
        members: nodes(db, group.id, "admitted")?,
        revoked: nodes(db, group.id, "revoked")?,
    })
}

fn nodes(db: &Connection, group: i64, state: &str) -> Result<BTreeSet<Address>, Refusal> {
    let sql = "SELECT address FROM nodes WHERE group_id = ?1 AND state = ?2 ORDER BY seen DESC LIMIT ?3";
    let mut rows = db.prepare(sql)?;
    let rows = rows.query_map(params![group, state, NODES_MAX], |row| row.get::<_, String>(0))?;
    let addresses: Vec<String> = rows.collect::<Result<_, _>>()?;
    Ok(addresses.iter().filter_map(|address| address.parse().ok()).collect())
}
