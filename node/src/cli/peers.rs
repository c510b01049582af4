//! `atoll-node peers`: every connection of a membership.

use atoll_core::control::{self, Command, Reply};
use clap::Args;

use super::show::{self, or_dash};
use super::{Control, Verdict};
use crate::failure::Failure;

/// List the connections of a membership
#[derive(Args)]
pub(super) struct Peers {
    /// The overlay [default: the first that the node is a member of]
    #[arg(long, value_name = "NAME")]
    overlay: Option<String>,
    #[command(flatten)]
    control: Control,
}

impl Peers {
    pub(super) async fn act(self) -> Result<Verdict, Failure> {
        let client = self.control.client();
        let overlay = client.overlay(self.overlay).await?;
        let peers = match client.command(&Command::Peers { overlay }).await? {
            Reply::Peers(peers) => peers,
            other => return Err(client.unexpected(other)),
        };
        if self.control.json {
            show::json(&peers)?;
        } else {
            print(&peers);
        }
        Ok(Verdict::Yes)
    }
}

/// Users and groups have a column where there are any.
fn print(peers: &[control::Peer]) {
    let named = peers.iter().any(|peer| peer.user.is_some() || peer.group.is_some());
    let names: &[&str] = if named { &["user", "group"] } else { &[] };
    let header = [&["address"], names, &["roles", "edge", "transport", "rtt", "age", "heard"]].concat();
    show::table(&header, peers.iter().map(|peer| row(peer, named)));
}

fn row(peer: &control::Peer, named: bool) -> Vec<String> {
    let mut row = vec![peer.address.to_string()];
    if named {
        row.extend([&peer.user, &peer.group].map(|name| or_dash(name.clone(), |name| name)));
    }
    row.extend([
        peer.roles.join(" "),
        if peer.avoided { format!("{}, avoided", peer.edge) } else { peer.edge.clone() },
        peer.transport
            .map(|one| one.to_string())
            .or_else(|| peer.via.map(|via| format!("via {via}")))
            .unwrap_or_default(),
        or_dash(peer.rtt_seconds, show::seconds),
        show::seconds(peer.age_seconds),
        show::seconds(peer.heard_seconds),
    ]);
    row
}
