//! The kernel's questions about a mount (FUSE), answered by what it shows. Nothing else knows this protocol.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, MountOption, OpenAccMode, OpenFlags, ReplyAttr, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    Request, Session,
};

use super::contents::{Attributes, Contents, Failure, Kind, Listed, OpenFile};
use super::inodes::Inodes;
use super::tree::Place;

/// How long the kernel may take what it was told for true: an image can be changed meanwhile.
const TOLD_FOR: Duration = Duration::from_secs(1);

/// Entries of a folder that are listed at once.
const LISTED: usize = 4096;

/// Bytes that the kernel is asked to read ahead, if it lets itself be asked.
const READ_AHEAD: u32 = 1 << 20;

/// Threads that answer.
const THREADS: std::ops::RangeInclusive<usize> = 2..=8;

/// What hears of a file that could not be read: a sentence for each.
pub type Report = Box<dyn Fn(&str) + Send + Sync>;

/// Mounts `contents` on a folder, and answers the kernel until `ended` is called, which is when nobody has it mounted
/// or a file of it open any more.
///
/// # Errors
/// The system's own, and what `fusermount3` says.
pub(super) fn serve(
    contents: Arc<Contents>,
    report: Report,
    at: &Path,
    ended: impl FnOnce(io::Result<()>) + Send + 'static,
) -> io::Result<()> {
    let mut options = vec![
        MountOption::FSName("qanopy".to_owned()),
        MountOption::Subtype("qanopy".to_owned()),
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
    ];
    if contents.owner().as_stored {
        // Otherwise all that is shown belongs to the one user who is let in, whatever the modes say.
        options.push(MountOption::DefaultPermissions);
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut config = Config::default();
    config.mount_options = options;
    config.n_threads = Some(threads.clamp(*THREADS.start(), *THREADS.end()));
    config.clone_fd = true;
    let server = Server {
        inodes: Mutex::new(Inodes::new(contents.root())),
        contents,
        report,
        handles: Mutex::default(),
        next_handle: AtomicU64::new(1),
    };
    let session = Session::new(server, at, &config)?;
    thread::Builder::new()
        .name("mount".to_owned())
        .spawn(move || ended(session.run()))?;
    Ok(())
}

/// What the kernel has open.
#[derive(Debug, Clone)]
enum Handle {
    File(Arc<OpenFile>, Place),
    Folder(Arc<Mutex<Window>>),
}

/// A part of the list of a folder, which is read from beginning to end most often.
#[derive(Debug, Default)]
struct Window {
    /// Where it begins.
    from: u64,
    entries: Vec<Listed>,
    /// Whether nothing follows.
    is_last: bool,
}

struct Server {
    contents: Arc<Contents>,
    report: Report,
    inodes: Mutex<Inodes>,
    handles: Mutex<HashMap<u64, Handle>>,
    next_handle: AtomicU64,
}

thread_local! {
    /// What a thread reads into.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    fn place(&self, inode: INodeNo) -> Result<Place, Errno> {
        lock(&self.inodes).place(inode.0).ok_or(Errno::ESTALE)
    }

    /// Asks what is shown; what comes of a reader that panics is that the file cannot be read.
    fn ask<T>(
        &self,
        place: Place,
        ask: impl FnOnce(&Contents) -> Result<T, Failure>,
    ) -> Result<T, Errno> {
        let asked = catch_unwind(AssertUnwindSafe(|| ask(&self.contents)));
        let failure = match asked {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Unreadable("it cannot be read, by a fault of this program".into()),
        };
        Err(match failure {
            Failure::NotFound => Errno::ENOENT,
            Failure::NotAFolder => Errno::ENOTDIR,
            Failure::NotAFile => Errno::EINVAL,
            Failure::Unreadable(_) => {
                (self.report)(&self.contents.told(place, &failure));
                Errno::EIO
            }
        })
    }

    fn attributes(&self, inode: u64, place: Place) -> Result<FileAttr, Errno> {
        let attributes = self.ask(place, |contents| contents.attributes(place))?;
        Ok(attributes_of(inode, &attributes))
    }

    fn keep(&self, handle: Handle) -> FileHandle {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        lock(&self.handles).insert(number, handle);
        FileHandle(number)
    }

    fn handle(&self, number: FileHandle) -> Result<Handle, Errno> {
        lock(&self.handles)
            .get(&number.0)
            .cloned()
            .ok_or(Errno::EBADF)
    }

    fn file(&self, number: FileHandle) -> Result<(Arc<OpenFile>, Place), Errno> {
        match self.handle(number)? {
            Handle::File(file, place) => Ok((file, place)),
            Handle::Folder(_) => Err(Errno::EISDIR),
        }
    }

    fn looked_up(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let folder = self.place(parent)?;
        let place = self.ask(folder, |contents| contents.lookup(folder, name))?;
        let attributes = self.ask(place, |contents| contents.attributes(place))?;
        let inode = lock(&self.inodes).hold(place);
        Ok(attributes_of(inode, &attributes))
    }

    fn opened(&self, inode: INodeNo, flags: OpenFlags) -> Result<(FileHandle, FopenFlags), Errno> {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return Err(Errno::EROFS);
        }
        let place = self.place(inode)?;
        let file = self.ask(place, |contents| contents.open(place))?;
        let flags = match (file.is_live(), file.keeps_cache()) {
            (true, _) => FopenFlags::FOPEN_DIRECT_IO,
            (false, true) => FopenFlags::FOPEN_KEEP_CACHE,
            (false, false) => FopenFlags::empty(),
        };
        let handle = self.keep(Handle::File(Arc::new(file), place));
        Ok((handle, flags | FopenFlags::FOPEN_NOFLUSH))
    }

    /// Calls `each` for the entries of a folder from `offset` on, until it says that it is full.
    fn listed(
        &self,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut each: impl FnMut(&Listed) -> bool,
    ) -> Result<(), Errno> {
        let folder = self.place(inode)?;
        let Handle::Folder(window) = self.handle(handle)? else {
            return Err(Errno::ENOTDIR);
        };
        let mut window = lock(&window);
        let mut at = offset;
        loop {
            let end = window.entries.last().map(|last| last.next);
            let is_within = window.from <= at && end.is_some_and(|end| at < end);
            if !is_within {
                if window.is_last && end == Some(at) && window.from <= at {
                    return Ok(());
                }
                let entries = self.ask(folder, |contents| contents.list(folder, at, LISTED))?;
                *window = Window {
                    from: at,
                    is_last: entries.len() < LISTED,
                    entries,
                };
            }
            let first = window.entries.partition_point(|entry| entry.next <= at);
            let rest = window.entries.get(first..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            for entry in rest {
                if each(entry) {
                    return Ok(());
                }
                at = entry.next;
            }
        }
    }
}

fn attributes_of(inode: u64, of: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(inode),
        size: of.len,
        blocks: of.allocated.div_ceil(512),
        atime: of.modified,
        mtime: of.modified,
        ctime: of.changed,
        crtime: of.changed,
        kind: match of.kind {
            Kind::File => FileType::RegularFile,
            Kind::Folder => FileType::Directory,
            Kind::Link => FileType::Symlink,
        },
        perm: of.mode,
        nlink: of.links,
        uid: of.owner.0,
        gid: of.owner.1,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// Entries of a folder that are its own and the one above it; the kernel knows both better.
fn dots(offset: u64) -> impl Iterator<Item = (&'static str, u64)> {
    let dots = [(".", 1), ("..", 2)].into_iter();
    dots.filter(move |(_, next)| *next > offset)
}

/// How many places of a list the two names before it take.
const DOTS: u64 = 2;

impl fuser::Filesystem for Server {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in [
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_ASYNC_DIO,
        ] {
            // What an older kernel does not know, it does without.
            let _ = config.add_capabilities(wanted);
        }
        if let Err(most) = config.set_max_readahead(READ_AHEAD) {
            let _ = config.set_max_readahead(most);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.looked_up(parent, name) {
            Ok(attributes) => reply.entry(&TOLD_FOR, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, inode: INodeNo, lookups: u64) {
        lock(&self.inodes).forget(inode.0, lookups);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attributes = self
            .place(inode)
            .and_then(|place| self.attributes(inode.0, place));
        match attributes {
            Ok(attributes) => reply.attr(&TOLD_FOR, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        let target = self
            .place(inode)
            .and_then(|place| self.ask(place, |contents| contents.link_target(place)));
        match target {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.opened(inode, flags) {
            Ok((handle, flags)) => reply.opened(handle, flags),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (file, place) = match self.file(handle) {
            Ok(found) => found,
            Err(error) => return reply.error(error),
        };
        BUFFER.with_borrow_mut(|buffer| {
            let len = usize::try_from(size).unwrap_or(0);
            if buffer.len() < len {
                buffer.resize(len, 0);
            }
            let buf = buffer.get_mut(..len).unwrap_or_default();
            match self.ask(place, |_| file.read(offset, buf)) {
                Ok(read) => reply.data(buffer.get(..read).unwrap_or_default()),
                Err(error) => reply.error(error),
            }
        });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.handles).remove(&handle.0);
        reply.ok();
    }

    fn lseek(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = self.file(handle).and_then(|(file, place)| {
            let wants_data = match whence {
                libc::SEEK_DATA => true,
                libc::SEEK_HOLE => false,
                _ => return Err(Errno::EINVAL),
            };
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let found = self.ask(place, |_| file.seek(offset, wants_data))?;
            i64::try_from(found.ok_or(Errno::ENXIO)?).map_err(|_| Errno::EOVERFLOW)
        });
        match found {
            Ok(offset) => reply.offset(offset),
            Err(error) => reply.error(error),
        }
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.place(inode) {
            Ok(_) => {
                let handle = self.keep(Handle::Folder(Arc::default()));
                reply.opened(handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        for (name, next) in dots(offset) {
            if reply.add(inode, next, FileType::Directory, name) {
                return reply.ok();
            }
        }
        let from = offset.saturating_sub(DOTS);
        let listed = self.listed(inode, handle, from, |entry| {
            let number = lock(&self.inodes).number(entry.place);
            let kind = self
                .attributes(number, entry.place)
                .map_or(FileType::RegularFile, |attributes| attributes.kind);
            let name = os(&entry.name);
            reply.add(INodeNo(number), entry.next + DOTS, kind, name)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let own = self
            .place(inode)
            .and_then(|place| self.attributes(inode.0, place));
        let own = match own {
            Ok(own) => own,
            Err(error) => return reply.error(error),
        };
        for (name, next) in dots(offset) {
            if reply.add(inode, next, name, &TOLD_FOR, &own, Generation(0)) {
                return reply.ok();
            }
        }
        let from = offset.saturating_sub(DOTS);
        let listed = self.listed(inode, handle, from, |entry| {
            let place = entry.place;
            let number = lock(&self.inodes).hold(place);
            // A file of which nothing can be told is listed all the same.
            let attributes = self.attributes(number, place).unwrap_or(FileAttr {
                ino: INodeNo(0),
                kind: FileType::RegularFile,
                ..own
            });
            let next = entry.next + DOTS;
            let is_full = reply.add(
                INodeNo(number),
                next,
                os(&entry.name),
                &TOLD_FOR,
                &attributes,
                Generation(0),
            );
            if is_full || attributes.ino.0 == 0 {
                lock(&self.inodes).forget(number, 1);
            }
            is_full
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        lock(&self.handles).remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, inode: INodeNo, reply: ReplyStatfs) {
        let fill = self
            .place(inode)
            .and_then(|place| self.ask(place, |contents| contents.fill(place)));
        match fill {
            Ok(fill) => {
                let block = fill.block.max(512);
                let blocks = |bytes: u64| bytes / u64::from(block);
                let free = blocks(fill.free);
                reply.statfs(blocks(fill.total), free, free, 0, 0, block, 255, block);
            }
            Err(error) => reply.error(error),
        }
    }
}

fn os(name: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}
