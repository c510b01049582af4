//! The claim of the target `security`: whatever arrives, in whatever state, an engine answers little, keeps its timers
//! in the future, and two engines still come together afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_core::security::{
    Action, Admission, ChannelId, Credentials, Dtls, Engine, GroupSecret, Intent, Knock, Limits, Modelled,
    Plain, Quic, QuicOptions, Setting,
};
use atoll_core::wire::Address;
use atoll_core::{Pool, Rng, Time};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;

const DELAY: Duration = Duration::from_millis(10);
/// Orders of one script at most; the rest is not played.
const ORDERS_MAX: usize = 200;
/// Actions that one input may cause.
const ACTIONS_MAX: usize = 64;
/// Real datagrams kept for the script to use.
const SEEN_MAX: usize = 256;
/// How long two engines take at most to come together after a script.
const HEALED: Duration = Duration::from_secs(60);

/// Plays a script to two engines; its first byte names their kind.
///
/// # Panics
/// If an input causes too many actions, a timer stays in the past, or the engines do not come together afterwards.
pub fn check(script: &[u8]) {
    let mut script = Script(script);
    let kind = script.byte().unwrap_or_default();
    let mut two = Two::new(kind);
    two.connect(0);
    for _ in 0..ORDERS_MAX {
        if script.play(&mut two).is_none() {
            break;
        }
    }
    two.comes_together();
}

fn engine(kind: u8, n: u8) -> Box<dyn Engine> {
    let (address, pool, rng) = (Address::from_bytes([n + 1; Address::LEN]), Pool::new(), Rng::new([n; 32]));
    let renew_after = Duration::from_secs(20);
    let limits = Limits { renew_after, renew_records: 20, ..Limits::default() };
    let secret = (kind & 4 != 0).then(|| GroupSecret::new([3; 32]));
    let setting = Setting { limits, secret, ..Setting::new(address) };
    match kind % 4 {
        0 => Box::new(Plain::engine(address, pool, &rng, Time::ZERO)),
        1 if kind & 8 != 0 => Box::new(Modelled::quic(setting, pool, &rng, Time::ZERO)),
        1 => Box::new(Modelled::dtls(setting, pool, &rng, Time::ZERO)),
        2 => {
            Box::new(Dtls::engine(&credentials(), setting, pool, &rng, Time::ZERO).expect("good credentials"))
        }
        _ => {
            let options = QuicOptions { post_quantum: kind & 8 != 0 };
            let quic = Quic::new(&credentials(), options).expect("good credentials");
            Box::new(quic.engine(setting, pool, &rng, Time::ZERO))
        }
    }
}

fn credentials() -> Credentials {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("OpenSSL knows P-256");
    let key = EcKey::generate(&group).and_then(PKey::from_ec_key).expect("a fresh key");
    Credentials::self_signed(key).expect("the key is on P-256")
}

/// What a long or short header names: the sender's and the receiver's channel, or the receiver's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    Handshake(ChannelId, ChannelId),
    Record(ChannelId),
}

struct End {
    engine: Box<dyn Engine>,
    /// Our channel, and the peer's.
    channels: BTreeMap<ChannelId, ChannelId>,
    next: u32,
    up: Vec<ChannelId>,
    opened: Vec<Vec<u8>>,
}

/// Two engines and the datagrams between them, in virtual time.
struct Two {
    ends: [End; 2],
    pool: Pool,
    now: Time,
    flying: BTreeMap<(Time, u64), (usize, Header, Vec<u8>)>,
    number: u64,
    seen: Vec<(Header, Vec<u8>)>,
}

impl Two {
    fn new(kind: u8) -> Self {
        let end = |n: u8| End {
            engine: engine(kind, n),
            channels: BTreeMap::new(),
            next: 100 * u32::from(n + 1),
            up: Vec::new(),
            opened: Vec::new(),
        };
        let (flying, seen) = (BTreeMap::new(), Vec::new());
        Self { ends: [end(0), end(1)], pool: Pool::new(), now: Time::ZERO, flying, number: 0, seen }
    }

    fn channel(&mut self, n: usize, remote: ChannelId) -> ChannelId {
        let end = &mut self.ends[n];
        end.next += 1;
        end.channels.insert(ChannelId(end.next), remote);
        ChannelId(end.next)
    }

    fn connect(&mut self, n: usize) {
        let channel = self.channel(n, ChannelId(0));
        self.ends[n].engine.connect(channel, Intent::default(), self.now);
        self.drain(n);
    }

    fn deliver(&mut self, n: usize, header: Header, bytes: &[u8]) {
        let (end, now) = (&mut self.ends[n], self.now);
        match header {
            Header::Record(channel) => end.engine.record(channel, self.pool.copy(bytes), now),
            Header::Handshake(sender, channel) => {
                let same = end.channels.iter().find(|(_, remote)| **remote == sender).map(|(id, _)| *id);
                if let Some(remote) = end.channels.get_mut(&channel) {
                    if *remote == ChannelId(0) {
                        *remote = sender;
                    }
                    end.engine.handshake(channel, bytes, now);
                } else if let Some(channel) = same {
                    end.engine.handshake(channel, bytes, now);
                } else {
                    self.knock(n, sender, bytes);
                }
            }
        }
        self.drain(n);
    }

    fn knock(&mut self, n: usize, sender: ChannelId, bytes: &[u8]) {
        let knock = Knock { source: &[n as u8], datagram: bytes };
        match self.ends[n].engine.admit(knock, &|token| token == 7, self.now) {
            Admission::Accept => {
                let channel = self.channel(n, sender);
                self.ends[n].engine.accept(channel, bytes, self.now);
            }
            Admission::Answer(answer) => {
                assert!(answer.len() <= bytes.len(), "an answer is longer than what caused it");
                self.transmit(n, Header::Handshake(ChannelId(0), sender), &answer);
            }
            Admission::Drop(_) => {}
        }
    }

    fn drain(&mut self, n: usize) {
        let mut count = 0;
        while let Some(action) = self.ends[n].engine.poll() {
            count += 1;
            assert!(count <= ACTIONS_MAX, "one input causes more than {ACTIONS_MAX} actions: {action:?}");
            let remote = |channel| self.ends[n].channels.get(channel).copied().unwrap_or(ChannelId(0));
            match action {
                Action::Handshake(channel, bytes) => {
                    let header = Header::Handshake(channel, remote(&channel));
                    self.transmit(n, header, &bytes);
                }
                Action::Record(channel, bytes) => {
                    let header = Header::Record(remote(&channel));
                    self.transmit(n, header, &bytes);
                }
                Action::Up(channel, _) => self.ends[n].up.push(channel),
                Action::Opened(_, payload) => self.ends[n].opened.push(payload.to_vec()),
                Action::Renewed(..) | Action::Down(..) | Action::Dropped(_) => {}
            }
        }
    }

    fn transmit(&mut self, from: usize, header: Header, bytes: &[u8]) {
        self.number += 1;
        self.flying.insert((self.now + DELAY, self.number), (1 - from, header, bytes.to_vec()));
        if self.seen.len() < SEEN_MAX {
            self.seen.push((header, bytes.to_vec()));
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let datagram = self.flying.first_key_value().map(|((at, _), _)| *at);
            let timer = self.ends.iter().filter_map(|end| Some(end.engine.poll_timeout()?.at)).min();
            let next = datagram.into_iter().chain(timer).min().unwrap_or(Time::MAX).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            if datagram.is_some_and(|at| at <= next) {
                let Some((_, (to, header, bytes))) = self.flying.pop_first() else { return };
                self.deliver(to, header, &bytes);
            } else {
                (0..2).for_each(|n| self.wake(n));
            }
        }
    }

    fn wake(&mut self, n: usize) {
        self.ends[n].engine.handle_timeout(self.now);
        self.drain(n);
        let next = self.ends[n].engine.poll_timeout();
        assert!(next.is_none_or(|next| next.at > self.now), "{next:?} is not later than {}", self.now);
    }

    /// A fresh association carries a payload.
    fn comes_together(&mut self) {
        self.run(HEALED);
        let before = self.ends[0].up.len();
        self.connect(0);
        self.run(HEALED / 4);
        let channel = *self.ends[0].up.get(before..).and_then(<[_]>::last).expect("no association");
        let payload = self.pool.copy(b"together");
        self.ends[0].engine.send(channel, payload, self.now).expect("the association is up");
        self.drain(0);
        self.run(HEALED / 4);
        assert!(
            self.ends[1].opened.iter().any(|payload| payload == b"together"),
            "the payload did not arrive"
        );
    }
}

/// Orders, byte after byte.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let count = usize::from(self.byte()?).min(self.0.len());
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        Some(head.to_vec())
    }

    /// A real datagram that was seen.
    fn seen(&mut self, two: &Two) -> Option<(Header, Vec<u8>)> {
        let number = usize::from(self.byte()?);
        two.seen.get(number % two.seen.len().max(1)).cloned()
    }

    /// Plays one order; nothing if the script is over.
    fn play(&mut self, two: &mut Two) -> Option<()> {
        let (order, who) = (self.byte()?, self.byte()?);
        let (n, name) =
            (usize::from(who & 1), ChannelId(100 * u32::from((who & 1) + 1) + u32::from(who >> 4)));
        let (header, bytes) = match order % 10 {
            0 => (Header::Handshake(ChannelId(u32::from(who)), ChannelId(0)), self.bytes()?),
            1 => (Header::Handshake(ChannelId(9), name), self.bytes()?),
            2 => (Header::Record(name), self.bytes()?),
            3 => self.seen(two)?,
            4 => {
                let (header, mut bytes) = self.seen(two)?;
                bytes.truncate(usize::from(self.byte()?));
                (header, bytes)
            }
            5 => {
                let (header, mut bytes) = self.seen(two)?;
                let at = usize::from(self.byte()?) % bytes.len().max(1);
                let mask = self.byte()?;
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
                (header, bytes)
            }
            6 => {
                let (header, bytes) = self.seen(two)?;
                (header, [bytes, self.bytes()?].concat())
            }
            7 => {
                let payload = two.pool.copy(&[&[1], &self.bytes()?[..]].concat());
                let _ = two.ends[n].engine.send(name, payload, two.now);
                two.drain(n);
                return Some(());
            }
            8 => {
                two.connect(n);
                return Some(());
            }
            _ => {
                two.run(Duration::from_millis(40) * u32::from(self.byte()?));
                return Some(());
            }
        };
        two.deliver(n, header, &bytes);
        Some(())
    }
}
