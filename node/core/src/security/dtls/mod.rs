//! Handshakes of DTLS 1.2 by OpenSSL (RFC 6347), with certificates on both sides, and keys exported from them.
//!
//! OpenSSL makes the flights; the filter carries and repeats them. When a handshake is complete, both ends export keys
//! (RFC 5705, as DTLS-SRTP does in RFC 5764) and drop the SSL object, which takes a hundred times the memory. Any one
//! certificate is taken whose key the peer holds: a trust rule judges it. The door replaces HelloVerifyRequest.

mod ffi;
mod records;
mod stream;

use openssl::error::ErrorStack;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode, SslStream,
    SslVerifyMode, SslVersion,
};

use super::door::FLIGHT_MAX;
use super::record::{self, Keys};
use super::{
    Claim, Credentials, Down, Filter, Handshake, Handshaker, Outcome, Protection, Reply, Setting, Side,
    Start, Step, Unusable,
};
use crate::buffer::Pool;
use crate::counters::DropReason;
use crate::rng::Rng;
use crate::time::Time;
use stream::Datagrams;

const SUITES: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305";
const GROUPS: &str = "X25519:P-256";
const SIGNATURES: &str = "ECDSA+SHA256";
const LABEL: &str = "EXPORTER-atoll-records-1";

/// Makes handshakes of DTLS; its clones share one context of OpenSSL.
#[derive(Clone)]
pub struct Dtls {
    context: SslContext,
}

impl std::fmt::Debug for Dtls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dtls")
    }
}

impl Dtls {
    /// A maker of handshakes that presents these credentials.
    ///
    /// # Errors
    /// OpenSSL does not take them.
    pub fn new(credentials: &Credentials) -> Result<Self, Unusable> {
        let mut builder = SslContext::builder(SslMethod::dtls())?;
        restrict(&mut builder)?;
        builder.set_certificate(credentials.certificate())?;
        builder.set_private_key(credentials.key())?;
        builder.check_private_key()?;
        Ok(Self { context: builder.build() })
    }

    /// An engine of such handshakes.
    ///
    /// # Errors
    /// OpenSSL does not take the credentials.
    pub fn engine(
        credentials: &Credentials,
        setting: Setting,
        pool: Pool,
        rng: &Rng,
        now: Time,
    ) -> Result<Filter<Self>, Unusable> {
        Ok(Filter::new(Self::new(credentials)?, setting, pool, rng, now))
    }

    fn open(&self, start: Start) -> Result<Dialogue, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_mtu(FLIGHT_MAX as u32)?;
        ffi::park_timer(&ssl);
        match start.side {
            Side::Initiator => ssl.set_connect_state(),
            Side::Responder => ssl.set_accept_state(),
        }
        Ok(Dialogue { stream: SslStream::new(ssl, Datagrams::default())?, start })
    }
}

fn restrict(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_cipher_list(SUITES)?;
    builder.set_groups_list(GROUPS)?;
    builder.set_sigalgs_list(SIGNATURES)?;
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_options(
        SslOptions::NO_QUERY_MTU
            | SslOptions::NO_TICKET
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_COMPRESSION,
    );
    // Who the peer is is not judged here; that it holds the certificate's key is proved by the handshake itself.
    builder.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_, _| true);
    Ok(())
}

impl Handshaker for Dtls {
    type Handshake = Dialogue;

    fn overhead(&self) -> usize {
        record::OVERHEAD
    }

    fn begin(&mut self, start: Start, reply: &mut Reply) -> Result<Dialogue, Down> {
        let mut dialogue = self.open(start).map_err(|_| Down::Failed)?;
        if start.side == Side::Initiator {
            match dialogue.run(reply) {
                Step::Waiting if reply.flight.len() == 1 => {}
                _ => return Err(Down::Failed),
            }
        }
        Ok(dialogue)
    }

    fn present(&mut self, credentials: &Credentials) -> Result<(), Unusable> {
        *self = Self::new(credentials)?;
        Ok(())
    }
}

/// One handshake of DTLS.
#[derive(Debug)]
pub struct Dialogue {
    stream: SslStream<Datagrams>,
    start: Start,
}

impl Dialogue {
    fn run(&mut self, reply: &mut Reply) -> Step {
        let result = self.stream.do_handshake();
        match result {
            Ok(()) => self.finish().map_or(Step::Failed(Down::Failed), |outcome| {
                reply.flight = self.take_outward();
                Step::Done(outcome)
            }),
            Err(error) if error.code() == ErrorCode::WANT_READ => {
                reply.flight = self.take_outward();
                Step::Waiting
            }
            Err(_) => Step::Failed(Down::Failed),
        }
    }

    fn take_outward(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.stream.get_mut().outward)
    }

    /// Exports the keys. Without the extended master secret (RFC 7627) they would not be bound to both certificates.
    fn finish(&self) -> Option<Outcome> {
        let ssl = self.stream.ssl();
        if ssl.extms_support() != Some(true) {
            return None;
        }
        let certificate = ssl.peer_certificate()?.to_der().ok()?;
        let mut bytes = [0; Keys::LEN];
        ssl.export_keying_material(&mut bytes, LABEL, Some(&[self.start.generation])).ok()?;
        let keys = Keys::split(&mut bytes, self.start.side);
        Some(Outcome { claim: Claim::Certificate(certificate), protection: Protection::Sealed(keys) })
    }
}

impl Handshake for Dialogue {
    fn advance(&mut self, datagram: &[u8], reply: &mut Reply) -> Step {
        let acceptable = records::acceptable(datagram);
        if acceptable.len() < datagram.len() {
            reply.dropped = Some(DropReason::PlainAlert);
        }
        if acceptable.is_empty() {
            return Step::Waiting;
        }
        self.stream.get_mut().inward.push_back(acceptable);
        self.run(reply)
    }

    fn renumber(datagram: &mut [u8], next: &mut u64) {
        records::renumber(datagram, next);
    }
}
