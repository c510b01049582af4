//! How the members of a private overlay meet: what the DHT of the public one says becomes bootstraps, and neighbours that
//! were missing.

use super::{Lent, Overlay};
use crate::config::OverlayConfig;
use crate::control::EventKind;
use crate::dht::{How, News, Origin, Outcome, Write};
use crate::discovery::{Discovery, Found, LEASE, Wanted};
use crate::rng::Rng;
use crate::security::{Entry, Intent};
use crate::time::Time;
use crate::wire::{Address, Mark, Remote};

/// Members that a newcomer takes for bootstraps at most.
const BOOTSTRAPS_KEPT: usize = 5;
/// And in how many of them without the public overlay in between.
const DIRECT_KEPT: usize = 3;
/// Members that ought to be neighbours and are dialled after one look at most.
const DIALS_MAX: usize = 3;
/// Looks that find nobody before a member begins the overlay.
const EMPTY_LOOKS: u32 = 2;

/// The discovery that a configuration asks for, by a member that is `public` in the public overlay.
pub(super) fn discovery(
    config: &OverlayConfig,
    public: Option<Address>,
    rng: &Rng,
    now: Time,
) -> Option<Discovery> {
    let own = Entry { member: config.address, public: public?, transport: None };
    Some(Discovery::new(config.discovery.as_ref()?, own, rng, now))
}

impl Overlay {
    /// Whether members find each other through the public overlay.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.discovery.is_some()
    }

    /// Whether other members of this overlay, as of a public one, can be asked for something.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        !self.leaving && (self.connected || !self.connections.is_empty())
    }

    /// Whether the public overlay can be asked.
    pub fn set_reachable(&mut self, reachable: bool, lent: &mut Lent<'_>) {
        let Some(discovery) = &mut self.discovery else { return };
        let transport = lent.paths.unmapped();
        if (discovery.is_reachable(), discovery.own().transport) == (reachable, transport) {
            return;
        }
        let size = self.ring.size_estimate(&self.connections);
        discovery.set_transport(transport, size);
        discovery.set_reachable(reachable, size, lent.now);
    }

    /// The next thing that the DHT of the public overlay shall do.
    pub fn poll_discovery(&mut self) -> Option<Wanted> {
        self.discovery.as_mut()?.poll()
    }

    pub(super) fn look_for_members(&mut self, now: Time) {
        if self.discovery.is_none() {
            return;
        }
        let size = self.ring.size_estimate(&self.connections);
        if let Some(discovery) = &mut self.discovery {
            discovery.handle_timeout(size, now);
        }
    }

    /// Does in our DHT what the private overlay with this number wants; [`Overlay::asker`] tells whose the outcome is.
    pub fn find_for(&mut self, number: u64, wanted: Wanted, lent: &mut Lent<'_>) {
        let origin = |kept: bool| Origin::Node(number << 1 | u64::from(kept));
        match wanted {
            Wanted::Keep(key, value) => {
                self.dht_keep(origin(true), How::Append, Write { key, value, lease: LEASE }, lent);
            }
            Wanted::Release(key, value) => self.dht_release(&key, &value),
            Wanted::Get(key, after) => self.dht_get(origin(false), key, after, lent),
        }
    }

    /// Which private overlay an outcome is for, and whether it is about what that one keeps.
    #[must_use]
    pub fn asker(origin: u64) -> (usize, bool) {
        (usize::try_from(origin >> 1).unwrap_or(usize::MAX), origin & 1 == 1)
    }

    /// What is heard of a wish of ours.
    pub fn on_news(&mut self, kept: bool, news: News, lent: &mut Lent<'_>) {
        match news {
            News::Glimpse(values) => self.on_glimpse(&values, lent),
            News::Over(outcome) => self.on_outcome(kept, outcome, lent),
        }
    }

    fn on_outcome(&mut self, kept: bool, outcome: Outcome, lent: &mut Lent<'_>) {
        match outcome {
            Outcome::Stored { .. } if kept => {
                if let Some(discovery) = &mut self.discovery {
                    discovery.on_stored(lent.now);
                }
            }
            Outcome::Page { values, next, complete } => {
                let values: Vec<Vec<u8>> = values.into_iter().map(|found| found.value).collect();
                self.on_discovered((&values, next, complete), lent);
            }
            // What is kept is tried again.
            _ if kept => {}
            _ => {
                let connected = self.connected;
                if let Some(discovery) = &mut self.discovery {
                    discovery.on_failure();
                    discovery.on_looked(0, connected, lent.now);
                }
            }
        }
    }

    /// One holder says what is stored. It cannot make up an entry, and who looks for a way in need not wait for what the
    /// others say.
    fn on_glimpse(&mut self, values: &[Vec<u8>], lent: &mut Lent<'_>) {
        if self.discovered.is_some_and(|(_, members)| members > 0) {
            return;
        }
        let Some(discovery) = &self.discovery else { return };
        let entries = self.departed.present(discovery.opened(values), lent.now);
        if entries.is_empty() {
            return;
        }
        let members = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        self.discovered.get_or_insert((lent.now, members));
        if self.connections.is_empty() {
            self.meet(&entries, lent);
            self.pump(lent);
        }
    }

    /// The DHT says what is stored.
    fn on_discovered(&mut self, page: (&[Vec<u8>], Option<Mark>, bool), lent: &mut Lent<'_>) {
        let (values, next, complete) = page;
        let Some(discovery) = &mut self.discovery else { return };
        let Some(Found { entries, partial }) = discovery.on_page(values, next, complete) else { return };
        let entries = self.departed.present(entries, lent.now);
        let (is_last, is_first) = (!discovery.is_looking(), discovery.looks() <= 1);
        if is_first && !self.connected && !self.connections.is_empty() {
            // We are on the way to our place, and there we see who is missing.
            self.to_meet.clone_from(&entries);
        } else {
            self.meet(&entries, lent);
        }
        if is_last {
            let members = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            let (found, connected) = (if self.is_left() { 0 } else { entries.len() }, self.connected);
            self.discovered = Some((self.discovered.map_or(lent.now, |(first, _)| first), members));
            self.tell(EventKind::Discovered { members }, lent);
            if let Some(discovery) = &mut self.discovery {
                discovery.on_looked(found, connected, lent.now);
                // Nobody is there, and whoever comes will see us.
                if discovery.empty_looks() >= EMPTY_LOOKS && !partial && !self.is_first {
                    self.is_first = true;
                    self.dirty = true;
                }
            }
        }
        self.pump(lent);
    }

    /// Whether we were in the ring, have nobody left, and all whom the DHT names were dialled in vain: as far as we can tell, nobody
    /// else is there.
    fn is_left(&self) -> bool {
        self.joined.is_some() && self.connections.is_empty() && self.bootstraps.are_silent()
    }

    /// We have our place: whoever was found on the way and ought to be our neighbour is dialled.
    pub(super) fn meet_on_arrival(&mut self, lent: &mut Lent<'_>) {
        let found = std::mem::take(&mut self.to_meet);
        if !self.connections.is_empty() {
            self.meet(&found, lent);
        }
    }

    /// Dials some of those who were found: anybody on the way in, later those who ought to be our neighbours.
    fn meet(&mut self, found: &[Entry], lent: &mut Lent<'_>) {
        let mut found = found.to_vec();
        self.rng.shuffle(&mut found);
        let carried = |entry: &Entry| Remote::Carried(entry.public);
        if self.connections.is_empty() {
            if found.is_empty() {
                return;
            }
            self.is_first &= self.is_left();
            if self.bootstraps.is_dialling() {
                return;
            }
            let direct = found.iter().filter_map(|entry| entry.transport).take(DIRECT_KEPT).map(Remote::Udp);
            let remotes: Vec<Remote> =
                found.iter().take(BOOTSTRAPS_KEPT).map(carried).chain(direct).collect();
            self.bootstraps.replace(&remotes, lent.now);
            return self.dial_bootstraps(lent);
        }
        let now = lent.now;
        let missed = |entry: &&Entry| {
            let known =
                self.connections.get(entry.member).is_some() || self.linker.get(entry.member).is_some();
            !known
                && !self.linker.is_resting(entry.member, now)
                && self.ring.misses(&self.connections, entry.member)
        };
        let mut missed: Vec<Entry> = found.iter().filter(missed).copied().collect();
        missed.sort_by_key(|entry| entry.member.distance(self.own));
        for entry in missed.into_iter().take(DIALS_MAX) {
            self.dial(carried(&entry), Intent { target: Some(entry.member), token: None }, lent);
        }
    }

    /// Dials the bootstraps that are due.
    pub(super) fn dial_bootstraps(&mut self, lent: &mut Lent<'_>) {
        while let Some(remote) = self.bootstraps.due(lent.now) {
            let id = self.dial(remote, Intent::default(), lent);
            self.bootstraps.on_dial(remote, id, lent.now);
        }
    }

    /// Neighbours vanished, or the place is lost: others may have been, too.
    pub(super) fn doubt_ring(&mut self, now: Time) {
        if let Some(discovery) = &mut self.discovery {
            discovery.hurry(now);
        }
    }
}
