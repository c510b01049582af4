//! Two memberships' QUIC over a ring that may lie about addresses.

use atoll_core::control::{Author, Command, FailureKind, Reply};
use atoll_core::security::{Claim, Credentials, Trust, Wall};
use atoll_core::{Input, Pool};
use tokio::sync::mpsc::Receiver;

use super::*;
use crate::driver::requests::{self, Ask};

/// Answers as a machine whose overlay has addresses that belong to keys.
async fn judge(mut asks: Receiver<Ask>) {
    while let Some(Ask::Command(Command::Judge { certificate, .. }, reply)) = asks.recv().await {
        let verdict = Trust::SelfCertified.verify(&Claim::Certificate(certificate), Wall(0));
        let _ = reply.send(match verdict {
            Ok(member) => Reply::Judged(Author { address: member.address, user: None, group: None }),
            Err(why) => Reply::failed(FailureKind::Refused, why.to_string()),
        });
    }
}

/// One end of what the test's ring carries.
pub(in crate::driver) struct End {
    pub(in crate::driver) member: Arc<Member>,
    pub(in crate::driver) own: Address,
    departures: Departures,
    arrivals: Arrivals,
}

impl End {
    pub(in crate::driver) fn new(seed: u8) -> Self {
        Self::serving(seed, &Protocol::ALL)
    }

    fn serving(seed: u8, served: &[Protocol]) -> Self {
        let (asker, asks) = requests::channel();
        tokio::spawn(judge(asks));
        let credentials = Credentials::derived([seed; 32], "public").unwrap();
        let ((departing, departures), mut arrivals) = (carrier::departures(), Arrivals::default());
        let carrier = arrivals.carrier(&departing);
        let member = Member::new("public".to_owned(), &credentials, served, (carrier, asker)).unwrap();
        let (member, own) = (Arc::new(member), credentials.address().unwrap());
        Self { member, own, departures, arrivals }
    }
}

/// Two members, each of which reaches the other; the second one has a service.
pub(in crate::driver) fn before(service: Arc<dyn Service>) -> (Arc<Member>, Address) {
    let (one, other) = (End::new(1), End::serving(2, &[service.protocol()]));
    let (from, to) = (one.own, other.own);
    carry(one.departures, from, other.arrivals);
    carry(other.departures, to, one.arrivals);
    tokio::spawn(accept_all(other.member, vec![service]));
    (one.member, to)
}

/// Carries what one end sends to the other, with this address for its source.
fn carry(mut departures: Departures, source: Address, mut arrivals: Arrivals) {
    tokio::spawn(async move {
        let pool = Pool::new();
        while let Some(Input::Carry { payload, .. }) = departures.recv().await {
            assert_eq!(payload.len().min(1200), payload.len(), "longer than the ring carries");
            arrivals.put(0, source, pool.copy(&payload));
        }
    });
}

/// What each end thinks of the other: one reaches out for `to`, and its packets say that they come from `from`.
async fn meet(to: impl Fn(&End) -> Address, from: impl Fn(&End) -> Address) -> [Result<Author, String>; 2] {
    let (one, other) = (End::new(1), End::new(2));
    let (to, from) = (to(&other), from(&one));
    carry(one.departures, from, other.arrivals);
    carry(other.departures, to, one.arrivals);
    let accept = async {
        let incoming = other.member.quic.accept().await.unwrap();
        let connection = incoming.accept().unwrap().await.unwrap();
        let verdict = other.member.judge(&connection).await;
        connection.closed().await;
        verdict
    };
    let connect = async {
        let connection = one.member.connect(to, Protocol::Files).await?;
        one.member.judge(&connection).await
    };
    let (connected, accepted) = tokio::join!(connect, accept);
    [connected, accepted]
}

fn liar() -> Address {
    Address::from_bytes([0x77; Address::LEN])
}

#[tokio::test]
async fn two_members_know_each_other_by_their_certificates() {
    let [one, other] = [End::new(1).own, End::new(2).own];
    let seen = meet(|end| end.own, |end| end.own).await;
    assert_eq!(seen.map(|seen| seen.unwrap().address), [other, one]);
}

#[tokio::test]
async fn whoever_answers_at_an_address_that_is_not_its_own_is_refused() {
    let [one, _] = meet(|_| liar(), |end| end.own).await;
    assert_eq!(one, Err("another member answered".to_owned()));
}

#[tokio::test]
async fn whoever_comes_from_an_address_that_is_not_its_own_is_refused() {
    let [_, other] = meet(|end| end.own, |_| liar()).await;
    assert_eq!(other, Err("another member answered".to_owned()));
}

/// What one end hears that wants to speak with another, which serves this.
async fn speak(wanted: Protocol, served: &[Protocol]) -> Result<Option<Vec<u8>>, String> {
    let (one, other) = (End::new(1), End::serving(2, served));
    let (to, from) = (other.own, one.own);
    carry(one.departures, from, other.arrivals);
    carry(other.departures, to, one.arrivals);
    let accepting = other.member.quic.clone();
    let answering = tokio::spawn(async move {
        let connection = accepting.accept().await?.accept().ok()?.await.ok()?;
        let spoken = member::spoken(&connection);
        connection.closed().await;
        spoken
    });
    one.member.connect(to, wanted).await?.close(0u8.into(), b"");
    Ok(answering.await.unwrap())
}

#[tokio::test]
async fn files_and_sites_are_told_apart_and_what_is_not_served_is_refused() {
    for protocol in Protocol::ALL {
        assert_eq!(speak(protocol, &Protocol::ALL).await, Ok(Some(protocol.name().to_vec())));
    }
    let refused = speak(Protocol::Sites, &[Protocol::Files]).await;
    assert_eq!(refused, Err("it has nothing of that kind".to_owned()));
}
