//! Real nodes in the world: their ring forms, heals and repeats itself.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

mod broadcast;
mod carried;
mod ends;
mod forming;
mod healing;
mod oddities;
mod private;
mod relays;
mod rest;
mod secured;
mod tcp;
mod town;
