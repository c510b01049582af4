//! The files that members start from: the configuration, and what makes one a member of the private overlay.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::papers::Desk;
use super::place::RunPlace;
use super::{Dilation, config};
use crate::environment::{NodeSpec, Trial};
use crate::error::{OrFail as _, Result};

/// Who writes the files of a trial's members, those of a later one in the place of an earlier one's.
pub(super) struct Files {
    trial: Trial,
    dilation: Dilation,
    desk: Option<Desk>,
}

impl Files {
    /// For the members of a trial.
    ///
    /// # Errors
    /// OpenSSL cannot make the authority of its private overlay.
    pub(super) fn of(trial: &Trial, dilation: Dilation) -> Result<Self> {
        let desk = trial.group.as_ref().map(|group| Desk::new(group, trial.security)).transpose()?;
        Ok(Self { trial: trial.clone(), dilation, desk })
    }

    /// Writes down what a member starts from.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub(super) fn write(&self, place: &RunPlace, node: &NodeSpec) -> Result<()> {
        write(&place.config(&node.name), config::of(&self.trial, node, self.dilation).as_bytes())?;
        match self.desk.as_ref().filter(|_| node.private.is_some()) {
            Some(desk) => desk.write(&place.papers(&node.name), node),
            None => Ok(()),
        }
    }
}

/// Writes a file that containers may read.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let what = || format!("cannot write {}", path.display());
    std::fs::write(path, content).or_fail(what)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).or_fail(what)
}
