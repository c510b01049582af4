//! A notice: one revocation by itself, as an authority signs it and members hand it to each other.
//!
//! ```text
//! 1 | number 8 | after 8 | at 8 | digest 32 | mark 16 | group | user | serials | signature
//! ```
//! Names and serial numbers have their length in front, the serials their count. The signature (ECDSA with SHA-256 in
//! DER) is the rest; it covers a label and all that stands before it.

use openssl::hash::MessageDigest;
use openssl::pkey::{PKeyRef, Private, Public};
use openssl::sha::sha256;
use openssl::sign::{Signer, Verifier};

use crate::security::{Refusal, Serial, is_name};
use crate::wire::Salt;
use crate::wire::codec::{Malformed, Reader, Write as _};

/// Serial numbers that one notice names at most; who has more certificates gets several notices.
pub const SERIALS_MAX: usize = 16;
/// Bytes of a notice at most.
pub const NOTICE_MAX: usize = 640;

const LABEL: &[u8] = b"atoll revocation notice 1\n";
const MARK_LABEL: &[u8] = b"atoll epoch mark 1\n";
const VERSION: u8 = 1;
const SERIAL_MAX: usize = 20;
const MARK_LEN: usize = 16;

impl Salt {
    /// What a notice says of the salt, so that nobody can pass another one for it.
    #[must_use]
    pub fn mark(&self) -> Mark {
        let hash = sha256(&[MARK_LABEL, &self.0].concat());
        let mut mark = [0; MARK_LEN];
        mark.copy_from_slice(&hash[..MARK_LEN]);
        Mark(mark)
    }
}

/// A hash of a salt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark(pub [u8; MARK_LEN]);

/// What a notice says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The group.
    pub group: String,
    /// The number of the authority's list that says it, too; no other notice has it.
    pub number: u64,
    /// The number of the list before: whoever knows that one and this knows all.
    pub after: u64,
    /// When it was signed, in seconds since 1970 (UTC).
    pub at: u64,
    /// SHA-256 of the text of the list.
    pub digest: [u8; 32],
    /// Of the salt that the group has from then on.
    pub mark: Mark,
    /// Whose nodes are revoked.
    pub user: String,
    /// The certificates that are revoked; if there are none, all that the user has or will have.
    pub serials: Vec<Serial>,
}

impl Notice {
    /// The notice with the authority's signature.
    ///
    /// # Errors
    /// It says something that no notice can say, or OpenSSL does not work with the key.
    pub fn sign(&self, key: &PKeyRef<Private>) -> Result<Vec<u8>, Refusal> {
        if !self.fits() {
            return Err(Refusal::Malformed);
        }
        let mut bytes = self.body();
        let mut signer = Signer::new(MessageDigest::sha256(), key)?;
        signer.update(LABEL)?;
        signer.update(&bytes)?;
        bytes.extend(signer.sign_to_vec()?);
        Ok(bytes)
    }

    /// Reads a notice that this authority's key signed.
    ///
    /// # Errors
    /// It cannot be read, or somebody else signed it.
    pub fn verified(key: &PKeyRef<Public>, bytes: &[u8]) -> Result<Self, Refusal> {
        let (notice, signature) = Self::read(bytes).map_err(|Malformed| Refusal::Malformed)?;
        let body = bytes.len() - signature.len();
        let mut verifier = Verifier::new(MessageDigest::sha256(), key)?;
        verifier.update(LABEL)?;
        verifier.update(bytes.get(..body).unwrap_or_default())?;
        // A signature that cannot even be read is nobody's.
        match verifier.verify(signature) {
            Ok(true) => Ok(notice),
            _ => Err(Refusal::UnknownAuthority),
        }
    }

    /// Reads a notice and does not look who signed it.
    ///
    /// # Errors
    /// It is not as [`Notice::sign`] writes it.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let mut reader = Reader::new(bytes);
        if bytes.len() > NOTICE_MAX || reader.u8()? != VERSION {
            return Err(Malformed);
        }
        let (number, after, at) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let (digest, mark) = (array(reader.take(32)?)?, Mark(array(reader.take(MARK_LEN)?)?));
        let (group, user) = (name(&mut reader)?, name(&mut reader)?);
        let serials = reader.list(SERIALS_MAX, serial)?;
        let notice = Self { group, number, after, at, digest, mark, user, serials };
        let signature = reader.take(reader.len())?;
        if notice.fits() { Ok((notice, signature)) } else { Err(Malformed) }
    }

    fn fits(&self) -> bool {
        let is_serial = |one: &Serial| {
            (1..=SERIAL_MAX).contains(&one.0.len()) && one.0.first().is_some_and(|first| *first != 0)
        };
        is_name(&self.group)
            && is_name(&self.user)
            && self.after < self.number
            && self.serials.len() <= SERIALS_MAX
            && self.serials.iter().all(is_serial)
    }

    fn body(&self) -> Vec<u8> {
        let mut body = vec![VERSION];
        for number in [self.number, self.after, self.at] {
            body.put_u64(number);
        }
        body.put(&self.digest);
        body.put(&self.mark.0);
        put_short(&mut body, self.group.as_bytes());
        put_short(&mut body, self.user.as_bytes());
        body.put_u8(self.serials.len() as u8);
        self.serials.iter().for_each(|one| put_short(&mut body, &one.0));
        body
    }
}

/// Names and serial numbers are shorter than 256 bytes.
fn put_short(body: &mut Vec<u8>, bytes: &[u8]) {
    body.put_u8(bytes.len() as u8);
    body.put(bytes);
}

fn short<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let length = reader.u8()?;
    reader.take(usize::from(length))
}

fn name(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let text = std::str::from_utf8(short(reader)?).map_err(|_| Malformed)?;
    Ok(text.to_owned())
}

fn serial(reader: &mut Reader<'_>) -> Result<Serial, Malformed> {
    Ok(Serial(short(reader)?.to_vec()))
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    bytes.try_into().map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{SALT_LEN, derived_key};
    use openssl::pkey::PKey;
    use proptest::prelude::*;

    fn keys(seed: u8) -> (PKey<Private>, PKey<Public>) {
        let key = derived_key([seed; 32], "authority").unwrap();
        let public = PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap();
        (key, public)
    }

    fn sample() -> Notice {
        Notice {
            group: "chess".to_owned(),
            number: 8,
            after: 6,
            at: 1_800_000_000,
            digest: [3; 32],
            mark: Salt([4; SALT_LEN]).mark(),
            user: "bob@x.org".to_owned(),
            serials: vec![Serial(vec![10; 16]), Serial(vec![1])],
        }
    }

    #[test]
    fn a_notice_is_read_as_it_was_signed_and_is_shorter_than_the_paper_guesses() {
        let (key, public) = keys(1);
        let bytes = sample().sign(&key).unwrap();
        assert_eq!(Notice::verified(&public, &bytes), Ok(sample()));
        let whole = Notice { serials: Vec::new(), ..sample() };
        assert!(whole.sign(&key).unwrap().len() < 300, "the paper estimates 300 bytes");
        let longest = Notice {
            group: "g".repeat(64),
            user: "u".repeat(64),
            serials: vec![Serial(vec![9; 20]); SERIALS_MAX],
            ..sample()
        };
        assert!(longest.sign(&key).unwrap().len() <= NOTICE_MAX);
    }

    #[test]
    fn what_was_changed_or_signed_by_another_is_refused() {
        let ((key, public), (other, _)) = (keys(1), keys(2));
        let bytes = sample().sign(&key).unwrap();
        let foreign = sample().sign(&other).unwrap();
        assert_eq!(Notice::verified(&public, &foreign), Err(Refusal::UnknownAuthority));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Notice::verified(&public, &changed).is_err(), "byte {at}");
            assert!(Notice::verified(&public, &bytes[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn what_no_notice_says_is_not_signed() {
        let (key, _) = keys(1);
        let wrong = [
            Notice { after: 8, ..sample() },
            Notice { user: String::new(), ..sample() },
            Notice { group: "a b".to_owned(), ..sample() },
            Notice { serials: vec![Serial(Vec::new())], ..sample() },
            Notice { serials: vec![Serial(vec![0, 1])], ..sample() },
            Notice { serials: vec![Serial(vec![1]); SERIALS_MAX + 1], ..sample() },
        ];
        for notice in wrong {
            assert_eq!(notice.sign(&key), Err(Refusal::Malformed), "{notice:?}");
        }
    }

    #[test]
    fn a_mark_belongs_to_one_salt_and_does_not_show_it() {
        let (one, other) = (Salt([1; SALT_LEN]), Salt([2; SALT_LEN]));
        assert!(one.mark() == one.mark() && one.mark() != other.mark() && one.mark().0 != one.0);
        assert_eq!(format!("{one:?}"), "Salt");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..700), cut in 0..300usize) {
            let _ = Notice::read(&bytes);
            let (key, _) = keys(1);
            let mut signed = sample().sign(&key).unwrap();
            signed.truncate(cut);
            signed.extend(&bytes);
            let _ = Notice::read(&signed);
        }
    }
}
