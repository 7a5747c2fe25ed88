//! A node's disk: the simulated disk, with syncs that can be made to fail at a chosen point, so that
//! a crash can come between any two of them, with an end of its room, with bits that flip in what was
//! synced, and a switch that makes it lie.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use consensus::Random;
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
    /// A write or a sync is going to fail.
    is_faulty: bool,
    /// No file can grow, and none can be made.
    is_full: bool,
    /// Where segments of the log were written, and whether that was synced.
    written: BTreeMap<String, Vec<Written>>,
    /// Segments that were opened under another name, which is still their handle's.
    renamed: BTreeMap<String, String>,
}

/// A write of the log.
#[derive(Clone, Copy, Debug)]
struct Written {
    offset: u64,
    length: u64,
    is_synced: bool,
}

/// A bit that was flipped.
#[derive(Clone, Debug)]
pub(crate) struct Flip {
    pub(crate) name: String,
    pub(crate) offset: usize,
    pub(crate) bits: u8,
}

/// Whether a file is a segment of the log, or is going to be one.
fn is_log(name: &str) -> bool {
    name.ends_with(".wal") || name.starts_with("spare-")
}

/// A flip comes in front of at least so many writes, which are synced: the last ones of a log that was
/// closed only say that it was.
const FLIPS_BEFORE: usize = 4;

impl Control {
    /// Another process begins. What was not synced nobody counts on.
    fn begin_life(&mut self) {
        self.power_lasts = None;
        self.is_faulty = false;
        for writes in self.written.values_mut() {
            writes.retain(|written| written.is_synced);
        }
    }

    fn writes(&mut self, name: &str, new: Written) {
        let end = new.offset + new.length;
        let name = self.renamed.get(name).map_or(name, String::as_str).to_owned();
        let writes = self.written.entry(name).or_default();
        // What was there before is gone, or is half gone.
        writes.retain(|old| old.offset >= end || old.offset + old.length <= new.offset);
        writes.push(new);
    }

    fn synced(&mut self, name: &str) {
        let name = self.renamed.get(name).map_or(name, String::as_str);
        for written in self.written.get_mut(name).into_iter().flatten() {
            written.is_synced = true;
        }
    }
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
        self.control().begin_life();
    }

    /// Kills the process; the system still has what it wrote.
    pub(crate) fn kill(&mut self) {
        self.disk.kill();
        self.control().begin_life();
    }

    /// Takes the disk away and puts an empty one in its place.
    pub(crate) fn wipe(&mut self) {
        self.disk = SimulatedDisk::new();
        let mut control = self.control();
        control.begin_life();
        control.written.clear();
    }

    /// Makes the next sync fail as a broken device does.
    pub(crate) fn fail_sync(&self) {
        self.disk.fail_sync(0);
        self.control().is_faulty = true;
    }

    /// Makes the next write fail, half done.
    pub(crate) fn fail_write(&self) {
        self.disk.fail_write(0);
        self.control().is_faulty = true;
    }

    /// From now on there is no room, or there is again.
    pub(crate) fn fill(&self, is_full: bool) {
        self.control().is_full = is_full;
    }

    /// Whether there is no room.
    pub(crate) fn is_full(&self) -> bool {
        self.control().is_full
    }

    /// Whether it was made to fail, so that an error of a store is no wonder.
    pub(crate) fn may_fail(&self) -> bool {
        let control = self.control();
        control.is_faulty || control.is_full
    }

    /// Flips a bit of the log, in a segment that is in use and in front of what was synced there last.
    /// Nothing if there is too little.
    pub(crate) fn flip(&self, random: &mut Random) -> Option<Flip> {
        let control = self.control();
        // The last that has a name: what was removed may have been forgotten before.
        let segments = control.written.iter().filter(|(name, _)| name.ends_with(".wal"));
        let mut segments = segments.rev();
        let (name, writes) = segments.find(|(name, _)| self.disk.content(name).is_some())?;
        let synced: Vec<&Written> = writes.iter().filter(|written| written.is_synced).collect();
        let before_last = synced.len().checked_sub(FLIPS_BEFORE)?;
        let written = synced[usize::try_from(random.below(before_last as u64 + 1)).ok()?];
        let offset = written.offset + random.below(written.length);
        let offset = usize::try_from(offset).expect("it is in memory");
        let content = self.disk.content(name).expect("it has a name");
        // Between records there are some zeros that mean nothing.
        let zeros = content[offset..].iter().take_while(|byte| **byte == 0).count();
        let offset = offset + zeros;
        let end = usize::try_from(written.offset + written.length).expect("it is in memory");
        let flip = Flip { name: name.clone(), offset, bits: 1 << random.below(8) };
        drop(control);
        (offset < end).then(|| self.flip_again(&flip))?;
        Some(flip)
    }

    /// Flips a bit that was flipped before back to what it was.
    pub(crate) fn flip_again(&self, flip: &Flip) {
        self.disk.flip(&flip.name, flip.offset, flip.bits);
    }

    /// How many syncs there were, of files and of the directory.
    pub(crate) fn syncs(&self) -> u64 {
        self.control().syncs
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().expect("no holder of the control panics")
    }

    fn file(&self, name: &str, file: SimulatedFile) -> NodeFile {
        NodeFile { file, is_log: is_log(name), name: name.to_owned(), disk: self.clone() }
    }

    /// Refuses what needs more room than there is.
    fn grow(&self, name: &str) -> io::Result<()> {
        if self.is_full() {
            let what = format!("simulated disk: {name}: no space is left");
            return Err(io::Error::new(io::ErrorKind::StorageFull, what));
        }
        Ok(())
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
        self.grow(name)?;
        self.control().renamed.remove(name);
        Ok(self.file(name, self.disk.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)?;
        let mut control = self.control();
        if is_log(to) {
            let writes = control.written.remove(from).unwrap_or_default();
            control.written.insert(to.to_owned(), writes);
            control.renamed.insert(from.to_owned(), to.to_owned());
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)?;
        self.control().written.remove(name);
        Ok(())
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
    name: String,
    is_log: bool,
    disk: NodeDisk,
}

impl NodeFile {
    /// Refuses to become longer than there is room for.
    fn reach(&self, length: u64) -> io::Result<()> {
        if self.disk.is_full() && self.file.length()? < length {
            self.disk.grow(&self.name)?;
        }
        Ok(())
    }
}

impl DiskFile for NodeFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        self.reach(offset + length)?;
        if self.is_log {
            self.disk.control().writes(&self.name, Written { offset, length, is_synced: false });
        }
        self.file.write_at(offset, bytes)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.reach(length)?;
        self.file.set_length(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.reach(length)?;
        self.file.allocate(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        if !self.disk.sync(self.is_log)? {
            return Ok(());
        }
        self.file.sync_data()?;
        self.disk.control().synced(&self.name);
        Ok(())
    }
}
