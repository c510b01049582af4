//! The rings that the running members should form, the public one and the private one, and how they stand.

use super::theory::{Census, Overlay, Theory};
use crate::environment::{NodeIndex, NodeStatus, Trial};

/// The rings of a trial.
#[derive(Debug)]
pub(super) struct Rings<'a> {
    /// Everybody's.
    pub(super) public: Theory<'a>,
    /// That of the pairs, if there are any in the trial.
    pub(super) private: Option<Theory<'a>>,
}

/// How the rings stand at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Standing {
    /// Everybody's.
    pub(super) public: Census,
    /// That of the pairs, if there are any in the trial.
    pub(super) private: Option<Census>,
}

impl<'a> Rings<'a> {
    /// The rings of these members.
    pub(super) fn new(trial: &'a Trial, members: &[NodeIndex]) -> Self {
        let private = trial.group.is_some().then(|| Theory::new(trial, Overlay::Private, members));
        Self { public: Theory::new(trial, Overlay::Public, members), private }
    }

    /// One more member runs.
    pub(super) fn add(&mut self, member: NodeIndex) {
        self.public.add(member);
        if let Some(private) = self.private.as_mut().filter(|private| private.has(member)) {
            private.add(member);
        }
    }

    /// Holds statuses against theory; `members` and `statuses` go together.
    pub(super) fn census(&self, members: &[NodeIndex], statuses: &[Option<NodeStatus>]) -> Standing {
        Standing {
            public: self.public.census(members, statuses),
            private: self.private.as_ref().map(|private| private.census(members, statuses)),
        }
    }

    /// Whether a member is a pair.
    pub(super) fn is_pair(&self, member: NodeIndex) -> bool {
        self.private.as_ref().is_some_and(|private| private.has(member))
    }

    /// Whether a member is one of this overlay.
    pub(super) fn has(&self, member: NodeIndex, overlay: Overlay) -> bool {
        match overlay {
            Overlay::Public => self.public.has(member),
            Overlay::Private => self.is_pair(member),
        }
    }

    /// Whether theory says that a member may fail to join, in either overlay.
    pub(super) fn excused(&self, member: NodeIndex, overlay: Overlay) -> bool {
        match (overlay, &self.private) {
            (Overlay::Private, Some(private)) => private.excused(member),
            _ => self.public.excused(member),
        }
    }
}

impl Standing {
    /// That of one ring, if there is any in the trial.
    pub(super) fn of(&self, overlay: Overlay) -> Option<&Census> {
        match overlay {
            Overlay::Public => Some(&self.public),
            Overlay::Private => self.private.as_ref(),
        }
    }

    /// Nothing more can be expected.
    pub(super) fn settled(&self) -> bool {
        self.all().all(Census::settled)
    }

    /// Of every ring.
    pub(super) fn all(&self) -> impl Iterator<Item = &Census> {
        std::iter::once(&self.public).chain(&self.private)
    }
}
