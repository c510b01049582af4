//! Revocations in an overlay whose members an authority vouches for: each learns of them in whatever way, closes what leads
//! to the revoked, and only then tells others.

use std::sync::Arc;

use super::{Lent, Overlay};
use crate::broadcast::Wanted;
use crate::control::{EventKind, FailureKind, Reply, Revocations, Spread};
use crate::counters::DropReason;
use crate::machine::{Evidence, Output};
use crate::revocations::{Next, answer, knowledge};
use crate::security::{Known, Notice, Refusal, SignedList};
use crate::time::Time;
use crate::wire::{Address, Broadcast, FrameKind, Knowledge, ListPart, Malformed, Range, Revocation};

impl Overlay {
    /// Tells all members what the group's authority revoked.
    pub fn revoke(&mut self, notice: &[u8], by: Spread, lent: &mut Lent<'_>) -> Reply {
        let (told, fresh) = match self.learn(notice, lent) {
            Ok(learnt) => learnt,
            Err(refusal) => return Reply::failed(FailureKind::Refused, refusal.to_string()),
        };
        self.spread((&told, notice), by, lent);
        self.pump(lent);
        Reply::Revoked { number: told.number, fresh }
    }

    /// Tells the other members of a notice that we know.
    fn spread(&mut self, (told, notice): (&Notice, &[u8]), by: Spread, lent: &mut Lent<'_>) {
        if by != Spread::Broadcast {
            self.subscriptions.publish(&told.user, notice);
            self.run_dht(lent);
        }
        if by != Spread::Dht {
            let peers = self.hearers();
            self.notices.begin(Range::all(self.own), notice.to_vec(), &peers, lent.now);
            self.run_notices(lent);
        }
    }

    /// Takes notices that the group's site brought, and tells the other members of those that we did not know.
    pub(super) fn hear_notices(&mut self, notices: &[Vec<u8>], lent: &mut Lent<'_>) -> Result<(), Refusal> {
        for notice in notices {
            let (told, fresh) = self.learn(notice, lent)?;
            if fresh {
                self.spread((&told, notice), Spread::Both, lent);
            }
        }
        Ok(())
    }

    /// Takes a notice from outside of the overlay, and tells the peers that there is something to ask for.
    pub fn set_notice(&mut self, notice: &[u8], lent: &mut Lent<'_>) {
        self.hear_notice(notice, lent);
        self.pump(lent);
    }

    /// The same with the authority's list, in one piece with its signature.
    pub fn set_user_list(&mut self, list: &[u8], lent: &mut Lent<'_>) {
        self.learn_list(list, lent);
        self.tell_peers(None, lent);
        self.pump(lent);
    }

    /// What we know, if there is anything to be known.
    pub(super) fn knowledge(&self) -> Option<Knowledge> {
        self.trust.known().map(|known| knowledge(known, &self.epochs))
    }

    /// The same for reports.
    pub(super) fn revocations(&self) -> Option<Revocations> {
        let seconds = |at: Option<Time>| at.map(|at| at.since(self.started).as_secs_f64());
        let (known, listed) = self.trust.known().zip(self.trust.listed())?;
        Some(Revocations {
            count: known.count() as u64,
            number: known.complete(),
            epoch: self.epochs.number(),
            listed: listed.certificates,
            list: listed.number,
            learnt_seconds: seconds(self.learnt),
            sealed_seconds: seconds(self.sealed),
        })
    }

    /// Takes a notice. Whoever it revokes is out when this is done, before anybody else is told.
    pub(super) fn learn(&mut self, bytes: &[u8], lent: &mut Lent<'_>) -> Result<(Notice, bool), Refusal> {
        let (notice, fresh) = Arc::make_mut(&mut self.trust).take_notice(bytes)?;
        self.counters.notices_received += 1;
        if fresh {
            self.exchange.on_learnt(notice.number, lent.now);
            self.counters.revocations_learnt += 1;
            self.keep(Evidence::Notice(bytes.to_vec()), lent);
            let certificates = u32::try_from(notice.serials.len()).unwrap_or(u32::MAX);
            self.tell(EventKind::Revoked { user: notice.user.clone(), certificates }, lent);
            self.judge_again(lent);
            self.look_at_epoch(lent);
        }
        Ok((notice, fresh))
    }

    fn learn_list(&mut self, bytes: &[u8], lent: &mut Lent<'_>) {
        let before = self.trust.known().and_then(Known::list).map(SignedList::number);
        let fresh = match Arc::make_mut(&mut self.trust).take_user_list(bytes) {
            Ok(fresh) => fresh as u64,
            // An older list is no crime: what it says was known.
            Err(Refusal::Expired) => return,
            Err(refusal) => return self.counters.drop(refusal.into()),
        };
        let Some((number, list)) =
            self.trust.known().and_then(Known::list).map(|list| (list.number(), Arc::clone(list.bytes())))
        else {
            return;
        };
        if before == Some(number) && fresh == 0 {
            return;
        }
        self.keep(Evidence::List(list), lent);
        if fresh > 0 {
            self.untold = true;
            self.counters.revocations_learnt += fresh;
            self.tell(EventKind::RevocationsListed { number, fresh }, lent);
            self.judge_again(lent);
        }
        self.look_at_epoch(lent);
    }

    fn keep(&mut self, evidence: Evidence, lent: &mut Lent<'_>) {
        self.learnt = Some(lent.now);
        lent.outputs.push_back(Output::Keep { overlay: self.slot, evidence });
    }

    /// A peer says something about revocations.
    pub(super) fn on_revocation(
        &mut self,
        peer: Address,
        body: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        let message = Revocation::read(body)?;
        let Some(known) = self.trust.known() else {
            self.counters.drop(DropReason::Unasked);
            return Ok(());
        };
        match message {
            Revocation::Told(theirs) => self.compare(peer, theirs, lent),
            Revocation::Ask { after, offset } => {
                for said in answer(known, after, offset) {
                    self.say(peer, &said, lent);
                }
            }
            Revocation::Notices { next, notices } => self.on_notices(peer, next, &notices, lent),
            Revocation::Part(part) => self.on_list_part(peer, part, lent),
            Revocation::Broadcast(message) => self.on_notice(peer, message, lent),
            Revocation::Epoch { salt, notice } => self.on_epoch(peer, salt, &notice, lent),
            Revocation::Covered(covered) => {
                self.notices.on_covered(peer, covered);
                self.run_notices(lent);
            }
            Revocation::Uncovered(uncovered) => {
                self.notices.on_uncovered(peer, uncovered);
                self.run_notices(lent);
            }
        }
        Ok(())
    }

    /// Asks a peer for what we may lack, if it does not know the same.
    pub(super) fn compare(&mut self, peer: Address, theirs: Knowledge, lent: &mut Lent<'_>) {
        let Some(ours) = self.knowledge() else { return };
        if theirs.complete > ours.complete {
            self.exchange.on_asked(peer, theirs.complete, lent.now);
        }
        if theirs.digest != ours.digest || theirs.complete > ours.complete {
            self.ask(peer, (ours.complete, 0), lent);
        }
        self.show_epoch(peer, theirs.epoch, lent);
    }

    fn ask(&mut self, peer: Address, (after, offset): (u64, u32), lent: &mut Lent<'_>) {
        self.say(peer, &Revocation::Ask { after, offset }, lent);
    }

    /// A peer lives: what it says that it knows, and was waited for in vain, is asked of it again.
    pub(super) fn ask_again(&mut self, peer: Address, lent: &mut Lent<'_>) {
        let complete = self.knowledge().map_or(0, |ours| ours.complete);
        if self.exchange.has_stalled(peer, complete, lent.now) {
            self.ask(peer, (complete, 0), lent);
        }
    }

    fn on_notices(&mut self, peer: Address, next: u64, notices: &[Vec<u8>], lent: &mut Lent<'_>) {
        for notice in notices {
            match self.learn(notice, lent) {
                Ok((_, fresh)) => self.untold |= fresh,
                Err(refusal) => return self.counters.drop(refusal.into()),
            }
        }
        if next > 0 && !notices.is_empty() {
            return self.ask(peer, (next, 0), lent);
        }
        let since = self.connections.get(peer).map(|connection| connection.since);
        if !since.is_some_and(|since| self.exchange.holds(since, lent.now)) {
            self.tell_peers(Some(peer), lent);
        }
    }

    /// Tells peers what was held back.
    pub(super) fn run_exchange(&mut self, lent: &mut Lent<'_>) {
        if self.exchange.handle_timeout(lent.now) {
            self.tell_peers(None, lent);
        }
    }

    fn on_list_part(&mut self, peer: Address, part: ListPart, lent: &mut Lent<'_>) {
        let complete = |own: &Self| own.knowledge().map_or(0, |ours| ours.complete);
        match self.exchange.on_part(peer, part, lent.now) {
            Next::Wait => {}
            Next::Ask(offset) => self.ask(peer, (complete(self), offset), lent),
            Next::Whole(list) => {
                let before = complete(self);
                self.learn_list(&list, lent);
                self.tell_peers(Some(peer), lent);
                // Notices that came after the list; a list that was of no use is not asked for again.
                if complete(self) > before {
                    self.ask(peer, (complete(self), 0), lent);
                }
            }
        }
    }

    /// A peer asks to bring a notice to everybody in a part of the ring.
    fn on_notice(&mut self, from: Address, message: Broadcast, lent: &mut Lent<'_>) {
        let (number, fresh) = match self.learn(&message.payload, lent) {
            Ok((notice, fresh)) => (notice.number, fresh),
            Err(refusal) => return self.counters.drop(refusal.into()),
        };
        if self.exchange.is_recent(number, lent.now) {
            let peers = self.hearers();
            self.notices.on_message(from, message, &peers, lent.now);
        } else {
            // Everybody has it long since; whoever says it again makes no more of it than this.
            self.notices.decline(from, &message);
        }
        self.run_notices(lent);
        let complete = self.knowledge().map_or(0, |ours| ours.complete);
        if complete == number && self.exchange.is_spared() {
            self.untold = false;
        }
        if fresh && complete < number {
            self.ask(from, (complete, 0), lent);
        }
    }

    /// The DHT, or who put a notice there, brings it to whoever subscribed. Not everybody who has the revoked for a peer did.
    pub(super) fn hear_notice(&mut self, notice: &[u8], lent: &mut Lent<'_>) {
        match self.learn(notice, lent) {
            Ok((_, fresh)) => self.untold |= fresh,
            Err(refusal) => return self.counters.drop(refusal.into()),
        }
        self.tell_peers(None, lent);
    }

    /// Tells the peers how much we know, if we learnt something that they may not have; the one who told us knows it.
    pub(super) fn tell_peers(&mut self, but: Option<Address>, lent: &mut Lent<'_>) {
        let Some(ours) = self.knowledge().filter(|_| std::mem::take(&mut self.untold)) else { return };
        let peers = self.connections.iter().map(|one| one.peer).filter(|peer| Some(*peer) != but);
        for peer in peers.collect::<Vec<_>>() {
            self.say(peer, &Revocation::Told(ours), lent);
        }
    }

    pub(super) fn say(&mut self, peer: Address, message: &Revocation, lent: &mut Lent<'_>) {
        let mut body = lent.pool.take(400);
        message.write(&mut body);
        self.send_to_peer(peer, (FrameKind::Revocation, body), lent);
    }

    fn say_once(&mut self, peer: Address, message: &Revocation, lent: &mut Lent<'_>) {
        let mut body = lent.pool.take(16);
        message.write(&mut body);
        self.send_to_peer_once(peer, (FrameKind::Revocation, body), lent);
    }

    /// Carries out what the broadcasts of notices want.
    pub(super) fn run_notices(&mut self, lent: &mut Lent<'_>) {
        self.notices.handle_timeout(lent.now);
        while let Some(wanted) = self.notices.poll() {
            match wanted {
                Wanted::Send(peer, message) => self.say(peer, &Revocation::Broadcast(message), lent),
                Wanted::Ask(peer, uncovered) => self.say_once(peer, &Revocation::Uncovered(uncovered), lent),
                Wanted::Tell(peer, covered) => self.say_once(peer, &Revocation::Covered(covered), lent),
                Wanted::Doubt(peer) => self.doubt(peer, lent),
                Wanted::Done { members, complete, .. } => {
                    self.tell(EventKind::Broadcast { members, complete }, lent);
                }
            }
        }
    }
}
