//! What the protocols cost, exactly: the cost sheet that `duorum compare --exact` prints.
//!
//! Everything is counted in the simulator, in virtual time, so it is the same on every machine. What depends
//! on no chance is counted once; what does, elections, is told as a distribution over many seeds.

mod brief;
mod chances;
mod counts;
mod tables;
mod threads;

use consensus::Violation;

pub use self::brief::{Brief, BriefCost, BriefElections, BriefFigures, brief};
pub use self::chances::{Chances, ELECTIONS_DEFAULT, Progress, chances};
pub use self::counts::{BATCHES, BEHIND, Counts, Deed, SHAPES};

const INTRODUCTION: &str = "\
# What the protocols cost

Both protocols, counted exactly: messages, frames, bytes, syncs and message delays. The figures come from the
simulator, in which whole clusters run the server's own code in virtual time, so they are the same on every machine,
and a change of one is a change of the code. This page is what `duorum compare --exact` prints; a test makes it again
and compares. Where theory gives a figure, its formula stands above the table, and a test has them agree in every row.

- A **message** is one of the papers: a range of entries, acknowledgements or commits counts each. A **frame** is what
  goes over a connection at once; one may carry a range, in both protocols alike. Bytes are those of frames, without
  what TCP adds.
- A **sync** is one of the log, by any node.
- **Waits** are the messages and the syncs that pass one after another until it is over: 2 + 1 is two messages and one
  sync. What several nodes do at a time counts once.
- *n* voters, of which one leads, and *o* observers. All nodes together, and all connections.
- Values have 256 bytes. What happens happens alone: before, the cluster rests, and heartbeats are so far apart that
  none comes in between. What is counted is everything that follows until nothing follows any more.
";

/// The cost sheet, with these elections.
///
/// # Errors
/// When a law of the protocols is broken.
pub fn sheet(chances: &Chances) -> Result<String, Violation> {
    Ok(page(&Counts::of(|_, _| true)?, chances))
}

/// The cost sheet, as far as it was counted.
#[must_use]
pub fn page(counts: &Counts, chances: &Chances) -> String {
    let parts = [
        INTRODUCTION.to_owned(),
        tables::writes(counts),
        tables::batches(counts),
        tables::reads(counts),
        tables::elections(counts),
        tables::rejoins(counts),
        chances.table(),
    ];
    parts.join("\n")
}
