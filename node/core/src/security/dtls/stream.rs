//! The datagrams between libssl and the filter: a stream in memory, which is all that the `openssl` crate talks to.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Result, Write};

/// One `read` takes one datagram, one `write` adds one.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    pub(super) inward: VecDeque<Vec<u8>>,
    pub(super) outward: Vec<Vec<u8>>,
}

impl Read for Datagrams {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let datagram = self.inward.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let count = datagram.len().min(buffer.len());
        buffer[..count].copy_from_slice(&datagram[..count]);
        Ok(count)
    }
}

impl Write for Datagrams {
    fn write(&mut self, datagram: &[u8]) -> Result<usize> {
        self.outward.push(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
