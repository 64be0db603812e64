//! Stands in for the translator.
use channel::{Irb, Orb, Scsw};
use window::Window;

#[derive(Debug)]
pub struct Translator {
    live: bool,
}
#[derive(Debug)]
pub struct Refused {
    pub scsw: Scsw,
}
#[derive(Debug)]
pub enum Split {
    NotOurs,
    Resume,
    Start(Orb),
}
#[derive(Debug)]
pub struct Refreshed {
    pub resume: bool,
}
impl Translator {
    pub fn new(_: usize) -> Self {
        Self { live: false }
    }
    pub fn translate(&mut self, orb: &Orb, _: &Window) -> Result<Orb, Refused> {
        assert!(!self.live);
        self.live = true;
        Ok(*orb)
    }
    pub fn back(&self, _: &mut Irb) {}
    pub fn is_modifiable(&self) -> bool {
        false
    }
    pub fn refresh(&mut self, _: &Window, _: Option<u32>) -> Refreshed {
        Refreshed { resume: false }
    }
    pub fn split(&self, _: &Irb) -> Split {
        Split::NotOurs
    }
    pub fn release(&mut self) {
        self.live = false;
    }
    pub fn is_live(&self) -> bool {
        self.live
    }
}
