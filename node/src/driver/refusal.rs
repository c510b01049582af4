//! The socket's error queue: which destination the network refused (ICMP unreachable; `IP_RECVERR`, ip(7)).

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
    sockopt::{Ipv4RecvErr, Ipv6RecvErr},
};

/// Bytes for one extended error with its sender (`sock_extended_err` and `sockaddr_in6`), with room to spare.
const CONTROL: usize = 256;

/// Asks the kernel to queue refusals; a kernel that does not only withholds a hint.
pub(super) fn enable(socket: &impl AsFd, ipv6: bool) {
    let _ = setsockopt(socket, Ipv4RecvErr, &true);
    if ipv6 {
        let _ = setsockopt(socket, Ipv6RecvErr, &true);
    }
}

/// Takes one entry: the destination that was refused, or `None` if the entry says something else.
pub(super) fn next(socket: &impl AsRawFd) -> io::Result<Option<SocketAddr>> {
    let mut payload = [0; 64];
    let mut control = [0; CONTROL];
    let mut parts = [IoSliceMut::new(&mut payload)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let entry = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let refused = entry.cmsgs()?.any(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            is_refusal(Errno::from_raw(error.ee_errno.cast_signed()))
        }
        _ => false,
    });
    Ok(if refused { entry.address.as_ref().and_then(transport_address) } else { None })
}

fn is_refusal(code: Errno) -> bool {
    use Errno::{EACCES, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT, EPERM};
    matches!(code, ECONNREFUSED | EHOSTUNREACH | ENETUNREACH | EHOSTDOWN | ENOPROTOOPT | EACCES | EPERM)
}

/// As the standard library writes it; `None` for other families.
pub(super) fn transport_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddrV4::from(*address).into());
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddrV6::from(*address).into()))
}
