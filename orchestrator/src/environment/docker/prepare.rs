//! From a trial to containers that wait at their gates.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use atoll_fabric::api::{Attach, Client, ClientError};
use atoll_fabric::clock::Clock;
use atoll_fabric::setting::Setting;
use bollard::Docker as Api;
use futures_util::{StreamExt as _, stream};

use super::containers::{self, FABRIC, TOGETHER_MAX};
use super::files::{Files, write};
use super::live::{Live, Member};
use super::place::RunPlace;
use super::{Options, Programs, images};
use crate::environment::{Surroundings, Trial};
use crate::error::{Error, OrFail, Result};

/// Longest wait for the fabric to answer after its start.
const FABRIC_LIMIT: Duration = Duration::from_secs(30);
/// Pause between two looks for it.
const FABRIC_PAUSE: Duration = Duration::from_millis(10);

/// Everything that a preparation needs.
pub(super) struct Preparation {
    pub(super) api: Api,
    pub(super) place: RunPlace,
    pub(super) programs: Programs,
    pub(super) surroundings: Surroundings,
    pub(super) options: Options,
}

impl Preparation {
    /// Makes images, files, the fabric and every member's container, and tries the negative controls.
    ///
    /// # Errors
    /// What is missing. What was made before stays, for `tear_down`.
    pub(super) async fn carry_out(self, trial: &Trial) -> Result<Live> {
        if trial.security.is_model() {
            return Err(Error::new(
                "not started",
                "modelled security has no handshakes that a container could run",
            )
            .with_hint("use `security: dtls` or `quic`, or run it on the simulator"));
        }
        let progress = &self.surroundings.progress;
        progress.step("images", 0, 2);
        let node_image = images::ensure(&self.api, "atoll-node", &self.programs.node).await?;
        progress.step("images", 1, 2);
        let fabric_image = images::ensure(&self.api, "atoll-fabric", &self.programs.fabric).await?;
        progress.step("images", 2, 2);
        let files = self.write_files(trial)?;
        let fabric_pid =
            containers::launch(&self.api, containers::fabric(&self.place, &fabric_image)).await?;
        let client = Client::new(&self.place.socket());
        let start = self.wait_for_fabric(&client).await?;
        let pids = self.launch_members(trial, &node_image).await?;
        let members = self.attach(trial, &client, &pids).await?;
        self.try_controls(&client).await?;
        client.forget_counts().await.or_fail(|| "cannot begin to measure".to_owned())?;
        let clock = Clock::since(Duration::from_nanos(start)).dilated(self.options.dilation.0);
        let captures = self.options.capture;
        let place = (self.place, files);
        let mut live = Live::new(self.api, place, client, (clock, fabric_pid), members);
        if captures {
            live.begin_capture().await?;
        }
        Ok(live)
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.surroundings.cancel.is_cancelled() {
            return Err(Error::new("not started", "it was interrupted"));
        }
        Ok(())
    }

    fn write_files(&self, trial: &Trial) -> Result<Files> {
        let dilation = self.options.dilation.0;
        let setting = Setting { topology: trial.topology.clone(), seed: trial.internet_seed, dilation };
        let setting = setting.to_json().or_fail(|| "cannot write the topology down".to_owned())?;
        write(&self.place.setting(), &setting)?;
        let files = Files::of(trial, self.options.dilation)?;
        trial.nodes.iter().try_for_each(|node| files.write(&self.place, node))?;
        let hold = self.place.hold();
        let what = || format!("cannot write {}", hold.display());
        std::fs::copy(&self.programs.hold, &hold).or_fail(what)?;
        std::fs::set_permissions(&hold, std::fs::Permissions::from_mode(0o755)).or_fail(what)?;
        Ok(files)
    }

    /// Returns where the fabric's clock started on the kernel's monotonic clock, in nanoseconds.
    async fn wait_for_fabric(&self, client: &Client) -> Result<u64> {
        let start = Instant::now();
        loop {
            match client.report().await {
                Ok(report) => return Ok(report.clock_start_nanos),
                Err(ClientError::Gone(_)) if start.elapsed() < FABRIC_LIMIT => {}
                Err(error) => {
                    let words = containers::last_words(&self.api, &self.place.container(FABRIC)).await;
                    return Err(Error::new("the fabric did not start", format!("{error}: {words}")));
                }
            }
            self.check_cancelled()?;
            tokio::time::sleep(FABRIC_PAUSE).await;
        }
    }

    async fn launch_members(&self, trial: &Trial, image: &str) -> Result<Vec<u32>> {
        let total = trial.nodes.len() as u64;
        let launches = trial.nodes.iter().map(|node| async {
            // Looked at here and not around the whole: what was asked of the engine is waited for.
            self.check_cancelled()?;
            containers::launch(&self.api, containers::node(&self.place, node, image)).await
        });
        let mut done = 0;
        let counted = stream::iter(launches).buffered(TOGETHER_MAX).inspect(|_| {
            done += 1;
            self.surroundings.progress.step("containers", done, total);
        });
        let results: Vec<Result<u32>> = counted.collect().await;
        results.into_iter().collect()
    }

    async fn attach(&self, trial: &Trial, client: &Client, pids: &[u32]) -> Result<Vec<Member>> {
        let order = |(node, pid): (&crate::environment::NodeSpec, &u32)| Attach {
            name: node.name.clone(),
            host: node.host.0,
            pid: *pid,
            held: true,
        };
        let orders: Vec<_> = trial.nodes.iter().zip(pids).map(order).collect();
        let answers = client.attach(&orders).await.or_fail(|| "cannot attach the containers".to_owned())?;
        let failed = orders.iter().zip(answers).find_map(|(order, answer)| Some((order, answer?)));
        if let Some((order, why)) = failed {
            let words = containers::last_words(&self.api, &self.place.container(&order.name)).await;
            return Err(Error::new(format!("cannot attach {}", order.name), format!("{why}: {words}")));
        }
        Ok(orders.into_iter().map(|order| Member::new(order.name, order.host, order.pid)).collect())
    }

    /// A run on an Internet that is not what it says is worth nothing.
    async fn try_controls(&self, client: &Client) -> Result<()> {
        self.check_cancelled()?;
        self.surroundings.progress.step("negative controls", 0, 0);
        let controls = match client.controls().await {
            Ok(controls) => controls,
            // Without a public host there is nobody to try them with.
            Err(ClientError::Refused(_)) => return Ok(()),
            Err(error) => return Err(Error::new("cannot try the negative controls", error)),
        };
        match controls.into_iter().find(|control| !control.holds) {
            Some(control) => Err(Error::new(
                "the emulated Internet is not what it should be",
                format!("it does not hold that {}", control.claim),
            )),
            None => Ok(()),
        }
    }
}
