//! `atoll-node status`: where each membership stands.

use atoll_core::control::{self, Command, Reply};
use atoll_core::wire::Address;
use clap::Args;

use super::show::{self, or_dash};
use super::{Control, Verdict};
use crate::date;
use crate::failure::Failure;

/// What to do about bootstraps that do not answer.
const SILENT: &str = "up, of the same overlay, and with the same `security`?";

/// Show where each membership of the node stands
#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    control: Control,
}

impl Status {
    pub(super) async fn act(self) -> Result<Verdict, Failure> {
        let client = self.control.client();
        let members = match client.command(&Command::Status).await? {
            Reply::Status(members) => members,
            other => return Err(client.unexpected(other)),
        };
        if self.control.json {
            show::json(&members)?;
        } else {
            members.iter().for_each(show);
        }
        Ok(Verdict::Yes)
    }
}

/// The first member of an overlay joined nobody.
fn joined(member: &control::Status) -> String {
    match member.founded {
        true => "- (the first member)".to_owned(),
        false => or_dash(member.join_seconds, show::seconds),
    }
}

/// The bootstraps that do not answer, with what to look at.
fn silent(member: &control::Status) -> String {
    let silent: Vec<String> = member.silent.iter().map(ToString::to_string).collect();
    if silent.is_empty() { String::new() } else { format!("{} ({SILENT})", silent.join(", ")) }
}

fn show(member: &control::Status) {
    let address = |address: Option<Address>| or_dash(address, |address| address.to_string());
    let connections = member.connections.iter().map(|(role, count)| format!("{count} {role}"));
    let observed = member.observed.iter().map(ToString::to_string);
    let list = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    let rows = [
        ("state", member.state.to_string()),
        ("security", member.security.clone()),
        ("certificate until", or_dash(member.certificate_expires_seconds, date::shown)),
        ("refused", member.refused.clone().unwrap_or_default()),
        ("no answer from", silent(member)),
        ("address", member.address.to_string()),
        ("predecessor", address(member.predecessor)),
        ("successor", address(member.successor)),
        ("connections", list(connections.collect())),
        ("observed as", list(observed.collect())),
        ("size, estimated", format!("{:.0}", member.size_estimate)),
        ("uptime", show::seconds(member.uptime_seconds)),
        ("joined within", joined(member)),
        ("members found", member.discovered.map_or_else(String::new, |found| found.to_string())),
    ];
    let has_certificate = member.certificate_expires_seconds.is_some();
    let shown = rows.into_iter().filter(|(name, value)| match *name {
        "certificate until" => has_certificate,
        "refused" | "no answer from" | "members found" => !value.is_empty(),
        _ => true,
    });
    let rows = shown.map(|(name, value)| vec![name.to_owned(), value]);
    show::table(&["overlay", &member.overlay], rows);
}
