//! Real etcd and real ZooKeeper under the workload of the comparison: `duorum compare --with`.
//!
//! This compares systems and not protocols. Whatever differs between two rows may come from the
//! protocol, and as well from the language runtime, the format on disk, the rules of batching, the
//! client and its wire protocol, or from what else a server does for each request. So nothing is concluded
//! here: there are medians with their extremes, and no ratio and no winner. What the protocols cost
//! on equal terms is what [`crate::compare`] measures.
//!
//! Everybody is driven in the same way (`drive`): each run starts three processes from nothing with
//! a data directory on the same disk, fills the same keys with values of the same size, and then has as many
//! connections, spread over all nodes, each with one request under way. Writes, linearizable reads,
//! and reads of what one node happens to have are measured one after another, each after a warm-up of fixed
//! length. Then the leader is killed under paced writes to the others (`outage`). Blocks are
//! interleaved: each has one run of every subject, in an order that a coin decides. Beside the systems stand both
//! contenders of the comparison; what of it all is measured are its parts, so far as systems have them.
//!
//! The systems of others run with the settings that they come with. What has to be set so that three
//! nodes can share a machine, names, addresses and directories, is written down in the report.

mod choice;
mod client;
mod drive;
mod ensemble;
mod etcd;
mod options;
mod outage;
mod quantities;
mod record;
mod run;
mod search;
mod table;
mod zookeeper;

use serde::{Deserialize, Serialize};

use crate::compare::Side;
pub use choice::{System, With};
pub use options::Options;
pub(crate) use quantities::Quantity;
pub use record::{Installation, SystemRun, SystemWrites, Systems};
pub use run::{Subjects, measure};
pub(crate) use table::notes;
pub use table::{HEADING, plan_text, table_text};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Duorum as one side of the comparison has it, by its own HTTP API.
    Duorum(Side),
    /// etcd by gRPC, as its own clients speak to it.
    EtcdGrpc,
    /// etcd by the HTTP gateway that it has built in.
    EtcdGateway,
    /// ZooKeeper by its own client protocol.
    #[serde(rename = "zookeeper")]
    ZooKeeper,
}

impl Subject {
    /// What runs for it, if it is not Duorum.
    #[must_use]
    pub fn system(self) -> Option<System> {
        match self {
            Self::Duorum(_) => None,
            Self::EtcdGrpc | Self::EtcdGateway => Some(System::Etcd),
            Self::ZooKeeper => Some(System::ZooKeeper),
        }
    }
}

/// How much a read promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consistency {
    /// What was acknowledged before the read began is seen. ZooKeeper's nearest is `sync` and `getData` on
    /// one session.
    Linearizable,
    /// What the node that was asked has just then.
    Local,
}
