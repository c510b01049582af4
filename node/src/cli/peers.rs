//! `atoll-node peers`: every connection of a membership.

use atoll_core::control::{self, Command, Reply};
use clap::Args;

use super::show::{self, or_dash};
use super::{Control, Verdict};
use crate::failure::Failure;

/// List the connections of a membership
#[derive(Args)]
pub(super) struct Peers {
    /// The overlay
    #[arg(long, value_name = "NAME", default_value = "public")]
    overlay: String,
    #[command(flatten)]
    control: Control,
}

impl Peers {
    pub(super) async fn act(self) -> Result<Verdict, Failure> {
        let client = self.control.client();
        let peers = match client.command(&Command::Peers { overlay: self.overlay }).await? {
            Reply::Peers(peers) => peers,
            other => return Err(client.unexpected(other)),
        };
        if self.control.json {
            show::json(&peers)?;
        } else {
            let header = ["address", "roles", "edge", "transport", "rtt", "age", "heard"];
            show::table(&header, peers.iter().map(row));
        }
        Ok(Verdict::Yes)
    }
}

fn row(peer: &control::Peer) -> Vec<String> {
    vec![
        peer.address.to_string(),
        peer.roles.join(" "),
        peer.edge.clone(),
        peer.transport.to_string(),
        or_dash(peer.rtt_seconds, show::seconds),
        show::seconds(peer.age_seconds),
        show::seconds(peer.heard_seconds),
    ]
}
