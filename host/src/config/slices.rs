//! `[[client.disk]]`, checked: slices, partitions, and the names by which a client tells its disks apart.

use toml::Spanned;

use super::draft::{Draft, Slice};
use super::table::Table;
use super::values;
use super::{Export, Source};

impl<'p, 't> Draft<'p, 't> {
    /// What a client is given of a disk; nothing if there is no such disk.
    pub(super) fn export(&self, mut table: Table<'p, 't>, client: &str) -> Option<(Export, Slice)> {
        let named = table.needed_or_none("disk", "\"data\"");
        let partition = table.number("partition", 1);
        let start = table.sectors("start");
        let size = table.sectors("size");
        let read_only = table.flag("readonly");
        let queues = table.number("queues", 1);
        let shared = table.flag("shared");
        let doubtful = table.is_doubtful();

        let named = named?;
        let (disk, span) = (self.find_disk(&named)?, named.span());
        let queues = values::queues(self.problems, queues.as_ref(), 1);
        if let Some(size) = size.as_ref().filter(|size| *size.get_ref() == 0) {
            let help = "leave size out to reach to the end of the disk";
            self.problems.add(size.span(), "a slice of 0 sectors", help);
        }
        let first = start.as_ref().or(size.as_ref());
        let place = first.map_or_else(|| span.clone(), Spanned::span);
        let partition = partition.and_then(|it| self.partition(&it, first));
        let start = start.map_or(0, Spanned::into_inner);
        let sectors = size.map(Spanned::into_inner);
        let end = sectors.map_or(Some(u64::MAX), |sectors| start.checked_add(sectors));
        if end.is_none() {
            let help = "start and size are sectors of 512 bytes, or sizes with their unit";
            let message = "the slice ends beyond any disk";
            self.problems.add(span.clone(), message, help);
        }
        let slice = Slice {
            place,
            span,
            disk,
            sectors: start..end.unwrap_or(u64::MAX),
            partition,
            doubtful,
            read_only,
            shared,
            client: client.to_owned(),
        };
        let export = Export {
            disk,
            partition,
            start,
            sectors,
            read_only,
            queues,
        };
        Some((export, slice))
    }

    fn partition(&self, partition: &Spanned<u64>, slice: Option<&Spanned<u64>>) -> Option<u8> {
        let number = *partition.get_ref();
        let wrong = |message: &str, help| self.problems.add(partition.span(), message, help);
        if number == 0 {
            wrong("partition 0", "a volume's partitions are numbered from 1");
        }
        if number > u64::from(u8::MAX) {
            let help = "a volume has no so many: 1, 2 or 3 it will be";
            wrong(&format!("partition {number}"), help);
        }
        if slice.is_some() {
            let help = "leave start and size out: the volume says where its partition is";
            wrong("a partition and a slice of it", help);
        }
        u8::try_from(number).ok()
    }

    pub(super) fn partitions(&self) {
        for slice in self.slices.iter().filter(|slice| slice.partition.is_some()) {
            let disk = self.disks.get(slice.disk);
            if let Some(disk) = disk.filter(|disk| matches!(disk.source, Source::Image { .. })) {
                self.problems.add(
                    slice.span.clone(),
                    format!("a partition of \"{}\", which is an image", disk.name),
                    "only DASD have partitions here: choose start and size",
                );
            }
        }
    }

    pub(super) fn overlaps(&self) {
        let slices = &self.slices;
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
            let disk = self.disks.get(second.disk).map_or("", |disk| &disk.name);
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
    pub(super) fn serials(&self) {
        let mut slices = self.slices.iter();
        for client in &self.clients {
            let mut seen: Vec<[u8; 20]> = Vec::new();
            for (number, slice) in slices.by_ref().take(client.exports.len()).enumerate() {
                let serial = client.serial(&self.disks, number);
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
