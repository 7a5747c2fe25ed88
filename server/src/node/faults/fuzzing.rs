//! What is said of faults, read from any bytes.

use std::fmt;

use consensus::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Members;
use super::{FaultRequest, LabReply, LabWord};

/// What a node is asked by another.
pub fn word(bytes: &[u8]) {
    let Some(word) = read::<LabWord>(bytes) else { return };
    if let LabWord::Begin(fault) = word
        && fault.check_again(&members()).is_ok()
    {
        let _ = (fault.lasts(), fault.to_string());
        let _ = fault.concerns(NodeId(1), NodeId(2));
    }
}

/// What it answers.
pub fn reply(bytes: &[u8]) {
    let _ = read::<LabReply>(bytes);
}

/// What a client asks for, once it is read: the node that carries it out takes what another checked.
pub(crate) fn check(request: &FaultRequest) {
    survives(request);
    if let Ok(fault) = request.check(NodeId(2), &members()) {
        survives(&fault);
        assert_eq!(fault.check_again(&members()), Ok(()), "a node takes what another has checked");
        let _ = fault.to_string();
    }
}

pub(crate) fn members() -> Members {
    (1..=3).map(|id| (NodeId(id), String::new())).collect()
}

/// Reads as the transport does.
fn read<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let value = serde_json::from_slice(bytes).ok()?;
    survives(&value);
    Some(value)
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
    let json = serde_json::to_vec(value).expect("it is JSON");
    let again = serde_json::from_slice::<T>(&json).expect("what was written is read");
    assert_eq!(&again, value, "it survives its encoding");
}
