//! The search, its figures, and the story of a broken law.

use std::fmt::Write;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::action::{self, Action};
use crate::model::Exhaustive;
use crate::oracle::Modelled;
use crate::state::State;

/// How many threads search.
const THREADS: usize = 2;

/// No search of small bounds takes nearly as long.
pub(crate) const LONGEST: Duration = Duration::from_secs(900);

/// What a search found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// The first broken law, as a story.
    pub(crate) broken: Option<Broken>,
    /// What was to be reached and was not.
    pub(crate) missed: Vec<&'static str>,
    /// Whether there was no time to look at everything.
    pub(crate) cut_short: bool,
}

/// How a law was broken.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) law: &'static str,
    pub(crate) story: String,
}

/// Searches everything within the small bounds, or, when `DUORUM_EXHAUSTIVE_SECONDS` says for how long,
/// within the large ones, as far as that goes. Prints how much it was, and wants all laws to hold and, of
/// a search that came to its end, all corners to be reached but those that are out of reach.
pub(crate) fn holds<C: Modelled>(
    name: &str,
    small: Exhaustive<C>,
    large: Exhaustive<C>,
    out_of_reach: &[&str],
) {
    let (model, longest) = match more_time() {
        None => (small, LONGEST),
        Some(longest) => (large, longest),
    };
    let findings = search(name, model, longest);
    if let Some(broken) = findings.broken {
        panic!("{}", broken.story);
    }
    if findings.cut_short {
        assert!(longest != LONGEST, "{name}: the small bounds are too large for this machine");
        return;
    }
    let mut missed = findings.missed;
    missed.retain(|corner| !out_of_reach.contains(corner));
    assert!(missed.is_empty(), "{name} never reaches: {missed:?}");
}

/// The time for each search that `DUORUM_EXHAUSTIVE_SECONDS` gives, if it is set.
fn more_time() -> Option<Duration> {
    let value = std::env::var("DUORUM_EXHAUSTIVE_SECONDS").ok()?;
    let seconds = value.parse().expect("DUORUM_EXHAUSTIVE_SECONDS is a number of seconds");
    Some(Duration::from_secs(seconds))
}

/// Searches everything within the bounds, for this long at most, or until a law is broken.
pub(crate) fn search<C: Modelled>(name: &str, model: Exhaustive<C>, longest: Duration) -> Findings {
    let begin = Instant::now();
    let teller = model.clone();
    let checker = model
        .checker()
        .threads(THREADS)
        .timeout(longest)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let elapsed = begin.elapsed();
    let mut discoveries = checker.discoveries();
    let mut missed = Vec::new();
    let mut broken = None;
    for property in teller.properties() {
        let found = discoveries.remove(property.name).map(stateright::Path::into_actions);
        match (property.expectation, found) {
            (Expectation::Sometimes, None) => missed.push(property.name),
            (Expectation::Always, Some(path)) if broken.is_none() => {
                broken = Some(tell(&teller, &path, property.name));
            }
            _ => {}
        }
    }
    let cut_short = elapsed >= longest;
    eprintln!(
        "{name}: {} states, {} steps, depth {}, {:.1} s{}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        elapsed.as_secs_f64(),
        if broken.is_some() {
            ", a law is broken"
        } else if cut_short {
            ", cut short"
        } else {
            ", all"
        },
    );
    Findings { broken, missed, cut_short }
}

/// The state that some actions lead to, leaving out those that are not possible, and these actions.
fn follow<C: Modelled>(
    model: &Exhaustive<C>,
    path: &[Action],
    mut end: impl FnMut(&State<C>, Option<Vec<String>>, Option<&Action>) -> bool,
) -> Vec<Action> {
    let mut state = model.init_states().remove(0);
    let mut taken = Vec::new();
    for action in path {
        if !action::enabled(&state, model.bounds.terms).contains(action) {
            continue;
        }
        let Some((next, story)) = model.perform(&state, action, true) else { continue };
        if !model.within_boundary(&next) {
            continue;
        }
        state = next;
        taken.push(action.clone());
        if end(&state, Some(story), Some(action)) {
            break;
        }
    }
    taken
}

/// The law that a state breaks, if it breaks one.
fn broken_law<C: Modelled>(model: &Exhaustive<C>, state: &State<C>) -> Option<&'static str> {
    if let Some(violation) = &state.broken {
        return Some(violation.law);
    }
    let properties = model.properties().into_iter();
    let mut always = properties.filter(|property| property.expectation == Expectation::Always);
    always.find(|property| !(property.condition)(model, state)).map(|property| property.name)
}

/// Leaves out of a path whatever the same law is broken without.
fn shorten<C: Modelled>(
    model: &Exhaustive<C>,
    path: &[Action],
) -> (Vec<Action>, Option<&'static str>) {
    let attempt = |path: &[Action]| {
        let mut law = None;
        let taken = follow(model, path, |state, _, _| {
            law = broken_law(model, state);
            law.is_some()
        });
        (taken, law)
    };
    let (mut path, law) = attempt(path);
    let mut shorter = true;
    while shorter {
        shorter = false;
        let mut place = path.len();
        while place > 0 {
            place = (place - 1).min(path.len().saturating_sub(1));
            let mut less = path.clone();
            less.remove(place);
            let (taken, same) = attempt(&less);
            if same == law && taken.len() < path.len() {
                (path, shorter) = (taken, true);
            }
        }
    }
    (path, law)
}

/// Tells the way to a broken law.
fn tell<C: Modelled>(model: &Exhaustive<C>, path: &[Action], name: &'static str) -> Broken {
    let (path, law) = shorten(model, path);
    let law = law.unwrap_or(name);
    let mut story = format!("{}: broken law: {law}, by these steps:\n", C::PROTOCOL);
    let mut number = 0;
    follow(model, &path, |state, lines, action| {
        number += 1;
        let action = action.map(ToString::to_string).unwrap_or_default();
        writeln!(story, "{number:3}. {action}").expect("a string takes all");
        for line in lines.unwrap_or_default() {
            writeln!(story, "       {line}").expect("a string takes all");
        }
        if let Some(violation) = &state.broken {
            writeln!(story, "     {violation}").expect("a string takes all");
        }
        false
    });
    Broken { law, story }
}
