//! The capture of a run: begun before the first member is released, ended and brought home before the end.

use std::path::{Path, PathBuf};

use atoll_fabric::api::{CaptureOrder, Client, ClientError};
use atoll_fabric::capture::Summary;

use super::place::RunPlace;
use crate::error::{OrFail, Result};

/// Name of the file, in the run's folder and among a trial's logs.
pub const FILE: &str = "capture.pcap";
/// The largest capture, in bytes.
pub const BYTES_MAX: u64 = 512 << 20;

/// Begins it.
///
/// # Errors
/// The fabric cannot make the file.
pub(super) async fn begin(client: &Client) -> Result<()> {
    let order = CaptureOrder { file: FILE.to_owned(), bytes_max: BYTES_MAX };
    client.begin_capture(&order).await.or_fail(|| "cannot begin a capture".to_owned())
}

/// Ends it; returns why it is not complete, if it is not. Of a fabric that is gone there is what it had written.
///
/// # Errors
/// The fabric does not end it.
pub(super) async fn end(client: &Client) -> Result<Option<String>> {
    match client.end_capture().await {
        Ok(summary) => Ok(flaw(&summary)),
        Err(ClientError::Gone(_)) => Ok(None),
        Err(error) => Err(error).or_fail(|| "cannot end the capture".to_owned()),
    }
}

/// Where it is while the run goes on.
pub(super) fn path(place: &RunPlace) -> PathBuf {
    place.folder.join(FILE)
}

/// Moves it to where it stays.
///
/// # Errors
/// The place cannot be written.
pub(super) fn bring(place: &RunPlace, to: &Path) -> Result<()> {
    let from = path(place);
    if std::fs::rename(&from, to).is_ok() {
        return Ok(());
    }
    // The place may be on another disk.
    std::fs::copy(&from, to).map(drop).or_fail(|| format!("cannot write `{}`", to.display()))
}

/// Why it is not complete, in a sentence.
pub(super) fn flaw(summary: &Summary) -> Option<String> {
    let why = |(why, count): (&String, &u64)| {
        let why = match why.as_str() {
            "full" => format!("came after it was full ({} MiB)", BYTES_MAX >> 20),
            "behind" => "came faster than the disk takes them".to_owned(),
            _ => format!("could not be written: {}", summary.error.as_deref().unwrap_or(why)),
        };
        format!("{count} packets {why}")
    };
    let missing: Vec<_> = summary.missing.iter().map(why).collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_capture_that_lacks_packets_says_how_many_and_why() {
        assert_eq!(flaw(&Summary { packets: 9, ..Summary::default() }), None);
        let missing = [("behind", 2), ("failed", 3), ("full", 4)];
        let missing: BTreeMap<_, _> = missing.map(|(why, count)| (why.to_owned(), count)).into();
        let summary = Summary { missing, error: Some("no space".to_owned()), ..Summary::default() };
        let said = flaw(&summary).unwrap();
        assert_eq!(
            said,
            "2 packets came faster than the disk takes them; \
             3 packets could not be written: no space; 4 packets came after it was full (512 MiB)"
        );
    }
}
