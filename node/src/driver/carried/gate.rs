//! Who may be inside at once: so many in all, and so many connections of one member, so that no one takes every place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atoll_core::wire::Address;

/// The places of one door.
#[derive(Debug)]
pub(in crate::driver) struct Gate {
    all: usize,
    of_one: usize,
    inside: Mutex<BTreeMap<Address, usize>>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(in crate::driver) struct Place(Arc<Gate>, Address);

impl Gate {
    /// So many places, and so many of them for one member at most.
    pub(in crate::driver) fn new(all: usize, of_one: usize) -> Arc<Self> {
        Arc::new(Self { all, of_one, inside: Mutex::default() })
    }

    /// A place for a member, if there is one.
    pub(in crate::driver) fn enter(self: &Arc<Self>, who: Address) -> Option<Place> {
        let mut inside = self.lock();
        let own = inside.get(&who).copied().unwrap_or_default();
        if own >= self.of_one || inside.values().sum::<usize>() >= self.all {
            return None;
        }
        inside.insert(who, own + 1);
        Some(Place(Arc::clone(self), who))
    }

    /// A count is whole after every step: whoever panicked broke nothing.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Address, usize>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.0.lock();
        if let Some(own) = inside.get_mut(&self.1) {
            *own -= 1;
            if *own == 0 {
                inside.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u8) -> Address {
        Address::from_bytes([number; Address::LEN])
    }

    #[test]
    fn one_member_never_takes_all_places_and_gets_its_own_back() {
        let gate = Gate::new(5, 2);
        let mut held: Vec<Place> = (0..2).map(|_| gate.enter(member(1)).unwrap()).collect();
        assert!(gate.enter(member(1)).is_none(), "it has its two");
        let others: Vec<Place> = [2, 3, 4].map(|number| gate.enter(member(number)).unwrap()).into();
        assert!(gate.enter(member(5)).is_none(), "all are taken");
        held.pop();
        assert!(gate.enter(member(5)).is_some());
        drop((held, others));
        assert!(gate.lock().is_empty(), "nobody is remembered who is not inside");
    }
}
