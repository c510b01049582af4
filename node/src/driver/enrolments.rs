//! The memberships that sites hand out: a task for each asks for its certificate, renews it in time, and looks for newer lists.
//!
//! A membership without a certificate is left out of the ring until it has one; then the machine is made anew with it. The
//! files that a task writes are read by those that look at files anyway.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atoll_core::control::{Metric, MetricKind};
use atoll_core::security::{Epoch, Wall};
use atoll_core::wire::Address;
use openssl::rand::rand_bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::revocations::{Fresh, News};
use super::{Clock, sites};
use crate::config::{Engine, FromSite, Group, Refused, Settings};
use crate::date;
use crate::enrolment::{
    self, AFTER_REFUSAL, Asked, Enrolment, Life, Ring, Trouble, Via, until_decision, without_certificate,
};
use crate::failure::Failure;

/// How long the start waits for certificates that are there at once.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Longest sleep: the wall clock may have been set meanwhile.
const LOOK: Duration = Duration::from_secs(60);
/// Within this time after a revocation members ask for the salt that the group has since.
const SALT_SPREAD: Duration = Duration::from_secs(5);
/// Turns that wait for the loop.
const TURNS_MAX: usize = 16;

/// Where a membership stands with its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The site has not answered yet.
    Asking,
    /// An administrator decides.
    Waiting,
    /// There is a certificate.
    Enrolled,
    /// There is one, and it is time for the next.
    Renewing,
    /// The site refuses.
    Refused,
}

impl Standing {
    const ALL: [Self; 5] = [Self::Asking, Self::Waiting, Self::Enrolled, Self::Renewing, Self::Refused];

    /// The word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Asking => "asking",
            Self::Waiting => "waiting",
            Self::Enrolled => "enrolled",
            Self::Renewing => "renewing",
            Self::Refused => "refused",
        }
    }
}

/// A membership and its site, as `GET /enrolments` shows them. Times are seconds since 1970 (UTC).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the overlay.
    pub overlay: String,
    /// The group.
    pub group: String,
    /// Whose node it is.
    pub user: String,
    /// Where the site is.
    pub site: String,
    /// The way in which it answered last.
    #[serde(default)]
    pub reached_by: Option<Via>,
    /// The node's place on the ring.
    pub address: Address,
    /// Where it stands.
    pub state: Standing,
    /// What keeps it from what it wants, and what to try.
    pub why: Option<String>,
    /// See above.
    pub hint: Option<String>,
    /// When the certificate ends.
    pub expires_seconds: Option<u64>,
    /// When the next one is asked for.
    pub renewal_seconds: Option<u64>,
    /// When the site last answered.
    pub contact_seconds: Option<u64>,
    /// The number of the newest revocation list.
    pub list: Option<i64>,
    /// Questions to the site that came to nothing, since the start.
    pub failures: u64,
}

/// What the loop has to know of.
pub(super) enum Turn {
    /// A membership that was left out has its certificate.
    Enrolled { overlay: String },
    /// What the node was started for is refused.
    Refused(Failure),
    /// What it was in the overlay for is done.
    Done,
}

impl Turn {
    /// The failure, if it is one.
    pub(super) fn refused(self) -> Result<(), Failure> {
        match self {
            Self::Enrolled { .. } | Self::Done => Ok(()),
            Self::Refused(failure) => Err(failure),
        }
    }
}

/// A membership, as its task tells of it.
struct Member {
    report: Mutex<Report>,
    /// Stirs whoever looks at the files.
    written: watch::Sender<()>,
    /// What the site said of revocations, for the machine.
    brought: watch::Sender<Brought>,
    /// The number of the last notice whose salt the machine lacks.
    wanted: watch::Sender<u64>,
    /// Whether the site has been asked once, or cannot be before the node is in the public overlay.
    asked: watch::Sender<bool>,
}

impl Member {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a site said of revocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Brought {
    /// The newest list of revoked users, as members hand it on.
    list: Option<Vec<u8>>,
    /// The last notice.
    notice: Option<Vec<u8>>,
    /// The salt that the group has since that.
    epoch: Option<Epoch>,
}

impl Brought {
    /// What is new in it.
    fn news(self, before: &Self) -> Vec<News> {
        let list = self.list.filter(|list| before.list.as_ref() != Some(list)).map(News::Users);
        let notice = self.notice.filter(|notice| before.notice.as_ref() != Some(notice)).map(News::Notice);
        let epoch = self.epoch.filter(|epoch| before.epoch != Some(*epoch)).map(News::Epoch);
        [list, notice, epoch].into_iter().flatten().collect()
    }
}

/// All of them. Clones share it.
#[derive(Clone)]
pub(super) struct Enrolments {
    members: Arc<Vec<Arc<Member>>>,
    /// The public overlay, through which sites are reached as well.
    ring: watch::Sender<Option<Arc<dyn Ring>>>,
    /// Their tasks end with the last clone.
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Default for Enrolments {
    fn default() -> Self {
        Self { members: Arc::default(), ring: watch::Sender::new(None), _tasks: Arc::default() }
    }
}

impl Enrolments {
    /// Opens each membership that a site hands out, and begins to look after it.
    pub(super) fn start(settings: &Settings, clock: Clock) -> Result<(Self, mpsc::Receiver<Turn>), Failure> {
        let (turn, turns) = mpsc::channel(TURNS_MAX);
        let (mut members, mut tasks, ring) = (Vec::new(), JoinSet::new(), watch::Sender::new(None));
        let is_public = sites::public(settings).is_some_and(|first| first.security != Engine::None);
        for membership in &settings.overlays {
            let Some((group, site)) = handed_out(membership.group.as_ref()) else { continue };
            let asked = watch::Sender::new(false);
            let rings = is_public.then(|| (ring.subscribe(), asked.clone()));
            let enrolment = Enrolment::open(group, site, rings)?;
            let life = enrolment.life(Wall(clock.wall()))?;
            asked.send_replace(life.is_some());
            let member = Arc::new(Member {
                report: Mutex::new(first_report(&membership.name.0, group, &enrolment)),
                written: watch::Sender::new(()),
                brought: watch::Sender::new(Brought { list: enrolment.signed_list(), ..Brought::default() }),
                wanted: watch::Sender::new(0),
                asked,
            });
            let poll = group.poll.0;
            let share = share();
            let keeper = Keeper {
                enrolment,
                member: Arc::clone(&member),
                turn: turn.clone(),
                refused: site.refused,
                clock,
                poll,
                share,
                is_in: life.is_some(),
                had_one: life.is_some(),
                is_refused: false,
                failures: 0,
                decisions: 0,
                complaint: None,
                next_ask: Instant::now(),
                next_lists: Instant::now(),
                next_salt: Instant::now(),
                salt_failures: 0,
            };
            members.push(member);
            tasks.spawn(keeper.keep());
        }
        Ok((Self { members: Arc::new(members), ring, _tasks: Arc::new(Mutex::new(tasks)) }, turns))
    }

    /// None, of a node that is in the public overlay for somebody else.
    pub(super) fn none(ring: watch::Sender<Option<Arc<dyn Ring>>>) -> Self {
        Self { ring, ..Self::default() }
    }

    /// The node is in the public overlay now, or no longer.
    pub(super) fn set_ring(&self, ring: Option<Arc<dyn Ring>>) {
        self.ring.send_replace(ring);
    }

    /// Waits until each site has answered once or can only be reached through the overlay, or a little while.
    pub(super) async fn first_answers(&self) {
        let all = async {
            for member in self.members.iter() {
                let _ = member.asked.subscribe().wait_for(|asked| *asked).await;
            }
        };
        let _ = timeout(FIRST_WAIT, all).await;
    }

    /// Where each of them stands.
    pub(super) fn reports(&self) -> Vec<Report> {
        self.members.iter().map(|member| member.report().clone()).collect()
    }

    /// What tells that the files of an overlay were written; nothing if no site hands them out.
    pub(super) fn written(&self, overlay: &str) -> Option<watch::Receiver<()>> {
        let of = |member: &&Arc<Member>| member.report().overlay == overlay;
        self.members.iter().find(of).map(|member| member.written.subscribe())
    }

    /// Has the site of an overlay asked for the salt that its group has since this notice.
    pub(super) fn want_salt(&self, overlay: &str, number: u64) {
        let of = |member: &&Arc<Member>| member.report().overlay == overlay;
        if let Some(member) = self.members.iter().find(of) {
            member.wanted.send_replace(number);
        }
    }

    /// Hands on what the site of an overlay says of revocations, until `fresh` closes; ends at once if there is no site.
    pub(super) fn follow_site(
        &self,
        overlay: &str,
        slot: usize,
        fresh: mpsc::Sender<Fresh>,
    ) -> impl Future<Output = ()> + use<> {
        let of = |member: &&Arc<Member>| member.report().overlay == overlay;
        let brought = self.members.iter().find(of).map(|member| member.brought.subscribe());
        async move {
            let Some(mut brought) = brought else { return };
            let mut before = Brought::default();
            loop {
                let now = brought.borrow_and_update().clone();
                for news in now.clone().news(&before) {
                    if fresh.send(Fresh { overlay: slot, news }).await.is_err() {
                        return;
                    }
                }
                before = now;
                tokio::select! {
                    () = fresh.closed() => return,
                    changed = brought.changed() => if changed.is_err() { return },
                }
            }
        }
    }

    /// How they are, for Prometheus.
    pub(super) fn metrics(&self, now: Wall) -> Vec<Metric> {
        self.members.iter().flat_map(|member| metrics(&member.report(), now)).collect()
    }
}

/// A group whose files a site hands out.
pub(super) fn handed_out(group: Option<&Group>) -> Option<(&Group, &FromSite)> {
    let group = group?;
    Some((group, group.site.as_ref()?))
}

/// The configuration without the memberships that have no certificate yet. Without the first there are none: it carries the
/// others.
pub(super) fn present(settings: &Settings, now: Wall) -> Result<Settings, Failure> {
    let mut present = settings.clone();
    present.overlays.clear();
    for (number, membership) in settings.overlays.iter().enumerate() {
        let is_there = match handed_out(membership.group.as_ref()) {
            Some((group, _)) => enrolment::life(group, now)?.is_some(),
            None => true,
        };
        match is_there {
            true => present.overlays.push(membership.clone()),
            false if number == 0 => break,
            false => {}
        }
    }
    Ok(present)
}

fn first_report(overlay: &str, group: &Group, enrolment: &Enrolment) -> Report {
    Report {
        overlay: overlay.to_owned(),
        group: group.name.0.clone(),
        user: enrolment.user().to_owned(),
        site: enrolment.site(),
        reached_by: None,
        address: enrolment.address(),
        state: Standing::Asking,
        why: None,
        hint: None,
        expires_seconds: None,
        renewal_seconds: None,
        contact_seconds: None,
        list: enrolment.list(),
        failures: 0,
    }
}

/// A random number in 0..1.
fn share() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness all nodes ask at one time, and nothing else is lost.
    let _ = rand_bytes(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// Looks after one membership.
struct Keeper {
    enrolment: Enrolment,
    member: Arc<Member>,
    turn: mpsc::Sender<Turn>,
    refused: Refused,
    clock: Clock,
    poll: Duration,
    share: f64,
    /// Whether the loop knows that there is a certificate.
    is_in: bool,
    /// Whether there was one when it was looked last.
    had_one: bool,
    /// Whether the last answer to a request is that only people can change something.
    is_refused: bool,
    /// Questions in a row that came to nothing.
    failures: u32,
    /// Answers in a row that an administrator decides.
    decisions: u32,
    complaint: Option<String>,
    next_ask: Instant,
    next_lists: Instant,
    /// When the salt is asked for, if it is missing.
    next_salt: Instant,
    /// Such questions in a row that came to nothing.
    salt_failures: u32,
}

impl Keeper {
    async fn keep(mut self) {
        loop {
            let now = Wall(self.clock.wall());
            let life = self.enrolment.life(now).unwrap_or_else(|failure| {
                self.complain(&Trouble::Unkept(failure));
                None
            });
            if std::mem::replace(&mut self.had_one, life.is_some()) && life.is_none() {
                self.begin_anew();
            }
            let due = life.map(|life| life.renewal(self.share));
            self.show(life, due, now);
            // A node that the list withdraws hears from the site why.
            let is_doubtful = self.enrolment.is_withdrawn() && !self.is_refused;
            let is_due = due.is_none_or(|due| due <= now) || is_doubtful;
            if is_due && self.next_ask <= Instant::now() {
                self.ask(now, life).await;
            } else if life.is_some() && self.next_lists <= Instant::now() {
                self.look().await;
            } else if life.is_some() && self.next_salt <= Instant::now() && self.lacks_salt() {
                self.fetch_salt(now, life).await;
            } else {
                self.rest(due, now).await;
            }
        }
    }

    /// The certificate has ended: the waits that it left time for suit no longer.
    fn begin_anew(&mut self) {
        if !self.is_refused {
            (self.failures, self.next_ask) = (0, Instant::now());
        }
    }

    /// Sleeps until there is something to do.
    async fn rest(&mut self, due: Option<Wall>, now: Wall) {
        let until_due = due.map(|due| Duration::from_secs(due.0.saturating_sub(now.0).max(1)));
        let ask = until_due.map_or(self.next_ask, |wait| self.next_ask.max(Instant::now() + wait));
        let lists = if due.is_some() { self.next_lists } else { ask };
        let mut until = ask.min(lists).min(Instant::now() + LOOK);
        if due.is_some() && self.lacks_salt() {
            until = until.min(self.next_salt);
        }
        let mut wanted = self.member.wanted.subscribe();
        tokio::select! {
            () = sleep_until(until) => {}
            Ok(()) = wanted.changed() => self.want_salt(),
        }
    }

    /// The machine lacks a salt. Not all members ask at once: whoever gets it tells it to the others.
    fn want_salt(&mut self) {
        self.next_salt = Instant::now() + SALT_SPREAD.mul_f64(share());
        self.salt_failures = 0;
    }

    /// Whoever is revoked gets none.
    fn lacks_salt(&self) -> bool {
        let is_out = self.is_refused || self.enrolment.is_withdrawn();
        !is_out && self.enrolment.lacks_salt(*self.member.wanted.borrow())
    }

    /// Asks for the salt that the group has since the last notice.
    async fn fetch_salt(&mut self, now: Wall, before: Option<Life>) {
        let wanted = *self.member.wanted.borrow();
        match self.enrolment.fetch_salt(wanted, now).await {
            Ok(_) => {
                self.contact();
                let now = Wall(self.clock.wall());
                if self.enrolment.life(now).is_ok_and(|life| life != before) {
                    self.member.written.send_replace(());
                }
            }
            Err(trouble) => self.complain(&trouble),
        }
        self.salt_failures = self.salt_failures.saturating_add(1);
        let wait = without_certificate(self.salt_failures);
        self.next_salt = Instant::now() + wait.mul_f64(0.9 + 0.2 * share());
    }

    /// Asks for a certificate.
    async fn ask(&mut self, now: Wall, life: Option<Life>) {
        let asked = self.enrolment.ask(now).await;
        let wait = match asked {
            Ok(Asked::Enrolled) => self.enrolled(life),
            Ok(Asked::Waiting(again)) => self.waiting(again),
            Err(trouble) => self.failed(trouble, life).await,
        };
        self.next_ask = Instant::now() + wait.mul_f64(0.9 + 0.2 * share());
        self.member.asked.send_replace(true);
    }

    /// There is a certificate; gives how long to wait if it is the same as before.
    fn enrolled(&mut self, before: Option<Life>) -> Duration {
        let now = Wall(self.clock.wall());
        self.is_refused = false;
        self.contact();
        let life = self.enrolment.life(now).ok().flatten();
        self.failures = if life == before { self.failures.saturating_add(1) } else { 0 };
        self.decisions = 0;
        self.show(life, life.map(|life| life.renewal(self.share)), now);
        if life != before {
            let (overlay, site) = (self.overlay(), self.enrolment.site());
            let until = life.map(|life| date::shown(life.until.0));
            let by = self.enrolment.reached_by().map(Via::word);
            tracing::info!(overlay, site, by, until, "certificate from the site");
            self.member.written.send_replace(());
        }
        if !self.is_in && life.is_some() {
            self.is_in = true;
            // A loop that has as many turns before it looks at all memberships then.
            let _ = self.turn.try_send(Turn::Enrolled { overlay: self.overlay() });
        }
        self.next_lists = Instant::now() + self.poll;
        life.map_or_else(|| without_certificate(1), |life| life.pause(self.failures))
    }

    fn overlay(&self) -> String {
        self.member.report().overlay.clone()
    }

    fn waiting(&mut self, again: Duration) -> Duration {
        (self.is_refused, self.failures) = (false, 0);
        self.contact();
        let why = "an administrator of the group has to admit this node";
        {
            let mut report = self.member.report();
            report.state = Standing::Waiting;
            (report.why, report.hint) = (Some(why.to_owned()), Some("it asks again by itself".to_owned()));
        }
        if self.decisions == 0 {
            let (overlay, address) = (self.overlay(), self.enrolment.address());
            let (user, site) = (self.enrolment.user(), self.enrolment.site());
            tracing::info!(overlay, %address, user, site, "waiting: {why}; it asks again by itself");
        }
        self.decisions = self.decisions.saturating_add(1);
        until_decision(again, self.decisions - 1)
    }

    async fn failed(&mut self, trouble: Trouble, life: Option<Life>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.complain(&trouble);
        self.is_refused = trouble.is_final();
        self.show(life, life.map(|life| life.renewal(self.share)), Wall(self.clock.wall()));
        let wait = match life {
            _ if trouble.is_final() => AFTER_REFUSAL,
            Some(life) => life.pause(self.failures),
            None => without_certificate(self.failures),
        };
        let wait = wait.max(trouble.wait().unwrap_or_default());
        if self.refused == Refused::Ends && life.is_none() && trouble.is_for_people() {
            let what = format!("the site {}", self.enrolment.site());
            let _ = self.turn.send(Turn::Refused(trouble.failure(&what))).await;
        }
        wait
    }

    /// Looks for a newer list.
    async fn look(&mut self) {
        let wait = match self.enrolment.fetch_lists().await {
            Ok(number) => {
                self.contact();
                if let Some(number) = number {
                    tracing::info!(overlay = self.overlay(), number, "revocation list from the site");
                    self.member.written.send_replace(());
                }
                self.poll
            }
            Err(trouble) => {
                self.complain(&trouble);
                self.poll.max(trouble.wait().unwrap_or_default())
            }
        };
        self.next_lists = Instant::now() + wait.mul_f64(0.9 + 0.2 * share());
        let is_over = self.enrolment.life(Wall(self.clock.wall())).is_ok_and(|life| life.is_none());
        if !self.is_refused && (is_over || self.enrolment.is_withdrawn()) {
            self.next_ask = Instant::now();
        }
    }

    /// The site has answered: what was wrong is over.
    fn contact(&mut self) {
        if !self.is_refused && self.complaint.take().is_some() {
            tracing::info!(overlay = self.overlay(), site = self.enrolment.site(), "the site answers again");
        }
        let mut report = self.member.report();
        report.contact_seconds = Some(self.clock.wall());
        report.reached_by = self.enrolment.reached_by();
        let (is_listed, notice) = (report.list != self.enrolment.list(), self.enrolment.notice());
        let epoch = self.enrolment.epoch();
        self.member.brought.send_if_modified(|brought| {
            if is_listed {
                brought.list = self.enrolment.signed_list();
            }
            let is_new = is_listed || (&brought.notice, brought.epoch) != (&notice, epoch);
            (brought.notice, brought.epoch) = (notice, epoch);
            is_new
        });
        report.list = self.enrolment.list();
        if !self.is_refused {
            (report.why, report.hint) = (None, None);
        }
    }

    /// Says what is wrong, once for each kind of it.
    fn complain(&mut self, trouble: &Trouble) {
        let (why, hint) = (trouble.why(), trouble.hint());
        let mut report = self.member.report();
        report.failures += 1;
        if matches!(trouble, Trouble::Refused(_)) {
            report.contact_seconds = Some(self.clock.wall());
            report.reached_by = self.enrolment.reached_by();
        }
        (report.why, report.hint) = (Some(why.clone()), Some(hint.to_owned()));
        if self.complaint.as_ref() != Some(&why) {
            let (overlay, site) = (&*report.overlay, &*report.site);
            let life = self.enrolment.life(Wall(self.clock.wall())).ok().flatten();
            let goes_on = life.map(|life| format!("valid until {}", date::shown(life.until.0)));
            let none = if self.enrolment.has_certificate() { "none that counts" } else { "none yet" };
            let certificate = goes_on.as_deref().unwrap_or(none);
            if matches!(trouble, Trouble::Refused(_)) {
                tracing::warn!(overlay, site, why, hint, certificate, "the group's site refuses");
            } else {
                tracing::warn!(overlay, site, why, hint, certificate, "no news from the group's site");
            }
            self.complaint = Some(why);
        }
    }

    /// Shows where the membership stands.
    fn show(&self, life: Option<Life>, due: Option<Wall>, now: Wall) {
        let mut report = self.member.report();
        report.expires_seconds = life.map(|life| life.until.0);
        report.renewal_seconds = due.map(|due| due.0);
        report.state = match (life, due, report.state) {
            _ if self.is_refused => Standing::Refused,
            (Some(_), Some(due), _) if due <= now => Standing::Renewing,
            (Some(_), ..) => Standing::Enrolled,
            (None, _, Standing::Waiting) => Standing::Waiting,
            (None, ..) => Standing::Asking,
        };
    }
}

fn metrics(report: &Report, now: Wall) -> Vec<Metric> {
    let series = |name: &str, help: &str, kind, value: f64| Metric {
        name: format!("atoll_enrolment_{name}"),
        help: help.to_owned(),
        kind,
        labels: vec![("overlay".to_owned(), report.overlay.clone())],
        value,
    };
    let mut all: Vec<Metric> = Standing::ALL
        .iter()
        .map(|state| {
            let help = "Where the membership stands with the group's site: 1 for the state it is in.";
            let mut one =
                series("state", help, MetricKind::Gauge, f64::from(u8::from(*state == report.state)));
            one.labels.push(("state".to_owned(), state.word().to_owned()));
            one
        })
        .collect();
    let by = |via: Via| f64::from(u8::from(report.reached_by == Some(via)));
    all.extend([Via::Https, Via::Overlay].map(|via| {
        let help = "The way in which the group's site answered last: 1 for that way.";
        let mut one = series("reached_by", help, MetricKind::Gauge, by(via));
        one.labels.push(("way".to_owned(), via.word().to_owned()));
        one
    }));
    let left = report.expires_seconds.map_or(0.0, |end| end as f64 - now.0 as f64);
    let help = "How long the certificate is still valid; 0 without one.";
    all.push(series("remaining_seconds", help, MetricKind::Gauge, left.max(0.0)));
    let help =
        "When the group's site last answered, in seconds since 1970 (UTC); 0 if it has not since the start.";
    let contact = report.contact_seconds.unwrap_or(0) as f64;
    all.push(series("contact_timestamp_seconds", help, MetricKind::Gauge, contact));
    let help = "The number of the newest revocation list from the group's site.";
    all.push(series("list_number", help, MetricKind::Gauge, report.list.unwrap_or(0) as f64));
    let help = "Questions to the group's site that came to nothing.";
    all.push(series("failures_total", help, MetricKind::Counter, report.failures as f64));
    all
}
