//! Reading and writing of big-endian fields. Reading never panics: what is short or odd is [`Malformed`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Address;
use crate::buffer::Buffer;

/// Bytes that do not say what they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes")]
pub struct Malformed;

/// Takes fields from the front of a slice.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.bytes.split_at_checked(count).ok_or(Malformed)?;
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn address(&mut self) -> Result<Address, Malformed> {
        Ok(Address::from_bytes(self.array()?))
    }

    /// A transport address: family (4 or 6), IP, port. Port 0 reaches nobody and is malformed.
    pub(crate) fn transport(&mut self) -> Result<SocketAddr, Malformed> {
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(Malformed),
        };
        match self.u16()? {
            0 => Err(Malformed),
            port => Ok(SocketAddr::new(ip, port)),
        }
    }

    /// A transport address, or a zero byte for none.
    pub(crate) fn observed(&mut self) -> Result<Option<SocketAddr>, Malformed> {
        if self.bytes.first() == Some(&0) {
            self.bytes = &self.bytes[1..];
            return Ok(None);
        }
        self.transport().map(Some)
    }

    /// A list with a one-byte count of at most `max`.
    pub(crate) fn list<T>(
        &mut self,
        max: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = usize::from(self.u8()?);
        if count > max {
            return Err(Malformed);
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(item(self)?);
        }
        Ok(list)
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What is left, without taking it.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Refuses what is left over, so that every message has one encoding.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Appends fields to a buffer.
pub(crate) trait Write {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    fn put_address(&mut self, address: Address) {
        self.put(&address.to_bytes());
    }

    fn put_transport(&mut self, transport: SocketAddr) {
        match transport.ip() {
            IpAddr::V4(ip) => {
                self.put_u8(4);
                self.put(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.put_u8(6);
                self.put(&ip.octets());
            }
        }
        self.put_u16(transport.port());
    }

    fn put_observed(&mut self, observed: Option<SocketAddr>) {
        match observed {
            Some(transport) => self.put_transport(transport),
            None => self.put_u8(0),
        }
    }

    /// A list with a one-byte count; what is beyond `max` items is left out.
    fn put_list<T: Copy>(&mut self, max: usize, items: &[T], item: impl Fn(&mut Self, T)) {
        let items = &items[..items.len().min(max).min(255)];
        self.put_u8(items.len() as u8);
        for one in items {
            item(self, *one);
        }
    }
}

impl Write for Buffer {
    fn put(&mut self, bytes: &[u8]) {
        self.extend(bytes);
    }
}

impl Write for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
