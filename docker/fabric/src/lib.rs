//! The emulated Internet for containers: it moves their IP packets through the model of `atoll-topology`.
//!
//! Its property: nothing outside the containers that it is given is touched.

pub mod api;
pub mod capture;
pub mod clock;
pub mod engine;
pub mod gate;
pub mod namespace;
mod owner;
pub mod packet;
pub mod server;
pub mod setting;
