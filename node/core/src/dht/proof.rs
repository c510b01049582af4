//! Proofs that the owner of a key put a value under it.

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::sign::{Signer, Verifier};

use crate::security::address_of;
use crate::wire::{Content, Key, Proof};

const LABEL: &[u8] = b"atoll dht owned 1";

/// Proves that the owner of a key puts a value there: signs label, key, sequence number, lease (milliseconds) and value.
///
/// The owner need not be a member: whoever has the proof can put the value for it ([`super::Dht::put_proved`]).
///
/// # Errors
/// OpenSSL cannot sign.
pub fn prove(
    signer: &PKeyRef<Private>,
    key: &Key,
    value: &[u8],
    (sequence, lease): (u64, u32),
) -> Result<Proof, ErrorStack> {
    let mut signing = Signer::new(MessageDigest::sha256(), signer)?;
    signing.update(&statement(key, value, (sequence, lease)))?;
    let signature = signing.sign_to_vec()?;
    Ok(Proof { public: signer.public_key_to_der()?, sequence, lease, signature })
}

/// Puts a value under an owned key, with its proof.
///
/// # Errors
/// OpenSSL cannot sign.
pub(super) fn sign(
    signer: &PKeyRef<Private>,
    key: &Key,
    value: Vec<u8>,
    term: (u64, u32),
) -> Result<Content, ErrorStack> {
    let proof = prove(signer, key, &value, term)?;
    Ok(Content::Owned { value, proof })
}

/// Whether the content belongs under the key: an owned value proves it, and any other claims nothing.
pub(super) fn holds(key: &Key, content: &Content) -> bool {
    if !content.fits(key) {
        return false;
    }
    match (key, content) {
        (Key::Owned { .. }, Content::Owned { value, proof }) => verify(key, value, proof).unwrap_or(false),
        _ => true,
    }
}

fn verify(key: &Key, value: &[u8], proof: &Proof) -> Result<bool, ErrorStack> {
    let Key::Owned { owner, .. } = key else { return Ok(false) };
    let public = PKey::public_key_from_der(&proof.public)?;
    if public.ec_key().is_err() || address_of(&public)? != *owner {
        return Ok(false);
    }
    let mut verifier = Verifier::new(MessageDigest::sha256(), &public)?;
    verifier.update(&statement(key, value, (proof.sequence, proof.lease)))?;
    verifier.verify(&proof.signature)
}

/// What is signed. Every part but the last has one length.
fn statement(key: &Key, value: &[u8], (sequence, lease): (u64, u32)) -> Vec<u8> {
    let mut bytes = LABEL.to_vec();
    bytes.extend(key.place().to_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(lease.to_be_bytes());
    bytes.extend(value);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::derived_key;

    type Change<'a> = &'a dyn Fn(&mut Vec<u8>, &mut Proof);

    fn key_of(signer: &PKeyRef<Private>) -> Key {
        Key::owned(address_of(signer).unwrap(), "name")
    }

    #[test]
    fn a_proof_holds_for_its_key_value_sequence_and_lease_alone() {
        let signer = derived_key([1; 32], "o").unwrap();
        let key = key_of(&signer);
        let signed = sign(&signer, &key, b"value".to_vec(), (7, 1000)).unwrap();
        assert!(holds(&key, &signed));
        let Content::Owned { value, proof } = signed else { panic!("it is owned") };
        let changed = |change: Change<'_>| {
            let (mut value, mut proof) = (value.clone(), proof.clone());
            change(&mut value, &mut proof);
            Content::Owned { value, proof }
        };
        let wrong: [Change<'_>; 6] = [
            &|value, _| value[0] ^= 1,
            &|value, _| value.push(0),
            &|_, proof| proof.sequence += 1,
            &|_, proof| proof.lease += 1,
            &|_, proof| *proof.signature.last_mut().unwrap() ^= 1,
            &|_, proof| proof.public.clear(),
        ];
        for (number, change) in wrong.into_iter().enumerate() {
            assert!(!holds(&key, &changed(change)), "{number}");
        }
        let other = Key::owned(address_of(&signer).unwrap(), "other");
        assert!(!holds(&other, &changed(&|_, _| ())));
    }

    #[test]
    fn nobody_else_s_key_and_no_unsigned_value_fits_under_an_owned_key() {
        let (owner, stranger) = (derived_key([1; 32], "o").unwrap(), derived_key([2; 32], "o").unwrap());
        let key = key_of(&owner);
        assert!(!holds(&key, &sign(&stranger, &key, vec![1], (1, 1)).unwrap()));
        assert!(!holds(&key, &Content::Plain { value: vec![1] }));
        assert!(!holds(&Key::named("name"), &sign(&owner, &key, vec![1], (1, 1)).unwrap()));
    }
}
