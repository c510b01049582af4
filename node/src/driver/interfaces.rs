//! The host's own addresses, and the kernel's word when they change (rtnetlink(7)).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::time::{Interval, interval};

use super::refusal::transport_address;

/// Addresses that the machine is told of; a host with more keeps the lowest.
const ADDRESSES_MAX: usize = 16;
/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
const GROUPS: u32 = 0x10 | 0x100;
/// How often to look where the kernel does not tell.
const LOOK: Duration = Duration::from_secs(10);

/// Says when the host's addresses may have changed.
pub(super) struct Watch {
    netlink: Option<AsyncFd<OwnedFd>>,
    look: Interval,
}

impl Watch {
    /// Subscribes; without the right to, it wakes every 10 s instead.
    pub(super) fn new() -> Self {
        let netlink =
            subscribe().inspect_err(|error| tracing::debug!(%error, "no word of new addresses")).ok();
        Self { netlink, look: interval(LOOK) }
    }

    /// Waits for the next word of the kernel, or for the next look.
    pub(super) async fn changed(&mut self) {
        let word = match &self.netlink {
            Some(netlink) => netlink.readable().await.map(discard).is_ok(),
            None => false,
        };
        if !word {
            self.netlink = None;
            self.look.tick().await;
        }
    }
}

/// What the messages say is not read: the whole list is taken anew.
fn discard(mut ready: AsyncFdReadyGuard<'_, OwnedFd>) {
    let mut message = [0; 4096];
    let mut receive = |fd: &AsyncFd<OwnedFd>| Ok(recv(fd.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT)?);
    while let Ok(Ok(_)) = ready.try_io(&mut receive) {}
}

fn subscribe() -> std::io::Result<AsyncFd<OwnedFd>> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    // SAFETY: an `OwnedFd` names the same open descriptor as long as it lives, and `AsyncFd` owns it.
    unsafe { AsyncFd::register(netlink) }.map_err(Into::into)
}

/// The transport addresses at which a socket bound to `local` is reached from this host's interfaces.
pub(super) fn addresses(local: SocketAddr) -> Vec<SocketAddr> {
    if !local.ip().is_unspecified() {
        return vec![local];
    }
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let up = interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    let all: BTreeSet<IpAddr> = up
        .filter_map(|interface| transport_address(interface.address.as_ref()?))
        .map(|address| address.ip())
        .filter(|ip| is_useful(*ip) && (ip.is_ipv4() || local.is_ipv6()))
        .collect();
    // A host that has nothing but its loopback may still have peers there.
    let beyond: Vec<IpAddr> = all.iter().copied().filter(|ip| !ip.is_loopback()).collect();
    let chosen = if beyond.is_empty() { all.into_iter().collect() } else { beyond };
    chosen.into_iter().take(ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, local.port())).collect()
}

/// Link-local addresses need a scope that means nothing to a peer (RFC 4007).
fn is_useful(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_address_is_the_only_one() {
        let local = "127.0.0.1:7".parse().unwrap();
        assert_eq!(addresses(local), vec![local]);
    }

    #[test]
    fn all_addresses_carry_the_port_and_fit_the_socket() {
        let found = addresses("0.0.0.0:7".parse().unwrap());
        assert!(found.iter().all(|address| address.is_ipv4() && address.port() == 7), "{found:?}");
        assert!(!found.is_empty());
    }
}
