//! The keys of a topology file. Shapes only; `file` gives them meaning.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::preset::GatewaySpec;
use crate::value::{BitRate, Portion, Size, Span};
use crate::{Burst, Link, Loss, Rate};

/// Bytes that wait before a limited link if the file does not say.
const QUEUE: u32 = 64_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSpec {
    /// `builtin`, a one-way delay, or the name of a matrix file.
    #[serde(default = "builtin")]
    pub(super) latency: String,
    #[serde(default)]
    pub(super) path: PathSpec,
    #[serde(default)]
    pub(super) gateways: BTreeMap<String, GatewaySpec>,
    #[serde(default)]
    pub(super) populations: BTreeMap<String, Vec<ShareSpec>>,
    #[serde(default)]
    pub(super) hosts: Vec<DrawnSpec>,
    #[serde(default)]
    pub(super) sites: Vec<SiteSpec>,
}

fn builtin() -> String {
    "builtin".into()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PathSpec {
    pub(super) jitter: Option<Span>,
    #[serde(default)]
    pub(super) reorder: bool,
    loss: Option<Portion>,
    burst: Option<BurstSpec>,
    pub(super) within_site: Option<Span>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BurstSpec {
    enter: Portion,
    leave: Portion,
    loss: Portion,
}

impl PathSpec {
    pub(super) fn loss(&self) -> Loss {
        Loss {
            independent: self.loss.map_or(0.0, |loss| loss.0),
            burst: self.burst.map(|burst| Burst {
                enter: burst.enter.0,
                leave: burst.leave.0,
                loss: burst.loss.0,
            }),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShareSpec {
    pub(super) weight: f64,
    #[serde(default)]
    pub(super) behind: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrawnSpec {
    pub(super) count: usize,
    pub(super) population: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SiteSpec {
    pub(super) name: String,
    pub(super) point: Option<u32>,
    #[serde(default)]
    pub(super) gateways: Vec<PlacedSpec>,
    #[serde(default)]
    pub(super) hosts: Vec<HostSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlacedSpec {
    pub(super) name: String,
    /// A name from `gateways` or a preset.
    pub(super) is: String,
    /// The placed gateway that it is behind.
    pub(super) behind: Option<String>,
    #[serde(default)]
    pub(super) link: LinkSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostSpec {
    pub(super) name: String,
    pub(super) behind: Option<String>,
    #[serde(default)]
    pub(super) link: LinkSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkSpec {
    delay: Option<Span>,
    up: Option<BitRate>,
    down: Option<BitRate>,
    queue: Option<Size>,
    mtu: Option<u16>,
}

impl LinkSpec {
    pub(super) fn link(&self) -> Link {
        let queue = self.queue.map_or(QUEUE, |size| size.0);
        let rate = |rate: BitRate| Rate { bits_per_second: rate.0, queue };
        Link {
            delay: self.delay.map(|delay| delay.0).unwrap_or_default(),
            up: self.up.map(rate),
            down: self.down.map(rate),
            mtu: self.mtu,
        }
    }
}
