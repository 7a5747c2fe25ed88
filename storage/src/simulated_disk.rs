//! A disk in memory that forgets what was not synced when the power is cut.
//!
//! It keeps, for every file, what a reader sees and what is durable, with the writes in between;
//! and the same for the directory, because a name is durable only once the directory was synced.
//! A power cut keeps any part of what was not synced: nothing, all, or some of the writes, some
//! sectors of a write, a write up to any byte. The part is drawn from a seed, so a failing run can
//! be repeated exactly.
//!
//! What it does not model: sectors that were durable and decay by themselves (a test asks for that
//! with [`SimulatedDisk::flip`]), and a rename that is half done (journalling file systems make it
//! one step).

mod power_cut;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use consensus::Random;

use self::power_cut::Policy;
use crate::disk::{Disk, DiskFile};

/// A handle of a simulated disk. Clones share it, and die with the process that holds them:
/// after [`SimulatedDisk::crash`] or [`SimulatedDisk::kill`] only the handle that it was called on,
/// and later clones of it, work.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    shared: Arc<Mutex<Shared>>,
    life: u64,
}

/// What a simulated disk was asked to do since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStatistics {
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of the directory.
    pub directory_syncs: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes read.
    pub bytes_read: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// The number of the process that may use the disk.
    life: u64,
    inodes: BTreeMap<u64, Inode>,
    inodes_made: u64,
    /// The names that a reader sees.
    names: BTreeMap<String, u64>,
    /// The names that survive a power cut for certain.
    durable_names: BTreeMap<String, u64>,
    /// What happened to the directory since it was last synced.
    pending_names: Vec<NameChange>,
    /// How many more writes succeed before one fails.
    write_fault: Option<u64>,
    /// How many more syncs succeed before one fails.
    sync_fault: Option<u64>,
    /// How many more changes are made before the process dies.
    halt: Option<u64>,
    statistics: DiskStatistics,
}

/// A file without its name.
#[derive(Debug, Default)]
struct Inode {
    /// What a reader sees.
    content: Vec<u8>,
    /// What survives a power cut for certain.
    durable: Vec<u8>,
    /// What happened to the content since it was last synced.
    pending: Vec<Change>,
    /// Counts the open handles: one more than there are.
    handles: Arc<()>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, inode: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::default(), life: 0 }
    }

    /// Cuts the power: every handle but this one is dead from now on, and of what was not synced
    /// a part is kept that the seed decides.
    pub fn crash(&mut self, seed: u64) {
        let mut shared = self.lock();
        let mut random = Random::new(seed);
        let policy = Policy::draw(&mut random);
        for inode in shared.inodes.values_mut() {
            for change in std::mem::take(&mut inode.pending) {
                policy.keep_content(&mut random, &mut inode.durable, &change);
            }
            inode.content.clone_from(&inode.durable);
        }
        for change in std::mem::take(&mut shared.pending_names) {
            if policy.keeps(&mut random) {
                apply_name(&mut shared.durable_names, &change);
            }
        }
        shared.names = shared.durable_names.clone();
        shared.write_fault = None;
        shared.sync_fault = None;
        shared.halt = None;
        shared.life += 1;
        let life = shared.life;
        shared.collect();
        drop(shared);
        self.life = life;
    }

    /// Kills the process and leaves the power on: every handle but this one is dead from now on,
    /// and everything written is still there, though no more durable than before.
    pub fn kill(&mut self) {
        let mut shared = self.lock();
        shared.life += 1;
        shared.write_fault = None;
        shared.sync_fault = None;
        shared.halt = None;
        let life = shared.life;
        drop(shared);
        self.life = life;
    }

    /// Makes a write fail, half done, after `successes` more that succeed.
    pub fn fail_write(&self, successes: u64) {
        self.lock().write_fault = Some(successes);
    }

    /// Makes a sync of a file or of the directory fail after `successes` more that succeed. What
    /// it should have made durable stays visible, and no later sync makes it durable: that is how
    /// Linux behaves.
    pub fn fail_sync(&self, successes: u64) {
        self.lock().sync_fault = Some(successes);
    }

    /// Lets the process die after that many more writes, syncs and changes of names: the next one
    /// has no effect, and every handle is dead. A crash in the midst of anything is this, and then
    /// [`SimulatedDisk::crash`].
    pub fn halt_after(&self, changes: u64) {
        self.lock().halt = Some(changes);
    }

    /// What was asked of the disk so far.
    #[must_use]
    pub fn statistics(&self) -> DiskStatistics {
        self.lock().statistics
    }

    /// What a reader of this file sees, or `None` when there is no such file.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let shared = self.lock();
        let inode = shared.names.get(name)?;
        Some(shared.inodes[inode].content.clone())
    }

    /// Damages a file durably: inverts these bits of the byte at this position.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn flip(&self, name: &str, offset: usize, bits: u8) {
        let mut bytes = self.content(name).expect("the file to damage exists");
        bytes[offset] ^= bits;
        self.put(name, &bytes);
    }

    /// Replaces or creates a whole file, durably.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut shared = self.lock();
        let number = match shared.names.get(name) {
            Some(number) => *number,
            None => shared.add_inode(),
        };
        let inode = shared.inodes.get_mut(&number).expect("every name has its file");
        inode.content = bytes.to_vec();
        inode.durable = bytes.to_vec();
        inode.pending.clear();
        shared.names.insert(name.to_string(), number);
        shared.durable_names.insert(name.to_string(), number);
    }

    /// Removes a file, durably.
    pub fn take(&self, name: &str) {
        let mut shared = self.lock();
        shared.names.remove(name);
        shared.durable_names.remove(name);
        shared.collect();
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no holder of the simulated disk panics")
    }

    /// The disk, for a process that is still alive.
    fn alive(&self, name: &str, operation: &str) -> io::Result<MutexGuard<'_, Shared>> {
        let shared = self.lock();
        if shared.life == self.life {
            Ok(shared)
        } else {
            Err(wrong(name, operation, io::ErrorKind::Other, "this process was killed"))
        }
    }

    /// The disk, for a process that is still alive and about to change something.
    fn changing(&self, name: &str, operation: &str) -> io::Result<MutexGuard<'_, Shared>> {
        let mut shared = self.alive(name, operation)?;
        if Shared::due(&mut shared.halt) {
            shared.life += 1;
            return Err(wrong(name, operation, io::ErrorKind::Other, "this process was killed"));
        }
        Ok(shared)
    }

    fn handle(&self, shared: &Shared, name: &str, inode: u64) -> SimulatedFile {
        SimulatedFile {
            disk: self.clone(),
            name: name.to_string(),
            inode,
            _handle: Arc::clone(&shared.inodes[&inode].handles),
        }
    }
}

fn wrong(name: &str, operation: &str, kind: io::ErrorKind, what: &str) -> io::Error {
    io::Error::new(kind, format!("simulated disk: {name}: {operation}: {what}"))
}

impl Shared {
    fn add_inode(&mut self) -> u64 {
        self.inodes_made += 1;
        self.inodes.insert(self.inodes_made, Inode::default());
        self.inodes_made
    }

    /// Counts down to a fault.
    fn due(fault: &mut Option<u64>) -> bool {
        match fault {
            Some(0) => {
                *fault = None;
                true
            }
            Some(successes) => {
                *successes -= 1;
                false
            }
            None => false,
        }
    }

    /// Drops the files that have neither a name, nor a pending one, nor an open handle.
    fn collect(&mut self) {
        let Self { inodes, names, durable_names, pending_names, .. } = self;
        let pending = pending_names.iter().filter_map(|change| match change {
            NameChange::Create { inode, .. } => Some(inode),
            NameChange::Rename { .. } | NameChange::Remove { .. } => None,
        });
        let named: BTreeSet<u64> =
            names.values().chain(durable_names.values()).chain(pending).copied().collect();
        inodes.retain(|number, inode| {
            Arc::strong_count(&inode.handles) > 1 || named.contains(number)
        });
    }
}

fn apply_name(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Create { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        // A rename of a name whose creation was lost renames nothing.
        NameChange::Rename { from, to } => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Remove { name } => {
            names.remove(name);
        }
    }
}

fn write_into(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn location(&self, name: &str) -> String {
        name.to_string()
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let shared = self.alive(name, "opening")?;
        match shared.names.get(name) {
            Some(inode) => Ok(self.handle(&shared, name, *inode)),
            None => Err(wrong(name, "opening", io::ErrorKind::NotFound, "no such file")),
        }
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let mut shared = self.changing(name, "creating")?;
        if shared.names.contains_key(name) {
            return Err(wrong(name, "creating", io::ErrorKind::AlreadyExists, "it exists"));
        }
        let inode = shared.add_inode();
        shared.names.insert(name.to_string(), inode);
        shared.pending_names.push(NameChange::Create { name: name.to_string(), inode });
        Ok(self.handle(&shared, name, inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut shared = self.changing(from, "renaming")?;
        if !shared.names.contains_key(from) {
            return Err(wrong(from, "renaming", io::ErrorKind::NotFound, "no such file"));
        }
        let change = NameChange::Rename { from: from.to_string(), to: to.to_string() };
        apply_name(&mut shared.names, &change);
        shared.pending_names.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut shared = self.changing(name, "removing")?;
        if !shared.names.contains_key(name) {
            return Err(wrong(name, "removing", io::ErrorKind::NotFound, "no such file"));
        }
        let change = NameChange::Remove { name: name.to_string() };
        apply_name(&mut shared.names, &change);
        shared.pending_names.push(change);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.alive("", "listing the directory")?.names.keys().cloned().collect())
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.alive(name, "looking for the file")?.names.contains_key(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut shared = self.changing("", "syncing the directory")?;
        shared.statistics.directory_syncs += 1;
        if Shared::due(&mut shared.sync_fault) {
            shared.pending_names.clear();
            return Err(wrong("", "syncing the directory", io::ErrorKind::Other, "injected fault"));
        }
        shared.pending_names.clear();
        shared.durable_names = shared.names.clone();
        shared.collect();
        Ok(())
    }
}

/// A file of a [`SimulatedDisk`].
#[derive(Debug)]
pub struct SimulatedFile {
    disk: SimulatedDisk,
    name: String,
    inode: u64,
    /// Keeps a removed file alive for as long as it is open.
    _handle: Arc<()>,
}

impl SimulatedFile {
    fn with<T>(
        &self,
        operation: &str,
        act: impl FnOnce(&mut Shared) -> io::Result<T>,
    ) -> io::Result<T> {
        act(&mut *self.disk.alive(&self.name, operation)?)
    }

    fn change<T>(
        &self,
        operation: &str,
        act: impl FnOnce(&mut Shared) -> io::Result<T>,
    ) -> io::Result<T> {
        act(&mut *self.disk.changing(&self.name, operation)?)
    }

    fn fault(&self, operation: &str) -> io::Error {
        wrong(&self.name, operation, io::ErrorKind::Other, "injected fault")
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits into memory")
}

impl Shared {
    fn inode(&mut self, number: u64) -> &mut Inode {
        self.inodes.get_mut(&number).expect("an open file is kept")
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with("reading", |shared| {
            let start = position(offset);
            let end = start + buffer.len();
            let Some(bytes) = shared.inode(self.inode).content.get(start..end) else {
                let what = format!("{} bytes at offset {offset} reach beyond it", buffer.len());
                return Err(wrong(&self.name, "reading", io::ErrorKind::UnexpectedEof, &what));
            };
            buffer.copy_from_slice(bytes);
            shared.statistics.bytes_read += buffer.len() as u64;
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change("writing", |shared| {
            let fails = Shared::due(&mut shared.write_fault);
            let bytes = if fails { &bytes[..bytes.len() / 2] } else { bytes };
            shared.statistics.writes += 1;
            shared.statistics.bytes_written += bytes.len() as u64;
            let inode = shared.inode(self.inode);
            let offset = position(offset);
            write_into(&mut inode.content, offset, bytes);
            inode.pending.push(Change::Write { offset, bytes: bytes.to_vec() });
            if fails { Err(self.fault("writing")) } else { Ok(()) }
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with("asking its length", |shared| Ok(shared.inode(self.inode).content.len() as u64))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.change("setting its length", |shared| {
            let inode = shared.inode(self.inode);
            inode.content.resize(position(length), 0);
            inode.pending.push(Change::Length(position(length)));
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if self.length()? < length { self.set_length(length) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change("syncing", |shared| {
            shared.statistics.syncs += 1;
            let fails = Shared::due(&mut shared.sync_fault);
            let inode = shared.inode(self.inode);
            for change in std::mem::take(&mut inode.pending) {
                match change {
                    _ if fails => {}
                    Change::Write { offset, bytes } => {
                        write_into(&mut inode.durable, offset, &bytes);
                    }
                    Change::Length(length) => inode.durable.resize(length, 0),
                }
            }
            if fails { Err(self.fault("syncing")) } else { Ok(()) }
        })
    }
}
