//! Serial numbers: random, so that none is used twice even when everything that was written down is lost.

use std::io;

use atoll_core::security::Serial;
use rustix::rand::{GetRandomFlags, getrandom};

const SERIAL_BYTES: usize = 16;

/// 128 random bits; the highest byte is never zero, so that all have one length.
///
/// # Errors
/// The system has no randomness.
pub fn random_serial() -> io::Result<Serial> {
    let mut bytes = [0; SERIAL_BYTES];
    while bytes[0] == 0 {
        getrandom(&mut bytes, GetRandomFlags::empty())?;
    }
    Ok(Serial(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_have_128_bits_and_differ() {
        let serials: std::collections::BTreeSet<Serial> =
            (0..100).map(|_| random_serial().unwrap()).collect();
        assert!(
            serials.len() == 100 && serials.iter().all(|serial| serial.0.len() == 16 && serial.0[0] != 0)
        );
    }
}
