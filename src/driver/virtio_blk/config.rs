//! From the device's configuration space to a [`Geometry`], and the checks that follow from it.

use virtio::blk::{Config, Features};
use window::Segment;

use super::super::block::{
    DiscardLimits, Geometry, Operation, Range, SubmitError, WriteZeroesLimits, SECTOR,
};
use super::super::virtio_ccw::TransportError;
use super::queue::{RANGES, SEGMENTS};

/// Makes sense of the configuration space. `queues` and `queue_size` are for the caller to adjust.
pub(super) fn geometry(
    config: &Config,
    features: virtio::Features,
) -> Result<Geometry, TransportError> {
    let features = Features::from(features);
    let has = |feature| features.contains(feature);
    let or = |feature, value: u32, otherwise| if has(feature) { value } else { otherwise };

    let block_size = or(Features::BLK_SIZE, config.blk_size.get(), SECTOR);
    if block_size < SECTOR || !block_size.is_power_of_two() {
        return Err(TransportError::Configuration("block size"));
    }
    let seg_max = or(Features::SEG_MAX, config.seg_max.get(), 1);
    let size_max = or(Features::SIZE_MAX, config.size_max.get(), u32::MAX);
    let queues = or(Features::MQ, config.num_queues.get().into(), 1) as u16;
    if queues == 0 || size_max < SECTOR {
        return Err(TransportError::Configuration(
            "no queues, or segments of less than a sector",
        ));
    }
    let topology = if has(Features::TOPOLOGY) {
        config.topology
    } else {
        Default::default()
    };
    let range_count = |count: u32| count.clamp(1, RANGES);
    Ok(Geometry {
        sectors: config.capacity.get(),
        block_size,
        physical_block_exp: topology.physical_block_exp,
        alignment_offset: topology.alignment_offset,
        min_io: topology.min_io_size.get(),
        opt_io: topology.opt_io_size.get(),
        seg_max: seg_max.clamp(1, u32::from(SEGMENTS)) as u16,
        size_max,
        read_only: has(Features::RO),
        flush: has(Features::FLUSH),
        discard: has(Features::DISCARD).then(|| DiscardLimits {
            max_sectors: config.max_discard_sectors.get(),
            max_segments: range_count(config.max_discard_seg.get()),
            alignment: config.discard_sector_alignment.get(),
        }),
        write_zeroes: has(Features::WRITE_ZEROES).then(|| WriteZeroesLimits {
            max_sectors: config.max_write_zeroes_sectors.get(),
            max_segments: range_count(config.max_write_zeroes_seg.get()),
            may_unmap: config.write_zeroes_may_unmap != 0,
        }),
        queues,
        queue_size: 0,
    })
}

/// Whether the device can be asked that, by count and length. Sectors are the caller's.
#[inline]
pub(super) fn check(
    geometry: &Geometry,
    operation: Operation,
    segments: &[Segment],
    ranges: &[Range],
) -> Result<(), SubmitError> {
    let (max_ranges, max_sectors) = match operation {
        Operation::Read { .. } | Operation::Write { .. } | Operation::GetId => {
            let long = |segment: &Segment| segment.len > geometry.size_max;
            if segments.len() > usize::from(geometry.seg_max) || segments.iter().any(long) {
                return Err(SubmitError::TooLarge);
            }
            return Ok(());
        }
        Operation::Flush if geometry.flush => return Ok(()),
        Operation::Flush => return Err(SubmitError::Unsupported),
        Operation::Discard => match geometry.discard {
            Some(limits) => (limits.max_segments, limits.max_sectors),
            None => return Err(SubmitError::Unsupported),
        },
        Operation::WriteZeroes => match geometry.write_zeroes {
            Some(limits) => (limits.max_segments, limits.max_sectors),
            None => return Err(SubmitError::Unsupported),
        },
    };
    let long = |range: &Range| range.sectors > max_sectors;
    if ranges.is_empty() || ranges.len() > max_ranges as usize || ranges.iter().any(long) {
        return Err(SubmitError::TooLarge);
    }
    Ok(())
}
