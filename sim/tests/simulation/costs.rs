//! What theory says that requests, elections and rejoins cost, and that they do cost that.

use consensus::Consensus;
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::costs::{
    Asked, Cost, Delays, Request, Shape, delays, election_cost, rejoin_cost, request_cost,
};

const SHAPES: [Shape; 5] = [
    Shape { voters: 3, observers: 0 },
    Shape { voters: 3, observers: 2 },
    Shape { voters: 5, observers: 1 },
    Shape { voters: 7, observers: 0 },
    Shape { voters: 9, observers: 0 },
];

fn asked_of(shape: Shape) -> Vec<Asked> {
    let mut all = vec![Asked::Leader, Asked::Follower];
    all.extend((shape.observers > 0).then_some(Asked::Observer));
    all
}

fn cost<C: Consensus>(shape: Shape, asked: Asked, request: Request, count: u64) -> Cost {
    request_cost::<C>(shape, asked, request, count).unwrap_or_else(|error| panic!("{error}"))
}

/// Messages and frames of one name.
fn sent(cost: &Cost, name: &str) -> (u64, u64) {
    cost.sent.get(name).map_or((0, 0), |sent| (sent.messages, sent.frames))
}

/// Checks what was sent by its names: messages, and frames. Nothing else was.
#[track_caller]
fn assert_sent(cost: &Cost, expected: &[(&str, u64, u64)], what: &str) {
    let expected: Vec<_> = expected.iter().filter(|(_, messages, _)| *messages > 0).collect();
    for (name, messages, frames) in &expected {
        assert_eq!(sent(cost, name), (*messages, *frames), "{name} of {what}: {cost:?}");
    }
    assert_eq!(cost.sent.len(), expected.len(), "{what}: {cost:?}");
}

/// A write goes to everybody, is acknowledged by everybody, and everybody is told that it is committed. A
/// batch is one frame wherever it goes, and one sync wherever it arrives.
#[test]
fn a_batch_of_writes_of_raft_costs_three_frames_for_each_other_node() {
    for shape in SHAPES {
        let others = shape.voters - 1 + shape.observers;
        for asked in asked_of(shape) {
            for batch in [1, 2, 16, 256] {
                let cost = cost::<Raft>(shape, asked, Request::Put, batch);
                let forwards = u64::from(asked != Asked::Leader);
                let expected = [
                    // The commit index comes in a frame of its own, which has no entries.
                    ("AppendEntries", others * (batch + 1), others * 2),
                    ("AppendEntriesResponse", others * batch, others),
                    ("Forward", forwards, forwards),
                ];
                assert_sent(&cost, &expected, &format!("{batch} to {asked:?} of {shape:?}"));
                assert_eq!(cost.syncs, others + 1, "{batch} to {asked:?} of {shape:?}");
            }
        }
    }
}

/// The same of ZAB, where each write is committed by a message of its own, an observer is told of a write when
/// it is committed, and says what it has.
#[test]
fn a_batch_of_writes_of_zab_costs_three_frames_for_each_follower_and_two_for_each_observer() {
    for shape in SHAPES {
        let (followers, observers) = (shape.voters - 1, shape.observers);
        for asked in asked_of(shape) {
            for batch in [1, 2, 16, 256] {
                let cost = cost::<Zab>(shape, asked, Request::Put, batch);
                let forwards = u64::from(asked != Asked::Leader);
                let expected = [
                    ("PROPOSAL", followers * batch, followers),
                    ("ACK", followers * batch, followers),
                    ("COMMIT", followers * batch, followers),
                    ("INFORM", observers * batch, observers),
                    ("RECEIVED", observers, observers),
                    ("Forward", forwards, forwards),
                ];
                assert_sent(&cost, &expected, &format!("{batch} to {asked:?} of {shape:?}"));
                assert_eq!(cost.syncs, followers + observers + 1, "{batch} to {asked:?}");
            }
        }
    }
}

/// A linearizable read is confirmed by a round to all voters, a `sync` read by the leader alone, and a local
/// one by nobody; whoever does not lead asks the leader. None is written anywhere.
fn reads_cost_what_confirms_them<C: Consensus>(round: [&str; 2]) {
    for shape in SHAPES {
        for asked in asked_of(shape) {
            let what = format!("{asked:?} of {shape:?}");
            let question = u64::from(asked != Asked::Leader);
            let asks =
                [("BarrierRequest", question, question), ("BarrierReply", question, question)];
            let local = cost::<C>(shape, asked, Request::Local, 1);
            assert_sent(&local, &[], &what);
            let sync = cost::<C>(shape, asked, Request::Sync, 1);
            assert_sent(&sync, &asks, &what);
            let linearizable = cost::<C>(shape, asked, Request::Linearizable, 1);
            for name in round {
                let (messages, frames) = sent(&linearizable, name);
                assert_eq!(messages, frames, "{name} to {what}");
                // Observers hear of it as well where it is a heartbeat.
                let voters = shape.voters - 1;
                assert!((voters..=voters + shape.observers).contains(&frames), "{name}: {frames}");
            }
            assert_eq!(sent(&linearizable, "BarrierRequest").0, question, "{what}");
            assert_eq!((local.syncs, sync.syncs, linearizable.syncs), (0, 0, 0));
        }
    }
}

#[test]
fn reads_of_raft_cost_what_confirms_them() {
    reads_cost_what_confirms_them::<Raft>(["Heartbeat", "HeartbeatResponse"]);
}

#[test]
fn reads_of_zab_cost_what_confirms_them() {
    reads_cost_what_confirms_them::<Zab>(["BARRIER", "BARRIERACK"]);
}

/// Two messages one after another, and two more for who has to ask the leader. The leader syncs while its
/// followers do, so one sync is waited for, and none for a read.
fn answers_wait_for_as_little_as_they_can<C: Consensus>() {
    for shape in [SHAPES[0], SHAPES[1]] {
        for asked in asked_of(shape) {
            let away = if asked == Asked::Leader { 0 } else { 2 };
            for (request, messages, syncs) in [
                (Request::Put, 2 + away, 1),
                (Request::Linearizable, 2 + away, 0),
                (Request::Sync, away, 0),
                (Request::Local, 0, 0),
            ] {
                let found = delays::<C>(shape, asked, request);
                let found = found.unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(found, Delays { messages, syncs }, "{request:?} of {asked:?}");
            }
        }
    }
}

#[test]
fn answers_of_raft_wait_for_as_little_as_they_can() {
    answers_wait_for_as_little_as_they_can::<Raft>();
}

#[test]
fn answers_of_zab_wait_for_as_little_as_they_can() {
    answers_wait_for_as_little_as_they_can::<Zab>();
}

/// Both ask all others three times; ZAB has its exchange of notifications besides, and its leader meets each
/// follower by itself.
#[test]
fn an_election_that_nobody_contests_costs_each_survivor_the_same() {
    for voters in [3, 5, 7, 9] {
        let shape = Shape { voters, observers: 0 };
        let others = voters - 2;
        let raft = least(|seed| election_cost::<Raft>(seed, shape));
        assert_sent(
            &raft,
            &[
                ("PreVote", others, others),
                ("PreVoteResponse", others, others),
                ("RequestVote", others, others),
                ("RequestVoteResponse", others, others),
                // The entry that a leader begins with, and that it is committed.
                ("AppendEntries", 2 * others, 2 * others),
                ("AppendEntriesResponse", others, others),
            ],
            &format!("{voters} voters"),
        );
        let zab = least(|seed| election_cost::<Zab>(seed, shape));
        for name in
            ["FOLLOWERINFO", "LEADERINFO", "ACKEPOCH", "DIFF", "NEWLEADER", "ACK", "UPTODATE"]
        {
            assert_eq!(sent(&zab, name), (others, others), "{name} of {voters} voters");
        }
        // Promise and history are durable before anybody is told: the vote or the epoch, and the entry or
        // the reign.
        assert_eq!((raft.syncs, zab.syncs), (2 * (voters - 1), 2 * (voters - 1)));
    }
}

/// What the cheapest of some elections costs.
fn least<E: std::fmt::Display>(election: impl Fn(u64) -> Result<Cost, E>) -> Cost {
    let costs = (1..=8).map(|seed| election(seed).unwrap_or_else(|error| panic!("{error}")));
    costs.min_by_key(|cost| cost.total().messages).expect("eight elections")
}

/// What it lacks is sent once, whatever it is.
fn a_follower_that_was_away_is_sent_what_it_lacks<C: Consensus>(name: &str) {
    let shape = Shape { voters: 3, observers: 0 };
    let [few, many] = [10, 1_000]
        .map(|behind| rejoin_cost::<C>(shape, behind).unwrap_or_else(|error| panic!("{error}")));
    assert_eq!((sent(&few, name).0, sent(&many, name).0), (10, 1_000));
    let entry = (many.sent[name].bytes - few.sent[name].bytes) / 990;
    assert!((300..400).contains(&entry), "an entry of a value of 256 bytes has {entry} bytes");
    assert_eq!((few.syncs, many.syncs), (1, 1), "all at once");
}

#[test]
fn a_follower_of_raft_that_was_away_is_sent_what_it_lacks() {
    a_follower_that_was_away_is_sent_what_it_lacks::<Raft>("AppendEntries");
}

#[test]
fn a_follower_of_zab_that_was_away_is_sent_what_it_lacks() {
    a_follower_that_was_away_is_sent_what_it_lacks::<Zab>("PROPOSAL");
}
