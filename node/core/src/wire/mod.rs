//! Floor 0: bytes to types and back. It has no state.

pub(crate) mod codec;

mod address;
mod announcement;
mod broadcast;
mod dht;
mod entry;
mod frame;
mod header;
mod message;
mod packet;
mod part;
mod remote;
mod revocation;

pub use address::{Address, AddressError, Distance};
pub use announcement::{ANNOUNCED_BYTES, ANNOUNCED_MAX, Announcement, Receipt};
pub use broadcast::{BROADCAST_MAX, Broadcast, BroadcastId, Covered, Range, Uncovered};
pub use codec::Malformed;
pub use dht::{
    Ask, Copied, Denial, DhtAnswer, DhtRequest, ITEMS_MAX, LISTED_MAX, Listed, Page, RingArc, Said, Upkeep,
};
pub use entry::{Content, Item, Key, Mark, OWNED_VALUE_MAX, POINTS, Proof, VALUE_MAX, points};
pub use frame::{
    Ack, CloseReason, FrameHeader, FrameKind, Link, NEIGHBOURS_MAX, Neighbours, OPEN, Ping, RoleBits,
    read_observed,
};
pub use header::{DATAGRAM_MAX, EdgeId, Header, LONG_LEN, OverlayTag, SHORT_LEN, VERSION, is_record};
pub use message::{CANDIDATES_MAX, ConnectToMe, Echo, Members, SAMPLE_MAX, Sample, read_address, read_id};
pub use packet::{CARRIED_MAX, HOP_LIMIT, Mode, PacketHeader, PacketKind, ROUTE_MAX};
pub use part::Part;
pub use remote::{Candidate, RTT_MAX, Relayed, Remote, Transport, Way};
pub use revocation::{Epoch, Knowledge, ListPart, PAGE_MAX, PART_MAX, Revocation, SALT_LEN, Salt};
