//! Ctrl-C and SIGTERM: the first one ends a run in good order, the second one at once.

use tokio::signal::unix::{SignalKind, signal};

use crate::environment::Cancel;
use crate::error::{OrFail, Result};

/// What a shell reports for a program that SIGINT ended.
const KILLED_BY_SIGINT: i32 = 130;

/// Switches `cancel` on at the first signal and says what is `done` then.
///
/// # Errors
/// The signals cannot be watched.
pub(super) fn watch(cancel: Cancel, done: &'static str) -> Result<()> {
    let what = || "cannot watch for Ctrl-C".to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().or_fail(what)?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).or_fail(what)?;
    let mut terminate = signal(SignalKind::terminate()).or_fail(what)?;
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut next = async || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
            next().await;
            eprintln!("interrupted: {done}; once more to stop at once");
            cancel.cancel();
            next().await;
            std::process::exit(KILLED_BY_SIGINT);
        });
    });
    Ok(())
}
