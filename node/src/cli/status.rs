//! `atoll-node status`: where each membership stands.

use atoll_core::control::{self, Command, Reply};
use atoll_core::wire::Address;
use clap::Args;
use serde::Serialize;

use super::show::{self, or_dash};
use super::{Control, Verdict};
use crate::date;
use crate::driver::{EnrolmentReport, Standing};
use crate::failure::Failure;

/// What to do about bootstraps that do not answer.
const SILENT: &str = "up, of the same overlay, and with the same `security`?";

/// A membership, with what its group's site says of it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    member: &'a control::Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolment: Option<&'a EnrolmentReport>,
}

/// A membership that has no certificate yet.
#[derive(Serialize)]
struct LeftOut<'a> {
    overlay: &'a str,
    enrolment: &'a EnrolmentReport,
}

/// One of the two.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Member(Box<Shown<'a>>),
    LeftOut(LeftOut<'a>),
}

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
        let enrolments: Vec<EnrolmentReport> = client.get("/enrolments").await?;
        let entries = entries(&members, &enrolments);
        if self.control.json {
            show::json(&entries)?;
        } else {
            for (number, entry) in entries.iter().enumerate() {
                if number > 0 {
                    show::line("");
                }
                entry.show();
            }
        }
        Ok(Verdict::Yes)
    }
}

/// The memberships, each with its site's word, and behind them those that have no certificate yet.
fn entries<'a>(members: &'a [control::Status], enrolments: &'a [EnrolmentReport]) -> Vec<Entry<'a>> {
    let of = |overlay: &str| enrolments.iter().find(|one| one.overlay == overlay);
    let shown = |member: &'a control::Status| Shown { member, enrolment: of(&member.overlay) };
    let inside = members.iter().map(|member| Entry::Member(Box::new(shown(member))));
    let is_out = |one: &&EnrolmentReport| members.iter().all(|member| member.overlay != one.overlay);
    let outside = enrolments.iter().filter(is_out);
    let outside = outside.map(|enrolment| Entry::LeftOut(LeftOut { overlay: &enrolment.overlay, enrolment }));
    inside.chain(outside).collect()
}

impl Entry<'_> {
    fn show(&self) {
        let (overlay, rows) = match self {
            Self::Member(shown) => {
                let mut rows = rows(shown.member);
                rows.extend(shown.enrolment.into_iter().flat_map(enrolment_rows));
                (shown.member.overlay.as_str(), rows)
            }
            Self::LeftOut(out) => {
                let address = ("address", out.enrolment.address.to_string());
                let own = [("state", "no member yet".to_owned()), address];
                (out.overlay, own.into_iter().chain(enrolment_rows(out.enrolment)).collect())
            }
        };
        let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
        show::table(&["overlay", overlay], rows);
    }
}

/// What the group's site says of a membership.
fn enrolment_rows(one: &EnrolmentReport) -> Vec<(&'static str, String)> {
    let state = match one.state {
        Standing::Asking => "asks the site for a certificate",
        Standing::Waiting => "waits for an administrator's approval",
        Standing::Enrolled => "enrolled",
        Standing::Renewing => "enrolled, asks for the next certificate",
        Standing::Refused => "refused by the site",
    };
    let never = || "not since the start".to_owned();
    let hint = one.why.is_some().then_some(one.hint.as_deref()).flatten();
    let rows = [
        ("enrolment", Some(state.to_owned())),
        ("because", one.why.clone()),
        ("hint", hint.map(str::to_owned)),
        ("user", Some(one.user.clone())),
        ("site", Some(one.site.clone())),
        ("site reached by", one.reached_by.map(|via| via.word().to_owned())),
        ("site answered", Some(one.contact_seconds.map_or_else(never, date::shown))),
        ("renewal at", one.renewal_seconds.map(date::shown)),
        ("revocation list", one.list.map(|number| format!("number {number}"))),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The first member of an overlay joined nobody.
fn joined(member: &control::Status) -> String {
    match member.founded {
        true => "- (the first member)".to_owned(),
        false => or_dash(member.join_seconds, show::seconds),
    }
}

/// How many revocations a member knows, and the number of the authority that they go up to; how many its list for single
/// certificates has.
fn known(revocations: control::Revocations) -> String {
    let told = format!("{} (up to number {})", revocations.count, revocations.number);
    let certificates = if revocations.listed == 1 { "certificate" } else { "certificates" };
    let listed = format!("{} {certificates} on list {}", revocations.listed, revocations.list);
    match (revocations.count.max(revocations.number), revocations.list) {
        (_, 0) => told,
        (0, _) => listed,
        _ => format!("{told}; {listed}"),
    }
}

/// Which salt the member is found by; nothing as long as nobody was revoked.
fn found_by(revocations: control::Revocations) -> String {
    match revocations.epoch {
        0 => String::new(),
        number => format!("the salt since notice {number}"),
    }
}

/// The bootstraps that do not answer, with what to look at.
fn silent(member: &control::Status) -> String {
    let silent: Vec<String> = member.silent.iter().map(ToString::to_string).collect();
    if silent.is_empty() { String::new() } else { format!("{} ({SILENT})", silent.join(", ")) }
}

fn rows(member: &control::Status) -> Vec<(&'static str, String)> {
    let address = |address: Option<Address>| or_dash(address, |address| address.to_string());
    let connections = member.connections.iter().map(|(role, count)| format!("{count} {role}"));
    let observed = member.observed.iter().map(ToString::to_string);
    let list = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    let rows = [
        ("state", member.state.to_string()),
        ("security", member.security.clone()),
        ("certificate until", or_dash(member.certificate_expires_seconds, date::shown)),
        ("revocations known", member.revocations.map_or_else(String::new, known)),
        ("found by", member.revocations.map_or_else(String::new, found_by)),
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
        "revocations known" | "found by" | "refused" | "no answer from" | "members found" => {
            !value.is_empty()
        }
        _ => true,
    });
    shown.collect()
}
