//! All members start at once, each knowing at most five random earlier public ones: how long until the ring is complete, and
//! what does it cost?
//!
//! `cargo bench -p atoll-sim --bench mass_start -- 1000 10000 30000`

mod cost;

use std::error::Error;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atoll_core::config::{Config, OverlayConfig, TcpUse};
use atoll_core::rng::numbered;
use atoll_core::security::{Credentials, QuicOptions, Security};
use atoll_core::wire::Address;
use atoll_core::{Node, Rng, Time};
use atoll_sim::ring::Follower;
use atoll_sim::{Events, Settings, World};
use atoll_topology::{HostId, Internet, Latency, Population, Topology};
use clap::Parser;

const OVERLAY: &str = "public";
const BOOTSTRAPS_MAX: usize = 5;
const MISTAKES_SHOWN_MAX: usize = 5;

/// Starts overlays of several sizes, all members at once.
#[derive(Parser)]
struct Arguments {
    /// Numbers of members; each runs in a process of its own.
    #[arg(default_values_t = [1_000, 10_000, 30_000])]
    sizes: Vec<usize>,
    /// Prints a line for each simulated second.
    #[arg(long)]
    progress: bool,
    /// Gives up after this many simulated seconds.
    #[arg(long, default_value_t = 120)]
    limit: u64,
    /// Simulated seconds to go on after completion, to see whether it lasts and what it costs.
    #[arg(long, default_value_t = 0)]
    rest: u64,
    /// Seconds between completion and the measured rest.
    #[arg(long, default_value_t = 60)]
    settle: u64,
    /// One-way delay between any two members, in milliseconds.
    #[arg(long, default_value_t = 100)]
    delay: u64,
    /// Population of NATs.
    #[arg(long, default_value = "none")]
    nat: String,
    /// How edges are protected.
    #[arg(long, default_value = "none", value_parser = ["none", "modelled", "modelled-quic", "dtls", "quic"])]
    security: String,
    /// Seed of everything.
    #[arg(long, default_value_t = 1)]
    seed: u8,
    /// Asserts the laws of the machine trait.
    #[arg(long)]
    checked: bool,
    /// The one of the sizes that this process runs.
    #[arg(long, hide = true)]
    only: Option<usize>,
    #[arg(long, hide = true)]
    bench: bool,
}

type Shared = Arc<Mutex<Follower>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match (arguments.only, &arguments.sizes[..]) {
        (Some(size), _) | (None, &[size]) => run(size, &arguments),
        (None, sizes) => run_each(sizes),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs every size in its own process, since the peak of memory is a process's.
fn run_each(sizes: &[usize]) -> Result<bool, Box<dyn Error>> {
    let mut all = true;
    for size in sizes {
        let mut child = Command::new(std::env::current_exe()?);
        child.args(std::env::args().skip(1)).args(["--only", &size.to_string()]);
        all &= child.status()?.success();
    }
    Ok(all)
}

fn run(size: usize, arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let (mut world, follower) = start(size, arguments)?;
    let limit = Time::from_secs(arguments.limit);
    let mut complete = lock(&follower).ring().complete();
    while !complete && world.now() < limit {
        let second = world.now() + Duration::from_secs(1);
        let going = |_: &World| !lock(&follower).ring().complete();
        complete = world.run_while(second, going)?;
        if arguments.progress {
            progress(&world, &follower);
        }
    }
    report(size, complete, &world);
    if !complete {
        show_mistakes(&follower);
        return Ok(false);
    }
    if arguments.rest > 0 {
        rest(size, arguments, &mut world, &follower)?;
    }
    let lasts = lock(&follower).ring().complete();
    Ok(lasts)
}

fn start(size: usize, arguments: &Arguments) -> Result<(World, Shared), Box<dyn Error>> {
    let seed = [arguments.seed; 32];
    let mut rng = Rng::new(seed).fork("mass start");
    let latency = Latency::Constant(Duration::from_millis(arguments.delay));
    let population = Population::named(&arguments.nat)?;
    let internet = Internet::new(Topology::draw(&population, size, latency, seed)?, seed)?;
    let mut world = World::new(internet, Settings { checked: arguments.checked, ..Settings::new(seed) });
    let follower = Arc::new(Mutex::new(Follower::new(OVERLAY)));
    let hears = Arc::clone(&follower);
    world.send_events(Events::Call(Box::new(move |_, host, event| lock(&hears).hear(host, event))));
    let hosts = world.internet().hosts().filter(|(_, host)| host.is_public());
    let public: Vec<HostId> = hosts.map(|(id, _)| id).collect();
    for host in (0..size as u32).map(HostId) {
        let (address, security) = member(&mut world, arguments, rng.next_u64())?;
        let known = bootstraps(host, &public, &mut rng);
        let bootstraps = known.into_iter().filter_map(|host| world.socket(host)).collect();
        let overlay = OverlayConfig { security, ..OverlayConfig::new(OVERLAY, address, bootstraps) };
        let (unix_seconds, tcp) = (world.unix_seconds(), TcpUse::Listens);
        let config = Config { unix_seconds, tcp, ..Config::new(vec![overlay]) };
        lock(&follower).started(host, address);
        let node = Node::new(&config, world.pool(), world.seed(host), world.now());
        world.start(host, Box::new(node));
    }
    Ok((world, follower))
}

/// A member's place on the ring and its security; the place belongs to its key whatever the security.
fn member(
    world: &mut World,
    arguments: &Arguments,
    number: u64,
) -> Result<(Address, Security), Box<dyn Error>> {
    let credentials = world.make(|| Credentials::derived(numbered(number), OVERLAY))?;
    let security = match &*arguments.security {
        "dtls" => Security::dtls(&credentials)?,
        "quic" => Security::quic(&credentials, QuicOptions::default())?,
        "modelled" => Security::modelled(),
        "modelled-quic" => Security::modelled_quic(),
        _ => Security::none(),
    };
    Ok((credentials.address()?, security))
}

/// At most five different public hosts before `host`, or the first of all if there are none.
fn bootstraps(host: HostId, public: &[HostId], rng: &mut Rng) -> Vec<HostId> {
    let earlier = &public[..public.partition_point(|other| *other < host)];
    let mut chosen = Vec::new();
    while chosen.len() < earlier.len().min(BOOTSTRAPS_MAX) {
        let other = earlier[rng.below(earlier.len())];
        if !chosen.contains(&other) {
            chosen.push(other);
        }
    }
    if chosen.is_empty() {
        chosen.extend(public.first().filter(|first| **first != host));
    }
    chosen
}

fn rest(
    size: usize,
    arguments: &Arguments,
    world: &mut World,
    follower: &Shared,
) -> Result<(), Box<dyn Error>> {
    world.run_for(Duration::from_secs(arguments.settle))?;
    let before = sent_bytes(size, world);
    world.run_for(Duration::from_secs(arguments.rest))?;
    let rate = (sent_bytes(size, world) - before) as f64 / arguments.rest as f64 / size as f64;
    let wrong = lock(follower).ring().wrong();
    println!("{size:>8} members at rest: {rate:.1} bytes/s sent by each, {wrong} with wrong neighbours");
    Ok(())
}

fn sent_bytes(size: usize, world: &World) -> u64 {
    (0..size as u32).map(|host| world.traffic(HostId(host)).sent_bytes).sum()
}

fn progress(world: &World, follower: &Shared) {
    let counters = world.counters();
    println!(
        "{:>8.3} s: {} members with wrong neighbours, {} datagrams, {} in flight or scheduled at most, {:.2} s of CPU",
        world.now().as_secs_f64(),
        lock(follower).ring().wrong(),
        counters.datagrams,
        counters.heap_max,
        cost::cpu_seconds(),
    );
}

fn report(size: usize, complete: bool, world: &World) {
    let counters = world.counters();
    let cpu = cost::cpu_seconds();
    println!(
        "{size:>8} members: {} at {:.3} simulated s, {cpu:.2} s of CPU, {:.0} MB at most, {} events, {:.0} events/s, \
         {} datagrams, {} skipped wakes, {:.0} bytes sent by each, trace {:016x}",
        if complete { "complete" } else { "INCOMPLETE" },
        world.now().as_secs_f64(),
        cost::memory_bytes("VmHWM") as f64 / 1e6,
        counters.events,
        counters.events as f64 / cpu,
        counters.datagrams,
        counters.skipped_wakes,
        sent_bytes(size, world) as f64 / size as f64,
        world.trace_hash(),
    );
}

fn show_mistakes(follower: &Shared) {
    let follower = lock(follower);
    println!("{} of {} members have wrong neighbours", follower.ring().wrong(), follower.ring().len());
    for (member, claim) in follower.ring().wrong_members().take(MISTAKES_SHOWN_MAX) {
        println!("  {member:?} claims {claim:?}, true is {:?}", follower.ring().truth(member));
    }
}

fn lock(follower: &Shared) -> std::sync::MutexGuard<'_, Follower> {
    follower.lock().unwrap_or_else(PoisonError::into_inner)
}
