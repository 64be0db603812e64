//! A storage control with one count-key-data volume: [`dasd::model`]'s, as a device of the machine.

use std::fmt::Debug;
use std::vec::Vec;

use channel::CommandCode;
use dasd::model::{self, Records, Stored};

use super::unit::Unit;

pub use dasd::model::{Groups, Record};

/// A storage control whose records are in memory.
pub type StorageControl = model::StorageControl<Stored>;

impl<R: Records + Debug> Unit for model::StorageControl<R> {
    fn begin(&mut self, path: u8) {
        self.begin(path);
    }

    fn command(&mut self, code: CommandCode, data: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        let mut sent = Vec::new();
        match self.command(code, data, &mut sent) {
            Ok(()) => Ok(sent),
            Err(sense) => Err(sense.to_vec()),
        }
    }

    fn hangs(&mut self, code: CommandCode) -> bool {
        self.hangs(code)
    }

    fn stop(&mut self) {
        self.stop();
    }
}
