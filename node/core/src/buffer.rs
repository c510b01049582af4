//! Byte buffers that a driver pools, with headroom so that every floor prepends in place.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Mutex, MutexGuard};

/// Room in front of a fresh buffer's bytes: all headers of a relayed, sealed, routed packet fit.
pub const HEADROOM: usize = 128;
/// Room behind a fresh buffer's capacity: the tags of a record and of a wrapped datagram fit.
const TAILROOM: usize = 32;
/// The largest payload that a buffer holds without growing, in bytes (an Ethernet MTU).
pub const PAYLOAD_MAX: usize = 1500;

/// Payload capacities that are pooled: most control frames, routed ones with a long way behind them, all the rest.
const CLASSES: [usize; 3] = [144, 384, PAYLOAD_MAX];
const POOLED_MAX: usize = 4096;

/// A stock of buffers, owned by the driver and shared with its machines. A dropped buffer returns to it.
#[derive(Clone, Default)]
pub struct Pool(Arc<Mutex<[Vec<Vec<u8>>; CLASSES.len()]>>);

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
        let class = CLASSES.iter().position(|class| capacity <= *class);
        let pooled = class.and_then(|class| self.shelves()?[class].pop());
        let size = HEADROOM + class.map_or(capacity, |class| CLASSES[class]) + TAILROOM;
        let bytes = pooled.unwrap_or_else(|| vec![0; size]);
        Buffer { bytes, start: HEADROOM as u32, end: HEADROOM as u32, pool: self.clone() }
    }

    fn shelves(&self) -> Option<MutexGuard<'_, [Vec<Vec<u8>>; CLASSES.len()]>> {
        self.0.lock().ok()
    }

    /// A buffer that holds a copy of `payload`.
    #[must_use]
    pub fn copy(&self, payload: &[u8]) -> Buffer {
        let mut buffer = self.take(payload.len());
        buffer.extend(payload);
        buffer
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let class = CLASSES.iter().position(|class| bytes.len() == HEADROOM + class + TAILROOM);
        let (Some(class), Some(mut shelves)) = (class, self.shelves()) else { return };
        if shelves[class].len() < POOLED_MAX {
            shelves[class].push(bytes);
        }
    }
}

/// A run of bytes with room in front of it. It reads and writes as a slice.
pub struct Buffer {
    bytes: Vec<u8>,
    start: u32,
    end: u32,
    pool: Pool,
}

impl Buffer {
    fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn set_span(&mut self, span: Range<usize>) {
        self.start = span.start as u32;
        self.end = span.end as u32;
    }

    /// Puts `header` in front of the bytes; in place as long as there is headroom.
    pub fn prepend(&mut self, header: &[u8]) {
        let Range { mut start, mut end } = self.span();
        if header.len() > start {
            let more = header.len() - start + HEADROOM;
            self.bytes.splice(0..0, std::iter::repeat_n(0, more));
            start += more;
            end += more;
        }
        self.bytes[start - header.len()..start].copy_from_slice(header);
        self.set_span(start - header.len()..end);
    }

    /// Appends bytes.
    pub fn extend(&mut self, tail: &[u8]) {
        let Range { start, end } = self.span();
        let longer = end + tail.len();
        if longer > self.bytes.len() {
            self.bytes.resize(longer, 0);
        }
        self.bytes[end..longer].copy_from_slice(tail);
        self.set_span(start..longer);
    }

    /// Drops `count` bytes from the front (all of them if there are fewer); they become headroom.
    pub fn advance(&mut self, count: usize) {
        let Range { start, end } = self.span();
        self.set_span((start + count).min(end)..end);
    }

    /// Keeps only the first `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        let Range { start, end } = self.span();
        self.set_span(start..end.min(start + count));
    }

    /// The room behind the headroom, for a driver to receive into; follow with [`Buffer::set_len`].
    pub fn spare(&mut self) -> &mut [u8] {
        let start = self.span().start;
        &mut self.bytes[start..]
    }

    /// Declares that the first `len` bytes of [`Buffer::spare`] are the content (capped to its size).
    pub fn set_len(&mut self, len: usize) {
        let start = self.span().start;
        self.set_span(start..(start + len).min(self.bytes.len()));
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
        &self.bytes[self.span()]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let span = self.span();
        &mut self.bytes[span]
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
