//! `atoll-node`: the overlay daemon, and the verbs that talk to a running one.

use std::process::ExitCode;

fn main() -> ExitCode {
    atoll_node::cli::main()
}
