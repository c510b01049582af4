//! `atoll-node dht`: values under keys, held by the members of an overlay.

use atoll_core::control::{Command, DhtValue, FailureKind, Reply};
use atoll_core::wire::{Address, OWNED_VALUE_MAX, VALUE_MAX};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::client::Client;
use super::{Control, Verdict, show};
use crate::config::{Lease, flag};
use crate::failure::Failure;

/// Bytes of a key at most, as people write it.
const KEY_MAX: usize = 1024;

/// Put values under keys into an overlay, and read them
#[derive(Args)]
pub(super) struct Dht {
    #[command(subcommand)]
    verb: DhtVerb,
}

#[derive(Subcommand)]
enum DhtVerb {
    Put(Put),
    Create(Create),
    Get(Get),
}

/// Where the overlay is that is asked.
#[derive(Args)]
struct Place {
    /// The overlay [default: the first that the node is a member of]
    #[arg(long, value_name = "NAME")]
    overlay: Option<String>,
    #[command(flatten)]
    control: Control,
}

/// Put a value under a key, beside others that are there; it is gone when its lease ends
#[derive(Args)]
struct Put {
    /// The key: any text
    key: String,
    /// The value: any text of at most 1024 bytes; 832 with --owned
    value: String,
    /// How long it is held, from `1 s` to `24 h`
    #[arg(long, value_name = "TIME", default_value = "1 h", value_parser = flag::<Lease>)]
    lease: Lease,
    /// Put it under a key of this node's own, in place of the last value there
    #[arg(long)]
    owned: bool,
    #[command(flatten)]
    place: Place,
}

/// Put a value under a key if nothing is there; exits with 1 if something is
#[derive(Args)]
struct Create {
    /// The key: any text
    key: String,
    /// The value: any text of at most 1024 bytes
    value: String,
    /// How long it is held, from `1 s` to `24 h`; the same node renews it by the same words
    #[arg(long, value_name = "TIME", default_value = "1 h", value_parser = flag::<Lease>)]
    lease: Lease,
    #[command(flatten)]
    place: Place,
}

/// Show the values under a key; exits with 1 if there is none
#[derive(Args)]
struct Get {
    /// The key: any text
    key: String,
    /// Read the key of this owner: the address of a node that put its value with `--owned`
    #[arg(long, value_name = "ADDRESS", value_parser = flag::<Address>)]
    owner: Option<Address>,
    #[command(flatten)]
    place: Place,
}

/// What `--json` shows of a value that was put.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Written {
    Stored { lease_seconds: f64 },
    Exists,
}

/// What `--json` shows of a value that was found.
#[derive(Serialize)]
struct Line {
    /// As a text; bytes that are no UTF-8 are replaced.
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Vec<u8>>,
    lease_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    creator: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
}

#[derive(Serialize)]
struct Lines {
    values: Vec<Line>,
    complete: bool,
}

impl Dht {
    pub(super) async fn act(self) -> Result<Verdict, Failure> {
        match self.verb {
            DhtVerb::Put(put) => put.act().await,
            DhtVerb::Create(create) => create.act().await,
            DhtVerb::Get(get) => get.act().await,
        }
    }
}

impl Put {
    async fn act(self) -> Result<Verdict, Failure> {
        let Self { key, value, lease: Lease(lease_seconds), owned, place } = self;
        let max = if owned { OWNED_VALUE_MAX } else { VALUE_MAX };
        let (key, value) = check(key, value, max)?;
        let client = place.control.client();
        let overlay = client.overlay(place.overlay.clone()).await?;
        let command = Command::DhtPut { overlay, key, value, lease_seconds, owned };
        written(&client, &place.control, client.command(&command).await?)
    }
}

impl Create {
    async fn act(self) -> Result<Verdict, Failure> {
        let Self { key, value, lease: Lease(lease_seconds), place } = self;
        let (key, value) = check(key, value, VALUE_MAX)?;
        let client = place.control.client();
        let overlay = client.overlay(place.overlay.clone()).await?;
        let command = Command::DhtCreate { overlay, key, value, lease_seconds };
        written(&client, &place.control, client.command(&command).await?)
    }
}

fn check(key: String, value: String, max: usize) -> Result<(String, Vec<u8>), Failure> {
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(Failure::new("KEY", format!("it has {} bytes", key.len()))
            .hint(format!("a key has from 1 to {KEY_MAX} bytes")));
    }
    if value.len() > max {
        return Err(Failure::new("VALUE", format!("it has {} bytes", value.len()))
            .hint(format!("a value has at most {VALUE_MAX} bytes, under an owned key {OWNED_VALUE_MAX}")));
    }
    Ok((key, value.into_bytes()))
}

/// Tells what came of a writing.
fn written(client: &Client, control: &Control, reply: Reply) -> Result<Verdict, Failure> {
    let (written, verdict) = match reply {
        Reply::DhtStored { lease_seconds } => (Written::Stored { lease_seconds }, Verdict::Yes),
        Reply::DhtExists => (Written::Exists, Verdict::No),
        other => return Err(failed(client, other)),
    };
    if control.json {
        show::json(&written)?;
        return Ok(verdict);
    }
    match written {
        Written::Stored { lease_seconds } => show::line(&format!("held for {lease_seconds:.0} s")),
        Written::Exists => show::line("not put: something else is under the key"),
    }
    Ok(verdict)
}

fn failed(client: &Client, reply: Reply) -> Failure {
    match reply {
        Reply::Failed { kind: FailureKind::NoAnswer, why } => client
            .failure(why)
            .hint("`atoll-node status` shows whether the node is connected; a writing may have been carried out"),
        Reply::Failed { kind: FailureKind::Refused, why } if why.contains("not this node's own") => client
            .failure(why)
            .hint("only a node whose overlay has certificates owns keys; its `--owner` is the key's own address"),
        Reply::Failed { kind: FailureKind::Refused, why } => client.failure(why),
        other => client.unexpected(other),
    }
}

impl Get {
    async fn act(self) -> Result<Verdict, Failure> {
        let client = self.place.control.client();
        let overlay = client.overlay(self.place.overlay.clone()).await?;
        let (mut all, mut complete, mut after) = (Vec::new(), true, None);
        loop {
            let (overlay, key) = (overlay.clone(), self.key.clone());
            let command = Command::DhtGet { overlay, key, owner: self.owner, after };
            let (values, next, agreed) = match client.command(&command).await? {
                Reply::DhtValues { values, next, complete } => (values, next, complete),
                other => return Err(failed(&client, other)),
            };
            all.extend(values);
            complete &= agreed;
            if next.is_none() {
                break;
            }
            after = next;
        }
        self.show(all, complete)
    }

    fn show(&self, all: Vec<DhtValue>, complete: bool) -> Result<Verdict, Failure> {
        let verdict = if all.is_empty() { Verdict::No } else { Verdict::Yes };
        let lines: Vec<Line> = all.into_iter().map(Line::from).collect();
        if self.place.control.json {
            show::json(&Lines { values: lines, complete })?;
            return Ok(verdict);
        }
        for line in lines {
            show::line(&line.value);
        }
        if !complete {
            show::note("the members that hold the key do not agree: there may be more");
        }
        Ok(verdict)
    }
}

impl From<DhtValue> for Line {
    fn from(value: DhtValue) -> Self {
        let DhtValue { value, lease_seconds, creator, sequence } = value;
        let text = String::from_utf8_lossy(&value).into_owned();
        let bytes = (text.as_bytes() != value).then_some(value);
        Self { value: text, bytes, lease_seconds, creator, sequence }
    }
}
