//! The experiment `churn`: members come and go, and meanwhile requests are answered and values of the DHT are kept.

mod agenda;
pub(super) mod crowd;
mod requests;
mod values;

use std::time::Duration;

use atoll_core::Rng;

use self::agenda::Agenda;
use self::crowd::Crowd;
use self::requests::{Aim, Request, Requests};
use super::count::Late;
use super::join::JOIN_LIMIT;
use super::outcome::Cut;
use super::rings::Rings;
use super::stage::{LOOK, Stage};
use super::theory::Overlay;
use crate::environment::{NodeIndex, Stop, Traffic};
use crate::metric;

/// Each member sends a request so often on average, but all together one in [`REQUEST_PAUSE_MAX`] or more often.
const REQUEST_PAUSE: Duration = Duration::from_secs(60);
const REQUEST_PAUSE_MAX: Duration = Duration::from_millis(200);
/// One request of so many is sent in the private overlay.
const PRIVATE_SHARE: usize = 4;
/// One value is read so often on average.
const READ_PAUSE: Duration = Duration::from_secs(1);
/// Most requests that notes name.
const NAMED_MAX: usize = 12;

/// What is to be done at some time.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// A member's stay is over.
    Depart(NodeIndex),
    /// Somebody sends a request.
    Request,
    /// Somebody reads a value.
    Read,
    /// A request is asked again, or given up.
    Again(u64),
    /// Those who came lately are looked at.
    Look,
}

/// Members that come and go.
struct Churn<'s, 'a> {
    stage: &'s mut Stage<'a>,
    crowd: Crowd,
    agenda: Agenda<Task>,
    requests: Requests,
    rng: Rng,
    /// Of each host, what its earlier members sent and received since the beginning.
    passed: Vec<Traffic>,
    /// Of each host, what its member had sent and received at the beginning.
    before: Vec<Traffic>,
    late: Vec<Late>,
    departures: [u32; 2],
    stayed: u32,
    unanswered: Vec<String>,
}

impl Stage<'_> {
    /// Runs the whole trial; what was measured before a cut stays in the outcome.
    pub(super) fn run_churn(&mut self) -> Result<(), Cut> {
        let trial = self.trial;
        let (members, _) = self.members();
        self.start_quietly(&members, &Rings::new(trial, &members))?;
        let mut rng = Rng::new(trial.internet_seed).fork("churn");
        self.put_values(&members, &mut rng)?;
        let mut churn = Churn::begin(self, rng)?;
        churn.pass()?;
        churn.conclude()
    }
}

impl<'s, 'a> Churn<'s, 'a> {
    fn begin(stage: &'s mut Stage<'a>, rng: Rng) -> Result<Self, Cut> {
        let crowd = Crowd::new(stage.trial, stage.values.session, &rng);
        let before = stage.environment.traffic(&crowd.all())?;
        let mut churn = Self {
            stage,
            crowd,
            agenda: Agenda::new(),
            requests: Requests::default(),
            rng,
            passed: vec![Traffic::default(); before.len()],
            before,
            late: Vec::new(),
            departures: [0; 2],
            stayed: 0,
            unanswered: Vec::new(),
        };
        let now = churn.now();
        for node in churn.crowd.all() {
            let stay = churn.crowd.stay();
            churn.agenda.put(now + stay, Task::Depart(node));
        }
        let statuses = churn.stage.environment.statuses(&churn.crowd.all())?;
        for (node, status) in churn.crowd.all().into_iter().zip(&statuses) {
            status.as_ref().map(|status| churn.crowd.see(node, status));
        }
        [Task::Look, Task::Request, Task::Read].into_iter().for_each(|task| churn.agenda.put(now, task));
        Ok(churn)
    }

    fn now(&self) -> Duration {
        self.stage.environment.now()
    }

    /// Lets members come and go for as long as is measured, and counts the bytes.
    fn pass(&mut self) -> Result<(), Cut> {
        let (began, span) = (self.now(), self.stage.values.measure);
        let end = began + span;
        while let Some((at, task)) = self.agenda.take_before(end) {
            self.stage.environment.advance(at)?;
            self.stage.stop_if_cancelled()?;
            self.hear()?;
            if matches!(task, Task::Look) {
                let gone = self.now().saturating_sub(began);
                self.stage.surroundings.progress.step("members come and go", gone.as_secs(), span.as_secs());
            }
            self.carry_out(task, end)?;
        }
        self.stage.environment.advance(end)?;
        self.hear()?;
        self.say_bytes((self.now() - began).as_secs_f64())
    }

    fn carry_out(&mut self, task: Task, end: Duration) -> Result<(), Cut> {
        let now = self.now();
        match task {
            Task::Depart(node) => self.depart(node)?,
            Task::Again(id) => self.again(id)?,
            Task::Request => {
                let pause = (REQUEST_PAUSE / self.passed.len() as u32).min(REQUEST_PAUSE_MAX);
                let pause = self.pause(pause);
                self.agenda.put(now + pause, Task::Request);
                self.request(end)?;
            }
            Task::Read => {
                let pause = self.pause(READ_PAUSE);
                self.agenda.put(now + pause, Task::Read);
                let reader = self.one_of(&self.crowd.connected(Overlay::Public));
                let aim = Aim::Value(self.rng.below(values::VALUES));
                if let Some(reader) = reader {
                    self.ask(reader, aim, end)?;
                }
            }
            Task::Look => {
                self.agenda.put(now + LOOK, Task::Look);
                self.look()?;
            }
        }
        Ok(())
    }

    /// An exponential time around this mean.
    fn pause(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.rng.unit()).ln())
    }

    fn one_of(&mut self, nodes: &[NodeIndex]) -> Option<NodeIndex> {
        (!nodes.is_empty()).then(|| nodes[self.rng.below(nodes.len())])
    }

    /// A random member asks another one, both alive and connected.
    fn request(&mut self, end: Duration) -> Result<(), Cut> {
        let private = self.crowd.connected(Overlay::Private);
        let is_private = private.len() > 1 && self.rng.below(PRIVATE_SHARE) == 0;
        let (overlay, nodes) = match is_private {
            true => (Overlay::Private, private),
            false => (Overlay::Public, self.crowd.connected(Overlay::Public)),
        };
        match (self.one_of(&nodes), self.one_of(&nodes)) {
            (Some(from), Some(to)) if from != to => self.ask(from, Aim::Member(overlay, to), end),
            _ => Ok(()),
        }
    }

    /// Begins a request, unless it could not end in time.
    fn ask(&mut self, from: NodeIndex, aim: Aim, end: Duration) -> Result<(), Cut> {
        let now = self.now();
        if now + aim.terms().1 >= end {
            return Ok(());
        }
        let id = self.requests.open(from, aim, now);
        self.again(id)
    }

    /// Asks a request once more, or gives it up.
    fn again(&mut self, id: u64) -> Result<(), Cut> {
        let now = self.now();
        let Some(Request { from, aim, asked, .. }) = self.requests.get(id).cloned() else { return Ok(()) };
        let (pause, limit) = aim.terms();
        if now >= asked + limit {
            if let Some(request) = self.requests.give_up(id) {
                self.say_unanswered(&request);
            }
            return Ok(());
        }
        if let Some(command) = aim.command(&self.crowd.trial) {
            let question = self.stage.environment.ask(from, command)?;
            self.requests.asked(id, question);
        }
        self.agenda.put((now + pause).min(asked + limit), Task::Again(id));
        Ok(())
    }

    /// Takes what came of answers.
    fn hear(&mut self) -> Result<(), Cut> {
        for answer in self.stage.environment.take_answers()? {
            let Some(request) = self.requests.answer(&answer) else { continue };
            if let Aim::Member(..) = request.aim {
                let seconds = answer.at.saturating_sub(request.asked).as_secs_f64();
                self.stage.sample(Some(request.from), metric::REQUEST, seconds);
            }
        }
        Ok(())
    }

    fn say_unanswered(&mut self, request: &Request) {
        let name = |node: NodeIndex| &self.crowd.trial.nodes[node.index()].name;
        let what = match request.aim {
            Aim::Member(overlay, to) => format!("to {} in the {} overlay", name(to), overlay.name()),
            Aim::Value(number) => format!("for `{}`", values::key(number)),
        };
        let (from, at) = (name(request.from), request.asked.as_secs_f64());
        if self.unanswered.len() < NAMED_MAX {
            self.unanswered.push(format!("no answer to a request of {from} {what} at {at:.1} s"));
        }
    }

    /// A member goes, and another one comes to its place at once. One that is the only way in stays.
    fn depart(&mut self, node: NodeIndex) -> Result<(), Cut> {
        let stay = self.crowd.stay();
        let (how, successor) = (self.crowd.way_out(), self.crowd.successor(node)?);
        let Some(member) = successor else {
            self.stayed += 1;
            self.agenda.put(self.now() + stay, Task::Depart(node));
            return Ok(());
        };
        self.requests.forget(node);
        let environment = &mut *self.stage.environment;
        environment.stop(&[node], how)?;
        let traffic = environment.traffic(&[node])?.into_iter().next().unwrap_or_default();
        environment.replace(node, &member)?;
        environment.start(&[node])?;
        let index = node.index();
        let since = traffic.since(&std::mem::take(&mut self.before[index]));
        self.passed[index].sent_bytes += since.sent_bytes;
        self.passed[index].received_bytes += since.received_bytes;
        self.departures[usize::from(how == Stop::Leave)] += 1;
        let now = self.now();
        self.crowd.begin(node, member, now);
        self.agenda.put(now + stay, Task::Depart(node));
        Ok(())
    }

    /// Looks who of those who came lately is connected now, and who needs too long.
    fn look(&mut self) -> Result<(), Cut> {
        let joining = self.crowd.joining();
        let statuses = self.stage.environment.statuses(&joining)?;
        let now = self.now();
        for (node, status) in joining.into_iter().zip(&statuses) {
            let Some(status) = status else { continue };
            if self.crowd.see(node, status)
                && let Some(seconds) = status.status.join_seconds
            {
                self.stage.sample(Some(node), metric::PUBLIC_JOIN, seconds);
            }
            let overdue = self.crowd.overdue(node, JOIN_LIMIT, now);
            for overlay in overdue {
                let excused = Rings::new(&self.crowd.trial, &[node]).excused(node, overlay);
                self.late.push(Late { member: node, overlay, excused });
            }
        }
        Ok(())
    }

    /// Samples of what a member sent and received, whoever it was on each host.
    fn say_bytes(&mut self, seconds: f64) -> Result<(), Cut> {
        let nodes = self.crowd.all();
        let traffic = self.stage.environment.traffic(&nodes)?;
        for (node, last) in nodes.into_iter().zip(traffic) {
            let (earlier, last) = (self.passed[node.index()], last.since(&self.before[node.index()]));
            let rate = |a: u64, b: u64| (a + b) as f64 / seconds;
            let sent = rate(earlier.sent_bytes, last.sent_bytes);
            let received = rate(earlier.received_bytes, last.received_bytes);
            self.stage.sample(Some(node), metric::SENT, sent);
            self.stage.sample(Some(node), metric::RECEIVED, received);
        }
        Ok(())
    }

    /// Nobody comes and goes any more: what became of requests, of the rings and of the values.
    fn conclude(self) -> Result<(), Cut> {
        let Self { stage, crowd, requests, mut rng, late, departures, stayed, unanswered, .. } = self;
        let mut stage = Stage {
            environment: &mut *stage.environment,
            trial: &crowd.trial,
            values: stage.values,
            surroundings: stage.surroundings,
            outcome: &mut *stage.outcome,
        };
        let [crashed, left] = departures;
        if crashed + left == 0 {
            stage.outcome.invalid_reasons.push("no member's stay was over: nobody came or went".to_owned());
        }
        stage.note(format!("{crashed} members crashed and {left} left, and others took their places"));
        if stayed > 0 {
            stage.note(format!("{stayed} times a member stayed that was the only way in"));
        }
        for (metric, tally) in [
            (metric::ANSWERED, requests.public),
            (metric::PRIVATE_ANSWERED, requests.private),
            (metric::READ, requests.reads),
        ] {
            let Some(ratio) = tally.ratio() else { continue };
            stage.sample(None, metric, ratio);
            let all = tally.answered + tally.missed;
            let void = tally.void;
            stage
                .note(format!("{}: {} of {all}, and {void} whose end was gone", metric.name, tally.answered));
        }
        stage.outcome.notes.extend(unanswered);
        let members = crowd.all();
        let explained = stage.count(&members, &Rings::new(&crowd.trial, &members), &late)?;
        stage.count_values(&members, &mut rng)?;
        let private = (stage.values.private() > 1).then_some(metric::PRIVATE_ANSWERED);
        let wanted = [metric::ANSWERED, metric::REQUEST, metric::READ, metric::SENT, metric::RECEIVED];
        stage.outcome.miss(&wanted, false);
        stage.outcome.miss(&private.into_iter().chain([metric::PUBLIC_JOIN]).collect::<Vec<_>>(), explained);
        Ok(())
    }
}
