//! What two nodes say about one file, on one stream: JSON with its length in front.
//!
//! ```text
//! sender    offer |          content ...  SHA-256 32 |
//! receiver         accepted |   progress ...          stored
//! ```
//! In place of any word the receiver may say that it refuses or failed; that is its last.

use quinn::{ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of a word at most.
const WORD_MAX: usize = 4096;
/// Letters of the other side's text that are shown.
const TEXT_MAX: usize = 200;

/// Bytes of the checksum behind the content.
pub(super) const CHECKSUM: usize = 32;

/// What a member offers to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    /// The file's name, as the sender has it.
    pub(super) name: String,
    /// Its size.
    pub(super) bytes: u64,
}

/// What the receiver says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Send it.
    Accepted,
    /// So much has arrived.
    Progress {
        /// Bytes of the content.
        bytes: u64,
    },
    /// It arrived, agrees with its checksum, and has its name.
    Stored {
        /// The name that it got.
        name: String,
    },
    /// It is not wanted, or could not be kept.
    Refused {
        /// For people.
        why: String,
    },
}

/// Why no word came or went.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection ended.
    #[error("{}", of_connection(.0))]
    Lost(#[from] ConnectionError),
    /// The stream did.
    #[error("it broke off")]
    Ended,
    /// This version does not understand the word.
    #[error("what it says is not understood")]
    Malformed,
}

impl From<ReadExactError> for Broken {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::ReadError(ReadError::ConnectionLost(why)) => Self::Lost(why),
            _ => Self::Ended,
        }
    }
}

impl From<WriteError> for Broken {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(why) => Self::Lost(why),
            _ => Self::Ended,
        }
    }
}

pub(super) async fn write<T: Serialize>(stream: &mut SendStream, word: &T) -> Result<(), Broken> {
    let text = serde_json::to_vec(word).map_err(|_| Broken::Malformed)?;
    let len = u16::try_from(text.len()).map_err(|_| Broken::Malformed)?;
    stream.write_all(&[&len.to_be_bytes()[..], &text].concat()).await?;
    Ok(())
}

pub(super) async fn read<T: DeserializeOwned>(stream: &mut RecvStream) -> Result<T, Broken> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).await?;
    let len = usize::from(u16::from_be_bytes(len));
    if len > WORD_MAX {
        return Err(Broken::Malformed);
    }
    let mut text = vec![0; len];
    stream.read_exact(&mut text).await?;
    serde_json::from_slice(&text).map_err(|_| Broken::Malformed)
}

/// Another node's text, fit for a terminal and a log.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(TEXT_MAX).collect()
}

/// Why a connection ended, in words about the other side.
pub(super) fn of_connection(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "it fell silent".to_owned(),
        ConnectionError::ApplicationClosed(close) if !close.reason.is_empty() => {
            plain(&String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::ApplicationClosed(_) | ConnectionError::Reset => "it broke off".to_owned(),
        ConnectionError::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
        {
            "it has too much to do".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_another_node_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{9b}d"), "a[2Jbcd");
        assert_eq!(plain(&"x".repeat(5000)).len(), TEXT_MAX);
    }
}
