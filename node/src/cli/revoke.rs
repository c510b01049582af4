//! `atoll-node revoke`: a notice of a group's authority, for all members of its overlay.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use atoll_core::control::{Command, FailureKind, Reply, Spread};
use atoll_core::security::{NOTICE_MAX, Notice};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Control, Verdict, show};
use crate::failure::Failure;
use crate::files::{self, Access, SMALL};
use crate::revoked::read_line;

/// Tell the members of a group what its authority revoked; exits with 1 if this node knew it
#[derive(Args)]
pub(super) struct Revoke {
    /// The file with the notices, one on each line as the site gives them; `-` reads them from the standard input
    notices: PathBuf,
    /// How the members are told
    #[arg(long, value_enum, default_value_t = By::Both)]
    by: By,
    /// The group's overlay [default: the first that the node is a member of]
    #[arg(long, value_name = "NAME")]
    overlay: Option<String>,
    #[command(flatten)]
    control: Control,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    /// Notices in the DHT, for those who subscribed
    Dht,
    /// A broadcast to all
    Broadcast,
    /// Both
    Both,
}

/// What `--json` shows of a notice.
#[derive(Serialize)]
struct Line {
    number: u64,
    user: String,
    certificates: usize,
    /// Whether this node did not know of it.
    fresh: bool,
}

impl Revoke {
    pub(super) async fn act(self) -> Result<Verdict, Failure> {
        let notices = read(&self.notices)?;
        let client = self.control.client();
        let overlay = client.overlay(self.overlay.clone()).await?;
        let by = match self.by {
            By::Dht => Spread::Dht,
            By::Broadcast => Spread::Broadcast,
            By::Both => Spread::Both,
        };
        let mut lines = Vec::new();
        for (bytes, notice) in notices {
            let command = Command::Revoke { overlay: overlay.clone(), notice: bytes, by };
            let fresh = match client.command(&command).await? {
                Reply::Revoked { fresh, .. } => fresh,
                Reply::Failed { kind: FailureKind::Refused, why } => {
                    let hint = "take the notice from the authority of this overlay's group, with `--overlay` if there are several";
                    return Err(client.failure(format!("the notice is refused: {why}")).hint(hint));
                }
                other => return Err(client.unexpected(other)),
            };
            let certificates = notice.serials.len();
            lines.push(Line { number: notice.number, user: notice.user, certificates, fresh });
        }
        let any = lines.iter().any(|line| line.fresh);
        if self.control.json {
            show::json(&lines)?
        } else {
            lines.iter().for_each(Line::show)
        }
        Ok(if any { Verdict::Yes } else { Verdict::No })
    }
}

impl Line {
    fn show(&self) {
        let (number, user) = (self.number, &self.user);
        let what = match self.certificates {
            0 => format!("user {user}"),
            1 => format!("a certificate of {user}"),
            several => format!("{several} certificates of {user}"),
        };
        let known = if self.fresh { "" } else { " (known)" };
        show::line(&format!("{number}: {what}{known}"));
    }
}

/// The notices of a file, each with its bytes.
fn read(path: &Path) -> Result<Vec<(Vec<u8>, Notice)>, Failure> {
    let what = format!("notices {}", path.display());
    let fail = |why: &dyn std::fmt::Display| Failure::new(&what, why);
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().take(SMALL).read_to_end(&mut bytes).map_err(|why| fail(&why))?;
        bytes
    } else {
        let hint = "give the file with the notices, or `-` for the standard input";
        files::read(path, Access::Public, SMALL).map_err(|why| fail(&why).hint(hint))?
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let notices = lines.map(|(at, line)| {
        let wrong = || {
            Failure::new(format!("{what}:{}", at + 1), "no notice in Base64")
                .hint(format!("each line is one notice of at most {NOTICE_MAX} bytes, as the site gives it"))
        };
        let bytes = read_line(line).ok_or_else(wrong)?;
        let (notice, _) = Notice::read(&bytes).map_err(|_| wrong())?;
        Ok((bytes, notice))
    });
    let notices = notices.collect::<Result<Vec<_>, Failure>>()?;
    if notices.is_empty() {
        return Err(fail(&"it is empty").hint("give the file that the site made when it revoked somebody"));
    }
    Ok(notices)
}
