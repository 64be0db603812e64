//! A subchannel with a scripted device, and storage that both sides see.

use alloc::rc::Rc;
use core::cell::RefCell;

use zerocopy::IntoBytes;

use crate::model::{Model, PathState, Reply, Script, Storage};
use crate::{
    Ccw1, CcwFlags, ChannelSubsystem, CommandCode, DeviceStatus, IoInterruption, Irb, Orb,
    OrbFlags, PmcwFlags, Refusal, StatusControl, SubchannelId, SubchannelStatus, Tested,
};

pub const WRITE: u8 = 0x01;
pub const READ: u8 = 0x02;
pub const NOP: u8 = 0x03;
pub const BACKWARD: u8 = 0x0C;
/// A command that ends only when it is stopped.
pub const ENDLESS: u8 = 0x07;
pub const PROGRAM: u32 = 0x1000;
pub const LIST: u32 = 0x2000;
pub const DATA: u32 = 0x3000;
pub const SIZE: usize = 0x1_0000;

/// What the device sends.
pub fn pattern(length: usize) -> alloc::vec::Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 + 1).collect()
}

pub fn script() -> Script {
    Script::new()
        .on(READ, Reply::sends(&pattern(16)))
        .on(BACKWARD, Reply::sends(&pattern(16)))
        .on(WRITE, Reply::takes(16))
        .on(ENDLESS, Reply::accepted().after(Reply::NEVER))
}

pub fn ccw(code: u8, flags: CcwFlags, count: u16, address: u32) -> Ccw1 {
    Ccw1::new(CommandCode(code), flags, count, address)
}

pub fn put(storage: &mut Storage, address: u32, ccws: &[Ccw1]) {
    assert!(storage.put(address.into(), ccws.as_bytes()));
}

pub fn nop(flags: CcwFlags) -> Ccw1 {
    ccw(NOP, flags | CcwFlags::SLI, 1, 0)
}

pub fn tic(address: u32) -> Ccw1 {
    ccw(8, CcwFlags::empty(), 0, address)
}

pub struct Fixture {
    pub css: Model<Rc<RefCell<Storage>>>,
    pub storage: Rc<RefCell<Storage>>,
    pub device: Rc<RefCell<Script>>,
    pub id: SubchannelId,
}

impl Fixture {
    /// An enabled subchannel with two paths (X'80', X'40'), and the program at [`PROGRAM`].
    pub fn new(program: &[Ccw1]) -> Self {
        let storage = Rc::new(RefCell::new(Storage::new(0, SIZE)));
        let device = Rc::new(RefCell::new(script()));
        let id = SubchannelId::new(0, 7).unwrap();
        let mut css = Model::new(storage.clone());
        css.attach(id, 0x0A80, device.clone());
        css.set_path(id, 1, 0x31, PathState::Operational);
        let mut fixture = Self {
            css,
            storage,
            device,
            id,
        };
        fixture.put(program);
        fixture.enable(true);
        fixture
    }

    pub fn put(&mut self, program: &[Ccw1]) {
        put(&mut self.storage.borrow_mut(), PROGRAM, program);
    }

    pub fn enable(&mut self, on: bool) {
        let mut schib = self.css.store(self.id).unwrap();
        schib.pmcw.set_isc(3);
        schib.pmcw.set_flag(PmcwFlags::ENABLED, on);
        schib.pmcw.set_concurrent_sense(true);
        self.css.modify(self.id, &schib).unwrap();
    }

    pub fn start(&mut self, flags: OrbFlags) -> Result<(), Refusal> {
        let orb = Orb::format_1(0xABCD, PROGRAM, flags, 0xFF);
        // SAFETY: the model's storage is its own.
        unsafe { self.css.start(self.id, &orb) }
    }

    pub fn started(program: &[Ccw1], flags: OrbFlags) -> Self {
        let mut fixture = Self::new(program);
        fixture.start(flags).unwrap();
        fixture
    }

    pub fn steps(&mut self) {
        self.css.run(1000);
    }

    /// The status that is pending now.
    pub fn test(&mut self) -> Irb {
        match self.css.test(self.id) {
            Ok(Tested::Status(irb)) => irb,
            other => panic!("{other:?}"),
        }
    }

    pub fn scsw(&mut self) -> crate::Scsw {
        self.css.store(self.id).unwrap().scsw
    }

    pub fn interrupted(&mut self) -> bool {
        match self.css.pending_interruption() {
            Some(IoInterruption::Subchannel { id, parameter, isc }) => {
                assert_eq!((id, parameter, isc), (self.id, 0xABCD, 3));
                true
            }
            Some(other) => panic!("{other:?}"),
            None => false,
        }
    }
}

pub const fn normal() -> DeviceStatus {
    Reply::normal_end()
}

pub const fn ended() -> StatusControl {
    StatusControl::PRIMARY
        .union(StatusControl::SECONDARY)
        .union(StatusControl::PENDING)
}

pub const fn no_check() -> SubchannelStatus {
    SubchannelStatus::empty()
}
