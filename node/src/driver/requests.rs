//! What the servers ask of the driver, and the commands that wait for the machine's reply.

use std::collections::BTreeMap;

use atoll_core::control::{Command, FailureKind, Reply};
use atoll_core::{RequestId, Telling};
use tokio::sync::{mpsc, oneshot};

use super::journal::Page;

/// Questions that wait for the driver; a server that has more waits.
const ASKS_MAX: usize = 64;
/// Commands that wait for the machine; more are refused.
const PENDING_MAX: usize = 256;

/// A question to the driver.
pub(super) enum Ask {
    /// For the machine.
    Command(Command, oneshot::Sender<Reply>),
    /// For the journal: the events from a number on.
    Events(u64, oneshot::Sender<Page>),
}

/// What a group's site has members told; the reply comes when that is over.
pub(crate) struct Announce {
    pub(crate) telling: Telling,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// The servers' end.
#[derive(Clone)]
pub(super) struct Asker(mpsc::Sender<Ask>);

/// Both ends of the way from the servers to the driver.
pub(super) fn channel() -> (Asker, mpsc::Receiver<Ask>) {
    let (sender, receiver) = mpsc::channel(ASKS_MAX);
    (Asker(sender), receiver)
}

impl Asker {
    /// Has the machine carry out a command.
    pub(super) async fn command(&self, command: Command) -> Reply {
        let (sender, receiver) = oneshot::channel();
        if self.0.send(Ask::Command(command, sender)).await.is_err() {
            return not_running("the node has left");
        }
        receiver.await.unwrap_or_else(|_| not_running("the node left before it replied"))
    }

    /// Reads the journal from number `since` on; `None` when the node has left.
    pub(super) async fn events(&self, since: u64) -> Option<Page> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(Ask::Events(since, sender)).await.ok()?;
        receiver.await.ok()
    }
}

/// What is said while no machine runs that could be asked.
pub(super) fn not_running(why: &str) -> Reply {
    Reply::failed(FailureKind::NotRunning, why)
}

/// The commands under way.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: BTreeMap<RequestId, oneshot::Sender<Reply>>,
    last: u64,
}

impl Pending {
    /// An id for a command whose reply nobody waits for.
    pub(super) fn unattended(&mut self) -> RequestId {
        self.last += 1;
        RequestId(self.last)
    }

    /// An id for a command; `None`, with the refusal sent, if too many are under way.
    pub(super) fn attended(&mut self, reply: oneshot::Sender<Reply>) -> Option<RequestId> {
        if self.waiting.len() >= PENDING_MAX {
            self.waiting.retain(|_, reply| !reply.is_closed());
        }
        if self.waiting.len() >= PENDING_MAX {
            let _ = reply.send(Reply::failed(FailureKind::Busy, "too many commands are under way"));
            return None;
        }
        let id = self.unattended();
        self.waiting.insert(id, reply);
        Some(id)
    }

    /// Hands a reply to whoever waits for it.
    pub(super) fn answer(&mut self, id: RequestId, reply: Reply) {
        if let Some(waiting) = self.waiting.remove(&id) {
            let _ = waiting.send(reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_commands_are_refused_until_some_are_given_up() {
        let mut pending = Pending::default();
        let ask = || oneshot::channel::<Reply>();
        let receivers: Vec<_> = (0..PENDING_MAX)
            .map(|_| {
                let (sender, receiver) = ask();
                assert!(pending.attended(sender).is_some());
                receiver
            })
            .collect();
        let (sender, mut refused) = ask();
        assert!(pending.attended(sender).is_none());
        assert!(matches!(refused.try_recv(), Ok(Reply::Failed { kind: FailureKind::Busy, .. })));
        drop(receivers);
        let (sender, mut receiver) = ask();
        let id = pending.attended(sender).unwrap();
        pending.answer(id, Reply::Left);
        assert_eq!(receiver.try_recv(), Ok(Reply::Left));
    }
}
