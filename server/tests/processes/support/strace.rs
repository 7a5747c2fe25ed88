//! What strace wrote down.

/// The calls in the order in which they *ended*, each with its arguments: what counts as durable is a
/// sync that came back. Calls that other threads interrupted are put together again.
pub(crate) fn complete_calls(trace: &str) -> Vec<String> {
    let mut unfinished = std::collections::BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread.to_owned(), start.trim_end().to_owned());
        } else if let Some((_, rest)) = call.split_once("resumed>") {
            let start = unfinished.remove(thread).unwrap_or_default();
            calls.push(format!("{start}{rest}"));
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

/// Whether this is a sync that succeeded.
pub(crate) fn is_sync(call: &str) -> bool {
    (call.starts_with("fdatasync(") || call.starts_with("fsync(")) && call.ends_with("= 0")
}
