//! `[[client.disk]]`, checked: slices, partitions, and the names by which a client tells its disks apart.

use toml::Spanned;

use super::draft::{Draft, Slice};
use super::quota;
use super::table::Table;
use super::values;
use super::{Export, Source};

impl<'p, 't> Draft<'p, 't> {
    /// What the next client is given of a disk; nothing if there is no such disk.
    pub(super) fn slice(&self, mut table: Table<'p, 't>) -> Option<Slice> {
        let named = table.needed_or_none("disk", "\"data\"");
        let partition = table.number("partition", 1);
        let start = table.sectors("start");
        let size = table.sectors("size");
        let read_only = table.flag("readonly");
        let queues = table.number("queues", 1);
        let shared = table.flag("shared");
        let quota = quota::read(self.problems, &mut table);
        let doubtful = table.is_doubtful();

        let named = named?;
        let (disk, span) = (self.find_disk(&named)?, named.span());
        let queues = values::queues(self.problems, queues.as_ref(), 1);
        let empty = size.as_ref().filter(|size| *size.get_ref() == 0);
        if let Some(size) = empty {
            let help = "leave size out to reach to the end of the disk";
            self.problems.add(size.span(), "a slice of 0 sectors", help);
        }
        let doubtful = doubtful || empty.is_some();
        let first = start.as_ref().or(size.as_ref());
        let place = first.map_or_else(|| span.clone(), Spanned::span);
        let export = Export {
            disk,
            partition: partition.and_then(|it| self.partition(&it, first)),
            place: self.problems.place(&place),
            start: start.map_or(0, Spanned::into_inner),
            sectors: size.map_or(0, Spanned::into_inner),
            read_only,
            queues,
            quota,
        };
        if export.start.checked_add(export.sectors).is_none() {
            let help = "start and size are sectors of 512 bytes, or sizes with their unit";
            let message = "the slice ends beyond any disk";
            self.problems.add(span.clone(), message, help);
        }
        Some(Slice {
            span,
            export,
            doubtful,
            shared,
            client: self.clients.len(),
        })
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
        for slice in &self.slices {
            let disk = &self.disks[slice.export.disk];
            let is_image = matches!(disk.source, Source::Image { .. });
            if slice.export.partition.is_some() && is_image {
                let message = format!("a partition of \"{}\", which is an image", disk.name);
                let help = "only DASD have partitions here: choose start and size";
                self.problems.add(slice.span.clone(), message, help);
            }
        }
    }

    pub(super) fn overlaps(&self) {
        let slices = &self.slices;
        for (at, second) in slices.iter().enumerate() {
            let clash = slices[..at].iter().find(|first| {
                let (one, other) = (&first.export, &second.export);
                one.disk == other.disk
                    && !first.doubtful
                    && !second.doubtful
                    && one.range().start < other.range().end
                    && other.range().start < one.range().end
                    // Where partitions are is not known here: they lie apart from each other, and nowhere else.
                    && (one.partition.is_none() || other.partition.is_none() || one.partition == other.partition)
                    && !(one.read_only && other.read_only)
                    && !(first.shared && second.shared)
            });
            let Some(first) = clash else { continue };
            let disk = &self.disks[second.export.disk].name;
            let [one, other] = [first, second].map(|slice| &self.clients[slice.client].name);
            let message = match first.client == second.client {
                true => format!("client \"{one}\" is given the same sectors of disk \"{disk}\" twice"),
                false => format!(
                    "clients \"{one}\" and \"{other}\" are given the same sectors of disk \"{disk}\", and not both read-only"
                ),
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
                    let (name, shown) = (&client.name, shown.trim_end_matches('\0'));
                    self.problems.add(
                        slice.span.clone(),
                        format!("two disks of client \"{name}\" would have the serial number {shown}"),
                        "it is the first 20 characters of the disk's name: let the names differ in them",
                    );
                }
                seen.push(serial);
            }
        }
    }
}
