//! Commands and formats of count-key-data disks: those of the crate `dasd`, by the names that the driver has for them, and its ways to
//! fill them in.

pub use dasd::command::{
    DefineExtent, LocateRecord, PathGroup, Prefix, PrepareToRead, VolumeStorage, CONTROL_UNITS,
    DEFINE_EXTENT, LOCATE_RECORD, PERFORM_SUBSYSTEM_FUNCTION, PREFIX, READ_CHARACTERISTICS,
    READ_CKD, READ_COUNT, READ_DATA, READ_SUBSYSTEM_DATA, SENSE_PATH_GROUP, SET_PATH_GROUP,
    THIN_CONTROL, WRITE_CKD, WRITE_DATA,
};
pub use dasd::{Characteristics, CountField, Place, TrackAddress};

/// LOCATE RECORD for a record of a track, without operation and count.
pub fn locate(track: TrackAddress, record: u8) -> LocateRecord {
    LocateRecord {
        seek: track,
        search: track,
        record,
        sector: LocateRecord::ANY_SECTOR,
        ..LocateRecord::default()
    }
}

pub fn one_track(track: TrackAddress, mask: u8, attributes: u8) -> DefineExtent {
    DefineExtent {
        mask,
        attributes,
        first: track,
        last: track,
        ..DefineExtent::default()
    }
}
