//! A node's disk: the simulated disk, with syncs that can be made to fail at a chosen point, so that
//! a crash can come between any two of them, and a switch that makes it lie.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use storage::{Disk, DiskFile, SimulatedDisk, SimulatedFile};

/// A handle of a node's disk. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct NodeDisk {
    disk: SimulatedDisk,
    control: Arc<Mutex<Control>>,
}

#[derive(Debug, Default)]
struct Control {
    /// How many more syncs succeed before the power fails: from then on none does, and what was
    /// written stays unsynced.
    power_lasts: Option<u64>,
    /// Syncs of the log do nothing and say that they did.
    lies: bool,
    syncs: u64,
}

impl NodeDisk {
    pub(crate) fn new(lies: bool) -> Self {
        let control = Control { lies, ..Control::default() };
        Self { disk: SimulatedDisk::new(), control: Arc::new(Mutex::new(control)) }
    }

    /// From the sync after these on, nothing more becomes durable.
    pub(crate) fn power_lasts(&self, syncs: u64) {
        self.control().power_lasts = Some(syncs);
    }

    /// Cuts the power: a part of what was not synced is lost.
    pub(crate) fn crash(&mut self, seed: u64) {
        self.disk.crash(seed);
        self.control().power_lasts = None;
    }

    /// Kills the process; the system still has what it wrote.
    pub(crate) fn kill(&mut self) {
        self.disk.kill();
        self.control().power_lasts = None;
    }

    /// Takes the disk away and puts an empty one in its place.
    pub(crate) fn wipe(&mut self) {
        self.disk = SimulatedDisk::new();
        self.control().power_lasts = None;
    }

    /// Makes the next sync fail as a broken device does.
    pub(crate) fn fail_sync(&self) {
        self.disk.fail_sync(0);
    }

    /// How many syncs there were, of files and of the directory.
    pub(crate) fn syncs(&self) -> u64 {
        self.control().syncs
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().expect("no holder of the control panics")
    }

    fn file(&self, name: &str, file: SimulatedFile) -> NodeFile {
        NodeFile { file, is_log: name.ends_with(".wal"), disk: self.clone() }
    }

    /// Counts a sync. Returns whether it is to be carried out, or fails because the power did.
    fn sync(&self, is_log: bool) -> io::Result<bool> {
        let mut control = self.control();
        control.syncs += 1;
        match &mut control.power_lasts {
            Some(0) => return Err(io::Error::other("the power failed")),
            Some(syncs) => *syncs -= 1,
            None => {}
        }
        Ok(!(control.lies && is_log))
    }
}

impl Disk for NodeDisk {
    type File = NodeFile;

    fn location(&self, name: &str) -> String {
        self.disk.location(name)
    }

    fn open(&self, name: &str) -> io::Result<NodeFile> {
        Ok(self.file(name, self.disk.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<NodeFile> {
        Ok(self.file(name, self.disk.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.disk.exists(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.sync(false)?;
        self.disk.sync_directory()
    }
}

/// A file of a [`NodeDisk`].
#[derive(Debug)]
pub(crate) struct NodeFile {
    file: SimulatedFile,
    is_log: bool,
    disk: NodeDisk,
}

impl DiskFile for NodeFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.disk.sync(self.is_log)? { self.file.sync_data() } else { Ok(()) }
    }
}
