//! What tests ask of a town's DHT.

use std::time::Duration;

use atoll_core::control::{Command, DhtValue, Reply};
use atoll_core::wire::Address;
use atoll_core::{RequestId, Time};
use atoll_topology::HostId;

use crate::town::Town;

pub(crate) const OVERLAY: &str = "public";
const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const HOUR: u64 = 3600;

/// All that a reader found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) values: Vec<DhtValue>,
    pub(crate) complete: bool,
    pub(crate) pages: usize,
}

impl Found {
    /// The values alone, sorted.
    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        let mut bytes: Vec<Vec<u8>> = self.values.iter().map(|value| value.value.clone()).collect();
        bytes.sort();
        bytes
    }

    /// The values as texts, sorted.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.bytes().into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }
}

impl Town {
    /// Runs until a command is answered.
    pub(crate) fn ask(&mut self, host: HostId, command: Command) -> Reply {
        let id = self.world.request(host, command);
        self.answer(id).1
    }

    /// Runs until a request is answered; also when that was.
    pub(crate) fn answer(&mut self, id: RequestId) -> (Time, Reply) {
        let end = self.world.now() + PATIENCE;
        loop {
            if let Some(reply) = self.world.take_reply(id) {
                return reply;
            }
            assert!(self.world.now() < end, "no reply at all");
            self.world.run_for(Duration::from_millis(50)).unwrap();
        }
    }

    pub(crate) fn put(&mut self, host: HostId, (key, value): (&str, &str), lease_seconds: u64) -> Reply {
        self.ask(host, put(key, value, lease_seconds))
    }

    pub(crate) fn create(&mut self, host: HostId, (key, value): (&str, &str), lease_seconds: u64) -> Reply {
        self.ask(host, create(key, value, lease_seconds))
    }

    /// Reads every page of a key.
    pub(crate) fn get(&mut self, host: HostId, key: &str) -> Found {
        self.get_of(host, key, None)
    }

    /// The same for an owned key.
    pub(crate) fn get_of(&mut self, host: HostId, key: &str, owner: Option<Address>) -> Found {
        let mut found = Found { values: Vec::new(), complete: true, pages: 0 };
        let mut after = None;
        loop {
            let command = Command::DhtGet { overlay: OVERLAY.into(), key: key.into(), owner, after };
            match self.ask(host, command) {
                Reply::DhtValues { values, next, complete } => {
                    found.values.extend(values);
                    found.complete &= complete;
                    found.pages += 1;
                    match next {
                        Some(next) => after = Some(next),
                        None => return found,
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

pub(crate) fn put(key: &str, value: &str, lease_seconds: u64) -> Command {
    let (overlay, key, value) = (OVERLAY.to_owned(), key.to_owned(), value.as_bytes().to_vec());
    Command::DhtPut { overlay, key, value, lease_seconds, owned: false }
}

pub(crate) fn put_owned(key: &str, value: &str, lease_seconds: u64) -> Command {
    let (overlay, key, value) = (OVERLAY.to_owned(), key.to_owned(), value.as_bytes().to_vec());
    Command::DhtPut { overlay, key, value, lease_seconds, owned: true }
}

pub(crate) fn create(key: &str, value: &str, lease_seconds: u64) -> Command {
    let (overlay, key, value) = (OVERLAY.to_owned(), key.to_owned(), value.as_bytes().to_vec());
    Command::DhtCreate { overlay, key, value, lease_seconds }
}

#[track_caller]
pub(crate) fn stored(reply: &Reply) -> f64 {
    match reply {
        Reply::DhtStored { lease_seconds } => *lease_seconds,
        other => panic!("{other:?}"),
    }
}
