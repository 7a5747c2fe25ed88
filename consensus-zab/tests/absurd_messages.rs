//! Whatever arrives, as long as it can be decoded, does not bring a server down; and what was encoded
//! is decoded as it was. The twin of Raft's file of the same name.

mod lone;

use bytes::Bytes;
use consensus::{Consensus, Entry, Index, NodeId, Position, Standing, Time, Timer, Wire};
use consensus_zab::{
    Epoch, EpochTable, LogPoint, Notification, Promise, Reason, ServerState, Session, Vote,
    ZabMessage, Zxid,
};
use lone::{Lone, ack, ack_epoch, disk, entries, point};
use proptest::prelude::*;

/// Small numbers, so that they often mean something, and very large ones.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0u64..6, 1 => (u64::MAX - 3)..=u64::MAX, 1 => (1u64 << 32) - 2..(1 << 32) + 2]
}

fn epoch() -> impl Strategy<Value = Epoch> {
    prop_oneof![
        12 => (0u32..5).prop_map(Epoch),
        1 => (u32::MAX - 2..=u32::MAX).prop_map(Epoch),
        1 => ((1u32 << 24) - 1..(1 << 24) + 2).prop_map(Epoch),
    ]
}

fn log_point() -> impl Strategy<Value = LogPoint> {
    let counter = prop_oneof![12 => 0u32..5, 1 => u32::MAX - 1..=u32::MAX];
    (epoch(), counter, number()).prop_map(|(epoch, counter, index)| LogPoint {
        zxid: Zxid { epoch, counter },
        index: Index(index),
    })
}

/// Entries as a leader sends them, or any.
fn some_entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = |term, index| {
        let position = Position::new(term, index);
        Entry { position, ..entries(&[1]).remove(0) }
    };
    prop_oneof![
        (number(), prop::collection::vec(0u64..4, 0..4)).prop_map(move |(first, terms)| {
            let indexes = (0u64..).map(|offset| first.saturating_add(offset));
            indexes.zip(terms).map(|(index, term)| entry(term, index)).collect()
        }),
        prop::collection::vec((number(), number()), 0..3)
            .prop_map(move |all| all.into_iter().map(|(term, index)| entry(term, index)).collect()),
    ]
}

fn notification() -> impl Strategy<Value = ZabMessage> {
    let state = prop_oneof![
        Just(ServerState::Looking),
        Just(ServerState::Following),
        Just(ServerState::Leading)
    ];
    (state, number(), epoch(), log_point(), number()).prop_map(
        |(state, round, peer_epoch, point, leader)| {
            let vote = Vote { peer_epoch, zxid: point.zxid, leader: NodeId(leader) };
            ZabMessage::Notification(Notification { state, round, vote })
        },
    )
}

/// What a session is over with: of the sessions that the servers below have, mostly.
fn session() -> impl Strategy<Value = Session> {
    prop_oneof![6 => (1u64..3).prop_map(Session), 6 => Just(Session(200)), 1 => number().prop_map(Session)]
}

fn table() -> impl Strategy<Value = EpochTable> {
    prop::collection::vec((epoch(), number().prop_map(Index)), 0..3)
        .prop_map(|rows| EpochTable::from_rows(rows).unwrap_or_default())
}

/// What a leader says to a learner.
fn of_a_leader() -> impl Strategy<Value = ZabMessage> {
    let index = || number().prop_map(Index);
    prop_oneof![
        (session(), epoch()).prop_map(|(session, epoch)| ZabMessage::LeaderInfo { session, epoch }),
        (session(), log_point()).prop_map(|(session, to)| ZabMessage::Diff { session, to }),
        (session(), log_point()).prop_map(|(session, to)| ZabMessage::Trunc { session, to }),
        (session(), log_point()).prop_map(|(session, at)| ZabMessage::NewLeader { session, at }),
        (session(), log_point())
            .prop_map(|(session, committed)| ZabMessage::UpToDate { session, committed }),
        (session(), index(), some_entries())
            .prop_map(|(session, base, entries)| ZabMessage::Proposal { session, base, entries }),
        (session(), index(), log_point()).prop_map(|(session, first, up_to)| ZabMessage::Commit {
            session,
            first,
            up_to
        }),
        (session(), number())
            .prop_map(|(session, sent)| ZabMessage::Ping { session, sent: Time(sent) }),
        (session(), number()).prop_map(|(session, round)| ZabMessage::Barrier { session, round }),
        session().prop_map(|session| ZabMessage::Resign { session, reason: Reason::Broken }),
        (session(), 0u64..5, log_point()).prop_map(|(session, to, at)| ZabMessage::Handover {
            session,
            to: NodeId(to),
            at
        }),
    ]
}

/// What a learner says to a leader.
fn of_a_learner() -> impl Strategy<Value = ZabMessage> {
    let index = || number().prop_map(Index);
    prop_oneof![
        (session(), epoch(), prop::option::of(epoch())).prop_map(
            |(session, accepted_epoch, handed_over)| ZabMessage::FollowerInfo {
                session,
                accepted_epoch,
                handed_over,
                standing: Standing::Voter
            }
        ),
        (session(), prop::option::of(epoch()), log_point(), table(), any::<bool>()).prop_map(
            |(session, current_epoch, point, table, fits)| {
                let last = if fits { table.last().zxid } else { point.zxid };
                ZabMessage::AckEpoch { session, current_epoch, last, table }
            }
        ),
        (session(), index()).prop_map(|(session, up_to)| ZabMessage::Received { session, up_to }),
        (session(), index(), log_point()).prop_map(|(session, first, up_to)| ZabMessage::Ack {
            session,
            first,
            up_to
        }),
        (session(), number())
            .prop_map(|(session, sent)| ZabMessage::Pong { session, sent: Time(sent) }),
        (session(), number())
            .prop_map(|(session, round)| ZabMessage::BarrierAck { session, round }),
        session().prop_map(|session| ZabMessage::Leave { session }),
    ]
}

fn message() -> impl Strategy<Value = ZabMessage> {
    prop_oneof![2 => notification(), 5 => of_a_leader(), 5 => of_a_learner()]
}

/// A server in one of the places that a protocol step can be waited for in, with a log.
fn some_server(place: u8) -> Lone {
    let learner = || Lone::start(1, 3, disk(&[1, 1], 1, 1));
    let leader = || Lone::start(3, 3, disk(&[1, 1], 1, 1));
    match place {
        0 => learner(),
        1..=4 => {
            let mut follower = learner();
            let session = follower.make_follower(3, &[2, 3]);
            let told = [
                ZabMessage::LeaderInfo { session, epoch: Epoch(2) },
                ZabMessage::Diff { session, to: point(1, 0, 2) },
                ZabMessage::NewLeader {
                    session,
                    at: LogPoint { zxid: Zxid::new_leader(Epoch(2)), index: Index(2) },
                },
            ];
            for message in told.into_iter().take(usize::from(place) - 1) {
                follower.say(3, message);
                follower.persist();
            }
            follower
        }
        5 => {
            let mut follower = learner();
            follower.join(2);
            follower
        }
        6 => {
            let mut gathering = leader();
            gathering.make_leader(&[2]);
            gathering
        }
        7 | 8 => {
            let mut leading = leader();
            let session = leading.discover(2, 0, 1);
            if place == 8 {
                leading.say(2, ack_epoch(session, Some(1), &entries(&[1])));
                leading.persist();
            }
            leading
        }
        _ => {
            let mut established = leader();
            let session = established.discover(2, 0, 1);
            established.say(2, ack_epoch(session, Some(1), &entries(&[1])));
            established.persist();
            let at = LogPoint { zxid: Zxid::new_leader(Epoch(2)), index: Index(2) };
            established.say(2, ack(session, at));
            assert_eq!(established.phase(), "broadcast");
            established.propose(&["a", "b"]);
            established
        }
    }
}

/// Commits nothing: one law stops a server because of what its leader says, that nothing committed is
/// truncated. Then going on would risk what clients were promised.
fn without_commit(message: ZabMessage) -> ZabMessage {
    match message {
        ZabMessage::UpToDate { session, .. } => {
            ZabMessage::UpToDate { session, committed: LogPoint::default() }
        }
        ZabMessage::Commit { session, first, .. } => {
            ZabMessage::Commit { session, first, up_to: LogPoint::default() }
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_decodable_brings_a_server_down(
        place in 0u8..10,
        messages in prop::collection::vec((2u64..4, message(), any::<bool>()), 1..12),
    ) {
        let mut server = some_server(place);
        let peers: [u64; 2] = if server.settings.id == NodeId(1) { [2, 3] } else { [1, 2] };
        for (peer, message, persists) in messages {
            let truncates = matches!(message, ZabMessage::Trunc { .. });
            if truncates && server.zab.view().log.commit() > Index(0) {
                continue;
            }
            let peer = peers[usize::try_from(peer - 2).expect("small")];
            server.say(peer, without_commit(message));
            if persists {
                server.persist();
            }
        }
        for timer in [Timer::Heartbeat, Timer::Phase, Timer::Quorum, Timer::Finalize] {
            server.fire(timer);
        }
        server.persist();
        server.pass(2_000);
        server.persist();
        let Promise { accepted, current } = server.disk.promise;
        prop_assert!(current <= accepted && accepted.0 <= 13 << 24, "{accepted} {current}");
        // What it wrote, it starts from.
        let again = Lone::try_start(server.settings.clone(), server.disk.clone());
        prop_assert!(again.is_ok(), "{:?}", again.err());
    }

    #[test]
    fn messages_survive_the_wire(message in message()) {
        let bytes = message.to_bytes();
        prop_assert_eq!(ZabMessage::from_bytes(bytes.clone()), Ok(message.clone()));
        for length in 0..bytes.len() {
            prop_assert!(ZabMessage::from_bytes(bytes.slice(..length)).is_err());
        }
        prop_assert!(!message.to_string().is_empty());
        let _ = consensus::Message::weight(&message);
    }

    #[test]
    fn bytes_that_are_no_message_are_refused_or_decoded(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let bytes = Bytes::from(bytes);
        if let Ok(message) = ZabMessage::from_bytes(bytes.clone()) {
            prop_assert_eq!(message.to_bytes(), bytes);
        }
    }
}

/// Each of these entries once brought a follower down, or would have ended in a log that no zxid
/// describes.
#[test]
fn entries_that_no_leader_could_have_proposed_end_the_session() {
    let entry =
        |term, index| Entry { position: Position::new(term, index), ..entries(&[1]).remove(0) };
    let cases = [
        ("epoch zero", 0, 0, vec![entry(0, 1)]),
        ("a gap", 0, 0, vec![entry(1, 2)]),
        ("an epoch of more than 32 bits", 0, 0, vec![entry(1 << 32, 1)]),
        ("an epoch beyond the leader's", 0, 0, vec![entry(3, 1)]),
        ("an epoch that goes back", 0, 0, vec![entry(2, 1), entry(1, 2)]),
        ("another base", 0, 1, vec![entry(1, 1)]),
        ("an index at the end of the range", 0, 0, vec![entry(1, u64::MAX)]),
    ];
    for (what, last, base, sent) in cases {
        let epochs = vec![1; last];
        let mut follower = Lone::start(1, 3, disk(&epochs, 1, 1));
        let session = follower.make_follower(3, &[2, 3]);
        follower.say(3, ZabMessage::LeaderInfo { session, epoch: Epoch(2) });
        follower.persist();
        follower.say(3, ZabMessage::Diff { session, to: LogPoint::default() });
        follower.say(3, lone::proposal(session, base, sent));
        assert_eq!(follower.role(), "LOOKING", "{what}");
        follower.persist();
    }
}
