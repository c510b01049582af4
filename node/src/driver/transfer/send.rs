//! The sending side: the content goes out while the receiver says how much has arrived.

use std::pin::pin;
use std::time::Duration;

use atoll_core::wire::Address;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use openssl::sha::Sha256;
use quinn::{Connection, RecvStream, SendStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::words::{self, Answer, Broken, CHECKSUM, Offer};
use super::{Line, hexadecimal};
use crate::driver::carried::{ANSWER_MAX, Member, Protocol, plain};

/// How long the receiver may take to hear that no more comes.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// A connection that stays for a while when sending ends early, also because nobody waits for it any longer.
///
/// That the stream has ended is told until the receiver knows, who then closes. Of a connection that is closed at once a
/// single packet speaks, and without it the receiver would wait until it counts as stalled.
struct Held(Connection);

impl Drop for Held {
    fn drop(&mut self) {
        let connection = self.0.clone();
        if connection.close_reason().is_some() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { timeout(GOODBYE_MAX, connection.closed()).await });
        }
    }
}

/// Why a file did not arrive.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The other side did not take it, or is not there.
    NotAccepted(String),
    /// This side could not send it.
    Failed(String),
}

impl From<Broken> for Trouble {
    fn from(why: Broken) -> Self {
        Self::NotAccepted(why.to_string())
    }
}

/// Sends one file; the last line.
pub(super) async fn send(
    member: &Member,
    to: Address,
    offer: Offer,
    content: Incoming,
    lines: &mpsc::Sender<Line>,
) -> Result<Line, Trouble> {
    let start = Instant::now();
    let Held(connection) = &Held(member.connect(to, Protocol::Files).await.map_err(Trouble::NotAccepted)?);
    let (mut out, mut answers) = connection.open_bi().await.map_err(Broken::from)?;
    words::write(&mut out, &offer).await?;
    let silent = |_| Trouble::NotAccepted("no answer".to_owned());
    match timeout(ANSWER_MAX, words::read(&mut answers)).await.map_err(silent)?? {
        Answer::Accepted => drop(lines.try_send(Line::Accepted)),
        Answer::Refused { why } => return Err(Trouble::NotAccepted(plain(&why))),
        Answer::Progress { .. } | Answer::Stored { .. } => return Err(Broken::Malformed.into()),
    }
    let (name, sum) = both(push(content, offer.bytes, out), listen(&mut answers, lines)).await?;
    connection.close(0u8.into(), b"");
    let seconds = start.elapsed().as_secs_f64();
    Ok(Line::Stored { name, bytes: offer.bytes, sha256: hexadecimal(&sum), seconds })
}

/// The receiver has the last word, also while the content still goes out; only what fails on this side ends it earlier.
async fn both(
    push: impl Future<Output = Result<[u8; CHECKSUM], Trouble>>,
    listen: impl Future<Output = Result<String, Trouble>>,
) -> Result<(String, [u8; CHECKSUM]), Trouble> {
    let (mut push, mut listen) = (pin!(push), pin!(listen));
    let pushed = tokio::select! {
        biased;
        last = &mut listen => {
            last?;
            // Stored before everything was sent?
            return Err(Broken::Malformed.into());
        }
        pushed = &mut push => pushed,
    };
    match pushed {
        Ok(sum) => Ok((listen.await?, sum)),
        Err(Trouble::Failed(why)) => Err(Trouble::Failed(why)),
        Err(lost) => Err(listen.await.err().unwrap_or(lost)),
    }
}

/// Sends the content and its checksum.
async fn push(mut content: Incoming, bytes: u64, mut out: SendStream) -> Result<[u8; CHECKSUM], Trouble> {
    let (mut sum, mut sent) = (Sha256::new(), 0);
    while let Some(part) = content.frame().await {
        let part = part.map_err(|why| Trouble::Failed(format!("the file did not come whole: {why}")))?;
        let Ok(data) = part.into_data() else { continue };
        sum.update(&data);
        sent += data.len() as u64;
        out.write_chunk(data).await.map_err(Broken::from)?;
    }
    if sent != bytes {
        return Err(Trouble::Failed(format!("{sent} bytes came in place of {bytes}")));
    }
    let sum = sum.finish();
    out.write_all(&sum).await.map_err(Broken::from)?;
    let _ = out.finish();
    Ok(sum)
}

/// Passes on how much has arrived; the name that the file got.
async fn listen(answers: &mut RecvStream, lines: &mpsc::Sender<Line>) -> Result<String, Trouble> {
    loop {
        match words::read(answers).await? {
            // Another line follows if this one finds no room.
            Answer::Progress { bytes } => drop(lines.try_send(Line::Progress { bytes })),
            Answer::Stored { name } => return Ok(plain(&name)),
            Answer::Refused { why } => return Err(Trouble::NotAccepted(plain(&why))),
            Answer::Accepted => return Err(Broken::Malformed.into()),
        }
    }
}
