//! The datagram path allocates nothing once it is warm.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use atoll_core::config::{Config, OverlayConfig};
use atoll_core::control::{Command, Reply};
use atoll_core::wire::Address;
use atoll_core::{Input, Machine, Node, Output, Pool, RequestId, Time};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain thread-local number.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, that is from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Members on a wire without delay. Member `i` has the address `i + 1` in the first byte and the port `i + 1`.
struct Wire {
    pool: Pool,
    nodes: Vec<Node>,
    now: Time,
    replies: Vec<Reply>,
    /// What the member under test spent on datagrams.
    watched: Option<usize>,
    spent: u64,
}

impl Wire {
    fn new(members: usize) -> Self {
        let pool = Pool::new();
        let node = |i: usize| {
            let bootstraps = if i == 0 { Vec::new() } else { vec![transport(i - 1)] };
            let mut overlay = OverlayConfig::new("public", address(i), bootstraps);
            overlay.ring.near = 1;
            overlay.ring.shortcuts = 0.0;
            Node::new(&Config::new(vec![overlay]), &pool, [i as u8; 32], Time::ZERO)
        };
        let nodes = (0..members).map(node).collect();
        Self { pool, nodes, now: Time::ZERO, replies: Vec::new(), watched: None, spent: 0 }
    }

    fn run(&mut self, until: Time) {
        while self.now < until {
            for i in 0..self.nodes.len() {
                self.nodes[i].handle_timeout(self.now);
            }
            while self.deliver_all() {}
            let next =
                self.nodes.iter().filter_map(|node| node.poll_timeout().map(|deadline| deadline.at)).min();
            self.now = next.unwrap_or(until).clamp(self.now + Duration::from_nanos(1), until);
        }
    }

    fn deliver_all(&mut self) -> bool {
        let mut any = false;
        for i in 0..self.nodes.len() {
            while let Some(output) = self.poll(i) {
                any = true;
                match output {
                    Output::Transmit { to, payload } => {
                        let copy = self.pool.copy(&payload);
                        self.deliver(i, to.address(), copy);
                    }
                    Output::Reply { reply, .. } => self.replies.push(reply),
                    Output::Event(_)
                    | Output::Received { .. }
                    | Output::Carried { .. }
                    | Output::Broadcast { .. }
                    | Output::Keep { .. }
                    | Output::SaltWanted { .. } => {}
                }
            }
        }
        any
    }

    fn poll(&mut self, i: usize) -> Option<Output> {
        let before = ALLOCATIONS.get();
        let output = self.nodes[i].poll_output();
        self.account(i, before);
        output
    }

    fn deliver(&mut self, from: usize, to: SocketAddr, payload: atoll_core::Buffer) {
        let receiver = usize::from(to.port()) - 1;
        let before = ALLOCATIONS.get();
        let input = Input::Datagram { from: transport(from).into(), payload };
        self.nodes[receiver].handle_input(input, self.now);
        self.account(receiver, before);
    }

    fn account(&mut self, member: usize, before: u64) {
        if self.watched == Some(member) {
            self.spent += ALLOCATIONS.get() - before;
        }
    }

    fn ask(&mut self, member: usize, command: Command) -> Option<Reply> {
        self.replies.clear();
        self.nodes[member].handle_input(Input::Command { id: RequestId(1), command }, self.now);
        while self.deliver_all() {}
        self.replies.pop()
    }
}

fn transport(member: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, member as u8 + 1], member as u16 + 1))
}

fn address(member: usize) -> Address {
    let mut bytes = [0; Address::LEN];
    bytes[0] = (member as u8 + 1) * 20;
    Address::from_bytes(bytes)
}

#[test]
fn a_member_that_passes_packets_on_allocates_nothing() {
    let mut wire = Wire::new(6);
    wire.run(Time::from_secs(60));
    let ping = || Command::Ping { overlay: "public".into(), address: address(3) };
    let Some(Reply::Ping { hops, .. }) = wire.ask(1, ping()) else { panic!("no answer to the first ping") };
    assert_eq!(hops, 2, "member 2 lies between");
    for _ in 0..50 {
        wire.ask(1, ping());
        let later = wire.now + Duration::from_millis(200);
        wire.run(later);
    }
    wire.watched = Some(2);
    for _ in 0..50 {
        assert!(matches!(wire.ask(1, ping()), Some(Reply::Ping { .. })));
    }
    assert_eq!(wire.spent, 0, "allocations of the member that forwards, over 100 packets");
}
