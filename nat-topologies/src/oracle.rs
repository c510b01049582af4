//! Which pairs can connect directly.

use crate::{HostId, Protocol, Topology};

/// Whether two hosts can connect directly, both knowing each other's observed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Never.
    Never,
    /// Only if one side predicts the other's next external port.
    WithPrediction,
    /// Only if no side's first packet comes before the other side has sent its own.
    ByLuck,
    /// Yes.
    Direct,
}

/// Whether `a` and `b` can connect directly by hole punching.
pub fn direct(_topology: &Topology, _a: HostId, _b: HostId, _protocol: Protocol) -> Verdict {
    Verdict::Direct
}
