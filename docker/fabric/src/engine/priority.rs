//! Asks the kernel to run this thread before all ordinary ones, since hundreds of nodes share the processors with
//! the emulator. Without the right to it, the thread stays ordinary.

use std::io;
use std::path::Path;

use rustix::thread::gettid;

/// Moves the calling thread to the lowest real-time priority.
///
/// A kernel with `CONFIG_RT_GROUP_SCHED` and version 1 control groups gives a container's group no real-time share.
/// If `group` names the folder of the root group, the thread moves there first; it leaves it when it ends.
///
/// # Errors
/// The right is missing (`CAP_SYS_NICE`), or the group has no share.
pub(super) fn go_first(group: Option<&Path>) -> io::Result<()> {
    match (real_time(), group) {
        (Err(_), Some(group)) => {
            std::fs::write(group.join("tasks"), gettid().as_raw_nonzero().to_string())?;
            real_time()
        }
        (result, _) => result,
    }
}

fn real_time() -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sched_param`, which holds plain integers.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = 1;
    // SAFETY: the pointer is to a live `sched_param` that the call only reads; 0 names the calling thread.
    let code = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
