//! `atoll-node run`: the configuration file, the flags over it, and then the node.

use std::path::PathBuf;

use atoll_core::wire::Address;
use clap::Args;

use super::Verdict;
use crate::config::{
    Bootstrap, EXAMPLE, Endpoint, Engine, Listen, LogFormat, LogLevel, OverlayName, Settings, flag,
};
use crate::driver::{self, Clock};
use crate::failure::Failure;
use crate::logging;

/// Run a node until a signal or `atoll-node leave` lets it leave
#[derive(Args)]
#[command(after_help = "`--help` shows a complete configuration file.", after_long_help = help())]
pub(super) struct Run {
    /// Configuration file (YAML); the flags below override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of the first overlay [default: public]
    #[arg(long, value_name = "NAME", value_parser = flag::<OverlayName>)]
    overlay: Option<OverlayName>,
    /// How the first overlay is protected [default: dtls]
    #[arg(long, value_name = "ENGINE", value_enum)]
    security: Option<Engine>,
    /// The member's place in the first overlay: 40 hexadecimal digits; only with `--security none`
    #[arg(long, value_name = "ADDRESS", value_parser = flag::<Address>)]
    address: Option<Address>,
    /// A member of the first overlay that may know the way in; may be repeated
    #[arg(long, value_name = "HOST:PORT", value_parser = flag::<Bootstrap>)]
    bootstrap: Vec<Bootstrap>,
    #[command(flatten)]
    flags: Flags,
}

/// What every node takes, whatever it is a member of.
#[derive(Args)]
pub(super) struct Flags {
    /// Where the UDP socket is bound [default: [::]:4001, or 0.0.0.0:4001 without IPv6]
    #[arg(long, value_name = "IP:PORT", value_parser = flag::<Listen>)]
    listen: Option<Listen>,
    /// Whether TCP is used where UDP does not come through, and taken at the same port [default: true]
    #[arg(long, value_name = "BOOL")]
    tcp: Option<bool>,
    /// File of the private key of the first overlay; made if it does not exist
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Where Prometheus reads the metrics: IP:PORT, unix:PATH or off [default: off]
    #[arg(long, value_name = "ENDPOINT", value_parser = flag::<Endpoint>)]
    metrics: Option<Endpoint>,
    /// Where the control interface listens: IP:PORT, unix:PATH or off [default: 127.0.0.1:9101]
    #[arg(long, value_name = "ENDPOINT", value_parser = flag::<Endpoint>)]
    control: Option<Endpoint>,
    /// The folder for files that other members send [default: none is taken]
    #[arg(long, value_name = "FOLDER")]
    inbox: Option<PathBuf>,
    /// The least urgent level that is logged [default: info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    log: Option<LogLevel>,
    /// How log lines are written [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// All randomness follows from it; only for runs that shall repeat
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
}

impl Flags {
    /// The settings, with what the flags say over them.
    pub(super) fn over(&self, mut settings: Settings) -> Settings {
        settings.listen = self.listen.or(settings.listen);
        settings.tcp = self.tcp.or(settings.tcp);
        settings.identity = self.identity.clone().or(settings.identity);
        settings.metrics = self.metrics.clone().or(settings.metrics);
        settings.control = self.control.clone().or(settings.control);
        settings.inbox = self.inbox.clone().or(settings.inbox);
        settings.seed = self.seed.or(settings.seed);
        settings.log.level = self.log.unwrap_or(settings.log.level);
        settings.log.format = self.log_format.unwrap_or(settings.log.format);
        settings
    }
}

fn help() -> String {
    format!("A complete configuration file:\n\n{EXAMPLE}")
}

impl Run {
    pub(super) async fn act(self, clock: Clock) -> Result<Verdict, Failure> {
        let settings = self.settings()?;
        logging::start(settings.log);
        driver::run(settings, clock).await?;
        Ok(Verdict::Yes)
    }

    fn settings(self) -> Result<Settings, Failure> {
        let file = self.config.as_deref().map(Settings::load).transpose()?;
        let mut settings = self.flags.over(file.unwrap_or_default().with_defaults());
        let first = settings.overlays.first_mut().expect("the defaults have an overlay");
        first.address = self.address.or(first.address);
        first.security = self.security.unwrap_or(first.security);
        if let Some(name) = self.overlay {
            first.name = name;
        }
        if !self.bootstrap.is_empty() {
            first.bootstraps = self.bootstrap;
        }
        if let Some((why, hint)) = first.contradiction() {
            return Err(Failure::new(format!("overlay `{}`", first.name.0), why).hint(hint));
        }
        let is_open = |member: &crate::config::Membership| member.security == Engine::None;
        if settings.inbox.is_some() && settings.overlays.iter().all(is_open) {
            return Err(Failure::new("inbox", "files need members that prove who they are")
                .hint("leave out one of the two: `inbox`, or `security: none`"));
        }
        Ok(settings)
    }
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("no seed\nhint: write a whole number from 0 to {}", u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    #[test]
    fn flags_override_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.yaml");
        std::fs::write(&path, EXAMPLE).unwrap();
        let file = path.to_str().unwrap();
        let flags = ["--listen", "127.0.0.1:1", "--bootstrap", "a.example:1", "--bootstrap", "b.example:2"];
        let line = ["x", "--config", file, "--log", "trace", "--seed", "7", "--overlay", "other"];
        let settings = Line::parse_from(line.iter().chain(&flags)).run.settings().unwrap();
        assert_eq!(settings.listen, Some("127.0.0.1:1".parse().unwrap()));
        assert_eq!(settings.overlays[0].bootstraps.len(), 2);
        assert_eq!(settings.overlays[0].name.0, "other");
        assert_eq!((settings.log.level, settings.seed), (LogLevel::Trace, Some(7)));
        assert_eq!(settings.metrics, Some("127.0.0.1:9100".parse().unwrap()), "the file's own");
    }
}
