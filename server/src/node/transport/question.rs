//! Questions between nodes outside of any protocol, and their answers, on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::Position;
use consensus::codec::{self, CodecError, Wire};
use kvcore::Revision;
use kvcore::store::StoreState;

use crate::node::handle::{KeyReply, Question, Reply, ReplyContent, ValueReply};
use crate::node::trace;

const TRAILING: CodecError = CodecError::Invalid("trailing bytes");

pub(crate) fn encode_question(number: u64, question: &Question, out: &mut BytesMut) {
    out.put_u64_le(number);
    match question {
        Question::Key(key) => {
            out.put_u8(0);
            codec::put_bytes(out, key);
        }
        Question::State(at) => {
            out.put_u8(1);
            at.encode(out);
        }
        Question::Trace(question) => {
            out.put_u8(2);
            trace::encode_question(*question, out);
        }
    }
}

pub(crate) fn decode_question(mut input: Bytes) -> Result<(u64, Question), CodecError> {
    let number = codec::get_u64(&mut input)?;
    let question = match codec::get_u8(&mut input)? {
        0 => Question::Key(codec::get_bytes(&mut input)?),
        1 => Question::State(Option::decode(&mut input)?),
        2 => Question::Trace(trace::decode_question(&mut input)?),
        _ => return Err(CodecError::Invalid("question")),
    };
    if input.is_empty() { Ok((number, question)) } else { Err(TRAILING) }
}

pub(crate) fn encode_reply(number: u64, reply: &Reply, out: &mut BytesMut) {
    out.put_u64_le(number);
    out.put_u64_le(reply.revision.0);
    reply.applied.encode(out);
    out.put_u64_le(reply.compacted.0);
    match &reply.content {
        ReplyContent::Failed => out.put_u8(0),
        ReplyContent::Key(None) => out.put_u8(1),
        ReplyContent::Key(Some(KeyReply { mod_revision, version, value })) => {
            out.put_u8(if matches!(value, ValueReply::Whole(_)) { 2 } else { 5 });
            out.put_u64_le(mod_revision.0);
            out.put_u64_le(*version);
            match value {
                ValueReply::Whole(value) => codec::put_bytes(out, value),
                ValueReply::Digest { bytes, digest } => {
                    out.put_u64_le(*bytes);
                    out.put_u128_le(*digest);
                }
            }
        }
        ReplyContent::State(None) => out.put_u8(3),
        ReplyContent::State(Some(state)) => {
            out.put_u8(4);
            state.encode(out);
        }
        ReplyContent::Trace(content) => {
            out.put_u8(6);
            trace::encode_trace(content, out);
        }
    }
}

pub(crate) fn decode_reply(mut input: Bytes) -> Result<(u64, Reply), CodecError> {
    let number = codec::get_u64(&mut input)?;
    let revision = Revision(codec::get_u64(&mut input)?);
    let applied = Position::decode(&mut input)?;
    let compacted = Revision(codec::get_u64(&mut input)?);
    let content = match codec::get_u8(&mut input)? {
        0 => ReplyContent::Failed,
        1 => ReplyContent::Key(None),
        kind @ (2 | 5) => {
            let mod_revision = Revision(codec::get_u64(&mut input)?);
            let version = codec::get_u64(&mut input)?;
            let value = if kind == 2 {
                ValueReply::Whole(codec::get_bytes(&mut input)?)
            } else {
                let bytes = codec::get_u64(&mut input)?;
                ValueReply::Digest { bytes, digest: get_u128(&mut input)? }
            };
            ReplyContent::Key(Some(KeyReply { mod_revision, version, value }))
        }
        3 => ReplyContent::State(None),
        4 => ReplyContent::State(Some(StoreState::decode(&mut input)?)),
        6 => ReplyContent::Trace(trace::decode_trace(&mut input)?),
        _ => return Err(CodecError::Invalid("reply")),
    };
    if !input.is_empty() {
        return Err(TRAILING);
    }
    Ok((number, Reply { revision, applied, compacted, content }))
}

fn get_u128(input: &mut Bytes) -> Result<u128, CodecError> {
    let (low, high) = (codec::get_u64(input)?, codec::get_u64(input)?);
    Ok(u128::from(low) | u128::from(high) << 64)
}

#[cfg(test)]
mod tests {
    use consensus::{Index, Term};

    use super::*;
    use crate::node::trace::{NodeTrace, TraceDetail, TraceQuestion};

    #[test]
    fn questions_and_replies_survive_the_wire() {
        for question in [
            Question::Key(Bytes::from_static(b"k")),
            Question::State(None),
            Question::State(Some(Index(0))),
            Question::State(Some(Index(7))),
            Question::Trace(TraceQuestion { detail: TraceDetail::Elections, limit: 9 }),
        ] {
            let mut out = BytesMut::new();
            encode_question(3, &question, &mut out);
            assert_eq!(decode_question(out.freeze()), Ok((3, question)));
        }
        let row = |value| {
            ReplyContent::Key(Some(KeyReply { mod_revision: Revision(5), version: 2, value }))
        };
        let state = StoreState {
            applied: Position::new(2, 7),
            digest: u128::MAX - 8,
            idempotency_digest: 3,
            ..StoreState::default()
        };
        for content in [
            ReplyContent::Failed,
            ReplyContent::Key(None),
            row(ValueReply::Whole(Bytes::from_static(b"v"))),
            row(ValueReply::Digest { bytes: 1 << 40, digest: u128::MAX - 7 }),
            ReplyContent::State(None),
            ReplyContent::State(Some(state)),
            ReplyContent::Trace(NodeTrace { boot: None, earlier: 3, records: Vec::new() }),
        ] {
            let applied = Position { term: Term(2), index: Index(9) };
            let reply = Reply { revision: Revision(8), applied, compacted: Revision(4), content };
            let mut out = BytesMut::new();
            encode_reply(u64::MAX, &reply, &mut out);
            let whole = out.freeze();
            assert_eq!(decode_reply(whole.clone()), Ok((u64::MAX, reply)));
            for cut in 0..whole.len() {
                assert!(decode_reply(whole.slice(..cut)).is_err(), "cut at {cut}");
            }
        }
    }
}
