//! The log: to the console, and the last records kept for a report.
//!
//! The console may be slow, gone, or in use by what crashed: a report shows the last records again
//! from here, and with `log=off` still those of level `info`.
//!
//! What a client can cause it can cause without end, and each line on the console takes time that is everyone's. So the
//! console gets a number of lines at once and then few; only who asks for more than `log=info` gets all.
//!
//! **Limits.** [`LINES`] records of [`LINE`] bytes; what is longer is cut. A record logged while
//! another one is being put into the ring is not kept.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use heapless::{HistoryBuf, String};
use log::{LevelFilter, Log, Metadata, Record};
use spin::Mutex;

/// How many records are kept.
pub const LINES: usize = 32;

/// How many bytes of each.
pub const LINE: usize = 120;

static RING: Mutex<HistoryBuf<String<LINE>, LINES>> = Mutex::new(HistoryBuf::new());
static CONSOLE_LEVEL: AtomicUsize = AtomicUsize::new(LevelFilter::Info as usize);
/// When the console's lines so far are paid for, in milliseconds since the first instruction, and how many were left out.
static PAID: AtomicU64 = AtomicU64::new(0);
static LEFT_OUT: AtomicUsize = AtomicUsize::new(0);
static CONSOLE: sclp::Logger = sclp::Logger::new(super::image::uptime);
static LOGGER: Logger = Logger;

/// Logs to ring and console.
struct Logger;

/// Make this the logger, showing records up to `level` on the console.
pub fn install(level: LevelFilter) {
    CONSOLE_LEVEL.store(level as usize, Ordering::Relaxed);
    // A second call finds a logger there, this one, and only changes the level.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level.max(LevelFilter::Info));
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(mut ring) = RING.try_lock() {
            ring.write(line(record));
        }
        let shown = CONSOLE_LEVEL.load(Ordering::Relaxed);
        if record.level() as usize > shown {
            return;
        }
        if shown <= LevelFilter::Info as usize {
            let now = super::image::uptime().as_millis() as u64;
            match sclp::paid(PAID.load(Ordering::Relaxed), now) {
                Some(paid) => PAID.store(paid, Ordering::Relaxed),
                None => {
                    LEFT_OUT.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
            let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
            if left_out != 0 {
                sclp::println!("({left_out} lines were left out)");
            }
        }
        CONSOLE.log(record);
    }

    fn flush(&self) {
        CONSOLE.flush();
    }
}

/// A record as it is kept.
fn line(record: &Record<'_>) -> String<LINE> {
    let mut line = Cut(String::new());
    let uptime = super::image::uptime();
    // A line that is cut is still a line.
    let _ = write!(line, "{}", sclp::LogLine { uptime, record });
    line.0
}

/// Takes what has room, and lets the rest go.
struct Cut(String<LINE>);

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.0.push(character).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// Gives the kept records, oldest first, to whoever looks while the program goes on. None, if one is just being put into the ring.
pub fn each(act: &mut dyn FnMut(&str)) {
    if let Some(ring) = RING.try_lock() {
        for line in ring.oldest_ordered() {
            act(line);
        }
    }
}

/// Write the kept records, oldest first, for a report.
///
/// # Safety
/// Whoever may be writing to the ring now never runs again.
pub unsafe fn show(to: &mut dyn Write) -> fmt::Result {
    // SAFETY: the caller vouches that nobody holds it who would go on.
    unsafe { RING.force_unlock() };
    for line in RING.lock().oldest_ordered() {
        writeln!(to, "  {line}")?;
    }
    Ok(())
}
