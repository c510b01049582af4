//! The wish to stop early, seen by every thread and task of a run.

use tokio::sync::watch;

/// A switch that goes on once (at Ctrl-C) and stays on. Clones share it.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Sender<bool>);

impl Default for Cancel {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Cancel {
    /// Switches it on.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is on.
    pub async fn cancelled(&self) {
        // The sender lives in `self`, so the wait cannot end because of its loss.
        let _ = self.0.subscribe().wait_for(|cancelled| *cancelled).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clone_sees_the_switch() {
        let cancel = Cancel::default();
        let other = cancel.clone();
        assert!(!other.is_cancelled());
        cancel.cancel();
        other.cancelled().await;
        assert!(other.is_cancelled());
    }
}
