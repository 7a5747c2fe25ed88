//! Scripts: a cluster of bare cores driven by text, with a golden transcript. One vocabulary for
//! every protocol, so that the same script shows what differs between two.
//!
//! A script is a file of blocks: commands, a line `---`, and what they printed. One behaviour a
//! file, the file's name is the sentence that it proves, and its first lines are a comment that says
//! what to look at. A protocol crate runs a directory of them:
//!
//! ```text
//! test_each_file::test_each_path! { in "./consensus-raft/tests/scripts" as scripts => run }
//!
//! fn run(path: &std::path::Path) {
//!     consensus::script::run::<Raft>(path);
//! }
//! ```
//!
//! Write the commands with an empty output, let `UPDATE_GOLDENFILES=1 cargo test -p consensus-raft
//! --test scripts` fill it in, and read the difference: keep it only if you understand every line.
//!
//! # Commands
//! Nodes are `n1`, `n2`, …. Where a node may be left out, all are meant.
//!
//! | command | does |
//! |---|---|
//! | `cluster nodes=3 [observers=1]` | starts that many voters, and observers with the numbers behind theirs, and connects every pair; settings below |
//! | `tick MS` | lets time pass: timers that become due fire, nothing is delivered |
//! | `run MS` | as `tick`, and `stabilize` after every timer: a cluster left to itself |
//! | `skip MS` | lets time pass without firing anything: nodes that slept |
//! | `fire n1 election` | fires a timer of a node: `election heartbeat quorum finalize phase transfer` |
//! | `campaign n1` | fires the election timer of a node, due or not: `POST /v1/lab/campaign` |
//! | `align-timers` | fires those of all voters before any hears of another: `POST /v1/lab/align-timers` |
//! | `propose n1 a b c` | proposes commands in one batch |
//! | `read n1` | asks for a linearizable barrier |
//! | `sync n1` | asks for ZooKeeper's `sync` |
//! | `transfer n1 [to=n2]` | asks n1 to hand its office over |
//! | `stabilize [heartbeat=true]` | completes writes, delivers, applies until all is quiet; then fires the established leaders' heartbeat timers and does it once more |
//! | `deliver [from=n1] [to=n2] [max=1]` | delivers frames that are there now, in order |
//! | `messages` | shows the frames under way and the messages that wait for a write |
//! | `late [from=n1] [to=n2]` | delivers frames and snapshots of broken connections; any effect fails the script |
//! | `hold n1 n2`, `release n1 n2` | frames from the first to the second wait, without loss; `deliver` with `from` and `to` passes all the same |
//! | `auto-persist off`, `on` | whether writes are durable at once (at first: on) |
//! | `persist [n1] [max=1]` | completes writes under way |
//! | `auto-apply off`, `on`; `apply [n1] [max=1]` | the same for applying what was delivered |
//! | `auto-fetch off`, `on`; `fetch [n1]` | the same for entries wanted from the disk |
//! | `compact n1 5` | lets a node's log forget the entries up to there |
//! | `auto-snapshot off`, `on` | whether `stabilize` and `run` let snapshots arrive |
//! | `snapshot n1 n2 [fail]` | lets the snapshot that the first node offered arrive at the second, or break off, and tells the first; `told=false` leaves that to `snapshot n1 n2 end` |
//! | `disconnect n1 n2` | breaks a connection: frames under way are lost. TCP loses no other way |
//! | `break n1 n2`, `notice n1 n2` | breaks a connection unnoticed; the first node notices |
//! | `connect [n1 n2]` | connects a pair, or every pair |
//! | `restart n1` | starts a node from its disk and connects it |
//! | `wipe n1` | a stopped node loses its disk: from its next start it does not count |
//! | `become-voter n1` | a voter of a cluster with `formed=false` counts from now on; its peers learn that with their next connection |
//! | `status [n1]` | a line for each node; of one node also what it knows of its peers |
//! | `log [n1]` | the entries; what is before the bar is known committed there; `stamps=true` for their wall clocks |
//! | `leader` | who is established |
//! | `agree` | fails unless all running nodes have the same log, committed and applied |
//! | `detail everything` | what is printed: `nothing`, `events`, `everything`, `steps`; or write `(run 500)` to silence one command |
//!
//! A `!` before a command expects it to fail. Settings of `cluster` in milliseconds: `heartbeat`,
//! `election`, `jitter`, `finalize`; in bytes: `message_bytes`, `inflight_bytes`, `memory_log_bytes`,
//! `uncommitted_bytes`, `unapplied_bytes`; in messages: `inflight_messages`; further `seed`,
//! `suspect_on_connection_loss=false`, `pre_vote=false`, `batching=false`, `immediate_commit_notices=false`,
//! `overtaking=false`, `formed=false`, `tail` (entries that a starting node keeps in memory).
//!
//! # Faults
//! They are called as in `POST /v1/faults`, whose meaning `docs/faults.md` tells. Links are `n1 n2`, or
//! `from=n1 to=n2`, where one that is left out stands for every other node; `both=true` means the other
//! way round as well. A node is `n1`, or `to=n1`. There is no `for` and no `probability`: what lasts,
//! lasts until `heal`, and what is wrong with a node ends when it stops.
//!
//! | command | does |
//! |---|---|
//! | `partition from=n1 to=n2` | nothing arrives, snapshots neither, and nobody is told: connections stay up, and there are no new ones |
//! | `partition n1 vs n2 n3`, `isolate n1` | is more than that: the connections between the groups break, and both ends notice; `noticed=false` leaves that to `notice` |
//! | `delay n1 n2 ms=50` | frames arrive so much later, in order, while time passes by `run`; two delays add up |
//! | `drop n1 n2` | `disconnect`, at once and once; the nodes do not connect again before `connect` or `heal` |
//! | `duplicate n1 n2` | the frame that is next arrives, its connection breaks, and when the next is up it arrives once more; any effect of that fails the script, as of `late` |
//! | `reorder n1 n2` | a connection breaks before its next frame arrives, and that comes behind the first frame of the next connection; any effect of it fails the script |
//! | `pause n1`, `resume n1` | the node neither reads nor fires timers, and its connections stay up |
//! | `crash n1` | stops a node. Unlike `kill -9` it loses the writes under way, as in a power cut (`crash n1 power-cut` says so, and `lose=unsynced`); `lose=nothing` keeps them, `keep=2` the oldest two |
//! | `slow-disk n1 ms=50` | writes are durable so much later, by themselves while time passes by `run` or `tick` |
//! | `fail-disk n1` | the next write that would become durable fails, and the node stops without it |
//! | `clock-skew n1 ms=5000` | sets the wall clock ahead; `ms="-50"` sets it back |
//! | `heal` | ends all of these but `pause`, and connects every pair; what is on its way keeps its time |
//!
//! # Transcript
//! ```text
//! t=300 n1 ⇨ candidate in 1: …       what the protocol tells (Event)
//! t=300 n1 is established in 1       what the layer above learns (Leadership)
//! t=300 n1 writes p2: 1@1..3@1       a write is asked for
//! t=300 n1 → n2 AppendEntries …      a message leaves: what it waited for is durable
//! t=300 n2 ↛ n1 …                    a message is lost with its connection
//! t=300 n1 applies 2@1 "a"           the layer above applies an entry
//! t=300 n1 answers t3: read at 2     an answer to a token
//! t=300 n1 ⇹ n2 n3                   a partition
//! t=300 n1 ⇒ n2 offers …             a snapshot is offered
//! t=300 n2 ⇐ n1 … up to 5@1          a snapshot arrives, durable beside what the node holds
//! t=300 n2 installs the state at 5   and takes its place
//! t=300 n2 ⇠ n1 … late               a frame of an older connection, and it had no effect
//! ```
//!
//! After every event [`crate::Invariants`] is asked; a broken law fails the script and shows the
//! transcript up to there. Besides, every input goes to a second core that was started apart, and
//! both must do the same; every message must survive encoding and decoding; and every barrier must
//! include what was committed before it was asked for.
//!
//! From Rust, [`Cluster`] offers the same as methods.

mod cluster;
mod disk;
mod drive;
mod faults;
mod links;
mod network;
mod node;
mod options;
mod runner;
mod show;
mod snapshots;
mod text;
mod time;
mod transcript;
mod transfer;
mod verbs;

pub use cluster::Cluster;
pub use options::Options;
pub use runner::{ScriptRunner, run};
pub use transcript::Detail;
