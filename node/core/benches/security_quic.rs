//! What QUIC costs behind the door, next to quinn-proto by itself: CPU time of this thread, medians of rounds that take
//! turns. Both verify signatures of P-256 on both sides and seal with AES-128-GCM; else the raw one has quinn's defaults, but
//! for the datagram size and tickets.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made is no measurement")]

use std::fs;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atoll_core::security::{
    Action, Admission, ChannelId, Credentials, Engine, Intent, Knock, Quic, QuicEngine, QuicOptions, Setting,
};
use atoll_core::wire::Address;
use atoll_core::{Pool, Rng, Time};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig, Event, ServerConfig,
    TransportConfig,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

const ROUNDS: usize = 7;
const HANDSHAKES: usize = 100;
const RECORDS: usize = 30_000;
const IDLE: usize = 500;
const PAYLOAD: usize = 1200;
const DATAGRAM: u16 = 1280;
const TOKEN: u64 = 42;
/// quinn paces by time: between two datagrams of a raw pair so much of it passes.
const STEP: Duration = Duration::from_micros(20);

fn main() {
    let credentials = credentials();
    let quic =
        [true, false].map(|post_quantum| Quic::new(&credentials, QuicOptions { post_quantum }).unwrap());
    let raw = [true, false].map(|post_quantum| Raw::new(&credentials, post_quantum));
    // First, and none is freed before the last is measured: what is free would not count.
    let (hybrid, classical, plain) = (own_memory(&quic[0]), own_memory(&quic[1]), raw_memory(&raw[1]));
    let memory = [hybrid.0, classical.0, plain.0];
    drop((hybrid, classical, plain));
    let (mut handshakes, mut records) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let [hybrid, classical] = [0, 1].map(|n| own_handshakes(&quic[n]));
        let [raw_hybrid, raw_classical] = [0, 1].map(|n| raw_handshakes(&raw[n]));
        handshakes.push([hybrid, classical, raw_hybrid, raw_classical]);
        records.push([own_records(&quic[1]), raw_records(&raw[1])]);
    }
    let [hybrid, classical, raw_hybrid, raw_classical] = medians(&handshakes);
    let per_second = |nanos: f64| 1e9 / nanos;
    for (name, own, raw) in [("X25519MLKEM768", hybrid, raw_hybrid), ("X25519", classical, raw_classical)] {
        println!(
            "handshakes of both ends, {name:14}   ours {:6.0}/s   quinn-proto {:6.0}/s   ratio {:.2}",
            per_second(own),
            per_second(raw),
            raw / own
        );
    }
    println!("post-quantum costs                        {:.2} of the CPU time without", hybrid / classical);
    for (name, quic) in [("X25519MLKEM768", &quic[0]), ("X25519", &quic[1])] {
        let flights = flights(quic);
        let bytes: usize = flights.iter().sum();
        println!(
            "a handshake with a token, {name:14}  {} datagrams, {bytes} bytes: {flights:?}",
            flights.len()
        );
    }
    let [own, raw] = medians(&records);
    let rate = |nanos: f64| PAYLOAD as f64 * 8.0 / nanos;
    println!(
        "seal and open {PAYLOAD} bytes   ours {:.0}/s, {:.1} Gbit/s   quinn-proto {:.0}/s, {:.1} Gbit/s   ratio {:.2}",
        per_second(own),
        rate(own),
        per_second(raw),
        rate(raw),
        raw / own
    );
    let [hybrid, classical, raw] = memory;
    println!(
        "an idle association takes   ours {hybrid:.1} KiB (X25519: {classical:.1})   quinn-proto {raw:.1} KiB"
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
    ends: [QuicEngine; 2],
    pool: Pool,
    up: usize,
    opened: usize,
    flights: Vec<usize>,
}

impl Pair {
    fn new(quic: &Quic) -> Self {
        let pool = Pool::new();
        let engine = |n: u8| {
            let setting = Setting::new(Address::from_bytes([n + 1; Address::LEN]));
            quic.engine(setting, pool.clone(), &Rng::new([n; 32]), Time::ZERO)
        };
        Self { ends: [engine(0), engine(1)], pool: pool.clone(), up: 0, opened: 0, flights: Vec::new() }
    }

    fn link(&mut self, number: usize) {
        let channel = ChannelId(number as u32);
        self.ends[0].connect(channel, Intent { target: None, token: Some(TOKEN) }, Time::ZERO);
        let mut is_known = false;
        while let Some(Action::Handshake(_, hello)) = self.ends[0].poll() {
            self.flights.push(hello.len());
            if std::mem::replace(&mut is_known, true) {
                self.ends[1].handshake(channel, &hello, Time::ZERO);
                continue;
            }
            let knock = Knock { source: b"somebody", datagram: &hello };
            let verdict = self.ends[1].admit(knock, &|token| token == TOKEN, Time::ZERO);
            assert!(matches!(verdict, Admission::Accept));
            self.ends[1].accept(channel, &hello, Time::ZERO);
        }
        self.exchange();
    }

    fn exchange(&mut self) {
        let (mut n, mut idle) = (1, 0);
        while idle < 2 {
            let Some(action) = self.ends[n].poll() else {
                (idle, n) = (idle + 1, 1 - n);
                continue;
            };
            idle = 0;
            match action {
                Action::Handshake(channel, bytes) => {
                    self.flights.push(bytes.len());
                    self.ends[1 - n].handshake(channel, &bytes, Time::ZERO);
                }
                Action::Record(channel, bytes) => self.ends[1 - n].record(channel, bytes, Time::ZERO),
                Action::Up(..) => self.up += 1,
                Action::Opened(_, payload) => self.opened += usize::from(black_box(payload).len() == PAYLOAD),
                other => panic!("{other:?}"),
            }
        }
    }

    fn send(&mut self, number: usize) {
        let payload = self.pool.copy(&[7; PAYLOAD]);
        self.ends[0].send(ChannelId(number as u32), payload, Time::ZERO).unwrap();
        self.exchange();
    }
}

fn own_handshakes(quic: &Quic) -> f64 {
    let mut pair = Pair::new(quic);
    let nanos = cpu(HANDSHAKES, || (0..HANDSHAKES).for_each(|number| pair.link(number)));
    assert_eq!(pair.up, 2 * HANDSHAKES);
    nanos
}

fn flights(quic: &Quic) -> Vec<usize> {
    let mut pair = Pair::new(quic);
    pair.link(0);
    pair.flights
}

fn own_records(quic: &Quic) -> f64 {
    let mut pair = Pair::new(quic);
    pair.link(0);
    let nanos = cpu(RECORDS, || (0..RECORDS).for_each(|_| pair.send(0)));
    assert_eq!(pair.opened, RECORDS);
    nanos
}

fn own_memory(quic: &Quic) -> (f64, Pair) {
    let mut pair = Pair::new(quic);
    pair.link(0);
    let before = resident();
    for number in 1..=IDLE {
        pair.link(number);
        pair.send(number);
    }
    ((resident() - before) / (2 * IDLE) as f64, pair)
}

/// quinn-proto by itself: what both ends are made from.
struct Raw {
    client: ClientConfig,
    server: Arc<ServerConfig>,
}

impl Raw {
    fn new(credentials: &Credentials, post_quantum: bool) -> Self {
        let groups: &[_] =
            if post_quantum { &[kx_group::X25519MLKEM768, kx_group::X25519] } else { &[kx_group::X25519] };
        let cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
        let kx_groups = groups.to_vec();
        let provider = Arc::new(CryptoProvider { kx_groups, cipher_suites, ..default_provider() });
        let chain = || vec![CertificateDer::from(credentials.certificate().to_der().unwrap())];
        let key = || PrivateKeyDer::try_from(credentials.key().private_key_to_pkcs8().unwrap()).unwrap();
        let any = Arc::new(Any(Arc::clone(&provider)));
        let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&any) as _)
            .with_client_auth_cert(chain(), key())
            .unwrap();
        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(any)
            .with_single_cert(chain(), key())
            .unwrap();
        server.send_tls13_tickets = 0;
        let mut transport = TransportConfig::default();
        transport.initial_mtu(DATAGRAM).mtu_discovery_config(None);
        let transport = Arc::new(transport);
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
        client.transport_config(Arc::clone(&transport));
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
        server.transport_config(transport);
        Self { client, server: Arc::new(server) }
    }
}

/// Takes any certificate whose key signed the handshake.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl ClientCertVerifier for Any {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

/// Two endpoints of quinn, with one connection of interest at a time.
struct RawPair {
    endpoints: [Endpoint; 2],
    client: ClientConfig,
    connections: Vec<[Connection; 2]>,
    handles: Vec<[ConnectionHandle; 2]>,
    now: Instant,
    opened: usize,
}

impl RawPair {
    fn new(raw: &Raw) -> Self {
        let config = Arc::new(EndpointConfig::default());
        let endpoint = |server| Endpoint::new(Arc::clone(&config), server, false, None);
        let endpoints = [endpoint(None), endpoint(Some(Arc::clone(&raw.server)))];
        let (connections, handles) = (Vec::new(), Vec::new());
        Self { endpoints, client: raw.client.clone(), connections, handles, now: Instant::now(), opened: 0 }
    }

    fn link(&mut self) {
        let (now, [one, other]) = (self.now, [address(1), address(2)]);
        let (handle, mut client) = self.endpoints[0].connect(now, self.client.clone(), other, "raw").unwrap();
        let (mut server, mut rest, mut buffer) = (None, Vec::new(), Vec::new());
        while client.poll_transmit(now, 1, &mut buffer).is_some() {
            let bytes = buffer[..].into();
            buffer.clear();
            match self.endpoints[1].handle(now, one, None, None, bytes, &mut Vec::new()).unwrap() {
                DatagramEvent::NewConnection(incoming) => {
                    server = self.endpoints[1].accept(incoming, now, &mut Vec::new(), None).ok();
                }
                DatagramEvent::ConnectionEvent(_, event) => rest.push(event),
                DatagramEvent::Response(_) => panic!("a response"),
            }
        }
        let (remote, mut server) = server.unwrap();
        rest.into_iter().for_each(|event| server.handle_event(event));
        self.connections.push([client, server]);
        self.handles.push([handle, remote]);
        self.exchange(self.connections.len() - 1);
    }

    fn exchange(&mut self, number: usize) {
        let (mut n, mut idle, mut buffer) = (1, 0, Vec::new());
        while idle < 2 {
            self.poll(number, n);
            if self.connections[number][n].poll_transmit(self.now, 1, &mut buffer).is_none() {
                (idle, n) = (idle + 1, 1 - n);
                continue;
            }
            idle = 0;
            let event = self.endpoints[1 - n].handle(
                self.now,
                address(n as u8 + 1),
                None,
                None,
                buffer[..].into(),
                &mut Vec::new(),
            );
            buffer.clear();
            if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
                self.connections[number][1 - n].handle_event(event);
            }
        }
        (0..2).for_each(|n| self.poll(number, n));
    }

    fn poll(&mut self, number: usize, n: usize) {
        let connection = &mut self.connections[number][n];
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoints[n].handle_event(self.handles[number][n], event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            if let Event::DatagramReceived = event {
                while let Some(payload) = connection.datagrams().recv() {
                    self.opened += usize::from(black_box(payload).len() == PAYLOAD);
                }
            }
        }
    }

    fn send(&mut self, number: usize) {
        self.now += STEP;
        let payload = vec![7; PAYLOAD].into();
        self.connections[number][0].datagrams().send(payload, true).unwrap();
        self.exchange(number);
    }
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, n], 7))
}

fn raw_handshakes(raw: &Raw) -> f64 {
    let mut pair = RawPair::new(raw);
    let nanos = cpu(HANDSHAKES, || (0..HANDSHAKES).for_each(|_| pair.link()));
    let done = |pair: &[Connection; 2]| pair.iter().all(|one| !one.is_handshaking() && !one.is_closed());
    assert!(pair.connections.iter().all(done));
    nanos
}

fn raw_records(raw: &Raw) -> f64 {
    let mut pair = RawPair::new(raw);
    pair.link();
    let nanos = cpu(RECORDS, || (0..RECORDS).for_each(|_| pair.send(0)));
    assert!(pair.opened * 100 > RECORDS * 99, "{} of {RECORDS}", pair.opened);
    nanos
}

fn raw_memory(raw: &Raw) -> (f64, RawPair) {
    let mut pair = RawPair::new(raw);
    pair.link();
    let before = resident();
    for number in 1..=IDLE {
        pair.link();
        pair.send(number);
    }
    ((resident() - before) / (2 * IDLE) as f64, pair)
}
