//! A disk of software.

use std::vec::Vec;

use virtio::blk::{
    Config, Features, Range, RangeFlags, RequestHeader, RequestStatus, RequestType, ID_LENGTH,
    SECTOR,
};
use virtio::ring::device::{Buffer, Chain};
use window::{ClientAddress, Window};
use zerocopy::{FromBytes, IntoBytes};

use super::queue::QueueState;

/// What the disk does with its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Serves them.
    Serve,
    /// Serves them in reverse order.
    Reverse,
    /// Keeps them.
    Hold,
    /// Answers a head that was never given to it.
    WrongHead,
    /// Says that it wrote more than there was room for.
    TooLong,
    /// Writes no status.
    Silent,
}

#[derive(Debug)]
pub struct Disk {
    pub content: Vec<u8>,
    pub read_only: bool,
    pub num_queues: u16,
    pub behaviour: Behaviour,
    pub resets: u32,
    pub flushes: u32,
    pub discarded: Vec<(u64, u32)>,
    /// Most descriptors that one request had.
    pub longest: usize,
}

impl Disk {
    pub fn new(sectors: usize) -> Self {
        Self {
            content: vec![0; sectors * SECTOR as usize],
            read_only: false,
            num_queues: 4,
            behaviour: Behaviour::Serve,
            resets: 0,
            flushes: 0,
            discarded: Vec::new(),
            longest: 0,
        }
    }

    pub fn features(&self) -> Features {
        let mut features = Features::SEG_MAX
            | Features::BLK_SIZE
            | Features::FLUSH
            | Features::TOPOLOGY
            | Features::CONFIG_WCE
            | Features::MQ
            | Features::DISCARD
            | Features::WRITE_ZEROES;
        features.set(Features::RO, self.read_only);
        features
    }

    pub fn config(&self) -> Vec<u8> {
        let config = Config {
            capacity: (self.content.len() as u64 / u64::from(SECTOR)).into(),
            seg_max: 254.into(),
            blk_size: 4096.into(),
            num_queues: self.num_queues.into(),
            max_discard_sectors: 1000.into(),
            max_discard_seg: 4.into(),
            discard_sector_alignment: 8.into(),
            max_write_zeroes_sectors: 1000.into(),
            max_write_zeroes_seg: 1.into(),
            write_zeroes_may_unmap: 1,
            ..Config::default()
        };
        // As long as a device without the later features has it.
        config.as_bytes()[..60].to_vec()
    }

    pub fn serve(&mut self, queues: &mut [QueueState], storage: &Window) {
        for queue in queues {
            let Some(ring) = &mut queue.ring else {
                continue;
            };
            if self.behaviour == Behaviour::Hold {
                continue;
            }
            let mut done = Vec::new();
            let mut chain = Chain::<128>::new();
            while let Some(head) = ring.pop(storage, &mut chain).unwrap() {
                let written = self.request(&chain, storage);
                done.push((head, written));
            }
            if self.behaviour == Behaviour::Reverse {
                done.reverse();
            }
            for (head, written) in done {
                match self.behaviour {
                    Behaviour::WrongHead => ring.complete(storage, head ^ 0x40, written).unwrap(),
                    Behaviour::TooLong => ring.complete(storage, head, written + 1).unwrap(),
                    _ => ring.complete(storage, head, written).unwrap(),
                }
            }
        }
    }

    fn request(&mut self, chain: &Chain<128>, storage: &Window) -> u32 {
        self.longest = self.longest.max(chain.buffers().len());
        let (header, out) = chain.readable().split_first().unwrap();
        let (end, into) = chain.writable().split_last().unwrap();
        assert_eq!((header.len, end.len), (16, 1));
        let header: RequestHeader = storage.read(header.address).unwrap();
        let kind = RequestType::try_from(header.kind.get()).unwrap();
        let start = header.sector.get() as usize * SECTOR as usize;
        let status = self.carry_out(kind, start, out, into, storage);
        if self.behaviour != Behaviour::Silent {
            storage.write(end.address, &(status as u8)).unwrap();
        }
        into.iter().map(|buffer| buffer.len).sum::<u32>() + 1
    }

    fn carry_out(
        &mut self,
        kind: RequestType,
        start: usize,
        out: &[Buffer],
        into: &[Buffer],
        storage: &Window,
    ) -> RequestStatus {
        let mut at = start;
        match kind {
            RequestType::In => {
                for buffer in into {
                    let next = at + buffer.len as usize;
                    let Some(bytes) = self.content.get(at..next) else {
                        return RequestStatus::IoError;
                    };
                    storage.write_bytes(buffer.address, bytes).unwrap();
                    at = next;
                }
            }
            RequestType::Out => {
                for buffer in out {
                    let next = at + buffer.len as usize;
                    let target = self.content.get_mut(at..next).filter(|_| !self.read_only);
                    let Some(bytes) = target else {
                        return RequestStatus::IoError;
                    };
                    storage.read_bytes(buffer.address, bytes).unwrap();
                    at = next;
                }
            }
            RequestType::Flush => self.flushes += 1,
            RequestType::GetId => {
                let mut id = [0; ID_LENGTH];
                id[..4].copy_from_slice(b"FAKE");
                storage.write_bytes(into[0].address, &id).unwrap();
            }
            RequestType::Discard | RequestType::WriteZeroes => {
                for range in ranges(out, storage) {
                    let (sector, count) = (range.sector.get(), range.num_sectors.get());
                    if kind == RequestType::Discard {
                        assert_eq!(range.flags.get(), 0);
                        self.discarded.push((sector, count));
                    } else {
                        assert_eq!(range.flags.get() & !RangeFlags::UNMAP.bits(), 0);
                        let first = sector as usize * SECTOR as usize;
                        let last = first + count as usize * SECTOR as usize;
                        self.content[first..last].fill(0);
                    }
                }
            }
            RequestType::GetLifetime | RequestType::SecureErase => {
                return RequestStatus::Unsupported;
            }
        }
        RequestStatus::Ok
    }
}

fn ranges(out: &[Buffer], storage: &Window) -> Vec<Range> {
    let mut bytes = Vec::new();
    for buffer in out {
        let mut part = vec![0; buffer.len as usize];
        storage
            .read_bytes(ClientAddress::new(buffer.address.value()), &mut part)
            .unwrap();
        bytes.extend(part);
    }
    bytes
        .chunks(16)
        .map(|one| Range::read_from_bytes(one).unwrap())
        .collect()
}
