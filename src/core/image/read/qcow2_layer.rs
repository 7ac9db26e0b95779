//! A qcow2 image as a layer, opened for reading: its header, its map, its bytes. What lies below it
//! is the chain's business; changing it is the writer's.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::image::error::{OfFile, Result};
use crate::image::read::luks::{SectorCipher, luks_header, unlock};
use crate::image::read::table_reader::{read_active_l1, read_l2, read_snapshot_l1};
use crate::image::read::{bitmaps, snapshots};
use crate::image::{
    Encryption, Error, ErrorKind, Extent, ImageFile, Keys, Placed, ProgressSink, State, internal,
};
use crate::qcow2::header::{CryptMethod, is_qcow2};
use crate::qcow2::limits::SECTOR;
use crate::qcow2::luks::CIPHER_SECTOR;
use crate::qcow2::{
    EntryTable, FormatError, Geometry, GuestOffset, Header, L1Entry, L2Buf, L2Context, L2Entry,
    Snapshot, SubclusterState, codec,
};

/// Bytes of L2 tables kept at most; at least four tables are.
const CACHED_TABLE_BYTES: u64 = 4 << 20;

/// An opened qcow2 image.
#[derive(Debug)]
pub struct Qcow2 {
    file: ImageFile,
    data: Option<ImageFile>,
    header: Header,
    context: L2Context,
    virtual_size: u64,
    l1: EntryTable,
    /// Of an encrypted image, once it is unlocked.
    cipher: OnceLock<Arc<SectorCipher>>,
    tables: Mutex<TableCache>,
    inflated: Mutex<Vec<Inflated>>,
}

#[derive(Debug, Default)]
struct TableCache {
    tables: HashMap<u64, Arc<L2Buf>>,
    order: VecDeque<u64>,
}

/// A cluster that was decompressed, since small reads come in rows. As many are kept as threads ever
/// read at a time.
#[derive(Debug, Default)]
struct Inflated {
    host: Option<u64>,
    cluster: Vec<u8>,
    source: Vec<u8>,
    inflater: Option<codec::Inflater>,
}

/// Reads and checks the header of a qcow2 file, all of it that matters.
///
/// # Errors
/// When the file cannot be read, is not qcow2, or its header breaks the format's rules.
pub fn read_header(file: &ImageFile) -> Result<Header> {
    let mut first = vec![0; 4096];
    let got = file.read_at(&mut first, 0, "read the header")?;
    first.truncate(got);
    if !is_qcow2(&first) {
        return Err(Error::new(file, ErrorKind::NotQcow2));
    }
    // Each answer reaches further until it reaches what the header needs; one cluster at most.
    loop {
        let needed = Header::needed(&first);
        if needed <= first.len() {
            break;
        }
        // Bytes past the end of the file count as zero, as they do for QEMU.
        first.resize(needed, 0);
        file.read_padded(&mut first, 0, "read the header")?;
    }
    Header::parse(&first).map_err(|e| Error::new(file, e))
}

/// Why the guest data of an image with this header stays closed to us, if it does.
#[must_use]
pub fn closed(header: &Header) -> Option<ErrorKind> {
    let unknown = header.unknown_incompatible();
    if !unknown.is_empty() {
        return Some(ErrorKind::UnknownFeatures(
            unknown.iter().map(ToString::to_string).collect(),
        ));
    }
    match header.crypt {
        // QEMU: "Missing CRYPTO header for crypt method 2".
        CryptMethod::Luks if header.crypto_header().is_none() => Some(ErrorKind::Damaged(
            "it says that it is encrypted with LUKS and does not say where its LUKS header is"
                .to_owned(),
        )),
        // With LUKS it is open to whoever has a passphrase, where ciphers are compiled in.
        CryptMethod::Luks if cfg!(not(feature = "luks")) => {
            Some(ErrorKind::Encrypted(Encryption::Luks))
        }
        CryptMethod::None | CryptMethod::Luks => None,
        CryptMethod::Aes => Some(ErrorKind::Encrypted(Encryption::Aes)),
    }
}

/// Whether QEMU opens an image with this header, as far as its tables beside the guest's disk decide it.
///
/// # Errors
/// Why not, or why that cannot be told.
pub(crate) fn require_openable(file: &ImageFile, header: &Header) -> Result<()> {
    if header.crypt == CryptMethod::Luks {
        if let Some(kind) = closed(header) {
            return Err(Error::new(file, kind));
        }
        luks_header(file, header)?;
    }
    snapshots::read_unchecked(file, header).map_err(|error| match error.kind {
        ErrorKind::Format(why) => {
            let mends = snapshots::salvage(file, header).is_ok_and(|it| it.rest.is_none());
            let why = why.to_string();
            Error::new(file, ErrorKind::SnapshotTable { why, mends })
        }
        _ => error,
    })?;
    bitmaps::require_loadable(file, header)
}

impl Qcow2 {
    /// Opens `file` for reading. `data` is the external data file, which an image that has one
    /// cannot be read without. What an encrypted image holds where can be asked at once; its bytes
    /// can be read after [`Qcow2::unlock`].
    ///
    /// # Errors
    /// When the header, the snapshot table or what is recorded of dirty bitmaps is not valid, or its
    /// content is closed to us (legacy encryption, unknown features).
    pub fn open(file: &ImageFile, data: Option<ImageFile>) -> Result<Self> {
        let header = read_header(file)?;
        if let Some(kind) = closed(&header) {
            return Err(Error::new(file, kind));
        }
        if header.has_data_file() && data.is_none() {
            return Err(Error::new(
                file,
                ErrorKind::Backing("its external data file is not at hand".to_owned()),
            ));
        }
        let data = data.filter(|_| header.has_data_file());
        // What the guest sees depends on neither, but QEMU does not open such an image: a repair is
        // the way to its content, not a reader that knows better.
        require_openable(file, &header)?;
        let l1 = read_active_l1(file, &header)?;
        let virtual_size = header.virtual_size();
        Ok(Self::with_l1(file, data, header, l1, virtual_size))
    }

    fn with_l1(
        file: &ImageFile,
        data: Option<ImageFile>,
        header: Header,
        l1: EntryTable,
        virtual_size: u64,
    ) -> Self {
        Self {
            file: file.clone(),
            data,
            context: L2Context::of(&header),
            header,
            virtual_size,
            l1,
            cipher: OnceLock::new(),
            tables: Mutex::default(),
            inflated: Mutex::default(),
        }
    }

    /// The same image as one of its internal snapshots shows it, through the snapshot's L1 table.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn at_snapshot(&self, snapshot: &Snapshot) -> Result<Self> {
        let virtual_size = snapshot
            .virtual_size()
            .unwrap_or_else(|| self.virtual_size());
        let l1 = read_snapshot_l1(&self.file, snapshot)?;
        let (file, data) = (&self.file, self.data.clone());
        let header = self.header.clone();
        let view = Self::with_l1(file, data, header, l1, virtual_size);
        Ok(Self {
            cipher: self.cipher.clone(),
            ..view
        })
    }

    /// Whether the guest's bytes are stored encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.header.crypt != CryptMethod::None
    }

    /// Opens the content of an encrypted image with a passphrase that `keys` has for it; nothing
    /// happens where it is open, or not encrypted. Takes seconds of deriving keys, on purpose, unless
    /// `keys` has opened this image before.
    ///
    /// # Errors
    /// When there is no passphrase or a wrong one, its encryption is not supported or its header not
    /// valid, or `progress` stopped it.
    pub fn unlock(&self, keys: &Keys, progress: &dyn ProgressSink) -> Result<()> {
        if self.is_encrypted() && self.cipher.get().is_none() {
            let cipher = unlock(&self.file, &self.header, keys, progress)?;
            self.cipher.get_or_init(|| cipher);
        }
        Ok(())
    }

    /// The cipher of an encrypted image that was unlocked.
    pub(crate) fn cipher(&self) -> Option<&Arc<SectorCipher>> {
        self.cipher.get()
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file that holds header and tables.
    #[must_use]
    pub fn file(&self) -> &ImageFile {
        &self.file
    }

    /// The file that holds the guest's bytes as the guest sees them. None of an encrypted
    /// image: what is stored there means something only where it lies.
    #[must_use]
    pub fn guest_file(&self) -> Option<&ImageFile> {
        (!self.is_encrypted()).then(|| self.stored_in())
    }

    /// The file in which the guest's bytes are stored, encrypted or not.
    pub(crate) fn stored_in(&self) -> &ImageFile {
        self.data.as_ref().unwrap_or(&self.file)
    }

    /// Its header as it was when it was opened.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the guest sees, in bytes.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    fn geometry(&self) -> Geometry {
        self.context.geometry
    }

    fn damaged(&self, guest: u64, error: &FormatError) -> Error {
        Error::new(
            &self.file,
            ErrorKind::Damaged(format!("at guest offset {guest:#x}: {error}")),
        )
    }

    /// The L1 entry of that number as it is stored; none past the end of the table.
    fn raw_l1(&self, index: u64) -> Result<Option<u64>> {
        Ok(self.l1.get(internal::index(index).of(&self.file)?))
    }

    /// The L2 table that maps `guest`, if there is one.
    fn table(&self, index: u64, guest: u64) -> Result<Option<Arc<L2Buf>>> {
        let raw = self.raw_l1(index)?.unwrap_or(L1Entry::UNMAPPED);
        let entry = L1Entry::parse(raw, self.geometry()).map_err(|e| self.damaged(guest, &e))?;
        let Some(offset) = entry.table.map(crate::qcow2::HostOffset::get) else {
            return Ok(None);
        };
        if let Some(table) = self.lock_tables().tables.get(&offset) {
            return Ok(Some(Arc::clone(table)));
        }
        let table = Arc::new(read_l2(&self.file, offset, self.context)?);
        let mut cache = self.lock_tables();
        if cache.tables.insert(offset, Arc::clone(&table)).is_none() {
            cache.order.push_back(offset);
        }
        let most = CACHED_TABLE_BYTES / self.geometry().cluster_size();
        let most = internal::index(most).of(&self.file)?.max(4);
        while cache.order.len() > most {
            if let Some(oldest) = cache.order.pop_front() {
                cache.tables.remove(&oldest);
            }
        }
        Ok(Some(table))
    }

    fn lock_tables(&self) -> std::sync::MutexGuard<'_, TableCache> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the bytes from `start` on are stored: the longest run of one kind that one L2 table
    /// tells, at most to `end`.
    ///
    /// # Errors
    /// When a table cannot be read or holds an entry that cannot be.
    pub fn extent_at(&self, start: u64, end: u64) -> Result<Extent> {
        let join = |run: &Placed, next: &Placed| {
            let extent = run.extent.joined(&next.extent)?;
            Some(Placed { extent, ..*run })
        };
        Ok(self.run_at(start, end, join)?.extent)
    }

    /// As [`Qcow2::extent_at`], or, where the table or the entry for `start` tells nothing, how far that
    /// reaches.
    pub(crate) fn extent_or_lost(&self, start: u64, end: u64) -> std::result::Result<Extent, u64> {
        let geometry = self.geometry();
        let end_of = |unit: u64| (start / unit + 1).saturating_mul(unit).min(end);
        let told = self.told_until(geometry.l1_index(GuestOffset(start)));
        if start >= told {
            return Err(end_of(geometry.l2_coverage()));
        }
        let end = end.min(told);
        let end_of = |unit: u64| end_of(unit).min(end);
        // Of a longer run a later entry may be at fault.
        let cluster = end_of(geometry.cluster_size());
        self.extent_at(start, end)
            .or_else(|_| self.extent_at(start, cluster))
            .map_err(|_| {
                let index = geometry.l1_index(GuestOffset(start));
                let reach = match self.table(index, start) {
                    Ok(_) => cluster,
                    Err(_) => end_of(geometry.l2_coverage()),
                };
                reach.max(start.saturating_add(1))
            })
    }

    /// Up to where on the disk the file holds the entries of an L2 table: what is cut off of one reads as if
    /// nothing were stored.
    fn told_until(&self, index: u64) -> u64 {
        let geometry = self.geometry();
        let entry = self.raw_l1(index).map(|raw| {
            let entry = L1Entry::parse(raw.unwrap_or(L1Entry::UNMAPPED), geometry);
            entry.ok().and_then(|entry| entry.table)
        });
        let (Ok(Some(table)), Ok(len)) = (entry, self.file.len()) else {
            return u64::MAX;
        };
        let held = len.saturating_sub(table.get());
        if held >= geometry.cluster_size() {
            return u64::MAX;
        }
        let entry = geometry.cluster_size() / geometry.l2_entries();
        let clusters = held / entry.max(1);
        let base = index.saturating_mul(geometry.l2_coverage());
        base.saturating_add(clusters.saturating_mul(geometry.cluster_size()))
    }

    /// As [`Qcow2::extent_at`], with the place of the run; one run has one place.
    ///
    /// # Errors
    /// As there.
    pub fn placed_at(&self, start: u64, end: u64) -> Result<Placed> {
        self.run_at(start, end, Placed::joined)
    }

    fn run_at(
        &self,
        start: u64,
        end: u64,
        join: impl Fn(&Placed, &Placed) -> Option<Placed>,
    ) -> Result<Placed> {
        let geometry = self.geometry();
        let (cluster, coverage) = (geometry.cluster_size(), geometry.l2_coverage());
        let index = geometry.l1_index(GuestOffset(start));
        let Some(table) = self.table(index, start)? else {
            let mut next = index + 1;
            while next.saturating_mul(coverage) < end
                && self.raw_l1(next)? == Some(L1Entry::UNMAPPED)
            {
                next += 1;
            }
            let to = next.saturating_mul(coverage).min(end).max(start + 1);
            return Ok(Placed::of(Extent {
                start,
                len: to - start,
                state: State::Unallocated,
            }));
        };
        let end = end.min(index.saturating_add(1).saturating_mul(coverage));
        let mut run = self.piece(&table, start, end)?;
        while run.extent.end() < end {
            let at = run.extent.end();
            if run.place.is_none() && run.extent.state == State::Unallocated && at % cluster == 0 {
                // Entries that are all zero go on with what nothing is stored for.
                let used = table.next_used(geometry.l2_index(GuestOffset(at))) as u64;
                let to = index
                    .saturating_mul(coverage)
                    .saturating_add(used.saturating_mul(cluster))
                    .min(end);
                if to > at {
                    run.extent.len = to - start;
                    continue;
                }
            }
            let next = self.piece(&table, run.extent.end(), end)?;
            let Some(joined) = join(&run, &next) else {
                break;
            };
            run = joined;
        }
        Ok(run)
    }

    /// What one L2 entry says of the bytes from `at` on.
    fn piece(&self, table: &L2Buf, at: u64, end: u64) -> Result<Placed> {
        let geometry = self.geometry();
        let entry = table
            .get(geometry.l2_index(GuestOffset(at)))
            .and_then(|entry| entry.in_place(GuestOffset(at), self.context))
            .map_err(|e| self.damaged(at, &e))?;
        let within = geometry.offset_in_cluster(GuestOffset(at));
        Ok(Placed {
            extent: piece_of(entry, geometry, at, end),
            // Where the bytes of an encrypted image lie is of no use to who wants the guest's.
            place: entry
                .host()
                .filter(|_| !self.is_encrypted())
                .map(|host| host.get().saturating_add(within)),
        })
    }

    /// Reads the bytes of one stored run into `buf`: the first bytes of an extent with this state.
    /// `guest` is the guest offset of `buf`'s first byte. Runs that are not stored here read as zero.
    ///
    /// # Errors
    /// When the file cannot be read, a compressed cluster cannot be decompressed, or the image is
    /// encrypted and not unlocked.
    pub fn read(&self, state: State, guest: u64, buf: &mut [u8]) -> Result<()> {
        match state {
            State::Unallocated | State::Zero => buf.fill(0),
            State::Data { host } => {
                let file = self.stored_in();
                if self.is_encrypted() {
                    let locked = || Error::new(&self.file, ErrorKind::Locked);
                    let cipher = self.cipher.get().ok_or_else(locked)?;
                    return read_decrypted(file, cipher, buf, host);
                }
                file.read(buf, host)?;
            }
            // Compressed clusters are never encrypted: QEMU reads and writes them as they are.
            State::Compressed { cluster, host, len } => {
                let mut inflated = self.take_inflated(host);
                if inflated.host != Some(host) {
                    self.inflate(&mut inflated, cluster, host, len)?;
                }
                let from = internal::distance(cluster, guest).of(&self.file)?;
                let source = internal::part(&inflated.cluster, from..from + buf.len());
                buf.copy_from_slice(source.of(&self.file)?);
                self.lock_inflated().push(inflated);
            }
        }
        Ok(())
    }

    /// A place to decompress in: the one that holds this cluster, if one does.
    fn take_inflated(&self, host: u64) -> Inflated {
        let mut idle = self.lock_inflated();
        match idle.iter().position(|held| held.host == Some(host)) {
            Some(index) => idle.swap_remove(index),
            None => idle.pop().unwrap_or_default(),
        }
    }

    fn lock_inflated(&self) -> std::sync::MutexGuard<'_, Vec<Inflated>> {
        self.inflated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inflate(&self, inflated: &mut Inflated, cluster: u64, host: u64, len: u64) -> Result<()> {
        let Inflated {
            host: held,
            cluster: target,
            source,
            inflater,
        } = inflated;
        *held = None;
        // The descriptor bounds `len` to a few clusters.
        source.resize(internal::index(len).of(&self.file)?, 0);
        // As in QEMU zeros follow the end of the file: a stream may well end before it needs them.
        self.file.read_padded(
            source,
            host,
            format_args!("read the compressed cluster at {host:#x}"),
        )?;
        target.resize(self.geometry().cluster_len(), 0);
        let inflater = match inflater {
            Some(inflater) => inflater,
            none => none.insert(
                codec::Inflater::new(self.header.compression)
                    .map_err(|e| self.damaged(cluster, &e))?,
            ),
        };
        inflater
            .inflate(source, target)
            .map_err(|e| self.damaged(cluster, &e))?;
        *held = Some(host);
        Ok(())
    }
}

/// Reads encrypted bytes at `offset`; past the end of the file lies what zeros decrypt to, as in QEMU.
pub(crate) fn read_decrypted(
    file: &ImageFile,
    cipher: &SectorCipher,
    buf: &mut [u8],
    offset: u64,
) -> Result<()> {
    let within = internal::index(offset % SECTOR).of(file)?;
    let start = offset - offset % SECTOR;
    if within == 0 && (buf.len() as u64).is_multiple_of(SECTOR) {
        file.read(buf, start)?;
        cipher.decrypt(start / SECTOR, buf);
        return Ok(());
    }
    // A sector is decrypted as a whole.
    let len = (within + buf.len()).div_ceil(CIPHER_SECTOR) * CIPHER_SECTOR;
    let mut whole = vec![0; len];
    file.read(&mut whole, start)?;
    cipher.decrypt(start / SECTOR, &mut whole);
    let part = internal::part(&whole, within..within + buf.len());
    buf.copy_from_slice(part.of(file)?);
    Ok(())
}

/// What an L2 entry says of the guest bytes from `at` on, inside its cluster and before `end`.
pub(crate) fn piece_of(entry: L2Entry, geometry: Geometry, at: u64, end: u64) -> Extent {
    let within = geometry.offset_in_cluster(GuestOffset(at));
    let cluster = at - within;
    let cluster_end = cluster.saturating_add(geometry.cluster_size());
    let whole = |state| Extent {
        start: at,
        len: cluster_end.min(end) - at,
        state,
    };
    match entry {
        L2Entry::Unallocated => whole(State::Unallocated),
        L2Entry::Zero { .. } => whole(State::Zero),
        L2Entry::Data { host, .. } => whole(State::Data {
            host: host.get().saturating_add(within),
        }),
        L2Entry::Compressed(stream) => whole(State::Compressed {
            cluster,
            host: stream.host.get(),
            len: stream.max_len(),
        }),
        L2Entry::Subclusters { host, bitmap, .. } => {
            let size = geometry.subcluster_size();
            let first = geometry.subcluster_index(GuestOffset(at));
            let kind = bitmap.state(first);
            let mut last = first + 1;
            while last < geometry.subclusters() && bitmap.state(last) == kind {
                last += 1;
            }
            let to = cluster.saturating_add(u64::from(last) * size).min(end);
            let state = match (kind, host) {
                (SubclusterState::Zero, _) => State::Zero,
                (SubclusterState::Data, Some(host)) => State::Data {
                    host: host.get().saturating_add(within),
                },
                _ => State::Unallocated,
            };
            Extent {
                start: at,
                len: to - at,
                state,
            }
        }
    }
}
