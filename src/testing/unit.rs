//! What a device has to know: commands, with their data.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::vec::Vec;

use channel::CommandCode;

/// A device with its control unit. The channel is the model's.
pub trait Unit: fmt::Debug {
    /// A program starts over this path.
    fn begin(&mut self, path: u8) {
        let _ = path;
    }
    /// A command, with its data; of one that reads, with what is in its data area before, as far as the machine sees it. Gives
    /// what it sends.
    ///
    /// # Errors
    ///
    /// The sense bytes of its unit check.
    fn command(&mut self, code: CommandCode, data: &[u8]) -> Result<Vec<u8>, Vec<u8>>;
    /// Whether this command does not end before a halt or clear function ends it.
    fn hangs(&mut self, code: CommandCode) -> bool {
        let _ = code;
        false
    }
    /// The program is over before its end.
    fn stop(&mut self) {}
    /// The subchannel was disabled.
    fn disable(&mut self) {}
}

impl<U: Unit + ?Sized> Unit for Rc<RefCell<U>> {
    fn begin(&mut self, path: u8) {
        self.borrow_mut().begin(path);
    }
    fn command(&mut self, code: CommandCode, data: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        self.borrow_mut().command(code, data)
    }
    fn hangs(&mut self, code: CommandCode) -> bool {
        self.borrow_mut().hangs(code)
    }
    fn stop(&mut self) {
        self.borrow_mut().stop();
    }
    fn disable(&mut self) {
        self.borrow_mut().disable();
    }
}
