//! Virtual subchannels: what a client sees as a subchannel of a channel subsystem of its own.
//!
//! | part | what it is |
//! |---|---|
//! | [`emulated`] | one whose control unit is software: the virtio control unit of a disk |
//! | [`passthrough`] | one that stands for a subchannel that the appliance owns |

pub mod emulated;
pub mod passthrough;
