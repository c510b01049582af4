//! Network namespaces of containers: entering them, and what is made inside. Never enters its own, and never
//! changes anything in the namespace that the program started in.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

mod device;
mod netlink;

pub use device::{Device, DeviceSpec};

/// A container's network namespace, held open together with the process that it was taken from.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    process: OwnedFd,
}

impl Namespace {
    /// The namespace of a process.
    ///
    /// # Errors
    /// The process is gone, we lack the right to look, or it shares our own namespace.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        // The handle comes first: if the number is given to another process in between, the handle says so.
        let process = pidfd_open(id, PidfdFlags::NONBLOCK)?;
        let file = File::open(format!("/proc/{pid}/ns/net"))?;
        if is_over(&process)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        if file.metadata()?.ino() == File::open("/proc/self/ns/net")?.metadata()?.ino() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it shares the network of the host"));
        }
        Ok(Self { file, process })
    }

    /// Becomes readable when the process ends.
    pub fn process(&self) -> &OwnedFd {
        &self.process
    }

    /// Whether the process has ended.
    pub fn is_over(&self) -> bool {
        is_over(&self.process).unwrap_or(true)
    }

    /// Runs `work` on a thread inside the namespace and waits for it. Sockets made there stay there.
    ///
    /// # Errors
    /// The namespace cannot be entered, or what `work` returns.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        // A thread of its own: it ends with the work, so that no thread is ever left in the wrong namespace.
        thread::scope(|scope| {
            let inside = || {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            };
            let handle = thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, inside)?;
            handle.join().unwrap_or_else(|_| Err(io::Error::other("the work inside the namespace panicked")))
        })
    }

    /// A socket inside the namespace that does not block.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the socket cannot be made.
    pub fn socket(&self, family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        self.enter(|| Ok(socket_with(family, kind, flags, None)?))
    }
}

/// Whether the process behind a handle has ended.
fn is_over(process: &OwnedFd) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now))? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_is_refused() {
        let error = Namespace::of_process(std::process::id()).unwrap_err();
        assert!(error.to_string().contains("network of the host"), "{error}");
    }

    #[test]
    fn a_process_that_is_gone_is_refused() {
        let mut child = std::process::Command::new("/proc/self/exe").arg("--list").output();
        assert!(child.as_mut().is_ok());
        assert!(Namespace::of_process(u32::MAX).is_err());
        assert!(Namespace::of_process(0).is_err());
    }
}
