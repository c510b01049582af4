//! Bootstraps that have names: looked up at the start, and again as long as the node runs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::config::{BOOTSTRAPS_MAX, Bootstrap};

const ANSWER_MAX: Duration = Duration::from_secs(10);
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
const RENEW: Duration = Duration::from_secs(300);

/// The bootstraps of one overlay as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The overlay's place in the configuration.
    pub(super) overlay: usize,
    /// Its bootstraps, sorted, at most [`BOOTSTRAPS_MAX`].
    pub(super) bootstraps: Vec<SocketAddr>,
}

/// Whether there is anything to look up.
pub(super) fn has_names(bootstraps: &[Bootstrap]) -> bool {
    bootstraps.iter().any(|bootstrap| matches!(bootstrap, Bootstrap::Name(_)))
}

/// Looks the names up until `found` closes, and sends the bootstraps whenever they have changed.
pub(super) async fn follow(overlay: usize, bootstraps: Vec<Bootstrap>, found: mpsc::Sender<Found>) {
    let mut last: Vec<SocketAddr> = bootstraps.iter().filter_map(Bootstrap::address).collect();
    let mut attempts = 0u32;
    while !found.is_closed() {
        let (now, all) = resolve(&bootstraps, attempts).await;
        attempts = if all { 0 } else { attempts.saturating_add(1) };
        if now != last && !now.is_empty() {
            last.clone_from(&now);
            if found.send(Found { overlay, bootstraps: now }).await.is_err() {
                return;
            }
        }
        sleep(if all { RENEW } else { pause(attempts) }).await;
    }
}

/// All addresses that the names have now, and whether every name had one.
async fn resolve(bootstraps: &[Bootstrap], attempts: u32) -> (Vec<SocketAddr>, bool) {
    let mut addresses: BTreeSet<SocketAddr> = bootstraps.iter().filter_map(Bootstrap::address).collect();
    let mut all = true;
    for bootstrap in bootstraps {
        let Bootstrap::Name(name) = bootstrap else { continue };
        match timeout(ANSWER_MAX, lookup_host(name.as_str())).await {
            Ok(Ok(found)) => addresses.extend(found),
            Ok(Err(error)) => {
                all = false;
                warn(name, attempts, &error.to_string());
            }
            Err(_) => {
                all = false;
                warn(name, attempts, "no answer in time");
            }
        }
    }
    (addresses.into_iter().take(BOOTSTRAPS_MAX).collect(), all)
}

/// Says it aloud at the first attempt and then ever more rarely.
fn warn(name: &str, attempts: u32, why: &str) {
    let attempts = attempts.saturating_add(1);
    if attempts.is_power_of_two() {
        tracing::warn!(bootstrap = name, attempts, why, "bootstrap's name is not resolved; trying again");
    }
}

fn pause(attempts: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << (attempts.saturating_sub(1)).min(6)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute() {
        let seconds: Vec<u64> = (1..=8).map(|attempts| pause(attempts).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[tokio::test]
    async fn a_name_becomes_its_addresses_beside_the_literal_ones() {
        let bootstraps = vec!["203.0.113.7:4001".parse().unwrap(), "localhost:7".parse().unwrap()];
        let (sender, mut receiver) = mpsc::channel(1);
        let task = tokio::spawn(follow(3, bootstraps, sender));
        let found = receiver.recv().await.unwrap();
        assert_eq!(found.overlay, 3);
        assert!(found.bootstraps.contains(&"203.0.113.7:4001".parse().unwrap()));
        assert!(found.bootstraps.contains(&"127.0.0.1:7".parse().unwrap()), "{found:?}");
        task.abort();
    }
}
