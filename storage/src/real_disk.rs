//! A directory of the file system, locked against a second process.
#![allow(clippy::disallowed_methods, reason = "this is the one place that touches the file system")]

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

use crate::disk::{Disk, DiskFile};

/// The name of the file whose lock keeps a second process out.
const LOCK_FILE: &str = "lock";

/// A directory of the file system. As long as one handle lives, no other process can open it.
#[derive(Clone, Debug)]
pub struct RealDisk {
    directory: Arc<Directory>,
    faults: Option<Arc<dyn SyncFaults>>,
}

/// What goes wrong on purpose when the log is synced: for tests and for whoever wants to see what a
/// server does then.
pub trait SyncFaults: Debug + Send + Sync {
    /// Called before each sync of the log, by the thread that waits for it. May wait, as for a slow
    /// disk.
    ///
    /// # Errors
    /// When the sync is to fail. Then nothing is synced.
    fn before_sync(&self) -> io::Result<()>;
}

/// The directory, opened once so that syncing it needs no path.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    handle: File,
    /// The lock is released when the file is closed, which a killed process does as well.
    _lock: File,
}

impl RealDisk {
    /// Opens a directory, creating it when it is missing, and locks it. Its own name is durable then,
    /// and so is that of each level above it that was missing.
    ///
    /// # Errors
    /// When another process has it, or it can not be created or opened.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_path_buf();
        create_directories(&path)?;
        let handle =
            File::open(&path).map_err(|error| explain(&path, "opening the directory", &error))?;
        let lock = lock(&path)?;
        let directory = Arc::new(Directory { path, handle, _lock: lock });
        Ok(Self { directory, faults: None })
    }

    /// The same disk, whose syncs of the log go wrong when these say so. It holds for the files that
    /// are opened or created through this handle.
    #[must_use]
    pub fn with_sync_faults(self, faults: Arc<dyn SyncFaults>) -> Self {
        Self { faults: Some(faults), ..self }
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory.path
    }

    fn path_of(&self, name: &str) -> PathBuf {
        debug_assert!(!name.contains('/'), "a name holds no separator");
        self.directory.path.join(name)
    }
}

/// Creates a directory where it is missing, with the levels above it, and makes their names durable:
/// a data directory that a power cut takes away again would take everything in it along.
///
/// The name of the lowest level that exists is made durable as well, each time, because an earlier
/// start may have been killed between creating it and syncing its parent. The levels above that one
/// need nothing: each was made durable before the next was created.
fn create_directories(path: &Path) -> io::Result<()> {
    let is_new = !path.is_dir();
    if is_new {
        create_directories(&parent_of(path)?)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(explain(path, "creating the directory", &error));
            }
            _ => {}
        }
    }
    let parent = parent_of(path)?;
    match File::open(&parent).and_then(|directory| directory.sync_all()) {
        // Who may not look into the parent did not create anything there either.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_new => Ok(()),
        result => result.map_err(|error| explain(&parent, "syncing the directory", &error)),
    }
}

/// The directory that holds the name of this one. The root holds its own.
fn parent_of(path: &Path) -> io::Result<PathBuf> {
    // The parent of an existing directory is that of what links and dots lead to.
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_path_buf(),
        Err(error) => return Err(explain(path, "looking for the directory", &error)),
    };
    Ok(match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_path_buf(),
        None => path,
    })
}

/// Takes the lock of a directory, or says who has it.
fn lock(directory: &Path) -> io::Result<File> {
    let path = directory.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| explain(&path, "opening the lock file", &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The number is a courtesy to the reader; without it the message still stands.
            let _ = (&mut file).take(20).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_string(),
                id => format!("another process (pid {id})"),
            };
            let message = format!(
                "{}: {holder} is using this data directory; stop it first, or start this node \
                 with a directory of its own",
                directory.display()
            );
            return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
        }
        Err(TryLockError::Error(error)) => {
            return Err(explain(&path, "locking the directory", &error));
        }
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|error| explain(&path, "writing the lock file", &error))?;
    Ok(file)
}

/// The same error, saying where and in doing what.
fn explain(path: &Path, operation: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {operation}: {error}", path.display()))
}

impl Disk for RealDisk {
    type File = RealFile;

    fn location(&self, name: &str) -> String {
        self.path_of(name).display().to_string()
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let path = self.path_of(name);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(RealFile { path, file, faults: self.faults.clone() }),
            Err(error) => Err(explain(&path, "opening", &error)),
        }
    }

    fn create(&self, name: &str) -> io::Result<RealFile> {
        let path = self.path_of(name);
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => Ok(RealFile { path, file, faults: self.faults.clone() }),
            Err(error) => Err(explain(&path, "creating", &error)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let path = self.path_of(from);
        fs::rename(&path, self.path_of(to))
            .map_err(|error| explain(&path, &format!("renaming to {to}"), &error))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path_of(name);
        fs::remove_file(&path).map_err(|error| explain(&path, "removing", &error))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let wrong = |error| explain(&self.directory.path, "listing the directory", &error);
        let mut names = Vec::new();
        for item in fs::read_dir(&self.directory.path).map_err(wrong)? {
            let item = item.map_err(wrong)?;
            // A name that is not UTF-8 is none of ours, nor is a directory.
            if let Ok(name) = item.file_name().into_string()
                && item.file_type().map_err(wrong)?.is_file()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        let path = self.path_of(name);
        path.try_exists().map_err(|error| explain(&path, "looking for the file", &error))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory
            .handle
            .sync_all()
            .map_err(|error| explain(&self.directory.path, "syncing the directory", &error))
    }
}

/// A file of a [`RealDisk`].
#[derive(Debug)]
pub struct RealFile {
    path: PathBuf,
    file: File,
    faults: Option<Arc<dyn SyncFaults>>,
}

impl RealFile {
    fn explain(&self, operation: &str, error: &io::Error) -> io::Error {
        explain(&self.path, operation, error)
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let length = buffer.len();
        self.file.read_exact_at(buffer, offset).map_err(|error| {
            self.explain(&format!("reading {length} bytes at offset {offset}"), &error)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|error| {
            self.explain(&format!("writing {} bytes at offset {offset}", bytes.len()), &error)
        })
    }

    fn length(&self) -> io::Result<u64> {
        let metadata = self.file.metadata();
        metadata.map(|metadata| metadata.len()).map_err(|e| self.explain("asking its length", &e))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file
            .set_len(length)
            .map_err(|error| self.explain(&format!("setting its length to {length}"), &error))
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // Some file systems can not reserve room. Growing the file is enough for
            // correctness; reserving only keeps it in one piece.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                if self.length()? < length {
                    self.set_length(length)?;
                }
                Ok(())
            }
            Err(error) => Err(self.explain(&format!("reserving {length} bytes"), &error.into())),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(|error| self.explain("syncing", &error))
    }

    fn sync_data_timed(&self) -> io::Result<Duration> {
        let began = Instant::now();
        if let Some(faults) = &self.faults {
            faults.before_sync().map_err(|error| self.explain("syncing", &error))?;
        }
        self.sync_data().map(|()| began.elapsed())
    }
}
