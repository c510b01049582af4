//! What happens when the database is older than what the site has signed: the group is held until what is missing is back.
//!
//! Without the watermark nobody knows what is missing. Then whatever list a member brings may be an old one: what it says is kept, and
//! only the watermark itself or the operator frees the group.

use std::sync::Arc;

use atoll_core::security::{Notice, UserList};
use rusqlite::{Connection, params};

use super::notices::Desk;
use super::{Listed, check_reader, last};
use crate::groups::{Group, group, note};
use crate::refusal::Refusal;
use crate::site::{NotOpened, Site};
use crate::vault::Vault;

/// Who stands in the audit log for what the site does by itself, and its operator.
const SITE: &str = "(site)";

/// What to do about a group that is held.
const HELD: &str =
    "a node that brings its newest list home frees the group; if none has it, start with --release-restored";
/// What to do about a group of which the watermark says nothing.
const UNKNOWN: &str = "let members ask the site for a while, so that they give back what they know; then start it with \
    --release-restored";
const RELEASED: &str = "who was revoked after the copy is a member again: revoke them anew";

/// Notices that are taken with one list at most.
pub(crate) const GIVEN_NOTICES_MAX: usize = 256;

/// A list that a member gives back, and notices of what was revoked after it: members are told those before the next list.
#[derive(Clone, Debug)]
pub struct Given {
    /// The text.
    pub text: String,
    /// The authority's signature.
    pub signature: Vec<u8>,
    /// As the authority signed them.
    pub notices: Vec<Vec<u8>>,
}

/// What was given, once it is known that the group's authority signed all of it.
struct Proved {
    list: UserList,
    notices: Vec<Notice>,
}

impl Proved {
    fn new(group: &Group, given: &Given) -> Result<Self, Refusal> {
        if given.notices.len() > GIVEN_NOTICES_MAX {
            return Err(Refusal::TooMany);
        }
        let key = group.authority()?.public_key()?;
        let list = UserList::verified(&key, &given.text, &given.signature)?;
        let notices = given.notices.iter().map(|notice| Notice::verified(&key, notice));
        let mut notices: Vec<Notice> = notices.collect::<Result<_, _>>()?;
        notices.sort_by_key(|notice| notice.number);
        let is_ours = list.group == group.name && notices.iter().all(|notice| notice.group == group.name);
        if is_ours { Ok(Self { list, notices }) } else { Err(Refusal::ForeignList) }
    }

    /// The users that are revoked, and since when.
    fn users(&self) -> impl Iterator<Item = (String, i64)> {
        let whole = self.notices.iter().filter(|notice| notice.serials.is_empty());
        self.list.users.iter().cloned().chain(whole.map(|notice| (notice.user.clone(), signed(notice.at))))
    }

    /// The same of serial numbers.
    fn serials(&self) -> impl Iterator<Item = (String, i64)> {
        let named = |notice: &Notice| {
            let at = signed(notice.at);
            notice.serials.iter().map(|serial| (serial.to_string(), at)).collect::<Vec<_>>()
        };
        self.list.serials.iter().cloned().chain(self.notices.iter().flat_map(named))
    }

    /// The number up to which it says everything.
    fn number(&self) -> i64 {
        self.notices.iter().fold(self.list.number, |all, notice| {
            if signed(notice.after) <= all { all.max(signed(notice.number)) } else { all }
        })
    }
}

/// As the database has it.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

struct Numbered {
    id: i64,
    name: String,
    number: i64,
}

fn numbered(db: &Connection, held: bool) -> Result<Vec<Numbered>, Refusal> {
    let sql = "SELECT groups.id, groups.name, coalesce(lists.number, 0) FROM groups
        LEFT JOIN lists ON lists.group_id = groups.id WHERE groups.held = ?1 ORDER BY groups.id";
    let mut rows = db.prepare(sql)?;
    let read =
        |row: &rusqlite::Row<'_>| Ok(Numbered { id: row.get(0)?, name: row.get(1)?, number: row.get(2)? });
    let rows = rows.query_map([held], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn hold(db: &Connection, group: i64) -> Result<(), Refusal> {
    db.execute("UPDATE groups SET held = 1 WHERE id = ?1", [group])?;
    Ok(())
}

/// What was given back has then to be on a list.
fn free(db: &Connection, group: i64) -> Result<(), Refusal> {
    db.execute("UPDATE groups SET held = 0, given = 0 WHERE id = ?1", [group])?;
    Ok(())
}

/// The highest number of a list that was given back while the group was held and said anything new; zero if none did.
fn given(db: &Connection, group: i64) -> Result<i64, Refusal> {
    Ok(db.query_row("SELECT given FROM groups WHERE id = ?1", [group], |row| row.get(0))?)
}

impl Site {
    /// Holds every group whose newest list the database does not know, and each of which that is not known.
    pub(crate) async fn hold_restored(&self) -> Result<(), NotOpened> {
        let held = self.store.read(|db| numbered(db, true)).await?;
        let free = self.store.read(|db| numbered(db, false)).await?;
        let watermark = &self.memory.watermark;
        if watermark.was_missing() && held.is_empty() && free.is_empty() {
            return Ok(watermark.make()?);
        }
        watermark.check()?;
        if watermark.was_missing() {
            held.iter().chain(&free).for_each(|one| watermark.lose(&one.name));
        }
        for one in held {
            self.hold_on_or_free(one).await?;
        }
        for one in free {
            self.hold_or_keep(one).await?;
        }
        Ok(())
    }

    /// A group that was held for want of the watermark is held no longer once that is back and names nothing newer than what
    /// the database knows or members gave back meanwhile.
    async fn hold_on_or_free(&self, one: Numbered) -> Result<(), Refusal> {
        let newest = self.memory.watermark.of(&one.name);
        let id = one.id;
        let given = self.store.read(move |db| given(db, id)).await?;
        if newest == 0 || one.number.max(given) < newest {
            self.say_held(&one);
            return Ok(());
        }
        let (name, number) = (one.name.clone(), one.number);
        match self.free_with(one, "the watermark is back", given > 0).await {
            Ok(number) => tracing::info!(group = name, number, "the watermark is back: nothing is missing"),
            Err(refusal) => tracing::warn!(group = name, number, %refusal, "the group stays held"),
        }
        Ok(())
    }

    /// Lets a held group sign again; the number of its list. That is a fresh one if what was given back is on none yet.
    async fn free_with(&self, one: Numbered, why: &'static str, fresh: bool) -> Result<i64, Refusal> {
        let (vault, now) = (Arc::clone(&self.vault), self.now());
        let newest = self.memory.watermark.of(&one.name);
        let act = move |db: &Connection| {
            let before = newest.max(one.number).max(given(db, one.id)?);
            free(db, one.id)?;
            note(db, (one.id, now), [SITE, "release", why])?;
            if !fresh {
                return Ok((one.number, None));
            }
            let group = group(db, &one.name)?.ok_or(Refusal::Broken)?;
            let number = Desk { db, vault: &vault, group: &group, now }.sign_fresh(before)?;
            Ok((number, Some(Listed { group: one.name, number })))
        };
        self.write_list(act).await
    }

    async fn hold_or_keep(&self, one: Numbered) -> Result<(), Refusal> {
        let watermark = &self.memory.watermark;
        let (newest, is_lost) = (watermark.of(&one.name), watermark.is_lost(&one.name));
        if is_lost || one.number < newest {
            self.say_held(&one);
            watermark.lose_unknown(&one.name);
            let why = if is_lost { "the watermark is missing" } else { "the database was restored" };
            let now = self.now();
            let hold = move |db: &Connection| {
                hold(db, one.id)?;
                note(db, (one.id, now), [SITE, "hold", why])
            };
            return self.store.write(hold).await;
        }
        if one.number > newest {
            // It was killed between the write and this.
            Arc::clone(&self.memory).keep(Listed { group: one.name, number: one.number }).await;
        }
        Ok(())
    }

    /// Said at each start, for as long as it lasts.
    fn say_held(&self, Numbered { name, number, .. }: &Numbered) {
        let newest = self.memory.watermark.of(name);
        if newest == 0 {
            tracing::warn!(
                group = name,
                number,
                hint = UNKNOWN,
                "no watermark: whether revocations are missing is not known, and nothing is signed"
            );
        } else {
            tracing::warn!(
                group = name,
                number,
                newest,
                hint = HELD,
                "the database was restored: nothing is signed"
            );
        }
    }

    /// Lets every held group sign again although revocations may be missing; gives their names. It is for the operator to
    /// say, who knows that no member has a newer list. A group that cannot sign stays held, and is in the way of no other.
    ///
    /// # Errors
    /// Which groups are held cannot be read.
    pub async fn release(&self) -> Result<Vec<String>, Refusal> {
        let mut names = Vec::new();
        for one in self.store.read(|db| numbered(db, true)).await? {
            let name = one.name.clone();
            match self.free_with(one, "by the operator", true).await {
                Ok(number) => {
                    tracing::warn!(
                        group = name,
                        number,
                        hint = RELEASED,
                        "the operator lets the group sign again"
                    );
                    names.push(name);
                }
                Err(refusal) => tracing::warn!(group = name, %refusal, "the group stays held"),
            }
        }
        Ok(names)
    }

    /// Takes back a list of the group that the site may have forgotten; whether it said anything new.
    ///
    /// # Errors
    /// The proof is wrong, or the group's authority did not sign the list.
    pub async fn give_back(&self, name: &str, proof: &str, given: Given) -> Result<bool, Refusal> {
        let (asked, proof) = (name.to_owned(), proof.to_owned());
        let (vault, now, memory) = (Arc::clone(&self.vault), self.now(), Arc::clone(&self.memory));
        // What proves nothing does not reach the writer.
        let check = move |db: &Connection| {
            let group = group(db, &asked)?.ok_or(Refusal::Forged)?;
            check_reader(&vault, &group, &proof)?;
            Proved::new(&group, &given)
        };
        let proved = self.store.read(check).await?;
        let vault = Arc::clone(&self.vault);
        let take = move |db: &Connection| {
            let group = group(db, &proved.list.group)?.ok_or(Refusal::NotFound)?;
            let newest = memory.watermark.of(&group.name);
            let back = take(db, &vault, (&group, now), (&proved, newest))?;
            let listed = back.signed.map(|number| Listed { group: group.name, number });
            Ok((back, listed))
        };
        let back = self.write_list(take).await?;
        back.say();
        Ok(back.signed.is_some())
    }
}

/// What came of a list that a member gave back.
struct Back {
    group: String,
    was_held: bool,
    given: i64,
    newest: i64,
    /// Whether anything in it was not known.
    fresh: bool,
    /// The number of the list that was signed of both.
    signed: Option<i64>,
}

impl Back {
    fn say(&self) {
        let Self { group, given, newest, .. } = self;
        match self.signed {
            Some(number) if self.was_held => {
                tracing::info!(group, given, number, "the revocation list came back: the group signs again");
            }
            Some(number) => {
                tracing::info!(group, given, number, "a member knew more revocations than the site");
            }
            // Every member brings one each time it asks.
            None if !self.was_held || !self.fresh => {}
            None if *newest == 0 => tracing::info!(
                group,
                given,
                "a list came back: what it says is kept, and the group stays held, as there may be a newer one"
            ),
            None => tracing::info!(
                group,
                given,
                newest,
                "a list came back that is not the newest: the group stays held"
            ),
        }
    }
}

/// Merges what was given into what is known, and signs a list of both if there was anything new.
fn take(
    db: &Connection,
    vault: &Vault,
    (group, now): (&Group, i64),
    (proved, newest): (&Proved, i64),
) -> Result<Back, Refusal> {
    let (facts, number) = (merge(db, group.id, proved)?, proved.number());
    let own = last(db, group.id)?.number;
    let fresh = facts > 0 || number > own.max(given(db, group.id)?);
    let back =
        Back { group: group.name.clone(), was_held: group.held, given: number, newest, fresh, signed: None };
    if group.held && fresh {
        db.execute("UPDATE groups SET given = ?2 WHERE id = ?1 AND given < ?2", params![group.id, number])?;
    }
    // Without a watermark any list may be an old one.
    let is_newest = newest > 0 && number >= newest;
    let stays = if group.held { !is_newest } else { !fresh };
    if stays {
        // Newer ones may be missing still; what this one says stays.
        return Ok(back);
    }
    // Members may know a salt of which the database knows nothing.
    let before = own.max(number).max(newest).max(given(db, group.id)?);
    if group.held {
        free(db, group.id)?;
    }
    note(db, (group.id, now), [SITE, "take list back", &number.to_string()])?;
    let freed = group.freed();
    let signed = Desk { db, vault, group: &freed, now }.sign_fresh(before)?;
    Ok(Back { signed: Some(signed), ..back })
}

/// How many facts were new.
fn merge(db: &Connection, group: i64, proved: &Proved) -> Result<usize, Refusal> {
    let mut fresh = 0;
    let mut users = db.prepare(
        "INSERT INTO revoked_users (group_id, user, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    for (user, at) in proved.users() {
        fresh += users.execute(params![group, user, at])?;
    }
    let mut serials = db.prepare(
        "INSERT INTO revoked_serials (group_id, serial, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    for (serial, at) in proved.serials() {
        fresh += serials.execute(params![group, serial, at])?;
    }
    for sql in [REVOKE_NAMED, REVOKE_NODES_OF_NAMED, REVOKE_NODES_OF_SERIALS, REVOKE_CERTIFICATES] {
        db.execute(sql, [group])?;
    }
    Ok(fresh)
}

const REVOKE_NAMED: &str = "UPDATE members SET state = 'revoked', admin = 0
    WHERE group_id = ?1 AND name IN (SELECT user FROM revoked_users WHERE group_id = ?1)";
const REVOKE_NODES_OF_NAMED: &str = "UPDATE nodes SET state = 'revoked' WHERE group_id = ?1
    AND account IN (SELECT account FROM members WHERE group_id = ?1 AND state = 'revoked')";
/// A node whose newest certificate was revoked was revoked itself, or its user left.
const REVOKE_NODES_OF_SERIALS: &str = "UPDATE nodes SET state = 'revoked' WHERE group_id = ?1
    AND state IN ('waiting', 'admitted', 'refused') AND (SELECT serial FROM certificates
        WHERE certificates.id = (SELECT max(id) FROM certificates WHERE node = nodes.id))
        IN (SELECT serial FROM revoked_serials WHERE group_id = ?1)";
const REVOKE_CERTIFICATES: &str = "INSERT INTO revoked_serials (group_id, serial, at)
    SELECT ?1, certificates.serial, certificates.made FROM certificates JOIN nodes ON nodes.id = certificates.node
    WHERE nodes.group_id = ?1 AND nodes.state = 'revoked' ON CONFLICT DO NOTHING";
