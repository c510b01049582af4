//! Sealing and opening allocate nothing once they are warm.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use atoll_core::security::{
    Action, Admission, ChannelId, Credentials, Dtls, Engine, Filter, Intent, Knock, Setting,
};
use atoll_core::wire::Address;
use atoll_core::{Pool, Rng, Time};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;

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

const CHANNEL: ChannelId = ChannelId(1);

struct Pair {
    ends: [Filter<Dtls>; 2],
    pool: Pool,
    opened: usize,
}

impl Pair {
    fn linked() -> Self {
        let pool = Pool::new();
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let credentials = Credentials::self_signed(key).unwrap();
        let engine = |n: u8| {
            let setting = Setting::new(Address::from_bytes([n + 1; Address::LEN]));
            Dtls::engine(&credentials, setting, pool.clone(), &Rng::new([n; 32]), Time::ZERO).unwrap()
        };
        let mut pair = Self { ends: [engine(0), engine(1)], pool: pool.clone(), opened: 0 };
        pair.ends[0].connect(CHANNEL, Intent { target: None, token: Some(1) }, Time::ZERO);
        let Some(Action::Handshake(_, hello)) = pair.ends[0].poll() else { panic!("no hello") };
        let knock = Knock { source: b"", datagram: &hello };
        assert!(matches!(pair.ends[1].admit(knock, &|_| true, Time::ZERO), Admission::Accept));
        pair.ends[1].accept(CHANNEL, &hello, Time::ZERO);
        while pair.exchange() {}
        pair
    }

    /// Carries what the engines want done; false if there was nothing.
    fn exchange(&mut self) -> bool {
        let mut any = false;
        for n in [0, 1] {
            while let Some(action) = self.ends[n].poll() {
                any = true;
                match action {
                    Action::Handshake(_, bytes) => self.ends[1 - n].handshake(CHANNEL, &bytes, Time::ZERO),
                    Action::Record(_, bytes) => self.ends[1 - n].record(CHANNEL, bytes, Time::ZERO),
                    Action::Opened(..) => self.opened += 1,
                    Action::Up(..) | Action::Dropped(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        any
    }

    fn carry(&mut self, length: usize) {
        for n in [0, 1] {
            let payload = self.pool.copy(&[7; 1500][..length]);
            self.ends[n].send(CHANNEL, payload, Time::ZERO).unwrap();
        }
        while self.exchange() {}
    }
}

#[test]
fn a_record_of_any_length_is_sealed_and_opened_without_an_allocation() {
    let mut pair = Pair::linked();
    let lengths = [1, 60, 124, 143, 144, 370, 383, 384, 1200, 1480, 1499, 1500];
    lengths.iter().for_each(|length| pair.carry(*length));
    pair.opened = 0;
    let before = ALLOCATIONS.get();
    for length in lengths.iter().cycle().take(1200) {
        pair.carry(*length);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations over {} records", pair.opened);
    assert_eq!(pair.opened, 2400);
}

#[test]
fn a_dropped_record_costs_no_allocation() {
    let mut pair = Pair::linked();
    let forge = |pair: &mut Pair| {
        let record = pair.pool.copy(&[0x11; 200]);
        pair.ends[0].record(CHANNEL, record, Time::ZERO);
        while pair.exchange() {}
    };
    forge(&mut pair);
    let before = ALLOCATIONS.get();
    (0..1000).for_each(|_| forge(&mut pair));
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
