//! The end of a capture that waits for the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Chunk, file};
use crate::owner;

/// What the writer could not write.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) error: Option<String>,
}

/// What became of the chunks. The writer touches it only after a failure.
#[derive(Debug, Default)]
pub(super) struct Fate(Mutex<Lost>);

impl Fate {
    pub(super) fn lost(&self) -> Lost {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lose(&self, chunk: &Chunk, error: Option<&io::Error>) {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lost.packets += chunk.packets;
        lost.bytes += chunk.bytes.len() as u64;
        lost.error = lost.error.take().or_else(|| error.map(io::Error::to_string));
    }
}

/// A file that chunks are written to, until one cannot be.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    /// Bytes of it that are whole packets.
    length: u64,
    fate: Arc<Fate>,
    broken: bool,
}

impl Writer {
    /// # Errors
    /// The file is there already, or cannot be made or written.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        owner::give_to_owner_of_folder(path)?;
        file.write_all(&file::header())?;
        Ok(Self { file, length: file::HEADER as u64, fate: Arc::default(), broken: false })
    }

    pub(super) fn fate(&self) -> Arc<Fate> {
        Arc::clone(&self.fate)
    }

    /// Writes what comes until nobody is left who could send more.
    pub(super) fn run(mut self, chunks: Receiver<Chunk>) {
        chunks.into_iter().for_each(|chunk| self.write(&chunk));
    }

    fn write(&mut self, chunk: &Chunk) {
        if self.broken {
            return self.fate.lose(chunk, None);
        }
        match self.file.write_all(&chunk.bytes) {
            Ok(()) => self.length += chunk.bytes.len() as u64,
            Err(error) => {
                tracing::warn!(%error, "the capture ends: it cannot be written");
                self.broken = true;
                self.fate.lose(chunk, Some(&error));
                // Half a packet at the end would make the file look damaged.
                let _ = self.file.set_len(self.length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn chunk(packets: u64) -> Chunk {
        let mut bytes = Vec::new();
        (0..packets).for_each(|_| file::append(&mut bytes, Duration::ZERO, &[1; 50]));
        Chunk { bytes, packets, since: Duration::ZERO }
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_reason_kept() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut writer = Writer { file: full, length: 0, fate: Arc::default(), broken: false };
        let fate = writer.fate();
        writer.write(&chunk(3));
        writer.write(&chunk(2));
        let lost = fate.lost();
        assert_eq!((lost.packets, lost.bytes), (5, 5 * 66));
        assert!(lost.error.unwrap().contains("No space left"));
    }
}
