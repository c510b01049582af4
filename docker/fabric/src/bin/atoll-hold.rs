//! The program `atoll-hold`: waits for the fabric, then becomes the command that it is given.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use atoll_fabric::gate;

/// Exit code for everything that could not be done.
const COULD_NOT: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("error: nothing to start: no command given\nhint: atoll-hold COMMAND [ARGUMENT]...");
        return ExitCode::from(COULD_NOT);
    };
    if let Err(error) = gate::wait() {
        eprintln!("error: {} was not started: {error}", program.display());
        return ExitCode::from(COULD_NOT);
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("error: {} could not be started: {error}", program.display());
    ExitCode::from(COULD_NOT)
}
