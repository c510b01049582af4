//! The receiving side: who may send, what is taken, and the file that comes of it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use atoll_core::control::Author;
use openssl::sha::Sha256;
use quinn::{Connection, RecvStream, SendStream};
use tokio::io::{AsyncWriteExt as _, BufWriter};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::inbox::Draft;
use super::names::sanitised;
use super::words::{self, Answer, Broken, CHECKSUM, Offer};
use super::{Desk, Received, hexadecimal};
use crate::driver::carried::{ANSWER_MAX, Member, Protocol, Service, Visit};

/// Connections of one overlay that bring files; one more is refused.
const CONNECTIONS_MAX: usize = 16;
/// How long no byte may arrive.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How often the sender hears how much has arrived.
const PROGRESS: Duration = Duration::from_millis(200);
/// Bytes that are written at once, and of one read.
const WRITE: usize = 256 * 1024;
const READ: usize = 64 * 1024;
/// How long the sender may take to hear the last word.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// The service of one overlay.
pub(super) struct Receiving {
    desk: Arc<Desk>,
    connections: Semaphore,
}

impl Receiving {
    pub(super) fn new(desk: &Arc<Desk>) -> Self {
        Self { desk: Arc::clone(desk), connections: Semaphore::new(CONNECTIONS_MAX) }
    }

    async fn attend(&self, Visit { member, connection, author }: Visit) {
        let Ok(_place) = self.connections.try_acquire() else {
            return connection.close(1u8.into(), b"it has too much to do");
        };
        if let Err(why) = converse(&member, &self.desk, &connection, &author).await {
            tracing::debug!(overlay = member.overlay, from = %author.address, %why, "file not received");
            connection.close(1u8.into(), why.to_string().as_bytes());
        }
    }
}

impl Service for Receiving {
    fn protocol(&self) -> Protocol {
        Protocol::Files
    }

    fn serve(self: Arc<Self>, visit: Visit) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.attend(visit).await })
    }
}

/// Why a file was not received.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The sender is told, in words about this side.
    #[error("{0}")]
    Refused(String),
    #[error("nothing arrived for {} s", STALL_MAX.as_secs())]
    Stalled,
}

impl From<std::io::Error> for Trouble {
    fn from(why: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        Self::Refused(match why.kind() {
            StorageFull | QuotaExceeded => "the disk there is full".to_owned(),
            _ => format!("the file could not be written there: {why}"),
        })
    }
}

async fn converse(
    member: &Member,
    desk: &Desk,
    connection: &Connection,
    author: &Author,
) -> Result<(), Trouble> {
    let stream = timeout(ANSWER_MAX, connection.accept_bi()).await.map_err(|_| Trouble::Stalled)?;
    let (mut out, mut content) = stream.map_err(Broken::from)?;
    let offer = timeout(ANSWER_MAX, words::read::<Offer>(&mut content)).await;
    let offer = offer.map_err(|_| Trouble::Stalled)??;
    let taken = take(desk, &offer, &mut out, &mut content).await;
    let last = match &taken {
        Ok((name, sum)) => {
            desk.remember(Received::new((member, author), (name, offer.bytes), *sum));
            Answer::Stored { name: name.clone() }
        }
        Err(Trouble::Refused(why)) => {
            tracing::info!(overlay = member.overlay, from = %author.address, why, "file refused");
            Answer::Refused { why: why.clone() }
        }
        Err(_) => return taken.map(drop),
    };
    words::write(&mut out, &last).await?;
    let _ = out.finish();
    // The sender closes when it has heard the last word.
    let _ = timeout(GOODBYE_MAX, connection.closed()).await;
    Ok(())
}

/// The name that the file got, and its checksum.
async fn take(
    desk: &Desk,
    offer: &Offer,
    out: &mut SendStream,
    content: &mut RecvStream,
) -> Result<(String, [u8; CHECKSUM]), Trouble> {
    let refuse = |why: &str| Err(Trouble::Refused(why.to_owned()));
    let Some(inbox) = &desk.inbox else { return refuse("that node takes no files: it has no `inbox`") };
    let Ok(_place) = desk.receiving.try_acquire() else {
        return refuse("that node receives as many files as it takes at once");
    };
    if let Some(why) = inbox.refusal(offer.bytes) {
        return refuse(&why);
    }
    let draft = inbox.draft()?;
    words::write(out, &Answer::Accepted).await?;
    let sum = fill(&draft, offer.bytes, out, content).await?;
    let mut claimed = [0; CHECKSUM];
    let read = timeout(STALL_MAX, content.read_exact(&mut claimed)).await;
    read.map_err(|_| Trouble::Stalled)?.map_err(Broken::from)?;
    if claimed != sum {
        return refuse("the checksum does not agree with what arrived");
    }
    let name = sanitised(&offer.name);
    let published = tokio::task::spawn_blocking(move || draft.publish(&name)).await;
    Ok((published.map_err(std::io::Error::other)??, sum))
}

/// Writes the content into the draft; its checksum.
async fn fill(
    draft: &Draft,
    bytes: u64,
    out: &mut SendStream,
    content: &mut RecvStream,
) -> Result<[u8; CHECKSUM], Trouble> {
    let mut file = BufWriter::with_capacity(WRITE, tokio::fs::File::from_std(draft.file()?));
    let (mut sum, mut arrived, mut told) = (Sha256::new(), 0, Instant::now());
    while arrived < bytes {
        let most = usize::try_from(bytes - arrived).unwrap_or(READ).min(READ);
        let chunk = timeout(STALL_MAX, content.read_chunk(most, true)).await.map_err(|_| Trouble::Stalled)?;
        let Some(chunk) = chunk.map_err(|why| Broken::from(quinn::ReadExactError::ReadError(why)))? else {
            return Err(Broken::Ended.into());
        };
        sum.update(&chunk.bytes);
        file.write_all(&chunk.bytes).await?;
        arrived += chunk.bytes.len() as u64;
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            words::write(out, &Answer::Progress { bytes: arrived }).await?;
        }
    }
    file.flush().await?;
    Ok(sum.finish())
}

impl Received {
    fn new((member, author): (&Member, &Author), (name, bytes): (&str, u64), sum: [u8; CHECKSUM]) -> Self {
        Self {
            overlay: member.overlay.clone(),
            from: author.address,
            user: author.user.clone(),
            name: name.to_owned(),
            bytes,
            sha256: hexadecimal(&sum),
            unix_seconds: 0,
        }
    }
}
