//! Faults on purpose: what goes wrong at this node because somebody asked for it.
//!
//! Each fault is carried out by one node, in the very layers that the node runs on: its connections
//! (`transport`), its log's disk ([`storage::RealDisk`]), its loop and its clock
//! (`driver`). They are in memory only, so that a node that starts again has none.
//!
//! What a link may do to messages is what TCP may do: within a connection they arrive once and in
//! order, or the connection breaks. The protocols rely on it, and faults keep to it.
//!
//! Where nothing is wrong it costs a relaxed load of one word: for each chunk that is sent, each
//! message that is received, each sync of the log, and each round of the loop.

mod fault;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod lab;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use consensus::{NodeId, Random};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::SyncFaults;
use tokio::sync::watch;

pub use fault::{Fault, FaultKind, FaultRequest};
pub(crate) use lab::{Align, LabInput};
pub use lab::{CrashOrder, FaultSettings, LabError, LabReply, LabWord, NodeFaults};

/// The faults that a node has at a time.
pub const FAULTS_MAX: usize = 64;

/// The kinds that happen to messages.
const LINKS: [FaultKind; 5] = [
    FaultKind::Drop,
    FaultKind::Delay,
    FaultKind::Duplicate,
    FaultKind::Reorder,
    FaultKind::Partition,
];

/// A fault as it is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToldFault {
    /// Its name: the node that carries it out, and its number there.
    pub id: String,
    /// What it is.
    #[serde(flatten)]
    pub fault: Fault,
    /// What it is, in words.
    pub what: String,
    /// For how long it has been there, in milliseconds.
    pub active_ms: u64,
    /// For how long it will be, in milliseconds; `None` until it is healed.
    pub remaining_ms: Option<u64>,
    /// How often it struck: messages, syncs.
    pub struck: u64,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// It goes its way.
    Pass,
    /// It goes its way so much later.
    Late(Duration),
    /// It is lost with its connection; the name of the fault.
    Lose(String),
    /// It arrives, and once more behind the end of its connection.
    Again(String),
    /// It arrives behind the end of its connection only.
    Overtaken(String),
}

#[derive(Debug)]
struct Active {
    fault: Fault,
    began: Instant,
    until: Option<Instant>,
    struck: u64,
}

#[derive(Debug)]
struct State {
    /// By number, so in the order in which they began.
    faults: BTreeMap<u64, Active>,
    last: u64,
    random: Random,
}

/// The faults of one node.
#[derive(Debug)]
pub(crate) struct Faults {
    node: NodeId,
    /// A bit for each kind that there is one of.
    kinds: AtomicU32,
    /// How far the wall clock is off.
    skew_ms: AtomicI64,
    /// Whether the node is as good as killed.
    crashed: AtomicBool,
    state: Mutex<State>,
    /// Counts changes, for those that wait for one.
    changes: watch::Sender<u64>,
    /// The same for threads.
    changed: Condvar,
}

impl Faults {
    pub(crate) fn new(node: NodeId, seed: u64) -> Self {
        let random = Random::new(seed);
        Self {
            node,
            kinds: AtomicU32::new(0),
            skew_ms: AtomicI64::new(0),
            crashed: AtomicBool::new(false),
            state: Mutex::new(State { faults: BTreeMap::new(), last: 0, random }),
            changes: watch::Sender::new(0),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Whether there is a fault of one of these kinds.
    fn any(&self, kinds: &[FaultKind]) -> bool {
        let wanted = kinds.iter().fold(0, |bits, kind| bits | kind.bit());
        self.kinds.load(Ordering::Relaxed) & wanted != 0
    }

    /// Begins a fault.
    ///
    /// # Errors
    /// When there are too many already.
    pub(crate) fn begin(&self, fault: Fault) -> Result<ToldFault, String> {
        let mut state = self.state();
        if state.faults.len() == FAULTS_MAX {
            return Err(format!(
                "node {} has {FAULTS_MAX} faults already, as many as it takes; heal one with \
                 DELETE /v1/faults/ID, or all with DELETE /v1/faults",
                self.node.0
            ));
        }
        let began = Instant::now();
        let until = fault.lasts().and_then(|lasts| began.checked_add(lasts));
        state.last += 1;
        let number = state.last;
        state.faults.insert(number, Active { fault, began, until, struck: 0 });
        let told = self.told(number, &state.faults[&number]);
        self.changed(state);
        Ok(told)
    }

    /// Ends a fault. Returns what it was, if it was there.
    pub(crate) fn heal(&self, number: u64) -> Option<ToldFault> {
        let mut state = self.state();
        let active = state.faults.remove(&number)?;
        let told = self.told(number, &active);
        self.changed(state);
        Some(told)
    }

    /// Ends all faults. Returns what they were.
    pub(crate) fn heal_all(&self) -> Vec<ToldFault> {
        let mut state = self.state();
        let healed = std::mem::take(&mut state.faults);
        let told = healed.iter().map(|(&number, active)| self.told(number, active)).collect();
        self.changed(state);
        told
    }

    /// All faults, the oldest first.
    pub(crate) fn list(&self) -> Vec<ToldFault> {
        let state = self.state();
        state.faults.iter().map(|(&number, active)| self.told(number, active)).collect()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        if self.kinds.load(Ordering::Relaxed) == 0 { 0 } else { self.state().faults.len() }
    }

    fn told(&self, number: u64, active: &Active) -> ToldFault {
        let now = Instant::now();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        ToldFault {
            id: format!("{}-{number}", self.node.0),
            what: active.fault.to_string(),
            fault: active.fault.clone(),
            active_ms: millis(now.saturating_duration_since(active.began)),
            remaining_ms: active.until.map(|until| millis(until.saturating_duration_since(now))),
            struck: active.struck,
        }
    }

    /// Works out what the hot paths look at, and wakes who waits.
    fn changed(&self, state: MutexGuard<'_, State>) {
        let all = || state.faults.values().map(|active| &active.fault);
        let kinds = all().fold(0, |bits, fault| bits | fault.kind.bit());
        let skews = all().filter(|fault| fault.kind == FaultKind::ClockSkew);
        let skew = skews.filter_map(|fault| fault.ms).fold(0, i64::saturating_add);
        self.skew_ms.store(skew, Ordering::Relaxed);
        self.kinds.store(kinds, Ordering::Relaxed);
        drop(state);
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        self.changed.notify_all();
    }

    /// Hears of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// What happens to messages.
impl Faults {
    /// Whether anything happens to any message.
    pub(crate) fn touch_links(&self) -> bool {
        self.any(&LINKS)
    }

    /// What becomes of a message.
    pub(crate) fn strike(&self, from: NodeId, to: NodeId) -> Strike {
        let mut state = self.state();
        let State { faults, random, .. } = &mut *state;
        let mut late = Duration::ZERO;
        for (number, active) in faults.iter_mut() {
            let Active { fault, struck, .. } = active;
            if !fault.concerns(from, to) || !draw(random, fault.probability) {
                continue;
            }
            *struck += 1;
            let name = || format!("fault {}-{number}", self.node.0);
            match fault.kind {
                FaultKind::Drop => return Strike::Lose(name()),
                FaultKind::Duplicate => return Strike::Again(name()),
                FaultKind::Reorder => return Strike::Overtaken(name()),
                FaultKind::Delay => {
                    let ms = fault.ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default();
                    late += Duration::from_millis(ms);
                }
                // What it holds up is counted, and held by whoever asks whether the link is cut.
                _ => {}
            }
        }
        if late.is_zero() { Strike::Pass } else { Strike::Late(late) }
    }

    /// Whether nothing arrives.
    pub(crate) fn cuts(&self, from: NodeId, to: NodeId) -> bool {
        self.cutting(|fault| fault.concerns(from, to)).is_some()
    }

    /// Whether two nodes can not connect, because nothing arrives one way or the other; the name of
    /// the fault.
    pub(crate) fn separates(&self, one: NodeId, other: NodeId) -> Option<String> {
        self.cutting(|fault| fault.concerns(one, other) || fault.concerns(other, one))
    }

    fn cutting(&self, concerns: impl Fn(&Fault) -> bool) -> Option<String> {
        if !self.any(&[FaultKind::Partition]) {
            return None;
        }
        let state = self.state();
        let mut cuts = state.faults.iter().filter(|(_, active)| {
            active.fault.kind == FaultKind::Partition && concerns(&active.fault)
        });
        cuts.next().map(|(number, _)| format!("fault {}-{number}", self.node.0))
    }
}

/// True so often.
fn draw(random: &mut Random, probability: f64) -> bool {
    // 53 bits are what a float between 0 and 1 has.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let drawn = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    drawn < probability
}

/// What happens to the node.
impl Faults {
    /// Whether the loop stands still.
    pub(crate) fn pauses(&self) -> bool {
        self.any(&[FaultKind::Pause])
    }

    /// Returns when the loop may go on.
    pub(crate) async fn pause_over(&self) {
        let mut changes = self.changes();
        while self.pauses() && !self.has_crashed() {
            // This owns the sender, so that it is never gone.
            let _ = changes.changed().await;
        }
    }

    /// How far the wall clock is off.
    pub(crate) fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }

    /// The node is as good as killed: nothing more is written, sent or closed.
    pub(crate) fn crash(&self) {
        self.crashed.store(true, Ordering::Relaxed);
        self.changed(self.state());
    }

    /// Whether it is.
    pub(crate) fn has_crashed(&self) -> bool {
        self.crashed.load(Ordering::Relaxed)
    }
}

impl SyncFaults for Faults {
    fn before_sync(&self) -> io::Result<()> {
        if !self.any(&[FaultKind::SlowDisk, FaultKind::FailDisk]) {
            return Ok(());
        }
        let mut state = self.state();
        let began = Instant::now();
        let failing =
            state.faults.iter_mut().find(|(_, active)| active.fault.kind == FaultKind::FailDisk);
        if let Some((number, active)) = failing {
            active.struck += 1;
            return Err(io::Error::other(format!(
                "fault {}-{number} makes this sync fail",
                self.node.0
            )));
        }
        // Which ones hold this sync up is drawn once; one that is healed meanwhile holds it no longer.
        let State { faults, random, .. } = &mut *state;
        let mut holding = Vec::new();
        for (&number, active) in faults.iter_mut() {
            let Active { fault, struck, .. } = active;
            if fault.kind == FaultKind::SlowDisk && draw(random, fault.probability) {
                *struck += 1;
                let ms = fault.ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default();
                holding.push((number, Duration::from_millis(ms)));
            }
        }
        loop {
            let still = holding.iter().filter(|(number, _)| state.faults.contains_key(number));
            let wanted: Duration = still.map(|&(_, time)| time).sum();
            let left = wanted.saturating_sub(began.elapsed());
            if left.is_zero() || self.has_crashed() {
                return Ok(());
            }
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.expect("no holder of this lock panics");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn faults(jsons: &[&str]) -> Faults {
        let faults = Faults::new(NodeId(1), 7);
        for json in jsons {
            faults.begin(fault(json)).expect("there is room");
        }
        faults
    }

    fn fault(json: &str) -> Fault {
        let members = (1..=3).map(|id| (NodeId(id), String::new())).collect();
        let request: FaultRequest = serde_json::from_str(json).expect(json);
        request.check(NodeId(1), &members).expect(json)
    }

    const PAIR: (NodeId, NodeId) = (NodeId(1), NodeId(2));

    #[test]
    fn nothing_strikes_before_it_began_nor_after_it_was_healed() {
        let faults = faults(&[]);
        assert!(!faults.touch_links() && faults.strike(PAIR.0, PAIR.1) == Strike::Pass);
        let told = faults.begin(fault(r#"{"kind":"drop","to":2,"from":1}"#)).expect("room");
        assert_eq!((&told.id[..], told.struck, told.remaining_ms), ("1-1", 0, None));
        assert_eq!(faults.strike(PAIR.0, PAIR.1), Strike::Lose("fault 1-1".to_owned()));
        assert_eq!(faults.strike(PAIR.1, PAIR.0), Strike::Pass, "it is one-way");
        assert_eq!(faults.list()[0].struck, 1);
        assert_eq!(faults.heal(1).expect("it was there").struck, 1);
        assert_eq!(faults.heal(1), None);
        assert!(!faults.touch_links() && faults.count() == 0);
        let next = faults.begin(fault(r#"{"kind":"drop"}"#)).expect("room");
        assert_eq!(next.id, "1-2", "a name is used once");
    }

    #[test]
    fn delays_add_up_and_a_partition_cuts() {
        let faults = faults(&[
            r#"{"kind":"delay","ms":20}"#,
            r#"{"kind":"delay","ms":5,"to":2,"from":1}"#,
            r#"{"kind":"partition","from":3,"to":1}"#,
        ]);
        assert_eq!(faults.strike(PAIR.0, PAIR.1), Strike::Late(Duration::from_millis(25)));
        assert_eq!(faults.strike(NodeId(1), NodeId(3)), Strike::Late(Duration::from_millis(20)));
        assert!(faults.cuts(NodeId(3), NodeId(1)) && !faults.cuts(NodeId(1), NodeId(3)));
        assert_eq!(faults.separates(NodeId(1), NodeId(3)), Some("fault 1-3".to_owned()));
        assert_eq!(faults.separates(NodeId(1), NodeId(2)), None);
    }

    #[test]
    fn a_probability_is_kept() {
        let faults = faults(&[r#"{"kind":"drop","probability":0.25}"#]);
        let lost = (0..10_000).filter(|_| faults.strike(PAIR.0, PAIR.1) != Strike::Pass).count();
        assert!((2_200..2_800).contains(&lost), "{lost}");
        assert_eq!(faults.list()[0].struck, lost as u64);
    }

    #[test]
    fn there_is_a_bound_on_how_many() {
        let faults = faults(&[r#"{"kind":"pause"}"#; FAULTS_MAX]);
        let problem = faults.begin(fault(r#"{"kind":"pause"}"#)).expect_err("full");
        assert!(problem.contains("64 faults already"), "{problem}");
        assert_eq!(faults.heal_all().len(), FAULTS_MAX);
        assert!(faults.begin(fault(r#"{"kind":"pause"}"#)).is_ok() && faults.pauses());
    }

    #[test]
    fn clocks_that_are_off_add_up() {
        let faults =
            faults(&[r#"{"kind":"clock_skew","ms":-500}"#, r#"{"kind":"clock_skew","ms":200}"#]);
        assert_eq!(faults.skew_ms(), -300);
        faults.heal(1);
        assert_eq!(faults.skew_ms(), 200);
        faults.heal_all();
        assert_eq!(faults.skew_ms(), 0);
    }

    #[test]
    fn a_sync_fails_or_waits_until_the_fault_is_healed() {
        let failing = faults(&[r#"{"kind":"fail_disk"}"#]);
        let error = failing.before_sync().expect_err("it fails");
        assert!(error.to_string().contains("fault 1-1 makes this sync fail"), "{error}");
        let slow = Arc::new(faults(&[r#"{"kind":"slow_disk","ms":60000}"#]));
        let began = Instant::now();
        let syncing = std::thread::spawn({
            let slow = Arc::clone(&slow);
            move || slow.before_sync()
        });
        while slow.list()[0].struck == 0 {
            std::thread::yield_now();
        }
        slow.heal(1);
        syncing.join().expect("no panic").expect("it only waited");
        assert!(began.elapsed() < Duration::from_secs(30), "the healed fault held it up");
        slow.begin(fault(r#"{"kind":"slow_disk","ms":30}"#)).expect("room");
        let began = Instant::now();
        slow.before_sync().expect("it only waits");
        assert!(began.elapsed() >= Duration::from_millis(30));
    }
}
