//! Events out of the state machine.

use std::sync::Arc;

use kvcore::{Compacted, EventLimits, Events, EventsPlan, Revision, WatchFilter};

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::read::{self, MemoryOnly};
use crate::http::v3::error::Refused;

/// How much one pull may give: small, because ten thousand slow streams have ten thousand pulls in
/// memory.
const PULL: EventLimits = EventLimits { revisions_max: 1024, events_max: 256, bytes_max: 64 << 10 };

/// Who is further behind than this reads rows that are probably not in memory; it pulls on a thread where
/// waiting for the disk holds up nobody.
const BEHIND_MAX: u64 = 256;

/// What a pull gave.
pub(super) enum Pulled {
    /// Events, and where to go on.
    Events(Events),
    /// The revision is forgotten.
    Compacted(Compacted),
}

/// Pulls events from a revision on, but none from `before` on.
pub(super) async fn pull(
    app: &Arc<App>,
    filter: WatchFilter,
    from: Revision,
    before: Option<Revision>,
) -> Result<Pulled, Refused> {
    let pulled = match at_once(app, &filter, from) {
        Some(pulled) => pulled,
        None => app.off_thread(move |app| pull_stored(app, &filter, from)).await??,
    };
    Ok(match pulled {
        Pulled::Events(events) => Pulled::Events(up_to(events, before)),
        compacted @ Pulled::Compacted(_) => compacted,
    })
}

/// Forgets what is beyond a revision.
fn up_to(mut events: Events, before: Option<Revision>) -> Events {
    if let Some(before) = before.filter(|before| *before < events.next) {
        events.revisions.retain(|events| events.revision < before);
        events.next = before;
    }
    events
}

/// `None` when some rows are not in memory, or probably not.
fn at_once(app: &App, filter: &WatchFilter, from: Revision) -> Option<Pulled> {
    if app.revision().0.saturating_sub(from.0) > BEHIND_MAX {
        return None;
    }
    match plan(app, filter, from) {
        Ok(plan) => plan.fetch(&MemoryOnly).ok().map(Pulled::Events),
        Err(compacted) => Some(Pulled::Compacted(compacted)),
    }
}

fn pull_stored(app: &App, filter: &WatchFilter, from: Revision) -> Result<Pulled, ApiError> {
    // The store after the plan, each time: an installed snapshot brings one that has what was planned.
    read::persist(|| {
        Ok(match plan(app, filter, from) {
            Ok(plan) => plan.fetch(&*app.handle.store()).map(Pulled::Events),
            Err(compacted) => Ok(Pulled::Compacted(compacted)),
        })
    })
}

fn plan(app: &App, filter: &WatchFilter, from: Revision) -> Result<EventsPlan, Compacted> {
    let machine = app.handle.machine().read().expect("no holder of the machine panics");
    machine.events(filter, from, PULL)
}
