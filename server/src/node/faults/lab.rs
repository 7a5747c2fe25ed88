//! What a node is asked about its faults and timers, by its own clients or by other nodes on theirs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use consensus::{Event, NodeId, Time};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::{Fault, FaultKind, ToldFault};
use crate::node::shared::{ClientInput, Shared};
use crate::node::transport::ask_lab;

/// How long after the answer a node is killed, so that whoever asked hears it.
const CRASH_DELAY: Duration = Duration::from_millis(100);
/// How far the moment at which aligned timers fire first may be away: further only by clocks that
/// differ. No election timer fires until then.
const ALIGNED_AWAY_MS_MAX: u64 = 2_000;
/// When a node that was killed starts again, where somebody sees to that and nothing else was said.
const RESTART_AFTER: Duration = Duration::from_secs(5);

/// Whether and how a node takes faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultSettings {
    /// Whether it takes any.
    pub enabled: bool,
    /// Whether the node is one of several in its process, and whoever started it ends it when it is to
    /// crash, and starts it again. Otherwise the process is killed.
    pub supervised: bool,
}

/// A node is to end as if it were killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashOrder {
    /// The fault that wants it.
    pub fault: String,
    /// When to start it again.
    pub restart_after: Duration,
}

/// What a node is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabWord {
    /// Begin a fault.
    Begin(Fault),
    /// What faults there are.
    List,
    /// End one.
    Heal(u64),
    /// End all.
    HealAll,
    /// Let the election timers fire at this moment, by the host's wall clock in milliseconds, and
    /// later on only at moments that all nodes have in common.
    Align(u64),
    /// Let them fire when they are due.
    Spread,
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabReply {
    /// The fault has begun.
    Begun(ToldFault),
    /// This is there.
    State(NodeFaults),
    /// These are over.
    Healed(Vec<ToldFault>),
    /// It is done.
    Done,
    /// It is not, and nothing has happened.
    Refused(LabError),
}

/// A node's faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeFaults {
    /// The faults, the oldest first.
    pub faults: Vec<ToldFault>,
    /// Whether its election timers are aligned with those of the others.
    pub aligned: bool,
}

/// Why a node does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabError {
    /// It takes no faults.
    Disabled,
    /// It has too many.
    TooMany(String),
    /// There is none of that number.
    NotFound,
    /// It can not be done at this node.
    Impossible(String),
}

/// What the loop hears of faults and timers.
#[derive(Debug)]
pub(crate) enum LabInput {
    /// Something that belongs into the trace.
    Tell(Event),
    /// The election timer fires now. Whoever asked hears when it has.
    Campaign(oneshot::Sender<()>),
    /// Election timers fire together with those of the others, or (again) when they are due.
    Align(Option<Align>),
}

/// When election timers fire: at a first moment, and later only at whole steps after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Align {
    pub(crate) first: Time,
    pub(crate) step: Duration,
}

impl Align {
    /// When a timer fires that is due then: never early, and late by less than a step.
    pub(crate) fn fires(&self, due: Time) -> Time {
        if due <= self.first {
            return self.first;
        }
        let step = u64::try_from(self.step.as_micros()).unwrap_or(u64::MAX).max(1);
        let steps = (due.0 - self.first.0).div_ceil(step);
        Time(self.first.0.saturating_add(steps.saturating_mul(step)))
    }
}

impl Shared {
    /// Asks a node, this one or another.
    ///
    /// # Errors
    /// Why it did not answer.
    pub(crate) async fn lab_at(
        self: &Arc<Self>,
        node: NodeId,
        word: LabWord,
        timeout: Duration,
    ) -> Result<LabReply, String> {
        if node == self.facts.id {
            return Ok(self.lab(word));
        }
        ask_lab(self, node, &word, timeout).await
    }

    /// Does what was asked of this node.
    pub(crate) fn lab(self: &Arc<Self>, word: LabWord) -> LabReply {
        if !self.fault_settings.enabled {
            return LabReply::Refused(LabError::Disabled);
        }
        match word {
            LabWord::Begin(fault) => {
                self.begin_fault(fault).map_or_else(LabReply::Refused, LabReply::Begun)
            }
            LabWord::List => LabReply::State(NodeFaults {
                faults: self.faults.list(),
                aligned: self.aligned.load(Ordering::Relaxed),
            }),
            LabWord::Heal(number) => match self.heal_fault(number, "healed") {
                Some(healed) => LabReply::Healed(vec![healed]),
                None => LabReply::Refused(LabError::NotFound),
            },
            LabWord::HealAll => LabReply::Healed(self.heal_faults("healed")),
            LabWord::Align(at_ms) => {
                let now = self.clock.now();
                let away_ms = at_ms.abs_diff(now.wall.0);
                if away_ms > ALIGNED_AWAY_MS_MAX {
                    return LabReply::Refused(LabError::Impossible(format!(
                        "by the clock of this node's host the moment is {away_ms} ms away: timers \
                         are aligned by wall clocks, which must agree"
                    )));
                }
                let first = now.time + Duration::from_millis(at_ms.saturating_sub(now.wall.0));
                self.align(Some(Align { first, step: self.timer_step }))
            }
            LabWord::Spread => self.align(None),
        }
    }

    fn begin_fault(self: &Arc<Self>, mut fault: Fault) -> Result<ToldFault, LabError> {
        let id = self.facts.id.0;
        if fault.node != id {
            let problem = format!("node {} carries it out, and this is node {id}", fault.node);
            return Err(LabError::Impossible(problem));
        }
        // Another node may be of another version, or none.
        fault.check_again(&self.facts.members).map_err(LabError::Impossible)?;
        let crashes = fault.kind == FaultKind::Crash;
        if crashes && self.fault_settings.supervised {
            let millis = u64::try_from(RESTART_AFTER.as_millis()).unwrap_or(u64::MAX);
            fault.lasts_ms.get_or_insert(millis);
        } else if crashes && fault.lasts_ms.is_some() {
            return Err(LabError::Impossible(format!(
                "`for` is not possible for a crash of node {id}: its process is killed, and whoever \
                 started it starts it again. `duorum dev` does so by itself"
            )));
        }
        let told = self.faults.begin(fault).map_err(LabError::TooMany)?;
        // Looked at after it began: whichever comes last of this and of the end of all faults when the
        // node stops, it has none then.
        if self.stopping.load(Ordering::Relaxed) {
            self.faults.heal(number_of(&told));
            return Err(LabError::Impossible(format!("node {id} is stopping")));
        }
        let (id, what) = (&told.id, &told.what);
        warn!("fault {id} begins: {what}");
        self.tell(Event::FaultBegan { fault: format!("fault {id} begins: {what}") });
        let number = number_of(&told);
        let (weak, lasts) = (Arc::downgrade(self), told.fault.lasts());
        if crashes {
            tokio::spawn(async move {
                tokio::time::sleep(CRASH_DELAY).await;
                if let Some(shared) = weak.upgrade() {
                    shared.crash(number);
                }
            });
        } else if let Some(lasts) = lasts {
            tokio::spawn(async move {
                tokio::time::sleep(lasts).await;
                if let Some(shared) = weak.upgrade() {
                    shared.heal_fault(number, "over");
                }
            });
        }
        Ok(told)
    }

    fn heal_fault(&self, number: u64, how: &str) -> Option<ToldFault> {
        let healed = self.faults.heal(number)?;
        self.tell_healed(&healed, how);
        Some(healed)
    }

    /// Ends all faults of this node, and tells how.
    pub(crate) fn heal_faults(&self, how: &str) -> Vec<ToldFault> {
        let healed = self.faults.heal_all();
        for fault in &healed {
            self.tell_healed(fault, how);
        }
        healed
    }

    fn tell_healed(&self, healed: &ToldFault, how: &str) {
        let ToldFault { id, struck, what, .. } = healed;
        let times = match struck {
            0 => String::new(),
            1 => ", it struck once".to_owned(),
            struck => format!(", it struck {struck} times"),
        };
        warn!("fault {id} is {how}{times}: {what}");
        self.tell(Event::FaultEnded { fault: format!("fault {id} is {how}{times}: {what}") });
    }

    /// Ends this node as if it were killed, unless that fault was healed in time.
    fn crash(&self, number: u64) {
        let Some(told) = self.faults.list().into_iter().find(|told| number_of(told) == number)
        else {
            return;
        };
        if self.fault_settings.supervised {
            let restart_after = told.fault.lasts().unwrap_or(RESTART_AFTER);
            let order = CrashOrder { fault: format!("fault {}", told.id), restart_after };
            self.crash_orders.send_replace(Some(order));
            return;
        }
        if let Err(cause) = kill_process(getpid(), Signal::KILL) {
            error!("fault {} can not kill this process: {cause}", told.id);
        }
    }

    /// Lets election timers fire together with those of the others, or not any more.
    fn align(&self, align: Option<Align>) -> LabReply {
        if !self.loop_hears(LabInput::Align(align)) {
            let problem = "the node's loop has too much to do to hear of it, or has ended";
            return LabReply::Refused(LabError::Impossible(problem.to_owned()));
        }
        self.aligned.store(align.is_some(), Ordering::Relaxed);
        warn!("election timers are {}", if align.is_some() { "aligned" } else { "spread" });
        LabReply::Done
    }

    /// Lets this node start an election now. Whoever waits hears when it has; `None` when the loop
    /// does not hear of it.
    pub(crate) fn campaign(&self) -> Option<oneshot::Receiver<()>> {
        warn!("is told to start an election");
        let (started, begun) = oneshot::channel();
        self.loop_hears(LabInput::Campaign(started)).then_some(begun)
    }

    fn tell(&self, event: Event) {
        self.loop_hears(LabInput::Tell(event));
    }

    fn loop_hears(&self, input: LabInput) -> bool {
        // A loop that is flooded or gone tells nobody.
        (self.clients)(ClientInput::Lab(input)).is_ok()
    }
}

/// The number in a fault's name.
fn number_of(told: &ToldFault) -> u64 {
    let number = told.id.split_once('-').and_then(|(_, number)| number.parse().ok());
    number.expect("a fault's name ends with its number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_timers_fire_at_whole_steps_and_never_early() {
        let align = Align { first: Time(1_000), step: Duration::from_micros(100) };
        for (due, fires) in
            [(0, 1_000), (1_000, 1_000), (1_001, 1_100), (1_100, 1_100), (1_250, 1_300)]
        {
            assert_eq!(align.fires(Time(due)), Time(fires), "due at {due}");
        }
        let never = Align { first: Time(0), step: Duration::ZERO };
        assert_eq!(never.fires(Time(7)), Time(7));
    }

    #[test]
    fn every_word_survives_the_wire() {
        let fault = Fault {
            kind: FaultKind::Delay,
            node: 1,
            from: Some(1),
            to: None,
            both: true,
            // One that a parser gets wrong in its last bit unless it takes pains.
            probability: 0.123_456_789_012_345_61,
            ms: Some(5),
            lasts_ms: Some(100),
        };
        for word in [
            LabWord::Begin(fault.clone()),
            LabWord::List,
            LabWord::Heal(7),
            LabWord::HealAll,
            LabWord::Align(u64::MAX),
            LabWord::Spread,
        ] {
            let json = serde_json::to_vec(&word).expect("JSON");
            assert_eq!(serde_json::from_slice::<LabWord>(&json).expect("a word"), word);
        }
        let told = ToldFault {
            id: "1-7".to_owned(),
            what: fault.to_string(),
            fault,
            active_ms: 3,
            remaining_ms: None,
            struck: 9,
        };
        assert_eq!(number_of(&told), 7);
        for reply in [
            LabReply::Begun(told.clone()),
            LabReply::State(NodeFaults { faults: vec![told.clone()], aligned: true }),
            LabReply::Healed(vec![told]),
            LabReply::Done,
            LabReply::Refused(LabError::Disabled),
            LabReply::Refused(LabError::TooMany("so".to_owned())),
        ] {
            let json = serde_json::to_vec(&reply).expect("JSON");
            assert_eq!(serde_json::from_slice::<LabReply>(&json).expect("a reply"), reply);
        }
    }
}
