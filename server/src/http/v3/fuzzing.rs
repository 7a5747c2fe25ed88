//! What clients of `/v3` send, read from any bytes.

use super::message::{
    AlarmRequest, HashKvRequest, LeaseGrantRequest, ProclaimRequest, PutRequest, RangeRequest,
    TxnRequest, WatchRequest,
};
use super::protojson::{Json, decode};

/// A message of each kind. What was read comes out again.
pub(in crate::http) fn body(bytes: &[u8]) {
    survives::<RangeRequest>(bytes);
    survives::<PutRequest>(bytes);
    survives::<TxnRequest>(bytes);
    survives::<WatchRequest>(bytes);
    survives::<LeaseGrantRequest>(bytes);
    survives::<ProclaimRequest>(bytes);
    survives::<AlarmRequest>(bytes);
    survives::<HashKvRequest>(bytes);
}

fn survives<M: Json + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(message) = decode::<M>(bytes) else { return };
    let mut written = Vec::new();
    message.write(&mut written);
    let again = decode::<M>(&written);
    assert_eq!(again, Ok(message), "a message survives being written");
}
