//! What peers of a group tell each other about revocations. What it proves stands in what the authority signed.

use super::codec::{Malformed, Reader, Write as _};
use super::{Broadcast, Covered, Uncovered};
use crate::buffer::Buffer;

/// Notices that one page holds at most.
pub const PAGE_MAX: usize = 8;
/// Bytes of a part of a list at most.
pub const PART_MAX: usize = 1000;

/// Bytes of the salt of a group's epoch.
pub const SALT_LEN: usize = 16;

/// The salt of a group's epoch: only members that stay are told it, so that the revoked cannot compute what follows from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; SALT_LEN]);

/// It is a secret.
impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt")
    }
}

/// The salt that a group has since a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The number of the notice.
    pub number: u64,
    /// A secret of the members that stay.
    pub salt: Salt,
}

/// How much a member knows: two that know the same say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knowledge {
    /// The authority's number up to which it knows everything.
    pub complete: u64,
    /// A sum over what it knows.
    pub digest: u64,
    /// The number of the notice whose salt it knows; 0 if it knows none.
    pub epoch: u64,
}

impl Knowledge {
    /// Appends it.
    pub fn write(self, body: &mut Buffer) {
        body.put_u64(self.complete);
        body.put_u64(self.digest);
        body.put_u64(self.epoch);
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { complete: reader.u64()?, digest: reader.u64()?, epoch: reader.u64()? })
    }
}

/// A part of a list with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPart {
    /// The list's number.
    pub number: u64,
    /// Bytes of the whole.
    pub total: u32,
    /// How many come before these.
    pub offset: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The body of a frame about revocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The sender knows this much, since it was told something.
    Told(Knowledge),
    /// What comes after this number? If it is a list, from this byte on.
    Ask {
        /// A number of the authority.
        after: u64,
        /// Bytes that are there.
        offset: u32,
    },
    /// Notices, in the order of their numbers.
    Notices {
        /// Ask for what comes after this number; 0 if nothing does.
        next: u64,
        /// Each as the authority signed it.
        notices: Vec<Vec<u8>>,
    },
    /// A part of the authority's list.
    Part(ListPart),
    /// A notice for everybody.
    Broadcast(Broadcast),
    /// Everybody in a part of the ring has it.
    Covered(Covered),
    /// The sender still waits to hear that.
    Uncovered(Uncovered),
    /// The salt that the group has since a notice, for a peer that stays.
    Epoch {
        /// A secret of the members.
        salt: Salt,
        /// The notice, as the authority signed it.
        notice: Vec<u8>,
    },
}

impl Revocation {
    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        match self {
            Self::Told(knowledge) => {
                body.put_u8(0);
                knowledge.write(body);
            }
            Self::Ask { after, offset } => {
                body.put_u8(1);
                body.put_u64(*after);
                body.put_u32(*offset);
            }
            Self::Notices { next, notices } => {
                body.put_u8(2);
                body.put_u64(*next);
                let notices: Vec<&[u8]> = notices.iter().map(Vec::as_slice).collect();
                body.put_list(PAGE_MAX, &notices, |body, one| {
                    body.put_u16(one.len() as u16);
                    body.put(one);
                });
            }
            Self::Part(part) => {
                body.put_u8(3);
                body.put_u64(part.number);
                body.put_u32(part.total);
                body.put_u32(part.offset);
                body.put(&part.bytes);
            }
            Self::Broadcast(message) => {
                body.put_u8(4);
                message.write(body);
            }
            Self::Covered(covered) => {
                body.put_u8(5);
                covered.write(body);
            }
            Self::Uncovered(uncovered) => {
                body.put_u8(7);
                uncovered.write(body);
            }
            Self::Epoch { salt, notice } => {
                body.put_u8(6);
                body.put(&salt.0);
                body.put(notice);
            }
        }
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let message = match reader.u8()? {
            0 => Self::Told(Knowledge::take(&mut reader)?),
            1 => Self::Ask { after: reader.u64()?, offset: reader.u32()? },
            2 => {
                let next = reader.u64()?;
                let notice = |reader: &mut Reader<'_>| {
                    let length = reader.u16()?;
                    Ok(reader.take(usize::from(length))?.to_vec())
                };
                Self::Notices { next, notices: reader.list(PAGE_MAX, notice)? }
            }
            3 => Self::Part(read_part(&mut reader)?),
            4 => return Broadcast::read(reader.rest()).map(Self::Broadcast),
            5 => return Covered::read(reader.rest()).map(Self::Covered),
            6 => {
                let salt = Salt(reader.take(SALT_LEN)?.try_into().map_err(|_| Malformed)?);
                let notice = reader.take(reader.len())?.to_vec();
                Self::Epoch { salt, notice }
            }
            7 => return Uncovered::read(reader.rest()).map(Self::Uncovered),
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(message)
    }
}

fn read_part(reader: &mut Reader<'_>) -> Result<ListPart, Malformed> {
    let (number, total, offset) = (reader.u64()?, reader.u32()?, reader.u32()?);
    let bytes = reader.take(reader.len())?;
    let end = u32::try_from(bytes.len()).ok().and_then(|length| offset.checked_add(length));
    if bytes.is_empty() || bytes.len() > PART_MAX || end.is_none_or(|end| end > total) {
        return Err(Malformed);
    }
    Ok(ListPart { number, total, offset, bytes: bytes.to_vec() })
}
