//! The start gate: every container begins in `atoll-hold`, which waits here until the fabric lets it go.
//!
//! The container's side listens on an abstract unix socket, whose name lives in the network namespace and
//! nowhere in a file system. The fabric connects through a socket made in that namespace as soon as `eth0` is
//! there, and later sends one byte. If the connection ends without it, the fabric is dead and so is the start.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The abstract name that a container listens on.
pub const NAME: &[u8] = b"atoll-hold";
/// The byte that opens the gate.
pub const GO: u8 = b'G';
/// The longest wait for the fabric's connection.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(180);

/// Waits in the container until the fabric opens the gate.
///
/// # Errors
/// Nobody connected within [`CONNECT_LIMIT`], or the fabric ended before it opened the gate.
pub fn wait() -> io::Result<()> {
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?)?;
    let limit = Timespec { tv_sec: CONNECT_LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
    if poll(&mut [PollFd::new(&listener.as_fd(), PollFlags::IN)], Some(&limit))? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no fabric came"));
    }
    let (mut fabric, _) = listener.accept()?;
    let mut byte = [0];
    match fabric.read(&mut byte)? {
        1 if byte[0] == GO => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the fabric ended before the start")),
    }
}
