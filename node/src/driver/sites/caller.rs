//! The way to a site through the public overlay: who its group's authority says it is, and a stream to that member and no other.
//!
//! Of what the DHT holds nothing counts but what the authority signed, and of that the newest. A statement has an end, so that an
//! old one is of no use to whoever kept it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atoll_core::control::{Command, DhtValue, Reply, State};
use atoll_core::security::Wall;
use atoll_core::wire::Address;
use atoll_site::{SITE_KEY, Statement, Stream};
use tokio::time::{Instant, sleep, timeout};

use crate::date;
use crate::driver::Clock;
use crate::driver::carried::{ANSWER_MAX, Protocol, Standby, of_connection};
use crate::driver::requests::Asker;
use crate::enrolment::{Opening, Ring};

/// How long this node may take until it has its place in the public overlay.
const JOIN_WAIT: Duration = Duration::from_secs(15);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How far this machine's clock may be ahead of the site's, in seconds.
const SLACK: u64 = 600;

/// A statement of an authority, with the number that later ones exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    sequence: u64,
    statement: Statement,
}

/// The newest statements of authorities that were found: one for each group of the node. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::driver) struct Known(Arc<Mutex<BTreeMap<Address, Seen>>>);

impl Known {
    /// What counts of what was found, which is remembered.
    fn judge(&self, authority: Address, found: &[DhtValue], now: Wall) -> Result<Statement, String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = newest(found, known.get(&authority).copied())?;
        if newest.statement.until.saturating_add(SLACK) < now.0 {
            let (end, now) = (date::shown(newest.statement.until), date::shown(now.0));
            return Err(format!(
                "what the group's authority said there ended at {end}, and this machine's clock says {now}"
            ));
        }
        known.insert(authority, newest);
        Ok(newest.statement)
    }
}

/// The newest of what was found now and before.
fn newest(found: &[DhtValue], before: Option<Seen>) -> Result<Seen, String> {
    let value = found.iter().max_by_key(|value| value.sequence);
    let Some(value) = value else {
        return before.ok_or_else(|| "its group's authority says nothing there about a site".to_owned());
    };
    let sequence = value.sequence.unwrap_or(0);
    match (before, Statement::read(&value.value)) {
        (Some(before), _) if before.sequence >= sequence => Ok(before),
        (_, Some(statement)) => Ok(Seen { sequence, statement }),
        (_, None) => Err("what its group's authority says there is of another version".to_owned()),
    }
}

/// What opens streams to sites.
pub(super) struct Caller {
    standby: Standby,
    asker: Asker,
    clock: Clock,
    known: Known,
}

impl Caller {
    pub(super) fn new(standby: Standby, asker: Asker, (clock, known): (Clock, Known)) -> Self {
        Self { standby, asker, clock, known }
    }

    async fn reach(&self, authority: Address) -> Result<Box<dyn Stream>, String> {
        self.connected().await?;
        let Statement { member: to, .. } = self.find(authority).await?;
        if to == self.standby.own {
            return Err("it is said to be beside this node itself".to_owned());
        }
        let member = self.standby.clone().member().await?;
        let connection = member.connect(to, Protocol::Sites).await;
        let connection = connection.map_err(|why| format!("member {to}: {why}"))?;
        let Ok(opened) = timeout(ANSWER_MAX, connection.open_bi()).await else {
            return Err(format!("member {to}: no answer"));
        };
        // The connection ends with the stream.
        let (out, heard) = opened.map_err(|why| format!("member {to}: {}", of_connection(&why)))?;
        Ok(Box::new(tokio::io::join(heard, out)))
    }

    /// Waits until this node has its place in the overlay: before that nobody's packets find it.
    async fn connected(&self) -> Result<(), String> {
        let end = Instant::now() + JOIN_WAIT;
        loop {
            let is_own = |member: &atoll_core::control::Status| member.overlay == self.standby.overlay;
            match self.asker.command(Command::Status).await {
                Reply::Status(members) => match members.iter().find(|member| is_own(member)) {
                    Some(member) if member.state == State::Connected => return Ok(()),
                    _ if Instant::now() > end => {
                        return Err(format!(
                            "this node has no place in overlay `{}` yet",
                            self.standby.overlay
                        ));
                    }
                    _ => {}
                },
                Reply::Failed { why, .. } => return Err(why),
                _ => return Err("the node replied to another question".to_owned()),
            }
            sleep(LOOK).await;
        }
    }

    /// Where the authority says that the site is.
    async fn find(&self, authority: Address) -> Result<Statement, String> {
        let (overlay, key) = (self.standby.overlay.clone(), SITE_KEY.to_owned());
        let get = Command::DhtGet { overlay, key, owner: Some(authority), after: None };
        let (found, failed) = match self.asker.command(get).await {
            Reply::DhtValues { values, .. } => (values, None),
            Reply::Failed { why, .. } => (Vec::new(), Some(why)),
            _ => return Err("the node replied to another question".to_owned()),
        };
        let statement = self.known.judge(authority, &found, Wall(self.clock.wall()));
        statement.map_err(|why| failed.unwrap_or(why))
    }
}

impl Ring for Caller {
    fn open(&self, authority: Address) -> Opening<'_> {
        Box::pin(self.reach(authority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(byte: u8) -> Address {
        Address::from_bytes([byte; Address::LEN])
    }

    fn value(sequence: u64, member: u8, until: u64) -> DhtValue {
        let value = Statement { member: at(member), until }.value().unwrap();
        DhtValue { value, lease_seconds: 60.0, creator: None, sequence: Some(sequence) }
    }

    #[test]
    fn the_newest_statement_counts_also_if_an_older_one_is_shown_again() {
        let known = Known::default();
        let judge = |found: &[DhtValue]| known.judge(at(9), found, Wall(1000)).map(|said| said.member);
        assert!(judge(&[]).unwrap_err().contains("says nothing there"));
        assert_eq!(judge(&[value(5, 1, 1500), value(7, 2, 1500)]), Ok(at(2)));
        assert_eq!(judge(&[value(5, 1, 1500)]), Ok(at(2)), "an older one is shown again");
        assert_eq!(judge(&[]), Ok(at(2)), "nothing is shown");
        assert_eq!(judge(&[value(8, 3, 1500)]), Ok(at(3)));
        assert!(known.judge(at(8), &[], Wall(1000)).is_err(), "of another authority nothing is known");
    }

    #[test]
    fn a_statement_that_has_ended_or_is_none_leads_nowhere() {
        let known = Known::default();
        let said = known.judge(at(9), &[value(1, 1, 1000)], Wall(1001 + SLACK)).unwrap_err();
        assert!(said.contains("ended at 1970-01-01T00:16:40Z"), "{said}");
        assert!(known.judge(at(9), &[value(1, 1, 1000)], Wall(1000 + SLACK)).is_ok(), "clocks differ");
        let strange = DhtValue { value: b"over there".to_vec(), ..value(9, 1, 2000) };
        assert!(known.judge(at(7), &[strange], Wall(0)).unwrap_err().contains("another version"));
    }
}
