//! Byte buffers that a driver pools, with headroom so that every floor prepends in place.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

/// Room in front of a fresh buffer's bytes: all headers of a relayed, sealed, routed packet fit.
pub const HEADROOM: usize = 160;
/// The largest payload that a buffer holds without growing, in bytes (an Ethernet MTU).
pub const PAYLOAD_MAX: usize = 1500;

const SMALL: usize = HEADROOM + 256;
const LARGE: usize = HEADROOM + PAYLOAD_MAX;
const POOLED_MAX: usize = 4096;

#[derive(Default)]
struct Shelves {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
}

/// A stock of buffers, owned by the driver and shared with its machines. A dropped buffer returns to it.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<Shelves>>);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

impl Pool {
    /// An empty stock.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer with headroom and room for `capacity` bytes.
    #[must_use]
    pub fn take(&self, capacity: usize) -> Buffer {
        let small = HEADROOM + capacity <= SMALL;
        let mut shelves = self.0.lock().expect("no holder of the pool panics");
        let shelf = if small { &mut shelves.small } else { &mut shelves.large };
        let size = (HEADROOM + capacity).max(if small { SMALL } else { LARGE });
        let mut bytes = shelf.pop().unwrap_or_else(|| vec![0; size]);
        if bytes.len() < size {
            bytes.resize(size, 0);
        }
        Buffer { bytes, start: HEADROOM, end: HEADROOM, pool: self.clone() }
    }

    /// A buffer that holds a copy of `payload`.
    #[must_use]
    pub fn copy(&self, payload: &[u8]) -> Buffer {
        let mut buffer = self.take(payload.len());
        buffer.extend(payload);
        buffer
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let Ok(mut shelves) = self.0.lock() else { return };
        let shelf = if bytes.len() <= SMALL { &mut shelves.small } else { &mut shelves.large };
        if shelf.len() < POOLED_MAX && bytes.len() <= LARGE {
            shelf.push(bytes);
        }
    }
}

/// A run of bytes with room in front of it. It reads and writes as a slice.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    pool: Pool,
}

impl Buffer {
    /// Puts `header` in front of the bytes; in place as long as there is headroom.
    pub fn prepend(&mut self, header: &[u8]) {
        if header.len() > self.start {
            let more = header.len() - self.start + HEADROOM;
            self.bytes.splice(0..0, std::iter::repeat_n(0, more));
            self.start += more;
            self.end += more;
        }
        self.start -= header.len();
        self.bytes[self.start..self.start + header.len()].copy_from_slice(header);
    }

    /// Appends bytes.
    pub fn extend(&mut self, tail: &[u8]) {
        let end = self.end + tail.len();
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        self.bytes[self.end..end].copy_from_slice(tail);
        self.end = end;
    }

    /// Drops `count` bytes from the front (all of them if there are fewer); they become headroom.
    pub fn advance(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Keeps only the first `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        self.end = self.end.min(self.start + count);
    }

    /// The room behind the headroom, for a driver to receive into; follow with [`Buffer::set_len`].
    pub fn spare(&mut self) -> &mut [u8] {
        let start = self.start;
        &mut self.bytes[start..]
    }

    /// Declares that the first `len` bytes of [`Buffer::spare`] are the content (capped to its size).
    pub fn set_len(&mut self, len: usize) {
        self.end = (self.start + len).min(self.bytes.len());
    }

    /// The pool that this buffer goes back to.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        self.pool.copy(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_go_in_front_in_place_and_beyond_the_headroom() {
        let pool = Pool::new();
        let mut buffer = pool.copy(b"body");
        buffer.prepend(b"head ");
        assert_eq!(&buffer[..], b"head body");
        buffer.prepend(&[b'x'; 400]);
        assert_eq!(buffer.len(), 409);
        buffer.advance(400);
        assert_eq!(&buffer[..], b"head body");
    }

    #[test]
    fn a_dropped_buffer_serves_again_without_its_bytes() {
        let pool = Pool::new();
        let address = pool.copy(b"secret").bytes.as_ptr();
        let again = pool.take(10);
        assert_eq!(again.bytes.as_ptr(), address);
        assert!(again.is_empty());
    }

    #[test]
    fn a_receive_never_runs_past_the_end() {
        let mut buffer = Pool::new().take(PAYLOAD_MAX);
        let room = buffer.spare().len();
        buffer.set_len(room + 10_000);
        assert_eq!(buffer.len(), room);
        buffer.truncate(3);
        buffer.advance(10);
        assert!(buffer.is_empty());
    }
}
