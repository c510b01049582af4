//! Counts of what the DHT holds and did at one member.

use crate::wire::{Ask, Denial, Said};

/// Kinds of request, as metrics name them.
const KINDS: [&str; 5] = ["put", "claim", "commit", "abort", "get"];
/// Outcomes of requests, as metrics name them.
const OUTCOMES: [&str; 8] =
    ["done", "exists", "contended", "full", "outdated", "invalid", "unclaimed", "unsure"];

/// What one member holds and did.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Values at points that nobody is nearer to.
    pub root: usize,
    /// Values held for a neighbour.
    pub copies: usize,
    /// Bytes of all values, those that each of them costs beside its own included.
    pub bytes: usize,
    /// Values that this member renews.
    pub kept: usize,
    /// Values whose lease ended here.
    pub expired: u64,
    /// Values sent to neighbours that lacked them.
    pub handovers: u64,
    requests: [[u64; OUTCOMES.len()]; KINDS.len()],
}

impl Stats {
    pub(super) fn count(&mut self, ask: &Ask, said: &Said) {
        let kind = match ask {
            Ask::Put(_) => 0,
            Ask::Claim { .. } => 1,
            Ask::Commit { .. } => 2,
            Ask::Abort { .. } => 3,
            Ask::Get(_) => 4,
        };
        let outcome = match said {
            Said::Refused(Denial::Exists) => 1,
            Said::Refused(Denial::Contended) => 2,
            Said::Refused(Denial::Full) => 3,
            Said::Refused(Denial::Outdated(_)) => 4,
            Said::Refused(Denial::Invalid) => 5,
            Said::Refused(Denial::Unclaimed) => 6,
            Said::Refused(Denial::Unsure) => 7,
            Said::Page(page) if page.unsure => 7,
            _ => 0,
        };
        self.requests[kind][outcome] += 1;
    }

    /// Requests that ended here, by kind and outcome.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let all = KINDS.into_iter().zip(self.requests);
        all.flat_map(|(kind, counts)| {
            OUTCOMES.into_iter().zip(counts).map(move |(outcome, n)| (kind, outcome, n))
        })
    }

    /// Writes that were refused here.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.requests[..4].iter().flat_map(|counts| &counts[1..]).sum()
    }
}
