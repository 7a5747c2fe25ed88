//! Raft as a pure state machine behind [`consensus::Consensus`].
//!
//! # In short
//! The nodes elect one of them, for a *term*. It alone puts commands into an order, and copies its
//! log to the others. What a majority holds is *committed*: since any two majorities share a node,
//! every later leader will have it. All of Raft is about making that sentence true while nodes stop,
//! disks are slow and connections break.
//!
//! Sections (§) are those of Ongaro and Ousterhout, "In Search of an Understandable Consensus
//! Algorithm" (extended version, 2014); where the dissertation (Ongaro, "Consensus: Bridging Theory
//! and Practice", 2014) is meant, it says so.
//!
//! # The protocol
//! **Terms and votes (§5.1, §5.2).** Time is divided into terms. A node keeps the highest term that
//! it has seen and its only vote in it, the [`Promise`], on disk; both are written at once, and an
//! answer leaves only when what it promises is durable. Whoever meets a higher term adopts it and
//! becomes a *follower*. A follower that hears nothing of its leader for the election timeout, or sees
//! the leader's connection break, waits a short random delay. Then it asks as a *pre-candidate*
//! ([`RaftMessage::PreVote`], dissertation §9.6) whether it would be voted for. With the consent of a
//! majority it becomes a *candidate*: it takes the next term, votes for itself and asks for votes
//! ([`RaftMessage::RequestVote`]). A node votes once in a term, only for a log at least as up to date
//! as its own (§5.4.1: the last entry's term, then its index), and not while it hears a leader (§6).
//! A majority of votes makes a *leader*; as each node votes once, a term has at most one.
//!
//! **Replication (§5.3).** A leader begins its term with an empty entry and appends what it is asked to
//! ([`consensus::Input::Propose`]). It sends entries ([`RaftMessage::AppendEntries`]) together with the
//! position of the entry before them. A follower that holds that entry appends them, and removes
//! what conflicts; by induction its log then equals the leader's up to there. One that does not hold
//! it answers with the last entry that may be common ([`AppendOutcome::Conflict`]), so that both skip
//! whole terms. [`consensus::Progress`] holds the paper's nextIndex and matchIndex: first one message
//! at a time, until the logs are known to match, then a pipeline within a window.
//!
//! **Compaction (§7).** The log forgets its beginning once the layer above holds the effects durably
//! ([`consensus::Input::Compact`]). A follower that needs what was forgotten gets the state instead of
//! the entries ([`RaftMessage::InstallSnapshot`]), and entries from there on.
//!
//! **Commitment (§5.4.2).** The leader commits the highest index that a majority holds durably, once
//! that is an entry of its own term. An older entry on a majority is not safe (Figure 8): a node with
//! an entry of a term in between could still be elected. It becomes so together with the first entry
//! of the term, which is why that is appended at once (§8). The leader counts itself like any other:
//! it sends entries while it writes them (dissertation §10.2.1).
//!
//! **Reads (§8, dissertation §6.4).** A read barrier notes the commit index and waits for a majority to
//! answer a round of [`RaftMessage::Heartbeat`]s that began after it. Then this was still the leader
//! when the read arrived, and no other could have committed more. Before the first commit of its
//! term a leader refuses: it does not know yet what is committed. ZooKeeper's `sync`
//! ([`consensus::Input::Sync`]) asks nobody, and a deposed leader that does not know it answers stale.
//!
//! **Supervision (§5.2, §6, dissertation §6.2).** The leader sends heartbeats; a leader that a majority
//! does not answer for the election timeout becomes a follower. Both directions use
//! [`consensus::FailureDetector`], as ZAB does here.
//!
//! **Leadership transfer (dissertation §3.10).** The leader holds proposals back until its successor lacks
//! nothing, and sends it [`RaftMessage::TimeoutNow`]; the successor campaigns at once, without PreVote,
//! and those who still hear the leader vote all the same (`transfer.rs`).
//!
//! **Learners (dissertation §4.2.1).** A learner, here called an observer, is led like a follower and never
//! counts: it neither votes nor is asked nor campaigns, and its answers only move the window of what it
//! is sent. A voter that has lost its memory is treated alike (`observer.rs`).
//!
//! # Invariants
//! - Only voters count: in votes, PreVotes, commitment, reads, and whether a quorum is heard.
//! - Election Safety: at most one leader in a term (§5.2). Asserted; a second one stops the node.
//! - Leader Append-Only: a leader never removes entries (§5.3). It has no code that could.
//! - Log Matching: logs with an equal entry are equal up to it (§5.3).
//! - Leader Completeness: what is committed is in the log of every later leader (§5.4). Asserted.
//! - State Machine Safety: nobody delivers another entry at the same index (§5.4.3).
//! - Promise before word: a vote, an acknowledgement and a candidate's request leave once the term,
//!   the vote and the entries that they stand for are durable, in that order in one stream of writes.
//! - Only the current connection counts: nothing of an older one, or of an earlier term, has an effect.
//! - A follower's commit index never passes what is known to equal its leader's log.
//!
//! # Departures from the paper, and why
//! - PreVote and the refusal of votes while a leader is heard are always on: a node that was cut off
//!   does not disturb the others when it comes back. PreVote can be switched off for experiments.
//! - The random wait follows the silence instead of being part of the timeout, and a broken connection
//!   is a silence that need not be waited for. So elections take milliseconds, and the random part
//!   can be short, because few nodes campaign in it.
//! - Of two pre-candidates that ask one another, one gives way; who grants a PreVote holds its own
//!   campaign back once; who voted refuses PreVotes to others for a while. PreVotes bind nobody, so
//!   none of that touches an invariant; it makes split votes very rare.
//! - A node that asks its own followers for votes is taken at its word: it does not lead any more.
//! - A leader that met a higher term campaigns again soon, if its followers let it: they would
//!   otherwise hear nobody until their timeout.
//! - Heartbeats are messages of their own, answered without waiting for a disk: a slow disk is not a
//!   lost leader. They carry the commit index and the round of reads. Rounds begin anew in each term,
//!   so that an answer names the term of the heartbeat that it answers.
//! - Replies to AppendEntries are batched: one for all that arrived between two flushes. A message that
//!   tells nothing but a new commit index is not answered, as ZAB's COMMIT is not.
//! - The state of an InstallSnapshot is streamed beside the protocol, on a connection of its own, and the
//!   message is only the leader's word for it. It is answered like AppendEntries.
//! - The first index of every term is kept when the entries are forgotten, so that a probe need not
//!   hit what is left of the log.
//! - A lower term's RequestVote and AppendEntries are answered with the current term at once, and
//!   a rejection tells the leader where to go on (end of §5.3, as in etcd).
//!
//! # What it is not
//! No change of membership yet. No leases: a read always asks a majority, because a lease trusts clocks.

mod barrier;
mod election;
mod message;
mod node;
mod observer;
mod promise;
mod replication;
mod role;
mod snapshot;
mod supervision;
mod transfer;

pub use message::{AppendOutcome, Attempt, RaftMessage, Round};
pub use node::Raft;
pub use promise::Promise;
