//! How quinn is set up: sizes that never change, no congestion control, and nothing that acts by itself.

use std::any::Any;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use quinn_proto::congestion::{Controller, ControllerFactory};
use quinn_proto::crypto::{CryptoError, HmacKey};
use quinn_proto::{
    AckFrequencyConfig, ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, NoneTokenStore,
    ServerConfig, TransportConfig,
};

use super::clock::Moment;
use super::tls::QuicTls;
use crate::rng::Rng;
use crate::security::door::FLIGHT_MAX;
use crate::security::{ChannelId, Limits};

/// Bytes of every datagram of QUIC at most, our headers not counted.
pub(super) const DATAGRAM: u16 = FLIGHT_MAX as u16;
/// What QUIC's first datagrams have at least (RFC 9000 section 14.1).
const INITIAL_MIN: usize = 1200;
const _: () = assert!(FLIGHT_MAX >= INITIAL_MIN, "wire::DATAGRAM_MAX is too small for QUIC");

/// Bytes that sealing adds at most: flags 1, packet number 4, frame type 1, length 2, tag 16. Acknowledgements ride along
/// where there is room, and never make a datagram longer than [`DATAGRAM`].
pub(super) const OVERHEAD: usize = 24;
/// Bytes that quinn sets aside for one payload, which reckons with a length of 8 bytes.
const SET_ASIDE: usize = OVERHEAD + 6;
/// Bytes of a payload at most.
pub(super) const PAYLOAD_MAX: usize = FLIGHT_MAX - SET_ASIDE;

/// Payloads in bytes that wait to be sent or opened at most. Each call sends and opens all that there is.
const WAITING_MAX: usize = 64 * 1024;
/// Packets that a peer takes before it acknowledges them, if it sends nothing meanwhile.
const UNACKNOWLEDGED_MAX: u8 = 16;
/// Far more than can be in flight; above 2^32 quinn does not pace either.
const WINDOW: u64 = 1 << 40;
/// Bytes of the id that the initiator makes up for the first packets; no fewer are allowed (RFC 9000 section 7.2).
const FIRST_ID: usize = 8;
/// quinn counts a first round trip as a third of the first wait for an answer.
const WAIT_IN_ROUND_TRIPS: u32 = 3;
const VERSION: u32 = 1;

/// The transport address under which quinn knows a channel.
pub(super) fn address_of(ChannelId(number): ChannelId) -> SocketAddr {
    let bits = 0xfd00 << 112 | u128::from(number);
    SocketAddr::from((Ipv6Addr::from(bits), 1))
}

/// What is the same for all associations of an engine.
pub(super) fn own_config(rng: &mut Rng) -> EndpointConfig {
    let key = Unguessable(Mutex::new(rng.fork("reset tokens")));
    let mut seed = [0; 32];
    rng.fill(&mut seed);
    let mut config = EndpointConfig::new(Arc::new(key));
    config.rng_seed(Some(seed)).supported_versions(vec![VERSION]).grease_quic_bit(false);
    config.cid_generator(|| Box::new(NoIds));
    config
}

pub(super) fn responder_config(
    tls: &QuicTls,
    transport: Arc<TransportConfig>,
    rng: &mut Rng,
) -> ServerConfig {
    let mut secret = [0; 32];
    rng.fill(&mut secret);
    // The key of QUIC's own tokens, of which there are none.
    let key = Salt::new(HKDF_SHA256, &[]).extract(&secret);
    let mut config = ServerConfig::new(Arc::clone(&tls.responder) as _, Arc::new(key));
    config.migration(false).transport_config(transport).max_incoming(1).incoming_buffer_size(0);
    config
}

pub(super) fn initiator_config(
    tls: &QuicTls,
    transport: Arc<TransportConfig>,
    rng: &mut Rng,
) -> ClientConfig {
    let mut id = [0; FIRST_ID];
    rng.fill(&mut id);
    let mut config = ClientConfig::new(Arc::clone(&tls.initiator) as _);
    config.transport_config(transport).token_store(Arc::new(NoneTokenStore));
    config.initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&id)));
    config
}

/// Liveness is the edge's business, and so is congestion: here is neither. Streams are refused.
pub(super) fn transport(limits: &Limits) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(0_u8.into())
        .max_concurrent_uni_streams(0_u8.into())
        .max_idle_timeout(None)
        .keep_alive_interval(None)
        .initial_rtt((limits.wait / WAIT_IN_ROUND_TRIPS).max(Duration::from_millis(1)))
        // A path that is too narrow fails in the handshake and not later.
        .initial_mtu(DATAGRAM)
        .min_mtu(DATAGRAM)
        .mtu_discovery_config(None)
        .ack_frequency_config(Some(acknowledgements()))
        .allow_spin(false)
        .enable_segmentation_offload(false)
        .datagram_receive_buffer_size(Some(WAITING_MAX))
        .datagram_send_buffer_size(WAITING_MAX)
        .congestion_controller_factory(Arc::new(Uncontrolled));
    config
}

/// What peers are asked for: to acknowledge many packets at once. Nothing waits for it, and no gap is filled.
fn acknowledgements() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(UNACKNOWLEDGED_MAX.into()).reordering_threshold(0_u8.into());
    config
}

/// Our own header names the receiver's end, so QUIC's ids are empty.
struct NoIds;

impl ConnectionIdGenerator for NoIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&[])
    }

    fn cid_len(&self) -> usize {
        0
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Makes the tokens of stateless resets. As a function of the empty id, as quinn means it, they would be the same for
/// all peers, and one peer could end the associations of all others (RFC 9000 section 10.3.2). Nobody resets here.
struct Unguessable(Mutex<Rng>);

impl HmacKey for Unguessable {
    fn sign(&self, _: &[u8], token: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(token);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, _: &[u8], _: &[u8]) -> Result<(), CryptoError> {
        Err(CryptoError)
    }
}

/// A window that nothing changes.
#[derive(Clone, Copy, Debug)]
struct Uncontrolled;

impl ControllerFactory for Uncontrolled {
    fn build(self: Arc<Self>, _: Moment, _: u16) -> Box<dyn Controller> {
        Box::new(Self)
    }
}

impl Controller for Uncontrolled {
    fn on_congestion_event(&mut self, _: Moment, _: Moment, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(*self)
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_reset_tokens_are_the_same() {
        let key = Unguessable(Mutex::new(Rng::new([1; 32])));
        let mut tokens = [[0; 32]; 2];
        tokens.iter_mut().for_each(|token| key.sign(&[], token));
        assert_ne!(tokens[0], tokens[1]);
    }

    #[test]
    fn every_channel_has_an_address_of_its_own() {
        let addresses = [0, 1, 255, 1 << 31, u32::MAX].map(|number| address_of(ChannelId(number)));
        assert!(addresses.iter().all(|one| addresses.iter().filter(|other| one == *other).count() == 1));
        assert!(addresses.iter().all(|one| one.to_string().starts_with("[fd00::") && one.port() != 0));
    }
}
