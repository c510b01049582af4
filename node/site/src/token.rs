//! Random words that prove something by being known: the site keeps their hashes only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::sha::sha256;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::refusal::Refusal;

const BYTES: usize = 32;

/// Such a word.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; BYTES]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    pub(crate) fn fresh() -> Result<Self, Refusal> {
        let mut bytes = [0; BYTES];
        getrandom(&mut bytes, GetRandomFlags::empty()).map_err(std::io::Error::from)?;
        Ok(Self(bytes))
    }

    /// The one with these bytes.
    #[must_use]
    pub fn of(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads what [`Token::text`] wrote.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// As it is written in cookies and links.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        sha256(&self.0)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
