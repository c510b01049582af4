//! The bodies of overlay packets.

use super::Address;
use super::codec::{Malformed, Reader, Write};
use super::frame::RoleBits;
use super::packet::ROUTE_MAX;
use super::remote::Candidate;
use crate::buffer::Buffer;

/// Candidates that a `ConnectToMe` names at most.
pub const CANDIDATES_MAX: usize = 16;
/// Members that a sample names at most.
pub const SAMPLE_MAX: usize = 17;

/// "Connect to me": both sides dial at once, which is UDP hole punching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectToMe {
    /// Names the attempt; the answer returns it.
    pub id: u32,
    /// What the sender wants the connection for.
    pub roles: RoleBits,
    /// Counts as the stateless cookie of whoever dials the sender with it.
    pub token: u64,
    /// What may reach the sender, best first.
    pub candidates: Vec<Candidate>,
}

impl ConnectToMe {
    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u32(self.id);
        body.put_u8(self.roles);
        body.put_u64(self.token);
        body.put_list(CANDIDATES_MAX, &self.candidates, |body, one| one.write(body));
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let message = Self {
            id: reader.u32()?,
            roles: reader.u8()?,
            token: reader.u64()?,
            candidates: reader.list(CANDIDATES_MAX, Candidate::read)?,
        };
        reader.end()?;
        Ok(message)
    }
}

/// Members around the one that was asked: the reply to a request for a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The id of the request.
    pub id: u32,
    /// Those that strangers reach.
    pub open: Vec<Address>,
    /// The others.
    pub others: Vec<Address>,
}

impl Sample {
    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u32(self.id);
        body.put_list(SAMPLE_MAX, &self.open, Write::put_address);
        body.put_list(SAMPLE_MAX, &self.others, Write::put_address);
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let id = reader.u32()?;
        let open = reader.list(SAMPLE_MAX, Reader::address)?;
        let others = reader.list(SAMPLE_MAX, Reader::address)?;
        reader.end()?;
        Ok(Self { id, open, others })
    }
}

/// An id and a list of members: the reply to a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The id of the request.
    pub id: u32,
    /// The members.
    pub members: Vec<Address>,
}

impl Members {
    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u32(self.id);
        body.put_list(ROUTE_MAX, &self.members, Write::put_address);
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let message = Self { id: reader.u32()?, members: reader.list(ROUTE_MAX, Reader::address)? };
        reader.end()?;
        Ok(message)
    }
}

/// An address alone: whom a datagram was for that is not relayed.
pub fn read_address(body: &[u8]) -> Result<Address, Malformed> {
    let mut reader = Reader::new(body);
    let address = reader.address()?;
    reader.end()?;
    Ok(address)
}

/// An id alone: requests for a sample, an echo or a trace.
pub fn read_id(body: &[u8]) -> Result<u32, Malformed> {
    let mut reader = Reader::new(body);
    let id = reader.u32()?;
    reader.end()?;
    Ok(id)
}

/// An id and the hops that a request took: the echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The id of the request.
    pub id: u32,
    /// Hops of the request.
    pub hops: u8,
}

impl Echo {
    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u32(self.id);
        body.put_u8(self.hops);
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let message = Self { id: reader.u32()?, hops: reader.u8()? };
        reader.end()?;
        Ok(message)
    }
}
