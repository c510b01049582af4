//! Real nodes in the world: their ring forms, heals and repeats itself.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

#[allow(dead_code, reason = "each test file uses its part")]
#[path = "../dht/ask.rs"]
mod ask;
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
mod spoiled;
mod spoiler;
mod tcp;
mod town;
