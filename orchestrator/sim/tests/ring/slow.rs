//! Members whose answers take longer than anybody waits for one on a common day, as those of a busy machine do.

use std::time::Duration;

use atoll_core::control::EventKind;

use crate::town::Town;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn members_whose_answers_take_seconds_find_each_other_and_none_loses_another() {
    let mut town = Town::apart(30, "cones", Duration::from_millis(1700), 1);
    town.start_all();
    town.completes_within(Duration::from_secs(180));
    town.world.run_for(Duration::from_secs(60)).unwrap();
    let (settled, sent) = (town.world.now(), retransmitted(&mut town));
    town.world.run_for(HOUR).unwrap();
    assert!(town.is_complete(), "{} have wrong neighbours at rest", town.wrong());
    for host in town.hosts() {
        let told = town.told_since(host, settled);
        let silent = told.iter().find(
            |kind| matches!(kind, EventKind::PeerLost { why, .. } if why == "no answer" || why == "no acknowledgement"),
        );
        assert_eq!(silent, None, "{host:?} took a slow peer for a dead one");
    }
    // An answer through a relay takes longer than anybody waits for one: those are sent again.
    let again = retransmitted(&mut town) - sent;
    assert!(again < 60.0, "{again} frames were sent again that had only not been answered yet");
}

fn retransmitted(town: &mut Town) -> f64 {
    let hosts = town.hosts();
    hosts.into_iter().map(|host| town.metric(host, "atoll_retransmitted_frames_total", "public")).sum()
}
