//! Where the nodes keep their data: a directory with one of each node in it, `raft-1`, `zab-3`.
//!
//! A temporary one goes when this goes, however that comes about, unless the process is killed.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use consensus::NodeId;
use storage::identity::IDENTITY_FILE;

use super::config::{DevConfig, NODES_MAX, NodeName};

/// How often a name for a temporary directory is tried.
const NAMES_MAX: u32 = 100;
/// How often the removal is tried: a node that was not waited for may still be writing.
const REMOVALS_MAX: u32 = 20;
/// How long to wait between two tries.
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// The directory of all nodes' data.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    is_temporary: bool,
}

impl DataDirectory {
    /// The directory asked for, or a new temporary one.
    ///
    /// # Errors
    /// When it can not be used: why, and what to do.
    pub(super) fn open(config: &DevConfig) -> Result<Self, String> {
        let Some(path) = config.data_directory() else { return Self::temporary() };
        let directory = Self { path: path.to_path_buf(), is_temporary: false };
        directory.check(config)?;
        Ok(directory)
    }

    fn temporary() -> Result<Self, String> {
        let parent = std::env::temp_dir();
        let fail = |cause: io::Error| {
            format!(
                "can not make a temporary directory in {}: {cause}; set TMPDIR, or give a \
                 directory with --data-dir",
                parent.display()
            )
        };
        for attempt in 0..NAMES_MAX {
            // A process that was killed may have left its directory behind under this number.
            let path = parent.join(format!("duorum-dev-{}-{attempt}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, is_temporary: true }),
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(fail(cause)),
            }
        }
        Err(fail(io::Error::other("all names are taken")))
    }

    /// Refuses a directory that holds something else than these clusters. That the protocol, the
    /// cluster and the number are right each node finds out by itself.
    fn check(&self, config: &DevConfig) -> Result<(), String> {
        let shown = self.path.display();
        if self.path.exists() && !self.path.is_dir() {
            return Err(format!(
                "--data-dir {shown} is a file; allowed: a directory, or a new one"
            ));
        }
        if is_node(&self.path) {
            return Err(format!(
                "--data-dir {shown} is the directory of a single node, of `duorum serve`; allowed: \
                 a directory for all nodes together, or a new one"
            ));
        }
        for &protocol in config.protocols() {
            let known: Vec<u64> = (1..=u64::from(NODES_MAX))
                .filter(|&id| self.is_known(NodeName { protocol, id: NodeId(id) }))
                .collect();
            let wanted: Vec<u64> = config.members(protocol).map(|name| name.id.0).collect();
            if !known.is_empty() && known != wanted {
                return Err(format!(
                    "--data-dir {shown} holds the {protocol} nodes {}, and --nodes is {}: a \
                     cluster stays with the nodes that it formed with; allowed: the \
                     number of nodes that it was made with, or another directory",
                    list(&known),
                    config.nodes(),
                ));
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// Where one node keeps its data.
    pub(super) fn of(&self, name: NodeName) -> PathBuf {
        self.path.join(format!("{}-{}", name.protocol, name.id.0))
    }

    /// Whether a node has been there before.
    pub(super) fn is_known(&self, name: NodeName) -> bool {
        is_node(&self.of(name))
    }
}

/// Whether this is the data directory of a node.
fn is_node(path: &Path) -> bool {
    path.join(IDENTITY_FILE).exists()
}

fn list(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        if !self.is_temporary {
            return;
        }
        for attempt in 1.. {
            match std::fs::remove_dir_all(&self.path) {
                Ok(()) => return,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => return,
                Err(_) if attempt < REMOVALS_MAX => std::thread::sleep(REMOVAL_PAUSE),
                Err(cause) => {
                    tracing::error!("can not remove {}: {cause}", self.path.display());
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(nodes: u64, path: &Path) -> DevConfig {
        DevConfig::new("raft", nodes, 7000, Some(path.to_path_buf())).expect("possible")
    }

    fn make_node(path: &Path) {
        std::fs::create_dir_all(path).expect("made");
        std::fs::write(path.join(IDENTITY_FILE), "").expect("written");
    }

    #[test]
    fn a_directory_of_other_nodes_is_refused() {
        let kept = tempfile::tempdir().expect("a directory");
        let refused = |nodes, path: &Path| {
            DataDirectory::open(&config(nodes, path)).expect_err("not what was asked for")
        };
        for id in 1..=3 {
            make_node(&kept.path().join(format!("raft-{id}")));
        }
        DataDirectory::open(&config(3, kept.path())).expect("the same nodes");
        for nodes in [1, 2, 4] {
            let error = refused(nodes, kept.path());
            assert!(error.contains("holds the raft nodes 1, 2, 3"), "{error}");
        }
        let single = refused(3, &kept.path().join("raft-1"));
        assert!(single.contains("single node"), "{single}");
        std::fs::remove_dir_all(kept.path().join("raft-2")).expect("removed");
        let lost = refused(3, kept.path());
        assert!(lost.contains("holds the raft nodes 1, 3, and"), "{lost}");
        let file = kept.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert!(refused(3, &file).contains("is a file"));
    }

    #[test]
    fn a_temporary_directory_goes_and_one_that_was_asked_for_stays() {
        let config = DevConfig::new("raft", 1, 7000, None).expect("possible");
        let directory = DataDirectory::open(&config).expect("a directory");
        let path = directory.path().to_path_buf();
        make_node(&path.join("raft-1"));
        drop(directory);
        assert!(!path.exists());

        let kept = tempfile::tempdir().expect("a directory");
        drop(DataDirectory::open(&self::config(1, kept.path())).expect("a directory"));
        assert!(kept.path().exists());
    }
}
