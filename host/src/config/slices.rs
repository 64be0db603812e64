//! `[[client.disk]]`, checked: slices, partitions, and the names by which a client tells its disks apart.

use std::ops::Range;

use toml::Spanned;

use super::check::Check;
use super::raw;
use super::{Client, Disk, Export, Source};
use crate::areas::serial;

/// A slice with the place where it was written, for the comparison of slices.
pub(super) struct Slice {
    /// Where its disk is named.
    span: Range<usize>,
    /// Where it begins, if that is said.
    pub(super) place: Range<usize>,
    disk: usize,
    sectors: Range<u64>,
    partition: Option<u8>,
    /// Something is wrong with it already.
    doubtful: bool,
    read_only: bool,
    shared: bool,
    client: String,
}

impl Check<'_, '_> {
    /// What a client is given of a disk, which is named at `span`.
    pub(super) fn export(
        &mut self,
        raw: raw::ClientDisk,
        span: Range<usize>,
        disk: usize,
        client: &str,
    ) -> (Export, Slice) {
        let queues = self.queues(raw.queues.as_ref(), 1);
        if let Some(size) = raw.size.as_ref().filter(|size| *size.get_ref() == 0) {
            let help = "leave size out to reach to the end of the disk";
            self.problems.add(size.span(), "a slice of 0 sectors", help);
        }
        let partition = self.partition(&raw);
        let start = raw.start.as_ref().map_or(0, |start| *start.get_ref());
        let sectors = raw.size.as_ref().map(|size| *size.get_ref());
        let end = sectors.map_or(Some(u64::MAX), |sectors| start.checked_add(sectors));
        if end.is_none() {
            let help = "start and size are sectors of 512 bytes, or sizes with their unit";
            let message = "the slice ends beyond any disk";
            self.problems.add(span.clone(), message, help);
        }
        let slice = Slice {
            place: raw
                .start
                .as_ref()
                .or(raw.size.as_ref())
                .map_or_else(|| span.clone(), Spanned::span),
            span,
            disk,
            sectors: start..end.unwrap_or(u64::MAX),
            partition,
            doubtful: raw.doubtful,
            read_only: raw.readonly,
            shared: raw.shared,
            client: client.to_owned(),
        };
        let export = Export {
            disk,
            partition,
            start,
            sectors,
            read_only: raw.readonly,
            queues,
        };
        (export, slice)
    }

    fn partition(&mut self, raw: &raw::ClientDisk) -> Option<u8> {
        let partition = raw.partition.as_ref()?;
        if *partition.get_ref() == 0 {
            let help = "a volume's partitions are numbered from 1";
            self.problems.add(partition.span(), "partition 0", help);
        }
        if *partition.get_ref() > u64::from(u8::MAX) {
            let message = format!("partition {}", partition.get_ref());
            self.problems.add(
                partition.span(),
                message,
                "a volume has no so many: 1, 2 or 3 it will be",
            );
        }
        if raw.start.is_some() || raw.size.is_some() {
            let help = "leave start and size out: the volume says where its partition is";
            let message = "a partition and a slice of it";
            self.problems.add(partition.span(), message, help);
        }
        u8::try_from(*partition.get_ref()).ok()
    }

    pub(super) fn partitions(&mut self, slices: &[Slice], disks: &[Disk]) {
        for slice in slices.iter().filter(|slice| slice.partition.is_some()) {
            let disk = disks.get(slice.disk);
            if let Some(disk) = disk.filter(|disk| matches!(disk.source, Source::Image { .. })) {
                self.problems.add(
                    slice.span.clone(),
                    format!("a partition of \"{}\", which is an image", disk.name),
                    "only DASD have partitions here: choose start and size",
                );
            }
        }
    }

    pub(super) fn overlaps(&mut self, slices: &[Slice], disks: &[Disk]) {
        for (at, second) in slices.iter().enumerate() {
            let clash = slices[..at].iter().find(|first| {
                first.disk == second.disk
                    && !first.doubtful
                    && !second.doubtful
                    && first.sectors.start < second.sectors.end
                    && second.sectors.start < first.sectors.end
                    // Where partitions are is not known here: they lie apart from each other, and nowhere else.
                    && (first.partition.is_none() || second.partition.is_none() || first.partition == second.partition)
                    && !(first.read_only && second.read_only)
                    && !(first.shared && second.shared)
            });
            let Some(first) = clash else { continue };
            let disk = disks.get(second.disk).map_or("", |disk| &disk.name);
            let message = if first.client == second.client {
                format!(
                    "client \"{}\" is given the same sectors of disk \"{disk}\" twice",
                    first.client
                )
            } else {
                format!(
                    "clients \"{}\" and \"{}\" are given the same sectors of disk \"{disk}\", and not both read-only",
                    first.client, second.client
                )
            };
            self.problems.add(
                second.span.clone(),
                message,
                "choose start and size so that they do not overlap, or mark both with shared = true if their \
                 file system is made for it",
            );
        }
    }

    /// Whether each client can tell its disks apart by their serial numbers, into which a long name does not fit.
    pub(super) fn serials(&mut self, clients: &[Client], slices: &[Slice], disks: &[Disk]) {
        let mut slices = slices.iter();
        for client in clients {
            let mut seen: Vec<[u8; 20]> = Vec::new();
            for (number, slice) in slices.by_ref().take(client.exports.len()).enumerate() {
                let serial = serial(disks, client, number);
                if seen.contains(&serial) {
                    let shown = String::from_utf8_lossy(&serial);
                    self.problems.add(
                        slice.span.clone(),
                        format!(
                            "two disks of client \"{}\" would have the serial number {}",
                            client.name,
                            shown.trim_end_matches('\0')
                        ),
                        "it is the first 20 characters of the disk's name: let the names differ in them",
                    );
                }
                seen.push(serial);
            }
        }
    }
}
