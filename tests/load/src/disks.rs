//! Disks that are written, flushed, read and compared by several threads, each with one request at a time in a region of its own.
//!
//! A thread knows what each page of its region holds, because nobody else writes there: whatever it reads is compared with that, while it
//! runs and once more, all of it, at the end. At the beginning it finds what an earlier life has left. What that has flushed has to be
//! there; of what it wrote later, each page may be of that write or of the one before.
//!
//! A line in a quarter of a second says how it goes:
//!
//! `LOAD epoch=12 since=11 requests=345 longest=6789 flushed=1,2,3`
//!
//! The lines are numbered by their epochs. Every request that is under way was started in the epoch `since` or later, so all that were
//! started before have ended, and are in this line or an earlier one. `requests` have ended since the last line, the longest of them took
//! so many µs. `flushed` has for each thread the number of the last write that would outlive the client; it is what the next life is given.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::page::{self, Stamp, PAGE};
use crate::sequence::Sequence;
use crate::{number, stopped, Wrong};

/// Pages of a request, for each of the threads that a disk has.
const PAGES: [usize; 8] = [1, 1, 1, 1, 1, 4, 4, LONGEST];
const LONGEST: usize = 16;
const INTERVAL: Duration = Duration::from_millis(250);
/// open(2): no page cache between the load and the disk.
const O_DIRECT: i32 = 0o40000;

/// Runs until it is to stop. `flushed` is that of the former life's last line, or `-`.
pub fn run(life: &str, flushed: &str, devices: &[&str]) -> Result<(), Wrong> {
    let life = number(life)?;
    let threads = devices.len() * PAGES.len();
    let flushed = match flushed {
        "-" => vec![0; threads],
        list => list.split(',').map(number).collect::<Result<Vec<_>, _>>()?,
    };
    if flushed.len() != threads {
        return Err(format!("ERROR there are {threads} threads"));
    }
    let all: Vec<_> = flushed.into_iter().map(Progress::new).collect();
    let epoch = AtomicU64::new(1);
    let begun = Barrier::new(threads);

    thread::scope(|scope| {
        let mut workers = Vec::new();
        for (number, progress) in all.iter().enumerate() {
            let device = devices[number / PAGES.len()];
            let mut region = Region::new(
                device,
                number % PAGES.len(),
                life,
                Requests {
                    progress,
                    epoch: &epoch,
                },
            )?;
            let begun = &begun;
            workers
                .push(scope.spawn(move || region.work(begun).unwrap_or_else(|wrong| end(&wrong))));
        }
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::sleep(INTERVAL);
            report(&all, &epoch);
        }
        Ok(())
    })
}

/// The end of the whole program: the other threads may wait for a disk that does not answer.
fn end(wrong: &str) {
    println!("{wrong}");
    std::process::exit(1);
}

fn report(all: &[Progress], epoch: &AtomicU64) {
    // In this order: what has ended before `since` is in the other figures.
    let since = all
        .iter()
        .map(|progress| progress.since.load(SeqCst))
        .min()
        .unwrap_or(0);
    let requests: u64 = all
        .iter()
        .map(|progress| progress.requests.swap(0, SeqCst))
        .sum();
    let longest = all
        .iter()
        .map(|progress| progress.longest.swap(0, SeqCst))
        .max()
        .unwrap_or(0);
    let flushed: Vec<_> = all
        .iter()
        .map(|progress| progress.flushed.load(SeqCst).to_string())
        .collect();
    let epoch = epoch.fetch_add(1, SeqCst);
    println!(
        "LOAD epoch={epoch} since={since} requests={requests} longest={longest} flushed={}",
        flushed.join(",")
    );
}

/// How a thread fares, for whoever writes the lines.
struct Progress {
    /// The epoch in which its request was started.
    since: AtomicU64,
    requests: AtomicU64,
    longest: AtomicU64,
    flushed: AtomicU32,
}

impl Progress {
    fn new(flushed: u32) -> Self {
        let [since, requests, longest] = [0; 3].map(AtomicU64::new);
        Self {
            since,
            requests,
            longest,
            flushed: AtomicU32::new(flushed),
        }
    }
}

/// The requests of one thread, one after the other.
struct Requests<'a> {
    progress: &'a Progress,
    epoch: &'a AtomicU64,
}

impl Requests<'_> {
    fn run(&self, request: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.progress.since.store(self.epoch.load(SeqCst), SeqCst);
        let start = Instant::now();
        request()?;
        self.progress
            .longest
            .fetch_max(start.elapsed().as_micros() as u64, SeqCst);
        self.progress.requests.fetch_add(1, SeqCst);
        Ok(())
    }
}

/// Where a request's data lies: O_DIRECT wants it aligned.
#[repr(align(4096))]
struct Buffer([u8; LONGEST * PAGE]);

/// A thread's part of a disk.
struct Region<'a> {
    device: &'a str,
    file: File,
    /// The number of its first page on the disk.
    first: usize,
    /// Pages of a unit, which is what a request writes or reads.
    pages: usize,
    sequence: Sequence,
    life: u32,
    /// The number of the last write.
    last: u32,
    /// What each page holds.
    stamps: Vec<Stamp>,
    buffer: Box<Buffer>,
    requests: Requests<'a>,
    random: u64,
}

impl<'a> Region<'a> {
    fn new(
        device: &'a str,
        thread: usize,
        life: u32,
        requests: Requests<'a>,
    ) -> Result<Self, Wrong> {
        let open = || {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(O_DIRECT)
                .open(device)?;
            let size = file.seek(SeekFrom::End(0))?;
            Ok((file, size as usize / PAGE / PAGES.len()))
        };
        let (file, size) = open().map_err(|error: io::Error| format!("ERROR {device}: {error}"))?;
        let pages = PAGES[thread];
        let sequence = Sequence::of(size / pages);
        Ok(Self {
            device,
            file,
            first: thread * size,
            pages,
            sequence,
            life,
            last: requests.progress.flushed.load(SeqCst),
            stamps: vec![Stamp::NEVER; sequence.units() * pages],
            buffer: Box::new(Buffer([0; LONGEST * PAGE])),
            requests,
            random: (u64::from(life) << 32 | thread as u64) + 1,
        })
    }

    /// All that the thread does.
    fn work(&mut self, begun: &Barrier) -> Result<(), Wrong> {
        self.find()?;
        if begun.wait().is_leader() {
            println!("MARK under load");
        }
        while !stopped() {
            match self.random(16) {
                0 => self.flush()?,
                1..=8 => {
                    self.last += 1;
                    self.write(self.sequence.unit(self.last), self.last)?;
                }
                _ => {
                    let unit = self.random(self.sequence.units());
                    self.read(unit * self.pages, self.pages)?;
                    self.compare(unit * self.pages, self.pages)?;
                }
            }
        }
        for at in (0..self.stamps.len()).step_by(LONGEST) {
            self.read(at, LONGEST)?;
            self.compare(at, LONGEST)?;
        }
        self.flush()?;
        self.requests.progress.since.store(u64::MAX, SeqCst);
        Ok(())
    }

    /// Reads what an earlier life has left, which is at least what it has flushed. What it has written and lost is written again, so that
    /// all that the order asks for is there.
    fn find(&mut self) -> Result<(), Wrong> {
        let least = self.sequence.after(self.last);
        for at in (0..self.stamps.len()).step_by(LONGEST) {
            self.read(at, LONGEST)?;
            for page in at..at + LONGEST {
                let unit = page / self.pages;
                let found = self.found(page, at).filter(|found| {
                    let in_order =
                        *found == Stamp::NEVER || self.sequence.unit(found.number) == unit;
                    in_order && found.number >= least[unit] && found.life < self.life
                });
                let Some(found) = found else {
                    let least = format!("write {} or a later one", least[unit]);
                    return Err(self.difference(page, at, &least));
                };
                self.stamps[page] = found;
                self.last = self.last.max(found.number);
            }
        }
        for (unit, number) in self.sequence.after(self.last).into_iter().enumerate() {
            if self.stamps[unit * self.pages..][..self.pages]
                .iter()
                .any(|found| found.number != number)
            {
                self.write(unit, number)?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Wrong> {
        self.requests
            .run(|| self.file.sync_data())
            .map_err(|error| self.error("a flush", &error))?;
        self.requests.progress.flushed.store(self.last, SeqCst);
        Ok(())
    }

    fn write(&mut self, unit: usize, number: u32) -> Result<(), Wrong> {
        let stamp = Stamp {
            life: self.life,
            number,
        };
        let start = unit * self.pages;
        let data = &mut self.buffer.0[..self.pages * PAGE];
        for (page, data) in data.chunks_exact_mut(PAGE).enumerate() {
            page::fill(data, (self.first + start + page) as u64, stamp);
        }
        let offset = ((self.first + start) * PAGE) as u64;
        self.requests
            .run(|| self.file.write_all_at(data, offset))
            .map_err(|error| self.error("a write", &error))?;
        self.stamps[start..][..self.pages].fill(stamp);
        Ok(())
    }

    /// Pages of the region into the buffer.
    fn read(&mut self, start: usize, pages: usize) -> Result<(), Wrong> {
        let data = &mut self.buffer.0[..pages * PAGE];
        let offset = ((self.first + start) * PAGE) as u64;
        self.requests
            .run(|| self.file.read_exact_at(data, offset))
            .map_err(|error| self.error("a read", &error))
    }

    /// What is in the buffer, from the page `start` on, is what the thread has written there.
    fn compare(&self, start: usize, pages: usize) -> Result<(), Wrong> {
        match (start..start + pages)
            .find(|page| self.found(*page, start) != Some(self.stamps[*page]))
        {
            None => Ok(()),
            Some(page) => Err(self.difference(page, start, &format!("{:?}", self.stamps[page]))),
        }
    }

    /// Which write made a page; the buffer begins with the page `start`.
    fn found(&self, page: usize, start: usize) -> Option<Stamp> {
        page::stamp_of(
            &self.buffer.0[(page - start) * PAGE..][..PAGE],
            (self.first + page) as u64,
        )
    }

    fn difference(&self, page: usize, start: usize, wanted: &str) -> Wrong {
        let data = &self.buffer.0[(page - start) * PAGE..][..PAGE];
        let found = self.found(page, start).map_or_else(
            || format!("no write: {:02x?}…", &data[..32]),
            |found| format!("{found:?}"),
        );
        format!(
            "DIFFERENCE {} page {}: {found}, not {wanted}",
            self.device,
            self.first + page
        )
    }

    fn error(&self, what: &str, error: &io::Error) -> Wrong {
        format!(
            "ERROR {}: {what} after write {}: {error}",
            self.device, self.last
        )
    }

    /// A number below `end`.
    fn random(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 16) as usize % end
    }
}
