//! Questions about a node's memory and their answers, on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError};
use consensus::{Index, NodeId, Passage, Term};

use super::HostTime;
use super::record::{NodeTrace, Record, RecordKind, TraceDetail, TraceQuestion};

const DETAILS: [TraceDetail; 3] =
    [TraceDetail::Events, TraceDetail::Elections, TraceDetail::Everything];

pub(crate) fn encode_question(question: TraceQuestion, out: &mut BytesMut) {
    out.put_u8(question.detail as u8);
    out.put_u32_le(u32::try_from(question.limit).unwrap_or(u32::MAX));
}

pub(crate) fn decode_question(input: &mut Bytes) -> Result<TraceQuestion, CodecError> {
    let detail = codec::get_u8(input)?;
    let detail = *DETAILS.get(detail as usize).ok_or(CodecError::Invalid("detail of a trace"))?;
    Ok(TraceQuestion { detail, limit: codec::get_u32(input)? as usize })
}

pub(crate) fn encode_trace(trace: &NodeTrace, out: &mut BytesMut) {
    put_text(out, trace.boot.as_deref().unwrap_or_default());
    out.put_u64_le(trace.earlier);
    out.put_u32_le(u32::try_from(trace.records.len()).expect("the ring is bounded"));
    for record in &trace.records {
        encode_record(record, out);
    }
}

pub(crate) fn decode_trace(input: &mut Bytes) -> Result<NodeTrace, CodecError> {
    let boot = Some(get_text(input)?).filter(|boot| !boot.is_empty());
    let earlier = codec::get_u64(input)?;
    // Collecting allocates only as the records really arrive, in a frame of bounded length.
    let count = codec::get_u32(input)?;
    let records = (0..count).map(|_| decode_record(input)).collect::<Result<_, _>>()?;
    Ok(NodeTrace { boot, earlier, records })
}

fn encode_record(record: &Record, out: &mut BytesMut) {
    out.put_u64_le(record.time.0);
    out.put_u8(record.kind as u8);
    let passage = record.passage;
    let numbers = [
        record.peer.map(|peer| peer.0),
        record.term.map(|term| term.0),
        record.leader.map(|leader| leader.0),
        record.index.map(|index| index.0),
        record.silence_ms,
        passage.map(|passage| passage.connection),
        passage.map(|passage| passage.frame),
    ];
    // A bit for each number that is there, then those that are.
    let present = |(place, number): (usize, &Option<u64>)| u8::from(number.is_some()) << place;
    out.put_u8(numbers.iter().enumerate().map(present).sum());
    for number in numbers.into_iter().flatten() {
        out.put_u64_le(number);
    }
    for text in [&record.name, &record.phase, &record.cause, &record.text] {
        put_text(out, text);
    }
}

fn decode_record(input: &mut Bytes) -> Result<Record, CodecError> {
    let time = HostTime(codec::get_u64(input)?);
    let kind = codec::get_u8(input)?;
    let kind = *RecordKind::ALL.get(kind as usize).ok_or(CodecError::Invalid("kind of event"))?;
    let present = codec::get_u8(input)?;
    let mut numbers = [None; 7];
    for (place, number) in numbers.iter_mut().enumerate() {
        if present >> place & 1 == 1 {
            *number = Some(codec::get_u64(input)?);
        }
    }
    let [peer, term, leader, index, silence_ms, connection, frame] = numbers;
    let passage = connection.zip(frame).map(|(connection, frame)| Passage { connection, frame });
    Ok(Record {
        time,
        kind,
        peer: peer.map(NodeId),
        term: term.map(Term),
        leader: leader.map(NodeId),
        index: index.map(Index),
        silence_ms,
        passage,
        name: get_text(input)?,
        phase: get_text(input)?,
        cause: get_text(input)?,
        text: get_text(input)?,
    })
}

fn put_text(out: &mut BytesMut, text: &str) {
    codec::put_bytes(out, text.as_bytes());
}

fn get_text(input: &mut Bytes) -> Result<String, CodecError> {
    String::from_utf8(codec::get_bytes(input)?.to_vec()).map_err(|_| CodecError::Invalid("text"))
}

#[cfg(test)]
mod tests {
    use consensus::{Event, Suspicion};

    use super::*;

    #[test]
    fn every_kind_of_record_survives_the_wire_and_nothing_shorter_does() {
        let (n2, passage) = (NodeId(2), Passage { connection: u64::MAX, frame: 7 });
        let (term, index) = (Term(3), Index(41));
        let events = [
            Event::Started { last: index },
            Event::RoleChanged {
                role: "LEADING",
                phase: Some("discovery"),
                term,
                leader: Some(n2),
                cause: "why".to_owned(),
            },
            Event::LeaderSuspected { leader: n2, cause: Suspicion::Silence { millis: 300 } },
            Event::LeaderSuspected { leader: n2, cause: Suspicion::ConnectionLost },
            Event::Voted { candidate: n2, term },
            Event::Truncated { from: index, last: index },
            Event::PeerSynchronized { peer: n2, means: "TRUNC+DIFF" },
            Event::Committed { index },
            Event::TransferBegun { to: n2 },
            Event::HandsOver { to: n2 },
            Event::TransferFailed { to: n2, cause: "why".to_owned() },
            Event::FirstCommit { term, index },
            Event::FirstWrite { term, index },
            Event::PeerConnected { peer: n2 },
            Event::PeerLost { peer: n2 },
            Event::FaultBegan { fault: "fault 1-1".to_owned() },
            Event::FaultEnded { fault: "fault 1-1".to_owned() },
            Event::Sent { to: n2, passage, name: "PING", text: None },
            Event::Received { from: n2, passage, name: "PING", text: Some("PING 1".into()) },
        ];
        let records: Vec<_> =
            events.iter().map(|event| Record::of(HostTime(u64::MAX), event)).collect();
        let told: std::collections::BTreeSet<_> = records.iter().map(|r| r.kind.name()).collect();
        assert_eq!(told.len(), RecordKind::ALL.len() - 1, "all but `other`");
        let trace = NodeTrace { boot: Some("b-1".to_owned()), earlier: 9, records };
        let mut out = BytesMut::new();
        encode_trace(&trace, &mut out);
        let whole = out.freeze();
        assert_eq!(decode_trace(&mut whole.clone()), Ok(trace));
        for cut in 0..whole.len() {
            assert!(decode_trace(&mut whole.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_question_survives_the_wire() {
        for detail in DETAILS {
            let question = TraceQuestion { detail, limit: 200 };
            let mut out = BytesMut::new();
            encode_question(question, &mut out);
            assert_eq!(decode_question(&mut out.freeze()), Ok(question));
        }
        assert!(decode_question(&mut Bytes::from_static(&[3, 0, 0, 0, 0])).is_err());
    }

    #[test]
    fn an_absurd_count_allocates_nothing() {
        let mut out = BytesMut::new();
        put_text(&mut out, "");
        out.put_u64_le(0);
        out.put_u32_le(u32::MAX);
        assert!(decode_trace(&mut out.freeze()).is_err());
    }
}
