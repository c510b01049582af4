//! What `atoll-node site` becomes. A program of its own, so that a daemon, of which there may be hundreds on a machine, has no
//! pages of a web site in memory.

use std::process::ExitCode;

fn main() -> ExitCode {
    atoll_node::cli::serve_site()
}
