//! What an authority has issued: one line for each certificate, written before the certificate is, so that no serial
//! number is used twice whatever happens in between. Whoever holds the ledger is alone with the authority's folder.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use atoll_core::security::Serial;
use atoll_core::wire::Address;
use atoll_site::authority::random_serial;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) serial: String,
    pub(super) user: String,
    pub(super) address: Address,
    /// Seconds since 1970 (UTC).
    pub(super) expires: u64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("line {0} is none of the ledger's")]
    Line(usize),
}

/// The open ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    entries: Vec<Entry>,
}

impl Ledger {
    /// Opens a ledger and waits until nobody else has it.
    pub(super) fn open(path: &Path) -> Result<Self, Broken> {
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        flock(&file, FlockOperation::LockExclusive).map_err(io::Error::from)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line without an end is all that a power failure left of an entry whose certificate was never made.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64)?;
        }
        let lines = text[..whole].lines().zip(1..);
        let read =
            |(line, number): (&str, usize)| serde_json::from_str(line).map_err(|_| Broken::Line(number));
        let entries = lines.map(read).collect::<Result<_, _>>()?;
        Ok(Self { file, entries })
    }

    /// A random serial number that no entry has.
    pub(super) fn fresh_serial(&self) -> io::Result<Serial> {
        loop {
            let serial = random_serial()?;
            if !self.entries.iter().any(|entry| entry.serial == serial.to_string()) {
                return Ok(serial);
            }
        }
    }

    /// Adds an entry; on the disk when this returns.
    pub(super) fn append(&mut self, entry: Entry) -> io::Result<()> {
        let before = self.file.seek(SeekFrom::End(0))?;
        let line = serde_json::to_string(&entry)? + "\n";
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_all());
        if written.is_err() {
            let _ = self.file.set_len(before);
        }
        written?;
        self.entries.push(entry);
        Ok(())
    }

    /// All entries, the oldest first.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn entry(serial: &str) -> Entry {
        let address = Address::from_bytes([1; Address::LEN]);
        Entry { serial: serial.to_owned(), user: "ann".to_owned(), address, expires: 7 }
    }

    #[test]
    fn what_was_appended_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issued.log");
        fs::write(&path, "").unwrap();
        for (count, serial) in ["01", "02"].into_iter().enumerate() {
            let mut ledger = Ledger::open(&path).unwrap();
            assert_eq!(ledger.entries().len(), count);
            ledger.append(entry(serial)).unwrap();
        }
        assert_eq!(Ledger::open(&path).unwrap().entries(), [entry("01"), entry("02")]);
    }

    #[test]
    fn a_line_that_was_cut_short_is_gone_and_a_broken_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issued.log");
        fs::write(&path, "").unwrap();
        Ledger::open(&path).unwrap().append(entry("01")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{}", &text[..20])).unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.append(entry("02")).unwrap();
        drop(ledger);
        assert_eq!(Ledger::open(&path).unwrap().entries(), [entry("01"), entry("02")]);
        fs::write(&path, format!("{text}{{}}\n{text}")).unwrap();
        assert!(matches!(Ledger::open(&path), Err(Broken::Line(2))));
    }
}
