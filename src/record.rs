//! Recording: a sample of a cache's accesses in a file, to be studied with `larder-lab`.
//!
//! One key in so many is sampled, by its hash, and then every access to it: so the sample behaves
//! like a cache as many times smaller. A sampled access goes into a buffer; full buffers go to a
//! thread that writes them. Nothing waits for that thread: what it cannot take in time is counted as
//! lost.
//!
//! # The format
//!
//! A gzip stream. It begins with the eleven bytes `larder-rec1` and, as all numbers as LEB128, the
//! sampling (one key in so many). Then the accesses follow in the order of their buffers, each as
//! three numbers, and for a write four: nanoseconds since the one before as zigzag (buffers of several
//! threads overlap a little); the number of the key, in the order of their first appearance; what
//! happened (0 hit, 1 miss, 2 write); the weight written. Neither keys nor their hashes are in it.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use hashbrown::HashMap;

use crate::{
    hash::{self, Sampled},
    sync::{AtomicBool, AtomicU64, Mutex, Ordering, lock, try_lock},
    time::Clock,
};

/// What a recording begins with, once it is decompressed.
pub const MAGIC: &[u8] = b"larder-rec1";
/// Accesses in a buffer.
const BUFFER: usize = 512;
/// Buffers, so that threads seldom meet.
const BUFFERS: usize = 16;
/// Full buffers that may wait for the writer.
const WAITING: usize = 64;
/// Distinct keys in a file, at most.
const MOST_KEYS: u32 = 1 << 20;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was looked up and found.
    Hit,
    /// It was looked up and not found.
    Miss,
    /// A value of this weight was stored under it.
    Write(u64),
}

/// An access to a sampled key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Since the cache was built.
    pub at: Duration,
    /// The number of the key: 0 for the first that appears, and so on.
    pub key: u64,
    /// What happened.
    pub what: What,
}

/// Where and how much to record; given to [`Builder::record`](crate::Builder::record).
///
/// ```no_run
/// use larder::{Cache, record::Recording};
/// let cache = Cache::<u64, u64>::builder()
///     .capacity(10_000)
///     .record(Recording::to_file("cache.rec.gz")?.one_in(16))
///     .build();
/// # std::io::Result::Ok(())
/// ```
#[must_use = "nothing is recorded until it is given to a builder"]
pub struct Recording {
    out: Box<dyn Write + Send>,
    one_in: u64,
    most: u64,
}

impl Recording {
    /// Into a new file.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn to_file(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self::to_writer(BufWriter::new(File::create(path)?)))
    }

    /// Into anything that can be written. An error ends the recording.
    pub fn to_writer(out: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), one_in: 64, most: 64 << 20 }
    }

    /// Samples one key in so many, 64 by default; 1 takes all. A sample of a few thousand keys says
    /// enough.
    pub fn one_in(self, keys: u64) -> Self {
        Self { one_in: keys.max(1), ..self }
    }

    /// Stops before the file has more bytes, 64 MiB by default: up to 64 KiB before, so it should be
    /// far more than that. It also stops after a million distinct keys.
    pub fn max_bytes(self, bytes: u64) -> Self {
        Self { most: bytes, ..self }
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("one_in", &self.one_in)
            .field("max_bytes", &self.most)
            .finish_non_exhaustive()
    }
}

/// How a recording goes; see [`Cache::recorded`](crate::Cache::recorded).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Accesses written, but for those still in buffers.
    pub written: u64,
    /// Accesses that the writer had no time for, whose buffer another thread was at, or that came
    /// after the end.
    pub lost: u64,
    /// Whether it has ended before the cache: the file was full, or could not be written.
    pub is_over: bool,
}

/// A sampled access on its way.
#[derive(Clone, Copy, Debug)]
struct Raw {
    at: u64,
    hash: u64,
    what: What,
}

/// A cache's recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) sampled: Sampled,
    buffers: Box<[Buffer]>,
    sender: Option<SyncSender<Vec<Raw>>>,
    lost: AtomicU64,
    progress: std::sync::Arc<Progress>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Buffer(Mutex<Vec<Raw>>);

/// What the writer tells.
#[derive(Debug, Default)]
struct Progress {
    written: AtomicU64,
    is_over: AtomicBool,
}

impl Recorder {
    /// Starts the thread that writes.
    pub(crate) fn start(recording: Recording) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let progress = std::sync::Arc::<Progress>::default();
        let told = std::sync::Arc::clone(&progress);
        let limit = u64::MAX / recording.one_in;
        let writer = thread::Builder::new().name("larder-record".into()).spawn(move || {
            // The disk is full or gone: what was written so far is all there will be.
            let _ = write_all(recording, &receiver, &told);
            // Relaxed: only told to whoever asks.
            told.is_over.store(true, Ordering::Relaxed);
        })?;
        Ok(Self {
            sampled: Sampled { factor: hash::random_state().hash_one(0) | 1, limit },
            buffers: (0..BUFFERS).map(|_| Buffer::default()).collect(),
            sender: Some(sender),
            lost: AtomicU64::new(0),
            progress,
            writer: Some(writer),
        })
    }

    /// Records an access if the key is sampled.
    #[inline]
    pub(crate) fn access(&self, clock: &Clock, hash: u64, what: What) {
        if self.sampled.contains(hash) {
            self.record(clock, hash, what);
        }
    }

    #[cold]
    #[inline(never)]
    fn record(&self, clock: &Clock, hash: u64, what: What) {
        let raw = Raw { at: clock.now(), hash, what };
        // By key, so that accesses to a key stay in their order.
        let buffer = &self.buffers[(hash >> 40) as usize % BUFFERS];
        let Some(mut buffer) = try_lock(&buffer.0) else { return self.lose(1) };
        if buffer.capacity() == 0 {
            buffer.reserve_exact(BUFFER);
        }
        buffer.push(raw);
        if buffer.len() < BUFFER {
            return;
        }
        let full = std::mem::take(&mut *buffer);
        drop(buffer);
        self.send(full);
    }

    fn send(&self, full: Vec<Raw>) {
        let Some(sender) = &self.sender else { return };
        if let Err(TrySendError::Full(full) | TrySendError::Disconnected(full)) =
            sender.try_send(full)
        {
            self.lose(full.len() as u64);
        }
    }

    fn lose(&self, accesses: u64) {
        // Relaxed: a counter.
        self.lost.fetch_add(accesses, Ordering::Relaxed);
    }

    pub(crate) fn recorded(&self) -> Recorded {
        // Relaxed (all): counters and a flag that publish nothing.
        Recorded {
            written: self.progress.written.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            is_over: self.progress.is_over.load(Ordering::Relaxed),
        }
    }
}

/// Writes what is left, and waits until it is written.
impl Drop for Recorder {
    fn drop(&mut self) {
        let sender = self.sender.take();
        for buffer in &self.buffers {
            let rest = std::mem::take(&mut *lock(&buffer.0));
            if let Some(sender) = &sender {
                // If the writer has ended, nobody wants it.
                let _ = sender.send(rest);
            }
        }
        drop(sender);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Counts what passes.
struct Counted<W>(W, u64);

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1 += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Bytes that the end of a file may take beyond what has been counted: what the compressor holds
/// back, and one buffer.
const TAIL: u64 = 64 << 10;

fn write_all(
    recording: Recording,
    receiver: &Receiver<Vec<Raw>>,
    progress: &Progress,
) -> io::Result<()> {
    let Recording { out, one_in, most } = recording;
    let mut out = GzEncoder::new(Counted(out, 0), Compression::fast());
    out.write_all(MAGIC)?;
    write_number(&mut out, one_in)?;
    let mut keys = HashMap::with_hasher(hash::random_state());
    let mut before = 0;
    // A buffer's worth at a time: the compressor clears 32 KiB whenever it is handed something.
    let mut bytes = Vec::new();
    for buffer in receiver {
        if out.get_ref().1 + TAIL > most || keys.len() as u32 + BUFFER as u32 > MOST_KEYS {
            break;
        }
        for &Raw { at, hash, what } in &buffer {
            let next = keys.len() as u64;
            let key = *keys.entry(hash).or_insert(next);
            let (kind, weight) = match what {
                What::Hit => (0, None),
                What::Miss => (1, None),
                What::Write(weight) => (2, Some(weight)),
            };
            write_number(&mut bytes, zigzag(at.wrapping_sub(before) as i64))?;
            write_number(&mut bytes, key)?;
            write_number(&mut bytes, kind)?;
            weight.map_or(Ok(()), |weight| write_number(&mut bytes, weight))?;
            before = at;
        }
        out.write_all(&bytes)?;
        bytes.clear();
        // Relaxed: a counter.
        progress.written.fetch_add(buffer.len() as u64, Ordering::Relaxed);
    }
    out.finish()?.flush()
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

fn write_number(out: &mut impl Write, mut number: u64) -> io::Result<()> {
    let mut bytes = [0; 10];
    let mut len = 0;
    loop {
        let more = number > 0x7f;
        bytes[len] = (number & 0x7f) as u8 | if more { 0x80 } else { 0 };
        len += 1;
        number >>= 7;
        if !more {
            return out.write_all(&bytes[..len]);
        }
    }
}

/// Reads a recording. Accesses of different buffers overlap: sort them by their time. An error is the
/// last that it gives; if the process that recorded was killed, the file ends in one
/// ([`UnexpectedEof`](io::ErrorKind::UnexpectedEof)).
///
/// ```no_run
/// for access in larder::record::Reader::open("cache.rec.gz")? {
///     println!("{:?}", access?);
/// }
/// # std::io::Result::Ok(())
/// ```
pub struct Reader<R> {
    input: BufReader<R>,
    one_in: u64,
    before: u64,
    is_over: bool,
}

impl Reader<MultiGzDecoder<BufReader<File>>> {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no recording.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::new(MultiGzDecoder::new(BufReader::new(File::open(path)?)))
    }
}

impl<R: Read> Reader<R> {
    /// Reads what has been decompressed already.
    ///
    /// # Errors
    /// If it cannot be read, or is no recording.
    pub fn new(input: R) -> io::Result<Self> {
        let mut input = BufReader::new(input);
        let mut magic = Vec::new();
        // There may be less.
        (&mut input).take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not a recording"));
        }
        let one_in = read_number(&mut input)?;
        Ok(Self { input, one_in, before: 0, is_over: false })
    }

    /// One key in so many was sampled.
    #[must_use]
    pub fn one_in(&self) -> u64 {
        self.one_in
    }

    fn read(&mut self) -> io::Result<Option<Access>> {
        // The end of what was recorded is not that of a compressed file cut short.
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let since = read_number(&mut self.input)?;
        self.before = self.before.wrapping_add(unzigzag(since) as u64);
        let key = read_number(&mut self.input)?;
        let what = match read_number(&mut self.input)? {
            0 => What::Hit,
            1 => What::Miss,
            2 => What::Write(read_number(&mut self.input)?),
            other => {
                let message = format!("an access of a kind unknown here: {other}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        };
        Ok(Some(Access { at: Duration::from_nanos(self.before), key, what }))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = io::Result<Access>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.read().transpose();
        // Where the next access begins after a bad one is not known.
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("one_in", &self.one_in).finish_non_exhaustive()
    }
}

fn read_number(input: &mut impl Read) -> io::Result<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        number |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok(number);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a number that does not end"))
}
