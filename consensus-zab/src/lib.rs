//! ZAB, ZooKeeper's atomic broadcast, as a pure state machine.
//!
//! Think of a parliament that has one speaker at a time. Whoever becomes speaker first makes sure
//! that a majority will listen to no earlier speaker any more, then that a majority has the complete
//! minutes, and only then says anything new. Whatever is said goes into everybody's minutes in the
//! order of speaking, and counts once a majority has written it down. When the speaker falls silent,
//! or no longer sees a majority in the room, the next one is the member with the most complete
//! minutes.
//!
//! References are to F. Junqueira, B. Reed, M. Serafini, "Zab: High-performance broadcast for
//! primary-backup systems", DSN 2011 ("the paper"), and to ZooKeeper, whose messages and words are
//! used here.
//!
//! # The protocol
//!
//! **Phase 0, election** (`election.rs`; the paper leaves it open, §IV-A, and ZooKeeper fills it with
//! fast leader election). LOOKING servers tell one another their votes in rounds. A vote is for the
//! server with the latest joined epoch, then the latest zxid, then the largest number. When a quorum
//! repeats one vote, the server that it names is LEADING and the others are FOLLOWING: they believe.
//!
//! **Phase 1, discovery** (`discovery.rs`, §IV-A). The followers tell the leader the epochs they have
//! accepted (FOLLOWERINFO; the paper's CEPOCH). It proposes a later one (LEADERINFO; NEWEPOCH). With
//! ACKEPOCH (ACK-E) a follower promises to follow no earlier epoch, and describes its history.
//!
//! **Phase 2, synchronization** (`synchronization.rs`, §IV-A). The leader makes each follower's log
//! equal to its own: by DIFF if something is missing, by TRUNC if there is something that the leader
//! does not have, by TRUNC and what is missing if both, and by SNAP (`snapshot.rs`), the state in place
//! of the log, if what is missing was forgotten. Behind the history goes NEWLEADER, whose
//! acknowledgement (ACK-LD) says that the follower holds it all and has joined the epoch. When a
//! quorum has, the epoch is established and the history committed; UPTODATE (COMMIT-LD) says so.
//!
//! **Phase 3, broadcast** (`broadcast.rs`, §IV-A). The leader gives each command the next zxid and
//! sends it as a PROPOSAL; followers write it and ACK; at a quorum of ACKs it is COMMITted. Proposals
//! are pipelined: nothing waits for the one before.
//!
//! Around it: supervision in both directions (`supervision.rs`), reads confirmed by a quorum
//! (`barrier.rs`), and observers (`observer.rs`), which are synchronized like followers, are INFORMed of
//! what is committed, and never count.
//!
//! # Where to start reading
//!
//! [`Zab`] in `node.rs` hands inputs to the roles; `role.rs` says what each role knows and how one
//! becomes another; `message.rs` lists all that is ever said; `zxid.rs` explains positions. Then the
//! phases, in order. Each phase's file holds the leader's and the learner's side, since neither makes
//! sense alone.
//!
//! # Invariants
//!
//! - currentEpoch ≤ acceptedEpoch, and neither ever goes back.
//! - What a message promises is durable before it leaves: acceptedEpoch before LEADERINFO and
//!   ACKEPOCH; the whole initial history, then currentEpoch, before NEWLEADER's acknowledgement;
//!   entries before their ACK. The first ACK of a session is NEWLEADER's.
//! - At most one server is established in an epoch: each server accepts an epoch once, and a leader
//!   needs a quorum that did so for it.
//! - A vote, and ACKEPOCH, name the last *durable* zxid: an election begins when nothing is being
//!   written any more.
//! - Two logs that hold an entry of the same zxid agree on everything before it.
//! - Everything committed in any epoch is in the initial history of every later established leader.
//!   So TRUNC never reaches what is committed.
//! - An interrupted synchronization leaves the old history, or a prefix of the new one that reaches
//!   at least as far as the common part, and the old currentEpoch.
//! - Nothing is delivered before the epoch is established; then everything in the order of zxids.
//! - Nothing of one session has any effect in another.
//! - Only voters count: in elections, in the quorums of FOLLOWERINFO, ACKEPOCH, NEWLEADER's ACK and of
//!   proposals, in barriers, and in whether a quorum is heard.
//!
//! # Departures
//!
//! From the paper:
//! - The leader never fetches history from a follower; the election finds a server that need not
//!   (as ZooKeeper does). A learner more recent than the leader is sent away until a quorum, which
//!   has promised the epoch, shows that its surplus was never committed.
//! - History travels as a difference. Its end and currentEpoch become durable in one atomic write, or
//!   history first, in the order of "Zab improved" (EuroSys 2025, §5.4).
//! - A proposal made while a learner is between NEWLEADER and UPTODATE is streamed to it like any
//!   other; duplicates are ignored; UPTODATE carries the leader's last committed zxid (all three are
//!   gaps in the paper that its TLA+ specification found).
//!
//! From ZooKeeper:
//! - Where two logs part is found by comparing tables of epochs that ACKEPOCH carries, not by ranges
//!   of zxids. So TRUNC works across epochs, and an epoch that wrote nothing can not hide a surplus
//!   (ZOOKEEPER-2832). The source is the log alone, without a separate ring of committed proposals
//!   (ZOOKEEPER-4925).
//! - Synchronization and broadcast are one stream, read by one cursor with one window. ZooKeeper
//!   queues a copy of the difference and then adds the learner to the live set under a lock. The
//!   window needs to know what has arrived before NEWLEADER, so a learner says RECEIVED, which counts
//!   for nothing else. COMMITs are not sent before UPTODATE, which makes them superfluous.
//! - The state of SNAP is streamed beside the protocol, on a connection of its own, where ZooKeeper sends
//!   it in the learner's one stream, and nobody hears a PING behind it. The learner says when it holds
//!   it, and only then come the proposals behind it. The log may be forgotten, the table of its epochs
//!   never is.
//! - One connection between two servers outlives elections. What closing a socket does in ZooKeeper
//!   is done by numbered sessions with LEAVE and RESIGN (`message.rs`); FOLLOWERINFO that comes too
//!   early is kept, where ZooKeeper's learner would try to connect again.
//! - Notifications are never thrown away while the election is being finalized; the wait is
//!   configurable and skipped when every connected voter agrees. A LOOKING server answers whoever was
//!   not LOOKING when it was told, so that an election does not wait for a repetition.
//! - A server that joins an established leader counts itself among those who follow it. In ZooKeeper
//!   the others must be a quorum, so that with one server of three down a restarted follower waits
//!   until the leader has given up.
//! - A server that can not join because it accepted a later epoch makes the leader hold a new
//!   election. In ZooKeeper it stays out until somebody else does.
//! - A learner whose leader is LOOKING in a later round looks too, at once.
//! - Whoever promised a candidate its vote in this round and follows another leader says so, and a
//!   leader that can gather no quorum any more looks again. In ZooKeeper it waits for its initLimit.
//! - Repeated failures to follow or lead put off the next election, by up to the election timeout.
//!   ZooKeeper's pauses come from connecting.
//! - A follower is sent away when *nothing* of what is under way is acknowledged for four election
//!   timeouts; ZooKeeper measures the oldest proposal.
//! - The range between two flushes shares a frame: one PROPOSAL, ACK or COMMIT for many zxids. For
//!   experiments each proposal can have a frame of its own, and a COMMIT can wait for the next PROPOSAL or
//!   PING, as Raft's commit index may.
//! - Commands are replicated and applied deterministically, in both protocols. ZooKeeper's leader
//!   turns a request into an idempotent state change first.
//! - The read barrier. ZooKeeper has only `sync`, which is offered beside it.
//! - An observer accepts an epoch when it is synchronized in it, since nobody counts its promise; and it
//!   says RECEIVED for what it was informed of, so that its window moves.
//! - HANDOVER (`transfer.rs`): a leader names its successor. ZooKeeper's election could not carry that
//!   out, for it chooses by zxid and number; so HANDOVER takes its place, and nothing else's.
//!
//! # Caveats
//!
//! - There is no change of membership.
//! - When the counter of an epoch is used up, the leader gives up and a new epoch begins. When the
//!   epochs are used up, nobody leads any more; no single message can bring that about.

mod barrier;
mod broadcast;
mod codec;
mod discovery;
mod dispatch;
mod election;
mod message;
mod node;
mod observer;
mod promise;
mod role;
mod snapshot;
mod supervision;
mod synchronization;
mod transfer;
mod zxid;

pub use message::{Notification, Reason, ServerState, Session, Vote, ZabMessage};
pub use node::Zab;
pub use promise::Promise;
pub use zxid::{Epoch, EpochTable, LogPoint, Zxid};
