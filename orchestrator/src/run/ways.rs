//! Step: by which kind of way ring neighbours are linked.

use atoll_core::control::{Command, Peer, Reply};
use atoll_core::wire::Address;

use super::outcome::Cut;
use super::rings::Rings;
use super::stage::Stage;
use super::theory::{Overlay, Theory};
use crate::environment::NodeIndex;
use crate::metric;

/// The way of an edge that nobody stands between, as members call it.
const DIRECT: &str = "direct";

/// Pairs of ring neighbours by how they are linked.
#[derive(Clone, Copy, Debug, Default)]
struct Ways {
    pairs: usize,
    direct: usize,
    /// Through a common peer, or carried by the public ring.
    passed_on: usize,
}

impl Stage<'_> {
    /// Samples of how ring neighbours are linked, in both overlays.
    pub(super) fn ways(&mut self, rings: &Rings<'_>) -> Result<(), Cut> {
        let public = self.ways_in(Overlay::Public, &rings.public)?;
        if public.pairs > 0 {
            self.sample(None, metric::DIRECT, public.direct as f64 / public.pairs as f64);
            self.sample(None, metric::RELAYED, public.passed_on as f64 / public.pairs as f64);
        }
        let Some(private) = &rings.private else { return Ok(()) };
        let private = self.ways_in(Overlay::Private, private)?;
        if private.pairs > 0 {
            self.sample(None, metric::PRIVATE_DIRECT, private.direct as f64 / private.pairs as f64);
        }
        Ok(())
    }

    fn ways_in(&mut self, overlay: Overlay, theory: &Theory<'_>) -> Result<Ways, Cut> {
        let mut ways = Ways::default();
        for (low, high) in theory.pairs() {
            self.stop_if_cancelled()?;
            ways.pairs += 1;
            let Some(above) = overlay.address(&self.trial.nodes[high.index()]) else { continue };
            match self.way(overlay, low, above).as_deref() {
                Some(DIRECT) => ways.direct += 1,
                Some(_) => ways.passed_on += 1,
                None => {}
            }
        }
        Ok(ways)
    }

    /// The kind of way from a member to its neighbour, if it is linked; one that is silent is counted elsewhere.
    fn way(&mut self, overlay: Overlay, from: NodeIndex, to: Address) -> Option<String> {
        self.peer(overlay, from, to).map(|peer| peer.edge)
    }

    /// What a member says of its connection to another.
    pub(super) fn peer(&mut self, overlay: Overlay, from: NodeIndex, to: Address) -> Option<Peer> {
        let question = Command::Peers { overlay: overlay.name().to_owned() };
        let Ok(Reply::Peers(peers)) = self.environment.command(from, question) else { return None };
        peers.into_iter().find(|peer: &Peer| peer.address == to)
    }
}
