//! `atoll ls`: what runs in containers on this host.

use super::console::colours;
use super::{Answer, print};
use crate::environment::docker;
use crate::error::Result;
use crate::report::table::table;

/// Lists every run.
///
/// # Errors
/// No engine answers.
pub(super) fn run() -> Result<Answer> {
    let runs = docker::list()?;
    if runs.is_empty() {
        print("nothing runs\n")?;
        return Ok(Answer::Yes);
    }
    let mut rows = table(&["run", "members", "ended", "fabric", "owner", "folder"], colours());
    for run in runs {
        let word = |yes: bool, a: &str, b: &str| if yes { a } else { b }.to_owned();
        rows.add_row([
            run.id,
            run.running.to_string(),
            run.ended.to_string(),
            word(run.has_fabric, "runs", "gone"),
            word(run.is_left_over, "gone: `atoll down` removes it", "runs"),
            run.folder.map_or_else(String::new, |folder| folder.display().to_string()),
        ]);
    }
    print(&format!("{rows}\n"))?;
    Ok(Answer::Yes)
}
