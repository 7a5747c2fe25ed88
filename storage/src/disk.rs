//! The disk as everything in this crate sees it: one flat directory of files.
//!
//! Two disks fulfil the trait: [`crate::RealDisk`] and [`crate::SimulatedDisk`]. The log and the
//! store know neither, so the simulator tests the very code that the server runs.
//!
//! What a disk promises is what POSIX promises, and no more:
//! - a write is durable once a later [`DiskFile::sync_data`] of that file returned;
//! - a file's *name* is durable once a later [`Disk::sync_directory`] returned, after creating,
//!   renaming and removing alike;
//! - until then a power cut may keep any part of it.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

/// One directory on a disk. Names are relative to it and hold no separator.
///
/// Clones are handles of the same directory. Every error names the file and the operation.
pub trait Disk: Clone + Debug + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Where the file of that name is, in words for a human reader.
    fn location(&self, name: &str) -> String;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// When there is no such file, or it can not be opened.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Creates an empty file. Its name is durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// When a file of that name exists, or it can not be created.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, in one step, replacing a file that has that name already.
    ///
    /// # Errors
    /// When there is no such file, or the directory can not be written.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Who has it open may go on using it.
    ///
    /// # Errors
    /// When there is no such file, or the directory can not be written.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, in order.
    ///
    /// # Errors
    /// When the directory can not be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Whether a file of that name exists.
    ///
    /// # Errors
    /// When the directory can not be read.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// Makes every creation, renaming and removal so far durable.
    ///
    /// # Errors
    /// When the disk fails. What is durable is then unknown.
    fn sync_directory(&self) -> io::Result<()>;
}

/// An open file. Positions are in bytes from its start.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Fills the buffer from this position.
    ///
    /// # Errors
    /// When the file ends before the buffer is full, or can not be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all these bytes at this position, growing the file when they reach beyond its end.
    ///
    /// # Errors
    /// When not all could be written. Any part may have been.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// The length of the file, in bytes.
    ///
    /// # Errors
    /// When the disk fails.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file, or grows it with zeros.
    ///
    /// # Errors
    /// When the disk fails.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Reserves room so that the file can grow to this length, and grows it with zeros. A disk
    /// that can not reserve only grows it.
    ///
    /// # Errors
    /// When the disk is full or fails.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Makes everything written so far durable, the length included.
    ///
    /// # Errors
    /// When the disk fails. What is durable is then unknown, and a later success does not tell:
    /// the system may have dropped what it could not write. The only safe answer is to stop.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`DiskFile::sync_data`], and says how long that took: no time on a disk without a clock,
    /// as the simulated one is. This is how the log makes its records durable.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_data_timed(&self) -> io::Result<Duration> {
        self.sync_data().map(|()| Duration::ZERO)
    }
}

/// Reads a whole small file.
///
/// # Errors
/// When it can not be read, or is longer than `bytes_max`.
pub(crate) fn read_small<D: Disk>(disk: &D, name: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(name)?;
    let length = file.length()?;
    if length > bytes_max {
        let message = format!(
            "{}: {length} bytes long, where at most {bytes_max} are possible",
            disk.location(name)
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut bytes = vec![0; usize::try_from(length).expect("bounded above")];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Writes a whole file so that after a crash either all of it is there under its name, or nothing:
/// under a temporary name first, synced, renamed, and the directory synced.
///
/// # Errors
/// When the disk fails.
pub(crate) fn write_atomically<D: Disk>(disk: &D, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let file = disk.create(&temporary)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    disk.rename(&temporary, name)?;
    disk.sync_directory()
}
