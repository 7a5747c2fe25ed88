//! The trait that both protocols implement, and what they are started with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::time::Duration;

use bytes::Bytes;

use crate::codec::Wire;
use crate::{
    CodecError, Effects, Entry, Index, Input, Leadership, NodeId, Now, Pledge, Position, Standing,
    Term, Time,
};

/// The protocols that a cluster can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Raft, as in etcd.
    Raft,
    /// ZAB, as in ZooKeeper.
    Zab,
    /// No replication at all: the floor of every measurement.
    Null,
}

impl Protocol {
    /// The name in flags, headers and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Zab => "zab",
            Self::Null => "null",
        }
    }

    /// The protocol of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Raft, Self::Zab, Self::Null].into_iter().find(|protocol| protocol.name() == name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A message between the nodes of one protocol.
pub trait Message:
    Wire + Clone + Debug + fmt::Display + PartialEq + Eq + Hash + Send + 'static
{
    /// The message's name in the protocol's own words, for counters and traces.
    fn name(&self) -> &'static str;

    /// How many protocol messages this frame stands for, at least one. A frame may carry a range;
    /// counting frames would compare how the two protocols batch, not what they say. The rule is one
    /// for both:
    ///
    /// - Entries on their way to a follower count one each (AppendEntries, PROPOSAL), and so does
    ///   each entry of the range that an answer acknowledges (AppendEntriesResponse, ACK).
    /// - Telling what is committed counts as the protocol tells it. ZAB has a COMMIT for each zxid, so
    ///   a COMMIT counts its range. In Raft the commit index is a number in a message: one that
    ///   rides with entries counts nothing, and an AppendEntries that carries nothing else counts one.
    /// - Everything else counts one.
    fn weight(&self) -> u64;

    /// Whether it belongs to the daily work under an established leader: entries, acknowledgements,
    /// commits, signs of life, barriers. There are thousands of these a second, so traces forget them
    /// soon; what elections and synchronization say is rare, and kept for long.
    fn is_routine(&self) -> bool;
}

/// A consensus protocol as a pure state machine: inputs in, effects out, no clock, no randomness,
/// no I/O. The same inputs give the same effects.
///
/// # Contract
/// - The driver calls [`Consensus::step`] for each input and ends every series with
///   [`Input::Flush`], then carries out the effects.
/// - [`crate::Persist`]s are made durable in order; [`Input::Persisted`] may skip numbers.
/// - A message leaves only once its tag is durable, and only on the connection that was current
///   when it was emitted.
/// - Laws that the protocol relies on are asserted, in release builds too; a violated law stops the
///   node, because going on would risk what clients were promised.
pub trait Consensus: Clone + Debug + Hash + PartialEq + Sized + Send + 'static {
    /// Which protocol this is.
    const PROTOCOL: Protocol;

    /// What its nodes say to one another.
    type Message: Message;

    /// The protocol as it starts, from what is durable. The log was fsynced before this is called.
    ///
    /// # Errors
    /// When what was recovered contradicts itself or the protocol's laws.
    fn start(now: Now, settings: Settings, recovered: Recovered) -> Result<Self, StartError>;

    /// Takes one input and adds what follows from it to the effects.
    fn step(&mut self, now: Now, input: Input<Self::Message>, effects: &mut Effects<Self::Message>);

    /// The state as users see it.
    fn status(&self) -> Status;

    /// A position in the protocol's own words: `term=3 index=42`, `zxid=0x300000029`.
    fn describe(&self, position: Position) -> String;

    /// What [`crate::invariants`] compares between nodes.
    fn view(&self) -> crate::View<'_>;

    /// What a message of the last round promises by what it says, whatever it was told to wait for:
    /// so much must be durable here before it leaves. For the checks; drivers go by the tag.
    fn pledge(&self, to: NodeId, message: &Self::Message) -> Pledge;

    /// What a [`crate::Persist::promise`] says.
    ///
    /// # Errors
    /// When it is none of this protocol's.
    fn read_promise(promise: Bytes) -> Result<Pledge, CodecError>;
}

/// What a protocol is started with. The same for both protocols; what one does not need it ignores.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// This node.
    pub id: NodeId,
    /// All voters. A quorum is a majority of them, whatever their present standing.
    pub voters: BTreeSet<NodeId>,
    /// All others: they are synchronized and never count. This node is one of these or of the voters.
    pub observers: BTreeSet<NodeId>,
    /// This node's own standing. A voter starts as [`Standing::Observer`] when it does not remember what
    /// it may have promised; see [`crate::Input::BecomeVoter`].
    pub standing: Standing,
    /// The seed of every random choice; should differ between nodes and starts.
    pub seed: u64,
    /// How often a leader gives a sign of life.
    pub heartbeat_interval: Duration,
    /// How long a leader may be silent before it is suspected, and how long a leader goes on
    /// without hearing from a quorum.
    pub election_timeout: Duration,
    /// The most that randomness adds to a wait before a campaign, in both detection and retry.
    pub election_jitter: Duration,
    /// Whether the loss of the leader's connection alone makes it suspected.
    pub suspect_on_connection_loss: bool,
    /// Raft: whether a node asks before it campaigns, so that one that would lose disturbs nobody
    /// (thesis §9.6).
    pub pre_vote: bool,
    /// ZAB: how long to wait for a better vote once a quorum agrees but not all connected voters
    /// have answered. ZooKeeper's is fixed at 200 ms.
    pub finalize_wait: Duration,
    /// Whether entries that gathered share a write and a message. Without it each entry has a write and
    /// a message of its own.
    pub batching: bool,
    /// Whether followers hear of a commit at once. Without it they hear of it with the next entries or
    /// the next sign of life.
    pub immediate_commit_notices: bool,
    /// The most bytes of entries in one message.
    pub message_bytes_max: usize,
    /// The most messages with entries under way to one peer.
    pub inflight_messages_max: usize,
    /// The most bytes of entries under way to one peer.
    pub inflight_bytes_max: usize,
    /// The bytes of recent entries kept in memory, so that replication need not read the disk.
    pub memory_log_bytes_max: usize,
    /// The bytes of proposals that may wait for a quorum, or for the leader's own disk, before more
    /// are refused.
    pub uncommitted_bytes_max: usize,
    /// The bytes of entries that may be delivered ahead of what was applied.
    pub unapplied_bytes_max: usize,
}

impl Settings {
    /// The defaults for a cluster of these voters.
    #[must_use]
    pub fn new(id: NodeId, voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            id,
            voters: voters.into_iter().collect(),
            observers: BTreeSet::new(),
            standing: Standing::Voter,
            seed: id.0,
            heartbeat_interval: Duration::from_millis(50),
            election_timeout: Duration::from_millis(300),
            election_jitter: Duration::from_millis(30),
            suspect_on_connection_loss: true,
            pre_vote: true,
            finalize_wait: Duration::from_millis(20),
            batching: true,
            immediate_commit_notices: true,
            message_bytes_max: 1 << 20,
            inflight_messages_max: 256,
            inflight_bytes_max: 8 << 20,
            memory_log_bytes_max: 16 << 20,
            uncommitted_bytes_max: 32 << 20,
            unapplied_bytes_max: 8 << 20,
        }
    }
}

impl Settings {
    /// Checks that the settings are those of a node of a cluster.
    ///
    /// # Errors
    /// When there is no voter, a node is both voter and observer, this node is neither, or it shall
    /// vote and is no voter.
    pub fn check(&self) -> Result<(), StartError> {
        let Self { id, voters, observers, standing, .. } = self;
        let problem = if voters.is_empty() {
            "a cluster has at least one voter: observers alone can not decide anything".to_owned()
        } else if let Some(both) = voters.intersection(observers).next() {
            format!("{both} is both a voter and an observer")
        } else if !voters.contains(id) && !observers.contains(id) {
            format!("{id} is neither among the voters nor among the observers")
        } else if !voters.contains(id) && *standing == Standing::Voter {
            format!("{id} is not among the voters, so that it can only observe")
        } else {
            return Ok(());
        };
        Err(StartError(problem))
    }

    /// The most bytes of entries that go into one message; at least one entry always does.
    #[must_use]
    pub(crate) fn entry_bytes_max(&self) -> usize {
        if self.batching { self.message_bytes_max } else { 1 }
    }

    /// Whether this node neither votes nor counts.
    #[must_use]
    pub fn observes(&self) -> bool {
        self.standing == Standing::Observer
    }

    /// All nodes but this one, voters and observers.
    pub fn others(&self) -> impl Iterator<Item = NodeId> {
        let all = self.voters.iter().chain(&self.observers).copied();
        all.filter(|&id| id != self.id)
    }

    /// The standing of a peer, given the one that its connection has.
    #[must_use]
    pub fn standing_of(&self, peer: NodeId, connected_as: Standing) -> Standing {
        if self.voters.contains(&peer) { connected_as } else { Standing::Observer }
    }

    /// Raises this node's standing; see [`crate::Input::BecomeVoter`].
    ///
    /// # Panics
    /// If it is no voter of the cluster, or counts already.
    pub fn become_voter(&mut self) {
        let Self { id, voters, .. } = self;
        assert!(self.standing == Standing::Observer, "{id} becomes a voter once");
        assert!(voters.contains(id), "{id} becomes a voter, and is none of the cluster's");
        self.standing = Standing::Voter;
    }
}

/// What was found in the log at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The last promise, if one was ever made.
    pub promise: Option<Bytes>,
    /// The index of the first entry of each term or epoch, in order, of the entries that were
    /// forgotten too.
    pub terms: BTreeMap<Index, Term>,
    /// The last entry that was forgotten; zero when the log is whole.
    pub compacted: Index,
    /// The index of the last entry, zero when the log is empty.
    pub last: Index,
    /// The most recent entries up to `last`; as many as the caller likes to keep in memory.
    pub tail: Vec<Entry>,
    /// Everything up to here was known to be committed, and the driver has it applied already.
    pub commit: Index,
}

/// Why a protocol can not start from what was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A node's state as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The role in the protocol's own word: `leader`, `follower`, `pre-candidate`, `candidate`,
    /// `learner`; `LEADING`, `FOLLOWING`, `LOOKING`, `OBSERVING`.
    pub role: &'static str,
    /// Whether this node counts.
    pub standing: Standing,
    /// The phase within the role, where the protocol names one: ZAB's `discovery`,
    /// `synchronization`, `broadcast`.
    pub phase: Option<&'static str>,
    /// The current term, or ZAB's currentEpoch.
    pub term: Term,
    /// What the layer above knows of leadership.
    pub leadership: Leadership,
    /// The last entry of the log.
    pub last: Position,
    /// The last committed index known here.
    pub commit: Index,
    /// The last index known durable here.
    pub durable: Index,
    /// The last index handed to the layer above.
    pub delivered: Index,
    /// Why nobody can ever lead this cluster again, if that is so, and what to do.
    pub trouble: Option<String>,
    /// The other nodes.
    pub peers: Vec<PeerStatus>,
}

/// What a node knows of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub id: NodeId,
    /// Its standing, as the last connection had it, or as the configuration says.
    pub standing: Standing,
    /// Whether a connection is up.
    pub connected: bool,
    /// At a leader: the last index known durable there.
    pub matched: Option<Index>,
    /// At a leader: how replication to it goes: `probe`, `replicate`, `synchronizing`, …
    pub replication: Option<&'static str>,
    /// At a leader: when the peer was last heard.
    pub heard: Option<Time>,
    /// At a leader: the last measured time from heartbeat to reply.
    pub round_trip: Option<Duration>,
}
