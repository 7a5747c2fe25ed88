//! What theory says that requests, elections and rejoins cost, and that they do cost that.

use consensus::Consensus;
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::costs::{
    Asked, Cost, Counted, Delays, Request, Shape, election_cost, rejoin_cost, request_cost,
};

/// Two observers show how costs grow with them, one that they do so evenly.
const SHAPES: [Shape; 9] = [
    Shape { voters: 3, observers: 0 },
    Shape { voters: 3, observers: 2 },
    Shape { voters: 5, observers: 0 },
    Shape { voters: 5, observers: 1 },
    Shape { voters: 5, observers: 2 },
    Shape { voters: 7, observers: 0 },
    Shape { voters: 7, observers: 2 },
    Shape { voters: 9, observers: 0 },
    Shape { voters: 9, observers: 2 },
];

fn asked_of(shape: Shape) -> Vec<Asked> {
    let mut all = vec![Asked::Leader, Asked::Follower];
    all.extend((shape.observers > 0).then_some(Asked::Observer));
    all
}

fn count<C: Consensus>(shape: Shape, asked: Asked, request: Request, count: u64) -> Counted {
    request_cost::<C>(shape, asked, request, count).unwrap_or_else(|error| panic!("{error}"))
}

/// What a write, however many come with it, and a linearizable read wait for: two messages one after another, and
/// two more for who has to ask the leader. The leader syncs while its followers do, so one sync is waited for.
fn a_round(asked: Asked, syncs: u64) -> Delays {
    Delays { messages: 2 + elsewhere(asked), syncs }
}

/// The question and the answer of who has to ask the leader.
fn elsewhere(asked: Asked) -> u64 {
    if asked == Asked::Leader { 0 } else { 2 }
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
                let counted = count::<Raft>(shape, asked, Request::Put, batch);
                let forwards = u64::from(asked != Asked::Leader);
                let expected = [
                    // The commit index comes in a frame of its own, which has no entries.
                    ("AppendEntries", others * (batch + 1), others * 2),
                    ("AppendEntriesResponse", others * batch, others),
                    ("Forward", forwards, forwards),
                ];
                let what = format!("{batch} to {asked:?} of {shape:?}");
                assert_sent(&counted.cost, &expected, &what);
                assert_eq!(counted.cost.syncs, others + 1, "{what}");
                assert_eq!(counted.delays, a_round(asked, 1), "{what}");
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
                let counted = count::<Zab>(shape, asked, Request::Put, batch);
                let forwards = u64::from(asked != Asked::Leader);
                let expected = [
                    ("PROPOSAL", followers * batch, followers),
                    ("ACK", followers * batch, followers),
                    ("COMMIT", followers * batch, followers),
                    ("INFORM", observers * batch, observers),
                    ("RECEIVED", observers, observers),
                    ("Forward", forwards, forwards),
                ];
                let what = format!("{batch} to {asked:?} of {shape:?}");
                assert_sent(&counted.cost, &expected, &what);
                assert_eq!(counted.cost.syncs, followers + observers + 1, "{what}");
                assert_eq!(counted.delays, a_round(asked, 1), "{what}");
            }
        }
    }
}

/// A linearizable read is confirmed by a round to all voters, and to observers as well where it is a heartbeat; a
/// `sync` read by the leader alone, and a local one by nobody; whoever does not lead asks the leader. None is
/// written anywhere.
fn reads_cost_what_confirms_them<C: Consensus>(round: [&str; 2], asks_observers: bool) {
    for shape in SHAPES {
        let others = shape.voters - 1 + if asks_observers { shape.observers } else { 0 };
        for asked in asked_of(shape) {
            let what = format!("{asked:?} of {shape:?}");
            let question = u64::from(asked != Asked::Leader);
            let asks =
                [("BarrierRequest", question, question), ("BarrierReply", question, question)];
            let away = Delays { messages: elsewhere(asked), syncs: 0 };
            let confirmed =
                [(round[0], others, others), (round[1], others, others), asks[0], asks[1]];
            for (read, expected, delays) in [
                (Request::Local, &[][..], Delays { messages: 0, syncs: 0 }),
                (Request::Sync, &asks, away),
                (Request::Linearizable, &confirmed, a_round(asked, 0)),
            ] {
                let counted = count::<C>(shape, asked, read, 1);
                assert_sent(&counted.cost, expected, &format!("{read:?} of {what}"));
                assert_eq!((counted.cost.syncs, counted.delays), (0, delays), "{read:?} of {what}");
            }
        }
    }
}

#[test]
fn reads_of_raft_cost_what_confirms_them() {
    reads_cost_what_confirms_them::<Raft>(["Heartbeat", "HeartbeatResponse"], true);
}

#[test]
fn reads_of_zab_cost_what_confirms_them() {
    reads_cost_what_confirms_them::<Zab>(["BARRIER", "BARRIERACK"], false);
}

/// A candidate asks the others twice, and its first entry costs three messages with each of them and with each
/// observer: the entry, its answer, and that it is committed.
#[test]
fn an_election_of_raft_costs_seven_messages_for_each_other_survivor() {
    for shape in SHAPES {
        let (others, observers) = (shape.voters - 2, shape.observers);
        let led = others + observers;
        let counted = election_cost::<Raft>(shape).unwrap_or_else(|error| panic!("{error}"));
        let expected = [
            ("PreVote", others, others),
            ("PreVoteResponse", others, others),
            ("RequestVote", others, others),
            ("RequestVoteResponse", others, others),
            ("AppendEntries", 2 * led, 2 * led),
            ("AppendEntriesResponse", led, led),
        ];
        assert_sent(&counted.cost, &expected, &format!("{shape:?}"));
        // Vote and entry of each survivor are durable before anybody is told.
        assert_eq!(counted.cost.syncs, 2 * (shape.voters - 1) + observers, "{shape:?}");
        assert_eq!(counted.delays, Delays { messages: 5, syncs: 2 }, "{shape:?}");
    }
}

/// All survivors vote for themselves and hear of one another's votes at one moment, in the order of their
/// numbers: each tells everybody anew of each better one, so there are n(n − 1)/2 rounds of notifications to the
/// n − 2 others and the observers. An observer asks each survivor, who answers. Then the leader meets each of the
/// others by itself.
#[test]
fn an_election_of_zab_costs_rounds_of_notifications_and_seven_messages_for_each_learner() {
    for shape in SHAPES {
        let (survivors, observers) = (shape.voters - 1, shape.observers);
        let learners = survivors - 1 + observers;
        let rounds = shape.voters * survivors / 2;
        let notifications = rounds * learners + 2 * survivors * observers;
        let (followers, all) = (survivors - 1, learners);
        let counted = election_cost::<Zab>(shape).unwrap_or_else(|error| panic!("{error}"));
        let expected = [
            ("NOTIFICATION", notifications, notifications),
            ("FOLLOWERINFO", followers, followers),
            ("OBSERVERINFO", observers, observers),
            ("LEADERINFO", all, all),
            ("ACKEPOCH", all, all),
            ("DIFF", all, all),
            ("NEWLEADER", all, all),
            ("ACK", all, all),
            ("UPTODATE", all, all),
        ];
        assert_sent(&counted.cost, &expected, &format!("{shape:?}"));
        // The accepted epoch, and the reign with the history behind it.
        assert_eq!(counted.cost.syncs, 2 * survivors + observers, "{shape:?}");
        // One of two survivors has elected as soon as it hears of the other's vote.
        let votes = if survivors == 2 { 1 } else { 2 };
        assert_eq!(counted.delays, Delays { messages: 6 + votes, syncs: 4 }, "{shape:?}");
    }
}

/// What it lacks is sent once, whatever it is and whoever else is there.
#[test]
fn a_follower_of_raft_that_was_away_is_sent_what_it_lacks() {
    for shape in SHAPES {
        for behind in [10, 1_000] {
            let counted = rejoin_cost::<Raft>(shape, behind);
            let counted = counted.unwrap_or_else(|error| panic!("{error}"));
            let expected = [
                ("Heartbeat", 1, 1),
                ("HeartbeatResponse", 1, 1),
                ("AppendEntries", behind, 1),
                ("AppendEntriesResponse", behind, 1),
            ];
            assert_sent(&counted.cost, &expected, &format!("{behind} of {shape:?}"));
            assert_eq!(counted.cost.syncs, 1, "all at once");
            assert_eq!(counted.cost.total().bytes, 334 * behind + 134, "{behind} of {shape:?}");
            assert_eq!(counted.delays, Delays { messages: 2, syncs: 0 }, "{behind} of {shape:?}");
        }
    }
}

#[test]
fn a_follower_of_zab_that_was_away_asks_everybody_and_is_sent_what_it_lacks() {
    for shape in SHAPES {
        let (followers, observers) = (shape.voters - 1, shape.observers);
        // Observers have no vote to answer with.
        let notifications = 2 * followers + observers;
        for behind in [10, 1_000] {
            let counted = rejoin_cost::<Zab>(shape, behind);
            let counted = counted.unwrap_or_else(|error| panic!("{error}"));
            let expected = [
                ("NOTIFICATION", notifications, notifications),
                ("FOLLOWERINFO", 1, 1),
                ("LEADERINFO", 1, 1),
                ("ACKEPOCH", 1, 1),
                ("DIFF", 1, 1),
                ("PROPOSAL", behind, 1),
                ("NEWLEADER", 1, 1),
                ("ACK", 1, 1),
                ("UPTODATE", 1, 1),
            ];
            assert_sent(&counted.cost, &expected, &format!("{behind} of {shape:?}"));
            assert_eq!(counted.cost.syncs, 1, "all at once");
            let bytes = 334 * behind + 199 + 62 * followers + 31 * observers;
            assert_eq!(counted.cost.total().bytes, bytes, "{behind} of {shape:?}");
            assert_eq!(counted.delays, Delays { messages: 9, syncs: 1 }, "{behind} of {shape:?}");
        }
    }
}
