//! A capture of every packet that passes the fabric's hands, as a file for Wireshark.
//!
//! The thread that moves packets only copies them; another one writes. Neither waits for the other: what the writer
//! is too slow for, or what is beyond the file's bound, is left out and counted.

pub mod file;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SendError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use writer::{Fate, Writer};

/// Bytes of a chunk: what is handed to the writer at once.
const CHUNK: usize = 64 << 10;
/// Chunks that wait for the writer; one more is left out. They take 16 MiB, or 32 if every packet is large.
const CHUNKS_MAX: usize = 256;
/// The longest time that a packet stays in a chunk while others come.
const CHUNK_AGE: Duration = Duration::from_millis(100);

/// Packets on their way into the file.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    packets: u64,
    /// When its first packet passed, on the fabric's clock.
    since: Duration,
}

impl Chunk {
    fn empty() -> Self {
        Self { bytes: Vec::with_capacity(CHUNK), packets: 0, since: Duration::ZERO }
    }
}

/// What a capture holds, and what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Packets in the file, or on their way there.
    pub packets: u64,
    /// Bytes of the file, those on their way included.
    pub bytes: u64,
    /// Packets that are not in it: `full` beyond the file's bound, `behind` too fast for the writer, `failed` not
    /// written by the system.
    pub missing: BTreeMap<String, u64>,
    /// Why the system did not write.
    pub error: Option<String>,
}

/// A capture that goes on.
#[derive(Debug)]
pub struct Capture {
    chunk: Chunk,
    chunks: SyncSender<Chunk>,
    writer: JoinHandle<()>,
    fate: Arc<Fate>,
    counts: Counts,
    /// Zero of the fabric's clock, since 1970.
    zero: Duration,
    bytes_max: u64,
}

/// What was taken and what was not; what the writer lost of it, its fate says.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    bytes: u64,
    packets: u64,
    full: u64,
    behind: u64,
}

impl Counts {
    fn leave_out(&mut self, chunk: &Chunk) {
        self.behind += chunk.packets;
        self.packets -= chunk.packets;
        self.bytes -= chunk.bytes.len() as u64;
    }

    fn summary(self, fate: &Fate) -> Summary {
        let lost = fate.lost();
        let missing = [("full", self.full), ("behind", self.behind), ("failed", lost.packets)];
        let missing = missing.into_iter().filter(|(_, count)| *count > 0);
        Summary {
            packets: self.packets.saturating_sub(lost.packets),
            bytes: self.bytes.saturating_sub(lost.bytes),
            missing: missing.map(|(why, count)| (why.to_owned(), count)).collect(),
            error: lost.error,
        }
    }
}

impl Capture {
    /// Begins a capture in a new file of at most `bytes_max` bytes. Nobody but the owner of its folder may read it.
    ///
    /// # Errors
    /// The file is there already or cannot be made, or no thread can be had.
    pub fn begin(path: &Path, bytes_max: u64, clock: Clock) -> io::Result<Self> {
        let writer = Writer::create(path)?;
        let fate = writer.fate();
        let (chunks, inbox) = sync_channel(CHUNKS_MAX);
        let writer = thread::Builder::new().name("capture".to_owned()).spawn(move || writer.run(inbox))?;
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            chunk: Chunk::empty(),
            chunks,
            writer,
            fate,
            counts: Counts { bytes: file::HEADER as u64, ..Counts::default() },
            zero: today.saturating_sub(clock.now()),
            bytes_max,
        })
    }

    /// Takes a packet that passes at `now`. Once one does not fit any more, none is taken, however small.
    pub fn take(&mut self, now: Duration, packet: &[u8]) {
        let size = (file::PACKET_HEADER + packet.len()) as u64;
        if self.counts.full > 0 || self.counts.bytes + size > self.bytes_max {
            self.counts.full += 1;
            if self.counts.full == 1 {
                tracing::warn!(packets = self.counts.packets, "the capture is full: it ends here");
                self.send_off();
            }
            return;
        }
        if self.chunk.packets == 0 {
            self.chunk.since = now;
        }
        file::append(&mut self.chunk.bytes, self.zero + now, packet);
        self.chunk.packets += 1;
        self.counts.packets += 1;
        self.counts.bytes += size;
        if self.chunk.bytes.len() >= CHUNK || now.saturating_sub(self.chunk.since) >= CHUNK_AGE {
            self.send_off();
        }
    }

    fn send_off(&mut self) {
        let chunk = std::mem::replace(&mut self.chunk, Chunk::empty());
        if let Err(TrySendError::Full(chunk) | TrySendError::Disconnected(chunk)) =
            self.chunks.try_send(chunk)
        {
            self.counts.leave_out(&chunk);
        }
    }

    /// How far it is.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.counts.summary(&self.fate)
    }

    /// Ends it and waits until all is written; not for the thread that moves packets.
    #[must_use]
    pub fn end(self) -> Summary {
        let Self { chunk, chunks, writer, fate, mut counts, .. } = self;
        if let Err(SendError(chunk)) = chunks.send(chunk) {
            counts.leave_out(&chunk);
        }
        // The writer ends when nobody is left who could send.
        drop(chunks);
        let _ = writer.join();
        counts.summary(&fate)
    }
}

#[cfg(test)]
mod tests;
