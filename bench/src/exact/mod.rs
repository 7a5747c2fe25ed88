//! What the protocols cost, exactly: the cost sheet that `duorum compare --exact` prints.
//!
//! Everything is counted in the simulator, in virtual time, so it is the same on every machine. What depends
//! on no chance is counted once; what does, elections, is told as a distribution over many seeds.

mod brief;
mod chances;
mod tables;

use consensus::Violation;

pub use self::brief::{Brief, BriefCost, BriefElections, BriefFigures, brief};
pub use self::chances::{Chances, ELECTIONS_DEFAULT, Progress, chances};

const INTRODUCTION: &str = "\
# What the protocols cost

Both protocols, counted exactly: messages, frames, bytes, syncs and message delays. The figures come from the
simulator, in which whole clusters run the server's own code in virtual time, so they are the same on every machine,
and a change of one is a change of the code. This page is what `duorum compare --exact` prints; a test makes it again
and compares.

- A **message** is one of the papers: a range of entries, acknowledgements or commits counts each. A **frame** is what
  goes over a connection at once; one may carry a range, in both protocols alike. Bytes are those of frames, without
  what TCP adds.
- A **sync** is one of the log, by any node. A **delay** is one message or one sync that an answer waits for.
- Values have 256 bytes. What happens happens alone: before, the cluster rests, and heartbeats are so far apart that
  none comes in between. What is counted is everything that follows until nothing follows any more.
";

/// The cost sheet.
///
/// # Errors
/// When a law of the protocols is broken.
pub fn sheet(chances: &Chances) -> Result<String, Violation> {
    let parts = [
        INTRODUCTION.to_owned(),
        tables::writes()?,
        tables::batches()?,
        tables::delays()?,
        tables::reads()?,
        tables::elections()?,
        tables::rejoins()?,
        chances.table(),
    ];
    Ok(parts.join("\n"))
}
