//! What a group's site tells members through the ring of the public overlay, and what they answer. Both are sealed before
//! they leave ([`crate::security::Envelope`]).

use super::Address;
use super::codec::{Malformed, Reader, Write as _};

/// Notices of one announcement at most.
pub const ANNOUNCED_MAX: usize = 4;
/// Bytes of all its notices at most, so that it fits into a packet.
pub const ANNOUNCED_BYTES: usize = 1000;
/// Bytes of a member's certificate at most, so that its receipt fits into a packet.
const CERTIFICATE_MAX: usize = 1000;
const SIGNATURE_MAX: usize = 80;

/// Notices for a member, to be told to all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Returned with the receipt.
    pub token: u64,
    /// Each as the authority signed it.
    pub notices: Vec<Vec<u8>>,
}

impl Announcement {
    /// To bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u64(self.token);
        let notices: Vec<&[u8]> = self.notices.iter().map(Vec::as_slice).collect();
        body.put_list(ANNOUNCED_MAX, &notices, put_long);
        body
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let token = reader.u64()?;
        let notices = reader.list(ANNOUNCED_MAX, |reader| long(reader, ANNOUNCED_BYTES))?;
        reader.end()?;
        Ok(Self { token, notices })
    }
}

/// A member has the notices, and tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The announcement's.
    pub token: u64,
    /// The member.
    pub member: Address,
    /// Its certificate, in DER; empty if members show none.
    pub certificate: Vec<u8>,
    /// By the certificate's key.
    pub signature: Vec<u8>,
}

impl Receipt {
    /// To bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u64(self.token);
        body.put_address(self.member);
        put_long(&mut body, &self.certificate);
        put_long(&mut body, &self.signature);
        body
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (token, member) = (reader.u64()?, reader.address()?);
        let (certificate, signature) =
            (long(&mut reader, CERTIFICATE_MAX)?, long(&mut reader, SIGNATURE_MAX)?);
        reader.end()?;
        Ok(Self { token, member, certificate, signature })
    }
}

/// All that is written is shorter than 2^16 bytes.
fn put_long(body: &mut Vec<u8>, bytes: &[u8]) {
    body.put_u16(bytes.len() as u16);
    body.put(bytes);
}

fn long(reader: &mut Reader<'_>, max: usize) -> Result<Vec<u8>, Malformed> {
    let length = usize::from(reader.u16()?);
    if length > max { Err(Malformed) } else { Ok(reader.take(length)?.to_vec()) }
}
