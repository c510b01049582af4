//! Real nodes in the world: what they put into the DHT is found, by whoever asks, until its lease ends.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

mod ask;
mod changes;
mod churn;
mod creation;
mod intruders;
mod rogues;
#[allow(dead_code, reason = "each test file uses its part")]
#[path = "../ring/spoiler.rs"]
mod spoiler;
#[allow(dead_code, reason = "each test file uses its part")]
#[path = "../ring/town.rs"]
mod town;
mod values;
