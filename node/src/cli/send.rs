//! `atoll-node send`: a file to another member, and how far it is.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::fs::File;

use super::client::Parts;
use super::{Control, Member, Verdict, show};
use crate::driver::Line;
use crate::failure::Failure;

const CHANGED: &str = "did it change meanwhile? Try again";

/// Send a file to a member; exits with 1 if the member does not take it or does not answer
#[derive(Args)]
pub(super) struct Send {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    member: Member,
    #[command(flatten)]
    control: Control,
}

impl Send {
    pub(super) async fn act(self) -> Result<Verdict, Failure> {
        let (file, bytes) = open(&self.file).await?;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        let Member { address, overlay } = &self.member;
        let client = self.control.client();
        let overlay = client.overlay(overlay.clone()).await?;
        let place = format!("/send?overlay={overlay}&to={address}&name={}", encoded(&name));
        let mut lines = client.upload(&place, file, bytes).await?;
        let (bar, mut accepted) = (bar(bytes), false);
        loop {
            let line = match next(&mut lines).await {
                Ok(line) => line,
                Err(why) => return Err(self.cut_off(lines.unread().await, client.failure(why))),
            };
            match line {
                Line::Accepted => accepted = true,
                Line::Progress { bytes } => bar.set_position(bytes),
                last => {
                    // The end of a bar is its full length.
                    let arrived = accepted.then(|| bar.position());
                    bar.finish_and_clear();
                    if self.control.json {
                        show::json(&last)?;
                    }
                    return self.conclude(last, arrived);
                }
            }
        }
    }

    /// Why there is no last line: the file itself, or the node.
    fn cut_off(&self, unread: Option<std::io::Error>, ended: Failure) -> Failure {
        match unread {
            Some(why) => Failure::new(self.file.display().to_string(), why).hint(CHANGED),
            None => ended.hint("did the node end meanwhile? Its log says why"),
        }
    }

    /// `arrived` says how much had, once the receiver had accepted the file.
    fn conclude(&self, last: Line, arrived: Option<u64>) -> Result<Verdict, Failure> {
        let (say, file) = (!self.control.json, self.file.display());
        match last {
            Line::Stored { name, bytes, sha256, seconds } => {
                let speed = show::bytes((bytes as f64 / seconds.max(1e-9)) as u64);
                let (size, time) = (show::bytes(bytes), show::seconds(seconds));
                if say {
                    show::line(&format!("{file}: arrived as `{name}`, {size} in {time} ({speed}/s)"));
                    show::line(&format!("SHA-256, verified there: {sha256}"));
                }
                Ok(Verdict::Yes)
            }
            Line::NotAccepted { why } => {
                if say {
                    let to = self.member.address;
                    show::line(&match arrived {
                        None => format!("{file}: not accepted by {to}: {why}"),
                        Some(arrived) => {
                            format!("{file}: broke off after {} at {to}: {why}", show::bytes(arrived))
                        }
                    });
                }
                Ok(Verdict::No)
            }
            Line::Failed { why } => Err(Failure::new(file.to_string(), why).hint(CHANGED)),
            Line::Accepted | Line::Progress { .. } => Ok(Verdict::No),
        }
    }
}

async fn open(path: &Path) -> Result<(File, u64), Failure> {
    let wrong = |why: std::io::Error| {
        Failure::new(path.display().to_string(), why).hint("give a file that you may read")
    };
    let file = File::open(path).await.map_err(wrong)?;
    let metadata = file.metadata().await.map_err(wrong)?;
    if !metadata.is_file() {
        let why = "it is no regular file";
        return Err(
            Failure::new(path.display().to_string(), why).hint("pack a folder first, for example with tar")
        );
    }
    Ok((file, metadata.len()))
}

/// The next line; there always is one, up to the last.
async fn next(lines: &mut Parts) -> Result<Line, String> {
    let line = lines.line().await?.ok_or("it broke off")?;
    serde_json::from_slice(&line).map_err(|why| format!("the answer is not understood: {why}"))
}

fn bar(bytes: u64) -> ProgressBar {
    let template = "{bytes:>11} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}

/// As a URI's query takes it (RFC 3986 section 2.1).
fn encoded(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(encoded("a b&c=ö.txt"), "a%20b%26c%3D%C3%B6.txt");
    }
}
