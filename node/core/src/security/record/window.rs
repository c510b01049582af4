//! Which sequence numbers were seen: a sliding window (RFC 6479).

use crate::counters::DropReason;

const WORDS: usize = 8;
const BITS: u64 = u64::BITS as u64;
/// Records that may arrive out of order: one word of the ring is the one being filled.
pub const WINDOW: u64 = (WORDS as u64 - 1) * BITS;

/// A replay window over 64-bit sequence numbers.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// One more than the highest number seen.
    next: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// One more than the highest number seen.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether a record of this number is worth opening; changes nothing.
    pub(super) fn check(&self, number: u64) -> Result<(), DropReason> {
        if number >= self.next {
            Ok(())
        } else if self.next - number > WINDOW {
            Err(DropReason::TooOld)
        } else if self.seen[word(number)] & bit(number) != 0 {
            Err(DropReason::Replayed)
        } else {
            Ok(())
        }
    }

    /// Takes note of a record that was opened.
    pub(super) fn commit(&mut self, number: u64) {
        if number >= self.next {
            let (from, to) = (self.next.div_ceil(BITS), number / BITS);
            for fresh in from.max(to.saturating_sub(WORDS as u64 - 1))..=to {
                self.seen[(fresh % WORDS as u64) as usize] = 0;
            }
            self.next = number + 1;
        }
        self.seen[word(number)] |= bit(number);
    }
}

fn word(number: u64) -> usize {
    (number / BITS % WORDS as u64) as usize
}

fn bit(number: u64) -> u64 {
    1 << (number % BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_number_is_taken_once_and_only_while_it_is_recent() {
        let mut window = Window::default();
        for number in [0, 5, 3, 1000, 999, 1000 - WINDOW + 1] {
            assert_eq!(window.check(number), Ok(()), "{number}");
            window.commit(number);
            assert_eq!(window.check(number), Err(DropReason::Replayed), "{number}");
        }
        assert_eq!(window.check(1000 - WINDOW), Err(DropReason::TooOld));
        window.commit(u64::from(u32::MAX) * 8);
        assert_eq!(window.check(1001), Err(DropReason::TooOld));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(numbers in prop::collection::vec(0_u64..3000, 1..400)) {
            let (mut window, mut seen) = (Window::default(), BTreeSet::new());
            for number in numbers {
                let highest = seen.last().copied();
                let expected = match highest {
                    Some(highest) if highest + 1 > number + WINDOW => Err(DropReason::TooOld),
                    _ if seen.contains(&number) => Err(DropReason::Replayed),
                    _ => Ok(()),
                };
                prop_assert_eq!(window.check(number), expected);
                if expected.is_ok() {
                    window.commit(number);
                    seen.insert(number);
                }
            }
        }
    }
}
