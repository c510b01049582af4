//! UDP and TCP: over which of the two members are dialled, and what a refusal means.

use std::time::Duration;

use super::{Lent, Overlay};
use crate::edge::{Edge, Stage};
use crate::path::Patience;
use crate::wire::{Address, Remote, Way};

/// How much later than over UDP a member is dialled over TCP where UDP comes through: what UDP can reach needs no connection.
const TCP_WAIT: Duration = Duration::from_secs(3);

impl Overlay {
    /// Bootstraps are tried over TCP as well as long as nothing comes over UDP.
    pub(super) fn choose_transport(&mut self, lent: &Lent<'_>) {
        if !self.connected {
            self.bootstraps.tcp_from(lent.paths.tcp_due(), lent.now);
        } else if lent.paths.tcp(lent.now) != Some(Patience::AtOnce) {
            self.bootstraps.leave_tcp();
        }
    }

    /// Dials a transport address of a peer; over TCP only later where UDP is known to come through.
    pub(super) fn dial_direct(&mut self, peer: Address, remote: Remote, lent: &mut Lent<'_>) {
        match (remote.way(), lent.paths.tcp(lent.now)) {
            (Way::Stream, None) => {}
            (Way::Stream, Some(Patience::UdpFirst)) => self.plan(peer, remote, lent.now + TCP_WAIT),
            _ => self.dial_for(peer, remote, lent),
        }
    }

    /// The network refused a datagram to this address: ask the peers behind it at once. Edges over a TCP connection go
    /// with it.
    pub fn on_unreachable(&mut self, to: Remote, lent: &mut Lent<'_>) {
        let behind = |edge: &Edge| lent.paths.get(edge.path).is_some_and(|path| path.remote == to);
        let behind = self.edges.iter().filter(|(_, edge)| behind(edge)).map(|(id, _)| id);
        for id in behind.collect::<Vec<_>>() {
            if to.way() == Way::Stream {
                self.miss(id, lent);
                self.drop_edge(id, "the TCP connection is gone", lent);
            } else if let Some(edge) = self.edges.get_mut(id)
                && matches!(edge.stage, Stage::Linked(_))
            {
                edge.probe.ask(lent.now);
            }
        }
        if to.way() == Way::Stream { self.pump(lent) } else { self.edges.refresh() }
    }
}
