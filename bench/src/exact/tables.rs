//! The tables of what depends on no chance.

use std::fmt::Write as _;

use consensus::{Consensus, Violation};
use consensus_raft::Raft;
use consensus_zab::Zab;
use sim::costs::{
    Asked, Cost, Request, Sent, Shape, delays as delays_of, election_cost, rejoin_cost,
    request_cost,
};

/// The sizes of clusters that are usual.
const VOTERS: [u64; 4] = [3, 5, 7, 9];
const BATCHES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
pub(super) const THREE: Shape = Shape { voters: 3, observers: 0 };
const REQUESTS: [(Request, &str); 4] = [
    (Request::Put, "put"),
    (Request::Linearizable, "linearizable read"),
    (Request::Sync, "`sync` read"),
    (Request::Local, "`local` read"),
];
const ASKED: [(Asked, &str); 3] =
    [(Asked::Leader, "leader"), (Asked::Follower, "follower"), (Asked::Observer, "observer")];

fn figures(cost: &Cost) -> String {
    let Sent { messages, frames, bytes } = cost.total();
    format!("{messages} | {frames} | {bytes} | {}", cost.syncs)
}

/// What was sent, by name.
fn names(cost: &Cost) -> String {
    let name = |(name, sent): (&&str, &Sent)| format!("{name} {}", sent.messages);
    let names: Vec<String> = cost.sent.iter().map(name).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// A table with the same of both protocols in each row.
fn table(
    title: &str,
    text: &str,
    what: &str,
    rows: impl IntoIterator<Item = Result<(String, [Cost; 2]), Violation>>,
) -> Result<String, Violation> {
    let mut out = format!(
        "## {title}\n\n{text}\n\n| {what} | Raft: messages | frames | bytes | syncs | ZAB: messages | frames | bytes \
         | syncs |\n|---|---|---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let (what, [raft, zab]) = row?;
        writeln!(out, "| {what} | {} | {} |", figures(&raft), figures(&zab)).expect("text");
    }
    Ok(out)
}

/// The same request of clusters of both protocols.
pub(super) fn both(
    shape: Shape,
    asked: Asked,
    request: Request,
    count: u64,
) -> Result<[Cost; 2], Violation> {
    Ok([
        request_cost::<Raft>(shape, asked, request, count)?,
        request_cost::<Zab>(shape, asked, request, count)?,
    ])
}

pub(super) fn writes() -> Result<String, Violation> {
    let shapes =
        VOTERS.into_iter().flat_map(|voters| [0, 2].map(|observers| Shape { voters, observers }));
    let rows = shapes.map(|shape| {
        let Shape { voters, observers } = shape;
        let what = match observers {
            0 => format!("{voters} voters"),
            _ => format!("{voters} voters, {observers} observers"),
        };
        Ok((what, both(shape, Asked::Leader, Request::Put, 1)?))
    });
    let text = "\
One put, asked at the leader. With *f* followers and *o* observers, and a batch of *k* writes:

- Raft: *k*(*f* + *o*) AppendEntries and as many answers, and *f* + *o* that tell the commit index:
  (2*k* + 1)(*f* + *o*) messages in 3(*f* + *o*) frames.
- ZAB: *kf* PROPOSAL, *kf* ACK and *kf* COMMIT; to each observer *k* INFORM, and one answer that says what it has:
  3*kf* + (*k* + 1)*o* messages in 3*f* + 2*o* frames.
- Both: one sync by everybody, *f* + *o* + 1.

Asked at another node it is one frame more, which hands the write to the leader. A test counts all of this by the names
of the messages.";
    table("A write", text, "cluster", rows)
}

pub(super) fn batches() -> Result<String, Violation> {
    let rows = BATCHES
        .into_iter()
        .map(|batch| Ok((batch.to_string(), both(THREE, Asked::Leader, Request::Put, batch)?)));
    let text = "\
So many puts at one moment, at the leader of three voters. ZAB has a COMMIT for each write, Raft one index for all of
them; both put what is there into one frame, so that frames and syncs stay what they are for one.";
    table("A batch of writes", text, "puts", rows)
}

pub(super) fn delays() -> Result<String, Violation> {
    let shape = Shape { voters: 3, observers: 1 };
    let mut out = "\
## What an answer waits for

One after another: messages between nodes, and syncs. Both protocols answer a put after two messages and one sync,
because the leader syncs while its followers do; who is not the leader asks it, which is two messages more.

| asked at the | for a | Raft: messages | syncs | ZAB: messages | syncs |
|---|---|---|---|---|---|
"
    .to_owned();
    for (asked, at) in ASKED {
        for (request, what) in REQUESTS {
            let raft = delays_of::<Raft>(shape, asked, request)?;
            let zab = delays_of::<Zab>(shape, asked, request)?;
            writeln!(
                out,
                "| {at} | {what} | {} | {} | {} | {} |",
                raft.messages, raft.syncs, zab.messages, zab.syncs
            )
            .expect("text");
        }
    }
    Ok(out)
}

pub(super) fn reads() -> Result<String, Violation> {
    let shape = Shape { voters: 3, observers: 1 };
    let mut out = "\
## A read

Three voters and an observer. A linearizable read is confirmed by a quorum: Raft's ReadIndex asks with heartbeats, which
go to observers as well, ZAB with BARRIER, which goes to voters. However many reads wait at a moment, one round serves
them all. `sync` takes the leader's word, `local` asks nobody. No read is written anywhere.

| asked at the | for a | Raft | ZAB |
|---|---|---|---|
"
    .to_owned();
    for (asked, at) in ASKED {
        for (request, what) in &REQUESTS[1..] {
            let [raft, zab] = both(shape, asked, *request, 1)?.map(|cost| names(&cost));
            writeln!(out, "| {at} | {what} | {raft} | {zab} |").expect("text");
        }
    }
    Ok(out)
}

/// The elections of so many seeds are looked at for one that nobody contests.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=8;

pub(super) fn uncontested<C: Consensus>(shape: Shape) -> Result<Cost, Violation> {
    let costs: Vec<Cost> =
        SEEDS.map(|seed| election_cost::<C>(seed, shape)).collect::<Result<_, _>>()?;
    Ok(costs.into_iter().min_by_key(|cost| cost.total().messages).expect("a few seeds"))
}

pub(super) fn elections() -> Result<String, Violation> {
    let mut elections = Vec::new();
    for voters in VOTERS {
        let shape = Shape { voters, observers: 0 };
        elections.push((voters, [uncontested::<Raft>(shape)?, uncontested::<Zab>(shape)?]));
    }
    let rows =
        elections.iter().map(|(voters, costs)| Ok((format!("{voters} voters"), costs.clone())));
    let text = "\
The leader is killed, and all others follow the next one; nobody contests the election. Raft asks each of the others
three times: PreVote, RequestVote, and the entry that a leader begins with. ZAB has its voters tell one another whom they
vote for until a quorum agrees, and then its leader takes them through discovery and synchronization one by one.";
    let mut out = table("An election", text, "of", rows)?;
    let (voters, [raft, zab]) = &elections[0];
    writeln!(out, "\nOf {voters} voters, by name: Raft {}; ZAB {}.", names(raft), names(zab))
        .expect("text");
    Ok(out)
}

pub(super) fn rejoins() -> Result<String, Violation> {
    let rows = [10, 1_000, 100_000].into_iter().map(|behind| {
        // The longest part of the sheet: each protocol has a thread of its own.
        let (raft, zab) = std::thread::scope(|scope| {
            let raft = scope.spawn(|| rejoin_cost::<Raft>(THREE, behind));
            let zab = rejoin_cost::<Zab>(THREE, behind);
            (raft.join().expect("rejoins do not panic"), zab)
        });
        Ok((format!("{behind} entries"), [raft?, zab?]))
    });
    let text = "\
A follower of three that was away starts again and gets what it lacks from the leader's log. ZAB's takes part in an
election, discovery and synchronization first; from then on both send what is lacking once, in frames of a MiB, and
Raft counts an answer for each entry, where ZAB's says how far it has come.";
    table("A follower comes back", text, "behind by", rows)
}
