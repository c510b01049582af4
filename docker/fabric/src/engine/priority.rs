//! Asks the kernel to run this thread before all ordinary ones, since hundreds of nodes share the processors with
//! the emulator. Without the right to it, the thread stays ordinary.

/// Moves the calling thread to the lowest real-time priority.
///
/// # Errors
/// The right is missing (`CAP_SYS_NICE`).
pub(super) fn go_first() -> std::io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sched_param`, which holds plain integers.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = 1;
    // SAFETY: the pointer is to a live `sched_param` that the call only reads; 0 names the calling thread.
    let code = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
