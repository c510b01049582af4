//! Peers that speak DTLS as it suits them.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Result as IoResult, Write};
use std::time::Duration;

use atoll_core::security::{
    Claim, Credentials, Down, Filter, Handshake, Handshaker, Intent, Limits, Outcome, Protection, Reply,
    Side, Start, Step,
};
use atoll_core::{Pool, Time};
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslStream, SslVerifyMode,
};

use crate::harness::{FINE, Town};
use crate::makers::{address, dtls, key, rng, setting};

/// `SSL_OP_NO_EXTENDED_MASTER_SECRET`, which the crate does not name.
const NO_EXTENDED_MASTER_SECRET: u32 = 1;

#[derive(Debug, Default)]
struct Datagrams {
    inward: VecDeque<Vec<u8>>,
    outward: Vec<Vec<u8>>,
}

impl Read for Datagrams {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let datagram = self.inward.pop_front().ok_or(ErrorKind::WouldBlock)?;
        buffer[..datagram.len()].copy_from_slice(&datagram);
        Ok(datagram.len())
    }
}

impl Write for Datagrams {
    fn write(&mut self, datagram: &[u8]) -> IoResult<usize> {
        self.outward.push(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

struct Stranger(SslContext);

impl std::fmt::Debug for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stranger")
    }
}

#[derive(Debug)]
struct Talk(SslStream<Datagrams>);

impl Handshaker for Stranger {
    type Handshake = Talk;

    fn overhead(&self) -> usize {
        0
    }

    fn begin(&mut self, start: Start, reply: &mut Reply) -> Result<Talk, Down> {
        let mut ssl = Ssl::new(&self.0).unwrap();
        ssl.set_mtu(1100).unwrap();
        match start.side {
            Side::Initiator => ssl.set_connect_state(),
            Side::Responder => ssl.set_accept_state(),
        }
        let mut talk = Talk(SslStream::new(ssl, Datagrams::default()).unwrap());
        if start.side == Side::Initiator {
            talk.advance(&[], reply);
        }
        Ok(talk)
    }
}

impl Handshake for Talk {
    fn advance(&mut self, datagram: &[u8], reply: &mut Reply) -> Step {
        if !datagram.is_empty() {
            self.0.get_mut().inward.push_back(datagram.to_vec());
        }
        let result = self.0.do_handshake();
        reply.flight = std::mem::take(&mut self.0.get_mut().outward);
        match result {
            Ok(()) => Step::Done(Outcome { claim: Claim::Address(address(0)), protection: Protection::Open }),
            Err(error) if error.code() == ErrorCode::WANT_READ => Step::Waiting,
            Err(_) => Step::Failed(Down::Failed),
        }
    }
}

/// How a stranger fares who initiates: whether we take it.
fn is_taken(change: impl FnOnce(&mut SslContextBuilder)) -> bool {
    let credentials = Credentials::self_signed(key()).unwrap();
    let mut builder = SslContext::builder(SslMethod::dtls()).unwrap();
    builder.set_options(SslOptions::NO_QUERY_MTU);
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_certificate(credentials.certificate()).unwrap();
    builder.set_private_key(credentials.key()).unwrap();
    change(&mut builder);
    let stranger = Stranger(builder.build());
    let stranger = Filter::new(stranger, setting(0, Limits::default()), Pool::new(), &rng(0), Time::ZERO);
    let mut town = Town::new(vec![Box::new(stranger), dtls(1, Limits::default())], FINE, 1);
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_secs(20));
    let taken = !town.ends[1].up.is_empty();
    assert_eq!(taken, town.ends[1].down.is_empty(), "{:?}", town.ends[1].down);
    taken
}

#[test]
fn another_program_that_keeps_to_the_rules_is_taken() {
    assert!(is_taken(|_| {}));
}

#[test]
fn keys_that_are_not_bound_to_the_whole_handshake_are_refused() {
    let option = SslOptions::from_bits_retain(NO_EXTENDED_MASTER_SECRET.into());
    assert!(!is_taken(|builder| {
        builder.set_options(option);
    }));
}

#[test]
fn a_peer_without_a_certificate_is_refused() {
    let credentials = Credentials::self_signed(key()).unwrap();
    let mut builder = SslContext::builder(SslMethod::dtls()).unwrap();
    builder.set_options(SslOptions::NO_QUERY_MTU);
    drop(credentials);
    let stranger = Stranger(builder.build());
    let stranger = Filter::new(stranger, setting(0, Limits::default()), Pool::new(), &rng(0), Time::ZERO);
    let mut town = Town::new(vec![Box::new(stranger), dtls(1, Limits::default())], FINE, 1);
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_secs(20));
    assert!(town.ends[1].up.is_empty());
}

#[test]
fn suites_without_forward_secrecy_or_authenticated_encryption_are_refused() {
    for suites in ["ECDHE-ECDSA-AES128-SHA", "ECDH-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-SHA384"] {
        assert!(!is_taken(|builder| {
            let _ = builder.set_cipher_list(suites);
            builder.set_max_proto_version(Some(openssl::ssl::SslVersion::DTLS1_2)).unwrap();
        }));
    }
}
