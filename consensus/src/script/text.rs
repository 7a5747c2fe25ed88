//! How entries, writes and answers are written in a transcript.

use bytes::Bytes;

use crate::{Answer, Entry, Payload, Persist, Refusal};

/// The most characters of a command that are shown.
const COMMAND_CHARACTERS_MAX: usize = 24;

/// A command in quotation marks, cut when it is long.
pub(crate) fn command(command: &Bytes) -> String {
    let text = String::from_utf8_lossy(command);
    if text.chars().count() <= COMMAND_CHARACTERS_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(COMMAND_CHARACTERS_MAX).collect();
    format!("{start:?}… {} bytes", command.len())
}

/// A position and what stands there.
pub(crate) fn entry(entry: &Entry) -> String {
    match &entry.payload {
        Payload::Empty => format!("{} empty", entry.position),
        Payload::Command(bytes) => format!("{} {}", entry.position, command(bytes)),
    }
}

/// What a write holds.
pub(crate) fn persist(persist: &Persist) -> String {
    let mut parts = Vec::new();
    if let Some(snapshot) = &persist.install {
        parts.push(format!("snapshot {}", snapshot.position));
    }
    if let Some(index) = persist.compact_to {
        parts.push(format!("forget up to {index}"));
    }
    if let Some(from) = persist.truncate_from {
        parts.push(format!("truncate from {from}"));
    }
    match persist.entries.as_slice() {
        [] => {}
        [only] => parts.push(only.position.to_string()),
        [first, .., last] => parts.push(format!("{}..{}", first.position, last.position)),
    }
    if persist.promise.is_some() {
        parts.push("promise".to_owned());
    }
    format!("{}: {}", persist.sequence, parts.join(", "))
}

/// An answer to a token.
pub(crate) fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Barrier { token, index } => format!("answers {token}: read at {index}"),
        Answer::Refused { token, reason } => {
            let reason = match reason {
                Refusal::NotLeader => "not the leader",
                Refusal::Overloaded => "overloaded",
                Refusal::NotReady => "not ready",
                Refusal::Transferring => "it is handing over",
                Refusal::NoSuccessor => "no successor",
            };
            format!("refuses {token}: {reason}")
        }
        Answer::HandedOver { token, to } => format!("answers {token}: handed over to {to}"),
        Answer::TransferFailed { token } => format!("answers {token}: the transfer failed"),
    }
}
