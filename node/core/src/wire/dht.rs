//! Messages of the DHT: requests to a point and their answers, and what neighbours say to keep copies alike.
//!
//! ```text
//! request   id 4 | point 1 | key 21 or 41 | kind 1 | ...     in a packet to the member nearest to the point
//! answer    id 4 | kind 1 | ...                              in a packet back
//! upkeep    kind 1 | ...                                     in a frame between neighbours
//! ```

use super::Address;
use super::codec::{Malformed, Reader, Write};
use super::entry::{Item, Key, Mark, POINTS, read_value, write_value};
use crate::buffer::Buffer;

/// Keys that one message names at most.
pub const LISTED_MAX: usize = 40;
/// Values that one message holds at most.
pub const ITEMS_MAX: usize = 64;

/// What a member asks of the member nearest to a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhtRequest {
    /// Names the request; the answer returns it. 0: no answer is wanted.
    pub id: u32,
    /// Which point of the key (0 to 2).
    pub point: u8,
    /// The key.
    pub key: Key,
    /// What is asked.
    pub ask: Ask,
}

/// The kinds of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Hold this value.
    Put(Item),
    /// Hold the key for this value for a few seconds, if nothing is under it.
    Claim {
        /// Known to the creator and the holders of the points alone.
        token: u64,
        /// The value.
        value: Vec<u8>,
    },
    /// Make what was claimed a value with a lease.
    Commit {
        /// The claim.
        token: u64,
        /// As in [`Item`].
        stamp: u32,
        /// The lease, in milliseconds.
        lease: u32,
    },
    /// Forget the claim and what came of it.
    Abort {
        /// The claim.
        token: u64,
    },
    /// The values behind this mark, in the order of their marks; all if it is not there.
    Get(Option<Mark>),
}

impl DhtRequest {
    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u32(self.id);
        body.put_u8(self.point);
        self.key.write(body);
        match &self.ask {
            Ask::Put(item) => {
                body.put_u8(1);
                item.write(body);
            }
            Ask::Claim { token, value } => {
                body.put_u8(2);
                body.put_u64(*token);
                write_value(value, body);
            }
            Ask::Commit { token, stamp, lease } => {
                body.put_u8(3);
                body.put_u64(*token);
                body.put_u32(*stamp);
                body.put_u32(*lease);
            }
            Ask::Abort { token } => {
                body.put_u8(4);
                body.put_u64(*token);
            }
            Ask::Get(None) => body.put_u8(5),
            Ask::Get(Some(after)) => {
                body.put_u8(6);
                write_mark(*after, body);
            }
        }
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (id, point) = (reader.u32()?, reader.u8()?);
        if usize::from(point) >= POINTS {
            return Err(Malformed);
        }
        let key = Key::read(&mut reader)?;
        let ask = match reader.u8()? {
            1 => Ask::Put(Item::read(&mut reader)?),
            2 => Ask::Claim { token: reader.u64()?, value: read_value(&mut reader)? },
            3 => Ask::Commit { token: reader.u64()?, stamp: reader.u32()?, lease: reader.u32()? },
            4 => Ask::Abort { token: reader.u64()? },
            5 => Ask::Get(None),
            6 => Ask::Get(Some(read_mark(&mut reader)?)),
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(Self { id, point, key, ask })
    }
}

fn write_mark(mark: Mark, body: &mut Buffer) {
    body.put(&mark.0.to_be_bytes());
}

fn read_mark(reader: &mut Reader<'_>) -> Result<Mark, Malformed> {
    Ok(Mark(u128::from(reader.u64()?) << 64 | u128::from(reader.u64()?)))
}

/// The answer to a [`DhtRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhtAnswer {
    /// The request.
    pub id: u32,
    /// What became of it.
    pub said: Said,
}

/// The kinds of answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The value is there for so many milliseconds.
    Stored(u32),
    /// The claim stands for a few seconds.
    Granted,
    /// The claim is forgotten.
    Aborted,
    /// Nothing was changed.
    Refused(Denial),
    /// What is under the key.
    Page(Page),
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Something is under the key, or a value that anybody may put beside would be next to one that is alone.
    Exists,
    /// Somebody else claims the key.
    Contended,
    /// The holder, or the writer's share of it, is full.
    Full,
    /// The owner's value there has this sequence number, and it is not lower.
    Outdated(u64),
    /// The proof, the length or the lease is wrong.
    Invalid,
    /// The claim is unknown, or it is over.
    Unclaimed,
    /// The holder is new at its place and may lack what it ought to hold.
    Unsure,
}

/// Values under a key, in the order of their marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The values.
    pub items: Vec<Item>,
    /// Whether there are others behind them.
    pub more: bool,
    /// Whether the holder may lack values, being new at its place.
    pub unsure: bool,
}

const MORE: u8 = 1;
const UNSURE: u8 = 2;

impl DhtAnswer {
    /// Bytes of an answer that holds a page without values.
    pub const PAGE_LEN: usize = 7;

    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u32(self.id);
        match &self.said {
            Said::Stored(lease) => {
                body.put_u8(1);
                body.put_u32(*lease);
            }
            Said::Granted => body.put_u8(2),
            Said::Aborted => body.put_u8(3),
            Said::Refused(denial) => {
                body.put_u8(4);
                denial.write(body);
            }
            Said::Page(page) => {
                body.put_u8(5);
                body.put_u8(if page.more { MORE } else { 0 } | if page.unsure { UNSURE } else { 0 });
                let items = &page.items[..page.items.len().min(ITEMS_MAX)];
                body.put_u8(items.len() as u8);
                items.iter().for_each(|item| item.write(body));
            }
        }
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let id = reader.u32()?;
        let said = match reader.u8()? {
            1 => Said::Stored(reader.u32()?),
            2 => Said::Granted,
            3 => Said::Aborted,
            4 => Said::Refused(Denial::read(&mut reader)?),
            5 => Said::Page(read_page(&mut reader)?),
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(Self { id, said })
    }
}

fn read_page(reader: &mut Reader<'_>) -> Result<Page, Malformed> {
    let flags = reader.u8()?;
    if flags & !(MORE | UNSURE) != 0 {
        return Err(Malformed);
    }
    let items = reader.list(ITEMS_MAX, Item::read)?;
    Ok(Page { items, more: flags & MORE != 0, unsure: flags & UNSURE != 0 })
}

impl Denial {
    fn write(self, body: &mut Buffer) {
        match self {
            Self::Exists => body.put_u8(1),
            Self::Contended => body.put_u8(2),
            Self::Full => body.put_u8(3),
            Self::Outdated(sequence) => {
                body.put_u8(4);
                body.put_u64(sequence);
            }
            Self::Invalid => body.put_u8(5),
            Self::Unclaimed => body.put_u8(6),
            Self::Unsure => body.put_u8(7),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            1 => Self::Exists,
            2 => Self::Contended,
            3 => Self::Full,
            4 => Self::Outdated(reader.u64()?),
            5 => Self::Invalid,
            6 => Self::Unclaimed,
            7 => Self::Unsure,
            _ => return Err(Malformed),
        })
    }
}

/// A part of the ring: clockwise behind `from` up to and with `to`; the whole ring if they are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingArc {
    /// Where it begins, itself not in it.
    pub from: Address,
    /// Where it ends.
    pub to: Address,
}

impl RingArc {
    /// The whole ring.
    #[must_use]
    pub fn whole(at: Address) -> Self {
        Self { from: at, to: at }
    }

    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, address: Address) -> bool {
        self.from == self.to
            || (address != self.from && self.from.clockwise(address) <= self.from.clockwise(self.to))
    }
}

/// What one of two neighbours holds for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key's place.
    pub place: Address,
    /// Digest of its values.
    pub digest: u32,
}

/// A value that a neighbour shall hold as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The key.
    pub key: Key,
    /// Whose share of the holder it takes.
    pub writer: Address,
    /// The value.
    pub item: Item,
}

impl Copied {
    /// Bytes on the wire.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        let key = match self.key {
            Key::Plain(_) => 21,
            Key::Owned { .. } => 41,
        };
        key + Address::LEN + self.item.wire_len()
    }
}

/// What neighbours say to each other so that both hold the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// What the sender holds in an arc; the receiver lists its own if that is something else.
    Sum {
        /// The arc, as points of keys.
        arc: RingArc,
        /// Keys.
        count: u32,
        /// Sum of their digests.
        sum: u64,
    },
    /// Every key that the sender holds in an arc.
    Have {
        /// The arc.
        arc: RingArc,
        /// The keys.
        list: Vec<Listed>,
    },
    /// Send the values under these keys.
    Want(Vec<Address>),
    /// Hold these.
    Keep(Vec<Copied>),
    /// A creation failed: forget what it left.
    Gone {
        /// The key's place.
        place: Address,
        /// The stamp of the writing.
        stamp: u32,
    },
}

impl Upkeep {
    /// Bytes of a [`Upkeep::Keep`] without values.
    pub const KEEP_LEN: usize = 2;

    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        match self {
            Self::Sum { arc, count, sum } => {
                body.put_u8(1);
                write_arc(*arc, body);
                body.put_u32(*count);
                body.put_u64(*sum);
            }
            Self::Have { arc, list } => {
                body.put_u8(2);
                write_arc(*arc, body);
                body.put_list(LISTED_MAX, list, |body, one| {
                    body.put_address(one.place);
                    body.put_u32(one.digest);
                });
            }
            Self::Want(places) => {
                body.put_u8(3);
                body.put_list(LISTED_MAX, places, Write::put_address);
            }
            Self::Keep(list) => {
                body.put_u8(4);
                let list = &list[..list.len().min(ITEMS_MAX)];
                body.put_u8(list.len() as u8);
                for one in list {
                    one.key.write(body);
                    body.put_address(one.writer);
                    one.item.write(body);
                }
            }
            Self::Gone { place, stamp } => {
                body.put_u8(5);
                body.put_address(*place);
                body.put_u32(*stamp);
            }
        }
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let message = match reader.u8()? {
            1 => Self::Sum { arc: read_arc(&mut reader)?, count: reader.u32()?, sum: reader.u64()? },
            2 => {
                let arc = read_arc(&mut reader)?;
                let listed =
                    |reader: &mut Reader<'_>| Ok(Listed { place: reader.address()?, digest: reader.u32()? });
                Self::Have { arc, list: reader.list(LISTED_MAX, listed)? }
            }
            3 => Self::Want(reader.list(LISTED_MAX, Reader::address)?),
            4 => Self::Keep(reader.list(ITEMS_MAX, |reader| {
                let (key, writer) = (Key::read(reader)?, reader.address()?);
                Ok(Copied { key, writer, item: Item::read(reader)? })
            })?),
            5 => Self::Gone { place: reader.address()?, stamp: reader.u32()? },
            _ => return Err(Malformed),
        };
        reader.end()?;
        Ok(message)
    }
}

fn write_arc(arc: RingArc, body: &mut Buffer) {
    body.put_address(arc.from);
    body.put_address(arc.to);
}

fn read_arc(reader: &mut Reader<'_>) -> Result<RingArc, Malformed> {
    Ok(RingArc { from: reader.address()?, to: reader.address()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(byte: u8) -> Address {
        Address::from_bytes([byte; Address::LEN])
    }

    #[test]
    fn an_arc_goes_clockwise_across_zero() {
        let arc = RingArc { from: at(200), to: at(10) };
        for (inside, byte) in [(false, 200), (true, 201), (true, 0), (true, 10), (false, 11), (false, 100)] {
            assert_eq!(arc.contains(at(byte)), inside, "{byte}");
        }
        assert!(RingArc::whole(at(5)).contains(at(5)) && RingArc::whole(at(5)).contains(at(6)));
    }
}
