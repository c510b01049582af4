//! Which salt the group has, as far as the member was told: the one of the last notice, and what is to be done to get it.

use crate::security::{Epoch, Known};

/// The salts of one member. A salt counts once the notice is known whose mark it has.
#[derive(Debug, Default)]
pub struct Epochs {
    own: Option<Epoch>,
    /// A salt whose notice has not come yet.
    early: Option<Epoch>,
    /// The last number whose salt was asked for.
    wanted: u64,
    /// The last number whose salt the peers were told.
    shared: u64,
}

impl Epochs {
    /// A member that knew this salt before, and holds it for good.
    #[must_use]
    pub fn new(own: Option<Epoch>) -> Self {
        Self { own, shared: own.map_or(0, |own| own.number), ..Self::default() }
    }

    /// The salt that counts.
    #[must_use]
    pub fn own(&self) -> Option<Epoch> {
        self.own
    }

    /// The number of its notice; 0 if there is none.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.own.map_or(0, |own| own.number)
    }

    /// Takes a salt that somebody says; whether it counts from now on. One whose notice is not known waits for that.
    pub fn take(&mut self, epoch: Epoch, known: &Known) -> bool {
        let (number, mark) = known.epoch();
        if epoch.number > number {
            self.early = Some(epoch);
            return false;
        }
        let counts = epoch.number == number && epoch.number > self.number() && epoch.salt.mark() == mark;
        if counts {
            self.own = Some(epoch);
        }
        counts
    }

    /// A notice came; whether a salt that waited for it counts from now on. One of its number with another mark never was.
    pub fn on_notice(&mut self, known: &Known) -> bool {
        let (number, mark) = known.epoch();
        self.own.take_if(|own| own.number == number && own.salt.mark() != mark);
        let due = self.early.take_if(|early| early.number <= known.epoch().0);
        due.is_some_and(|early| self.take(early, known))
    }

    /// The number of the last notice, if its salt is missing; said once.
    pub fn missing(&mut self, known: &Known) -> Option<u64> {
        let (number, _) = known.epoch();
        let is_new = number > self.number().max(self.wanted);
        if is_new {
            self.wanted = number;
        }
        is_new.then_some(number)
    }

    /// The salt, if it is for the peers: whoever does not know everything up to its notice may have a peer that was revoked.
    #[must_use]
    pub fn shown(&self, known: &Known) -> Option<Epoch> {
        self.own.filter(|own| own.number == known.epoch().0 && known.complete() >= own.number)
    }

    /// The same, if the peers were not told it yet.
    pub fn unshared(&mut self, known: &Known) -> Option<Epoch> {
        let own = self.shown(known).filter(|own| own.number > self.shared)?;
        self.shared = own.number;
        Some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{Notice, SALT_LEN, Salt};

    fn epoch(number: u64, salt: u8) -> Epoch {
        Epoch { number, salt: Salt([salt; SALT_LEN]) }
    }

    fn notice(number: u64, after: u64) -> Notice {
        let (group, user, mark) =
            ("chess".to_owned(), format!("u{number}"), epoch(number, number as u8).salt.mark());
        Notice { group, number, after, at: 1, digest: [0; 32], mark, user, serials: Vec::new() }
    }

    fn tell(known: &mut Known, number: u64, after: u64) {
        assert!(known.take(&notice(number, after), b"bytes"));
    }

    #[test]
    fn a_salt_counts_if_it_has_the_mark_of_the_last_notice() {
        let (mut known, mut epochs) = (Known::default(), Epochs::default());
        tell(&mut known, 1, 0);
        assert_eq!((epochs.missing(&known), epochs.missing(&known)), (Some(1), None));
        assert!(!epochs.take(epoch(1, 9), &known) && epochs.own().is_none());
        assert!(epochs.take(epoch(1, 1), &known) && epochs.number() == 1);
        assert!(!epochs.take(epoch(1, 1), &known), "it was known");
        tell(&mut known, 2, 1);
        assert_eq!(epochs.missing(&known), Some(2));
        assert!(!epochs.take(epoch(1, 1), &known) && epochs.number() == 1);
    }

    #[test]
    fn a_salt_that_comes_before_its_notice_waits_for_it() {
        let (mut known, mut epochs) = (Known::default(), Epochs::default());
        assert!(!epochs.take(epoch(2, 2), &known));
        tell(&mut known, 1, 0);
        assert!(!epochs.on_notice(&known));
        tell(&mut known, 2, 1);
        assert!(epochs.on_notice(&known) && epochs.number() == 2 && !epochs.on_notice(&known));
    }

    #[test]
    fn a_kept_salt_that_has_not_the_mark_of_its_notice_is_asked_for_again() {
        let (mut known, mut epochs) = (Known::default(), Epochs::new(Some(epoch(1, 9))));
        tell(&mut known, 1, 0);
        assert!(!epochs.on_notice(&known) && epochs.own().is_none());
        assert_eq!(epochs.missing(&known), Some(1));
        assert!(epochs.take(epoch(1, 1), &known));
    }

    #[test]
    fn the_peers_are_told_once_and_not_before_all_revocations_up_to_it_are_known() {
        let (mut known, mut epochs) = (Known::default(), Epochs::default());
        tell(&mut known, 2, 1);
        assert!(epochs.take(epoch(2, 2), &known));
        assert_eq!((epochs.unshared(&known), epochs.shown(&known)), (None, None));
        tell(&mut known, 1, 0);
        assert_eq!(epochs.unshared(&known), Some(epoch(2, 2)));
        assert_eq!((epochs.unshared(&known), epochs.shown(&known)), (None, Some(epoch(2, 2))));
        tell(&mut known, 3, 2);
        assert_eq!(epochs.shown(&known), None, "who was revoked since may be a peer of whoever asks");
        assert_eq!(Epochs::new(Some(epoch(3, 3))).unshared(&known), None);
    }
}
