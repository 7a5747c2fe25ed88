//! The server as a whole: what every role shares, and the [`Consensus`] implementation that hands
//! each input to the role.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use consensus::{
    CodecError, Consensus, Effects, Generation, Input, Leadership, Log, NodeId, Now, Outbound,
    PeerStatus, PersistSequence, Pledge, Position, Protocol, Quorum, Recovered, Settings, Standing,
    StartError, Status, Timer, Timers, View, Wire,
};

use crate::message::{Reason, Session, Vote, ZabMessage};
use crate::promise::{self, Promise, check_recovered};
use crate::role::{Change, Flow, LearnerStage, Looking, NewLeader, Role, STAY, Snap};
use crate::zxid::{Epoch, LogPoint, Zxid};

/// How many election timeouts discovery and synchronization may take without progress, and how many
/// a proposal may wait for a follower's acknowledgement. ZooKeeper's initLimit and syncLimit are 10
/// and 5 ticks.
const PHASE_TIMEOUTS: u32 = 4;

/// A server that speaks ZAB.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Zab {
    pub(crate) core: Core,
    role: Role,
}

/// What every role shares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Core {
    pub settings: Settings,
    pub quorum: Quorum,
    pub log: Log,
    pub promise: Promise,
    /// The election round: ZooKeeper's logical clock.
    pub round: u64,
    /// The last session that this server opened as a learner.
    pub session: Session,
    /// The largest acceptedEpoch ever heard of: a new epoch is larger.
    pub epoch_floor: Epoch,
    /// Attempts to follow or lead, since the last that succeeded, that came to nothing.
    pub failed_attempts: u32,
    pub peers: BTreeMap<NodeId, Peer>,
    pub timers: Timers,
    pub leadership: Leadership,
}

/// A peer, whatever the role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// Whether it counts, by its last connection; before the first one, by the configuration.
    pub standing: Standing,
    /// The newest connection.
    pub generation: Generation,
    /// Whether it is up.
    pub connected: bool,
    /// The session that the peer has opened while this server is LOOKING or about to be handed the
    /// office, and may yet lead. In ZooKeeper the learner tries to connect again and again meanwhile.
    pub opened: Option<Opening>,
    /// Whether a fetch for this peer is under way. It outlives the session that asked for it.
    pub fetching: bool,
}

/// What FOLLOWERINFO or OBSERVERINFO says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Opening {
    /// The session.
    pub session: Session,
    /// The learner's acceptedEpoch.
    pub accepted: Epoch,
    /// Whether the learner follows or observes.
    pub standing: Standing,
}

impl Peer {
    /// A peer before its first connection.
    fn new(standing: Standing) -> Self {
        let generation = Generation(0);
        Self { standing, generation, connected: false, opened: None, fetching: false }
    }
}

/// What a handler works with: the shared state, the present, and the effects.
pub(crate) struct Context<'a> {
    pub now: Now,
    pub core: &'a mut Core,
    pub effects: &'a mut Effects<ZabMessage>,
}

impl Core {
    /// This server's number.
    pub(crate) fn id(&self) -> NodeId {
        self.settings.id
    }

    /// The vote for this server itself.
    pub(crate) fn own_vote(&self) -> Vote {
        Vote {
            peer_epoch: self.promise.current,
            zxid: LogPoint::of(&self.log, self.log.last().index).zxid,
            leader: self.id(),
        }
    }

    /// How long discovery and synchronization may go on without progress.
    pub(crate) fn phase_timeout(&self) -> Duration {
        self.settings.election_timeout * PHASE_TIMEOUTS
    }

    /// How long the next election is held back. The first attempt and the first repetition are not;
    /// without a bound on the rest, a learner that its leader refuses would run through elections as
    /// fast as messages travel.
    pub(crate) fn election_delay(&self) -> Duration {
        let Some(doublings) = self.failed_attempts.checked_sub(2) else {
            return Duration::ZERO;
        };
        let factor = 1u32.checked_shl(doublings.min(16)).unwrap_or(u32::MAX);
        (self.settings.heartbeat_interval * factor).min(self.settings.election_timeout)
    }

    /// A peer has opened a session, sooner than this server knows whether it will lead.
    pub(crate) fn session_opened(&mut self, peer: NodeId, opening: Opening) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.opened = Some(opening);
        }
    }

    /// A peer has closed a session.
    pub(crate) fn session_left(&mut self, peer: NodeId, session: Session) {
        if let Some(peer) = self.peers.get_mut(&peer)
            && peer.opened.is_some_and(|opened| opened.session == session)
        {
            peer.opened = None;
        }
    }

    /// Why no leader will ever be found again, if that is so.
    fn trouble(&self) -> Option<String> {
        let used_up = self.epoch_floor.next().is_none() && self.leadership == Leadership::None;
        used_up.then(|| {
            format!(
                "the epochs are used up: no leader can come after epoch {}. Reads with \
                 consistency=local go on; to write again, copy the keys into a new cluster",
                self.epoch_floor
            )
        })
    }

    /// Whether a connection to a peer is up.
    pub(crate) fn connected(&self, peer: NodeId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.connected)
    }
}

impl Context<'_> {
    /// Sends a message now, if a connection is up.
    pub(crate) fn send(&mut self, to: NodeId, message: ZabMessage) {
        self.send_after(to, PersistSequence(0), message);
    }

    /// Sends a message once a write is durable, if a connection is up.
    pub(crate) fn send_after(&mut self, to: NodeId, after: PersistSequence, message: ZabMessage) {
        if self.core.connected(to) {
            self.effects.messages.push(Outbound { to, after, message });
        }
    }

    /// Writes the promise, together with everything of the log that is not written yet.
    pub(crate) fn persist_promise(&mut self) -> PersistSequence {
        let Promise { accepted, current } = self.core.promise;
        assert!(current <= accepted, "no epoch is joined that was not accepted");
        self.core.log.set_promise(self.core.promise.to_bytes());
        self.core.log.persist(self.effects)
    }

    /// Tells the layer above who leads, if that is news.
    pub(crate) fn lead(&mut self, leadership: Leadership) {
        if self.core.leadership != leadership {
            self.core.leadership = leadership;
            self.effects.leadership.push(leadership);
        }
    }

    /// Sends away whoever opened a session with this server while it was LOOKING.
    pub(crate) fn refuse_sessions(&mut self) {
        let opened: Vec<_> = self
            .core
            .peers
            .iter_mut()
            .filter_map(|(&id, peer)| peer.opened.take().map(|opened| (id, opened.session)))
            .collect();
        for (peer, session) in opened {
            self.send(peer, ZabMessage::Resign { session, reason: Reason::NotLeading });
        }
    }
}

impl Consensus for Zab {
    const PROTOCOL: Protocol = Protocol::Zab;

    type Message = ZabMessage;

    fn start(now: Now, settings: Settings, recovered: Recovered) -> Result<Self, StartError> {
        settings.check()?;
        let promise = check_recovered(&recovered)?;
        let mut timers = Timers::default();
        timers.set(Timer::Election, now.time);
        let peers =
            settings.others().map(|id| (id, Peer::new(settings.standing_of(id, Standing::Voter))));
        Ok(Self {
            core: Core {
                quorum: Quorum::new(settings.voters.clone()),
                peers: peers.collect(),
                log: Log::new(&settings, recovered),
                settings,
                promise,
                round: 0,
                session: Session(0),
                epoch_floor: promise.accepted,
                failed_attempts: 0,
                timers,
                leadership: Leadership::None,
            },
            role: Role::Looking(Looking::settling(PersistSequence(0), true)),
        })
    }

    fn step(&mut self, now: Now, input: Input<ZabMessage>, effects: &mut Effects<ZabMessage>) {
        match input {
            Input::PeerConnected { peer, generation, standing } => {
                self.peer_connected(now, peer, generation, standing, effects);
            }
            Input::BecomeVoter => self.become_voter(now, effects),
            Input::PeerLost { peer, generation } => self.peer_lost(now, peer, generation, effects),
            input => {
                let mut cx = Context { now, core: &mut self.core, effects };
                let flow = self.role.take(&mut cx, input);
                self.settle(now, flow, effects);
            }
        }
        effects.deadline = self.core.timers.earliest();
    }

    fn status(&self) -> Status {
        let log = &self.core.log;
        Status {
            role: self.role.name(),
            standing: self.core.settings.standing,
            phase: self.role.phase(),
            term: self.core.promise.current.term(),
            leadership: self.core.leadership,
            last: log.last(),
            commit: log.commit(),
            durable: log.durable(),
            delivered: log.delivered(),
            trouble: self.core.trouble(),
            peers: self.core.peers.keys().map(|&id| self.peer_status(id)).collect(),
        }
    }

    fn describe(&self, position: Position) -> String {
        let log = &self.core.log;
        let first = log.terms().iter().find(|&(_, &term)| term == position.term);
        let base = match first {
            Some((&first, _)) => first.previous(),
            // An epoch without entries here begins behind the log.
            None => log.last().index.min(position.index),
        };
        let zxid = Epoch::from_term(position.term)
            .and_then(|epoch| Zxid::at(epoch, base, position.index))
            .unwrap_or(Zxid::ZERO);
        format!("zxid={zxid}")
    }

    fn view(&self) -> View<'_> {
        View {
            id: self.core.id(),
            promised: self.core.promise.accepted.term(),
            joined: Some(self.core.promise.current.term()),
            leading: match &self.role {
                Role::Leading(leading) => leading.accepted().map(Epoch::term),
                _ => None,
            },
            established: match self.core.leadership {
                Leadership::Established { term } => Some(term),
                _ => None,
            },
            log: &self.core.log,
        }
    }

    fn pledge(&self, _to: NodeId, message: &ZabMessage) -> Pledge {
        let session = match &self.role {
            // An observer's ACKEPOCH promises nothing.
            Role::Following(following) if !following.observes() => {
                following.epoch().map(|epoch| (following.session, epoch))
            }
            _ => None,
        };
        promise::pledge(message, session, self.core.promise.current, &self.core.log)
    }

    fn read_promise(promise: bytes::Bytes) -> Result<Pledge, CodecError> {
        let Promise { accepted, current } = Promise::from_bytes(promise)?;
        let (promised, joined) = (accepted.term(), current.term());
        Ok(Pledge { promised, joined, ..Pledge::default() })
    }
}

impl Zab {
    /// A connection is up. An older one to the same peer is over, even if nobody said so.
    fn peer_connected(
        &mut self,
        now: Now,
        peer: NodeId,
        generation: Generation,
        standing: Standing,
        effects: &mut Effects<ZabMessage>,
    ) {
        let Some(known) = self.core.peers.get(&peer) else { return };
        if known.generation >= generation {
            return;
        }
        self.peer_lost(now, peer, known.generation, effects);
        let standing = self.core.settings.standing_of(peer, standing);
        let known = self.core.peers.get_mut(&peer).expect("looked at just now");
        (known.generation, known.connected, known.standing) = (generation, true, standing);
        let mut cx = Context { now, core: &mut self.core, effects };
        let flow = match &mut self.role {
            Role::Looking(looking) => {
                looking.peer_connected(&mut cx, peer);
                STAY
            }
            Role::Following(following) => following.peer_connected(&mut cx, peer),
            Role::Leading(_) => STAY,
        };
        self.settle(now, flow, effects);
    }

    /// A connection broke: the sessions over it are closed.
    fn peer_lost(
        &mut self,
        now: Now,
        peer: NodeId,
        generation: Generation,
        effects: &mut Effects<ZabMessage>,
    ) {
        let Some(known) = self.core.peers.get_mut(&peer) else { return };
        if !known.connected || known.generation != generation {
            return;
        }
        known.connected = false;
        known.opened = None;
        let mut cx = Context { now, core: &mut self.core, effects };
        let flow = match &mut self.role {
            Role::Looking(looking) => looking.peer_lost(&mut cx, peer),
            Role::Following(following) => following.peer_lost(&mut cx, peer),
            Role::Leading(leading) => {
                leading.learners.remove(&peer);
                STAY
            }
        };
        self.settle(now, flow, effects);
    }

    /// Carries out changes of role until the role stays.
    pub(crate) fn settle(&mut self, now: Now, mut flow: Flow, effects: &mut Effects<ZabMessage>) {
        while let ControlFlow::Break(change) = flow {
            let mut cx = Context { now, core: &mut self.core, effects };
            let idle = Role::Looking(Looking::settling(PersistSequence(0), false));
            self.role = match (std::mem::replace(&mut self.role, idle), change) {
                (Role::Looking(looking), Change::Elect(vote)) if vote.leader == cx.core.id() => {
                    Role::Leading(looking.into_leading(&mut cx, vote))
                }
                (Role::Looking(looking), Change::Elect(vote)) => {
                    Role::Following(looking.into_following(&mut cx, vote))
                }
                (Role::Looking(_), Change::Look(cause)) => Role::Looking(cx.settle(cause)),
                (Role::Following(following), Change::Look(cause)) => {
                    Role::Looking(following.into_looking(&mut cx, cause))
                }
                (Role::Leading(leading), Change::Look(cause)) => {
                    Role::Looking(leading.into_looking(&mut cx, cause))
                }
                (Role::Following(following), Change::HandOver(vote))
                    if vote.leader == cx.core.id() =>
                {
                    Role::Leading(following.into_leading(&mut cx, vote))
                }
                (Role::Following(following), Change::HandOver(vote)) => {
                    Role::Following(following.into_following(&mut cx, vote))
                }
                (Role::Leading(leading), Change::HandOver(vote)) => {
                    Role::Following(leading.into_following(&mut cx, vote))
                }
                (role, change) => unreachable!("{change:?} in the role {}", role.name()),
            };
            flow = match &mut self.role {
                Role::Looking(looking) => looking.begin_when_settled(&mut cx),
                Role::Following(_) => STAY,
                Role::Leading(leading) => leading.admit_waiting(&mut cx),
            };
        }
    }

    fn peer_status(&self, id: NodeId) -> PeerStatus {
        let connected = self.core.connected(id);
        let learner = match &self.role {
            Role::Leading(leading) => leading.learners.get(&id),
            _ => None,
        };
        let stream = learner.and_then(|learner| match &learner.stage {
            LearnerStage::Streaming(stream) => Some(stream),
            _ => None,
        });
        PeerStatus {
            id,
            standing: self.core.standing(id),
            connected,
            matched: learner.and_then(|learner| Some(learner.joined()?.progress.matched())),
            replication: learner.map(|_| match stream {
                None => "discovery",
                Some(stream) if stream.snap != Snap::Needless => "snapshot",
                Some(stream) if stream.new_leader != NewLeader::Acked => "synchronizing",
                Some(_) => "replicate",
            }),
            heard: learner.map(|learner| learner.heard),
            round_trip: learner.and_then(|learner| learner.round_trip),
        }
    }
}

#[cfg(any(test, feature = "rollover"))]
impl Zab {
    /// Leads an established epoch, as if it had proposed all that its log holds of it: the end of a
    /// counter is too far away to be proposed to, and whoever starts begins a new epoch, whose counter
    /// is at its beginning. For tests of that end; nothing of the epoch may be said before the promise
    /// that is written here is durable.
    pub fn continue_to_lead(
        &mut self,
        now: Now,
        epoch: Epoch,
        base: consensus::Index,
        effects: &mut Effects<ZabMessage>,
    ) {
        let mut cx = Context { now, core: &mut self.core, effects };
        cx.core.promise = Promise { accepted: epoch, current: epoch };
        cx.persist_promise();
        let vote = cx.core.own_vote();
        let looking = Looking::settling(PersistSequence(0), false);
        let mut leading = looking.into_leading(&mut cx, vote);
        (leading.base, leading.phase) = (base, crate::role::Phase::Broadcasting { epoch });
        // It gives up like any other that is established when no quorum follows it.
        cx.core.timers.cancel(Timer::Phase);
        cx.core.timers.set(Timer::Quorum, leading.detector.deadline());
        cx.lead(Leadership::Established { term: epoch.term() });
        self.role = Role::Leading(leading);
    }
}
