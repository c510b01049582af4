//! A membership's QUIC: its connections to other members, each judged before anything is said.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use atoll_core::control::{Author, Command, Reply};
use atoll_core::security::{Credentials, QuicOptions, QuicTls};
use atoll_core::wire::Address;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::HandshakeData;
use quinn::{
    AsyncUdpSocket, ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime,
    TransportConfig,
};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::addresses::Addresses;
use super::carrier::{Carrier, DATAGRAM};
use super::{Protocol, of_connection};
use crate::driver::requests::Asker;

/// How long a member may take to answer at all.
pub(in crate::driver) const ANSWER_MAX: Duration = Duration::from_secs(10);
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

/// A membership whose members can have connections with each other.
pub(in crate::driver) struct Member {
    /// The overlay.
    pub(in crate::driver) overlay: String,
    /// Its connections.
    pub(super) quic: Endpoint,
    initiators: BTreeMap<Protocol, ClientConfig>,
    addresses: Arc<Addresses>,
    asker: Asker,
}

impl Member {
    /// Others may begin what `served` names; it may begin anything itself.
    pub(super) fn new(
        overlay: String,
        credentials: &Credentials,
        served: &[Protocol],
        (carrier, asker): (Carrier, Asker),
    ) -> Result<Self, super::Problem> {
        let tls = |protocols: &[Protocol]| {
            let names: Vec<&[u8]> = protocols.iter().map(|protocol| protocol.name()).collect();
            QuicTls::new(credentials, QuicOptions::default(), &names)
        };
        let addresses = carrier.addresses();
        let transport = Arc::new(transport()?);
        let mut responder = ServerConfig::with_crypto(Arc::clone(&tls(served)?.responder) as _);
        responder.transport_config(Arc::clone(&transport)).migration(false).max_incoming(INCOMING_MAX);
        responder.incoming_buffer_size(INCOMING_BYTES_MAX);
        responder.incoming_buffer_size_total(INCOMING_BYTES_MAX * 4);
        let mut initiators = BTreeMap::new();
        for protocol in Protocol::ALL {
            let mut initiator = ClientConfig::new(Arc::clone(&tls(&[protocol])?.initiator) as _);
            initiator.transport_config(Arc::clone(&transport));
            initiators.insert(protocol, initiator);
        }
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(DATAGRAM)?;
        let socket: Arc<dyn AsyncUdpSocket> = Arc::new(carrier);
        let runtime = Arc::new(TokioRuntime);
        let quic = Endpoint::new_with_abstract_socket(config, Some(responder), socket, runtime)?;
        Ok(Self { overlay, quic, initiators, addresses, asker })
    }

    /// A connection to the member at this address and no other.
    pub(in crate::driver) async fn connect(
        &self,
        to: Address,
        protocol: Protocol,
    ) -> Result<Connection, String> {
        let initiator = self.initiators.get(&protocol).cloned().ok_or("nothing speaks that here")?;
        let connecting = self.quic.connect_with(initiator, self.addresses.name(to), SERVER_NAME);
        let connecting = connecting.map_err(|why| why.to_string())?;
        let Ok(connected) = timeout(ANSWER_MAX, connecting).await else { return Err("no answer".to_owned()) };
        let connection = connected.map_err(|why| of_connection(&why))?;
        self.judge(&connection).await?;
        Ok(connection)
    }

    /// The member that a connection comes from, as its packets name it.
    pub(super) fn at(&self, remote: SocketAddr) -> Option<Address> {
        self.addresses.member(remote)
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

/// What the two ends of a connection agreed to speak.
pub(super) fn spoken(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
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
