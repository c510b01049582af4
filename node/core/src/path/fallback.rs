//! Whether UDP comes through here, and so whether TCP is wanted.

use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Time;

/// Without a word over UDP for this long, a node that has no place in its ring tries TCP as well.
const UDP_SILENCE: Duration = Duration::from_secs(2);
/// How long one word over UDP shows that UDP comes through: longer than an idle edge is silent.
const UDP_TRUST: Duration = Duration::from_secs(150);
/// Own transport addresses that are named for TCP at most.
const NAMED_MAX: usize = 2;

/// What a node may do over TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TcpUse {
    /// Nothing.
    #[default]
    Off,
    /// Open connections.
    Opens,
    /// Open connections, and take them at the port of the UDP socket.
    Listens,
}

/// What is known of UDP and TCP at this host.
#[derive(Debug, Default)]
pub(super) struct Fallback {
    tcp: TcpUse,
    started: Time,
    /// When anything last came over UDP.
    heard: Option<Time>,
    /// Whether a peer opened a TCP connection to us.
    reached: bool,
}

impl Fallback {
    pub(super) fn start(&mut self, tcp: TcpUse, now: Time) {
        (self.tcp, self.started) = (tcp, now);
    }

    pub(super) fn on_udp(&mut self, now: Time) {
        self.heard = Some(now);
    }

    pub(super) fn on_reached(&mut self) {
        self.reached = true;
    }

    /// When a node without a place in its ring is to try TCP, unless it hears something over UDP until then.
    pub(super) fn due(&self) -> Option<Time> {
        (self.tcp >= TcpUse::Opens).then(|| self.heard.unwrap_or(self.started) + UDP_SILENCE)
    }

    /// Whether TCP is worth a try at all, and whether it may wait: UDP is known to come through.
    pub(super) fn tcp(&self, now: Time) -> Option<Patience> {
        if self.tcp < TcpUse::Opens {
            return None;
        }
        let trusted = self.heard.is_some_and(|heard| heard + UDP_TRUST > now);
        let fresh = self.heard.is_none() && self.started + UDP_SILENCE > now;
        Some(if trusted || fresh { Patience::UdpFirst } else { Patience::AtOnce })
    }

    /// Where others may open TCP connections to us: at our own addresses that peers see us at; and if one has opened any,
    /// at the address of a NAT that keeps our port, as in front of a rented machine, and at all our own.
    pub(super) fn named(&self, local: &[SocketAddr], observed: &[SocketAddr]) -> Vec<SocketAddr> {
        if self.tcp < TcpUse::Listens {
            return Vec::new();
        }
        let kept = |seen: &&SocketAddr| local.iter().any(|own| own.port() == seen.port());
        let seen = local.iter().filter(|own| observed.contains(own));
        let reached = observed.iter().filter(kept).chain(local).filter(|_| self.reached);
        let mut named: Vec<SocketAddr> = Vec::with_capacity(NAMED_MAX);
        for address in seen.chain(reached) {
            if named.len() < NAMED_MAX && !named.contains(address) {
                named.push(*address);
            }
        }
        named
    }
}

/// How soon TCP is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Only where UDP came to nothing.
    UdpFirst,
    /// Together with UDP, which seems not to come through.
    AtOnce,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fallback(tcp: TcpUse) -> Fallback {
        let mut fallback = Fallback::default();
        fallback.start(tcp, Time::from_secs(10));
        fallback
    }

    #[test]
    fn tcp_waits_as_long_as_udp_comes_through() {
        let mut fallback = fallback(TcpUse::Opens);
        assert_eq!(fallback.due(), Some(Time::from_secs(12)));
        assert_eq!(fallback.tcp(Time::from_secs(11)), Some(Patience::UdpFirst));
        assert_eq!(fallback.tcp(Time::from_secs(13)), Some(Patience::AtOnce));
        fallback.on_udp(Time::from_secs(14));
        assert_eq!(fallback.due(), Some(Time::from_secs(16)));
        assert_eq!(fallback.tcp(Time::from_secs(100)), Some(Patience::UdpFirst));
        assert_eq!(fallback.tcp(Time::from_secs(200)), Some(Patience::AtOnce));
    }

    #[test]
    fn only_an_address_that_is_open_is_named() {
        let (own, other) =
            ("192.0.2.1:1".parse().expect("it is one"), "192.0.2.1:2".parse().expect("it is one"));
        let mut fallback = fallback(TcpUse::Listens);
        assert!(fallback.named(&[own], &[other]).is_empty());
        assert_eq!(fallback.named(&[own], &[own, other]), [own]);
        fallback.on_reached();
        assert_eq!(fallback.named(&[own], &[]), [own]);
        let outside = "198.51.100.1:1".parse().expect("it is one");
        assert_eq!(fallback.named(&[own], &[outside, other]), [outside, own]);
        fallback.start(TcpUse::Opens, Time::ZERO);
        assert!(fallback.named(&[own], &[own]).is_empty());
    }

    #[test]
    fn without_tcp_nothing_is_ever_due() {
        let fallback = fallback(TcpUse::Off);
        assert_eq!((fallback.due(), fallback.tcp(Time::from_secs(99))), (None, None));
    }
}
