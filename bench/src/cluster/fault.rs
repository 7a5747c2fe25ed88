//! What can happen to a cluster on purpose, how it is done, and how it is undone.

use std::time::{Duration, Instant};

use consensus::NodeId;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{ASK_TIMEOUT, Cluster, READY_TIMEOUT, TRANSFER_TIMEOUT, delete, post, post_json};
use crate::Error;

/// How much longer a sync takes on a stalled disk, in milliseconds: the most that a node takes, and longer than
/// any measurement waits.
const STALL_MS: u64 = 60_000;

/// A fault of the leader, or something that happens to all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL: the process is gone and its connections break.
    Kill,
    /// SIGSTOP: the process is there and silent; nobody is told.
    Stop,
    /// Nothing that the other nodes say arrives at the leader, and nobody is told.
    IsolateIn,
    /// Nothing that the leader says arrives at the other nodes, and nobody is told.
    IsolateOut,
    /// Both: nothing arrives in either direction.
    IsolateBoth,
    /// Syncs of the leader's log do not end.
    StallDisk,
    /// `POST /v1/cluster/transfer`: the leader is asked to hand over, and goes on as a follower.
    Transfer,
    /// SIGTERM: the leader hands over, and ends.
    Terminate,
    /// All nodes are killed, and then started one right after another on the data that they have.
    ColdStart,
    /// All nodes are restarted by SIGTERM one after another, the leader last, each when the one before is ready.
    RollingRestart,
}

impl Fault {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Kill,
        Self::Stop,
        Self::IsolateIn,
        Self::IsolateOut,
        Self::IsolateBoth,
        Self::StallDisk,
        Self::Transfer,
        Self::Terminate,
        Self::ColdStart,
        Self::RollingRestart,
    ];

    /// The name, as flags and tables have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::IsolateIn => "isolate-in",
            Self::IsolateOut => "isolate-out",
            Self::IsolateBoth => "isolate-both",
            Self::StallDisk => "stall-disk",
            Self::Transfer => "transfer",
            Self::Terminate => "terminate",
            Self::ColdStart => "cold-start",
            Self::RollingRestart => "rolling-restart",
        }
    }

    /// What happens, in words.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL of the leader",
            Self::Stop => "SIGSTOP of the leader",
            Self::IsolateIn => "nothing arrives at the leader from the other nodes",
            Self::IsolateOut => "nothing arrives from the leader at the other nodes",
            Self::IsolateBoth => "nothing arrives between the leader and the other nodes",
            Self::StallDisk => "syncs of the leader's log do not end",
            Self::Transfer => "the leader is asked to hand over, and goes on as a follower",
            Self::Terminate => "SIGTERM of the leader: it hands over and ends",
            Self::ColdStart => "all nodes are killed, and started together",
            Self::RollingRestart => "all nodes are restarted by SIGTERM in turn, the leader last",
        }
    }

    /// Whether the leader hands over before it stops leading. Nobody has to notice anything then.
    #[must_use]
    pub fn hands_over(self) -> bool {
        matches!(self, Self::Transfer | Self::Terminate | Self::RollingRestart)
    }

    /// Whether the leader may go on to take writes, so that the outage is the longest time without one.
    #[must_use]
    pub fn spares_writes(self) -> bool {
        self.hands_over() || self == Self::StallDisk
    }

    /// Whether clients ask the node that is hit, too.
    #[must_use]
    pub fn leaves_clients(self) -> bool {
        self.spares_writes() || self == Self::ColdStart
    }

    /// Whether something is to be undone afterwards.
    #[must_use]
    pub fn is_healed(self) -> bool {
        !matches!(self, Self::Transfer | Self::ColdStart | Self::RollingRestart)
    }

    /// Whether nodes do it to themselves when they are asked to, which they must be started for.
    #[must_use]
    pub fn is_asked_for(self) -> bool {
        self.request(NodeId(0)).is_some()
    }

    /// The flags of `serve` that nodes need so that all of these can be done.
    #[must_use]
    pub fn serve_flags(faults: &[Self]) -> Vec<String> {
        let asked = faults.iter().any(|fault| fault.is_asked_for());
        asked.then(|| "--enable-faults".to_owned()).into_iter().collect()
    }

    /// What a node is asked for at `/v1/faults`.
    fn request(self, node: NodeId) -> Option<serde_json::Value> {
        let node = node.0;
        Some(match self {
            Self::IsolateIn => serde_json::json!({"kind": "partition", "to": node}),
            Self::IsolateOut => serde_json::json!({"kind": "partition", "from": node}),
            Self::IsolateBoth => {
                serde_json::json!({"kind": "partition", "from": node, "both": true})
            }
            Self::StallDisk => {
                serde_json::json!({"kind": "slow_disk", "to": node, "ms": STALL_MS})
            }
            _ => return None,
        })
    }
}

/// When a fault was done.
#[derive(Clone, Debug)]
pub struct Struck {
    /// When the first thing was done for it: the first node's SIGTERM in a rolling restart.
    pub began: Instant,
    /// The moment from which the fault counts: when the signal was sent, the request, or the first process was
    /// started; in a rolling restart the leader's SIGTERM.
    pub at: Instant,
    /// From when on the old leader certainly did nothing more of what it did before.
    pub over: Instant,
    /// The restarts of a rolling restart.
    pub turns: Vec<Turn>,
}

/// One node's turn in a rolling restart.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The node.
    pub node: NodeId,
    /// When it got SIGTERM.
    pub sent: Instant,
    /// When its process had ended.
    pub ended: Instant,
    /// When it was ready again.
    pub ready: Instant,
}

impl Struck {
    pub(crate) fn once(at: Instant, over: Instant) -> Self {
        Self { began: at, at, over, turns: Vec::new() }
    }
}

impl Cluster {
    /// Does the fault to a leader, or to all nodes.
    ///
    /// # Errors
    /// [`Error::Io`] when a signal can not be sent, [`Error::Node`] when a node refuses or does not end or start.
    pub async fn strike(&mut self, leader: NodeId, fault: Fault) -> Result<Struck, Error> {
        if let Some(request) = fault.request(leader) {
            return self.begin_fault(leader, &request).await;
        }
        match fault {
            Fault::Kill => self.node_mut(leader).kill().await,
            Fault::Stop => self.node_mut(leader).pause().await,
            Fault::Transfer => self.transfer(leader).await,
            Fault::ColdStart => self.start_cold().await,
            Fault::RollingRestart => return self.restart_in_turn(leader).await,
            // What is asked of the node was asked above.
            Fault::Terminate
            | Fault::IsolateIn
            | Fault::IsolateOut
            | Fault::IsolateBoth
            | Fault::StallDisk => {
                let sent = Instant::now();
                self.terminate(leader).await?;
                Ok((sent, Instant::now()))
            }
        }
        .map(|(at, over)| Struck::once(at, over))
    }

    /// Undoes a fault: starts the process again on its data, lets it go on, or heals what was asked of it.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Node`] when that is not possible.
    pub async fn heal(&mut self, leader: NodeId, fault: Fault) -> Result<(), Error> {
        match fault {
            Fault::Kill | Fault::Terminate => self.node_mut(leader).start(),
            Fault::Stop => self.node_mut(leader).resume(),
            Fault::Transfer | Fault::ColdStart | Fault::RollingRestart => Ok(()),
            Fault::IsolateIn | Fault::IsolateOut | Fault::IsolateBoth | Fault::StallDisk => {
                self.end_fault(leader).await
            }
        }
    }

    /// Asks a node to do something to itself.
    async fn begin_fault(
        &mut self,
        id: NodeId,
        request: &serde_json::Value,
    ) -> Result<Struck, Error> {
        let (http, sent) = (self.node(id).http, Instant::now());
        let answer = post_json(http, "/v1/faults", &request.to_string(), ASK_TIMEOUT).await;
        let over = Instant::now();
        let refused = |why: String| {
            self.complaint(&format!("node {} was asked for {request}: {why}", id.0), Some(id))
        };
        let body = match answer {
            Ok((201, body)) => body,
            Ok((_, body)) => return Err(refused(String::from_utf8_lossy(&body).into_owned())),
            Err(error) => return Err(refused(error.to_string())),
        };
        let told: Told =
            serde_json::from_slice(&body).map_err(|error| refused(error.to_string()))?;
        self.node_mut(id).fault = Some(told.id);
        Ok(Struck::once(sent, over))
    }

    /// Heals what a node was asked for.
    async fn end_fault(&mut self, id: NodeId) -> Result<(), Error> {
        let Some(fault) = self.node_mut(id).fault.take() else { return Ok(()) };
        let answer = delete(self.node(id).http, &format!("/v1/faults/{fault}"), ASK_TIMEOUT).await;
        let why = match answer {
            Ok((200, _)) => return Ok(()),
            Ok((_, body)) => String::from_utf8_lossy(&body).into_owned(),
            Err(error) => error.to_string(),
        };
        Err(self.complaint(&format!("fault {fault} can not be healed: {why}"), Some(id)))
    }

    /// Asks a leader to hand over to whom it likes. Returns when it was asked, and when it said that
    /// another one leads.
    async fn transfer(&self, id: NodeId) -> Result<(Instant, Instant), Error> {
        let (node, sent) = (self.node(id), Instant::now());
        let refused = |why: String| {
            let what = format!("node {} was asked to hand over leadership: {why}", id.0);
            self.complaint(&what, Some(id))
        };
        match post(node.http, "/v1/cluster/transfer", TRANSFER_TIMEOUT).await {
            Ok((200, _)) => Ok((sent, Instant::now())),
            Ok((_, body)) => Err(refused(String::from_utf8_lossy(&body).into_owned())),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Kills every node, and starts all on their data. Returns the moment before the first process is started,
    /// twice: whatever is acknowledged from then on is the new cluster's.
    async fn start_cold(&mut self) -> Result<(Instant, Instant), Error> {
        let ids = self.ids();
        for &id in &ids {
            self.node(id).signal(Signal::KILL)?;
        }
        for &id in &ids {
            self.wait_until_ended(id).await?;
        }
        let at = Instant::now();
        for id in ids {
            self.start_node(id)?;
        }
        Ok((at, at))
    }

    /// Restarts every node, the leader last.
    async fn restart_in_turn(&mut self, leader: NodeId) -> Result<Struck, Error> {
        let mut turns = Vec::new();
        let followers = self.ids().into_iter().filter(|&id| id != leader);
        for id in followers.chain([leader]).collect::<Vec<_>>() {
            let sent = Instant::now();
            self.terminate(id).await?;
            let ended = Instant::now();
            self.start_node(id)?;
            self.wait_until_ready(id, READY_TIMEOUT).await?;
            turns.push(Turn { node: id, sent, ended, ready: Instant::now() });
        }
        let (first, last) = (turns[0], turns[turns.len() - 1]);
        Ok(Struck { began: first.sent, at: last.sent, over: last.ended, turns })
    }

    /// How long it may take until a node that came back lacks nothing.
    pub(crate) const CATCH_UP_TIMEOUT: Duration = READY_TIMEOUT;
}

/// What is told of a fault that was begun.
#[derive(Deserialize)]
struct Told {
    id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_flags_and_in_reports() {
        for fault in Fault::ALL {
            let name = serde_json::to_value(fault).expect("a name");
            assert_eq!(name, fault.name().replace('-', "_"));
        }
    }

    #[test]
    fn only_what_is_asked_of_nodes_needs_them_to_be_started_for_it() {
        assert_eq!(Fault::serve_flags(&[Fault::Kill, Fault::ColdStart]), Vec::<String>::new());
        assert_eq!(Fault::serve_flags(&[Fault::Kill, Fault::IsolateIn]), ["--enable-faults"]);
        let asked: Vec<Fault> =
            Fault::ALL.into_iter().filter(|fault| fault.is_asked_for()).collect();
        let isolation = [Fault::IsolateIn, Fault::IsolateOut, Fault::IsolateBoth];
        assert_eq!(asked, [&isolation[..], &[Fault::StallDisk]].concat());
    }
}
