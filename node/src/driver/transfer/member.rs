//! A membership's QUIC: its connections to other members, each judged before anything is said.

use std::sync::Arc;
use std::time::Duration;

use atoll_core::control::{Author, Command, Reply};
use atoll_core::security::{Credentials, QuicOptions, QuicTls};
use atoll_core::wire::Address;
use quinn::congestion::CubicConfig;
use quinn::{
    AsyncUdpSocket, ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime,
    TransportConfig,
};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::addresses::Addresses;
use super::carrier::{Carrier, DATAGRAM};
use super::words::of_connection;
use crate::driver::requests::Asker;

/// What the ends of a transfer speak (RFC 7301).
const PROTOCOL: &[u8] = b"atoll-file/1";
/// How long a member may take to answer at all.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A silence this long ends a connection.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// How often an idle connection says that it is there.
const KEEPALIVE: Duration = Duration::from_secs(3);
/// Bytes under way: 4 MiB at a round trip of 200 ms are 20 MB/s.
const WINDOW: u32 = 4 << 20;
/// Handshakes of others under way, whose first datagrams are kept.
const INCOMING_MAX: usize = 16;
const INCOMING_BYTES_MAX: u64 = 64 * 1024;
/// What TLS calls the other side; nobody reads it.
const SERVER_NAME: &str = "atoll";

/// A membership whose members can send files to each other.
pub(super) struct Member {
    /// The overlay.
    pub(super) overlay: String,
    /// Its connections.
    pub(super) quic: Endpoint,
    addresses: Arc<Addresses>,
    asker: Asker,
}

impl Member {
    pub(super) fn new(
        overlay: String,
        credentials: &Credentials,
        carrier: Carrier,
        asker: Asker,
    ) -> Result<Self, super::Problem> {
        let tls = QuicTls::new(credentials, QuicOptions::default(), PROTOCOL)?;
        let addresses = carrier.addresses();
        let transport = Arc::new(transport()?);
        let mut responder = ServerConfig::with_crypto(Arc::clone(&tls.responder) as _);
        responder.transport_config(Arc::clone(&transport)).migration(false).max_incoming(INCOMING_MAX);
        responder.incoming_buffer_size(INCOMING_BYTES_MAX);
        responder.incoming_buffer_size_total(INCOMING_BYTES_MAX * 4);
        let mut initiator = ClientConfig::new(Arc::clone(&tls.initiator) as _);
        initiator.transport_config(transport);
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(DATAGRAM)?;
        let socket: Arc<dyn AsyncUdpSocket> = Arc::new(carrier);
        let runtime = Arc::new(TokioRuntime);
        let mut quic = Endpoint::new_with_abstract_socket(config, Some(responder), socket, runtime)?;
        quic.set_default_client_config(initiator);
        Ok(Self { overlay, quic, addresses, asker })
    }

    /// A connection to the member at this address and no other.
    pub(super) async fn connect(&self, to: Address) -> Result<Connection, String> {
        let connecting =
            self.quic.connect(self.addresses.name(to), SERVER_NAME).map_err(|e| e.to_string())?;
        let Ok(connected) = timeout(ANSWER_MAX, connecting).await else { return Err("no answer".to_owned()) };
        let connection = connected.map_err(|why| of_connection(&why))?;
        self.judge(&connection).await?;
        Ok(connection)
    }

    /// Who is at the other end, if the trust rule says that it is a member and at the address that its packets name.
    pub(super) async fn judge(&self, connection: &Connection) -> Result<Author, String> {
        let meant = self.addresses.member(connection.remote_address());
        let shown =
            connection.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'_>>>().ok());
        let Some(certificate) = shown.and_then(|chain| chain.first().map(|one| one.to_vec())) else {
            return Err("it shows no certificate".to_owned());
        };
        let overlay = self.overlay.clone();
        match self.asker.command(Command::Judge { overlay, certificate }).await {
            Reply::Judged(author) if Some(author.address) == meant => Ok(author),
            Reply::Judged(_) => Err("another member answered".to_owned()),
            Reply::Failed { why, .. } => Err(why),
            _ => Err("the node replied to another question".to_owned()),
        }
    }
}

/// One stream of one connection, over a way of unknown length that bears one size of datagrams.
fn transport() -> Result<TransportConfig, quinn::VarIntBoundsExceeded> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(1u8.into())
        .max_concurrent_uni_streams(0u8.into())
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(SILENCE_MAX.try_into()?))
        .keep_alive_interval(Some(KEEPALIVE))
        .initial_mtu(DATAGRAM)
        .min_mtu(DATAGRAM)
        .mtu_discovery_config(None)
        .stream_receive_window(WINDOW.into())
        .receive_window(WINDOW.into())
        .send_window(u64::from(WINDOW))
        .congestion_controller_factory(Arc::new(CubicConfig::default()));
    Ok(transport)
}
