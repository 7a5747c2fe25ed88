//! What nodes tell of their past, read from any bytes, put together and written in each form.

use bytes::Bytes;
use consensus::NodeId;

use super::{Answers, FORMATS, LIMIT_DEFAULT, Parameters, Shown, parse};
use crate::http::elections;
use crate::node::trace::{self, NodeTrace};

/// The memories of up to three nodes, one behind the other; of who has none left, no answer came.
pub fn traces(bytes: &[u8]) {
    let mut rest = Bytes::copy_from_slice(bytes);
    let answers: Answers =
        (1..=3).map(|node| (NodeId(node), trace::decode_trace(&mut rest).ok())).collect();
    let _ = elections::write(&answers, 10, 7, "raft");
    let records = answers.values().flatten().map(|trace: &NodeTrace| trace.records.len()).sum();
    for limit in [usize::try_from(LIMIT_DEFAULT).unwrap_or(usize::MAX), 2] {
        let shown = Shown::new(&answers, limit, 7, "raft");
        assert_eq!(shown.placed.len(), limit.min(records), "the newest records are shown");
        for (_, format) in FORMATS {
            let _ = shown.write(format);
        }
    }
}

/// The query of the call.
pub(in crate::http) fn query(parameters: &Parameters) {
    let _ = parse(parameters);
}
