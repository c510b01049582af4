//! Real nodes in the world: their ring forms, heals and repeats itself.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

#[allow(dead_code, reason = "each test file uses its part")]
#[path = "../dht/ask.rs"]
mod ask;
mod between;
mod broadcast;
mod carried;
mod clocks;
mod ends;
mod forming;
mod healing;
#[allow(dead_code, unreachable_pub, reason = "another crate's tests use the rest")]
#[path = "../../../../node/core/tests/security/makers.rs"]
mod makers;
mod oddities;
mod private;
mod relays;
mod replaced;
mod rest;
mod revocations;
mod secured;
mod slow;
mod spoiled;
mod spoiler;
mod strangers;
mod tcp;
mod town;
mod transit;
