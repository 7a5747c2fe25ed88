//! Everything survives its encoding, and nothing that is no encoding is read as one.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::{CodecError, LIST_LENGTH_MAX, Wire, get_bytes, get_list, put_bytes, put_list};
use crate::{Entry, Index, NodeId, Payload, Position, Term, WallTime};

fn entry() -> impl Strategy<Value = Entry> {
    let payload = prop_oneof![
        Just(Payload::Empty),
        prop::collection::vec(any::<u8>(), 0..100)
            .prop_map(|bytes| Payload::Command(Bytes::from(bytes))),
    ];
    (any::<u64>(), any::<u64>(), any::<u64>(), payload).prop_map(|(term, index, wall, payload)| {
        Entry { position: Position::new(term, index), wall: WallTime(wall), payload }
    })
}

proptest! {
    #[test]
    fn entries_survive_and_have_the_size_they_say(entry in entry()) {
        let bytes = entry.to_bytes();
        prop_assert_eq!(bytes.len(), entry.size_bytes());
        prop_assert_eq!(Entry::from_bytes(bytes), Ok(entry));
    }

    #[test]
    fn a_cut_entry_is_truncated_and_a_longer_one_invalid(entry in entry()) {
        let bytes = entry.to_bytes();
        for length in 0..bytes.len() {
            prop_assert_eq!(Entry::from_bytes(bytes.slice(..length)), Err(CodecError::Truncated));
        }
        let mut longer = BytesMut::from(&bytes[..]);
        longer.put_u8(0);
        let expected = Err(CodecError::Invalid("trailing bytes"));
        prop_assert_eq!(Entry::from_bytes(longer.freeze()), expected);
    }

    #[test]
    fn lists_options_and_pairs_survive(
        entries in prop::collection::vec(entry(), 0..20),
        pair in any::<(u64, bool)>(),
        option in any::<Option<u64>>(),
    ) {
        let mut out = BytesMut::new();
        put_list(&mut out, &entries);
        let mut input = out.freeze();
        prop_assert_eq!(get_list::<Entry>(&mut input), Ok(entries));
        prop_assert!(input.is_empty());
        let pair = (Index(pair.0), pair.1);
        prop_assert_eq!(<(Index, bool)>::from_bytes(pair.to_bytes()), Ok(pair));
        let option = option.map(NodeId);
        prop_assert_eq!(Option::<NodeId>::from_bytes(option.to_bytes()), Ok(option));
    }

    #[test]
    fn garbage_is_an_error_or_reads_the_same_again(
        garbage in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let garbage = Bytes::from(garbage);
        if let Ok(entry) = Entry::from_bytes(garbage.clone()) {
            prop_assert_eq!(entry.to_bytes(), garbage.clone());
        }
        if let Ok(option) = Option::<Term>::from_bytes(garbage.clone()) {
            prop_assert_eq!(option.to_bytes(), garbage.clone());
        }
        let mut input = garbage;
        let _ = get_list::<Entry>(&mut input);
    }
}

#[test]
fn numbers_are_little_endian_and_of_fixed_width() {
    assert_eq!(&Term(0x0102).to_bytes()[..], [2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Position::new(1, 2).to_bytes().len(), 16);
}

#[test]
fn byte_strings_share_the_memory_of_the_input() {
    let mut out = BytesMut::new();
    put_bytes(&mut out, b"shared");
    let input = out.freeze();
    let string = get_bytes(&mut input.clone()).unwrap();
    assert_eq!(&string[..], b"shared");
    assert_eq!(string.as_ptr(), input[4..].as_ptr());
}

#[test]
fn a_length_beyond_the_input_or_the_bound_allocates_nothing() {
    let mut out = BytesMut::new();
    out.put_u32_le(u32::MAX);
    let claims = out.freeze();
    assert_eq!(get_bytes(&mut claims.clone()), Err(CodecError::Truncated));
    let too_long = Err(CodecError::Invalid("list length"));
    assert_eq!(get_list::<Index>(&mut claims.clone()), too_long);
    let mut out = BytesMut::new();
    out.put_u32_le(u32::try_from(LIST_LENGTH_MAX).unwrap());
    assert_eq!(get_list::<Index>(&mut out.freeze()), Err(CodecError::Truncated));
}

#[test]
fn a_flag_or_kind_out_of_range_is_invalid() {
    let two = Bytes::from_static(&[2]);
    assert_eq!(bool::from_bytes(two.clone()), Err(CodecError::Invalid("boolean")));
    assert_eq!(Option::<Index>::from_bytes(two), Err(CodecError::Invalid("boolean")));
    let entry = Entry { position: Position::ZERO, wall: WallTime(0), payload: Payload::Empty };
    let mut bytes = BytesMut::from(&entry.to_bytes()[..]);
    bytes[24] = 9;
    let expected = Err(CodecError::Invalid("entry kind"));
    assert_eq!(Entry::from_bytes(bytes.freeze()), expected);
}
