//! What QUIC takes for a UDP socket: its datagrams go to the driver, and with it over the ring.
//!
//! Both ways are bounded. QUIC waits while the driver has many of its datagrams; of what arrives too fast for QUIC the
//! newest is dropped and counted, as a kernel would.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use atoll_core::control::{Metric, MetricKind};
use atoll_core::wire::{Address, CARRIED_MAX};
use atoll_core::{Buffer, Input, Pool};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::addresses::Addresses;

/// Datagrams that wait for the driver.
const DEPARTING_MAX: usize = 128;
/// Datagrams of one overlay that wait for QUIC.
const ARRIVED_MAX: usize = 2048;

type Arrival = (Address, Buffer);

/// The socket of one overlay.
#[derive(Debug)]
pub(super) struct Carrier {
    overlay: u8,
    pool: Pool,
    addresses: Arc<Addresses>,
    departing: mpsc::Sender<Input>,
    arrived: Mutex<Arrived>,
}

#[derive(Debug)]
struct Arrived {
    /// What came while nobody read.
    first: Option<Arrival>,
    rest: mpsc::Receiver<Arrival>,
}

impl Carrier {
    /// Waits for the first datagram, which is read later.
    pub(super) async fn stirred(&mut self) {
        let arrived = self.arrived.get_mut().unwrap_or_else(PoisonError::into_inner);
        if arrived.first.is_none() {
            arrived.first = arrived.rest.recv().await;
        }
    }

    /// The members that its datagrams come from and go to.
    pub(super) fn addresses(&self) -> Arc<Addresses> {
        Arc::clone(&self.addresses)
    }
}

/// The driver's end of what arrives.
#[derive(Default)]
pub(in crate::driver) struct Arrivals {
    /// One for each overlay; none where no program secures itself.
    overlays: Vec<Option<mpsc::Sender<Arrival>>>,
    queue_full: u64,
    unwanted: u64,
}

/// The driver's end of what departs: [`Input::Carry`].
pub(in crate::driver) type Departures = mpsc::Receiver<Input>;

pub(super) fn departures() -> (mpsc::Sender<Input>, Departures) {
    mpsc::channel(DEPARTING_MAX)
}

impl Arrivals {
    /// A socket for the next overlay.
    pub(super) fn carrier(&mut self, departing: &mpsc::Sender<Input>) -> Carrier {
        let (sender, rest) = mpsc::channel(ARRIVED_MAX);
        let overlay = self.overlays.len() as u8;
        self.overlays.push(Some(sender));
        let arrived = Mutex::new(Arrived { first: None, rest });
        let (pool, addresses, departing) = (Pool::new(), Arc::default(), departing.clone());
        Carrier { overlay, pool, addresses, departing, arrived }
    }

    /// The next overlay has none.
    pub(super) fn skip(&mut self) {
        self.overlays.push(None);
    }

    /// Hands over what the ring brought.
    pub(in crate::driver) fn put(&mut self, overlay: u8, from: Address, payload: Buffer) {
        let Some(Some(sender)) = self.overlays.get(usize::from(overlay)) else {
            self.unwanted += 1;
            return;
        };
        if let Err(TrySendError::Full(_)) = sender.try_send((from, payload)) {
            self.queue_full += 1;
        }
    }

    /// What was dropped here.
    pub(in crate::driver) fn metrics(&self) -> impl Iterator<Item = Metric> {
        let drops = [("queue_full", self.queue_full), ("unwanted", self.unwanted)];
        drops.into_iter().map(|(reason, value)| Metric {
            name: "atoll_carried_dropped_datagrams_total".to_owned(),
            help: "Datagrams that the ring brought and no program took, by reason.".to_owned(),
            kind: MetricKind::Counter,
            labels: vec![("reason".to_owned(), reason.to_owned())],
            value: value as f64,
        })
    }
}

impl AsyncUdpSocket for Carrier {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room { departing: self.departing.clone(), waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // A member that nobody named lately has sent nothing for long.
        let Some(to) = self.addresses.member(transmit.destination) else { return Ok(()) };
        let payload = self.pool.copy(transmit.contents);
        match self.departing.try_send(Input::Carry { overlay: self.overlay, to, payload }) {
            Err(TrySendError::Full(_)) => Err(io::ErrorKind::WouldBlock.into()),
            // A node that has left is as silent as a cable that was pulled.
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = arrived.first.take();
        if next.is_none() {
            next = ready!(arrived.rest.poll_recv(context));
        }
        if next.is_none() {
            // The node has left.
            return Poll::Pending;
        }
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some((from, payload)) = next.take().or_else(|| arrived.rest.try_recv().ok()) else { break };
            let len = payload.len().min(buffer.len());
            buffer[..len].copy_from_slice(&payload[..len]);
            *meta = RecvMeta { addr: self.addresses.name(from), len, stride: len, ..RecvMeta::default() };
            count += 1;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        // QUIC reads from it that this is IPv6, and nothing else.
        Ok(SocketAddr::from(([0xfd, 0, 0, 0, 0, 0, 0, 0], 1)))
    }
}

/// Waits until the driver has room.
struct Room {
    departing: mpsc::Sender<Input>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Room")
    }
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let departing = self.departing.clone();
        let waiting = self.waiting.get_or_insert_with(|| {
            Box::pin(async move {
                let _ = departing.reserve_owned().await;
            })
        });
        ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        Poll::Ready(Ok(()))
    }
}

/// Bytes of QUIC's datagrams, all of them of one size that every way through the ring bears.
pub(super) const DATAGRAM: u16 = CARRIED_MAX as u16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn pair() -> (Arc<Carrier>, Arrivals, Departures, Arc<Addresses>) {
        let ((departing, departures), mut arrivals) = (departures(), Arrivals::default());
        arrivals.skip();
        let carrier = arrivals.carrier(&departing);
        let addresses = carrier.addresses();
        (Arc::new(carrier), arrivals, departures, addresses)
    }

    fn transmit(destination: SocketAddr) -> Transmit<'static> {
        Transmit { destination, ecn: None, contents: b"hello", segment_size: None, src_ip: None }
    }

    fn member() -> Address {
        Address::from_bytes([9; Address::LEN])
    }

    #[tokio::test]
    async fn a_driver_that_has_many_datagrams_makes_quic_wait_until_it_takes_one() {
        let (carrier, _arrivals, mut departures, addresses) = pair();
        let to = addresses.name(member());
        for _ in 0..DEPARTING_MAX {
            carrier.try_send(&transmit(to)).unwrap();
        }
        let why = carrier.try_send(&transmit(to)).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::WouldBlock);
        let mut poller = Arc::clone(&carrier).create_io_poller();
        let mut context = Context::from_waker(Waker::noop());
        assert!(poller.as_mut().poll_writable(&mut context).is_pending());
        let Some(Input::Carry { overlay: 1, to, payload }) = departures.recv().await else { panic!() };
        assert_eq!((to, &payload[..]), (member(), &b"hello"[..]));
        assert!(poller.as_mut().poll_writable(&mut context).is_ready());
        carrier.try_send(&transmit(addresses.name(member()))).unwrap();
    }

    #[test]
    fn what_arrives_too_fast_or_for_no_overlay_is_dropped_and_counted() {
        let (carrier, mut arrivals, _departures, addresses) = pair();
        let pool = Pool::new();
        for _ in 0..ARRIVED_MAX + 3 {
            arrivals.put(1, member(), pool.copy(b"one"));
        }
        arrivals.put(0, member(), pool.copy(b"none"));
        arrivals.put(9, member(), pool.copy(b"none"));
        let dropped: Vec<f64> = arrivals.metrics().map(|metric| metric.value).collect();
        assert_eq!(dropped, [3.0, 2.0]);
        let mut room = [[0; 10]; 4];
        let mut buffers = room.each_mut().map(|room| IoSliceMut::new(room));
        let mut metas = [RecvMeta::default(); 4];
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(4)) = carrier.poll_recv(&mut context, &mut buffers, &mut metas) else { panic!() };
        assert_eq!((metas[3].len, metas[3].addr), (3, addresses.name(member())));
        assert_eq!(&room[3][..3], b"one");
    }
}
