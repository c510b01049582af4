//! Two or more engines, and a network between them that loses, delays, repeats and reorders.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll_core::counters::DropReason;
use atoll_core::security::{Action, Admission, ChannelId, Claim, Down, Engine, Intent, Knock};
use atoll_core::{Pool, Rng, Time};

const NOBODY: ChannelId = ChannelId(0);

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: f64,
    pub repeats: f64,
    pub delay: Duration,
    pub jitter: Duration,
}

pub const FINE: Weather =
    Weather { loss: 0.0, repeats: 0.0, delay: Duration::from_millis(20), jitter: Duration::ZERO };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    Handshake { sender: ChannelId, receiver: ChannelId },
    Record { receiver: ChannelId },
}

/// A datagram, as it was sent.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub from: usize,
    pub to: usize,
    pub header: Header,
    pub bytes: Vec<u8>,
}

impl Datagram {
    pub fn is_handshake(&self) -> bool {
        matches!(self.header, Header::Handshake { .. })
    }
}

struct Channel {
    peer: usize,
    remote: ChannelId,
}

/// One engine, and all that it told.
pub struct End {
    pub engine: Box<dyn Engine>,
    pub tokens: BTreeSet<u64>,
    pub up: Vec<(ChannelId, Claim)>,
    pub renewed: Vec<(ChannelId, Claim)>,
    pub opened: Vec<Vec<u8>>,
    pub down: Vec<(ChannelId, Down)>,
    pub drops: BTreeMap<DropReason, u64>,
    channels: BTreeMap<ChannelId, Channel>,
    next: u32,
}

impl End {
    fn new(engine: Box<dyn Engine>, n: usize) -> Self {
        Self {
            engine,
            tokens: BTreeSet::new(),
            up: Vec::new(),
            renewed: Vec::new(),
            opened: Vec::new(),
            down: Vec::new(),
            drops: BTreeMap::new(),
            channels: BTreeMap::new(),
            next: (n as u32 + 1) << 20,
        }
    }

    fn channel(&mut self, peer: usize, remote: ChannelId) -> ChannelId {
        self.next += 1;
        self.channels.insert(ChannelId(self.next), Channel { peer, remote });
        ChannelId(self.next)
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.get(&reason).copied().unwrap_or_default()
    }

    fn drop(&mut self, reason: DropReason) {
        *self.drops.entry(reason).or_default() += 1;
    }
}

pub struct Town {
    pub ends: Vec<End>,
    pub pool: Pool,
    pub now: Time,
    pub weather: Weather,
    pub log: Vec<Datagram>,
    flying: BTreeMap<(Time, u64), Datagram>,
    number: u64,
    rng: Rng,
}

impl Town {
    pub fn new(engines: Vec<Box<dyn Engine>>, weather: Weather, seed: u8) -> Self {
        let ends = engines.into_iter().enumerate().map(|(n, engine)| End::new(engine, n)).collect();
        let (flying, number, log) = (BTreeMap::new(), 0, Vec::new());
        let (pool, now, rng) = (Pool::new(), Time::ZERO, Rng::new([seed; 32]));
        Self { ends, pool, now, weather, log, flying, number, rng }
    }

    /// Two engines that one function makes.
    pub fn pair(engine: impl Fn(u8) -> Box<dyn Engine>) -> Self {
        Self::new(vec![engine(0), engine(1)], FINE, 9)
    }

    /// The same, with an association between them.
    pub fn linked(engine: impl Fn(u8) -> Box<dyn Engine>) -> (Self, [ChannelId; 2]) {
        let mut town = Self::pair(engine);
        town.connect(0, 1, Intent::default());
        town.run(Duration::from_secs(2));
        let channels = [town.ends[0].up[0].0, town.ends[1].up[0].0];
        (town, channels)
    }

    pub fn connect(&mut self, from: usize, to: usize, intent: Intent) -> ChannelId {
        let channel = self.ends[from].channel(to, NOBODY);
        self.ends[from].engine.connect(channel, intent, self.now);
        self.drain(from);
        channel
    }

    /// Sends a payload; false if the engine refuses.
    pub fn send(&mut self, from: usize, channel: ChannelId, payload: &[u8]) -> bool {
        let payload = self.pool.copy(payload);
        let sent = self.ends[from].engine.send(channel, payload, self.now).is_ok();
        self.drain(from);
        sent
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
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
            match datagram {
                Some(at) if at <= next => {
                    let (_, datagram) = self.flying.pop_first().unwrap();
                    self.deliver(&datagram);
                }
                _ => (0..self.ends.len()).for_each(|n| self.wake(n)),
            }
        }
    }

    fn wake(&mut self, n: usize) {
        self.ends[n].engine.handle_timeout(self.now);
        self.drain(n);
        let next = self.ends[n].engine.poll_timeout();
        assert!(next.is_none_or(|next| next.at > self.now), "{next:?} is not later than {}", self.now);
    }

    /// Everything that is on its way, off the network.
    pub fn intercept(&mut self) -> Vec<Datagram> {
        std::mem::take(&mut self.flying).into_values().collect()
    }

    /// Hands a datagram to its receiver, now.
    pub fn deliver(&mut self, datagram: &Datagram) {
        let Datagram { from, to, header, bytes } = datagram;
        let (now, end) = (self.now, &mut self.ends[*to]);
        match header {
            Header::Record { receiver } => end.engine.record(*receiver, self.pool.copy(bytes), now),
            Header::Handshake { sender, receiver } => {
                let same = |channel: &Channel| channel.peer == *from && channel.remote == *sender;
                let known = end.channels.iter().find(|(_, channel)| same(channel)).map(|(id, _)| *id);
                if let Some(channel) = end.channels.get_mut(receiver) {
                    if channel.remote == NOBODY {
                        channel.remote = *sender;
                    }
                    end.engine.handshake(*receiver, bytes, now);
                } else if let Some(id) = known {
                    end.engine.handshake(id, bytes, now);
                } else {
                    self.knock(datagram);
                }
            }
        }
        self.drain(*to);
    }

    fn knock(&mut self, datagram: &Datagram) {
        let Datagram { from, to, header, bytes } = datagram;
        let Header::Handshake { sender, .. } = *header else { return };
        let end = &mut self.ends[*to];
        let source = from.to_be_bytes();
        let knock = Knock { source: &source, datagram: bytes };
        match end.engine.admit(knock, &|token| end.tokens.contains(&token), self.now) {
            Admission::Accept => {
                let channel = end.channel(*from, sender);
                end.engine.accept(channel, bytes, self.now);
            }
            Admission::Answer(answer) => {
                let header = Header::Handshake { sender: NOBODY, receiver: sender };
                self.transmit(&Datagram { from: *to, to: *from, header, bytes: answer.to_vec() });
            }
            Admission::Drop(reason) => end.drop(reason),
        }
    }

    fn drain(&mut self, n: usize) {
        while let Some(action) = self.ends[n].engine.poll() {
            let end = &mut self.ends[n];
            match action {
                Action::Handshake(id, bytes) => {
                    let Channel { peer, remote } = end.channels[&id];
                    let header = Header::Handshake { sender: id, receiver: remote };
                    self.transmit(&Datagram { from: n, to: peer, header, bytes: bytes.to_vec() });
                }
                Action::Record(id, bytes) => {
                    let Channel { peer, remote } = end.channels[&id];
                    let header = Header::Record { receiver: remote };
                    self.transmit(&Datagram { from: n, to: peer, header, bytes: bytes.to_vec() });
                }
                Action::Up(id, claim) => end.up.push((id, claim)),
                Action::Renewed(id, claim) => end.renewed.push((id, claim)),
                Action::Opened(_, payload) => end.opened.push(payload.to_vec()),
                Action::Down(id, why) => end.down.push((id, why)),
                Action::Dropped(reason) => end.drop(reason),
            }
        }
    }

    pub fn transmit(&mut self, datagram: &Datagram) {
        self.log.push(datagram.clone());
        let copies = 1 + usize::from(self.rng.unit() < self.weather.repeats);
        for _ in 0..copies {
            if self.rng.unit() < self.weather.loss {
                continue;
            }
            let at = self.now + self.weather.delay + self.weather.jitter.mul_f64(self.rng.unit());
            self.number += 1;
            self.flying.insert((at, self.number), datagram.clone());
        }
    }

    /// The bytes of the handshake datagrams that were sent, in order.
    pub fn flights(&self) -> Vec<usize> {
        self.log.iter().filter(|one| one.is_handshake()).map(|one| one.bytes.len()).collect()
    }
}
