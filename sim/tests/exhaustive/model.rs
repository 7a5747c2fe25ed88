//! The model as `stateright` sees it.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use consensus::{NodeId, Settings, Violation};
use stateright::{Model, Property};

use crate::action::{self, Action};
use crate::bounds::Bounds;
use crate::laws::{self, Laws, Seen};
use crate::links::Link;
use crate::oracle::Modelled;
use crate::state::{Node, State};
use crate::step::Step;

/// A cluster of voters within bounds.
#[derive(Clone, Debug)]
pub(crate) struct Exhaustive<C> {
    pub(crate) bounds: Bounds,
    /// Of every node; the number is put in for each.
    pub(crate) settings: Settings,
    /// What happens before the search begins. After each of these all frames arrive and all writes
    /// become durable.
    prologue: Vec<Action>,
    /// The corners that were reached, one bit each.
    reached: Arc<AtomicU32>,
    protocol: PhantomData<fn() -> C>,
}

impl<C: Modelled> Exhaustive<C> {
    /// Three nodes that are connected, and have nothing yet.
    pub(crate) fn new(bounds: Bounds) -> Self {
        // All waits are equally long, so that those that grow with failures do not tell states apart.
        let instant = Duration::from_millis(1);
        let settings = Settings {
            seed: 0,
            heartbeat_interval: 4 * instant,
            election_timeout: instant,
            election_jitter: Duration::ZERO,
            finalize_wait: instant,
            ..Settings::new(NodeId(1), (1..=3).map(NodeId))
        };
        Self {
            bounds,
            settings,
            prologue: Vec::new(),
            reached: Arc::default(),
            protocol: PhantomData,
        }
    }

    /// The same, where these things have happened before the search begins.
    pub(crate) fn after(self, prologue: impl Into<Vec<Action>>) -> Self {
        Self { prologue: prologue.into(), ..self }
    }

    /// Whether a corner is reached that was not before. What is often true would otherwise be noted
    /// again and again, which costs more than the search itself.
    pub(crate) fn first_time(&self, corner: u32, reached: impl Fn() -> bool) -> bool {
        let bit = 1 << corner;
        self.reached.load(Ordering::Relaxed) & bit == 0
            && reached()
            && self.reached.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Carries an action out, and tells what happens if somebody wants to know.
    pub(crate) fn perform(
        &self,
        state: &State<C>,
        action: &Action,
        told: bool,
    ) -> Option<(State<C>, Vec<String>)> {
        self.attempt(state.clone(), told, |step| step.act(action))
    }

    fn attempt(
        &self,
        state: State<C>,
        told: bool,
        work: impl FnOnce(&mut Step<'_, C>) -> Result<bool, Violation>,
    ) -> Option<(State<C>, Vec<String>)> {
        let mut step = Step::new(self, state, told);
        // A law that is asserted where it must hold is broken as any other.
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut step)));
        let outcome = outcome.unwrap_or_else(|panic| {
            Err(Violation::new("a law that the code asserts", message(panic.as_ref())))
        });
        match outcome {
            Ok(false) => return None,
            Ok(true) => {}
            Err(violation) => step.state.broken = Some(Arc::new(violation)),
        }
        Some(step.finish())
    }

    fn settled(&self, mut state: State<C>) -> State<C> {
        while let Some(action) = action::under_way(&state).first() {
            state = self.perform(&state, action, false).expect("what is under way has an end").0;
        }
        state
    }

    fn cluster(&self) -> State<C> {
        let ids: Vec<NodeId> = self.settings.voters.iter().copied().collect();
        let pairs = ids.iter().flat_map(|&a| ids.iter().map(move |&b| [a, b]));
        let links = pairs.filter(|[a, b]| a < b).map(|ends| Arc::new(Link::new(ends)));
        let empty = State {
            nodes: ids.iter().map(|_| Arc::new(Node::new())).collect(),
            links: links.collect(),
            left: self.bounds,
            laws: Arc::new(Laws::default()),
            broken: None,
            seen: Seen::default(),
        };
        let began = self.attempt(empty, false, |step| {
            for &id in &ids {
                step.start(id, Settings { id, ..self.settings.clone() })?;
            }
            for (place, &a) in ids.iter().enumerate() {
                for &b in &ids[place + 1..] {
                    step.connect(a, b)?;
                }
            }
            Ok(true)
        });
        began.expect("a cluster that starts is a change").0
    }
}

impl<C: Modelled> Model for Exhaustive<C> {
    type State = State<C>;
    type Action = Action;

    fn init_states(&self) -> Vec<State<C>> {
        // The prologue is not charged.
        let left = Bounds { suspicions: u8::MAX, elections: u8::MAX, ..self.bounds };
        let begin = State { left, ..self.cluster() };
        let state = self.prologue.iter().fold(self.settled(begin), |state, action| {
            self.settled(self.perform(&state, action, false).expect("the prologue goes on").0)
        });
        assert!(state.broken.is_none(), "the prologue breaks a law: {:?}", state.broken);
        vec![State { left: self.bounds, ..state }]
    }

    fn actions(&self, state: &State<C>, actions: &mut Vec<Action>) {
        actions.extend(action::enabled(state, self.bounds.terms));
    }

    fn next_state(&self, state: &State<C>, action: Action) -> Option<State<C>> {
        self.perform(state, &action, false).map(|(state, _)| state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        laws::properties()
    }

    fn within_boundary(&self, state: &State<C>) -> bool {
        state.views().iter().all(|view| view.promised.0 <= self.bounds.terms)
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
