//! Commands and formats of count-key-data disks: those of the crate `dasd`, by the names that the driver has for them.

pub use dasd::command::{
    DefineExtent, LocateRecord, CONTROL_UNITS, DEFINE_EXTENT, LOCATE_RECORD, READ_CHARACTERISTICS,
    READ_CKD, READ_COUNT, READ_DATA, WRITE_DATA,
};
pub use dasd::{Characteristics, CountField, Place, TrackAddress};
