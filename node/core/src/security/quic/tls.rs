//! TLS 1.3 of QUIC by rustls: one certificate on each side, of which only the signature is verified here.
//!
//! There are no tickets, no resumption, no 0-RTT and no server names. A trust rule judges the certificate.

use std::sync::Arc;

use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group, sign};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    PeerMisbehaved, ServerConfig, SignatureScheme,
};
use zeroize::Zeroizing;

use super::clock::NoClock;
use super::signer::SteadyKey;
use crate::security::{Credentials, Unusable};

/// What QUIC may do that not everybody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicOptions {
    /// Whether keys are agreed on with X25519MLKEM768 if the peer can, which costs larger flights.
    pub post_quantum: bool,
}

impl Default for QuicOptions {
    fn default() -> Self {
        Self { post_quantum: true }
    }
}

/// What both sides of handshakes are made from. Clones share it. Whoever uses it judges the peer's certificate.
#[derive(Clone)]
pub struct QuicTls {
    /// For the end that begins.
    pub initiator: Arc<QuicClientConfig>,
    /// For the end that answers.
    pub responder: Arc<QuicServerConfig>,
}

impl QuicTls {
    /// Both sides present these credentials. The end that begins offers these protocols, and the end that answers takes the
    /// first of its own that is offered, or refuses (RFC 7301).
    ///
    /// # Errors
    /// rustls does not take the credentials.
    pub fn new(
        credentials: &Credentials,
        options: QuicOptions,
        protocols: &[&[u8]],
    ) -> Result<Self, Unusable> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let provider = Arc::new(provider(options));
        let key = Arc::new(SingleCertAndKey::from(certified(credentials)?));
        let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let mut initiator = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&key) as _);
        initiator.alpn_protocols.clone_from(&protocols);
        initiator.enable_sni = false;
        initiator.resumption = Resumption::disabled();
        let mut responder = ServerConfig::builder_with_details(provider, Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(key);
        responder.alpn_protocols = protocols;
        responder.send_tls13_tickets = 0;
        responder.session_storage = Arc::new(NoServerSessionStorage {});
        let none = |_: NoInitialCipherSuite| Error::General("no suite for the first packets".to_owned());
        Ok(Self {
            initiator: Arc::new(initiator.try_into().map_err(none)?),
            responder: Arc::new(responder.try_into().map_err(none)?),
        })
    }
}

fn provider(options: QuicOptions) -> CryptoProvider {
    let mut kx_groups = vec![kx_group::X25519];
    if options.post_quantum {
        kx_groups.insert(0, kx_group::X25519MLKEM768);
    }
    let cipher_suites =
        vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    CryptoProvider { kx_groups, cipher_suites, ..default_provider() }
}

fn certified(credentials: &Credentials) -> Result<CertifiedKey, Unusable> {
    let certificate = CertificateDer::from(credentials.certificate().to_der()?);
    let pkcs8 = Zeroizing::new(credentials.key().private_key_to_pkcs8()?);
    let key = sign::any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(&pkcs8[..])))?;
    Ok(CertifiedKey::new(vec![certificate], Arc::new(SteadyKey(key))))
}

/// Takes any one certificate whose P-256 key signed the handshake.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    fn check_chain(others: &[CertificateDer<'_>]) -> Result<(), Error> {
        if others.is_empty() { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ECDSA_NISTP256_SHA256 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }
}

/// What both of rustls' traits for verifiers ask in the same words.
macro_rules! signatures_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::Tls12NotOffered.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.check_signature(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    };
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::check_chain(others).map(|()| ServerCertVerified::assertion())
    }

    signatures_only!();
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::check_chain(others).map(|()| ClientCertVerified::assertion())
    }

    signatures_only!();
}
