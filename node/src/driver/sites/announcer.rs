//! Keeps in the public overlay's DHT where the site is, for each group and signed by its authority.
//!
//! What it holds is bounded, and renewed at half of its lease; after a restart it begins with all of them. A statement that is
//! gone does no harm but that the site is not found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atoll_core::control::{Command, FailureKind, OwnerProof, Reply, State};
use atoll_core::wire::Address;
use atoll_site::{Announcement, Refusal, SITE_KEY, Term};
use openssl::rand::rand_bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::tally::Tally;
use super::{Authorities, Hosted};
use crate::driver::requests::Asker;

/// How long a statement is held.
const LEASE: Duration = Duration::from_secs(1800);
/// Groups of one site that are announced; further ones are reached by its URL alone.
const GROUPS_MAX: usize = 4096;
/// The first wait after a failure; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often groups are looked for that nobody told of.
const LOOK: Duration = Duration::from_secs(60);
/// How often it is looked whether the node has its place in the overlay.
const JOIN_LOOK: Duration = Duration::from_millis(250);
/// Failures in a row of which somebody hears.
const COMPLAINT: u32 = 4;

/// What an authority says, and how that goes.
#[derive(Debug)]
struct Voice {
    group: String,
    next: Instant,
    failures: u32,
    is_heard: bool,
    /// The lowest sequence number that may be of use.
    sequence: u64,
}

pub(super) struct Announcer {
    site: Arc<dyn Authorities>,
    asker: Asker,
    overlay: String,
    own: Address,
    voices: BTreeMap<i64, Voice>,
    is_full: bool,
    tally: Arc<Tally>,
}

impl Announcer {
    /// For the member of this overlay at this address.
    pub(super) fn new(hosted: &Hosted, asker: Asker, (overlay, own): (String, Address)) -> Self {
        let (site, tally) = (Arc::clone(&hosted.site), Arc::clone(&hosted.tally));
        Self { site, asker, overlay, own, voices: BTreeMap::new(), is_full: false, tally }
    }

    /// Runs until the node ends.
    pub(super) async fn run(mut self) {
        let mut founded = self.site.founded();
        let mut look = Instant::now();
        loop {
            if founded.has_changed().unwrap_or(false) || look <= Instant::now() {
                founded.mark_unchanged();
                self.look_for_groups().await;
                look = Instant::now() + LOOK;
            }
            let next = self.voices.iter().min_by_key(|(_, voice)| voice.next);
            let next = next.map(|(group, voice)| (*group, voice.next));
            match next {
                Some((group, at)) if at <= Instant::now() => self.say(group).await,
                _ => {
                    let wake = next.map_or(look, |(_, at)| at.min(look));
                    tokio::select! {
                        () = sleep_until(wake) => {}
                        Ok(()) = founded.changed() => founded.mark_changed(),
                    }
                }
            }
        }
    }

    async fn look_for_groups(&mut self) {
        while self.voices.len() < GROUPS_MAX {
            let last = self.voices.keys().next_back().copied().unwrap_or(0);
            match self.site.groups_after(last).await {
                Ok(groups) if groups.is_empty() => return,
                Ok(groups) => {
                    for (number, group) in groups.into_iter().take(GROUPS_MAX - self.voices.len()) {
                        let next = Instant::now();
                        let voice = Voice { group, next, failures: 0, is_heard: false, sequence: 0 };
                        self.voices.insert(number, voice);
                    }
                }
                Err(why) => return tracing::warn!(%why, "the groups are not known that shall be found"),
            }
        }
        if !std::mem::replace(&mut self.is_full, true) {
            let groups = GROUPS_MAX;
            tracing::warn!(groups, "further groups are not found through the overlay");
        }
    }

    /// Has the group's authority say where the site is.
    async fn say(&mut self, group: i64) {
        while !self.is_connected().await {
            sleep(JOIN_LOOK).await;
        }
        let sequence = self.voices.get(&group).map_or(0, |voice| voice.sequence);
        let term = Term { member: self.own, lease: LEASE, sequence };
        let said = match self.site.announce(group, term).await {
            Ok(announcement) => self.put(&announcement).await,
            // Whose authority has ended is found no more.
            Err(Refusal::NotFound | Refusal::AuthorityEnded) => {
                let voice = self.voices.get_mut(&group);
                return voice.map_or((), |voice| voice.next = Instant::now() + LEASE);
            }
            Err(why) => Err((why.to_string(), None)),
        };
        let overlay = self.overlay.clone();
        let Some(voice) = self.voices.get_mut(&group) else { return };
        match said {
            Ok(lease) => voice.heard(lease, &overlay),
            Err((why, newer)) => {
                voice.sequence = newer.map_or(voice.sequence, |sequence| sequence + 1);
                voice.failed(&why, &overlay);
                self.tally.failures.add();
            }
        }
        self.tally.announced.set(self.voices.values().filter(|voice| voice.is_held()).count());
    }

    /// Puts a statement into the DHT; for how long it is held. With a failure comes the sequence number that is in its way.
    async fn put(&self, announcement: &Announcement) -> Result<Duration, (String, Option<u64>)> {
        let Announcement { authority, value, proof } = announcement.clone();
        let (lease_millis, sequence) = (proof.lease, proof.sequence);
        let proof = OwnerProof { public: proof.public, sequence, lease_millis, signature: proof.signature };
        let (overlay, key) = (self.overlay.clone(), SITE_KEY.to_owned());
        match self.asker.command(Command::DhtPutProved { overlay, key, value, proof }).await {
            Reply::DhtStored { lease_seconds } => Ok(Duration::from_secs_f64(lease_seconds.max(1.0))),
            Reply::Failed { kind: FailureKind::Refused, why } => {
                let newer = self.newest(authority).await.filter(|there| *there >= sequence);
                Err((why, newer.filter(|there| *there < u64::MAX / 2)))
            }
            Reply::Failed { why, .. } => Err((why, None)),
            _ => Err(("the node replied to another question".to_owned(), None)),
        }
    }

    /// The sequence number of what is there.
    async fn newest(&self, authority: Address) -> Option<u64> {
        let (overlay, key) = (self.overlay.clone(), SITE_KEY.to_owned());
        let get = Command::DhtGet { overlay, key, owner: Some(authority), after: None };
        match self.asker.command(get).await {
            Reply::DhtValues { values, .. } => values.iter().filter_map(|value| value.sequence).max(),
            _ => None,
        }
    }

    async fn is_connected(&self) -> bool {
        let Reply::Status(members) = self.asker.command(Command::Status).await else { return false };
        members.iter().any(|member| member.overlay == self.overlay && member.state == State::Connected)
    }
}

impl Voice {
    fn is_held(&self) -> bool {
        self.is_heard && self.failures < COMPLAINT
    }

    /// It is held for so long.
    fn heard(&mut self, lease: Duration, overlay: &str) {
        if !self.is_held() {
            tracing::info!(group = self.group, overlay, "the site is found through the overlay");
        }
        (self.is_heard, self.failures) = (true, 0);
        self.next = Instant::now() + lease.min(LEASE).mul_f64(0.45 + 0.1 * share());
    }

    fn failed(&mut self, why: &str, overlay: &str) {
        self.failures = self.failures.saturating_add(1);
        tracing::debug!(group = self.group, why, "the site's place was not put");
        if self.failures == COMPLAINT {
            let hint = "it goes on trying; `atoll-node status` shows whether the member is connected";
            tracing::warn!(
                group = self.group,
                overlay,
                why,
                hint,
                "the site is not found through the overlay"
            );
        }
        let pause = PAUSE.saturating_mul(1 << (self.failures - 1).min(8)).min(PAUSE_MAX);
        self.next = Instant::now() + pause.mul_f64(0.9 + 0.2 * share());
    }
}

/// A random number in 0..1.
fn share() -> f64 {
    let mut byte = [0];
    // Without randomness all statements are renewed at one time, and nothing else is lost.
    let _ = rand_bytes(&mut byte);
    f64::from(byte[0]) / 256.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice() -> Voice {
        Voice { group: "chess".to_owned(), next: Instant::now(), failures: 0, is_heard: false, sequence: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_is_renewed_at_half_of_its_lease_and_tried_again_sooner() {
        let (mut voice, now) = (voice(), Instant::now());
        voice.heard(LEASE, "public");
        let wait = (voice.next - now).as_secs();
        assert!((780..=1020).contains(&wait), "{wait}");
        voice.heard(Duration::from_secs(60), "public");
        assert!((voice.next - now).as_secs() <= 33);
        let waits: Vec<u64> = (0..9)
            .map(|_| {
                voice.failed("no", "public");
                (voice.next - now).as_millis() as u64
            })
            .collect();
        assert!(waits[0] < 1200 && waits[8] <= 66_000 && waits[8] > 50_000, "{waits:?}");
        assert!(voice.is_heard);
    }
}
