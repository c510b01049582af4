//! TLS 1.3 for QUIC: one certificate on each side, of which only the signature is verified here. Whether it makes a
//! member is for the overlay's trust rule. There are no tickets, no resumption, no 0-RTT and no server names.

use std::sync::Arc;

use atoll_core::security::Credentials;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme,
};

const PROTOCOL: &[u8] = b"atoll-file/1";

/// The sides of handshakes.
pub(super) struct Tls {
    pub(super) initiator: Arc<QuicClientConfig>,
    pub(super) responder: Arc<QuicServerConfig>,
}

pub(super) type Problem = Box<dyn std::error::Error + Send + Sync>;

impl Tls {
    /// Both sides present these credentials.
    pub(super) fn new(credentials: &Credentials) -> Result<Self, Problem> {
        let provider = Arc::new(provider());
        let chain = vec![CertificateDer::from(credentials.certificate().to_der()?)];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credentials.key().private_key_to_pkcs8()?));
        let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let mut initiator = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        initiator.alpn_protocols = vec![PROTOCOL.to_vec()];
        initiator.enable_sni = false;
        initiator.resumption = Resumption::disabled();
        let mut responder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        responder.alpn_protocols = vec![PROTOCOL.to_vec()];
        responder.send_tls13_tickets = 0;
        responder.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { initiator: Arc::new(initiator.try_into()?), responder: Arc::new(responder.try_into()?) })
    }
}

fn provider() -> CryptoProvider {
    let kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    let cipher_suites =
        vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    CryptoProvider { kx_groups, cipher_suites, ..default_provider() }
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
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }
}

fn schemes() -> Vec<SignatureScheme> {
    vec![SignatureScheme::ECDSA_NISTP256_SHA256]
}

fn not_tls13() -> Error {
    PeerIncompatible::Tls12NotOffered.into()
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

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(not_tls13())
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
        schemes()
    }
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

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(not_tls13())
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
        schemes()
    }
}
