//! Those who are no members and come straight to the door: nobody lets them in, and nobody notices them otherwise.

use super::*;

/// What an intruder has.
#[derive(Clone, Copy, Debug)]
enum Has {
    /// A group of its own, with the same name.
    OwnGroup,
    /// The group's secret, and a certificate that it made itself.
    Secret,
    /// The secret, and a certificate of the right authority for another group.
    OtherGroup,
    /// The secret, and a certificate in the name of member 1, by an authority of its own.
    OthersName,
}

impl Club {
    /// One more node, which asks every member for the way in.
    fn intrude(&mut self, has: Has) -> usize {
        let n = self.nodes.len();
        let secret = match has {
            Has::OwnGroup => [9; 32],
            _ => SECRET,
        };
        let credentials = match has {
            Has::OwnGroup | Has::Secret => credentials(&Ca::new(), n, LATE),
            Has::OtherGroup => named(&self.ca, "go", n),
            Has::OthersName => named(&Ca::new(), GROUP, 1),
        };
        // It admits everybody whom its own authority or the group's vouches for.
        let authority = Authority::new(&self.ca.der(), GROUP).unwrap();
        let security =
            Security::dtls(&credentials).unwrap().in_group(authority, Some(GroupSecret::new(secret)));
        let bootstraps = (0..n).map(place).collect();
        let overlay = OverlayConfig { security, ..OverlayConfig::new(GROUP, own(n), bootstraps) };
        let config = Config { unix_seconds: WALL, ..Config::new(vec![overlay]) };
        self.nodes.push(Checked::new(Node::new(&config, &self.pool, [n as u8; 32], self.now)));
        self.input(n, Input::LocalAddresses(vec![place(n)]));
        n
    }
}

fn named(ca: &Ca, group: &str, n: usize) -> Credentials {
    let names = [
        format!("atoll://group/{group}"),
        format!("atoll://user/{n}"),
        format!("atoll://address/{}", own(n)),
    ];
    let leaf = Leaf { until: LATE, ..Leaf::new(&names.each_ref().map(String::as_str)) };
    let key = key();
    Credentials::new(&ca.sign(&key, &leaf), key).unwrap()
}

#[test]
fn who_has_no_certificate_of_the_authority_is_never_let_in_and_disturbs_nobody() {
    for has in [Has::OwnGroup, Has::Secret, Has::OtherGroup, Has::OthersName] {
        let mut club = Club::settled(&[LATE; 3]);
        club.run(Duration::from_secs(30));
        let (told, edges) = (club.events.len(), club.metric_of(0, "atoll_edges"));
        let intruder = club.intrude(has);
        for _ in 0..60 {
            club.run(Duration::from_secs(5));
            assert!(club.peers(intruder).is_empty(), "{has:?}");
            for n in 0..3 {
                let now = club.metric_of(n, "atoll_edges");
                assert!(now <= edges + 4.0, "{has:?}: {now} edges, half-open ones included");
            }
        }
        let ours: Vec<_> = club.events[told..].iter().filter(|(n, _)| *n < 3).collect();
        assert!(ours.is_empty(), "{has:?}: {ours:?}");
        assert!(club.is_ring(&[0, 1, 2]), "{has:?}");
    }
}
