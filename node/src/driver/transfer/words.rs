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

use crate::driver::carried::of_connection;

/// Bytes of a word at most.
const WORD_MAX: usize = 4096;

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
