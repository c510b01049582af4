//! Wall clocks that are set. What steps here is the wall clock, by which memberships are judged; the time that machines are
//! told never goes back, which `Checked` asserts.

use super::*;

/// A day, in seconds.
const DAY: u64 = 86_400;

impl Club {
    /// A member's wall clock is this many seconds off the true one from now on.
    fn step(&mut self, n: usize, off: i64) {
        let truth = WALL + self.now.since(Time::ZERO).as_secs();
        self.input(n, Input::WallClock { unix_seconds: truth.saturating_add_signed(off) });
    }

    fn lost(&self) -> usize {
        self.events.iter().filter(|(_, kind)| matches!(kind, EventKind::PeerLost { .. })).count()
    }
}

#[test]
fn a_clock_that_jumps_within_the_memberships_ends_no_edge() {
    for make in [Security::dtls, |own: &Credentials| Security::quic(own, QuicOptions::default())] {
        let mut club = Club::settled_with(make, &[LATE; 4]);
        let before = club.lost();
        for off in [3_600, -3_600, 5 * DAY as i64, -5 * DAY as i64, 0] {
            club.step(1, off);
            club.run(Duration::from_secs(120));
        }
        assert_eq!(club.lost(), before);
        assert!(club.is_ring(&[0, 1, 2, 3]));
    }
}

#[test]
fn a_clock_before_all_memberships_keeps_edges_refuses_newcomers_and_takes_them_once_it_is_right() {
    let mut club = Club::settled(&[LATE; 4]);
    let before = club.lost();
    // All certificates begin 500,000 s before the true time.
    club.step(0, -6 * DAY as i64);
    club.run(Duration::from_secs(300));
    assert_eq!(club.lost(), before, "nobody is less of a member for it");
    // An edge that breaks is not made again while the clock is wrong.
    club.revoke(0, 100, &[73]);
    club.revoke(0, 200, &[]);
    club.run(Duration::from_secs(60));
    assert!(!club.sees(0, 3) && club.drops(0, "not_yet_valid") >= 1.0);
    club.step(0, 0);
    club.run(Duration::from_secs(180));
    assert!(club.sees(0, 3) && club.is_ring(&[0, 1, 2, 3]));
}

#[test]
fn a_clock_beyond_all_memberships_loses_its_edges_and_makes_them_again_once_it_is_right() {
    let mut club = Club::settled(&[LATE; 4]);
    club.step(2, 200 * DAY as i64);
    assert!(club.peers(2).is_empty());
    club.run(Duration::from_secs(60));
    assert!(club.is_ring(&[0, 1, 3]) && club.peers(2).is_empty());
    let edges = club.metric_of(2, "atoll_edges");
    assert!(edges < 20.0, "{edges} edges, half-open ones included");
    club.step(2, 0);
    club.run(Duration::from_secs(180));
    assert!(club.is_ring(&[0, 1, 2, 3]));
}

#[test]
fn whatever_clocks_say_nothing_panics_and_the_ring_comes_back() {
    let mut club = Club::settled(&[LATE; 4]);
    let offs = [i64::MIN, i64::MAX, -1, 1, DAY as i64 * 400, -(DAY as i64) * 400, 0];
    for round in 0..28 {
        club.step(round % 4, offs[round % offs.len()]);
        club.run(Duration::from_millis(700 * round as u64));
    }
    for n in 0..4 {
        club.step(n, 0);
    }
    club.run(Duration::from_secs(300));
    assert!(club.is_ring(&[0, 1, 2, 3]));
}
