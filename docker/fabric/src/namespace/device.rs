//! The TUN device that a container knows as `eth0`. It lives as long as its file descriptor, so it dies with
//! the fabric; nothing here outlives the process.

use std::ffi::c_short;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::Namespace;
use super::netlink::Netlink;

/// The device's name inside the container.
const NAME: &[u8] = b"eth0";
/// Packets that the kernel keeps for us while we are busy.
const TRANSMIT_QUEUE: u32 = 4096;
/// Index of the loopback interface in every namespace.
const LOOPBACK: u32 = 1;

const IFF_TUN: c_short = 0x0001;
const IFF_NO_PI: c_short = 0x1000;
const TUNSETIFF: Opcode = opcode::write::<std::ffi::c_int>(b'T', 202);

/// The start of `struct ifreq`, padded to its size.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: c_short,
    padding: [u8; 22],
}

/// How a container's device is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Its own addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
    /// Largest IP packet, in bytes (1280 to 65,535).
    pub mtu: u32,
}

/// The packet end of a container's `eth0`.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Makes `eth0` in a namespace, with its addresses and default routes, and brings it and loopback up.
    ///
    /// # Errors
    /// No TUN in the kernel, no right, a device of that name is there already, or no IPv6 where it is wanted.
    pub fn create(namespace: &Namespace, spec: &DeviceSpec) -> io::Result<Self> {
        namespace.enter(|| {
            let device = Self::open()?;
            set_up(spec)?;
            Ok(device)
        })
    }

    /// A device that is in truth any other file whose reads and writes keep packets apart.
    pub fn from_file(file: File) -> Self {
        Self(file)
    }

    /// Reads one packet; `None` when none waits.
    ///
    /// # Errors
    /// The device is gone.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.0).read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands one packet to the container.
    ///
    /// # Errors
    /// The device is down or gone, or the kernel has no memory for it.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write(packet).map(drop)
    }

    fn open() -> io::Result<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("flags fit");
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
        let mut name = [0; 16];
        name[..NAME.len()].copy_from_slice(NAME);
        let request = InterfaceRequest { name, flags: IFF_TUN | IFF_NO_PI, padding: [0; 22] };
        // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, whose size and start `InterfaceRequest` has.
        unsafe { ioctl(&file, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) }?;
        Ok(Self(file))
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sets the device up from inside its namespace.
fn set_up(spec: &DeviceSpec) -> io::Result<()> {
    let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let index = name_to_index(&any, "eth0")?;
    let mut netlink = Netlink::open()?;
    netlink.up(LOOPBACK)?;
    netlink.set_sizes(index, spec.mtu, TRANSMIT_QUEUE)?;
    let quiet = netlink.no_link_local(index);
    if spec.addresses.iter().any(IpAddr::is_ipv6) {
        quiet?;
    }
    netlink.up(index)?;
    for address in &spec.addresses {
        netlink.add_address(index, *address)?;
        netlink.add_default_route(index, *address)?;
    }
    Ok(())
}
