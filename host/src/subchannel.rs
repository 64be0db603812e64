//! Subchannels for people: channel programs by hand, and what comes of them.
//!
//! | module | what it is |
//! |---|---|
//! | [`program`] | channel programs as they are written on the command line |
//! | [`view`] | IRB and SCHIB, decoded, as JSON and as text |
//! | [`host`] | the daemon as a client of the appliance: it carries the requests out |
//! | [`loan`] | a disk of the appliance's, borrowed to be administered |
//! | [`trace`] | what happened to the subchannels, record by record |
//!
//! # The rule
//!
//! The daemon is a client like any other here: it has virtual subchannels of its own, for which the appliance checks and
//! translates the programs. A device that belongs to somebody else is out of its reach.

mod host;
mod loan;
mod program;
mod trace;
mod view;

#[cfg(test)]
mod tests;

pub use host::HostClient;
pub use program::Program;
pub use trace::{driver_state, Line, Tracer};
pub use view::{IrbView, SchibView};

use serde::{Deserialize, Serialize};

/// How a channel program ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The device number.
    pub device: String,
    /// The status that ended it; none when it was cancelled.
    pub irb: Option<IrbView>,
    /// Status that came before: unsolicited, intermediate, or left over.
    pub earlier: Vec<IrbView>,
    /// What was read.
    pub data: Vec<Data>,
}

/// What a CCW has read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Data {
    /// Its place in the program, from 0.
    pub ccw: usize,
    /// Its command code, hexadecimal.
    pub command: String,
    /// The bytes.
    #[serde(with = "hex::serde")]
    pub bytes: Vec<u8>,
}

impl Outcome {
    /// What was wrong with the end, if anything.
    pub fn trouble(&self) -> Option<String> {
        match &self.irb {
            None => Some("the program was cancelled".into()),
            Some(irb) => irb.trouble(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for irb in &self.earlier {
            text.push_str(&format!("{}: earlier status\n{}", self.device, irb.text()));
        }
        match &self.irb {
            Some(irb) => text.push_str(&format!("{}: status\n{}", self.device, irb.text())),
            None => text.push_str(&format!("{}: cancelled\n", self.device)),
        }
        for data in &self.data {
            text.push_str(&format!(
                "CCW {} ({}): {} bytes\n{}",
                data.ccw,
                data.command,
                data.bytes.len(),
                view::dump(&data.bytes)
            ));
        }
        text
    }
}

/// An instruction that acts on what a subchannel is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Function {
    /// HALT SUBCHANNEL.
    Halt,
    /// CLEAR SUBCHANNEL.
    Clear,
    /// CANCEL SUBCHANNEL.
    Cancel,
    /// RESUME SUBCHANNEL.
    Resume,
}

impl Function {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::Clear => "clear",
            Self::Cancel => "cancel",
            Self::Resume => "resume",
        }
    }
}
