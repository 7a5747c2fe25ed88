//! The comparison of Raft and ZAB: the same binary, workload, machine and minutes.
//!
//! Any two contenders can take their places: the same one twice, to see what the method makes of no
//! difference, or one as it is and with something changed, to see what that is worth.
//!
//! A comparison is made of blocks. Each block runs each contender twice, in the order A B B A or
//! B A A B, as a coin decides, so that whatever drifts while a block lasts (the disk's state, the
//! clock of the cores, a neighbour on the same host) hits both alike. Each run starts a cluster from
//! nothing in a fresh directory, fills it, measures writes and linearizable reads in a closed loop,
//! and then kills its leader, or does whatever fault was asked for, under paced writes. Only one cluster is there at a time.
//!
//! Before the first block and after the last one, two floors are measured in the same way: one node
//! of the null protocol, which is everything but replication, and an HTTP echo, which is everything
//! but the server.
//!
//! # Invariants
//! - What is discarded is fixed before the run: the fill, and a warm-up of constant length.
//! - A winner is named only where the 95 % interval of the ratio leaves 1 out, over at least
//!   [`crate::stats::BLOCKS_TO_CONCLUDE`] blocks.
//! - Whatever is left out of the analysis is listed with its reason.

mod analysis;
mod calibration;
mod check;
mod contender;
mod curves;
mod faults;
mod floor;
mod loads;
mod measures;
mod plan;
mod record;
mod run;
mod strikes;
mod table;
mod topic;

pub use analysis::{Analysis, Finding, Spread};
pub use calibration::Calibration;
pub use contender::{Contender, Side};
pub use curves::{Curve, CurveKind, CurvePoint, Knee, Knees};
pub use faults::{Durations, FaultFinding, FaultPart, PartFinding};
pub use measures::{Better, Measure};
pub use plan::{Block, MixedLoad, Part, Phases, Placement, Plan, Settings};
pub use record::{Comparison, Exclusion, Floor, Loads, Mixed, Run, Step, Writes};
pub(crate) use run::FORMAT;
pub use run::{Environment, compare};
pub(crate) use table::{aligned, phases_text, ratio_text};
pub use table::{plan_text, table_text};
pub use topic::{Compared, Topic};
