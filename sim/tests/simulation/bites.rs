//! The checkers are worth something only if they bite: each test puts a known fault into the driver
//! or into the protocol, and wants a broken law within some seeds.

use std::collections::BTreeSet;

use bytes::Bytes;
use consensus::{
    Answer, CodecError, Consensus, Effects, Index, Input, Mutant, NodeId, Now, PersistSequence,
    Pledge, Position, Protocol, Recovered, Settings, StartError, Status, Token, View,
};
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::{Profile, SimOptions, run};

/// What a linearizable read may not be: the second notices more, for nobody need have heard of it.
const STALE: [&str; 2] = [
    "a linearizable read sees all that completed before it began",
    "a linearizable read sees all that was committed when it was asked for",
];

/// The law that the first failing seed breaks.
fn first_violation<C: Consensus>(
    mutant: Option<Mutant>,
    profile: Profile,
    seeds: u64,
) -> &'static str {
    violation::<C>(
        (0..seeds).map(|seed| SimOptions { mutant, ..SimOptions::of_seed(seed, 3, profile) }),
    )
}

/// The law that the first of these runs breaks which breaks any.
fn violation<C: Consensus>(mut runs: impl Iterator<Item = SimOptions>) -> &'static str {
    let failure = runs.find_map(|options| run::<C>(&options).err());
    failure.unwrap_or_else(|| panic!("not noticed with {}", C::PROTOCOL)).violation.law
}

/// Wants it to be noticed with both protocols, by one of these laws; any will do if none is
/// named.
fn bites(mutant: Mutant, profile: Profile, seeds: u64, laws: &[&str]) {
    let found = [
        first_violation::<Raft>(Some(mutant), profile, seeds),
        first_violation::<Zab>(Some(mutant), profile, seeds),
    ];
    for law in found {
        assert!(laws.is_empty() || laws.contains(&law), "{mutant:?} was noticed by: {law}");
    }
}

#[test]
fn a_write_that_is_done_twice_although_it_has_a_key_is_noticed() {
    let law = "a write that is sent again is answered as the first time";
    bites(Mutant::DropsIdempotencyKey, Profile::Calm, 10, &[law]);
}

#[test]
fn keys_that_one_node_forgets_sooner_are_noticed() {
    let laws = ["equal positions have equal stores", "the machine does what the model does"];
    bites(Mutant::KeysForgottenUnequally, Profile::Crashes, 10, &laws);
}

#[test]
fn keys_that_all_forget_sooner_than_promised_are_noticed() {
    let laws = [
        "a write with an idempotency key takes effect at most once",
        "a key is refused as forgotten only if it may be",
    ];
    bites(Mutant::KeysForgottenEarly, Profile::Hostile, 60, &laws);
}

#[test]
fn a_message_that_leaves_too_early_is_noticed_at_once() {
    let law = "nothing leaves before what it promises is durable";
    bites(Mutant::SendsEarly, Profile::Calm, 1, &[law]);
}

#[test]
fn messages_that_leave_too_early_are_noticed_by_what_they_lead_to() {
    bites(Mutant::SendsEarlyUnseen, Profile::Disks, 300, &[]);
}

#[test]
fn a_forgotten_promise_is_noticed() {
    bites(Mutant::PromiseForgotten, Profile::Crashes, 10, &[]);
}

#[test]
fn a_wiped_voter_that_counts_is_noticed() {
    bites(Mutant::WipedVotes, Profile::WipedDisks, 100, &[]);
}

/// Three voters and two observers, of whom any three are taken for a quorum.
#[test]
fn an_observer_that_counts_is_noticed() {
    let laws = [
        "nothing is committed without a quorum of voters",
        "nobody leads without a quorum of voters",
    ];
    for profile in [Profile::Calm, Profile::Crashes, Profile::Partitions] {
        let mutant = Some(Mutant::ObserversVote);
        let options =
            |seed| SimOptions { observers: 2, mutant, ..SimOptions::of_seed(seed, 3, profile) };
        let found =
            [violation::<Raft>((0..10).map(options)), violation::<Zab>((0..10).map(options))];
        assert!(found.iter().all(|law| laws.contains(law)), "{profile:?}: {found:?}");
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let laws = [
        "a node starts after any crash",
        "what the log acknowledged is there after a crash, and nothing that was not asked",
    ];
    bites(Mutant::SyncLies, Profile::Crashes, 10, &laws);
}

#[test]
fn a_leader_that_counts_what_it_may_lose_is_noticed() {
    bites(Mutant::CountsUnsynced, Profile::Disks, 50, &[]);
}

#[test]
fn a_read_without_a_barrier_is_noticed() {
    bites(Mutant::ReadsWithoutBarrier, Profile::Partitions, 10, &STALE);
}

#[test]
fn a_local_read_that_goes_back_is_noticed() {
    let law = "while a node lives nobody goes back there";
    bites(Mutant::LocalReadGoesBack, Profile::Calm, 10, &[law]);
}

#[test]
fn a_store_ahead_of_the_log_is_noticed() {
    // The second when the log is to forget what the store holds before it is durable.
    let laws =
        ["the store is never ahead of what is durable in the log", "a law that the code asserts"];
    bites(Mutant::StoreAheadOfLog, Profile::Disks, 50, &laws);
}

#[test]
fn an_answer_before_the_commit_is_noticed() {
    let law = "an acknowledged write is in the log";
    bites(Mutant::AnswersBeforeCommit, Profile::Crashes, 10, &[law]);
}

#[test]
fn a_skipped_entry_is_noticed() {
    bites(Mutant::SkipsEntry, Profile::Calm, 10, &["all nodes apply the same entries"]);
}

#[test]
fn a_watch_that_loses_a_revision_is_noticed() {
    bites(Mutant::WatchSkipsRevision, Profile::Calm, 10, &["a watch goes on where it was"]);
}

#[test]
fn a_snapshot_that_lacks_a_row_is_noticed() {
    // By the digest, or, if the row is not the last of its key, by what is read of the past.
    let past = "a snapshot holds the rows and the history of its position";
    let laws = ["a snapshot arrives as it was sent", past];
    bites(Mutant::SnapshotLacksRow, Profile::Crashes, 20, &laws);
}

#[test]
fn a_snapshot_that_claims_another_position_is_noticed() {
    // The second when the entry that the receiver does not have was not even committed.
    let laws =
        ["equal positions have equal stores", "nothing is committed without a quorum of voters"];
    bites(Mutant::SnapshotClaimsMore, Profile::Crashes, 40, &laws);
}

#[test]
fn a_log_that_forgets_what_is_not_in_the_store_is_noticed() {
    let law = "the store holds what the log has forgotten";
    bites(Mutant::ForgetsAheadOfStore, Profile::Crashes, 20, &[law]);
}

/// A leader of ZAB is established only when a quorum is synchronized, and some may need snapshots for that.
#[test]
fn a_snapshot_that_nobody_ends_is_noticed() {
    // It takes a compaction just then: one run in a hundred.
    let mutant = Some(Mutant::SnapshotEndsUntold);
    let profiles = [Profile::WipedDisks, Profile::Crashes];
    let runs =
        (0..400).flat_map(|seed| profiles.map(|profile| SimOptions::of_seed(seed, 3, profile)));
    let law = violation::<Zab>(runs.map(|options| SimOptions { mutant, ..options }));
    assert_eq!(law, "a repaired cluster serves again");
}

/// How a protocol is spoilt.
trait Fault<M>: Clone + std::fmt::Debug + std::hash::Hash + Default + Send + 'static {
    fn spoil(&mut self, input: Input<M>) -> Input<M> {
        input
    }

    fn spoil_effects(&mut self, _effects: &mut Effects<M>) {}
}

/// A protocol with a fault in front of it.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Spoilt<C, F> {
    core: C,
    fault: F,
}

impl<C: Consensus, F: Fault<C::Message> + PartialEq> Consensus for Spoilt<C, F> {
    const PROTOCOL: Protocol = C::PROTOCOL;

    type Message = C::Message;

    fn start(now: Now, settings: Settings, recovered: Recovered) -> Result<Self, StartError> {
        Ok(Self { core: C::start(now, settings, recovered)?, fault: F::default() })
    }

    fn step(&mut self, now: Now, input: Input<C::Message>, effects: &mut Effects<C::Message>) {
        let input = self.fault.spoil(input);
        self.core.step(now, input, effects);
        self.fault.spoil_effects(effects);
    }

    fn status(&self) -> Status {
        self.core.status()
    }

    fn describe(&self, position: Position) -> String {
        self.core.describe(position)
    }

    fn view(&self) -> View<'_> {
        self.core.view()
    }

    fn pledge(&self, to: NodeId, message: &C::Message) -> Pledge {
        self.core.pledge(to, message)
    }

    fn read_promise(promise: Bytes) -> Result<Pledge, CodecError> {
        C::read_promise(promise)
    }
}

/// The leader answers read barriers on its own word: ZooKeeper's `sync` sold as a linearizable read.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
struct UnconfirmedBarrier;

impl<M> Fault<M> for UnconfirmedBarrier {
    fn spoil(&mut self, input: Input<M>) -> Input<M> {
        match input {
            Input::ReadBarrier { token } => Input::Sync { token },
            other => other,
        }
    }
}

#[test]
fn a_barrier_without_a_quorum_is_noticed() {
    let (seeds, partitions) = (300, Profile::Partitions);
    let raft = first_violation::<Spoilt<Raft, UnconfirmedBarrier>>(None, partitions, seeds);
    let zab = first_violation::<Spoilt<Zab, UnconfirmedBarrier>>(None, partitions, seeds);
    assert!(STALE.contains(&raft) && STALE.contains(&zab), "{raft}; {zab}");
}

/// A `sync` that asks nobody: a local read sold as more.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
struct UnaskedSync {
    asked: BTreeSet<Token>,
}

impl<M> Fault<M> for UnaskedSync {
    fn spoil(&mut self, input: Input<M>) -> Input<M> {
        if let Input::Sync { token } = &input {
            self.asked.insert(*token);
        }
        input
    }

    fn spoil_effects(&mut self, effects: &mut Effects<M>) {
        for answer in &mut effects.answers {
            if let Answer::Barrier { token, index } = answer
                && self.asked.contains(token)
            {
                *index = Index(0);
            }
        }
    }
}

#[test]
fn a_sync_that_asks_nobody_is_noticed() {
    let (law, partitions) = ("a sync sees what its leader had committed", Profile::Partitions);
    assert_eq!(first_violation::<Spoilt<Raft, UnaskedSync>>(None, partitions, 20), law);
    assert_eq!(first_violation::<Spoilt<Zab, UnaskedSync>>(None, partitions, 20), law);
}

/// The protocol forgets to say what its messages wait for.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
struct Untagged;

impl<M> Fault<M> for Untagged {
    fn spoil_effects(&mut self, effects: &mut Effects<M>) {
        for outbound in &mut effects.messages {
            outbound.after = PersistSequence(0);
        }
    }
}

/// Snapshots that come from a node are taken for those of an earlier position: the terms do not end
/// where the state does.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
struct Mislabelled;

impl<M> Fault<M> for Mislabelled {
    fn spoil(&mut self, input: Input<M>) -> Input<M> {
        match input {
            Input::SnapshotReceived { peer, generation, mut snapshot, message } => {
                snapshot.position.index = snapshot.position.index.previous();
                Input::SnapshotReceived { peer, generation, snapshot, message }
            }
            other => other,
        }
    }
}

#[test]
fn a_log_that_goes_on_at_another_position_than_the_snapshot_is_noticed() {
    let crashes = Profile::Crashes;
    first_violation::<Spoilt<Raft, Mislabelled>>(None, crashes, 40);
    first_violation::<Spoilt<Zab, Mislabelled>>(None, crashes, 40);
}

#[test]
fn messages_with_wrong_tags_are_noticed_by_what_they_say() {
    let law = "nothing leaves before what it promises is durable";
    assert_eq!(first_violation::<Spoilt<Raft, Untagged>>(None, Profile::Calm, 3), law);
    assert_eq!(first_violation::<Spoilt<Zab, Untagged>>(None, Profile::Calm, 3), law);
}
