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
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::tally::Tally;
use super::{Authorities, Hosted};
use crate::driver::requests::Asker;

/// How long a statement is held.
const LEASE: Duration = Duration::from_secs(1800);
/// Groups of one site that are announced; further ones are reached by its URL alone.
const GROUPS_MAX: usize = 4096;
/// Groups whose statements are put at once at most.
const AT_ONCE: usize = 16;
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
    speaker: Speaker,
    voices: BTreeMap<i64, Voice>,
    is_full: bool,
    tally: Arc<Tally>,
}

/// What came of a statement.
enum Said {
    /// It is held for so long.
    Held(Duration),
    /// The authority says nothing any more.
    Ended,
    /// Why it was not put, and the sequence number that is in its way.
    Failed(String, Option<u64>),
}

impl Announcer {
    /// For the member of this overlay at this address.
    pub(super) fn new(hosted: &Hosted, asker: Asker, (overlay, own): (String, Address)) -> Self {
        let (site, tally) = (Arc::clone(&hosted.site), Arc::clone(&hosted.tally));
        let speaker = Speaker { site, asker, overlay, own };
        Self { speaker, voices: BTreeMap::new(), is_full: false, tally }
    }

    /// Runs until the node ends.
    pub(super) async fn run(mut self) {
        let mut founded = self.speaker.site.founded();
        let (mut look, mut speaking) = (Instant::now(), JoinSet::new());
        loop {
            if founded.has_changed().unwrap_or(false) || look <= Instant::now() {
                founded.mark_unchanged();
                self.look_for_groups().await;
                look = Instant::now() + LOOK;
            }
            let next = self.begin(&mut speaking).await;
            tokio::select! {
                () = sleep_until(next.min(look)) => {}
                Some(Ok((group, said))) = speaking.join_next() => self.on_said(group, said),
                Ok(()) = founded.changed() => founded.mark_changed(),
            }
        }
    }

    async fn look_for_groups(&mut self) {
        while self.voices.len() < GROUPS_MAX {
            let last = self.voices.keys().next_back().copied().unwrap_or(0);
            match self.speaker.site.groups_after(last).await {
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

    /// Has authorities say where the site is whose time has come, as far as there is room; gives when the next one's comes.
    async fn begin(&mut self, speaking: &mut JoinSet<(i64, Said)>) -> Instant {
        let (now, room) = (Instant::now(), AT_ONCE - speaking.len());
        let mut next: Vec<(Instant, i64)> =
            self.voices.iter().map(|(group, one)| (one.next, *group)).collect();
        next.sort_unstable();
        let due = next.partition_point(|(at, _)| *at <= now);
        if room > 0 && due > 0 && !self.speaker.is_connected().await {
            return now + JOIN_LOOK;
        }
        for (_, group) in next.drain(..due.min(room)) {
            let Some(voice) = self.voices.get_mut(&group) else { continue };
            // Unless it is heard of before.
            voice.next = now + LEASE;
            let (speaker, sequence) = (self.speaker.clone(), voice.sequence);
            speaking.spawn(async move { (group, speaker.say(group, sequence).await) });
        }
        let waits = next.first().filter(|_| speaking.len() < AT_ONCE);
        waits.map_or(now + LOOK, |(at, _)| *at)
    }

    fn on_said(&mut self, group: i64, said: Said) {
        let overlay = &self.speaker.overlay;
        let Some(voice) = self.voices.get_mut(&group) else { return };
        match said {
            Said::Held(lease) => voice.heard(lease, overlay),
            // It is found no more.
            Said::Ended => return,
            Said::Failed(why, newer) => {
                voice.sequence = newer.map_or(voice.sequence, |sequence| sequence + 1);
                voice.failed(&why, overlay);
                self.tally.failures.add();
            }
        }
        self.tally.announced.set(self.voices.values().filter(|voice| voice.is_held()).count());
    }
}

/// Puts into the overlay what authorities say.
#[derive(Clone)]
struct Speaker {
    site: Arc<dyn Authorities>,
    asker: Asker,
    overlay: String,
    own: Address,
}

impl Speaker {
    /// Has a group's authority say where the site is.
    async fn say(&self, group: i64, sequence: u64) -> Said {
        let term = Term { member: self.own, lease: LEASE, sequence };
        match self.site.announce(group, term).await {
            Ok(announcement) => self.put(announcement).await,
            Err(Refusal::NotFound | Refusal::AuthorityEnded) => Said::Ended,
            Err(why) => Said::Failed(why.to_string(), None),
        }
    }

    /// Puts a statement into the DHT.
    async fn put(&self, Announcement { authority, value, proof }: Announcement) -> Said {
        let (lease_millis, sequence) = (proof.lease, proof.sequence);
        let proof = OwnerProof { public: proof.public, sequence, lease_millis, signature: proof.signature };
        let (overlay, key) = (self.overlay.clone(), SITE_KEY.to_owned());
        match self.asker.command(Command::DhtPutProved { overlay, key, value, proof }).await {
            Reply::DhtStored { lease_seconds } => Said::Held(Duration::from_secs_f64(lease_seconds.max(1.0))),
            Reply::Failed { kind: FailureKind::Refused, why } => {
                let newer = self.newest(authority).await.filter(|there| *there >= sequence);
                Said::Failed(why, newer.filter(|there| *there < u64::MAX / 2))
            }
            Reply::Failed { why, .. } => Said::Failed(why, None),
            _ => Said::Failed("the node replied to another question".to_owned(), None),
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
    use atoll_core::wire::Proof;
    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::super::Asked;
    use super::*;
    use crate::driver::requests::{Ask, channel};

    /// A site with so many groups.
    struct Many(i64, watch::Sender<()>);

    impl Authorities for Many {
        fn founded(&self) -> watch::Receiver<()> {
            self.1.subscribe()
        }

        fn groups_after(&self, number: i64) -> Asked<'_, Vec<(i64, String)>> {
            let groups = (number + 1..=self.0).map(|group| (group, format!("group {group}")));
            Box::pin(std::future::ready(Ok(groups.collect())))
        }

        fn announce(&self, number: i64, _: Term) -> Asked<'_, Announcement> {
            let proof = Proof { public: Vec::new(), sequence: 1, lease: 1, signature: Vec::new() };
            let authority = Address::from_bytes([7; Address::LEN]);
            Box::pin(std::future::ready(Ok(Announcement { authority, value: vec![number as u8], proof })))
        }
    }

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

    #[tokio::test(start_paused = true)]
    async fn statements_of_many_groups_are_put_at_once_and_not_too_many() {
        let (asker, mut asked) = channel();
        let tally = Arc::new(Tally::default());
        let (calls, _coming) = tokio::sync::mpsc::channel(1);
        let hosted =
            Hosted { site: Arc::new(Many(40, watch::channel(()).0)), calls, tally: Arc::clone(&tally) };
        let place = ("public".to_owned(), Address::from_bytes([7; Address::LEN]));
        let _running = JoinSet::from_iter([Announcer::new(&hosted, asker, place).run()]);
        let connected = r#"{"overlay": "public", "address": "0707070707070707070707070707070707070707", "state": "connected",
            "uptime_seconds": 0, "neighbours_changed_seconds": 0, "size_estimate": 2, "connections": [], "observed": []}"#;
        let status = || Reply::Status(vec![serde_json::from_str(connected).unwrap()]);
        let mut said = Vec::new();
        // The DHT answers once nothing more is asked of it.
        while said.len() < 40 {
            let mut puts = Vec::new();
            while let Ok(Some(Ask::Command(command, reply))) =
                timeout(Duration::from_secs(1), asked.recv()).await
            {
                match command {
                    Command::Status => reply.send(status()).unwrap(),
                    Command::DhtPutProved { value, .. } => puts.push((value, reply)),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(puts.len(), AT_ONCE.min(40 - said.len()));
            for (value, reply) in puts {
                said.push(value);
                reply.send(Reply::DhtStored { lease_seconds: 1800.0 }).unwrap();
            }
        }
        said.sort();
        said.dedup();
        assert_eq!(said.len(), 40);
    }
}
