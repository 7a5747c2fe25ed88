//! Questions between nodes outside of any protocol, and their answers, on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::Position;
use consensus::codec::{self, CodecError, Wire};
use kvcore::Revision;

use crate::node::handle::{Question, Reply, ReplyContent};

pub(crate) fn encode_question(number: u64, question: &Question, out: &mut BytesMut) {
    out.put_u64_le(number);
    match question {
        Question::Key(key) => {
            out.put_u8(0);
            codec::put_bytes(out, key);
        }
        Question::Digest(at) => {
            out.put_u8(1);
            out.put_u64_le(at.map_or(0, |revision| revision.0));
        }
    }
}

pub(crate) fn decode_question(mut input: Bytes) -> Result<(u64, Question), CodecError> {
    let number = codec::get_u64(&mut input)?;
    let question = match codec::get_u8(&mut input)? {
        0 => Question::Key(codec::get_bytes(&mut input)?),
        // Revisions start at 1, so 0 stands for the node's own.
        1 => Question::Digest(Some(codec::get_u64(&mut input)?).filter(|&at| at > 0).map(Revision)),
        _ => return Err(CodecError::Invalid("question")),
    };
    Ok((number, question))
}

pub(crate) fn encode_reply(number: u64, reply: &Reply, out: &mut BytesMut) {
    out.put_u64_le(number);
    out.put_u64_le(reply.revision.0);
    reply.applied.encode(out);
    match &reply.content {
        ReplyContent::Failed => out.put_u8(0),
        ReplyContent::Key(None) => out.put_u8(1),
        ReplyContent::Key(Some((mod_revision, version, value))) => {
            out.put_u8(2);
            out.put_u64_le(mod_revision.0);
            out.put_u64_le(*version);
            codec::put_bytes(out, value);
        }
        ReplyContent::Digest(None) => out.put_u8(3),
        ReplyContent::Digest(Some(digest)) => {
            out.put_u8(4);
            out.put_u128_le(*digest);
        }
    }
}

pub(crate) fn decode_reply(mut input: Bytes) -> Result<(u64, Reply), CodecError> {
    let number = codec::get_u64(&mut input)?;
    let revision = Revision(codec::get_u64(&mut input)?);
    let applied = Position::decode(&mut input)?;
    let content = match codec::get_u8(&mut input)? {
        0 => ReplyContent::Failed,
        1 => ReplyContent::Key(None),
        2 => ReplyContent::Key(Some((
            Revision(codec::get_u64(&mut input)?),
            codec::get_u64(&mut input)?,
            codec::get_bytes(&mut input)?,
        ))),
        3 => ReplyContent::Digest(None),
        4 => {
            let (low, high) = (codec::get_u64(&mut input)?, codec::get_u64(&mut input)?);
            ReplyContent::Digest(Some(u128::from(low) | u128::from(high) << 64))
        }
        _ => return Err(CodecError::Invalid("reply")),
    };
    Ok((number, Reply { revision, applied, content }))
}
