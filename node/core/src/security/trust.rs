//! Trust rules: whether what a peer claims makes it a member, and which one.

use super::Claim;
use crate::counters::DropReason;
use crate::wire::Address;

/// The wall clock, in seconds since 1970 (UTC). Whoever asks reads it; the core has no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub u64);

/// A member, as a trust rule sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its place on the ring.
    pub address: Address,
}

impl Identity {
    /// The same, if it is the member that was meant.
    ///
    /// # Errors
    /// It is another member.
    pub fn at(self, meant: Option<Address>) -> Result<Self, Refusal> {
        if meant.is_none_or(|meant| meant == self.address) { Ok(self) } else { Err(Refusal::WrongAddress) }
    }
}

/// Why a claim is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What the rule judges is not there, or cannot be read.
    #[error("malformed claim")]
    Malformed,
    /// It is not the address that was meant, or that belongs to the key.
    #[error("another member answered")]
    WrongAddress,
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed => Self::BadCertificate,
            Refusal::WrongAddress => Self::WrongMember,
        }
    }
}

/// Which claims make a member.
#[derive(Debug)]
pub enum Trust {
    /// A bare address is believed.
    Believe,
}

impl Trust {
    /// Judges a claim at a time of the wall clock.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(&self, claim: &Claim, _wall: Wall) -> Result<Identity, Refusal> {
        match (self, claim) {
            (Self::Believe, Claim::Address(address)) => Ok(Identity { address: *address }),
            (Self::Believe, Claim::Certificate(_)) => Err(Refusal::Malformed),
        }
    }
}
