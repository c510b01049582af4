//! The world without a protocol: machines that chatter with random others, for events per second and bytes per host.
//!
//! `cargo bench -p atoll-sim --bench world -- 1000 10000 100000`

mod cost;

use std::error::Error;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use atoll_core::{Deadline, Input, Machine, Output, Pool, Rng, Time};
use atoll_sim::{Settings, World};
use atoll_topology::{HostId, Internet, Latency, Population, Topology};

const EVENTS: u64 = 5_000_000;
const PERIOD: Duration = Duration::from_millis(100);
const PAYLOAD: [u8; 60] = [7; 60];

/// Randomness in eight bytes (splitmix64), so that the bench measures the world and not the machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * bound as u128) >> 64) as usize
    }

    /// Half to one and a half periods.
    fn period(&mut self) -> Duration {
        PERIOD / 2 + Duration::from_nanos(self.below(PERIOD.as_nanos() as usize) as u64)
    }
}

/// Sends one datagram to a random host each period and answers those that it gets.
struct Chatter {
    everyone: Arc<[SocketAddr]>,
    dice: Dice,
    pool: Pool,
    next: Time,
    output: Option<Output>,
}

impl Machine for Chatter {
    fn handle_input(&mut self, input: Input, _now: Time) {
        if let Input::Datagram { from, mut payload } = input
            && payload[0] == PAYLOAD[0]
        {
            payload[0] = 0;
            self.output = Some(Output::Transmit { to: from, payload });
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        if now >= self.next {
            self.next = now + self.dice.period();
            let to = self.everyone[self.dice.below(self.everyone.len())];
            self.output = Some(Output::Transmit { to: to.into(), payload: self.pool.copy(&PAYLOAD) });
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        Some(Deadline { at: self.next, reason: "chatter" })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let sizes: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    match sizes[..] {
        [size] => run(size),
        [] => run_each(&[1_000, 10_000, 100_000]),
        _ => run_each(&sizes),
    }
}

/// Runs every size in its own process, since memory is a process's.
fn run_each(sizes: &[usize]) -> Result<(), Box<dyn Error>> {
    for size in sizes {
        Command::new(std::env::current_exe()?).arg(size.to_string()).status()?;
    }
    Ok(())
}

fn run(size: usize) -> Result<(), Box<dyn Error>> {
    let seed = [1; 32];
    let latency = Latency::Constant(Duration::from_millis(100));
    let topology = Topology::draw(&Population::named("none")?, size, latency, seed)?;
    let mut world = World::new(Internet::new(topology, seed)?, Settings::new(seed));
    let hosts: Vec<HostId> = (0..size as u32).map(HostId).collect();
    let everyone: Arc<[SocketAddr]> = hosts.iter().filter_map(|host| world.socket(*host)).collect();
    for host in hosts {
        let mut dice = Dice(Rng::new(world.seed(host)).next_u64());
        let next = Time::ZERO + dice.period();
        let (everyone, pool) = (Arc::clone(&everyone), world.pool().clone());
        world.start(host, Box::new(Chatter { everyone, dice, pool, next, output: None }));
    }
    let before = cost::cpu_seconds();
    world.run_while(Time::MAX, |world| world.events() < EVENTS)?;
    let cpu = cost::cpu_seconds() - before;
    println!(
        "{size:>8} hosts: {:.2} M events/s, {} bytes per host at most, {} scheduled at most, {:.1} simulated s, trace {:016x}",
        EVENTS as f64 / cpu / 1e6,
        cost::memory_bytes("VmHWM") / size as u64,
        world.counters().heap_max,
        world.now().as_secs_f64(),
        world.trace_hash(),
    );
    Ok(())
}
