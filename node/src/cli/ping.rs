//! `atoll-node ping`: round trips to a member through the overlay.

use std::time::Duration;

use atoll_core::control::{Command, FailureKind, Reply};
use clap::Args;
use serde::Serialize;

use super::{Control, Member, Verdict, show};
use crate::failure::Failure;

/// The pause between two pings.
const PAUSE: Duration = Duration::from_secs(1);

/// Measure the round trip to a member; exits with 1 if nobody answers
#[derive(Args)]
pub(super) struct Ping {
    #[command(flatten)]
    member: Member,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    control: Control,
}

/// One line of `--json`.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Answer { seconds: f64, hops: u32 },
    Silence { failed: String },
}

impl Ping {
    pub(super) async fn act(self) -> Result<Verdict, Failure> {
        let client = self.control.client();
        let Member { address, overlay } = &self.member;
        let overlay = client.overlay(overlay.clone()).await?;
        let command = Command::Ping { overlay, address: *address };
        let mut verdict = Verdict::No;
        for turn in 0..self.count {
            if turn > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let line = match client.command(&command).await? {
                Reply::Ping { seconds, hops } => {
                    verdict = Verdict::Yes;
                    Line::Answer { seconds, hops }
                }
                Reply::Failed { kind: FailureKind::NoAnswer, why } => Line::Silence { failed: why },
                other => return Err(client.unexpected(other)),
            };
            self.show(&line)?;
        }
        Ok(verdict)
    }

    fn show(&self, line: &Line) -> Result<(), Failure> {
        if self.control.json {
            return show::json(line);
        }
        match line {
            Line::Answer { seconds, hops } => {
                let hops = format!("{hops} hop{}", if *hops == 1 { "" } else { "s" });
                show::line(&format!("{} over {hops}", show::seconds(*seconds)));
            }
            Line::Silence { failed } => show::line(failed),
        }
        Ok(())
    }
}
