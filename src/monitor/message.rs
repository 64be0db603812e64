//! Messages and their identifiers: `STW`, four digits, and how serious it is.
//!
//! # Rule
//!
//! An identifier means one thing for good, so that what watches a console can go by it. Each answer begins with one; the lines of a table
//! behind it have none.

use core::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Information,
    /// Somebody should look.
    Warning,
    /// Not done, and why.
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    number: u16,
    severity: Severity,
}

impl Message {
    const fn new(number: u16, severity: Severity) -> Self {
        Self { number, severity }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.severity {
            Severity::Information => 'I',
            Severity::Warning => 'W',
            Severity::Error => 'E',
        };
        write!(f, "STW{:04}{letter}", self.number)
    }
}

/// The messages; what each means is for the documents alone.
macro_rules! messages {
    ($($name:ident $number:literal $severity:ident $meaning:literal)*) => {
        $(pub const $name: Message = Message::new($number, Severity::$severity);)*
        /// All of them, with what they mean.
        #[cfg(test)]
        pub const ALL: &[(Message, &str)] = &[$(($name, $meaning)),*];
    };
}

messages! {
    HINT 1 Information "An empty line with nothing to repeat: how to begin."
    UNKNOWN 2 Error "There is no such command."
    AMBIGUOUS 3 Error "The abbreviation is one of several commands'."
    USAGE 4 Error "What stands behind the name is not what the command takes; how it is used."
    NOT_ALLOWED 5 Error "The command changes something, which `monitor=` on the command line does not allow."
    MORE 6 Information "There is more: an empty line goes on."
    DROPPED 7 Warning "Lines were dropped before this one: the console was slow, or did not take them."
    NO_SUCH 8 Error "There is no such device, disk or client."
    TOO_LONG 9 Error "A line was longer than a command can be, and was not looked at."
    WATCHING 10 Information "The command looks twice; its answer comes a second later."
    HELP 100 Information "The commands."
    VERSION 101 Information "Which image this is."
    STATUS 102 Information "How the appliance fares."
    DEVICES 103 Information "The owned devices, in the columns of lscss."
    PATHS 104 Information "The channel paths of devices."
    SCHIB 105 Information "The subchannel-information block, stored when the command ran."
    CLIENTS 106 Information "The clients, and what they are given."
    DISKS 107 Information "The disks."
    QUEUES 108 Information "The clients' virtqueues."
    IN_FLIGHT 109 Information "The requests at the disks."
    COUNTERS 110 Information "What was done for each client's device, and by each disk's driver."
    TRACE 111 Information "The trace of the owned subchannels, the newest record first."
    LOG 112 Information "The last log records."
    MEMORY 113 Information "The appliance's own storage."
    INTERRUPTIONS 114 Information "How the appliance is woken."
    REPORTS 115 Information "Channel reports: those to clients, and those that the log has of the machine's."
    STACK 116 Information "The stack, and how much of it was ever used."
    WELL 200 Information "`diag` has found nothing that looks wrong."
    DISK_FAILED 201 Warning "A disk is not served."
    CLIENT_FAILED 202 Warning "A client is not served."
    EXPORT_FAILED 203 Warning "A client's device or subchannel is not served."
    NO_ANSWER 204 Warning "A device does not answer, or was given up."
    QUEUE_STANDS 205 Warning "A queue has requests and does not move."
    NOT_TAKEN 206 Warning "A queue has new requests, and the appliance takes none of them."
    LATE 207 Warning "Work was found by the slow timer: a wake-up was lost."
    LITTLE_MEMORY 208 Warning "The heap is nearly used up."
    LITTLE_STACK 209 Warning "The stack was nearly used up."
    NEEDS_RESET 210 Warning "A client's driver has damaged its queues: the device waits for a reset."
    REPORTS_LOST 211 Warning "A client did not take its channel reports in time, and has lost some."
    HELD_BACK 212 Information "A client's requests wait for its share of the disk, or for its limits."
    RETRIED 213 Warning "The driver of a disk had to try again, or has failed requests."
    LOG_LEVEL 300 Information "The console shows log records up to this level from now on."
}
