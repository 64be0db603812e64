//! Event information of the channel subsystem: what it has to say that fits into no channel report.
//!
//! A channel report says that there is some, and CHANNEL SUBSYSTEM CALL (*store event information*) gets it, one event at a time.
//! No public manual has it; the layout is that of Linux (`drivers/s390/cio/chsc.c`).

use core::fmt;

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The start of an answer, behind its response code.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct EventInformation {
    reserved: [u8; 3],
    /// Zero: it is of channel I/O.
    notification_type: u8,
    flags: u8,
    validity: u8,
    reporting_source: u8,
    content: u8,
    full_link_address: U16,
    source_id: U16,
    reserved1: [U32; 2],
}

const _: () = assert!(size_of::<EventInformation>() == 20);

impl EventInformation {
    /// There is more.
    const MORE: u8 = 0x80;
    /// Events were lost.
    const OVERFLOW: u8 = 0x40;
    const LINK_INCIDENT: u8 = 1;

    pub const fn has_more(&self) -> bool {
        self.flags & Self::MORE != 0
    }

    /// Whether subchannels or paths may be others than before: all are to be looked at.
    pub const fn changes_something(&self) -> bool {
        self.flags & Self::OVERFLOW != 0
            || (self.notification_type == 0 && self.content != Self::LINK_INCIDENT)
    }
}

impl fmt::Display for EventInformation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (content, id) = (self.content, self.source_id.get());
        match (self.notification_type, content) {
            (0, Self::LINK_INCIDENT) => write!(f, "link incident")?,
            (0, 2) => write!(f, "I/O resource accessibility")?,
            (0, 7) => write!(f, "channel-path availability")?,
            (0, 8) => write!(f, "channel-path configuration")?,
            (0, _) => write!(f, "content {content}")?,
            (other, _) => write!(f, "notification type {other}, content {content}")?,
        }
        write!(f, ", source {} {id:04x}", self.reporting_source)?;
        match self.flags & Self::OVERFLOW {
            0 => Ok(()),
            _ => f.write_str(", others were lost"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::string::ToString;

    pub(crate) fn event(flags: u8, content: u8, source_id: u16) -> EventInformation {
        EventInformation {
            flags,
            content,
            reporting_source: 4,
            source_id: source_id.into(),
            ..EventInformation::default()
        }
    }

    #[test]
    fn each_event_is_read_by_its_name_and_some_change_nothing() {
        let table = [
            (0, 1, false, "link incident, source 4 0041"),
            (0, 2, true, "I/O resource accessibility, source 4 0041"),
            (0, 7, true, "channel-path availability, source 4 0041"),
            (0x80, 8, true, "channel-path configuration, source 4 0041"),
            (0x80, 11, true, "content 11, source 4 0041"),
            (
                0x40,
                1,
                true,
                "link incident, source 4 0041, others were lost",
            ),
        ];
        for (flags, content, changes, text) in table {
            let event = event(flags, content, 0x41);
            assert_eq!(event.to_string(), text);
            assert_eq!(event.changes_something(), changes, "{text}");
            assert_eq!(event.has_more(), flags & 0x80 != 0, "{text}");
        }
        let of_pci = EventInformation {
            notification_type: 2,
            ..event(0, 1, 0)
        };
        assert!(!of_pci.changes_something());
        assert!(of_pci.to_string().starts_with("notification type 2"));
    }
}
