//! What can be seen of a node from outside: its progress, its memory, its files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use consensus::NodeId;
use serde::{Deserialize, Serialize};

use super::{ASK_TIMEOUT, Cluster, Counters, POLL_INTERVAL, get};
use crate::Error;

/// How long replicas get to show that they have the same, once nobody writes any more.
const AGREE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a node says of itself at `/v1/status`, as far as it tells how far the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Progress {
    /// The term (Raft) or epoch (ZAB).
    pub term: u64,
    /// The index of the last entry applied.
    pub applied_index: u64,
    /// The index of the last entry of its log.
    pub last_index: u64,
    /// The index of the last entry that its disk has.
    pub durable_index: u64,
    /// The revision of the state machine.
    pub revision: u64,
    /// What the state machine holds.
    pub store: StoreProgress,
}

/// What the state machine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct StoreProgress {
    /// Versions of keys, retained history included.
    pub versions: u64,
}

/// What a process occupies of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Now, in bytes (`VmRSS`).
    pub resident_bytes: u64,
    /// The most since the process started or the peak was reset, in bytes (`VmHWM`).
    pub peak_bytes: u64,
}

/// What one node occupies of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMemory {
    /// Its number.
    pub node: u64,
    /// What its process occupies.
    pub memory: Memory,
}

impl NodeMemory {
    /// The most that any of the nodes occupied at its peak, in bytes.
    #[must_use]
    pub fn peak_max(nodes: &[Self]) -> u64 {
        nodes.iter().map(|node| node.memory.peak_bytes).max().unwrap_or(0)
    }
}

/// What a node occupies of the disk, in bytes of allocated blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The segments of the log, those prepared for later included.
    pub log_bytes: u64,
    /// The store, and one that is being received.
    pub store_bytes: u64,
    /// Everything else.
    pub other_bytes: u64,
}

impl Disk {
    /// All together.
    #[must_use]
    pub fn total_bytes(self) -> u64 {
        self.log_bytes + self.store_bytes + self.other_bytes
    }
}

/// What `/v1/agree` says about the whole store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Whether all who answered have the same; `None` when that could not be found out.
    pub agree: Option<bool>,
    /// How many nodes answered.
    pub answered: u64,
    /// How many there are.
    pub members: u64,
    /// The revision whose digests were compared.
    pub digest_revision: Option<u64>,
}

impl Agreement {
    /// Why it does not show that every node has the same, if it does not.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        let Self { agree, answered, members, .. } = *self;
        if agree == Some(true) && answered == members {
            return None;
        }
        let agree = agree.map_or("not known".to_owned(), |agree| agree.to_string());
        Some(format!(
            "not all replicas have the same: agree is {agree}, {answered} of {members} answered"
        ))
    }
}

impl Cluster {
    /// The numbers of all nodes, running or not.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// How far a node is.
    ///
    /// # Errors
    /// [`Error::Node`] when it does not answer.
    pub async fn progress(&self, id: NodeId) -> Result<Progress, Error> {
        let page = self.page(id, "/v1/status", ASK_TIMEOUT).await?;
        serde_json::from_slice(&page).map_err(|error| {
            self.complaint(&format!("/v1/status of node {}: {error}", id.0), Some(id))
        })
    }

    /// What one node has counted since it started.
    ///
    /// # Errors
    /// [`Error::Node`] when it does not answer.
    pub async fn counters_of(&self, id: NodeId) -> Result<Counters, Error> {
        let mut counters = Counters::default();
        let page = self.page(id, "/metrics", ASK_TIMEOUT).await?;
        counters.add_page(&String::from_utf8_lossy(&page));
        Ok(counters)
    }

    /// A page of one node.
    pub(super) async fn page(
        &self,
        id: NodeId,
        path: &str,
        timeout: Duration,
    ) -> Result<Vec<u8>, Error> {
        match get(self.endpoint(id), path, timeout).await {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => {
                let body = String::from_utf8_lossy(&body);
                Err(self.complaint(&format!("{path} of node {}: {status} {body}", id.0), Some(id)))
            }
            Err(error) => {
                Err(self.complaint(&format!("{path} of node {}: {error}", id.0), Some(id)))
            }
        }
    }

    /// Waits until a node is ready to serve.
    ///
    /// # Errors
    /// [`Error::Node`] when it ends or takes longer than this.
    pub async fn wait_until_ready(&mut self, id: NodeId, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        loop {
            self.check_running(id)?;
            if let Ok((200, _)) = get(self.endpoint(id), "/readyz", ASK_TIMEOUT).await {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = format!("node {} is not ready after {} s", id.0, limit.as_secs());
                return Err(self.complaint(&what, Some(id)));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Finds out a process that ended on its own.
    ///
    /// # Errors
    /// [`Error::Node`] when it did, with its last words.
    pub fn check_running(&mut self, id: NodeId) -> Result<(), Error> {
        match self.node_mut(id).ended() {
            None => Ok(()),
            Some(status) => {
                Err(self.complaint(&format!("node {} ended: {status}", id.0), Some(id)))
            }
        }
    }

    /// Whether all replicas have the same. To be asked when nobody writes any more; replicas that
    /// are behind get time to catch up.
    ///
    /// # Errors
    /// [`Error::Node`] when the node that is asked does not answer.
    pub async fn agreement(&self) -> Result<Agreement, Error> {
        let id = self.nodes.iter().find(|node| node.is_running()).map(|node| node.id);
        let asked = id.ok_or_else(|| self.complaint("no node runs", None))?;
        let path = format!("/v1/agree?timeout={}s", AGREE_TIMEOUT.as_secs());
        let answer = get(self.endpoint(asked), &path, AGREE_TIMEOUT + ASK_TIMEOUT).await;
        let wrong = |why: String| self.complaint(&format!("/v1/agree: {why}"), Some(asked));
        match answer {
            Ok((200, body)) => {
                serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))
            }
            Ok((status, _)) => Err(wrong(format!("it answered {status}"))),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// What a node occupies of memory, from `/proc`; `None` when it does not run.
    #[must_use]
    pub fn memory(&self, id: NodeId) -> Option<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.node(id).pid()?)).ok()?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        Some(Memory { resident_bytes: bytes("VmRSS:")?, peak_bytes: bytes("VmHWM:")? })
    }

    /// What every running node occupies of memory.
    #[must_use]
    pub fn memories(&self) -> Vec<NodeMemory> {
        let memory = |id: NodeId| Some(NodeMemory { node: id.0, memory: self.memory(id)? });
        self.ids().into_iter().filter_map(memory).collect()
    }

    /// Has a node's peak of memory count from now on. A kernel that does not do that leaves it
    /// larger than it should be.
    pub fn reset_memory_peak(&self, id: NodeId) {
        if let Some(pid) = self.node(id).pid() {
            // 5 is the documented number for it, proc(5).
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    /// What a node's files occupy.
    #[must_use]
    pub fn disk(&self, id: NodeId) -> Disk {
        let mut disk = Disk::default();
        for (name, bytes) in self.files(id) {
            let part = match name.split('-').next() {
                Some("log" | "spare") => &mut disk.log_bytes,
                Some("store") => &mut disk.store_bytes,
                _ => &mut disk.other_bytes,
            };
            *part += bytes;
        }
        disk
    }

    /// The names of the segments of a node's log.
    #[must_use]
    pub fn log_segments(&self, id: NodeId) -> BTreeSet<String> {
        let names = self.files(id).into_iter().map(|(name, _)| name);
        names.filter(|name| name.starts_with("log-")).collect()
    }

    /// The files of a node's directory with what they occupy. One that goes away meanwhile is left
    /// out.
    fn files(&self, id: NodeId) -> Vec<(String, u64)> {
        let Ok(entries) = fs::read_dir(&self.node(id).data) else { return Vec::new() };
        let sized = entries.filter_map(Result::ok).filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            // The unit of stat(2), whatever the file system's blocks are.
            Some((entry.file_name().into_string().ok()?, metadata.blocks() * 512))
        });
        sized.collect()
    }
}
