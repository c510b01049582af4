//! The engine's thread, and the handle through which others reach it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rustix::event::epoll::{self, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{mpsc, oneshot};

use super::{Engine, Token, priority};

/// Orders that may wait for the engine; whoever brings one more waits as well.
const ORDERS_MAX: usize = 1024;
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 64;

type Order = Box<dyn FnOnce(&mut Engine) + Send>;

/// The engine has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fabric has stopped")]
pub struct Stopped;

/// Reaches a running engine. Clones reach the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    waker: Arc<OwnedFd>,
}

impl Handle {
    /// Starts the engine on a thread of its own. It ends at [`Handle::stop`] or with the process.
    ///
    /// `group` is the folder of the control group in which it may have real-time priority, if its own is not one.
    ///
    /// # Errors
    /// No thread or no event descriptor can be had.
    pub fn start(engine: Engine, group: Option<PathBuf>) -> io::Result<Self> {
        let waker = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&engine.epoll, &waker, Token::Orders.data(), EventFlags::IN)?;
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let ours = Arc::clone(&waker);
        thread::Builder::new().name("fabric".to_owned()).spawn(move || {
            if let Err(error) = priority::go_first(group.as_deref()) {
                tracing::warn!(%error, "no real-time priority: packets may be late when the processors are busy");
            }
            run(engine, inbox, &ours);
        })?;
        Ok(Self { orders, waker })
    }

    /// Lets the engine's thread do something between two packets, and waits for what comes out.
    ///
    /// # Errors
    /// The engine has stopped.
    pub async fn ask<T: Send + 'static>(
        &self,
        order: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, result) = oneshot::channel();
        let order: Order = Box::new(move |engine| drop(answer.send(order(engine))));
        self.orders.send(order).await.map_err(|_| Stopped)?;
        rustix::io::write(&*self.waker, &1u64.to_ne_bytes()).map_err(|_| Stopped)?;
        result.await.map_err(|_| Stopped)
    }

    /// Ends the engine: every device it has goes with it.
    ///
    /// # Errors
    /// It has stopped already.
    pub async fn stop(&self) -> Result<(), Stopped> {
        self.ask(|engine| engine.stopping = true).await
    }
}

fn run(mut engine: Engine, mut orders: mpsc::Receiver<Order>, waker: &OwnedFd) {
    let mut events = Vec::with_capacity(EVENTS_MAX);
    while !engine.stopping {
        engine.deliver_due();
        events.clear();
        let waited = engine.set_alarm().and_then(|()| {
            Ok(epoll::wait(&engine.epoll, rustix::buffer::spare_capacity(&mut events), None)?)
        });
        match waited {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return tracing::error!(%error, "the fabric cannot wait for packets"),
        }
        for event in &events {
            match Token::from_data(event.data) {
                Token::Orders => obey(&mut engine, &mut orders, waker),
                token => engine.handle(token),
            }
            engine.deliver_due();
        }
    }
}

fn obey(engine: &mut Engine, orders: &mut mpsc::Receiver<Order>, waker: &OwnedFd) {
    // Emptied first: an order that comes while we look rings again.
    let _ = rustix::io::read(waker, &mut [0u8; 8]);
    while let Ok(order) = orders.try_recv() {
        order(engine);
        engine.deliver_due();
    }
}
