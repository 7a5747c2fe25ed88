//! Events as messages: each event is written once, and copied into the message of each watch that wants
//! to hear of it.

use std::ops::Range;

use kvcore::{EventKind, Events, Revision};

use super::watchers::WatchId;
use crate::http::v3::message::{Event, EventType, KeyValue, ResponseHeader, signed};
use crate::http::v3::protojson::{Json as _, Object};

/// The events of a pull, written.
#[derive(Debug, Default)]
pub(super) struct Written {
    bytes: Vec<u8>,
    events: Vec<WrittenEvent>,
}

/// Where an event is.
#[derive(Debug)]
struct WrittenEvent {
    revision: Revision,
    /// Without what was there before.
    plain: Range<usize>,
    /// With it, if there was something.
    with_previous: Option<Range<usize>>,
}

/// A message about events that a watch wants to hear of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) watch_id: WatchId,
    /// Whether the watch wants to hear what was there before.
    pub(super) previous: bool,
    /// The places of the events.
    pub(super) events: &'a [usize],
    /// Whether more of the same message follows.
    pub(super) fragment: bool,
}

impl Written {
    /// Writes the events of a pull that are wanted. `is_wanted` is told the place that an event would
    /// have, its key and whether it is a put.
    pub(super) fn of(
        events: Events,
        mut is_wanted: impl FnMut(usize, &[u8], bool) -> bool,
    ) -> Self {
        let mut written = Self::default();
        for revision in events.revisions {
            for event in revision.events {
                let is_put = event.kind == EventKind::Put;
                if is_wanted(written.events.len(), &event.key_value.key, is_put) {
                    written.add(revision.revision, event);
                }
            }
        }
        written
    }

    fn add(&mut self, revision: Revision, event: kvcore::Event) {
        let kind = match event.kind {
            EventKind::Put => EventType::Put,
            EventKind::Delete => EventType::Delete,
        };
        let kv = Some(KeyValue::from(event.key_value));
        let mut message = Event { kind, kv, prev_kv: None };
        let plain = self.write(&message);
        let with_previous = event.previous.map(|previous| {
            message.prev_kv = Some(previous.into());
            self.write(&message)
        });
        self.events.push(WrittenEvent { revision, plain, with_previous });
    }

    fn write(&mut self, event: &Event) -> Range<usize> {
        let begin = self.bytes.len();
        event.write(&mut self.bytes);
        begin..self.bytes.len()
    }

    fn text(&self, place: usize, previous: bool) -> &[u8] {
        let event = &self.events[place];
        let range = event.with_previous.as_ref().filter(|_| previous).unwrap_or(&event.plain);
        &self.bytes[range.clone()]
    }

    /// How many of these events fit in a message: at least one.
    pub(super) fn fitting(&self, events: &[usize], previous: bool, bytes_max: usize) -> usize {
        let mut bytes = 0;
        let fits = events.iter().take_while(|place| {
            bytes += self.text(**place, previous).len() + 1;
            bytes <= bytes_max
        });
        fits.count().max(1)
    }

    /// Appends a message. Its header has the revision of its last event, so that everything up to there
    /// was told.
    pub(super) fn message(&self, out: &mut Vec<u8>, header: &ResponseHeader, told: Told<'_>) {
        let last = *told.events.last().expect("there is something to tell");
        let revision = signed(self.events[last].revision.0);
        let mut object = Object::begin(out);
        object.field("header", &ResponseHeader { revision, ..header.clone() });
        object.field("watch_id", &told.watch_id);
        object.field("fragment", &told.fragment);
        let out = object.name("events");
        for (count, place) in told.events.iter().enumerate() {
            out.push(if count == 0 { b'[' } else { b',' });
            out.extend_from_slice(self.text(*place, told.previous));
        }
        out.push(b']');
        object.end();
    }
}

#[cfg(test)]
mod tests {
    use kvcore::RevisionEvents;
    use serde_json::{Value, json};

    use super::*;

    fn put(key: &'static str, revision: u64, previous: Option<&'static str>) -> kvcore::Event {
        let key_value = |value: &'static str, revision| kvcore::KeyValue {
            key: key.into(),
            value: value.into(),
            create_revision: Revision(2),
            mod_revision: Revision(revision),
            version: revision - 1,
            lease: None,
        };
        kvcore::Event {
            kind: EventKind::Put,
            key_value: key_value("v", revision),
            previous: previous.map(|value| key_value(value, revision - 1)),
        }
    }

    fn written() -> (Written, Vec<(usize, Vec<u8>, bool)>) {
        let at = |revision, events| RevisionEvents { revision: Revision(revision), events };
        let revisions = vec![
            at(2, vec![put("a", 2, None)]),
            at(3, vec![put("a", 3, Some("u")), put("x", 3, None), put("b", 3, None)]),
        ];
        let mut seen = Vec::new();
        let events = Events { revisions, next: Revision(4) };
        let written = Written::of(events, |place, key, is_put| {
            seen.push((place, key.to_vec(), is_put));
            key != b"x"
        });
        (written, seen)
    }

    fn message(written: &Written, told: Told<'_>) -> Value {
        let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: 9, raft_term: 3 };
        let mut out = Vec::new();
        written.message(&mut out, &header, told);
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn each_event_is_named_once_and_told_as_its_watch_wants_it() {
        let (written, seen) = written();
        let key = |key: &str| key.as_bytes().to_vec();
        let expected = [(0, key("a")), (1, key("a")), (2, key("x")), (2, key("b"))];
        assert_eq!(seen, expected.map(|(place, key)| (place, key, true)));
        assert_eq!(written.events.len(), 3, "what nobody wants is not written");
        let told = Told { watch_id: 7, previous: true, events: &[0, 1], fragment: false };
        let a2 = json!({"key": "YQ==", "create_revision": "2", "mod_revision": "2",
            "version": "1", "value": "dg=="});
        let a3 = json!({"key": "YQ==", "create_revision": "2", "mod_revision": "3",
            "version": "2", "value": "dg=="});
        let before = json!({"key": "YQ==", "create_revision": "2", "mod_revision": "2",
            "version": "1", "value": "dQ=="});
        let header =
            json!({"cluster_id": "1", "member_id": "2", "revision": "3", "raft_term": "3"});
        assert_eq!(
            message(&written, told),
            json!({"header": header, "watch_id": "7",
                "events": [{"kv": a2}, {"kv": a3, "prev_kv": before}]})
        );
        let told = Told { watch_id: 0, previous: false, events: &[1], fragment: true };
        assert_eq!(
            message(&written, told),
            json!({"header": header, "fragment": true, "events": [{"kv": a3}]})
        );
    }

    #[test]
    fn a_message_has_at_least_one_event_and_no_more_than_fit() {
        let (written, _) = written();
        let event = written.text(0, false).len() + 1;
        for (bytes, count) in [(0, 1), (event, 1), (2 * event - 1, 1), (2 * event, 2), (9999, 3)] {
            assert_eq!(written.fitting(&[0, 1, 2], false, bytes), count, "{bytes}");
        }
        // The second tells what was there before, and is longer than two others.
        assert_eq!(written.fitting(&[0, 1, 2], true, 3 * event), 1);
        assert_eq!(written.fitting(&[0, 1, 2], true, 4 * event), 2);
    }
}
