//! Closes devices on a thread of its own: the kernel takes tens of milliseconds to unregister one, and packets of
//! other hosts are due meanwhile.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::Port;

/// Takes ports that are not needed any more. At most one for each container waits.
#[derive(Debug)]
pub(super) struct Reaper(Sender<Port>);

impl Reaper {
    pub(super) fn start() -> io::Result<Self> {
        let (ports, inbox) = channel();
        thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || inbox.into_iter().for_each(drop::<Port>))?;
        Ok(Self(ports))
    }

    /// Closes a port soon.
    pub(super) fn close(&self, port: Port) {
        // Without its thread the reaper gives the port back, and it is closed here.
        drop(self.0.send(port));
    }
}
