//! What a list says, to hold other lists and notices against it.

use std::collections::BTreeSet;

use atoll_core::security::{Notice, UserList};

/// Who and what is revoked by a list.
pub(super) struct Facts<'a> {
    users: BTreeSet<&'a str>,
    serials: BTreeSet<&'a str>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(list: &'a UserList) -> Self {
        let names = |all: &'a [(String, i64)]| all.iter().map(|(one, _)| one.as_str()).collect();
        Self { users: names(&list.users), serials: names(&list.serials) }
    }

    /// Whether it says all that a notice says.
    pub(super) fn has(&self, notice: &Notice) -> bool {
        let has_user = || self.users.contains(notice.user.as_str());
        let mut serials = notice.serials.iter().map(ToString::to_string);
        has_user() || (!notice.serials.is_empty() && serials.all(|serial| self.serials.contains(&*serial)))
    }

    /// Whether it says all that another list says.
    pub(super) fn has_all(&self, list: &UserList) -> bool {
        let of = Facts::of(list);
        self.users.is_superset(&of.users) && self.serials.is_superset(&of.serials)
    }
}

#[cfg(test)]
mod tests {
    use atoll_core::security::{Mark, Serial};

    use super::*;

    fn list(users: &[&str], serials: &[&str]) -> UserList {
        let dated = |all: &[&str]| all.iter().map(|one| ((*one).to_owned(), 7)).collect();
        UserList { group: "chess".to_owned(), number: 1, at: 7, users: dated(users), serials: dated(serials) }
    }

    fn notice(user: &str, serials: &[u8]) -> Notice {
        let serials = serials.iter().map(|serial| Serial(vec![*serial])).collect();
        let (group, user) = ("chess".to_owned(), user.to_owned());
        Notice { group, number: 2, after: 1, at: 7, digest: [0; 32], mark: Mark::default(), user, serials }
    }

    #[test]
    fn a_list_has_a_notice_if_it_names_the_user_or_all_certificates() {
        let serial = Serial(vec![9]).to_string();
        let list = list(&["ann"], &[&serial]);
        let facts = Facts::of(&list);
        assert!(facts.has(&notice("ann", &[])) && facts.has(&notice("ann", &[1])));
        assert!(!facts.has(&notice("bob", &[])) && facts.has(&notice("bob", &[9])));
        assert!(!facts.has(&notice("bob", &[9, 1])));
    }

    #[test]
    fn a_list_has_another_whose_names_it_all_has() {
        let (small, large) = (list(&["ann"], &["9"]), list(&["ann", "bob"], &["8", "9"]));
        assert!(Facts::of(&large).has_all(&small) && !Facts::of(&small).has_all(&large));
    }
}
