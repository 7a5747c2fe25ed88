//! Fast leader election: how servers agree whom to try as leader.
//!
//! Every server proposes itself and tells everybody. Whoever hears of a better vote adopts it and
//! tells everybody in turn, so that the best vote spreads like a rumour; when a quorum repeats the
//! same one, the election is over. Better means: a later currentEpoch, then a later zxid, then a
//! larger number. Rounds keep the votes of one election apart from those of the next.
//!
//! The election is not what makes ZAB safe: discovery checks its outcome once more. It must only find,
//! nearly always, a server that lacks nothing a quorum has, because a leader never fetches history.
//!
//! What is counted by which rule:
//! - Votes of LOOKING servers count within one round, when equal in every part.
//! - Votes of servers that follow or lead count towards joining *their* leader, whatever the round,
//!   when they name the same leader and epoch, and when the leader itself says that it leads
//!   ([`Voting::leads`]). The server that joins counts as well, unlike in ZooKeeper. A stale word of a follower can so never make a server leader, or follow one
//!   that has given up (ZOOKEEPER-975, 1514).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use consensus::{Event, NodeId, Standing, Term, Timer};

use crate::message::{Notification, Reason, ServerState, Vote, ZabMessage};
use crate::node::{Context, Opening, Peer};
use crate::role::{Change, Flow, Leading, Looking, Phase, STAY, Voting, look};

/// How far the round of a notification may be beyond this server's.
const ROUND_LEAP_MAX: u64 = 1 << 32;

impl Looking {
    /// Begins the election if nothing is waited for any more.
    pub(crate) fn begin_when_settled(&mut self, cx: &mut Context<'_>) -> Flow {
        let Self::Settling { after, held_back, held } = self else { return STAY };
        if *held_back || cx.core.log.durable_sequence() < *after {
            return STAY;
        }
        assert_eq!(
            cx.core.log.durable(),
            cx.core.log.last().index,
            "a vote names the last durable zxid, and nothing is being written behind it"
        );
        let held = std::mem::take(held);
        let observes = cx.core.observes();
        // An observer goes by the voters' rounds and has none of its own.
        cx.core.round = if observes { 0 } else { cx.core.round.saturating_add(1) };
        let vote = if observes { Vote::NOBODY } else { cx.core.own_vote() };
        let resend = cx.core.settings.heartbeat_interval;
        let mut voting = Voting {
            initial: vote,
            proposal: vote,
            received: BTreeMap::new(),
            outside: BTreeMap::new(),
            told: BTreeMap::new(),
            backed: BTreeSet::new(),
            resend,
        };
        cx.core.timers.set(Timer::Election, cx.now.time + resend);
        if !observes {
            cx.voted(vote.leader);
        }
        voting.broadcast(cx);
        let mut flow = voting.conclude(cx);
        for (peer, notification) in held {
            if flow.is_continue() {
                flow = voting.notified(cx, peer, notification);
            }
        }
        *self = Self::Voting(voting);
        flow
    }

    /// A message arrived.
    pub(crate) fn received(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        message: ZabMessage,
    ) -> Flow {
        match message {
            ZabMessage::Notification(notification) => match self {
                Self::Settling { held, .. } => {
                    held.insert(from, notification);
                    STAY
                }
                Self::Voting(voting) => voting.notified(cx, from, notification),
            },
            // The peer has finished its election sooner: if this server comes to lead, the session
            // is as good as opened.
            ZabMessage::FollowerInfo { session, .. } if cx.core.observes() => {
                cx.send(from, ZabMessage::Resign { session, reason: Reason::NotLeading });
                STAY
            }
            ZabMessage::FollowerInfo { session, accepted_epoch: accepted, standing, .. } => {
                cx.core.session_opened(from, Opening { session, accepted, standing });
                STAY
            }
            ZabMessage::Leave { session } => {
                cx.core.session_left(from, session);
                STAY
            }
            // Anything else belongs to a session that is over.
            _ => STAY,
        }
    }

    /// A connection is up: the peer shall know the vote.
    pub(crate) fn peer_connected(&mut self, cx: &mut Context<'_>, peer: NodeId) {
        if let Self::Voting(voting) = self {
            voting.tell(cx, peer);
        }
    }

    /// A connection broke: the peer's votes may be out of date, and it is not waited for.
    pub(crate) fn peer_lost(&mut self, cx: &mut Context<'_>, peer: NodeId) -> Flow {
        match self {
            Self::Settling { held, .. } => {
                held.remove(&peer);
                STAY
            }
            Self::Voting(voting) => {
                voting.received.remove(&peer);
                voting.outside.remove(&peer);
                voting.told.remove(&peer);
                voting.conclude(cx)
            }
        }
    }

    /// A timer fired.
    pub(crate) fn timer(&mut self, cx: &mut Context<'_>, timer: Timer) -> Flow {
        match (timer, &mut *self) {
            (Timer::Election, Self::Settling { held_back, .. }) => {
                *held_back = false;
                self.begin_when_settled(cx)
            }
            (Timer::Election, Self::Voting(voting)) => {
                let longest = cx.core.phase_timeout();
                voting.resend = (voting.resend * 2).min(longest);
                cx.core.timers.set(Timer::Election, cx.now.time + voting.resend);
                voting.broadcast(cx);
                STAY
            }
            (Timer::Finalize, Self::Voting(voting)) if voting.agreed(cx) => voting.elect(cx),
            _ => STAY,
        }
    }
}

impl Voting {
    /// A peer's vote arrived. Every one is processed in full, also while the short wait for a better
    /// one runs: ZooKeeper throws away those that are not better, and with them the news that a
    /// voter has changed its mind.
    fn notified(&mut self, cx: &mut Context<'_>, from: NodeId, theirs: Notification) -> Flow {
        let observes = cx.core.observes();
        if !cx.core.counts(from) {
            // Who does not vote may know how the votes stand.
            if !observes && theirs.state == ServerState::Looking {
                self.tell(cx, from);
            }
            return STAY;
        }
        let leader = theirs.vote.leader;
        if !cx.core.quorum.contains(leader) || (observes && leader == cx.core.id()) {
            return STAY;
        }
        // Rounds only grow: one absurd number would leave no later one to anybody.
        if theirs.round > cx.core.round.saturating_add(ROUND_LEAP_MAX) {
            return STAY;
        }
        match theirs.state {
            ServerState::Looking => self.notified_by_looking(cx, from, theirs),
            ServerState::Following | ServerState::Leading => {
                self.notified_by_settled(cx, from, theirs)
            }
        }
    }

    fn notified_by_looking(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        theirs: Notification,
    ) -> Flow {
        self.outside.remove(&from);
        if theirs.round > cx.core.round {
            cx.core.round = theirs.round;
            self.received.clear();
            // The better of theirs and this server's own first vote: what was adopted meanwhile
            // belongs to the round that is over.
            self.adopt(cx, theirs.vote.max(self.initial));
        } else if theirs.round == cx.core.round && theirs.vote > self.proposal {
            self.adopt(cx, theirs.vote);
        }
        if theirs.round == cx.core.round {
            self.received.insert(from, theirs);
        }
        // A peer that is behind, or that was not LOOKING when it was told, must hear the vote now.
        if !cx.core.observes() && self.told.get(&from) != Some(&(cx.core.round, self.proposal)) {
            self.tell(cx, from);
        }
        self.conclude(cx)
    }

    fn notified_by_settled(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        theirs: Notification,
    ) -> Flow {
        // It did not take notice of what it was told, since it was not LOOKING.
        self.told.remove(&from);
        self.outside.insert(from, theirs);
        if theirs.round == cx.core.round {
            self.received.insert(from, theirs);
            let own = Notification {
                state: ServerState::Looking,
                round: cx.core.round,
                vote: self.proposal,
            };
            let supports = |id| {
                let me = id == cx.core.id() && !cx.core.observes();
                let vote = if me { Some(&own) } else { self.received.get(&id) };
                vote.is_some_and(|vote| agree(vote, &theirs))
            };
            if cx.core.quorum.reached(supports) && self.leads(cx, &theirs) {
                return ControlFlow::Break(Change::Elect(theirs.vote));
            }
        } else {
            self.received.remove(&from);
        }
        // Whoever joins completes the quorum himself: with a server down, the restart of the only
        // follower must not depose the leader. This never makes the server itself leader.
        let joins = |id| id == cx.core.id() && theirs.vote.leader != id && !cx.core.observes();
        let supports =
            |id| joins(id) || self.outside.get(&id).is_some_and(|vote| agree(vote, &theirs));
        if cx.core.quorum.reached(supports) && self.leads(cx, &theirs) {
            cx.core.round = theirs.round;
            return ControlFlow::Break(Change::Elect(theirs.vote));
        }
        self.conclude(cx)
    }

    /// Whether the leader of a vote really leads: another server must say so itself; this one must
    /// be in the round of the vote, so that followers of an earlier reign do not make it leader, and
    /// its round never goes back while it leads.
    fn leads(&self, cx: &Context<'_>, theirs: &Notification) -> bool {
        let leader = theirs.vote.leader;
        if leader == cx.core.id() {
            return theirs.round == cx.core.round;
        }
        let word = self.outside.get(&leader);
        word.is_some_and(|word| word.state == ServerState::Leading && word.vote.leader == leader)
    }

    /// Changes this server's vote and tells everybody.
    fn adopt(&mut self, cx: &mut Context<'_>, vote: Vote) {
        let observes = cx.core.observes();
        if vote != self.proposal && !observes {
            cx.voted(vote.leader);
        }
        self.proposal = vote;
        // The wait for a better vote begins anew once a quorum repeats this one.
        cx.core.timers.cancel(Timer::Finalize);
        if !observes {
            self.broadcast(cx);
        }
    }

    /// Ends the election if a quorum agrees and nobody is worth waiting for.
    fn conclude(&mut self, cx: &mut Context<'_>) -> Flow {
        if !self.agreed(cx) {
            cx.core.timers.cancel(Timer::Finalize);
            return STAY;
        }
        let voter = |peer: &Peer| peer.connected && peer.standing == Standing::Voter;
        let mut connected = cx.core.peers.iter().filter(|(_, peer)| voter(peer));
        let unanimous = connected.all(|(&id, _)| self.repeats(id));
        let wait = cx.core.settings.finalize_wait;
        if unanimous || wait == Duration::ZERO {
            return self.elect(cx);
        }
        if cx.core.timers.due(Timer::Finalize).is_none() {
            cx.core.timers.set(Timer::Finalize, cx.now.time + wait);
        }
        STAY
    }

    /// Whether a quorum repeats this server's vote.
    fn agreed(&self, cx: &Context<'_>) -> bool {
        let me = |id| id == cx.core.id() && !cx.core.observes();
        cx.core.quorum.reached(|id| me(id) || self.repeats(id))
    }

    /// Whether a peer has sent the same vote in this round.
    fn repeats(&self, id: NodeId) -> bool {
        self.received.get(&id).is_some_and(|theirs| theirs.vote == self.proposal)
    }

    fn elect(&self, cx: &mut Context<'_>) -> Flow {
        cx.core.timers.cancel(Timer::Finalize);
        ControlFlow::Break(Change::Elect(self.proposal))
    }

    /// Whoever was ever told that this server votes for it may lead already, and wait for this server, also
    /// if it was told otherwise since: who leads listens to no votes. If another one is elected after all, it is
    /// told: in ZooKeeper it waits for its initLimit.
    pub(crate) fn take_back(&self, cx: &mut Context<'_>, elected: Vote) {
        let round = cx.core.round;
        // Who votes for another by now never comes to lead by this round: votes only get better.
        let votes_for_another = |peer: NodeId| {
            self.received.get(&peer).is_some_and(|theirs| theirs.vote.leader != peer)
        };
        let waits = |peer: &&NodeId| **peer != elected.leader && !votes_for_another(**peer);
        for &peer in self.backed.iter().filter(waits) {
            let state = ServerState::Following;
            let taken_back = Notification { state, round, vote: elected };
            cx.send(peer, ZabMessage::Notification(taken_back));
        }
    }

    fn broadcast(&mut self, cx: &mut Context<'_>) {
        let peers: Vec<NodeId> = cx.core.peers.keys().copied().collect();
        for peer in peers {
            self.tell(cx, peer);
        }
    }

    /// Tells a peer this server's vote. An observer asks the voters for theirs.
    fn tell(&mut self, cx: &mut Context<'_>, peer: NodeId) {
        let observes = cx.core.observes();
        if !cx.core.connected(peer) || (observes && !cx.core.counts(peer)) {
            return;
        }
        let vote = if observes { Vote::NOBODY } else { self.proposal };
        let round = cx.core.round;
        let notification = Notification { state: ServerState::Looking, round, vote };
        cx.send(peer, ZabMessage::Notification(notification));
        self.told.insert(peer, (round, vote));
        if vote.leader == peer {
            self.backed.insert(peer);
        }
    }
}

impl Leading {
    /// Somebody looks for a leader, or follows another one after all. An election without all votes can
    /// make two leaders, of whom only one finds a quorum; the other one need not wait for its timeout to
    /// know that.
    pub(crate) fn notified(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        theirs: Notification,
    ) -> Flow {
        cx.advertise(from, theirs, self.advertised);
        let leader = theirs.vote.leader;
        let elsewhere = theirs.state == ServerState::Following
            && leader != cx.core.id()
            && theirs.round >= self.advertised.round;
        if !elsewhere || self.phase != Phase::Gathering || self.learners.contains_key(&from) {
            return STAY;
        }
        self.elsewhere.extend([from, leader]);
        if cx.core.quorum.unreachable(|id| self.elsewhere.contains(&id)) {
            return look(format!("{from} follows {leader}, and no quorum is left"));
        }
        STAY
    }
}

/// Whether two votes are for the same thing. Between servers that follow or lead, zxid and round may
/// rightly differ (ZOOKEEPER-1732, 1805); as soon as one is LOOKING, everything must be equal.
fn agree(one: &Notification, other: &Notification) -> bool {
    if one.state == ServerState::Looking || other.state == ServerState::Looking {
        one.round == other.round && one.vote == other.vote
    } else {
        one.vote.leader == other.vote.leader && one.vote.peer_epoch == other.vote.peer_epoch
    }
}

impl Context<'_> {
    fn voted(&mut self, candidate: NodeId) {
        let term = Term(self.core.round);
        self.effects.events.push(Event::Voted { candidate, term });
    }

    /// Answers a notification while this server is not LOOKING: only those who are LOOKING want to
    /// know.
    pub(crate) fn advertise(&mut self, to: NodeId, theirs: Notification, mine: Notification) {
        if theirs.state == ServerState::Looking {
            self.send(to, ZabMessage::Notification(mine));
        }
    }
}
