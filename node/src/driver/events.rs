//! Events as log lines: what a user would notice at info, what should wake someone at warn.

use atoll_core::Time;
use atoll_core::control::{Event, EventKind};
use tracing::{debug, info, warn};

/// Why nobody may answer: members of one overlay share its engine.
const SILENT: &str = "is it up, of the same overlay, and with the same `security`?";

/// Logs one event.
pub(super) fn log(event: &Event, now: Time) {
    let overlay = event.overlay.as_str();
    let seconds = now.as_secs_f64();
    match &event.kind {
        EventKind::Connected => info!(overlay, seconds, "connected"),
        EventKind::Disconnected => info!(overlay, seconds, "disconnected; joining again"),
        EventKind::PeerConnected { peer } => debug!(overlay, %peer, "peer connected"),
        EventKind::Broadcast { members, complete } => debug!(overlay, members, complete, "broadcast is over"),
        EventKind::Revoked { user, certificates: 0 } => info!(overlay, user, "a user was revoked"),
        EventKind::Revoked { user, certificates } => {
            info!(overlay, user, certificates, "certificates were revoked");
        }
        EventKind::RevocationsListed { number, fresh } => {
            info!(overlay, number, fresh, "the authority's list names more revoked members");
        }
        EventKind::Discovered { members } => debug!(overlay, members, "looked for members"),
        EventKind::NotSent { peer, why } => debug!(overlay, %peer, why, "payload not sent"),
        EventKind::PeerLost { peer, why } => info!(overlay, %peer, why, "peer lost"),
        EventKind::Refused { why } => warn!(overlay, why, "a peer takes us for no member; trying again"),
        EventKind::NeighboursChanged { predecessor, successor } => {
            debug!(overlay, ?predecessor, ?successor, "neighbours changed");
        }
        // Said at the first attempt, and then ever more rarely.
        EventKind::BootstrapSilent { bootstrap, attempts } if attempts.is_power_of_two() => {
            warn!(overlay, %bootstrap, attempts, hint = SILENT, "bootstrap does not answer; trying again");
        }
        EventKind::BootstrapSilent { bootstrap, attempts } => {
            debug!(overlay, %bootstrap, attempts, hint = SILENT, "bootstrap does not answer; trying again");
        }
    }
}
