//! `atoll-node leave`: a clean end of the running node.

use atoll_core::control::{Command, Reply};
use clap::Args;
use serde::Serialize;

use super::{Control, Verdict, show};
use crate::failure::Failure;

/// Have the running node tell its peers goodbye and end
#[derive(Args)]
pub(super) struct Leave {
    #[command(flatten)]
    control: Control,
}

/// The line of `--json`.
#[derive(Serialize)]
struct Line {
    left: bool,
}

impl Leave {
    pub(super) async fn act(self) -> Result<Verdict, Failure> {
        let client = self.control.client();
        match client.command(&Command::Leave).await? {
            Reply::Left if self.control.json => show::json(&Line { left: true })?,
            Reply::Left => show::line("left"),
            other => return Err(client.unexpected(other)),
        }
        Ok(Verdict::Yes)
    }
}
