//! `atoll-node route`: the members that a packet passes on its way.

use atoll_core::control::{Command, FailureKind, Reply};
use atoll_core::wire::Address;
use clap::Args;
use serde::Serialize;

use super::{Control, Member, Verdict, show};
use crate::failure::Failure;

/// Show the members on the way to a member; exits with 1 if the way is not found
#[derive(Args)]
pub(super) struct Route {
    #[command(flatten)]
    member: Member,
    #[command(flatten)]
    control: Control,
}

/// The line of `--json`.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Way { hops: Vec<Address>, seconds: f64 },
    Silence { failed: String },
}

impl Route {
    pub(super) async fn act(self) -> Result<Verdict, Failure> {
        let client = self.control.client();
        let Member { address, overlay } = self.member;
        let overlay = client.overlay(overlay).await?;
        let (line, verdict) = match client.command(&Command::Route { overlay, address }).await? {
            Reply::Route { hops, seconds } => (Line::Way { hops, seconds }, Verdict::Yes),
            Reply::Failed { kind: FailureKind::NoAnswer, why } => {
                (Line::Silence { failed: why }, Verdict::No)
            }
            other => return Err(client.unexpected(other)),
        };
        if self.control.json {
            show::json(&line)?;
            return Ok(verdict);
        }
        match line {
            Line::Way { hops, seconds } => {
                let rows = hops.iter().enumerate().map(|(i, hop)| vec![(i + 1).to_string(), hop.to_string()]);
                show::table(&["hop", "member"], rows);
                show::line(&format!("answered within {}", show::seconds(seconds)));
            }
            Line::Silence { failed } => show::line(&failed),
        }
        Ok(verdict)
    }
}
