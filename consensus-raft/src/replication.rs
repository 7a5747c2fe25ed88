//! Replication: AppendEntries from both sides (§5.3), and commitment (§5.4.2).
//!
//! Proposals, answers and commit positions gather until a flush turns them into one write and one
//! message for each peer. The leader sends what it has not written yet, and counts itself like any
//! other voter: only for what is durable (thesis §10.2.1).

use bytes::Bytes;
use consensus::{
    Answer, Effects, Entry, Event, Index, Log, Mutant, NodeId, Now, Outbound, Payload,
    PersistSequence, Position, ProgressState, Refusal, Term, Token, mutant,
};

use crate::message::{AppendOutcome, RaftMessage};
use crate::node::Raft;
use crate::role::{Peer, Role};

/// The leader's side.
impl Raft {
    pub(crate) fn propose(
        &mut self,
        now: Now,
        token: Token,
        command: Bytes,
        effects: &mut Effects<RaftMessage>,
    ) {
        let Role::Leader(leader) = &mut self.role else {
            effects.answers.push(Answer::Refused { token, reason: Refusal::NotLeader });
            return;
        };
        if leader.transfer.is_some() {
            effects.answers.push(Answer::Refused { token, reason: Refusal::Transferring });
            return;
        }
        if leader.backlog.bytes() >= self.settings.uncommitted_bytes_max {
            effects.answers.push(Answer::Refused { token, reason: Refusal::Overloaded });
            return;
        }
        let term = match () {
            () if mutant::on(Mutant::RaftStampsOldTerm) => {
                self.log.term(leader.opening.previous()).unwrap_or(self.promise.term)
            }
            () => self.promise.term,
        };
        let position = Position { term, index: self.log.last().index.next() };
        let entry = Entry { position, wall: now.wall, payload: Payload::Command(command) };
        leader.backlog.proposed(&entry);
        self.log.append(entry);
    }

    pub(crate) fn flush_leader(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        self.advance_commit();
        if let Role::Leader(leader) = &mut self.role {
            leader.backlog.settle(&self.log);
        }
        self.answer_syncs(effects);
        self.log.persist(effects);
        self.replicate(now, effects);
        self.offer_snapshots(effects);
        self.tell_successor(effects);
        self.flush_barriers(now, effects);
    }

    /// Commits what a quorum holds durably, as soon as that includes an entry of this term: an
    /// earlier leader's entry on a quorum may still be overwritten, unless it comes before such an
    /// entry (§5.4.2, Figure 8).
    fn advance_commit(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        let held = self.quorum.committed(|id| match leader.peers.get(&id) {
            Some(peer) if peer.counts() => peer.progress.matched(),
            Some(_) => Index(0),
            None if mutant::on(Mutant::RaftCountsUnwritten) => self.log.last().index,
            None => self.log.durable(),
        });
        if held >= leader.opening || mutant::on(Mutant::RaftCommitsOldTerm) {
            self.log.commit_to(held);
        }
    }

    /// Sends each connected peer what it lacks: entries, a probe, or the commit index.
    fn replicate(&mut self, now: Now, effects: &mut Effects<RaftMessage>) {
        let term = self.promise.term;
        let Role::Leader(leader) = &mut self.role else { return };
        for (&id, peer) in &mut leader.peers {
            if !self.connections.get(&id).is_some_and(|connection| connection.up) {
                continue;
            }
            while !self.fetches.contains(&id) {
                let fetches = effects.fetches.len();
                match peer.progress.entries(id, &self.log, &self.settings, effects) {
                    Some(entries) => peer.append(now, id, term, entries, &self.log, effects),
                    None => {
                        if effects.fetches.len() > fetches {
                            self.fetches.insert(id);
                        }
                        break;
                    }
                }
            }
            let all_sent = peer.progress.next() > self.log.last().index;
            match peer.progress.state() {
                ProgressState::Probe { awaiting: false } if all_sent => {
                    peer.append(now, id, term, Vec::new(), &self.log, effects);
                }
                ProgressState::Replicate
                    if peer.told < self.log.commit() && self.settings.immediate_commit_notices =>
                {
                    peer.append(now, id, term, Vec::new(), &self.log, effects);
                }
                _ => {}
            }
        }
    }

    /// Entries that had left the memory tail came from disk.
    pub(crate) fn fetched(
        &mut self,
        now: Now,
        id: NodeId,
        entries: Vec<Entry>,
        effects: &mut Effects<RaftMessage>,
    ) {
        self.fetches.remove(&id);
        let connected = self.is_connected(id);
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&id) else { return };
        if let Some(entries) = peer.progress.fetched(entries, &self.log)
            && connected
            && peer.progress.may_send(&self.settings)
        {
            peer.append(now, id, self.promise.term, entries, &self.log, effects);
        }
    }

    pub(crate) fn append_entries_response(
        &mut self,
        now: Now,
        id: NodeId,
        outcome: AppendOutcome,
        effects: &mut Effects<RaftMessage>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&id) else { return };
        let state = peer.progress.state();
        match outcome {
            AppendOutcome::Matched { up_to, .. } if up_to <= self.log.last().index => {
                peer.progress.acknowledged(up_to);
                peer.awaiting_since = now.time;
                let means = match state {
                    ProgressState::Probe { .. } => "AppendEntries",
                    ProgressState::Snapshot { .. } => "InstallSnapshot",
                    ProgressState::Replicate => return,
                };
                if peer.progress.state() == ProgressState::Replicate {
                    effects.events.push(Event::PeerSynchronized { peer: id, means });
                }
            }
            AppendOutcome::Conflict { previous, hint } => {
                let current = match state {
                    ProgressState::Probe { awaiting } => {
                        awaiting && previous.next() == peer.progress.next()
                    }
                    ProgressState::Replicate => previous > peer.progress.matched(),
                    // The snapshot says where it goes on.
                    ProgressState::Snapshot { .. } => false,
                };
                // A peer that lost what it acknowledged is beyond help by entries, and asking again at
                // once would never end.
                let current = current && !mutant::on(Mutant::RaftGoesNotBack);
                if current && hint.index >= peer.progress.matched() {
                    // All entries of terms that the peer does not have are skipped at once.
                    let at_most = self.log.last_up_to_term(hint.term);
                    peer.progress.rejected(hint.index.min(at_most).next());
                    peer.told = Index(0);
                }
            }
            // No correct peer matches beyond the leader's log, and none refuses what the leader
            // said in the term that both are in.
            AppendOutcome::Matched { .. } | AppendOutcome::Stale => {}
        }
    }
}

impl Peer {
    /// Sends entries behind what was sent before, or without entries a probe or the commit index.
    fn append(
        &mut self,
        now: Now,
        to: NodeId,
        term: Term,
        entries: Vec<Entry>,
        log: &Log,
        effects: &mut Effects<RaftMessage>,
    ) {
        let index = self.progress.next().previous();
        let previous =
            Position { term: log.term(index).expect("a leader sends what it has"), index };
        let probing = self.progress.state() != ProgressState::Replicate;
        let answer = probing || !entries.is_empty();
        if probing || self.progress.inflight_messages() == 0 {
            self.awaiting_since = now.time;
        }
        match entries.last() {
            Some(last) => {
                let bytes = entries.iter().map(Entry::size_bytes).sum();
                self.progress.sent(last.index(), bytes);
                if mutant::on(Mutant::RaftCountsSent) {
                    self.progress.acknowledged(last.index());
                }
            }
            None => self.progress.probed(),
        }
        self.told = log.commit();
        let message =
            RaftMessage::AppendEntries { term, previous, entries, commit: log.commit(), answer };
        // The leader's own write of these entries goes on beside.
        effects.messages.push(Outbound { to, after: PersistSequence(0), message });
    }
}

/// The follower's side.
impl Raft {
    pub(crate) fn append_entries(
        &mut self,
        leader: NodeId,
        previous: Position,
        entries: Vec<Entry>,
        commit: Index,
        answer: bool,
        effects: &mut Effects<RaftMessage>,
    ) {
        let some_entry =
            previous.index <= self.log.last().index && mutant::on(Mutant::RaftIgnoresPreviousTerm);
        if !self.log.contains(previous) && !some_entry {
            self.refuse_entries(leader, previous, effects);
            return;
        }
        let matched = entries.last().map_or(previous.index, Entry::index);
        self.append_missing(entries, effects);
        let Role::Follower(follower) = &mut self.role else { return };
        follower.matched = follower.matched.max(matched);
        if answer {
            let (first, last) = follower.owed.unwrap_or((previous.index.next(), matched));
            follower.owed = Some((first.min(previous.index.next()), last.max(matched)));
        }
        self.follow_commit(commit);
    }

    /// Appends those of the entries that the log lacks. Only a real conflict removes anything: the
    /// message may be an old one, and what comes behind its entries may be acknowledged already.
    fn append_missing(&mut self, entries: Vec<Entry>, effects: &mut Effects<RaftMessage>) {
        let lacking = entries.iter().position(|entry| {
            !self.log.contains(entry.position)
                || mutant::on(Mutant::RaftTruncatesAlways) && entry.index() > self.log.commit()
        });
        let Some(lacking) = lacking else { return };
        let first = entries[lacking].index();
        if first <= self.log.last().index {
            assert!(
                first > self.log.commit(),
                "a leader's log holds everything committed (Leader Completeness, §5.4.3): \
                 entry {} conflicts, committed up to {}",
                entries[lacking].position,
                self.log.commit()
            );
            let last = self.log.truncate_from(first);
            effects.events.push(Event::Truncated { from: first, last });
        }
        for entry in entries.into_iter().skip(lacking) {
            self.log.append(entry);
        }
    }

    /// Answers that the previous entry is missing, with the last entry that may be common: no entry
    /// of a later term than the leader's at that index can match there or before.
    fn refuse_entries(
        &mut self,
        leader: NodeId,
        previous: Position,
        effects: &mut Effects<RaftMessage>,
    ) {
        assert!(
            previous.index > self.log.commit(),
            "a leader's log holds everything committed (Leader Completeness, §5.4.3): \
             it has {previous}, committed up to {}",
            self.log.commit()
        );
        let index = previous
            .index
            .previous()
            .min(self.log.last().index)
            .min(self.log.last_up_to_term(previous.term));
        let term = self.log.term(index).expect("the hint is within the log");
        let message = RaftMessage::AppendEntriesResponse {
            term: self.promise.term,
            outcome: AppendOutcome::Conflict {
                previous: previous.index,
                hint: Position { term, index },
            },
        };
        // A refusal promises nothing.
        self.send(leader, PersistSequence(0), message, effects);
    }

    pub(crate) fn answer_stale_entries(
        &mut self,
        leader: NodeId,
        effects: &mut Effects<RaftMessage>,
    ) {
        let message = RaftMessage::AppendEntriesResponse {
            term: self.promise.term,
            outcome: AppendOutcome::Stale,
        };
        self.send(leader, PersistSequence(0), message, effects);
    }

    /// Follows the leader's commit index as far as the log is known to match the leader's.
    pub(crate) fn follow_commit(&mut self, commit: Index) {
        if let Role::Follower(follower) = &self.role {
            let all = mutant::on(Mutant::RaftCommitBeyondMatch);
            let matched = if all { self.log.last().index } else { follower.matched };
            self.log.commit_to(commit.min(matched));
        }
    }

    pub(crate) fn flush_follower(&mut self, effects: &mut Effects<RaftMessage>) {
        let mut after = self.log.persist(effects);
        if mutant::on(Mutant::RaftAckBeforeDurable) {
            after = PersistSequence(0);
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let (Some((first, up_to)), Some(leader)) = (follower.owed.take(), self.leader) else {
            return;
        };
        let message = RaftMessage::AppendEntriesResponse {
            term: self.promise.term,
            outcome: AppendOutcome::Matched { first, up_to },
        };
        self.send(leader, after, message, effects);
    }
}
