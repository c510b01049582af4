//! The few rtnetlink requests that a device needs (RFC 3549; linux/rtnetlink.h). Builds bytes, reads the
//! acknowledgement; knows nothing of what the numbers are for.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 2;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const HEADER_LENGTH: usize = 16;

/// A connection to the kernel's routing of the namespace that it is opened in.
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket =
            // The routing protocol has number 0, which is the default.
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Brings an interface up.
    pub(super) fn up(&mut self, index: u32) -> io::Result<()> {
        self.ask(Message::link(index, IFF_UP), 0)
    }

    /// Sets the MTU and the length of the transmit queue.
    pub(super) fn set_sizes(&mut self, index: u32, mtu: u32, queue: u32) -> io::Result<()> {
        let mut message = Message::link(index, 0);
        message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        message.attribute(IFLA_TXQLEN, &queue.to_ne_bytes());
        self.ask(message, 0)
    }

    /// Keeps the kernel from making an IPv6 link-local address, and so from soliciting routers and listeners.
    pub(super) fn no_link_local(&mut self, index: u32) -> io::Result<()> {
        let mut mode = Vec::new();
        put_attribute(&mut mode, IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        let mut family = Vec::new();
        put_attribute(&mut family, u16::from(AF_INET6), &mode);
        let mut message = Message::link(index, 0);
        message.attribute(IFLA_AF_SPEC, &family);
        self.ask(message, 0)
    }

    /// Gives an interface a host address: no neighbours on the link, no wait for duplicates.
    pub(super) fn add_address(&mut self, index: u32, address: IpAddr) -> io::Result<()> {
        let octets = octets(address);
        let prefix = u8::try_from(octets.len() * 8).expect("128 fits");
        let mut message = Message::new(RTM_NEWADDR);
        message.put(&[family(address), prefix, 0, RT_SCOPE_UNIVERSE]);
        message.put(&index.to_ne_bytes());
        message.attribute(IFA_LOCAL, &octets);
        message.attribute(IFA_ADDRESS, &octets);
        if address.is_ipv6() {
            message.attribute(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes());
        }
        self.ask(message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Sends everything of the address's family that is not local out of the interface.
    pub(super) fn add_default_route(&mut self, index: u32, source: IpAddr) -> io::Result<()> {
        let scope = if source.is_ipv4() { RT_SCOPE_LINK } else { RT_SCOPE_UNIVERSE };
        let mut message = Message::new(RTM_NEWROUTE);
        message.put(&[family(source), 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST]);
        message.put(&0u32.to_ne_bytes());
        message.attribute(RTA_OIF, &index.to_ne_bytes());
        message.attribute(RTA_PREFSRC, &octets(source));
        self.ask(message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    fn ask(&mut self, message: Message, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let bytes = message.finish(flags | NLM_F_REQUEST | NLM_F_ACK, self.sequence);
        sendto(&self.socket, &bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut answer = [0; 4096];
        let (length, _) = recv(&self.socket, &mut answer, RecvFlags::empty())?;
        acknowledged(answer.get(..length).unwrap_or_default())
    }
}

/// Reads the answer to one request: `struct nlmsgerr`, whose code 0 is the acknowledgement.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let unexpected = || io::Error::new(io::ErrorKind::InvalidData, "an unexpected netlink answer");
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(HEADER_LENGTH..HEADER_LENGTH + 4).and_then(|bytes| bytes.try_into().ok());
    match (kind, code.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(unexpected()),
    }
}

/// One request; its length is filled in at the end.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16) -> Self {
        let mut bytes = vec![0; HEADER_LENGTH];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        Self(bytes)
    }

    /// `struct ifinfomsg`: sets these flags, leaves the others.
    fn link(index: u32, flags: u32) -> Self {
        let mut message = Self::new(RTM_NEWLINK);
        message.put(&[AF_UNSPEC, 0, 0, 0]);
        message.put(&index.to_ne_bytes());
        message.put(&flags.to_ne_bytes());
        message.put(&flags.to_ne_bytes());
        message
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        put_attribute(&mut self.0, kind, value);
    }

    fn finish(mut self, flags: u16, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("requests are short");
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// Appends a `struct rtattr` with its padding to four bytes.
fn put_attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).expect("attributes are short");
    to.extend_from_slice(&length.to_ne_bytes());
    to.extend_from_slice(&kind.to_ne_bytes());
    to.extend_from_slice(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_to_four_bytes() {
        let mut bytes = Vec::new();
        put_attribute(&mut bytes, 8, &[1]);
        assert_eq!(bytes.len(), 8);
        assert_eq!(bytes[0..2], 5u16.to_ne_bytes());
    }

    #[test]
    fn a_refusal_is_the_kernels_error() {
        let mut answer = vec![0; 20];
        answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert!(acknowledged(&answer).is_ok());
        answer[16..20].copy_from_slice(&(-1i32).to_ne_bytes());
        assert_eq!(acknowledged(&answer).unwrap_err().raw_os_error(), Some(1));
        assert!(acknowledged(&answer[..10]).is_err());
    }
}
