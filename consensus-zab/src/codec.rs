//! The binary form of messages: one byte for the kind, the session, then the fields in order.

use bytes::{BufMut, Bytes, BytesMut};
use consensus::codec::{self, CodecError, Wire};
use consensus::{Index, NodeId, Standing, Time};

use crate::message::{Notification, Reason, ServerState, Session, Vote, ZabMessage};
use crate::zxid::{Epoch, EpochTable, LogPoint, Zxid};

impl Wire for Session {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.0);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        codec::get_u64(input).map(Self)
    }
}

impl Wire for Notification {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(match self.state {
            ServerState::Looking => 0,
            ServerState::Following => 1,
            ServerState::Leading => 2,
        });
        out.put_u64_le(self.round);
        self.vote.peer_epoch.encode(out);
        self.vote.zxid.encode(out);
        self.vote.leader.encode(out);
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let state = match codec::get_u8(input)? {
            0 => ServerState::Looking,
            1 => ServerState::Following,
            2 => ServerState::Leading,
            _ => return Err(CodecError::Invalid("server state")),
        };
        let round = codec::get_u64(input)?;
        let peer_epoch = Epoch::decode(input)?;
        let zxid = Zxid::decode(input)?;
        let leader = NodeId::decode(input)?;
        Ok(Self { state, round, vote: Vote { peer_epoch, zxid, leader } })
    }
}

impl Wire for Reason {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(match self {
            Self::NotLeading => 0,
            Self::MoreRecent => 1,
            Self::Unresponsive => 2,
            Self::Broken => 3,
            Self::TooFarBehind => 4,
            Self::NotVoting => 5,
        });
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        Ok(match codec::get_u8(input)? {
            0 => Self::NotLeading,
            1 => Self::MoreRecent,
            2 => Self::Unresponsive,
            3 => Self::Broken,
            4 => Self::TooFarBehind,
            5 => Self::NotVoting,
            _ => return Err(CodecError::Invalid("reason")),
        })
    }
}

/// Writes the tag of a message and then its fields, in order.
macro_rules! put {
    ($out:ident, $tag:literal $(, $field:expr)*) => {{
        $out.put_u8($tag);
        $($field.encode($out);)*
    }};
}

impl Wire for ZabMessage {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Notification(notification) => put!(out, 0, notification),
            Self::FollowerInfo { session, accepted_epoch, handed_over, standing } => {
                put!(out, 1, session, accepted_epoch, handed_over, standing);
            }
            Self::LeaderInfo { session, epoch } => put!(out, 2, session, epoch),
            Self::AckEpoch { session, current_epoch, last, table } => {
                put!(out, 3, session, current_epoch, last, table);
            }
            Self::Diff { session, to } => put!(out, 4, session, to),
            Self::Trunc { session, to } => put!(out, 5, session, to),
            Self::NewLeader { session, at } => put!(out, 6, session, at),
            Self::Received { session, up_to } => put!(out, 7, session, up_to),
            Self::UpToDate { session, committed } => put!(out, 8, session, committed),
            Self::Proposal { session, base, entries } => {
                put!(out, 9, session, base);
                codec::put_list(out, entries);
            }
            Self::Inform { session, base, entries } => {
                put!(out, 20, session, base);
                codec::put_list(out, entries);
            }
            Self::Ack { session, first, up_to } => put!(out, 10, session, first, up_to),
            Self::Commit { session, first, up_to } => put!(out, 11, session, first, up_to),
            Self::Ping { session, sent } => put!(out, 12, session, sent),
            Self::Pong { session, sent } => put!(out, 13, session, sent),
            Self::Barrier { session, round } => {
                put!(out, 14, session);
                out.put_u64_le(*round);
            }
            Self::BarrierAck { session, round } => {
                put!(out, 15, session);
                out.put_u64_le(*round);
            }
            Self::Leave { session } => put!(out, 16, session),
            Self::Resign { session, reason } => put!(out, 17, session, reason),
            Self::Snap { session, epoch } => put!(out, 18, session, epoch),
            Self::Handover { session, to, at } => put!(out, 19, session, to, at),
        }
    }

    fn decode(input: &mut Bytes) -> Result<Self, CodecError> {
        let tag = codec::get_u8(input)?;
        if tag == 0 {
            return Notification::decode(input).map(Self::Notification);
        }
        let session = Session::decode(input)?;
        Ok(match tag {
            1 => Self::FollowerInfo {
                session,
                accepted_epoch: Epoch::decode(input)?,
                handed_over: Option::decode(input)?,
                standing: Standing::decode(input)?,
            },
            2 => Self::LeaderInfo { session, epoch: Epoch::decode(input)? },
            3 => Self::AckEpoch {
                session,
                current_epoch: Option::decode(input)?,
                last: Zxid::decode(input)?,
                table: EpochTable::decode(input)?,
            },
            4 => Self::Diff { session, to: LogPoint::decode(input)? },
            5 => Self::Trunc { session, to: LogPoint::decode(input)? },
            6 => Self::NewLeader { session, at: LogPoint::decode(input)? },
            7 => Self::Received { session, up_to: Index::decode(input)? },
            8 => Self::UpToDate { session, committed: LogPoint::decode(input)? },
            9 | 20 => {
                let (base, entries) = (Index::decode(input)?, codec::get_list(input)?);
                if tag == 9 {
                    Self::Proposal { session, base, entries }
                } else {
                    Self::Inform { session, base, entries }
                }
            }
            10 | 11 => {
                let (first, up_to) = <(Index, LogPoint)>::decode(input)?;
                if tag == 10 {
                    Self::Ack { session, first, up_to }
                } else {
                    Self::Commit { session, first, up_to }
                }
            }
            12 => Self::Ping { session, sent: Time::decode(input)? },
            13 => Self::Pong { session, sent: Time::decode(input)? },
            14 => Self::Barrier { session, round: codec::get_u64(input)? },
            15 => Self::BarrierAck { session, round: codec::get_u64(input)? },
            16 => Self::Leave { session },
            17 => Self::Resign { session, reason: Reason::decode(input)? },
            18 => Self::Snap { session, epoch: Epoch::decode(input)? },
            19 => {
                Self::Handover { session, to: NodeId::decode(input)?, at: LogPoint::decode(input)? }
            }
            _ => return Err(CodecError::Invalid("message kind")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::{Entry, Message, Payload, Position, WallTime};

    fn samples() -> Vec<ZabMessage> {
        let session = Session(3);
        let point = LogPoint { zxid: Zxid { epoch: Epoch(2), counter: 5 }, index: Index(9) };
        let rows = vec![(Epoch(1), Index(4)), (Epoch(2), Index(9))];
        let entry = |index| Entry {
            position: Position::new(2, index),
            wall: WallTime(7),
            payload: Payload::Command(Bytes::from_static(b"x")),
        };
        let vote = Vote { peer_epoch: Epoch(2), zxid: point.zxid, leader: NodeId(3) };
        let opening = |handed_over, standing| ZabMessage::FollowerInfo {
            session,
            accepted_epoch: Epoch(6),
            handed_over,
            standing,
        };
        let ack_epoch = |current_epoch| ZabMessage::AckEpoch {
            session,
            current_epoch,
            last: point.zxid,
            table: EpochTable::from_rows(rows.clone()).expect("ascending"),
        };
        vec![
            ZabMessage::Notification(Notification { state: ServerState::Leading, round: 4, vote }),
            opening(None, Standing::Voter),
            opening(None, Standing::Observer),
            opening(Some(Epoch(6)), Standing::Voter),
            ZabMessage::LeaderInfo { session, epoch: Epoch(7) },
            ack_epoch(Some(Epoch(6))),
            ack_epoch(None),
            ZabMessage::Diff { session, to: point },
            ZabMessage::Trunc { session, to: point },
            ZabMessage::NewLeader { session, at: point },
            ZabMessage::Snap { session, epoch: Epoch(7) },
            ZabMessage::Received { session, up_to: Index(8) },
            ZabMessage::UpToDate { session, committed: point },
            ZabMessage::Proposal { session, base: Index(4), entries: vec![entry(8), entry(9)] },
            ZabMessage::Inform { session, base: Index(4), entries: vec![entry(8), entry(9)] },
            ZabMessage::Ack { session, first: Index(7), up_to: point },
            ZabMessage::Commit { session, first: Index(8), up_to: point },
            ZabMessage::Ping { session, sent: Time(1) },
            ZabMessage::Pong { session, sent: Time(1) },
            ZabMessage::Barrier { session, round: 2 },
            ZabMessage::BarrierAck { session, round: 2 },
            ZabMessage::Leave { session },
            ZabMessage::Resign { session, reason: Reason::Unresponsive },
            ZabMessage::Resign { session, reason: Reason::NotVoting },
            ZabMessage::Handover { session, to: NodeId(2), at: point },
        ]
    }

    #[test]
    fn every_message_survives_the_wire_and_no_prefix_of_it_does() {
        for message in samples() {
            let bytes = message.to_bytes();
            assert_eq!(ZabMessage::from_bytes(bytes.clone()), Ok(message.clone()));
            for length in 0..bytes.len() {
                assert!(ZabMessage::from_bytes(bytes.slice(..length)).is_err(), "{message}");
            }
        }
    }

    #[test]
    fn a_frame_counts_for_as_many_messages_as_its_range_holds() {
        let weights: Vec<u64> =
            samples().iter().filter(|message| message.weight() > 1).map(Message::weight).collect();
        assert_eq!(weights, [2, 2, 3, 2], "PROPOSAL and INFORM 8..9, ACK 7..9, COMMIT 8..9");
    }

    #[test]
    fn messages_speak_in_zxids() {
        let texts: Vec<String> = samples().iter().map(ToString::to_string).collect();
        assert!(texts.contains(&"PROPOSAL 0x200000004..0x200000005".to_owned()), "{texts:?}");
        assert!(texts.contains(&"ACK 0x200000005".to_owned()), "{texts:?}");
    }

    #[test]
    fn votes_are_ordered_by_epoch_then_zxid_then_id() {
        let vote = |epoch, counter, id| Vote {
            peer_epoch: Epoch(epoch),
            zxid: Zxid { epoch: Epoch(1), counter },
            leader: NodeId(id),
        };
        assert!(vote(2, 1, 1) > vote(1, 9, 9));
        assert!(vote(1, 2, 1) > vote(1, 1, 9));
        assert!(vote(1, 1, 2) > vote(1, 1, 1));
    }
}
