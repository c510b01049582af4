//! The way in: transport addresses that may belong to members, dialled while there is need.

use std::net::SocketAddr;
use std::time::Duration;

use crate::machine::Deadline;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::EdgeId;

/// Bootstraps that are dialled at once.
const DIALS_MAX: usize = 5;

const RETRY_WAIT: Duration = Duration::from_secs(1);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum Stage {
    Waiting(Time),
    Dialling(EdgeId),
    Linked(EdgeId),
}

#[derive(Debug)]
struct Bootstrap {
    remote: SocketAddr,
    stage: Stage,
    silences: u32,
}

/// All bootstraps of one member, in the order in which they are tried.
#[derive(Debug)]
pub struct Bootstraps {
    rng: Rng,
    list: Vec<Bootstrap>,
}

impl Bootstraps {
    /// Bootstraps that are all due at once.
    #[must_use]
    pub fn new(remotes: &[SocketAddr], rng: &Rng, now: Time) -> Self {
        let mut rng = rng.fork("bootstrap");
        let waiting =
            |remote: &SocketAddr| Bootstrap { remote: *remote, stage: Stage::Waiting(now), silences: 0 };
        let mut list: Vec<Bootstrap> = remotes.iter().map(waiting).collect();
        rng.shuffle(&mut list);
        Self { rng, list }
    }

    /// The next bootstrap to dial, if one is due and few enough are under way. Follow with [`Self::on_dial`].
    #[must_use]
    pub fn due(&self, now: Time) -> Option<SocketAddr> {
        let busy = self.list.iter().filter(|one| !matches!(one.stage, Stage::Waiting(_))).count();
        if busy >= DIALS_MAX {
            return None;
        }
        let due = |one: &&Bootstrap| matches!(one.stage, Stage::Waiting(at) if at <= now);
        self.list.iter().find(due).map(|one| one.remote)
    }

    /// A bootstrap is being dialled over this edge.
    pub fn on_dial(&mut self, remote: SocketAddr, edge: EdgeId) {
        if let Some(one) = self.list.iter_mut().find(|one| one.remote == remote) {
            one.stage = Stage::Dialling(edge);
        }
    }

    /// Whether the edge leads to a bootstrap.
    #[must_use]
    pub fn owns(&self, edge: EdgeId) -> bool {
        let at =
            |one: &Bootstrap| matches!(one.stage, Stage::Dialling(own) | Stage::Linked(own) if own == edge);
        self.list.iter().any(at)
    }

    /// The edge is linked.
    pub fn on_linked(&mut self, edge: EdgeId) {
        let dialling = |one: &&mut Bootstrap| matches!(one.stage, Stage::Dialling(own) if own == edge);
        if let Some(one) = self.list.iter_mut().find(dialling) {
            one.stage = Stage::Linked(edge);
            one.silences = 0;
        }
    }

    /// The edge is gone. If it never answered: the bootstrap and how often in a row.
    pub fn on_edge_down(&mut self, edge: EdgeId, now: Time) -> Option<(SocketAddr, u32)> {
        for one in &mut self.list {
            let silent = match one.stage {
                Stage::Dialling(own) if own == edge => true,
                Stage::Linked(own) if own == edge => false,
                _ => continue,
            };
            one.silences += u32::from(silent);
            let wait = (RETRY_WAIT * 2u32.pow(one.silences.min(6))).min(RETRY_WAIT_MAX);
            one.stage = Stage::Waiting(now + self.rng.jitter(wait, 0.25));
            return silent.then_some((one.remote, one.silences));
        }
        None
    }

    /// When the next one is due, if few enough are under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let busy = self.list.iter().filter(|one| !matches!(one.stage, Stage::Waiting(_))).count();
        if busy >= DIALS_MAX {
            return None;
        }
        let waiting = self.list.iter().filter_map(|one| match one.stage {
            Stage::Waiting(at) => Some(at),
            _ => None,
        });
        waiting.min().map(|at| Deadline { at, reason: "bootstrap" })
    }
}
