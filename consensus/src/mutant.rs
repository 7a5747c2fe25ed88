//! Wrong versions of the protocols, to see that the tests would notice them.
//!
//! Each is a small change, told in one sentence, and in the code at the one place where it does what it
//! says: in the protocols and the log under them, or in what the simulator has around them, which stands
//! for the server's loop, log writer, applier, snapshots and clients. Without the feature `mutants` none of that is compiled: [`on`] is `false`
//! and the compiler removes what it guards. With it, one at a time can be switched on in a thread. Only
//! tests and the simulator do.

use crate::Protocol;

macro_rules! mutants {
    ($($mutant:ident, $name:literal, $protocol:expr, $sentence:literal;)*) => {
        /// A wrong version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each has its sentence")]
        pub enum Mutant {
            $(#[doc = $sentence] $mutant,)*
        }

        impl Mutant {
            /// Every wrong version.
            pub const ALL: &[Self] = &[$(Self::$mutant,)*];

            /// Its name in flags and tests.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$mutant => $name,)* }
            }

            /// The wrong version of a name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
            }

            /// What is wrong, in one sentence.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$mutant => $sentence,)* }
            }

            /// The protocol that it concerns; `None` if both.
            #[must_use]
            pub fn protocol(self) -> Option<Protocol> {
                match self { $(Self::$mutant => $protocol,)* }
            }
        }
    };
}

const RAFT: Option<Protocol> = Some(Protocol::Raft);
const ZAB: Option<Protocol> = Some(Protocol::Zab);
const BOTH: Option<Protocol> = None;

// variant, name, protocol, sentence
mutants! {
    RaftVoteForgotten, "raft-vote-forgotten", RAFT,
        "A vote is given without being written, and is forgotten by the next start.";
    RaftVoteBeforeDurable, "raft-vote-before-durable", RAFT,
        "A vote leaves before it is durable.";
    RaftVotesTwice, "raft-votes-twice", RAFT,
        "A node votes for whoever asks, even if it voted for another in the same term.";
    RaftElectsOlderLog, "raft-elects-older-log", RAFT,
        "A vote is given to candidates whose log is older than the voter's.";
    RaftComparesLength, "raft-compares-length", RAFT,
        "Logs are compared by their length alone, and not first by the term of their last entry.";
    RaftTermForgotten, "raft-term-forgotten", RAFT,
        "A newer term is adopted without being written.";
    RaftCommitsOldTerm, "raft-commits-old-term", RAFT,
        "A leader commits entries of earlier terms by counting (Figure 8).";
    RaftCountsUnwritten, "raft-counts-unwritten", RAFT,
        "A leader counts itself for entries that it has not written yet.";
    RaftAckBeforeDurable, "raft-ack-before-durable", RAFT,
        "A follower acknowledges entries before they are durable.";
    RaftLeaderTruncates, "raft-leader-truncates", RAFT,
        "A new leader removes from its log what it does not know to be committed.";
    RaftCommitBeyondMatch, "raft-commit-beyond-match", RAFT,
        "A follower takes the leader's commit index for entries that may not be the leader's.";
    RaftTruncatesAlways, "raft-truncates-always", RAFT,
        "A follower removes everything behind the entries of a message, also where nothing conflicts.";
    RaftIgnoresPreviousTerm, "raft-ignores-previous-term", RAFT,
        "A follower takes entries when it has some entry in front of them, of whatever term.";
    RaftCountsSent, "raft-counts-sent", RAFT,
        "A leader counts what it sent to a peer as if the peer had acknowledged it.";
    RaftStampsOldTerm, "raft-stamps-old-term", RAFT,
        "A leader gives its entries the term of the last entry before its reign.";
    RaftGoesNotBack, "raft-goes-not-back", RAFT,
        "A leader whose entries a follower refuses does not go back to where the logs match.";
    RaftReadsWithoutQuorum, "raft-reads-without-quorum", RAFT,
        "A leader confirms reads without asking anybody whether it still leads.";
    RaftReadsBeforeOpening, "raft-reads-before-opening", RAFT,
        "A new leader confirms reads before anything of its own term is committed.";
    RaftForgetsStepDown, "raft-forgets-step-down", RAFT,
        "A leader that hears of a newer term goes on leading in it.";
    RaftLeadsWithoutQuorum, "raft-leads-without-quorum", RAFT,
        "A candidate that was refused by one voter counts that as a vote.";

    ZabEpochBeforeHistory, "zab-epoch-before-history", ZAB,
        "A follower makes the new epoch its currentEpoch when synchronization begins, before it has the \
         history (ZOOKEEPER-4643).";
    ZabAcceptedForgotten, "zab-accepted-forgotten", ZAB,
        "A follower acknowledges an epoch without writing that it accepted it.";
    ZabAckEpochBeforeDurable, "zab-ack-epoch-before-durable", ZAB,
        "ACKEPOCH leaves before the accepted epoch is durable.";
    ZabAckNewLeaderEarly, "zab-ack-new-leader-early", ZAB,
        "NEWLEADER is acknowledged before the history is durable (ZOOKEEPER-3023, 4646).";
    ZabAckBeforeDurable, "zab-ack-before-durable", ZAB,
        "A follower acknowledges proposals before they are durable.";
    ZabNoTruncation, "zab-no-truncation", ZAB,
        "A follower that has proposals which the leader lacks is sent what is behind them, and no TRUNC.";
    ZabReusesEpoch, "zab-reuses-epoch", ZAB,
        "A leader proposes the largest acceptedEpoch itself, and not a larger one (ZOOKEEPER-1343).";
    ZabNoDiscovery, "zab-no-discovery", ZAB,
        "A leader does not look whether a follower has more recent history than itself.";
    ZabElectsLargestNumber, "zab-elects-largest-number", ZAB,
        "Votes are compared by the number of the server, whatever its history, and nobody looks again.";
    ZabComparesEpochOnly, "zab-compares-epoch-only", ZAB,
        "A more recent history is one with a larger currentEpoch, whatever its last zxid, in votes and in \
         discovery.";
    ZabTruncatesOneMore, "zab-truncates-one-more", ZAB,
        "TRUNC removes one proposal more than the leader lacks.";
    ZabEstablishedEarly, "zab-established-early", ZAB,
        "A leader is established when anybody acknowledged NEWLEADER, a quorum or not.";
    ZabCountsUnwritten, "zab-counts-unwritten", ZAB,
        "A leader counts itself for proposals that it has not written yet.";
    ZabCountsSent, "zab-counts-sent", ZAB,
        "A leader counts what it sent to a follower as if that had acknowledged it.";
    ZabStampsOldEpoch, "zab-stamps-old-epoch", ZAB,
        "A leader gives its proposals the epoch of the last proposal before its own.";
    ZabDeliversProposals, "zab-delivers-proposals", ZAB,
        "A follower delivers what it holds, and does not wait for COMMIT.";
    ZabDeliversUncommitted, "zab-delivers-uncommitted", ZAB,
        "A follower takes all that it holds for committed when UPTODATE comes.";
    ZabReadsWithoutQuorum, "zab-reads-without-quorum", ZAB,
        "A leader confirms reads without asking anybody whether it still leads (ZOOKEEPER-1675).";
    ZabDiffSkipsOne, "zab-diff-skips-one", ZAB,
        "DIFF begins one proposal too late.";

    TwoOfFive, "two-of-five", BOTH,
        "A quorum is one voter too few.";
    CommitsOneFewer, "commits-one-fewer", BOTH,
        "Entries are committed with one voter fewer than a quorum; elections are as they should be.";
    ObserverCounts, "observer-counts", BOTH,
        "Whoever does not count, because it observes or lost its disk, is counted all the same.";

    ReusesRound, "reuses-round", BOTH,
        "A read is confirmed by answers to a question that was asked before the read came (etcd #20418).";
    TruncationUnwritten, "truncation-unwritten", BOTH,
        "A truncation is not written to the log, and the next start finds what was removed.";
    LateFramesCount, "late-frames-count", BOTH,
        "What comes late on a connection that was given up counts as if that were up.";

    SendsEarlyUnseen, "sends-early-unseen", BOTH,
        "Messages leave before what they promise is durable, and nothing looks at what leaves.";
    SendsEarly, "sends-early", BOTH,
        "Messages leave before what they promise is durable.";
    PromiseForgotten, "promise-forgotten", BOTH,
        "A node forgets at its start what it promised.";
    SyncLies, "sync-lies", BOTH,
        "Syncs of the log do nothing and say that they did.";
    CountsUnsynced, "counts-unsynced", BOTH,
        "The protocol is told that a write is durable when it begins.";
    ReadsWithoutBarrier, "reads-without-barrier", BOTH,
        "Linearizable reads are answered without a barrier.";
    LocalReadGoesBack, "local-read-goes-back", BOTH,
        "Local reads see what is in the store, and not what is applied.";
    StoreAheadOfLog, "store-ahead-of-log", BOTH,
        "The store is written ahead of the log.";
    AnswersBeforeCommit, "answers-before-commit", BOTH,
        "A write is answered when it is handed to the log writer.";
    SkipsEntry, "skips-entry", BOTH,
        "An applier skips an entry now and then.";
    DropsIdempotencyKey, "drops-idempotency-key", BOTH,
        "A node takes the idempotency keys off the writes of its clients.";
    WatchSkipsRevision, "watch-skips-revision", BOTH,
        "A watch that goes on at another node begins one revision too late.";
    WatchTellsDeletions, "watch-tells-deletions", BOTH,
        "A watch that wants no deletions is told of them all the same.";
    WatchBeginsNow, "watch-begins-now", BOTH,
        "A watch from a revision that does not exist yet begins with whatever comes next.";
    PreviousOfItself, "previous-of-itself", BOTH,
        "What a watch tells of before a change is what was there after it.";
    PageReadsNow, "page-reads-now", BOTH,
        "A page after the first is read at the present revision, and not at that of the first.";
    RangeMovesOn, "range-moves-on", BOTH,
        "A range that is read in steps is read at the revision that each step finds.";
    PageSkipsKey, "page-skips-key", BOTH,
        "A page in descending order begins one key too late.";
    VanishedIsCompacted, "vanished-is-compacted", BOTH,
        "A read of what is there now is told that it was compacted, when rows of it were while it was read.";
    SnapshotLacksRow, "snapshot-lacks-row", BOTH,
        "A snapshot lacks a row now and then.";
    SnapshotLacksKeys, "snapshot-lacks-keys", BOTH,
        "A snapshot comes without what is remembered of idempotency keys.";
    SnapshotClaimsMore, "snapshot-claims-more", BOTH,
        "A snapshot says that it is of one entry more than it is.";
    WipedVotes, "wiped-votes", BOTH,
        "A voter that lost its disk votes and counts like any other.";
    SnapshotEndsUntold, "snapshot-ends-untold", ZAB,
        "When the log is compacted at a leader that is not established yet, its snapshots \
         end, and the protocol is not told.";
    ObserversVote, "observers-vote", BOTH,
        "Everybody is told that observers are voters.";
    KeysForgottenUnequally, "keys-forgotten-unequally", BOTH,
        "The first node forgets idempotency keys sooner than the others.";
    KeysForgottenEarly, "keys-forgotten-early", BOTH,
        "All nodes forget idempotency keys sooner than clients are promised, and so does the \
         model.";
    ForgetsAheadOfStore, "forgets-ahead-of-store", BOTH,
        "The log forgets what is applied and not in the store yet.";

    KeepaliveWithoutBarrier, "keepalive-without-barrier", BOTH,
        "A leader answers keepalives without asking anybody whether it still leads.";
    KeepaliveAnsweredHere, "keepalive-answered-here", BOTH,
        "A node answers keepalives itself, for every lease that it knows.";
    KeepaliveNeverLogged, "keepalive-never-logged", BOTH,
        "A keepalive is not logged, also where the log says that less than all of the time is left.";
    KeepaliveBesideExpiry, "keepalive-beside-expiry", BOTH,
        "A keepalive is answered while the expiry of its lease is under way.";
    LockOfWhoeverAsks, "lock-of-whoever-asks", BOTH,
        "Whoever stands in the queue for a lock takes it for won.";
    FullStoreKeepsHistory, "full-store-keeps-history", BOTH,
        "A full store keeps as much history as any, so that deletions make no room.";
    ComparesAnotherEntry, "compares-another-entry", BOTH,
        "A leader tells the digest after one entry as that after another.";
    ComparesPresentState, "compares-present-state", BOTH,
        "A replica compares the leader's digest with that of its present state.";
    EverybodyCounts, "everybody-counts", BOTH,
        "Followers count the time of leases, too, and forward expiries to the leader.";
    ExpiresUnderAlarm, "expires-under-alarm", BOTH,
        "A lease ends while an alarm stands, under which nobody can keep it alive.";
    TimeGoesOnUnderAlarm, "time-goes-on-under-alarm", BOTH,
        "A leader counts the time of leases while an alarm stands.";
    LeaseLeavesKeys, "lease-leaves-keys", BOTH,
        "The last key of a lease is left when that ends.";
    LeaseEndsBitByBit, "lease-ends-bit-by-bit", BOTH,
        "Each key of a lease that ends is deleted in a revision of its own.";
    LeaseHoldsOverwritten, "lease-holds-overwritten", BOTH,
        "A key that is stored again without a lease still goes with the lease that it had.";
    SnapshotLacksLeases, "snapshot-lacks-leases", BOTH,
        "A snapshot comes without leases.";
    LeasesUnwritten, "leases-unwritten", BOTH,
        "The store is not told what becomes of leases.";
    ConditionBeforeLog, "condition-before-log", BOTH,
        "What a transaction compares is looked at where the client asks, and only the branch is logged.";
    CheckedWhereAsked, "checked-where-asked", BOTH,
        "Whether the revisions that a transaction reads exist is looked at only by the node that was asked \
         (etcd pull request 21432).";
    TransactionBitByBit, "transaction-bit-by-bit", BOTH,
        "Each operation of a transaction has a revision of its own.";
    TransactionReadsBefore, "transaction-reads-before", BOTH,
        "Reads in a transaction do not see what operations before them wrote.";
    RepeatedReadsNow, "repeated-reads-now", BOTH,
        "A transaction that is told again reads the store as it is now.";
    RowTimesOwn, "row-times-own", BOTH,
        "A row's times are not that of its entry, but the last that the node itself has on its disk.";
    CreatedByEachWrite, "created-by-each-write", BOTH,
        "A key that is stored again counts as created then.";
    CountersOutliveKeys, "counters-outlive-keys", BOTH,
        "The counter of sequential keys goes on after everything that begins so was deleted.";
    FamilyMissesExpiry, "family-misses-expiry", BOTH,
        "A parent does not count the children that go with their lease.";
    FamilyOutlivesParent, "family-outlives-parent", BOTH,
        "What is counted of the children of a key outlives that key.";
    ChildrenOfChildren, "children-of-children", BOTH,
        "Everything below a key counts as its child.";
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this build has wrong versions.
    pub const AVAILABLE: bool = true;

    /// Whether a wrong version is switched on in this thread.
    #[must_use]
    pub fn on(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }

    /// Does something with a wrong version, or with none.
    pub fn with<T>(mutant: Option<Mutant>, work: impl FnOnce() -> T) -> T {
        struct Restore(Option<Mutant>);
        impl Drop for Restore {
            fn drop(&mut self) {
                ACTIVE.set(self.0);
            }
        }
        let _restore = Restore(ACTIVE.replace(mutant));
        work()
    }
}

#[cfg(not(feature = "mutants"))]
mod switch {
    use super::Mutant;

    /// Whether this build has wrong versions.
    pub const AVAILABLE: bool = false;

    /// Whether a wrong version is switched on: never, in a build without the feature `mutants`.
    #[must_use]
    #[inline(always)]
    pub const fn on(_: Mutant) -> bool {
        false
    }

    /// Does something.
    ///
    /// # Panics
    /// If a wrong version is wanted, for this build has none.
    pub fn with<T>(mutant: Option<Mutant>, work: impl FnOnce() -> T) -> T {
        assert!(
            mutant.is_none(),
            "this build has no wrong versions: it lacks the feature `mutants`"
        );
        work()
    }
}

pub use switch::*;
