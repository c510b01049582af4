//! The program `atoll-fabric`: one process per Docker host that owns the devices of all containers of a run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use atoll_fabric::clock::Clock;
use atoll_fabric::engine::{Engine, Handle};
use atoll_fabric::server;
use atoll_fabric::setting::Setting;
use atoll_topology::Internet;
use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

/// The emulated Internet of one run. Started by `atoll`; there is little reason to start it by hand.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// File with the topology, as `atoll` writes it.
    #[arg(long)]
    setting: PathBuf,
    /// Unix socket for orders; it is made anew.
    #[arg(long)]
    socket: PathBuf,
    /// Where metrics and targets are served, on loopback.
    #[arg(long, default_value = "127.0.0.1:0")]
    pages: SocketAddr,
    /// Folder of the control group in which the fabric may have real-time priority, if its own is not one.
    #[arg(long)]
    scheduler_group: Option<PathBuf>,
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the fabric ends: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.pages.ip().is_loopback(), "{} is not on loopback", arguments.pages);
    raise_file_limit()?;
    let setting = Setting::read(&arguments.setting).context("the setting cannot be read")?;
    let internet = Internet::new(setting.topology, setting.seed).context("the topology cannot be")?;
    let clock = Clock::starting_now().dilated(setting.dilation);
    let engine = Handle::start(Engine::new(internet, clock)?, arguments.scheduler_group.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = server::serve(engine, clock, &arguments.socket, arguments.pages);
    runtime.block_on(served).with_context(|| format!("cannot serve on {}", arguments.socket.display()))
}

/// Every node takes a handful of descriptors; the soft limit is made for programs that use `select`.
fn raise_file_limit() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("the limit of open files cannot be raised")
}
