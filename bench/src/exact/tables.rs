//! The tables of what depends on no chance.

use std::fmt::Write as _;

use sim::costs::{Asked, Counted, Delays, Request, Sent, Shape};

use super::counts::{ASKED, BATCHES, BEHIND, Counts, Deed, READS, SHAPES};

/// One of the figures of what was counted, as it is told.
type Figure = fn(&Counted) -> String;

/// All of them, in the order of the columns.
const FIGURES: [(&str, Figure); 5] = [
    ("messages", |counted| counted.cost.total().messages.to_string()),
    ("frames", |counted| counted.cost.total().frames.to_string()),
    ("bytes", |counted| counted.cost.total().bytes.to_string()),
    ("syncs", |counted| counted.cost.syncs.to_string()),
    ("waits", |counted| waits(counted.delays)),
];
const PROTOCOLS: [&str; 2] = ["Raft", "ZAB"];

/// Messages and syncs that are waited for.
fn waits(Delays { messages, syncs }: Delays) -> String {
    format!("{messages} + {syncs}")
}

fn cluster(Shape { voters, observers }: Shape) -> String {
    match observers {
        0 => format!("{voters} voters"),
        _ => format!("{voters} voters, {observers} observers"),
    }
}

fn node(asked: Asked) -> &'static str {
    match asked {
        Asked::Leader => "leader",
        Asked::Follower => "follower",
        Asked::Observer => "observer",
    }
}

fn consistency(read: Request) -> &'static str {
    match read {
        Request::Put => "none",
        Request::Linearizable => "linearizable",
        Request::Sync => "`sync`",
        Request::Local => "`local`",
    }
}

/// All figures of both protocols.
fn figures(both: &[Counted; 2]) -> String {
    let all = both.iter().flat_map(|counted| FIGURES.map(|(_, figure)| figure(counted)));
    all.collect::<Vec<_>>().join(" | ")
}

/// The head of a table that has all figures of both protocols behind some other columns.
fn head(columns: &[&str]) -> String {
    let of = |protocol: &str| {
        let mut names = FIGURES.map(|(name, _)| name.to_owned());
        names[0] = format!("{protocol}: {}", names[0]);
        names
    };
    let columns = columns.iter().map(|&column| column.to_owned());
    rule_off(columns.chain(PROTOCOLS.into_iter().flat_map(of)).collect())
}

fn rule_off(columns: Vec<String>) -> String {
    format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()))
}

/// A row for each cluster, or one for all of them where they cost the same; each begins with the labels.
fn rows(counts: &Counts, deed: Deed, labels: &[&str]) -> String {
    let counted = SHAPES.into_iter().filter_map(|shape| Some((shape, counts.get(deed, shape)?)));
    let mut told: Vec<(String, String)> =
        counted.map(|(shape, both)| (cluster(shape), figures(both))).collect();
    let (first, rest) = told.split_at(told.len().min(1));
    if !rest.is_empty() && rest.iter().all(|(_, figures)| *figures == first[0].1) {
        told.truncate(1);
        told[0].0 = "any".to_owned();
    }
    let mut out = String::new();
    for (cluster, figures) in told {
        for label in labels {
            write!(out, "| {label} ").expect("text");
        }
        writeln!(out, "| {cluster} | {figures} |").expect("text");
    }
    out
}

pub(super) fn writes(counts: &Counts) -> String {
    let mut out = "\
## A write

One put, or a batch of *k* that come at one moment, asked at the leader:

- Raft: *k* AppendEntries to each of the *n* − 1 + *o* others and as many answers, and one that tells the commit index:
  (2*k* + 1)(*n* − 1 + *o*) messages in 3(*n* − 1 + *o*) frames, of (334*k* + 105)(*n* − 1 + *o*) bytes.
- ZAB: *k* PROPOSAL, *k* ACK and *k* COMMIT with each of the *n* − 1 followers; *k* INFORM to each observer, and one
  answer that says what it has: 3*k*(*n* − 1) + (*k* + 1)*o* messages in 3(*n* − 1) + 2*o* frames, of
  (334*k* + 90)(*n* − 1) + (334*k* + 40)*o* bytes.
- Both: one sync by everybody, *n* + *o*. The answer waits for two messages and one sync, because the leader syncs
  while its followers do.

"
    .to_owned();
    out += &head(&["cluster"]);
    out += &rows(counts, Deed::Puts(Asked::Leader, 1), &[]);
    out += "
Asked at another node it is one frame more, of 323 bytes, which hands the write to the leader; two messages more are
waited for:

";
    out += &head(&["asked at the", "cluster"]);
    for asked in [Asked::Follower, Asked::Observer] {
        out += &rows(counts, Deed::Puts(asked, 1), &[node(asked)]);
    }
    out
}

/// Batches of all sizes, by cluster.
pub(super) fn batches(counts: &Counts) -> String {
    let of = |shape| BATCHES.map(|batch| counts.get(Deed::Puts(Asked::Leader, batch), shape));
    let is_steady = |(_, figure): &(&str, Figure)| {
        SHAPES.into_iter().all(|shape| {
            let told = of(shape).map(|both| both.map(|both| both.each_ref().map(*figure)));
            told.iter().all(|one| *one == told[0])
        })
    };
    let (steady, varied): (Vec<_>, Vec<_>) = FIGURES.into_iter().partition(is_steady);
    let steady: Vec<&str> = steady.into_iter().map(|(name, _)| name).collect();
    let mut out = format!(
        "\
## Batches of writes

So many puts at one moment, at the leader. ZAB has a COMMIT for each write, Raft one index for all of them; both put what
is there into one frame. Whatever the batch, these are what they are for one put: {}.
",
        steady.join(", ")
    );
    for (name, figure) in varied {
        let batches = BATCHES.map(|batch| batch.to_string());
        let head = ["", &format!("{name} for puts:")].map(str::to_owned);
        out += "\n";
        out += &rule_off(head.into_iter().chain(batches).collect());
        for (protocol, name) in PROTOCOLS.into_iter().enumerate() {
            for shape in SHAPES {
                let told = of(shape)
                    .map(|both| both.map_or(String::new(), |both| figure(&both[protocol])));
                writeln!(out, "| {name} | {} | {} |", cluster(shape), told.join(" | "))
                    .expect("text");
            }
        }
    }
    out
}

pub(super) fn reads(counts: &Counts) -> String {
    let mut out = "\
## A read

A linearizable read is confirmed by a quorum: Raft's ReadIndex asks with Heartbeat, which goes to observers as well,
2(*n* − 1 + *o*) messages with the answers, of 34 bytes each; ZAB with BARRIER, which goes to voters, 2(*n* − 1) of 18
bytes. However many reads wait at a moment, one round serves them all. `sync` takes the leader's word, `local` asks
nobody. Whoever does not lead asks the leader, which is two messages more, of 30 bytes together. No read is written
anywhere.

"
    .to_owned();
    out += &head(&["read", "asked at the", "cluster"]);
    for read in READS {
        for asked in ASKED {
            out += &rows(counts, Deed::Read(asked, read), &[consistency(read), node(asked)]);
        }
    }
    out
}

/// What was sent, by name.
fn names(counted: &Counted) -> String {
    let name = |(name, sent): (&&str, &Sent)| format!("{name} {}", sent.messages);
    counted.cost.sent.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What the first cluster of each kind sends for it, by name.
fn by_name(counts: &Counts, deed: Deed) -> String {
    let mut out = String::new();
    for shape in SHAPES.into_iter().take(2) {
        let Some(both) = counts.get(deed, shape) else { continue };
        for (protocol, counted) in PROTOCOLS.into_iter().zip(both) {
            let names = names(counted);
            writeln!(out, "- {protocol}, {}: {names}.", cluster(shape)).expect("text");
        }
    }
    out
}

pub(super) fn elections(counts: &Counts) -> String {
    let mut out = "\
## An election

The leader is killed, its connections are closed, and all others follow the next one. Each row is the cheapest of the
elections of seeds 1 to 8, the one with the fewest messages: nobody contests it. The waits last until the next leader is
established, as in the last table of this page, without the time that a candidate of Raft lets pass at random.

- Raft: PreVote and RequestVote to each of the *n* − 2 other survivors, each with an answer; then the entry that a leader
  begins with to each of them and to each observer, its answer, and an AppendEntries that tells that it is committed:
  7(*n* − 2) + 3*o* messages. The news of the closed connection, two questions with their answers, and the syncs of two
  votes, the candidate's and another one: 5 + 2.
- ZAB: each survivor tells all others whom it votes for, at first for itself and anew whenever it hears of a better
  vote. All hear of all votes at one moment, in the order of the nodes' numbers, so that one with *r* better ones tells
  *r* + 1 times: *n*(*n* − 1)/2 times a NOTIFICATION to the *n* − 2 others and to *o* observers. An observer asks each
  survivor, who answers. That is *n*(*n* − 1)(*n* − 2 + *o*)/2 + 2*o*(*n* − 1) NOTIFICATIONs, without observers
  *n*(*n* − 1)(*n* − 2)/2: they grow with the cube of *n*. Then the leader takes each of the *n* − 2 + *o* others through
  discovery and synchronization with 7 messages: FOLLOWERINFO (an observer's OBSERVERINFO), LEADERINFO, ACKEPOCH, DIFF,
  NEWLEADER, ACK and UPTODATE. The closed connection, two notifications one after another (one of three voters), five of
  the seven, and two syncs each of the leader and of a follower, for the epoch it accepts and the one it is in: 8 + 4.
- Both: two syncs by every survivor that votes and one by every observer, 2(*n* − 1) + *o*. Bytes: Raft's
  233(*n* − 2) + 134*o*; ZAB's are 31 a NOTIFICATION, and 181 with each follower and 177 with each observer besides.

"
    .to_owned();
    out += &head(&["cluster"]);
    out += &rows(counts, Deed::Election, &[]);
    out += "\nBy name:\n\n";
    out += &by_name(counts, Deed::Election);
    out
}

pub(super) fn rejoins(counts: &Counts) -> String {
    let mut out = "\
## A follower comes back

A follower that was away starts again and gets what it lacks, *k* entries, from the leader's log. The waits last from the
moment at which it is dialled until it has applied everything.

- Raft: Heartbeat and its answer, *k* AppendEntries and *k* answers: 2*k* + 2 messages of 334*k* + 134 bytes, whoever else
  is there.
- ZAB: the follower tells everybody whom it votes for, and the *n* − 1 voters answer; then it meets the leader with the
  seven messages of an election: *k* + 7 + 2(*n* − 1) + *o* messages of 334*k* + 199 + 62(*n* − 1) + 31*o* bytes.

So it is as long as one frame holds everything, which has a MiB at most. 100,000 entries come in many; a few frames and
syncs more, and answers of ZAB's that say how far it has come, are the same for all clusters.

"
    .to_owned();
    out += &head(&["behind by", "cluster"]);
    for behind in BEHIND {
        out += &rows(counts, Deed::Rejoin(behind), &[&format!("{behind} entries")]);
    }
    out += "\nBy name, 10 entries behind:\n\n";
    out += &by_name(counts, Deed::Rejoin(BEHIND[0]));
    out
}
