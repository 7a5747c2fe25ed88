//! What the nodes of one process log: one line an event, each saying first which node it is.
//!
//! ```text
//! 06:44:05.123  raft 2  suspects leader n1: its connection broke
//! ```
//!
//! A node is told by the span that all its threads are in.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{Event, Level, Metadata, Span, Subscriber};
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::config::NodeName;
use crate::config::{ConfigError, log_filter};

/// How much of what the nodes log is shown just now.
#[derive(Clone, Debug, Default)]
pub struct Loudness(Arc<AtomicU8>);

const STARTING: u8 = 0;
const RUNNING: u8 = 1;
const STOPPING: u8 = 2;

impl Loudness {
    /// From now on everything is shown; before that, only warnings: the first election comes before
    /// the screen that says what it is about.
    pub(super) fn running(&self) {
        self.0.store(RUNNING, Ordering::Relaxed);
    }

    /// From now on only errors: while all nodes stop, each loses the others, which means nothing.
    pub(super) fn stopping(&self) {
        self.0.store(STOPPING, Ordering::Relaxed);
    }

    fn shows(&self, level: Level) -> bool {
        match self.0.load(Ordering::Relaxed) {
            STARTING => level <= Level::WARN,
            RUNNING => true,
            _ => level <= Level::ERROR,
        }
    }
}

/// Sends the log of this process to stderr, a node's name before each line.
///
/// # Errors
/// When `filter` is not in the syntax of `tracing`'s `EnvFilter`.
pub fn start(filter: &str) -> Result<Loudness, ConfigError> {
    let filter = log_filter(filter).map_err(|cause| {
        ConfigError(format!(
            "--log is `{filter}`: {cause}; allowed: error, warn, info, debug, trace or off"
        ))
    })?;
    let loudness = Loudness::default();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .fmt_fields(format::debug_fn(|writer, _, value| write!(writer, "{value:?}")))
        .event_format(Line)
        .with_writer(Stderr(loudness.clone()))
        .init();
    Ok(loudness)
}

/// The span of everything that a node does. It is on at every level that anything is logged at.
pub(super) fn span(name: NodeName) -> Span {
    tracing::error_span!("node", name = %name)
}

/// Where lines go that are to be shown; the others go nowhere.
struct Stderr(Loudness);

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Box<dyn io::Write + 'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Box::new(io::stderr())
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        if self.0.shows(*metadata.level()) { self.make_writer() } else { Box::new(io::sink()) }
    }
}

/// The form of a line.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        write!(writer, "{}  ", time_of_day(now))?;
        if let Some(span) = context.event_scope().and_then(|scope| scope.from_root().next())
            && let Some(fields) = span.extensions().get::<FormattedFields<N>>()
        {
            write!(writer, "{fields}  ")?;
        }
        if *event.metadata().level() == Level::ERROR {
            write!(writer, "error: ")?;
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// The time of day, UTC, as the `Date` of an answer, with milliseconds.
fn time_of_day(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs() % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, since_epoch.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_utc() {
        let time = Duration::from_millis(1_000_000_000_007);
        assert_eq!(time_of_day(time), "01:46:40.007");
    }

    #[test]
    fn what_is_shown_depends_on_the_stage() {
        let loudness = Loudness::default();
        assert!(loudness.shows(Level::WARN) && !loudness.shows(Level::INFO));
        loudness.running();
        assert!(loudness.shows(Level::DEBUG));
        loudness.stopping();
        assert!(loudness.shows(Level::ERROR) && !loudness.shows(Level::WARN));
    }
}
