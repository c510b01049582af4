//! The datagram path allocates nothing once every table has its size.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atoll_core::{Deadline, Input, Machine, Output, Pool, Time};
use atoll_sim::{Settings, World};
use atoll_topology::{HostId, Internet, Latency, Population, Topology};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Counts what the system's allocator is asked for.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Sends a datagram to its neighbour every 10 ms.
struct Sender {
    to: SocketAddr,
    pool: Pool,
    next: Time,
    output: Option<Output>,
}

impl Machine for Sender {
    fn handle_input(&mut self, _input: Input, _now: Time) {}

    fn handle_timeout(&mut self, now: Time) {
        if now >= self.next {
            self.next = now + Duration::from_millis(10);
            self.output = Some(Output::Transmit { to: self.to.into(), payload: self.pool.copy(&[7; 100]) });
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        Some(Deadline { at: self.next, reason: "the next datagram" })
    }
}

#[test]
fn after_warm_up_no_datagram_costs_an_allocation() {
    let seed = [1; 32];
    let (population, latency) =
        (Population::named("none").expect("a preset"), Latency::Constant(Duration::from_millis(100)));
    let topology = Topology::draw(&population, 100, latency, seed).expect("a topology");
    let mut world = World::new(Internet::new(topology, seed).expect("an Internet"), Settings::new(seed));
    for host in 0..100 {
        let to = world.socket(HostId((host + 1) % 100)).expect("a host");
        let next = Time::from_nanos(u64::from(host) * 100_000);
        let pool = world.pool().clone();
        world.start(HostId(host), Box::new(Sender { to, pool, next, output: None }));
    }
    world.run_until(Time::from_secs(2)).expect("no stall");
    let (before, delivered) = (ALLOCATIONS.load(Ordering::Relaxed), world.counters().delivered);
    world.run_until(Time::from_secs(12)).expect("no stall");
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(world.counters().delivered - delivered > 90_000);
    assert_eq!(allocations, 0, "for 100,000 datagrams");
}
