//! The program `atoll`.

fn main() {}
