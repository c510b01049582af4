//! The command line: one file for each verb. Data goes to stdout, errors to stderr.
//!
//! Exit codes: 0 yes; 1 no (nobody answered); 2 could not.

mod cert;
mod client;
mod dht;
mod files;
mod join;
mod leave;
mod mistake;
mod peers;
mod ping;
mod revoke;
mod route;
mod run;
mod send;
mod show;
mod site;
mod status;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use atoll_core::wire::Address;
use clap::{Args, Parser, Subcommand};

use crate::config::{CONTROL_DEFAULT, Endpoint, flag};
use crate::driver::Clock;
use crate::failure::Failure;
use client::Client;

/// The program that serves the site.
const SITE: &str = "atoll-site";
/// Threads for what blocks: lookups of names, and disks.
const BLOCKING_MAX: usize = 8;

/// The overlay daemon of Atoll, and the verbs that talk to a running one.
#[derive(Parser)]
#[command(name = "atoll-node", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(Box<run::Run>),
    Join(Box<join::Join>),
    Status(status::Status),
    Peers(peers::Peers),
    Ping(ping::Ping),
    Route(route::Route),
    Send(send::Send),
    Files(files::Files),
    Dht(dht::Dht),
    Revoke(revoke::Revoke),
    Leave(leave::Leave),
    Cert(cert::Cert),
    /// Serve the web site where groups are founded and joined, and sign their members' certificates
    #[command(disable_help_flag = true)]
    Site {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        arguments: Vec<OsString>,
    },
}

/// How a verb ended that did what it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Yes,
    No,
}

/// Where the running node is, and how its answer is shown.
#[derive(Args)]
struct Control {
    /// The node's control interface: IP:PORT or unix:PATH
    #[arg(long, value_name = "ENDPOINT", env = "ATOLL_CONTROL")]
    #[arg(value_parser = flag::<Endpoint>, default_value = CONTROL_DEFAULT)]
    control: Endpoint,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Control {
    fn client(&self) -> Client {
        Client::new(self.control.clone())
    }
}

/// A member of an overlay.
#[derive(Args)]
struct Member {
    /// The member's place on the ring: 40 hexadecimal digits
    #[arg(value_parser = flag::<Address>)]
    address: Address,
    /// The overlay [default: the first that the node is a member of]
    #[arg(long, value_name = "NAME")]
    overlay: Option<String>,
}

/// Parses the arguments, does what they say, and tells how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let clock = Clock::start();
    told(parse::<Cli>().and_then(|cli| act(cli.verb, clock)))
}

/// The same for the program that serves the site.
#[must_use]
pub fn serve_site() -> ExitCode {
    let clock = Clock::start();
    told(parse::<site::Line>().and_then(|line| block_on(line.site.act(clock))))
}

/// How it ended, as an exit code.
fn told(ended: Result<Verdict, Failure>) -> ExitCode {
    match ended {
        Ok(Verdict::Yes) => ExitCode::SUCCESS,
        Ok(Verdict::No) => ExitCode::from(1),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(2)
        }
    }
}

/// What the command line says; help and the version end the program here.
fn parse<Line: Parser>() -> Result<Line, Failure> {
    Line::try_parse()
        .map_err(|mistake| mistake::explain(&mistake, &Line::command()).unwrap_or_else(|| mistake.exit()))
}

fn act(verb: Verb, clock: Clock) -> Result<Verdict, Failure> {
    match verb {
        Verb::Run(verb) => block_on(verb.act(clock)),
        Verb::Join(verb) => block_on(verb.act(clock)),
        Verb::Status(verb) => block_on(verb.act()),
        Verb::Peers(verb) => block_on(verb.act()),
        Verb::Ping(verb) => block_on(verb.act()),
        Verb::Route(verb) => block_on(verb.act()),
        Verb::Send(verb) => block_on(verb.act()),
        Verb::Files(verb) => block_on(verb.act()),
        Verb::Dht(verb) => block_on(verb.act()),
        Verb::Revoke(verb) => block_on(verb.act()),
        Verb::Leave(verb) => block_on(verb.act()),
        Verb::Cert(verb) => verb.act(clock),
        Verb::Site { arguments } => Err(become_site(&arguments)),
    }
}

/// Becomes the program beside this one that serves the site; comes back only if that fails.
fn become_site(arguments: &[OsString]) -> Failure {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(why) => return Failure::new("the place of this program", why),
    };
    let program = own.with_file_name(SITE);
    let why = std::process::Command::new(&program).args(arguments).exec();
    Failure::new(format!("cannot run {}", program.display()), why)
        .hint(format!("the program {SITE} belongs in the folder of atoll-node"))
}

fn block_on(act: impl Future<Output = Result<Verdict, Failure>>) -> Result<Verdict, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_MAX)
        .build()
        .map_err(|why| Failure::new("the runtime", why))?;
    let verdict = runtime.block_on(act);
    // A lookup of a name may be under way in the C library, which nothing interrupts.
    runtime.shutdown_background();
    verdict
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        site::Line::command().debug_assert();
    }
}
