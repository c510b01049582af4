//! `atoll-node files`: what other members sent.

use clap::Args;

use super::show::{self, or_dash};
use super::{Control, Verdict};
use crate::driver::Received;
use crate::failure::Failure;

/// Show the files that the node received since its start, the latest last
#[derive(Args)]
pub(super) struct Files {
    #[command(flatten)]
    control: Control,
}

impl Files {
    pub(super) async fn act(self) -> Result<Verdict, Failure> {
        let files: Vec<Received> = self.control.client().get("/files").await?;
        if self.control.json {
            show::json(&files)?;
            return Ok(Verdict::Yes);
        }
        let rows = files.into_iter().map(|file| {
            let user = or_dash(file.user, |user| user);
            vec![file.name, show::bytes(file.bytes), file.overlay, user, file.from.to_string(), file.sha256]
        });
        show::table(&["file", "size", "overlay", "user", "from", "SHA-256"], rows);
        Ok(Verdict::Yes)
    }
}
