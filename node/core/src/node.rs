//! Floor 7: one socket, many overlays. It tells datagrams apart by what their header names, never by their source.

use std::collections::VecDeque;

use crate::buffer::{Buffer, Pool};
use crate::config::{Config, OverlayConfig};
use crate::control::{Command, FailureKind, Reply};
use crate::counters::{Counters, DropReason};
use crate::machine::{Deadline, Input, Machine, Output, RequestId};
use crate::overlay::{Arrival, Lent, Overlay, Start};
use crate::path;
use crate::rng::{Rng, Seed};
use crate::security::{Credentials, Wall};
use crate::time::Time;
use crate::wire::{Address, Header, PacketKind, Remote};

/// Overlays of one node at most: the last byte of an edge's id names the overlay.
pub const OVERLAYS_MAX: usize = 256;

/// The overlay that carries edges of the others: the public one.
const CARRIER: usize = 0;

/// Rounds over the timers of all overlays that one call makes.
const TIMER_ROUNDS_MAX: usize = 4;

/// Outputs that a drained queue has room for.
const OUTPUTS_KEPT: usize = 16;

/// A running participant: one socket and its memberships.
#[derive(Debug)]
pub struct Node {
    overlays: Vec<Overlay>,
    shared: Shared,
    /// Drops before any overlay was found.
    counters: Counters,
}

/// What all overlays of a node use.
#[derive(Debug)]
struct Shared {
    pool: Pool,
    paths: path::Table,
    outputs: VecDeque<Output>,
    /// What the wall clock said, and when; 0 as long as nobody told.
    wall: (Wall, Time),
    /// Datagrams for members of the public overlay that its ring shall carry.
    carries: VecDeque<(Address, Buffer)>,
    /// Datagrams that packets brought.
    arrivals: VecDeque<(Remote, Buffer)>,
    /// Who the node is in the public overlay.
    carrier: Option<Address>,
}

impl Shared {
    /// Lends everything for one call.
    fn lend(&mut self, now: Time) -> Lent<'_> {
        let (Wall(seconds), then) = self.wall;
        let wall = Wall(if seconds == 0 { 0 } else { seconds + now.since(then).as_secs() });
        Lent {
            paths: &mut self.paths,
            pool: &self.pool,
            outputs: &mut self.outputs,
            now,
            wall,
            carries: &mut self.carries,
            arrivals: &mut self.arrivals,
            carrier: self.carrier,
        }
    }
}

impl Node {
    /// A node that starts at `now`. It takes its buffers from `pool` and all its randomness from `seed`.
    /// Overlays beyond [`OVERLAYS_MAX`] are left out.
    #[must_use]
    pub fn new(config: &Config, pool: &Pool, seed: Seed, now: Time) -> Self {
        let rng = Rng::new(seed);
        let carrier = config.overlays.first().map(|overlay| overlay.address);
        let make = |(slot, overlay): (usize, &OverlayConfig)| {
            let public = carrier.filter(|_| slot != CARRIER);
            Overlay::new(overlay, &Start { slot: slot as u8, public, pool, rng: &rng, now })
        };
        let overlays = config.overlays.iter().take(OVERLAYS_MAX).enumerate().map(make).collect();
        let wall = (Wall(config.unix_seconds), now);
        let mut paths = path::Table::default();
        paths.start(config.tcp, now);
        let shared = Shared {
            pool: pool.clone(),
            paths,
            outputs: VecDeque::new(),
            wall,
            carries: VecDeque::new(),
            arrivals: VecDeque::new(),
            carrier,
        };
        Self { overlays, shared, counters: Counters::default() }
    }

    /// Hands on what packets brought and what they shall carry, until nothing is left.
    fn settle(&mut self, now: Time) {
        loop {
            if let Some((from, payload)) = self.shared.arrivals.pop_front() {
                self.on_datagram(from, payload, now);
            } else if let Some((to, datagram)) = self.shared.carries.pop_front() {
                if let Some(carrier) = self.overlays.first_mut() {
                    carrier.carry_edge(to, datagram, &mut self.shared.lend(now));
                }
            } else if !self.run_discovery(now) && !self.run_announcements(now) {
                return;
            }
        }
    }

    /// Carries wishes of private overlays to the DHT of the public one, and its answers back. False if there was none.
    fn run_discovery(&mut self, now: Time) -> bool {
        let Some((public, private)) = self.overlays.split_first_mut() else { return false };
        let reachable = public.is_reachable();
        let mut any = false;
        for (number, overlay) in private.iter_mut().enumerate() {
            overlay.set_reachable(reachable, &mut self.shared.lend(now));
            while let Some(wanted) = overlay.poll_discovery() {
                any = true;
                public.find_for(number as u64, wanted, &mut self.shared.lend(now));
            }
        }
        while let Some((number, news)) = public.poll_dht() {
            any = true;
            let (asker, kept) = Overlay::asker(number);
            if let Some(overlay) = private.get_mut(asker) {
                overlay.on_news(kept, news, &mut self.shared.lend(now));
            }
        }
        any
    }

    /// Hands an announcement that came through the public overlay to the private one that it is for, and its receipt back. False
    /// if there was none.
    fn run_announcements(&mut self, now: Time) -> bool {
        let Some((public, private)) = self.overlays.split_first_mut() else { return false };
        let (Some((from, sealed)), Some(own)) = (public.poll_announced(), self.shared.carrier) else {
            return false;
        };
        let receipt = private
            .iter_mut()
            .find_map(|overlay| overlay.hear_announcement((from, own), &sealed, &mut self.shared.lend(now)));
        match receipt {
            Some(receipt) => public.send_receipt(from, &receipt, &mut self.shared.lend(now)),
            None => public.on_foreign_announcement(),
        }
        true
    }

    fn on_datagram(&mut self, from: Remote, mut payload: Buffer, now: Time) {
        let Ok(header) = Header::take(&mut payload) else {
            self.counters.drop(DropReason::Malformed);
            return;
        };
        let slot = match header {
            Header::Short { receiver } => usize::from(receiver.0 as u8),
            Header::Long { tag, .. } => {
                self.overlays.iter().position(|overlay| overlay.tag() == tag).unwrap_or(usize::MAX)
            }
        };
        let Some(overlay) = self.overlays.get_mut(slot) else {
            self.counters.drop(DropReason::UnknownOverlay);
            return;
        };
        // An edge that others carry or relay never carries or relays another.
        let may_come = match from {
            Remote::Udp(_) | Remote::Tcp(_) => true,
            Remote::Carried(_) => slot != CARRIER,
            Remote::Relayed(one) => slot == usize::from(one.overlay),
        };
        if !may_come {
            self.counters.drop(DropReason::UnknownOverlay);
            return;
        }
        if from.udp().is_some() {
            self.shared.paths.on_udp(now);
        }
        overlay.handle_datagram(Arrival { header, from, payload }, &mut self.shared.lend(now));
    }

    fn on_command(&mut self, id: RequestId, command: Command, now: Time) {
        let reply = match command {
            Command::Status => Reply::Status(
                self.overlays.iter().map(|overlay| overlay.status(&self.shared.paths, now)).collect(),
            ),
            Command::Metrics => Reply::Metrics(self.metrics(now)),
            Command::Peers { overlay } => match self.with(&overlay, now, |overlay, lent| overlay.peers(lent))
            {
                Ok(peers) => Reply::Peers(peers),
                Err(failed) => failed,
            },
            Command::Judge { overlay, certificate } => {
                let judge = |overlay: &mut Overlay, lent: &mut Lent<'_>| overlay.judge(certificate, lent);
                self.with(&overlay, now, judge).unwrap_or_else(|failed| failed)
            }
            Command::Ping { overlay, address } => {
                return self.inquire(id, &overlay, PacketKind::EchoRequest, address, now);
            }
            Command::Route { overlay, address } => {
                return self.inquire(id, &overlay, PacketKind::TraceRequest, address, now);
            }
            Command::Revoke { overlay, notice, by } => {
                let revoke = |overlay: &mut Overlay, lent: &mut Lent<'_>| overlay.revoke(&notice, by, lent);
                self.with(&overlay, now, revoke).unwrap_or_else(|failed| failed)
            }
            Command::DhtPut { .. }
            | Command::DhtPutProved { .. }
            | Command::DhtCreate { .. }
            | Command::DhtGet { .. } => {
                return self.on_dht_command(id, command, now);
            }
            Command::Leave => {
                let mut lent = self.shared.lend(now);
                self.overlays.iter_mut().for_each(|overlay| overlay.leave(&mut lent));
                Reply::Left
            }
        };
        self.shared.outputs.push_back(Output::Reply { id, reply });
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one question has an id, an overlay, a kind, a target and a time"
    )]
    fn inquire(&mut self, id: RequestId, overlay: &str, kind: PacketKind, target: Address, now: Time) {
        let done = self.with(overlay, now, |overlay, lent| overlay.inquire(id, kind, target, lent));
        if let Err(reply) = done {
            self.shared.outputs.push_back(Output::Reply { id, reply });
        }
    }

    fn on_dht_command(&mut self, id: RequestId, command: Command, now: Time) {
        let name = match &command {
            Command::DhtPut { overlay, .. }
            | Command::DhtPutProved { overlay, .. }
            | Command::DhtCreate { overlay, .. }
            | Command::DhtGet { overlay, .. } => overlay.clone(),
            _ => return,
        };
        let done = self.with(&name, now, |overlay, lent| overlay.on_dht_command(id, command, lent));
        if let Err(reply) = done {
            self.shared.outputs.push_back(Output::Reply { id, reply });
        }
    }

    fn with<T>(
        &mut self,
        name: &str,
        now: Time,
        act: impl FnOnce(&mut Overlay, &mut Lent<'_>) -> T,
    ) -> Result<T, Reply> {
        let overlay = self.overlays.iter_mut().find(|overlay| overlay.name() == name);
        let Some(overlay) = overlay else {
            return Err(Reply::failed(FailureKind::NotFound, format!("no overlay is named `{name}`")));
        };
        Ok(act(overlay, &mut self.shared.lend(now)))
    }

    fn metrics(&self, now: Time) -> Vec<crate::control::Metric> {
        let mut metrics = Vec::new();
        for overlay in &self.overlays {
            overlay.metrics(now, &mut metrics);
        }
        for reason in [DropReason::Malformed, DropReason::UnknownOverlay] {
            metrics.push(crate::control::Metric {
                name: "atoll_unknown_datagrams_total".to_owned(),
                help: "Datagrams that belong to no overlay of this node, by reason".to_owned(),
                kind: crate::control::MetricKind::Counter,
                labels: vec![("reason".to_owned(), reason.label().to_owned())],
                value: self.counters.drops(reason) as f64,
            });
        }
        metrics
    }
}

impl Machine for Node {
    fn handle_input(&mut self, input: Input, now: Time) {
        match input {
            Input::Datagram { from, payload } => self.on_datagram(from.into(), payload, now),
            Input::Unreachable { to } => {
                let mut lent = self.shared.lend(now);
                self.overlays.iter_mut().for_each(|overlay| overlay.on_unreachable(to.into(), &mut lent));
            }
            Input::Command { id, command } => self.on_command(id, command, now),
            Input::Send { overlay, to, payload } => {
                if let Some(overlay) = self.overlays.get_mut(usize::from(overlay)) {
                    overlay.send_to(to, payload, &mut self.shared.lend(now));
                }
            }
            Input::Carry { overlay, to, payload } => {
                if let Some(overlay) = self.overlays.get_mut(usize::from(overlay)) {
                    overlay.carry(to, payload, &mut self.shared.lend(now));
                }
            }
            Input::Broadcast { overlay, range, payload } => {
                if let Some(overlay) = self.overlays.get_mut(usize::from(overlay)) {
                    overlay.broadcast(range, payload, &mut self.shared.lend(now));
                }
            }
            Input::LocalAddresses(local) => self.shared.paths.set_local(local),
            Input::WallClock { unix_seconds } => {
                self.shared.wall = (Wall(unix_seconds), now);
                let mut lent = self.shared.lend(now);
                self.overlays.iter_mut().for_each(|overlay| overlay.review(&mut lent));
            }
            Input::Revocations { overlay, list } => {
                if let Some(overlay) = self.overlays.get_mut(usize::from(overlay)) {
                    overlay.set_revocations(&list, &mut self.shared.lend(now));
                }
            }
            Input::UserList { overlay, list } => {
                if let Some(overlay) = self.overlays.get_mut(usize::from(overlay)) {
                    overlay.set_user_list(&list, &mut self.shared.lend(now));
                }
            }
            Input::Notice { overlay, notice } => {
                if let Some(overlay) = self.overlays.get_mut(usize::from(overlay)) {
                    overlay.set_notice(&notice, &mut self.shared.lend(now));
                }
            }
            Input::Announce { id, telling } => {
                if let Some(public) = self.overlays.first_mut() {
                    public.tell_group(id, &telling, &mut self.shared.lend(now));
                }
            }
            Input::Epoch { overlay, epoch } => {
                if let Some(overlay) = self.overlays.get_mut(usize::from(overlay)) {
                    overlay.set_epoch(epoch, &mut self.shared.lend(now));
                }
            }
            Input::Credentials { overlay, certificate, key } => {
                // What does not belong together is the driver's mistake and changes nothing.
                if let Some(overlay) = self.overlays.get_mut(usize::from(overlay))
                    && let Ok(credentials) = Credentials::new(&certificate, key)
                {
                    overlay.set_credentials(&credentials, &mut self.shared.lend(now));
                }
            }
            Input::Bootstraps { overlay, bootstraps } => {
                // A name that is not ours is the driver's mistake and changes nothing.
                let remotes: Vec<Remote> = bootstraps.into_iter().map(Remote::Udp).collect();
                let _ = self.with(&overlay, now, |overlay, lent| overlay.set_bootstraps(&remotes, lent));
            }
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        // What one overlay hands to another may make a timer of that one due.
        for _ in 0..TIMER_ROUNDS_MAX {
            let mut lent = self.shared.lend(now);
            for overlay in &mut self.overlays {
                overlay.handle_timeout(&mut lent);
            }
            self.settle(now);
            if self.poll_timeout().is_none_or(|deadline| deadline.at > now) {
                return;
            }
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        let output = self.shared.outputs.pop_front();
        if output.is_none() && self.shared.outputs.capacity() > OUTPUTS_KEPT {
            // One burst is no reason to hold its room for ever.
            self.shared.outputs = VecDeque::with_capacity(OUTPUTS_KEPT);
        }
        output
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.overlays.iter().map(Overlay::poll_timeout).fold(None, Deadline::earlier)
    }
}
