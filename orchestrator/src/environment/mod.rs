//! Where members live while an experiment measures them: one trait, so that experiments are blind to the place.
//!
//! The trait is synchronous: an environment that talks to a daemon owns its runtime and blocks on it. All times
//! are on the environment's own clock, which stands at zero after [`Environment::prepare`]. Nothing here knows
//! what an experiment measures.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use atoll_core::Telling;
use atoll_core::control::{Command, Reply, Status};

use crate::error::{Error, Result};

mod authority;
mod cancel;
pub mod docker;
pub mod sim;
mod trial;

pub use authority::Authority;
pub use cancel::Cancel;
pub use trial::{Group, NodeIndex, NodeSpec, Security, Trial};

/// The UDP port that every member listens on; each has a host for itself.
pub const NODE_PORT: u16 = 4242;
/// Name of the overlay that every member joins.
pub const OVERLAY: &str = "public";
/// Name of the private overlay, and of the group whose members it has.
pub const GROUP: &str = "group";

/// Name of the partition that [`Fault::Partition`] makes in the model.
const PARTITION: &str = "partition";

/// A place in which the members of one trial live. It is used once: prepare, work, tear down.
pub trait Environment {
    /// Makes everything ready that takes time (topology, images, containers) and releases nobody.
    ///
    /// # Errors
    /// What is missing and what to do about it. The caller still calls [`Environment::tear_down`].
    fn prepare(&mut self, trial: &Trial) -> Result<()>;

    /// Releases members, all of them at this instant.
    ///
    /// # Errors
    /// A member that could not be released.
    fn start(&mut self, nodes: &[NodeIndex]) -> Result<()>;

    /// How many members may join at once so that none waits for the processor: every one of them makes some twenty edges. Where
    /// time is virtual that is no question.
    fn wave(&self) -> usize {
        usize::MAX
    }

    /// Ends members.
    ///
    /// # Errors
    /// A member that could not be ended.
    fn stop(&mut self, nodes: &[NodeIndex], how: Stop) -> Result<()>;

    /// Has another member take the place of one that was stopped: on its host, with an identity of its own. It is released
    /// by [`Environment::start`]. `member` has the host and the name of the one before.
    ///
    /// # Errors
    /// The one before still runs, or the new one cannot be prepared.
    fn replace(&mut self, node: NodeIndex, member: &NodeSpec) -> Result<()>;

    /// Changes the emulated Internet.
    ///
    /// # Errors
    /// A fault that this environment cannot carry out.
    fn apply(&mut self, fault: &Fault) -> Result<FaultReport>;

    /// Asks one member and waits for its answer; the clock goes on meanwhile.
    ///
    /// # Errors
    /// The member does not run or does not answer within [`COMMAND_LIMIT`].
    fn command(&mut self, node: NodeIndex, command: Command) -> Result<Reply>;

    /// Has a member of the public overlay tell the members of a group what their site says, and waits for nothing.
    ///
    /// # Errors
    /// There is no site in this environment.
    fn announce(&mut self, _node: NodeIndex, _telling: Telling) -> Result<()> {
        Err(Error::new("from: site", "this environment has no site"))
    }

    /// Asks one member and waits for nothing: its answer is among [`Environment::take_answers`] once it came, unless the
    /// member is stopped before.
    ///
    /// # Errors
    /// The environment itself is gone.
    fn ask(&mut self, node: NodeIndex, command: Command) -> Result<Question>;

    /// What came since the last call of answers to [`Environment::ask`], in the order of the questions. A question that
    /// nobody answers within [`COMMAND_LIMIT`] is forgotten.
    ///
    /// # Errors
    /// The environment itself is gone.
    fn take_answers(&mut self) -> Result<Vec<Answer>>;

    /// The state of many members at once; `None` for one that does not run or does not answer.
    ///
    /// # Errors
    /// The environment itself is gone.
    fn statuses(&mut self, nodes: &[NodeIndex]) -> Result<Vec<Option<NodeStatus>>>;

    /// Lets time pass until `until`. Returns early, without an error, when the run is cancelled.
    ///
    /// # Errors
    /// The environment itself is gone.
    fn advance(&mut self, until: Duration) -> Result<()>;

    /// The time now.
    fn now(&self) -> Duration;

    /// Traffic at the emulated wire since the release, one entry a member in the order asked; of one that was stopped, what it
    /// was at its end.
    ///
    /// # Errors
    /// The environment itself is gone.
    fn traffic(&mut self, nodes: &[NodeIndex]) -> Result<Vec<Traffic>>;

    /// Every metric of every running member and of the emulated Internet.
    ///
    /// # Errors
    /// The environment itself is gone.
    fn scrape(&mut self) -> Result<Vec<Sample>>;

    /// Whether what was measured so far can be trusted.
    ///
    /// # Errors
    /// The environment itself is gone.
    fn health(&mut self) -> Result<Health>;

    /// What the trial cost so far.
    fn cost(&self) -> Cost;

    /// A hash over everything that happened; equal for equal seeds. `None` where the real world takes part.
    fn trace_hash(&self) -> Option<u64> {
        None
    }

    /// Writes the logs of members and emulator into a folder that exists.
    ///
    /// # Errors
    /// The folder cannot be written.
    fn save_logs(&mut self, folder: &Path) -> Result<()>;

    /// Removes everything that the environment made. Always called once, also after errors; may be called again.
    ///
    /// # Errors
    /// What was left behind.
    fn tear_down(&mut self) -> Result<()>;
}

/// The longest wait for one member's answer to a command: longer than a member takes until it says that nobody answered it.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(15);

/// A question that was asked and is not waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question(pub u64);

/// What a member answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// To what.
    pub question: Question,
    /// When the answer came.
    pub at: Duration,
    /// The answer.
    pub reply: Reply,
}

/// How a member ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It says goodbye first.
    Leave,
    /// It falls silent at once.
    Kill,
}

/// A change of the emulated Internet while members run.
///
/// A fault at a member hits its own gateway: of all that it is behind the innermost one, its home router. A carrier
/// NAT further out keeps its mappings, since strangers are behind it too, and so a fault at some members means the
/// same for each of them whatever is further out. All who share that gateway are hit with it, and counted.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The own gateways of these members forget their mappings.
    Rebind {
        /// The members; one without a gateway is not hit.
        nodes: Vec<NodeIndex>,
    },
    /// The own gateways of these members restart: mappings gone, external address new.
    Reboot {
        /// The members; one without a gateway is not hit.
        nodes: Vec<NodeIndex>,
    },
    /// Every path from now on loses this share of its packets, independently.
    Loss {
        /// In `[0, 1]`.
        ratio: f64,
    },
    /// No packet leaves the sites of one side's members for those of the other until [`Fault::Heal`]; packets on their way
    /// still arrive. While a partition lasts, a second one hits nobody.
    Partition {
        /// The two sides, none of them empty; members at one site are on one side.
        sides: [Vec<NodeIndex>; 2],
    },
    /// Ends the partition; it hits whom the partition hit.
    Heal,
}

/// What a fault did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultReport {
    /// When it took effect.
    pub at: Duration,
    /// Hosts that it hit; an experiment whose fault hit nobody is invalid.
    pub hosts: u32,
}

/// A member's view of itself and when it was released.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStatus {
    /// Release on the environment's clock; the status counts its seconds from there.
    pub released: Duration,
    /// The member's answer about the public overlay.
    pub status: Status,
    /// And about the private one, if it is a member there.
    pub private: Option<Status>,
}

impl NodeStatus {
    /// From the states of all its memberships; `None` if the public one is not among them.
    #[must_use]
    pub fn of(released: Duration, overlays: Vec<Status>) -> Option<Self> {
        let (mut public, mut private) = (None, None);
        for status in overlays {
            match status.overlay.as_str() {
                OVERLAY => public = Some(status),
                GROUP => private = Some(status),
                _ => {}
            }
        }
        Some(Self { released, status: public?, private })
    }
}

/// What passed between a host and the emulated Internet, IP and UDP headers counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets received.
    pub received_packets: u64,
}

impl Traffic {
    /// What came since an earlier count.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            sent_bytes: self.sent_bytes.saturating_sub(before.sent_bytes),
            received_bytes: self.received_bytes.saturating_sub(before.received_bytes),
            sent_packets: self.sent_packets.saturating_sub(before.sent_packets),
            received_packets: self.received_packets.saturating_sub(before.received_packets),
        }
    }
}

/// One value of one metric at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When, on the environment's clock.
    pub at: Duration,
    /// Whose; `None` for the emulated Internet itself.
    pub node: Option<NodeIndex>,
    /// Name with its base unit.
    pub metric: String,
    /// Label names and values, sorted by name.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// Reasons to distrust a trial. All empty: it is valid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Members that ended without being told to, with what they said last.
    pub crashed: Vec<(NodeIndex, String)>,
    /// How late the emulator delivered its packets; `None` where time is virtual.
    pub lateness: Option<Lateness>,
    /// Stalls of a clock, a member or the emulator, a sentence each.
    pub stalls: Vec<String>,
    /// How many times slower than the machine's the time of members and emulator ran, if it did.
    pub dilation: Option<u32>,
}

/// Quantiles of an emulator's lateness.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lateness {
    /// Median.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// Worst.
    pub max: Duration,
}

/// What a trial cost the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Processor time of everything that took part, in seconds.
    pub cpu_seconds: f64,
    /// Time by the clock on the wall, in seconds.
    pub wall_seconds: f64,
    /// Peak resident memory of everything that took part, in bytes.
    pub peak_rss_bytes: u64,
    /// Events handled: packets and wakes in the simulator, packets in the fabric.
    pub events: u64,
}

/// What every environment is given by the program that runs it.
#[derive(Clone)]
pub struct Surroundings {
    /// Set by Ctrl-C: come back soon, leave nothing behind.
    pub cancel: Cancel,
    /// Where slow steps are reported.
    pub progress: Arc<dyn Progress>,
}

/// Shows a user how far a slow step is.
pub trait Progress: Send + Sync {
    /// `done` of `total` are through with `what`; a total of 0 means that it is not known.
    fn step(&self, what: &str, done: u64, total: u64);
}
