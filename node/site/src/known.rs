//! Browsers and places from which an account logged in before: who guesses its password elsewhere keeps nobody out there.
//!
//! What a browser shows and what is known of a place follow from the hash of the password: with a new one nothing of before
//! counts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::limits::{Remote, place};
use crate::refusal::Refusal;
use crate::vault::{Vault, same};

const NONCE: usize = 16;
const PROOF: usize = 32;
/// Places of one account that are remembered.
const PLACES_MAX: usize = 8;
/// Accounts whose places are remembered; those that logged in last.
const ACCOUNTS_MAX: usize = 16_384;

/// What a browser shows from which somebody logged in: a random number, and that the site has seen it then.
#[derive(Clone, PartialEq, Eq)]
pub struct Browser {
    nonce: [u8; NONCE],
    proof: [u8; PROOF],
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Browser")
    }
}

impl Browser {
    /// For the account with this hash.
    pub(crate) fn fresh(vault: &Vault, hash: &str) -> Result<Self, Refusal> {
        let mut nonce = [0; NONCE];
        getrandom(&mut nonce, GetRandomFlags::empty()).map_err(std::io::Error::from)?;
        Ok(Self { nonce, proof: vault.known("browser", hash, &nonce)? })
    }

    /// Reads what [`Browser::text`] wrote.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, proof) = bytes.split_at_checked(NONCE)?;
        Some(Self { nonce: nonce.try_into().ok()?, proof: proof.try_into().ok()? })
    }

    /// As it is written in a cookie.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode([&self.nonce[..], &self.proof].concat())
    }

    fn is_of(&self, vault: &Vault, hash: &str) -> Result<bool, Refusal> {
        Ok(same(&vault.known("browser", hash, &self.nonce)?, &self.proof))
    }
}

/// Where somebody comes from.
#[derive(Clone, Debug)]
pub struct Whence {
    /// The place.
    pub place: Remote,
    /// What the browser shows.
    pub browser: Option<Browser>,
}

impl From<Remote> for Whence {
    fn from(place: Remote) -> Self {
        Self { place, browser: None }
    }
}

/// Whose tries are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Guesser {
    /// A browser or a place from which the account logged in.
    Known([u8; PROOF]),
    /// Everybody else, for one name.
    Stranger(String),
}

/// The account that somebody wants to be; its hash is nobody's if there is none.
pub(crate) struct Claim<'a> {
    pub(crate) name: &'a str,
    pub(crate) account: Option<i64>,
    pub(crate) hash: &'a str,
}

impl Claim<'_> {
    /// Who guesses.
    pub(crate) fn guesser(
        &self,
        vault: &Vault,
        places: &Places,
        whence: &Whence,
    ) -> Result<Guesser, Refusal> {
        if let Some(browser) = &whence.browser
            && browser.is_of(vault, self.hash)?
        {
            return Ok(Guesser::Known(browser.proof));
        }
        let proof = place_proof(vault, self.hash, whence.place)?;
        let is_known = self.account.is_some_and(|account| places.has(account, &proof));
        Ok(if is_known { Guesser::Known(proof) } else { Guesser::Stranger(self.name.to_lowercase()) })
    }
}

fn place_proof(vault: &Vault, hash: &str, from: Remote) -> Result<[u8; PROOF], Refusal> {
    Ok(vault.known("place", hash, format!("{:?}", place(from)).as_bytes())?)
}

/// The places from which accounts logged in since the start.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// How many log-ins there were.
    turn: u64,
    of: BTreeMap<i64, Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The last one at the end.
    places: Vec<[u8; PROOF]>,
    turn: u64,
}

impl Places {
    /// Remembers from where an account with this hash logged in.
    pub(crate) fn note(
        &self,
        vault: &Vault,
        (account, hash): (i64, &str),
        from: Remote,
    ) -> Result<(), Refusal> {
        self.insert(account, place_proof(vault, hash, from)?);
        Ok(())
    }

    fn insert(&self, account: i64, proof: [u8; PROOF]) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.turn += 1;
        let turn = table.turn;
        let known = table.of.entry(account).or_default();
        known.turn = turn;
        known.places.retain(|one| *one != proof);
        if known.places.len() == PLACES_MAX {
            known.places.remove(0);
        }
        known.places.push(proof);
        if table.of.len() > ACCOUNTS_MAX {
            let oldest = table.of.iter().min_by_key(|(_, known)| known.turn).map(|(account, _)| *account);
            if let Some(oldest) = oldest {
                table.of.remove(&oldest);
            }
        }
    }

    fn has(&self, account: i64, proof: &[u8; PROOF]) -> bool {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.of.get(&account).is_some_and(|known| known.places.contains(proof))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{KeyFile, Missing};

    #[test]
    fn what_a_browser_shows_is_of_one_account_and_one_password() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&KeyFile::Own(folder.path().join("key")), Missing::Make).unwrap();
        let browser = Browser::fresh(&vault, "hash").unwrap();
        let read = Browser::read(&browser.text()).unwrap();
        assert_eq!(read, browser);
        assert!(read.is_of(&vault, "hash").unwrap() && !read.is_of(&vault, "other").unwrap());
        let forged = Browser { nonce: [0; NONCE], ..browser.clone() };
        assert!(!forged.is_of(&vault, "hash").unwrap());
        for text in ["", "!", &browser.text()[1..], &format!("{}AAAA", browser.text())] {
            assert!(Browser::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn places_are_few_for_each_account_and_all_together() {
        let places = Places::default();
        (0..=PLACES_MAX as u8).for_each(|number| places.insert(1, [number; PROOF]));
        assert!(!places.has(1, &[0; PROOF]) && places.has(1, &[1; PROOF]));
        assert!(!places.has(2, &[1; PROOF]));
        (2..=ACCOUNTS_MAX as i64 + 1).for_each(|account| places.insert(account, [0; PROOF]));
        assert!(!places.has(1, &[1; PROOF]) && places.has(2, &[0; PROOF]));
        assert_eq!(places.0.lock().unwrap().of.len(), ACCOUNTS_MAX);
    }
}
