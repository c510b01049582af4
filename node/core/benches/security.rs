//! What security costs, next to OpenSSL's DTLS by itself: CPU time of this thread, medians of rounds that take turns.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made is no measurement")]

use std::collections::VecDeque;
use std::fs;
use std::hint::black_box;
use std::io::{ErrorKind, Read, Result, Write};

use atoll_core::security::{
    Action, Admission, ChannelId, Credentials, Dtls, Engine, Filter, GroupSecret, Intent, Knock, Setting,
};
use atoll_core::wire::Address;
use atoll_core::{Buffer, Pool, Rng, Time};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion};

const ROUNDS: usize = 7;
const HANDSHAKES: usize = 100;
const RECORDS: usize = 50_000;
const KNOCKS: usize = 50_000;
const IDLE: usize = 1000;
const PAYLOAD: usize = 1200;
const TOKEN: u64 = 42;

fn main() {
    let (ours, raw) = (credentials(), credentials());
    // First, while nothing is free that would not count.
    let memory = (own_memory(&ours), raw_memory(&raw));
    let (mut handshakes, mut records, mut knocks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        handshakes.push([own_handshakes(&ours), raw_handshakes(&raw)]);
        records.push([own_records(&ours), raw_records(&raw)]);
        knocks.push([knock(None, None), knock(Some(1), None), knock(Some(1), Some(1))]);
    }
    let [own, raw_cpu] = medians(&handshakes);
    println!(
        "handshakes of both ends    ours {:7.0}/s   OpenSSL {:7.0}/s   ratio {:.2}",
        1e9 / own,
        1e9 / raw_cpu,
        raw_cpu / own
    );
    let [own, raw_cpu] = medians(&records);
    let rate = |nanos: f64| PAYLOAD as f64 * 8.0 / nanos;
    println!(
        "seal and open {PAYLOAD} bytes    ours {:5.1} Gbit/s   OpenSSL {:5.1} Gbit/s   ratio {:.2}",
        rate(own),
        rate(raw_cpu),
        raw_cpu / own
    );
    let [open, foreign, wrapped] = medians(&knocks);
    println!(
        "a stranger's hello costs   {open:.0} ns; with a group's secret {foreign:.0} ns, or {wrapped:.0} ns if it knows it"
    );
    println!("that is one handshake for  {:.0} hellos", medians(&handshakes)[0] / open);
    let (own, raw_memory) = memory;
    println!(
        "an idle association takes  ours {own:.2} KiB   OpenSSL {raw_memory:.1} KiB   ratio {:.0}",
        raw_memory / own
    );
}

fn credentials() -> Credentials {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    Credentials::self_signed(PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()).unwrap()
}

/// Nanoseconds of CPU time of this thread for each of `count` turns.
fn cpu(count: usize, act: impl FnOnce()) -> f64 {
    let before = spent();
    act();
    (spent() - before) / count as f64
}

fn spent() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Resident memory in KiB.
fn resident() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4.0
}

fn medians<const N: usize>(rounds: &[[f64; N]]) -> [f64; N] {
    std::array::from_fn(|column| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

/// Two engines without a network between them.
struct Pair {
    ends: [Filter<Dtls>; 2],
    pool: Pool,
    up: usize,
    opened: usize,
}

impl Pair {
    fn new(credentials: &Credentials) -> Self {
        let pool = Pool::new();
        let engine = |n: u8| {
            let setting = Setting::new(Address::from_bytes([n + 1; Address::LEN]));
            Dtls::engine(credentials, setting, pool.clone(), &Rng::new([n; 32]), Time::ZERO).unwrap()
        };
        Self { ends: [engine(0), engine(1)], pool: pool.clone(), up: 0, opened: 0 }
    }

    fn link(&mut self, number: usize) {
        let intent = Intent { target: None, token: Some(TOKEN) };
        self.ends[0].connect(ChannelId(number as u32), intent, Time::ZERO);
        let Some(Action::Handshake(channel, hello)) = self.ends[0].poll() else { panic!("no hello") };
        let knock = Knock { source: b"somebody", datagram: &hello };
        let verdict = self.ends[1].admit(knock, &|token| token == TOKEN, Time::ZERO);
        assert!(matches!(verdict, Admission::Accept));
        self.ends[1].accept(channel, &hello, Time::ZERO);
        self.exchange();
    }

    fn exchange(&mut self) {
        let mut n = 1;
        let mut idle = 0;
        while idle < 2 {
            match self.ends[n].poll() {
                None => {
                    idle += 1;
                    n = 1 - n;
                    continue;
                }
                Some(Action::Handshake(channel, bytes)) => {
                    self.ends[1 - n].handshake(channel, &bytes, Time::ZERO);
                }
                Some(Action::Record(channel, bytes)) => self.ends[1 - n].record(channel, bytes, Time::ZERO),
                Some(Action::Up(..)) => self.up += 1,
                Some(Action::Opened(_, payload)) => {
                    self.opened += black_box(usize::from(payload.len() == PAYLOAD))
                }
                Some(other) => panic!("{other:?}"),
            }
            idle = 0;
        }
    }

    fn payload(&self) -> Buffer {
        self.pool.copy(&[7; PAYLOAD])
    }
}

fn own_handshakes(credentials: &Credentials) -> f64 {
    let mut pair = Pair::new(credentials);
    let nanos = cpu(HANDSHAKES, || (0..HANDSHAKES).for_each(|number| pair.link(number)));
    assert_eq!(pair.up, 2 * HANDSHAKES);
    nanos
}

fn own_records(credentials: &Credentials) -> f64 {
    let mut pair = Pair::new(credentials);
    pair.link(0);
    let nanos = cpu(RECORDS, || {
        for _ in 0..RECORDS {
            let payload = pair.payload();
            pair.ends[0].send(ChannelId(0), payload, Time::ZERO).unwrap();
            pair.exchange();
        }
    });
    assert_eq!(pair.opened, RECORDS);
    nanos
}

fn own_memory(credentials: &Credentials) -> f64 {
    let mut pair = Pair::new(credentials);
    pair.link(0);
    let before = resident();
    for number in 1..=IDLE {
        pair.link(number);
        // The first record frees the last flight.
        let payload = pair.payload();
        pair.ends[0].send(ChannelId(number as u32), payload, Time::ZERO).unwrap();
        pair.exchange();
    }
    (resident() - before) / (2 * IDLE) as f64
}

/// A stranger's hello at an engine; the keys of the two are the same, differ, or are not there.
fn knock(secret: Option<u8>, theirs: Option<u8>) -> f64 {
    let credentials = credentials();
    let engine = |secret: Option<u8>, n: u8| {
        let secret = secret.map(|secret| GroupSecret::new([secret; 32]));
        let setting = Setting { secret, ..Setting::new(Address::from_bytes([n; Address::LEN])) };
        Dtls::engine(&credentials, setting, Pool::new(), &Rng::new([n; 32]), Time::ZERO).unwrap()
    };
    let (mut stranger, mut engine) = (engine(theirs, 1), engine(secret, 2));
    stranger.connect(ChannelId(1), Intent::default(), Time::ZERO);
    let Some(Action::Handshake(_, hello)) = stranger.poll() else { panic!("no hello") };
    cpu(KNOCKS, || {
        for source in 0..KNOCKS as u32 {
            let source = source.to_be_bytes();
            let knock = Knock { source: &source, datagram: &hello };
            assert!(!matches!(black_box(engine.admit(knock, &|_| false, Time::ZERO)), Admission::Accept));
        }
    })
}

/// The datagrams of one end of raw DTLS.
#[derive(Debug, Default)]
struct Datagrams {
    inward: VecDeque<Vec<u8>>,
    outward: Vec<Vec<u8>>,
}

impl Read for Datagrams {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let datagram = self.inward.pop_front().ok_or(ErrorKind::WouldBlock)?;
        buffer[..datagram.len()].copy_from_slice(&datagram);
        Ok(datagram.len())
    }
}

impl Write for Datagrams {
    fn write(&mut self, datagram: &[u8]) -> Result<usize> {
        self.outward.push(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

fn context(credentials: &Credentials) -> SslContext {
    let mut builder = SslContext::builder(SslMethod::dtls()).unwrap();
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2)).unwrap();
    builder.set_cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256").unwrap();
    builder.set_groups_list("X25519:P-256").unwrap();
    builder.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET);
    builder.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_, _| true);
    builder.set_certificate(credentials.certificate()).unwrap();
    builder.set_private_key(credentials.key()).unwrap();
    builder.build()
}

fn raw_pair(context: &SslContext) -> [SslStream<Datagrams>; 2] {
    let end = |initiates: bool| {
        let mut ssl = Ssl::new(context).unwrap();
        ssl.set_mtu(1200).unwrap();
        if initiates {
            ssl.set_connect_state()
        } else {
            ssl.set_accept_state()
        }
        SslStream::new(ssl, Datagrams::default()).unwrap()
    };
    let mut pair = [end(true), end(false)];
    let mut done = [false; 2];
    for _ in 0..8 {
        for n in [0, 1] {
            done[n] = pair[n].do_handshake().is_ok();
            let flight = std::mem::take(&mut pair[n].get_mut().outward);
            pair[1 - n].get_mut().inward.extend(flight);
        }
    }
    assert_eq!(done, [true; 2], "the handshake is complete");
    pair
}

fn raw_handshakes(credentials: &Credentials) -> f64 {
    let context = context(credentials);
    cpu(HANDSHAKES, || (0..HANDSHAKES).for_each(|_| drop(black_box(raw_pair(&context)))))
}

fn raw_records(credentials: &Credentials) -> f64 {
    let [mut one, mut other] = raw_pair(&context(credentials));
    let (payload, mut opened) = ([7; PAYLOAD], [0; 16 * 1024]);
    cpu(RECORDS, || {
        for _ in 0..RECORDS {
            one.ssl_write(&payload).unwrap();
            other.get_mut().inward.extend(one.get_mut().outward.pop());
            assert_eq!(black_box(other.ssl_read(&mut opened).unwrap()), PAYLOAD);
        }
    })
}

fn raw_memory(credentials: &Credentials) -> f64 {
    let context = context(credentials);
    let before = resident();
    let pairs: Vec<_> = (0..IDLE / 4).map(|_| raw_pair(&context)).collect();
    let memory = (resident() - before) / (2 * pairs.len()) as f64;
    drop(black_box(pairs));
    memory
}
