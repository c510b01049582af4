//! The loop around a toy machine: what goes in, what comes out, and when.

use std::collections::VecDeque;
use std::net::UdpSocket;

use atoll_core::control::{Event, EventKind};
use atoll_core::{Deadline, RequestId};

use super::requests::not_running;
use super::roster::Start;
use super::*;
use crate::config::Settings;

/// Echoes datagrams, reports the time of its one timer as an event, and says goodbye when told to.
#[derive(Default)]
struct Toy {
    outputs: VecDeque<Output>,
    deadline: Option<Time>,
    leaves: bool,
}

const TIMER: Duration = Duration::from_secs(60);

fn toy(_: &Config, _: &Pool, _: Seed, now: Time) -> Toy {
    Toy { deadline: Some(now + TIMER), leaves: true, ..Toy::default() }
}

fn toy_that_stays(config: &Config, pool: &Pool, seed: Seed, now: Time) -> Toy {
    Toy { leaves: false, ..toy(config, pool, seed, now) }
}

impl Toy {
    fn reply(&mut self, id: RequestId, command: &Command) {
        let reply = match command {
            Command::Leave if self.leaves => Reply::Left,
            Command::Metrics => Reply::Metrics(Vec::new()),
            _ => return,
        };
        self.outputs.push_back(Output::Reply { id, reply });
    }
}

impl Machine for Toy {
    fn handle_input(&mut self, input: Input, _now: Time) {
        match input {
            Input::Datagram { from, payload } => {
                self.outputs.push_back(Output::Transmit { to: from, payload });
            }
            Input::Command { id, command } => self.reply(id, &command),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            let event = Event { overlay: "public".to_owned(), kind: EventKind::Connected };
            self.outputs.push_back(Output::Event(event));
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.deadline.map(|at| Deadline { at, reason: "toy" })
    }
}

/// A driver on its own task, and the way to ask it.
fn start(make: Make<Toy>) -> (requests::Asker, SocketAddr, tokio::task::JoinHandle<()>) {
    let settings = Settings::default().with_defaults();
    let socket = Socket::bind(Some("127.0.0.1:0".parse().unwrap())).unwrap();
    let place = socket.local();
    let (asker, asks) = requests::channel();
    let (_, found) = mpsc::channel(1);
    let (_, fresh) = mpsc::channel(1);
    let roster = Roster::new(settings, None, Start { seed: Seed::default(), now: Wall(0) }).unwrap();
    let task = tokio::spawn(async move {
        let mut turns = mpsc::channel(1).1;
        let (departures, mut announcements) = (mpsc::channel(1).1, mpsc::channel(1).1);
        let inboxes = (&mut turns, &mut announcements);
        let mut inbox = Inbox::new(asks, (found, fresh), departures, inboxes).unwrap();
        Driver::new(Clock::start(), (socket, Streams::off()), roster, make).run(&mut inbox).await;
    });
    (asker, place, task)
}

#[tokio::test]
async fn datagrams_go_in_and_outputs_come_out() {
    let (asker, place, _task) = start(toy);
    let peer = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for round in 0..500u32 {
        peer.send_to(&round.to_be_bytes(), place).await.unwrap();
        let mut bytes = [0; 16];
        let (len, from) = peer.recv_from(&mut bytes).await.unwrap();
        assert_eq!((&bytes[..len], from), (&round.to_be_bytes()[..], place));
    }
    let Reply::Metrics(metrics) = asker.command(Command::Metrics).await else { panic!("metrics") };
    let sent = metrics.iter().find(|metric| metric.name == "atoll_socket_sent_datagrams_total").unwrap();
    assert_eq!(sent.value, 500.0);
}

#[tokio::test(start_paused = true)]
async fn a_timer_fires_when_it_is_due() {
    let (asker, _, _task) = start(toy);
    assert!(asker.events(0).await.unwrap().events.is_empty());
    tokio::time::sleep(TIMER + Duration::from_millis(5)).await;
    let events = asker.events(0).await.unwrap().events;
    assert_eq!(events.len(), 1);
    let late = events[0].seconds - TIMER.as_secs_f64();
    assert!((0.0..0.003).contains(&late), "{late} s late");
}

#[tokio::test]
async fn leaving_answers_first_and_then_ends() {
    let (asker, _, task) = start(toy);
    assert_eq!(asker.command(Command::Leave).await, Reply::Left);
    task.await.unwrap();
    assert_eq!(asker.command(Command::Leave).await, not_running("the node has left"));
}

#[tokio::test(start_paused = true)]
async fn goodbyes_that_are_never_done_hold_nothing_up() {
    let (asker, _, task) = start(toy_that_stays);
    let since = tokio::time::Instant::now();
    let reply = asker.command(Command::Leave).await;
    assert_eq!(reply, not_running("the node left before it replied"));
    task.await.unwrap();
    assert!(since.elapsed() <= LEAVE_MAX + Duration::from_millis(5), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_flood_of_datagrams_does_not_starve_the_servers() {
    let (asker, place, _task) = start(toy);
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let flooding = std::thread::spawn(move || {
        while stopped.try_recv().is_err() {
            let _ = flood.send_to(&[0; 100], place);
        }
    });
    for _ in 0..20 {
        let answer = tokio::time::timeout(Duration::from_secs(2), asker.command(Command::Metrics)).await;
        assert!(matches!(answer, Ok(Reply::Metrics(_))));
    }
    let _ = stop.send(());
    flooding.join().unwrap();
}
