//! Peers that speak QUIC as it suits them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use atoll_core::security::{
    Action, Admission, ChannelId, Credentials, Down, Engine, Knock, Limits, QuicOptions,
};
use atoll_core::{Pool, Time};
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig, Connection, DatagramEvent, Endpoint, EndpointConfig, TransportConfig};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use crate::makers::{Ca, Leaf, key, quic_with, setting};

const CHANNEL: ChannelId = ChannelId(7);

/// Believes everything.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// What a stranger does otherwise than we.
struct Stranger {
    certificates: Vec<Vec<u8>>,
    key: Credentials,
    protocol: &'static [u8],
    datagrams: bool,
    transport: TransportConfig,
}

impl Stranger {
    fn honest() -> Self {
        let key = Credentials::self_signed(key()).unwrap();
        let certificates = vec![key.certificate().to_der().unwrap()];
        Self {
            certificates,
            key,
            protocol: b"atoll/1",
            datagrams: true,
            transport: TransportConfig::default(),
        }
    }

    fn resolver(&self) -> Option<Arc<dyn ResolvesClientCert>> {
        if self.certificates.is_empty() {
            return None;
        }
        let der = PrivateKeyDer::try_from(self.key.key().private_key_to_pkcs8().unwrap()).unwrap();
        let chain = self.certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let key = CertifiedKey::new(chain, sign::any_ecdsa_type(&der).unwrap());
        Some(Arc::new(SingleCertAndKey::from(key)))
    }

    fn config(mut self) -> ClientConfig {
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Gullible));
        let mut tls = match self.resolver() {
            Some(resolver) => builder.with_client_cert_resolver(resolver),
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![self.protocol.to_vec()];
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        if !self.datagrams {
            self.transport.datagram_receive_buffer_size(None);
        }
        config.transport_config(Arc::new(self.transport));
        config
    }
}

/// How an engine of ours answers a stranger: what it did, and what it has open in the end.
fn answer(stranger: Stranger) -> (bool, Option<Down>, usize) {
    let own = Credentials::self_signed(key()).unwrap();
    let mut engine = quic_with(&own, QuicOptions::default(), setting(1, Limits::default()), 1);
    let (start, peer) = (Instant::now(), SocketAddr::from(([127, 0, 0, 1], 9)));
    let mut config = EndpointConfig::default();
    config.cid_generator(|| Box::new(quinn_proto::RandomConnectionIdGenerator::new(0)));
    let mut endpoint = Endpoint::new(Arc::new(config), None, false, None);
    let (_, mut connection) = endpoint.connect(start, stranger.config(), peer, "atoll").unwrap();
    let (mut up, mut down, mut known) = (false, None, false);
    for _ in 0..8 {
        for datagram in said(&mut connection, start) {
            hand_over(&mut engine, &datagram, &mut known);
        }
        while let Some(action) = engine.poll() {
            match action {
                Action::Handshake(_, bytes) => {
                    hear(&mut endpoint, &mut connection, (start, peer), &bytes[1..])
                }
                Action::Record(_, bytes) => hear(&mut endpoint, &mut connection, (start, peer), &bytes),
                Action::Up(..) => up = true,
                Action::Down(_, why) => down = Some(why),
                Action::Dropped(_) | Action::Opened(..) | Action::Renewed(..) => {}
            }
        }
    }
    (up, down, engine.count())
}

fn said(connection: &mut Connection, now: Instant) -> Vec<Vec<u8>> {
    let mut said = Vec::new();
    let mut bytes = Vec::new();
    while connection.poll_transmit(now, 1, &mut bytes).is_some() {
        said.push(std::mem::take(&mut bytes));
    }
    said
}

fn hand_over(engine: &mut dyn Engine, datagram: &[u8], known: &mut bool) {
    if datagram[0] & 0x80 == 0 {
        return engine.record(CHANNEL, Pool::new().copy(datagram), Time::ZERO);
    }
    let hello = [&[1][..], &[0; 20], &5_u64.to_be_bytes(), datagram].concat();
    if std::mem::replace(known, true) {
        return engine.handshake(CHANNEL, &hello, Time::ZERO);
    }
    let knock = Knock { source: b"stranger", datagram: &hello };
    assert!(matches!(engine.admit(knock, &|token| token == 5, Time::ZERO), Admission::Accept));
    engine.accept(CHANNEL, &hello, Time::ZERO);
}

fn hear(
    endpoint: &mut Endpoint,
    connection: &mut Connection,
    (now, peer): (Instant, SocketAddr),
    bytes: &[u8],
) {
    let event = endpoint.handle(now, peer, None, None, bytes.into(), &mut Vec::new());
    if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
        connection.handle_event(event);
    }
}

#[test]
fn another_program_that_keeps_to_the_rules_is_taken() {
    assert_eq!(answer(Stranger::honest()), (true, None, 1));
}

fn is_refused(stranger: Stranger) {
    assert_eq!(answer(stranger), (false, Some(Down::Failed), 0));
}

#[test]
fn a_peer_without_a_certificate_is_refused() {
    is_refused(Stranger { certificates: Vec::new(), ..Stranger::honest() });
}

#[test]
fn a_peer_that_shows_the_certificate_of_another_is_refused() {
    let other = Stranger::honest();
    is_refused(Stranger { certificates: other.certificates, ..Stranger::honest() });
}

#[test]
fn a_peer_that_shows_more_than_one_certificate_is_refused() {
    let (ca, honest) = (Ca::new(), Stranger::honest);
    let with = |others: &[Vec<u8>]| {
        let honest = honest();
        let leaf = ca.sign(&honest.key.key().to_owned(), &Leaf::new(&["atoll://group/g"]));
        Stranger { certificates: [&[leaf], others].concat(), ..honest }
    };
    assert_eq!(answer(with(&[])), (true, None, 1));
    is_refused(with(&[ca.der()]));
}

#[test]
fn a_certificate_that_cannot_be_read_is_refused() {
    is_refused(Stranger { certificates: vec![b"no certificate".to_vec()], ..Stranger::honest() });
}

#[test]
fn a_peer_that_speaks_another_protocol_is_refused() {
    is_refused(Stranger { protocol: b"h3", ..Stranger::honest() });
}

#[test]
fn a_peer_that_takes_no_datagrams_is_refused() {
    is_refused(Stranger { datagrams: false, ..Stranger::honest() });
}
