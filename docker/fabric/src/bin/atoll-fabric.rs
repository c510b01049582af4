//! The program `atoll-fabric`.

fn main() {}
