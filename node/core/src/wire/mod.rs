//! Floor 0: bytes to types and back. It has no state.

mod address;

pub use address::{Address, AddressError, Distance};
