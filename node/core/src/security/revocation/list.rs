//! The list of whom a group revoked, as its authority signs it and members read it.
//!
//! It is text, a fact on each line, so that one list has one form. It only grows: whoever has a newer one gives it back to
//! a site that forgot.

use std::fmt::Write as _;

use openssl::hash::MessageDigest;
use openssl::pkey::{PKeyRef, Private, Public};
use openssl::sha::sha256;
use openssl::sign::{Signer, Verifier};

use crate::security::{Refusal, Serial, is_name};

const TITLE: &str = "atoll revocations 1";
/// Bytes of a list at most: some hundred thousand lines.
pub const LIST_MAX: usize = 16 * 1024 * 1024;

/// Numbers and times at most, far from where sums overflow.
const NUMBER_MAX: i64 = 1 << 53;

/// What a list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserList {
    /// The group.
    pub group: String,
    /// It grows from list to list.
    pub number: i64,
    /// When it was signed, in seconds since 1970 (UTC).
    pub at: i64,
    /// Revoked users and when, by name.
    pub users: Vec<(String, i64)>,
    /// Revoked serial numbers and when, by number.
    pub serials: Vec<(String, i64)>,
}

impl UserList {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{TITLE}\ngroup {}\nnumber {}\nat {}\n", self.group, self.number, self.at);
        for (kind, rows) in [("user", &self.users), ("serial", &self.serials)] {
            for (name, at) in rows {
                let _ = writeln!(text, "{kind} {name} {at}");
            }
        }
        text
    }

    /// Reads a list that this authority's key signed.
    ///
    /// # Errors
    /// It cannot be read, or somebody else signed it.
    pub fn verified(key: &PKeyRef<Public>, text: &str, signature: &[u8]) -> Result<Self, Refusal> {
        let mut verifier = Verifier::new(MessageDigest::sha256(), key)?;
        if !verifier.verify_oneshot(signature, text.as_bytes()).unwrap_or(false) {
            return Err(Refusal::UnknownAuthority);
        }
        Self::read(text).ok_or(Refusal::Malformed)
    }

    /// Reads a text; nothing if it is not exactly as [`UserList::text`] writes it.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n').filter(|_| text.len() <= LIST_MAX)?.split('\n');
        let mut next = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let (_, group) = (next("atoll").filter(|rest| *rest == "revocations 1")?, next("group")?);
        let (number, at): (i64, i64) = (next("number")?.parse().ok()?, next("at")?.parse().ok()?);
        if !(0..=NUMBER_MAX).contains(&number) || !(0..=NUMBER_MAX).contains(&at) {
            return None;
        }
        let mut list = Self { group: group.to_owned(), number, at, ..Self::default() };
        for line in lines {
            let (kind, rest) = line.split_once(' ')?;
            let (name, at) = rest.split_once(' ')?;
            let row = (name.to_owned(), at.parse().ok()?);
            match kind {
                "user" if is_name(name) => list.users.push(row),
                "serial" if is_serial(name) => list.serials.push(row),
                _ => return None,
            }
        }
        (list.text() == text).then_some(list)
    }
}

fn is_serial(text: &str) -> bool {
    text.parse::<Serial>().is_ok_and(|serial| serial.to_string() == text)
}

/// What members tell two lists of one number apart by: the SHA-256 of the text, in hexadecimal digits.
#[must_use]
pub fn digest(text: &str) -> String {
    hex(&sha256(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The authority's signature under a text.
///
/// # Errors
/// OpenSSL does not work with the key.
pub fn sign_list(key: &PKeyRef<Private>, text: &str) -> Result<Vec<u8>, Refusal> {
    Ok(Signer::new(MessageDigest::sha256(), key)?.sign_oneshot_to_vec(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::derived_key;
    use openssl::pkey::PKey;
    use proptest::prelude::*;

    fn sample() -> UserList {
        UserList {
            group: "chess".to_owned(),
            number: 7,
            at: 1_700_000_000,
            users: vec![("ann".to_owned(), 5), ("bob@x.org".to_owned(), 6)],
            serials: vec![("0a".to_owned(), 8)],
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_in_no_other_form() {
        let text = sample().text();
        assert_eq!(UserList::read(&text), Some(sample()));
        for (old, new) in [
            ("chess", "chess "),
            ("number 7", "number 07"),
            ("number 7", "number +7"),
            ("user ann 5\n", ""),
            ("serial 0a", "serial 0A"),
            ("serial 0a", "serial 00a"),
            ("user ann", "user a n"),
            ("revocations 1", "revocations 2"),
            ("user ann 5", "user ann 5\n"),
            ("number 7", "number 9223372036854775807"),
        ] {
            let changed = text.replacen(old, new, 1);
            assert_ne!(UserList::read(&changed), Some(sample()), "{old} -> {new}");
        }
        assert_eq!(UserList::read(&text[..text.len() - 1]), None);
        assert_eq!(UserList::read(""), None);
    }

    #[test]
    fn only_what_the_authority_signed_counts() {
        let [key, other] = [1, 2].map(|seed| derived_key([seed; 32], "authority").unwrap());
        let public = PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap();
        let text = sample().text();
        let signature = sign_list(&key, &text).unwrap();
        let verdict = |text: &str, signature: &[u8]| UserList::verified(&public, text, signature);
        assert_eq!(verdict(&text, &signature), Ok(sample()));
        assert_eq!(verdict(&text, b""), Err(Refusal::UnknownAuthority));
        assert_eq!(verdict(&text, &sign_list(&other, &text).unwrap()), Err(Refusal::UnknownAuthority));
        assert_eq!(verdict(&text.replace("bob", "eve"), &signature), Err(Refusal::UnknownAuthority));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_alike(text in "(atoll revocations 1\n)?(group a\nnumber 1\nat 2\n)?(user [a-c]{0,2} -?[0-9]{0,2}\n){0,3}\\PC*") {
            if let Some(list) = UserList::read(&text) {
                prop_assert_eq!(list.text(), text);
            }
        }
    }
}
