//! The bounded memory of events. What is frequent can not push out what is rare, because each has a
//! lane of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, TryLockError};

use consensus::{Event, Time};

use super::record::{NodeTrace, Record, TraceDetail, TraceQuestion};
use super::{HostClock, boot_id};

/// The most bytes of records in one answer: it shares its connection with signs of life.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// What a record takes on its way besides its texts, generously.
const RECORD_BYTES: usize = 80;

/// Where an event is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// What happened: a few events an election.
    Events,
    /// The messages of elections and synchronization.
    Elections,
    /// The daily work: thousands a second.
    Routine,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Events, Self::Elections, Self::Routine];

    fn records_max(self) -> usize {
        match self {
            Self::Events => 1024,
            Self::Elections | Self::Routine => 2048,
        }
    }

    fn bytes_max(self) -> usize {
        match self {
            Self::Events => 256 << 10,
            Self::Elections | Self::Routine => 512 << 10,
        }
    }

    fn is_wanted(self, detail: TraceDetail) -> bool {
        match self {
            Self::Events => true,
            Self::Elections => detail >= TraceDetail::Elections,
            Self::Routine => detail >= TraceDetail::Everything,
        }
    }
}

/// An event with its time and its lane.
#[derive(Clone, Debug)]
pub(crate) struct Stamped {
    pub(crate) time: Time,
    pub(crate) lane: Lane,
    pub(crate) event: Event,
}

impl Stamped {
    /// What it takes in memory.
    fn bytes(&self) -> usize {
        let text = match &self.event {
            Event::RoleChanged { cause, .. } => cause.len(),
            Event::FaultBegan { fault } | Event::FaultEnded { fault } => fault.len(),
            Event::Sent { text, .. } | Event::Received { text, .. } => {
                text.as_ref().map_or(0, |text| text.len())
            }
            _ => 0,
        };
        size_of::<(u64, Self)>() + text
    }
}

#[derive(Debug, Default)]
struct Kept {
    /// Each with its number among all events of the node.
    events: VecDeque<(u64, Stamped)>,
    bytes: usize,
    forgotten: u64,
}

impl Kept {
    fn push(&mut self, number: u64, stamped: Stamped) {
        let lane = stamped.lane;
        self.bytes += stamped.bytes();
        self.events.push_back((number, stamped));
        while self.events.len() > lane.records_max() || self.bytes > lane.bytes_max() {
            let Some((_, oldest)) = self.events.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.forgotten += 1;
        }
    }
}

#[derive(Debug, Default)]
struct Lanes {
    lanes: [Kept; 3],
    next: u64,
}

/// The events of one node: written by its consensus loop, read by whoever asks.
#[derive(Debug)]
pub(crate) struct Ring {
    clock: HostClock,
    boot: Option<String>,
    lanes: Mutex<Lanes>,
}

impl Ring {
    /// An empty memory of a node whose time is given by this clock.
    pub(crate) fn new(clock: HostClock) -> Self {
        Self { clock, boot: boot_id(), lanes: Mutex::default() }
    }

    /// Takes all pending events over, unless somebody reads just now: then they stay.
    pub(crate) fn take(&self, pending: &mut Vec<Stamped>) {
        let mut lanes = match self.lanes.try_lock() {
            Ok(lanes) => lanes,
            Err(TryLockError::WouldBlock) => return,
            Err(TryLockError::Poisoned(_)) => panic!("no holder of this lock panics"),
        };
        for stamped in pending.drain(..) {
            let number = lanes.next;
            lanes.next += 1;
            lanes.lanes[stamped.lane as usize].push(number, stamped);
        }
    }

    /// The newest records of the kind asked for.
    pub(crate) fn answer(&self, question: TraceQuestion) -> NodeTrace {
        let (mut events, forgotten) = self.newest(question);
        events.sort_by_key(|&(number, _)| number);
        let skipped = events.len().saturating_sub(question.limit);
        let records: Vec<Record> = events[skipped..]
            .iter()
            .map(|(_, stamped)| Record::of(self.clock.at(stamped.time), &stamped.event))
            .collect();
        let mut bytes = 0;
        let fit = records.iter().rev().take_while(|record| {
            bytes += RECORD_BYTES + record.name.len() + record.phase.len();
            bytes += record.cause.len() + record.text.len();
            bytes <= ANSWER_BYTES_MAX
        });
        let kept = fit.count();
        let cut = records.len() - kept;
        let records = records.into_iter().skip(cut).collect();
        NodeTrace { boot: self.boot.clone(), earlier: forgotten + (skipped + cut) as u64, records }
    }

    /// The newest of each lane, and how many are not among them.
    fn newest(&self, question: TraceQuestion) -> (Vec<(u64, Stamped)>, u64) {
        let lanes = self.lanes.lock().expect("no holder of this lock panics");
        let mut events = Vec::new();
        let mut forgotten = 0;
        for lane in Lane::ALL.into_iter().filter(|lane| lane.is_wanted(question.detail)) {
            let kept = &lanes.lanes[lane as usize];
            let skipped = kept.events.len().saturating_sub(question.limit);
            forgotten += kept.forgotten + skipped as u64;
            events.extend(kept.events.range(skipped..).cloned());
        }
        (events, forgotten)
    }
}

#[cfg(test)]
mod tests {
    use consensus::{Index, NodeId, Passage};

    use super::*;

    fn message(frame: u64, lane: Lane, text: &str) -> Stamped {
        let passage = Passage { connection: 1, frame };
        let event = Event::Sent {
            to: NodeId(2),
            passage,
            name: "PING",
            text: Some(text.to_owned().into()),
        };
        Stamped { time: Time(frame), lane, event }
    }

    fn ask(ring: &Ring, detail: TraceDetail, limit: usize) -> NodeTrace {
        ring.answer(TraceQuestion { detail, limit })
    }

    #[test]
    fn what_is_frequent_does_not_push_out_what_is_rare() {
        let ring = Ring::new(HostClock::start());
        let started = Event::Started { last: Index(7) };
        let mut pending = vec![Stamped { time: Time(0), lane: Lane::Events, event: started }];
        pending.push(message(1, Lane::Elections, "NOTIFICATION"));
        pending.extend((2..100_000).map(|frame| message(frame, Lane::Routine, "PING")));
        ring.take(&mut pending);
        assert!(pending.is_empty());
        let all = ask(&ring, TraceDetail::Everything, usize::MAX);
        assert_eq!(all.records.len(), 2 + Lane::Routine.records_max());
        assert_eq!(all.earlier, 100_000 - all.records.len() as u64);
        assert_eq!(all.records[0].kind, super::super::RecordKind::Started);
        assert!(all.records.is_sorted_by_key(|record| record.time));
        let few = ask(&ring, TraceDetail::Elections, 10);
        assert_eq!((few.records.len(), few.earlier), (2, 0));
        let newest = ask(&ring, TraceDetail::Elections, 1);
        assert_eq!((newest.records[0].text.as_str(), newest.earlier), ("NOTIFICATION", 1));
        assert_eq!(ask(&ring, TraceDetail::Events, 10).records.len(), 1);
    }

    #[test]
    fn long_texts_are_bounded_in_memory_and_in_answers() {
        let ring = Ring::new(HostClock::start());
        let text = "x".repeat(10_000);
        let mut pending: Vec<_> =
            (1..=1_000).map(|frame| message(frame, Lane::Elections, &text)).collect();
        ring.take(&mut pending);
        let lanes = ring.lanes.lock().unwrap();
        let kept = &lanes.lanes[Lane::Elections as usize];
        assert!(kept.bytes <= Lane::Elections.bytes_max(), "{} bytes", kept.bytes);
        assert!(kept.events.len() > 40, "{} events", kept.events.len());
        drop(lanes);
        let answer = ask(&ring, TraceDetail::Elections, usize::MAX);
        let bytes: usize = answer.records.iter().map(|record| record.text.len()).sum();
        assert!(bytes <= ANSWER_BYTES_MAX && bytes > ANSWER_BYTES_MAX / 2, "{bytes} bytes");
        assert_eq!(answer.earlier + answer.records.len() as u64, 1_000);
    }

    #[test]
    fn the_writer_never_waits_for_a_reader() {
        let ring = Ring::new(HostClock::start());
        let mut pending = vec![message(1, Lane::Routine, "PING")];
        let reader = ring.lanes.lock().unwrap();
        ring.take(&mut pending);
        assert_eq!(pending.len(), 1, "it stays for the next time");
        drop(reader);
        ring.take(&mut pending);
        assert!(pending.is_empty());
    }
}
