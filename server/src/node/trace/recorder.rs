//! The consensus loop's side of the memory: cheap enough to be always on.
//!
//! A round's events are collected in a buffer of the loop's own and handed over together. Writing
//! down what a message says costs more than all the rest, so of routine messages only so many a
//! second are written down in full: on a quiet node all of them, on a busy one a sample. Their names
//! and numbers are always there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use consensus::{Event, NodeId, Passage, Time};

use super::Ring;
use super::ring::{Lane, Stamped};

/// The routine messages written down in full each second, sent and received together: at less than a
/// microsecond each, a thousandth of the loop's time at most.
const TEXTS_PER_SECOND: u32 = 1_000;
/// The messages that may wait for a reader to be done; more are left out.
const PENDING_MAX: usize = 4_096;
/// The same for what is no message.
const PENDING_EVENTS_MAX: usize = 2 * PENDING_MAX;
/// The longest text of a message. Only lists of many epochs come near it.
const TEXT_BYTES_MAX: usize = 1_024;

/// Which way a message goes, from the recording node's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    To(NodeId),
    From(NodeId),
}

/// Writes down what happens on the consensus loop.
#[derive(Debug)]
pub(crate) struct Recorder {
    ring: Arc<Ring>,
    pending: Vec<Stamped>,
    texts_left: u32,
    texts_since: Time,
}

impl Recorder {
    pub(crate) fn new(ring: Arc<Ring>) -> Self {
        let (texts_left, texts_since) = (TEXTS_PER_SECOND, Time::default());
        Self { ring, pending: Vec::new(), texts_left, texts_since }
    }

    /// An event of the protocol or of the driver.
    pub(crate) fn event(&mut self, time: Time, event: Event) {
        let lane = match event {
            Event::Committed { .. } => Lane::Routine,
            _ => Lane::Events,
        };
        self.push(Stamped { time, lane, event });
    }

    /// A message left or arrived.
    pub(crate) fn message(
        &mut self,
        time: Time,
        way: Way,
        passage: Passage,
        (name, is_routine): (&'static str, bool),
        message: impl fmt::Display,
    ) {
        let lane = if is_routine { Lane::Routine } else { Lane::Elections };
        let text = (!is_routine || self.may_write(time)).then(|| shortened(message));
        let event = match way {
            Way::To(to) => Event::Sent { to, passage, name, text },
            Way::From(from) => Event::Received { from, passage, name, text },
        };
        self.push(Stamped { time, lane, event });
    }

    /// Hands over what was collected. To be called at the end of each round.
    pub(crate) fn publish(&mut self) {
        if !self.pending.is_empty() {
            self.ring.take(&mut self.pending);
        }
    }

    fn push(&mut self, stamped: Stamped) {
        let most = if stamped.lane == Lane::Events { PENDING_EVENTS_MAX } else { PENDING_MAX };
        if self.pending.len() < most {
            self.pending.push(stamped);
        }
    }

    fn may_write(&mut self, time: Time) -> bool {
        if time.since(self.texts_since) >= Duration::from_secs(1) {
            (self.texts_left, self.texts_since) = (TEXTS_PER_SECOND, time);
        }
        let may = self.texts_left > 0;
        self.texts_left -= u32::from(may);
        may
    }
}

fn shortened(message: impl fmt::Display) -> Box<str> {
    let mut text = message.to_string();
    if text.len() > TEXT_BYTES_MAX {
        let end = text.floor_char_boundary(TEXT_BYTES_MAX);
        text.truncate(end);
        text.push('…');
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::super::{HostClock, TraceDetail, TraceQuestion};
    use super::*;

    fn recorder() -> Recorder {
        Recorder::new(Arc::new(Ring::new(HostClock::start())))
    }

    fn texts(recorder: &Recorder) -> usize {
        let question = TraceQuestion { detail: TraceDetail::Everything, limit: usize::MAX };
        let records = recorder.ring.answer(question).records;
        records.iter().filter(|record| record.text.contains("round")).count()
    }

    #[test]
    fn of_many_routine_messages_a_sample_is_written_down_and_of_rare_ones_all() {
        let mut recorder = recorder();
        let passage = |frame| Passage { connection: 1, frame };
        for frame in 0..2_000 {
            let (time, way) = (Time(frame), Way::To(NodeId(2)));
            recorder.message(time, way, passage(frame), ("Heartbeat", true), "Heartbeat round=1");
        }
        recorder.publish();
        assert_eq!(texts(&recorder), TEXTS_PER_SECOND as usize);
        for frame in 0..100 {
            let (time, way) = (Time(5_000), Way::From(NodeId(2)));
            recorder.message(time, way, passage(frame), ("PreVote", false), "PreVote round=1");
        }
        recorder.publish();
        assert_eq!(texts(&recorder), TEXTS_PER_SECOND as usize + 100);
        // The next second has room again.
        let (time, way) = (Time::from_millis(1_000), Way::To(NodeId(2)));
        recorder.message(time, way, passage(9), ("Heartbeat", true), "Heartbeat round=2");
        recorder.publish();
        assert_eq!(texts(&recorder), TEXTS_PER_SECOND as usize + 101);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = shortened("ü".repeat(TEXT_BYTES_MAX));
        assert!(text.len() <= TEXT_BYTES_MAX + '…'.len_utf8() && text.ends_with("ü…"));
    }

    #[test]
    fn what_waits_for_a_reader_is_bounded() {
        let mut recorder = recorder();
        for frame in 0..PENDING_MAX as u64 + 10 {
            let passage = Passage { connection: 1, frame };
            let kind = ("Heartbeat", true);
            recorder.message(Time(0), Way::To(NodeId(2)), passage, kind, "Heartbeat");
        }
        assert_eq!(recorder.pending.len(), PENDING_MAX);
    }
}
