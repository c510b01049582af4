//! The site's door: members of the public overlay come with one call each, so many at once and so many of one.
//!
//! Whoever is inside is out after a while, and sooner if nothing moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use atoll_site::Call;
use quinn::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::tally::Tally;
use crate::driver::carried::{Gate, Protocol, Service, Visit};

/// Callers at once; one more is refused.
const CALLERS_MAX: usize = 32;
/// Of one member.
const CALLERS_OF_ONE_MAX: usize = 2;
/// How long a caller may take until it says something.
const STREAM_WAIT: Duration = Duration::from_secs(5);
/// How long no byte may move in either direction.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// How long a call may take in all.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How long a caller may take to hear the last word.
const GOODBYE_MAX: Duration = Duration::from_secs(3);
const BUSY: &[u8] = b"it has too much to do";

/// The door of a site.
pub(super) struct Door {
    calls: mpsc::Sender<Call>,
    gate: Arc<Gate>,
    tally: Arc<Tally>,
}

impl Door {
    pub(super) fn new(calls: mpsc::Sender<Call>, tally: Arc<Tally>) -> Self {
        Self { calls, gate: Gate::new(CALLERS_MAX, CALLERS_OF_ONE_MAX), tally }
    }

    async fn attend(&self, Visit { connection, author, .. }: Visit) {
        let from = author.address;
        let Some(_place) = self.gate.enter(from) else {
            tracing::debug!(%from, "a call too many");
            self.tally.refused.add();
            return connection.close(1u8.into(), BUSY);
        };
        let Ok(Ok((out, heard))) = timeout(STREAM_WAIT, connection.accept_bi()).await else {
            return connection.close(1u8.into(), b"nothing was said");
        };
        let (stream, moved, over) = Held::new(heard, out);
        match timeout(STREAM_WAIT, self.calls.send(Call { from, stream: Box::new(stream) })).await {
            Ok(Ok(())) => self.tally.calls.add(),
            Ok(Err(_)) => return connection.close(1u8.into(), b"the site ends"),
            Err(_) => {
                self.tally.refused.add();
                return connection.close(1u8.into(), BUSY);
            }
        }
        tokio::select! {
            _ = connection.closed() => {}
            () = idle(&moved) => tracing::debug!(%from, "a call in which nothing moves is ended"),
            () = sleep(CALL_MAX) => tracing::debug!(%from, "a call that takes too long is ended"),
            // The caller closes when it has heard the last word.
            _ = over => drop(timeout(GOODBYE_MAX, connection.closed()).await),
        }
        connection.close(0u8.into(), b"");
    }
}

impl Service for Door {
    fn protocol(&self) -> Protocol {
        Protocol::Sites
    }

    fn serve(self: Arc<Self>, visit: Visit) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.attend(visit).await })
    }
}

/// Comes back when nothing has moved for a while.
async fn idle(moved: &AtomicU64) {
    let mut last = moved.load(Ordering::Relaxed);
    loop {
        sleep_until(Instant::now() + IDLE_MAX).await;
        let now = moved.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}

/// The two directions of a call as one stream that counts what moves, and tells when it is dropped.
struct Held {
    heard: RecvStream,
    out: SendStream,
    moved: Arc<AtomicU64>,
    _over: oneshot::Sender<()>,
}

impl Held {
    fn new(heard: RecvStream, out: SendStream) -> (Self, Arc<AtomicU64>, oneshot::Receiver<()>) {
        let (sender, over) = oneshot::channel();
        let moved = Arc::new(AtomicU64::new(0));
        (Self { heard, out, moved: Arc::clone(&moved), _over: sender }, moved, over)
    }

    fn count(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = AsyncRead::poll_read(Pin::new(&mut self.heard), context, buffer);
        if buffer.filled().len() > before {
            self.count();
        }
        read
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = AsyncWrite::poll_write(Pin::new(&mut self.out), context, bytes);
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            self.count();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.out), context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.out), context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::carried::tests::{End, before};
    use crate::driver::carried::{Member, of_connection};
    use atoll_core::wire::Address;
    use quinn::Connection;

    /// A connection on which something was said.
    async fn call(member: &Member, to: Address) -> Connection {
        let connection = member.connect(to, Protocol::Sites).await.unwrap();
        // It may be refused meanwhile.
        if let Ok((mut out, _)) = connection.open_bi().await {
            let _ = out.write_all(b"GET").await;
            std::mem::forget(out);
        }
        connection
    }

    #[tokio::test]
    async fn one_member_has_two_places_and_gets_a_third_when_one_is_free() {
        let (calls, mut coming) = mpsc::channel(8);
        let (member, to) = before(Arc::new(Door::new(calls, Arc::default())));
        let held = [call(&member, to).await, call(&member, to).await];
        let inside = [coming.recv().await.unwrap(), coming.recv().await.unwrap()];
        let third = call(&member, to).await;
        assert_eq!(of_connection(&third.closed().await), "it has too much to do");
        let [first, _second] = inside;
        drop(first);
        // Whoever is answered may still read for a moment, or goes at once.
        held[0].close(0u8.into(), b"");
        sleep(Duration::from_millis(200)).await;
        let _fourth = call(&member, to).await;
        assert_eq!(coming.recv().await.unwrap().from, End::new(1).own);
    }

    #[tokio::test]
    async fn a_caller_that_says_nothing_is_out_after_a_while() {
        let (calls, mut coming) = mpsc::channel(8);
        let (member, to) = before(Arc::new(Door::new(calls, Arc::default())));
        let connection = member.connect(to, Protocol::Sites).await.unwrap();
        assert_eq!(of_connection(&connection.closed().await), "nothing was said");
        assert!(coming.try_recv().is_err());
    }

    #[tokio::test]
    async fn when_the_site_ends_a_caller_hears_so() {
        let (calls, coming) = mpsc::channel(8);
        drop(coming);
        let (member, to) = before(Arc::new(Door::new(calls, Arc::default())));
        assert_eq!(of_connection(&call(&member, to).await.closed().await), "the site ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_idle_when_nothing_has_moved_for_a_while_and_not_before() {
        let moved = Arc::new(AtomicU64::new(0));
        let begin = Instant::now();
        let counter = Arc::clone(&moved);
        tokio::spawn(async move {
            for _ in 0..4 {
                sleep(IDLE_MAX / 2).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        idle(&moved).await;
        let waited = begin.elapsed();
        assert!((2 * IDLE_MAX..=4 * IDLE_MAX).contains(&waited), "{waited:?}");
    }
}
