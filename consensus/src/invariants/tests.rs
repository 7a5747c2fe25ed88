//! Each law is broken once, and noticed; and what is allowed is allowed.

use bytes::Bytes;

use super::{Durability, Invariants, View, Violation};
use crate::{
    Effects, Entry, Index, Log, NodeId, Payload, Persist, PersistSequence, Pledge, Position,
    Recovered, Settings, Snapshot, Term, WallTime,
};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);

fn entry(term: u64, index: u64, command: &'static str) -> Entry {
    Entry {
        position: Position::new(term, index),
        wall: WallTime(0),
        payload: Payload::Command(Bytes::from_static(command.as_bytes())),
    }
}

fn log(entries: &[(u64, &'static str)]) -> Log {
    let mut log = Log::new(&Settings::new(N1, [N1, N2]), Recovered::default());
    for (offset, &(term, command)) in entries.iter().enumerate() {
        log.append(entry(term, offset as u64 + 1, command));
    }
    log
}

fn committed(mut log: Log, index: u64) -> Log {
    log.commit_to(Index(index));
    log
}

fn view(id: NodeId, log: &Log) -> View<'_> {
    View { id, promised: Term(9), joined: None, leading: None, established: None, log }
}

fn leading(id: NodeId, term: u64, log: &Log) -> View<'_> {
    View { established: Some(Term(term)), ..view(id, log) }
}

fn law(result: Result<(), Violation>) -> &'static str {
    result.expect_err("a law is broken").law
}

/// An established leader of ZAB.
fn primary(id: NodeId, epoch: u64, log: &Log) -> View<'_> {
    let epoch = Some(Term(epoch));
    View { joined: epoch, leading: epoch, established: epoch, ..view(id, log) }
}

#[test]
fn a_leader_that_lacks_the_initial_history_of_an_earlier_one_is_noticed() {
    let whole = log(&[(1, "a"), (1, "b")]);
    let part = log(&[(1, "a")]);
    let mut laws = Invariants::new();
    // Nobody knows yet that any of it is committed.
    laws.check(&[primary(N1, 2, &whole)]).unwrap();
    laws.clone().check(&[primary(N1, 2, &whole), primary(N2, 3, &whole)]).unwrap();
    let result = laws.check(&[primary(N1, 2, &whole), primary(N2, 3, &part)]);
    let wanted = "an established leader begins with the initial histories of all before it";
    assert_eq!(law(result), wanted);
}

#[test]
fn a_leader_that_removes_from_its_log_is_noticed() {
    let (whole, part) = (log(&[(1, "a"), (1, "b")]), log(&[(1, "a")]));
    let leads = |log| View { leading: Some(Term(1)), ..view(N1, log) };
    let mut laws = Invariants::new();
    laws.check(&[leads(&whole)]).unwrap();
    // A follower may.
    laws.clone().check(&[view(N1, &part)]).unwrap();
    assert_eq!(law(laws.check(&[leads(&part)])), "a leader only appends to its log");
}

#[test]
fn whoever_removes_what_is_committed_elsewhere_is_noticed() {
    let known = committed(log(&[(1, "a"), (1, "b")]), 2);
    let (whole, part) = (log(&[(1, "a"), (1, "b")]), log(&[(1, "a")]));
    let mut laws = Invariants::new();
    laws.check(&[view(N1, &whole), view(N2, &whole)]).unwrap();
    laws.clone().check(&[view(N2, &part)]).unwrap();
    laws.check(&[view(N1, &known), view(N2, &whole)]).unwrap();
    // One that was left behind in an earlier term may.
    let mut behind = laws.clone();
    behind.wiped(N2);
    let old = |log| View { promised: Term(8), ..view(N2, log) };
    behind.check(&[old(&whole)]).unwrap();
    behind.check(&[old(&part)]).unwrap();
    let result = laws.check(&[view(N2, &part)]);
    assert_eq!(law(result), "nobody removes what leaders of its term or of earlier ones committed");
}

#[test]
fn whoever_joins_an_epoch_with_a_stray_entry_is_noticed() {
    let (whole, stray) = (log(&[(1, "a")]), log(&[(1, "a"), (1, "x")]));
    let live = log(&[(1, "a"), (2, "b")]);
    let joins = |id, log| View { joined: Some(Term(2)), ..view(id, log) };
    let mut laws = Invariants::new();
    laws.check(&[primary(N1, 2, &whole), view(N2, &whole)]).unwrap();
    laws.check(&[primary(N1, 2, &whole), joins(N2, &live)]).unwrap();
    let mut laws = Invariants::new();
    laws.check(&[primary(N1, 2, &whole), view(N2, &stray)]).unwrap();
    let result = laws.check(&[primary(N1, 2, &whole), joins(N2, &stray)]);
    assert_eq!(law(result), "whoever joins an epoch holds the initial history of its leader");
}

#[test]
fn a_primary_that_has_not_committed_its_initial_history_is_noticed() {
    let known = committed(log(&[(1, "a")]), 1);
    let unknown = log(&[(1, "a")]);
    let mut laws = Invariants::new();
    laws.check(&[primary(N1, 1, &known)]).unwrap();
    laws.clone().check(&[primary(N2, 2, &known)]).unwrap();
    let result = laws.check(&[primary(N2, 2, &unknown)]);
    assert_eq!(law(result), "an established leader holds all that earlier terms committed");
}

#[test]
fn two_leaders_in_one_term_are_noticed() {
    let log = log(&[]);
    let mut laws = Invariants::new();
    laws.check(&[leading(N1, 1, &log)]).unwrap();
    laws.check(&[leading(N1, 1, &log), leading(N2, 2, &log)]).unwrap();
    laws.crashed(N1);
    laws.check(&[leading(N2, 2, &log)]).unwrap();
    // Also long after the first has gone.
    let result = laws.check(&[leading(N2, 1, &log)]);
    assert_eq!(law(result), "at most one leader is established in a term or epoch");
}

#[test]
fn another_entry_at_the_same_position_is_noticed() {
    let (one, other) = (log(&[(1, "a")]), log(&[(1, "b")]));
    let mut laws = Invariants::new();
    laws.check(&[view(N1, &one)]).unwrap();
    assert_eq!(law(laws.check(&[view(N2, &other)])), "equal positions are equal entries");
}

#[test]
fn another_entry_before_the_same_position_is_noticed() {
    let (one, other) = (log(&[(1, "a"), (2, "b")]), log(&[(2, "x"), (2, "b")]));
    let mut laws = Invariants::new();
    laws.check(&[view(N1, &one)]).unwrap();
    let result = laws.check(&[view(N2, &other)]);
    assert_eq!(law(result), "equal positions have equal entries before them");
}

#[test]
fn an_entry_rewritten_at_its_position_is_noticed_when_it_is_written() {
    let mut laws = Invariants::new();
    laws.written(N1, &[entry(1, 1, "a"), entry(1, 2, "b")]).unwrap();
    laws.written(N1, &[entry(2, 2, "c")]).unwrap();
    let result = laws.written(N2, &[entry(1, 2, "x")]);
    assert_eq!(law(result), "equal positions are equal entries");
}

#[test]
fn different_commits_at_one_index_are_noticed() {
    let one = committed(log(&[(1, "a")]), 1);
    let other = committed(log(&[(2, "b")]), 1);
    let mut laws = Invariants::new();
    laws.check(&[view(N1, &one)]).unwrap();
    assert_eq!(law(laws.check(&[view(N2, &other)])), "what is committed is the same everywhere");
}

#[test]
fn a_commit_that_goes_back_is_noticed_unless_the_node_restarted() {
    let (ahead, behind) = (committed(log(&[(1, "a")]), 1), log(&[(1, "a")]));
    let mut laws = Invariants::new();
    laws.check(&[view(N1, &ahead)]).unwrap();
    let mut restarted = laws.clone();
    let result = laws.check(&[view(N1, &behind)]);
    assert_eq!(
        law(result),
        "promises, commit positions and what was forgotten never go back while a node lives"
    );
    restarted.crashed(N1);
    restarted.check(&[view(N1, &behind)]).unwrap();
    assert_eq!(restarted.committed(), Index(1));
}

#[test]
fn a_promise_that_goes_back_is_noticed() {
    let log = log(&[]);
    let mut laws = Invariants::new();
    laws.check(&[View { promised: Term(3), ..view(N1, &log) }]).unwrap();
    let result = laws.check(&[View { promised: Term(2), ..view(N1, &log) }]);
    assert_eq!(
        law(result),
        "promises, commit positions and what was forgotten never go back while a node lives"
    );
}

#[test]
fn a_leader_that_lacks_what_was_committed_before_is_noticed() {
    let full = committed(log(&[(1, "a"), (1, "b")]), 2);
    let short = log(&[(1, "a")]);
    let mut laws = Invariants::new();
    laws.check(&[leading(N1, 1, &full)]).unwrap();
    let result = laws.check(&[leading(N2, 2, &short)]);
    assert_eq!(law(result), "an established leader holds all that earlier terms committed");
}

#[test]
fn a_leader_of_a_later_term_need_not_wait_for_the_commit_to_be_noticed() {
    let mut full = log(&[(1, "a")]);
    let empty = log(&[]);
    let mut laws = Invariants::new();
    laws.check(&[leading(N1, 1, &full), leading(N2, 2, &empty)]).unwrap();
    full.commit_to(Index(1));
    let result = laws.check(&[leading(N1, 1, &full), leading(N2, 2, &empty)]);
    assert_eq!(law(result), "an established leader holds all that earlier terms committed");
}

#[test]
fn a_deposed_leader_may_lack_what_a_later_term_committed() {
    let full = committed(log(&[(3, "a")]), 1);
    let empty = log(&[]);
    let mut laws = Invariants::new();
    laws.check(&[leading(N1, 3, &full)]).unwrap();
    laws.check(&[leading(N1, 3, &full), leading(N2, 2, &empty)]).unwrap();
}

#[test]
fn durable_entries_missing_after_a_restart_are_noticed() {
    let mut full = log(&[(1, "a"), (1, "b")]);
    let mut effects = Effects::<()>::default();
    let sequence = full.persist(&mut effects);
    full.persisted(sequence);
    let mut laws = Invariants::new();
    laws.check(&[view(N1, &full)]).unwrap();
    laws.crashed(N1);
    let result = laws.check(&[view(N1, &log(&[(1, "a")]))]);
    assert_eq!(law(result), "what a node knew durable is there after its restart");
}

#[test]
fn deliveries_out_of_order_or_of_other_entries_are_noticed() {
    let one = committed(log(&[(1, "a"), (1, "b")]), 2);
    let mut laws = Invariants::new();
    laws.check(&[view(N1, &one)]).unwrap();
    let expected = "deliveries are the committed entries, each once, in order";
    assert_eq!(law(laws.clone().delivered(N1, &entry(1, 2, "b"))), expected);
    assert_eq!(law(laws.clone().delivered(N1, &entry(1, 1, "x"))), expected);
    laws.delivered(N1, &entry(1, 1, "a")).unwrap();
    assert_eq!(law(laws.clone().delivered(N1, &entry(1, 1, "a"))), expected);
    laws.delivered(N1, &entry(1, 2, "b")).unwrap();
    assert_eq!(law(laws.delivered(N1, &entry(1, 3, "c"))), expected);
}

#[test]
fn uncommitted_entries_may_be_replaced_and_come_back() {
    let mut laws = Invariants::new();
    let (old, new) = (log(&[(1, "a"), (1, "b"), (1, "c")]), log(&[(1, "a"), (2, "d")]));
    laws.check(&[view(N1, &old)]).unwrap();
    laws.check(&[view(N1, &new)]).unwrap();
    laws.check(&[view(N1, &old)]).unwrap();
    let different = log(&[(1, "a"), (2, "d"), (2, "x")]);
    laws.check(&[view(N1, &different), view(N2, &new)]).unwrap();
    // What was replaced is still known.
    let result = laws.check(&[view(N2, &log(&[(1, "a"), (1, "z")]))]);
    assert_eq!(law(result), "equal positions are equal entries");
}

#[test]
fn a_long_history_is_settled_and_still_guarded() {
    let mut laws = Invariants::new();
    let (mut one, mut other) = (log(&[]), log(&[]));
    for index in 1..=5_000 {
        one.append(entry(1, index, "x"));
        one.commit_to(Index(index));
        other.append(entry(1, index, "x"));
        other.commit_to(Index(index));
        laws.check(&[view(N1, &one), view(N2, &other)]).unwrap();
    }
    assert!(laws.history.unsettled() < 2_100, "what all have committed is forgotten");
    laws.crashed(N2);
    let result = laws.check(&[view(N2, &log(&[(1, "other")]))]);
    assert_eq!(law(result), "equal positions are equal entries");
}

const LEAVES: &str = "nothing leaves before what it promises is durable";

fn persist(sequence: u64, truncate_from: Option<u64>, entries: &[(u64, u64)]) -> Persist {
    Persist {
        sequence: PersistSequence(sequence),
        truncate_from: truncate_from.map(Index),
        entries: entries.iter().map(|&(term, index)| entry(term, index, "x")).collect(),
        ..Persist::default()
    }
}

fn promise(promised: u64, vote: Option<NodeId>, joined: u64) -> Pledge {
    let (promised, joined) = (Term(promised), Term(joined));
    Pledge { promised, vote, joined, ..Pledge::default() }
}

fn holding(term: u64, index: u64) -> Pledge {
    Pledge { last: Position::new(term, index), ..Pledge::default() }
}

#[test]
fn a_driver_that_sends_too_early_is_noticed() {
    let mut durability = Durability::default();
    let nothing = Pledge::default();
    durability.leaves(N1, PersistSequence(0), &nothing).unwrap();
    durability.asked(N1, &persist(1, None, &[]), None).unwrap();
    durability.asked(N1, &persist(2, None, &[]), None).unwrap();
    let gap = durability.asked(N1, &persist(4, None, &[]), None);
    assert_eq!(law(gap), "writes are numbered densely");
    assert_eq!(law(durability.leaves(N1, PersistSequence(1), &nothing)), LEAVES);
    durability.completed(N1, PersistSequence(2)).unwrap();
    durability.leaves(N1, PersistSequence(1), &nothing).unwrap();
    let expected = "writes become durable once, in order";
    assert_eq!(law(durability.completed(N1, PersistSequence(1))), expected);
    assert_eq!(law(durability.completed(N1, PersistSequence(3))), expected);
}

#[test]
fn a_message_with_a_wrong_tag_is_noticed_by_what_it_says() {
    let mut durability = Durability::default();
    let untagged = PersistSequence(0);
    let write = persist(1, None, &[(1, 1), (1, 2), (2, 3)]);
    durability.asked(N1, &write, Some(promise(2, Some(N2), 1))).unwrap();
    let pledges =
        [promise(2, None, 0), promise(2, Some(N2), 0), promise(0, None, 1), holding(2, 3)];
    for pledge in pledges {
        assert_eq!(law(durability.leaves(N1, untagged, &pledge)), LEAVES, "{pledge:?}");
    }
    durability.completed(N1, PersistSequence(1)).unwrap();
    for pledge in pledges {
        durability.leaves(N1, untagged, &pledge).unwrap();
    }
    for pledge in [promise(2, Some(N1), 0), holding(1, 3), holding(2, 4), promise(3, None, 0)] {
        assert_eq!(law(durability.leaves(N1, untagged, &pledge)), LEAVES, "{pledge:?}");
    }
    // A vote of an earlier term, and what was removed since, were true once.
    let write = persist(2, Some(2), &[(3, 2)]);
    durability.asked(N1, &write, Some(promise(3, None, 1))).unwrap();
    durability.completed(N1, PersistSequence(2)).unwrap();
    for pledge in [promise(2, Some(N2), 0), holding(2, 3), holding(3, 2)] {
        durability.leaves(N1, untagged, &pledge).unwrap();
    }
}

#[test]
fn a_durable_promise_that_goes_back_is_noticed() {
    let expected = "promises never go back, not even across a restart";
    let made = promise(4, Some(N2), 3);
    let forgotten = [promise(3, Some(N2), 3), promise(4, Some(N1), 3), promise(4, Some(N2), 2)];
    for other in forgotten {
        let mut durability = Durability::default();
        durability.asked(N1, &persist(1, None, &[]), Some(made)).unwrap();
        durability.asked(N1, &persist(2, None, &[]), Some(other)).unwrap();
        assert_eq!(law(durability.completed(N1, PersistSequence(2))), expected, "{other:?}");
    }
    let log = log(&[]);
    let starts = |found: Pledge, promised: u64, joined: u64| {
        let mut durability = Durability::default();
        durability.asked(N1, &persist(1, None, &[]), Some(made)).unwrap();
        durability.completed(N1, PersistSequence(1)).unwrap();
        let (promised, joined) = (Term(promised), Some(Term(joined)));
        let view = View { promised, joined, ..view(N1, &log) };
        durability.started(&view, &Recovered::default(), found)
    };
    starts(made, 4, 3).unwrap();
    for other in forgotten {
        assert_eq!(law(starts(other, 4, 3)), expected, "{other:?}");
    }
    assert_eq!(law(starts(made, 3, 3)), expected, "it starts in an earlier term than it found");
    assert_eq!(law(starts(made, 4, 2)), expected);
}

#[test]
fn two_that_a_quorum_accepted_in_one_epoch_are_noticed() {
    let log = log(&[]);
    let mut laws = Invariants::new();
    let accepted = |id| View { leading: Some(Term(3)), ..view(id, &log) };
    laws.check(&[accepted(N1)]).unwrap();
    laws.check(&[view(N1, &log)]).unwrap();
    let expected = "at most one node is accepted as leader by a quorum in a term or epoch";
    assert_eq!(law(laws.check(&[accepted(N2)])), expected);
}

#[test]
fn an_epoch_joined_without_its_history_is_noticed() {
    let expected = "whoever joins an epoch holds the initial history of its leader";
    let (whole, part) = (log(&[(1, "a"), (1, "b")]), log(&[(1, "a")]));
    let joined = |id, epoch, log| View { joined: Some(Term(epoch)), ..view(id, log) };
    let mut laws = Invariants::new();
    laws.check(&[joined(N1, 1, &whole), joined(N2, 1, &part)]).unwrap();
    let leader = View { leading: Some(Term(2)), ..joined(N1, 2, &whole) };
    laws.check(&[leader]).unwrap();
    let mut others = laws.clone();
    others.check(&[joined(N2, 2, &whole)]).unwrap();
    assert_eq!(law(laws.clone().check(&[joined(N2, 2, &part)])), expected);
    // A leader that gave up at once was seen by nobody to lead, but was the first to join.
    let mut unseen = laws.clone();
    unseen.check(&[joined(N1, 3, &whole)]).unwrap();
    assert_eq!(law(unseen.check(&[joined(N2, 3, &part)])), expected);
    let back = laws.check(&[joined(N1, 1, &whole)]);
    assert_eq!(
        law(back),
        "promises, commit positions and what was forgotten never go back while a node lives"
    );
}

/// A history that begins far away costs nothing, and is guarded like any other.
#[test]
fn a_history_that_begins_late_is_guarded_from_there_on() {
    const FAR: u64 = 1 << 40;
    let begun = |id| {
        let recovered = Recovered {
            terms: [(Index(1), Term(1))].into(),
            compacted: Index(FAR),
            last: Index(FAR),
            commit: Index(FAR),
            ..Recovered::default()
        };
        Log::new(&Settings::new(id, [N1, N2]), recovered)
    };
    let mut laws = Invariants::begin_after(Position::new(1, FAR));
    let (mut one, mut other) = (begun(N1), begun(N2));
    laws.check(&[view(N1, &one), view(N2, &other)]).unwrap();
    assert_eq!(laws.committed(), Index(FAR));
    one.append(entry(2, FAR + 1, "a"));
    one.commit_to(Index(FAR + 1));
    laws.check(&[view(N1, &one), view(N2, &other)]).unwrap();
    assert_eq!(laws.committed(), Index(FAR + 1));

    let snapshot = |from: u64, term: u64| Snapshot {
        position: Position::new(term, FAR + 1),
        terms: [(Index(1), Term(1)), (Index(from), Term(term))].into(),
        handle: 1,
    };
    let expected = "a snapshot holds what was committed up to its position";
    let empty = log(&[]);
    laws.wiped(N2);
    laws.check(&[view(N2, &empty)]).unwrap();
    for wrong in [snapshot(FAR + 1, 3), snapshot(FAR, 2)] {
        assert_eq!(law(laws.clone().installed(N2, &wrong)), expected, "{wrong:?}");
    }
    laws.installed(N2, &snapshot(FAR + 1, 2)).unwrap();

    other.append(entry(2, FAR + 1, "b"));
    assert_eq!(law(laws.check(&[view(N2, &other)])), "equal positions are equal entries");
}

#[test]
fn what_a_snapshot_replaces_may_have_been_said() {
    const FAR: u64 = 1 << 40;
    let recovered = Recovered {
        terms: [(Index(1), Term(1)), (Index(FAR), Term(2))].into(),
        last: Index(FAR + 1),
        ..Recovered::default()
    };
    let mut durability = Durability::default();
    durability.started(&view(N1, &log(&[])), &recovered, Pledge::default()).unwrap();
    let terms = [(Index(1), Term(1)), (Index(FAR), Term(3))].into();
    let install = Some(Snapshot { position: Position::new(3, FAR), terms, handle: 1 });
    durability.asked(N1, &Persist { install, ..persist(1, None, &[]) }, None).unwrap();
    durability.completed(N1, PersistSequence(1)).unwrap();
    for (term, index) in [(1, FAR - 1), (2, FAR), (2, FAR + 1), (3, FAR)] {
        durability.leaves(N1, PersistSequence(0), &holding(term, index)).unwrap();
    }
    for (term, index) in [(1, FAR), (3, FAR + 1)] {
        let pledge = holding(term, index);
        assert_eq!(law(durability.leaves(N1, PersistSequence(0), &pledge)), LEAVES, "{pledge:?}");
    }
}
