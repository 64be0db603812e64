//! An SCLP in software, for tests on the developer's machine.
//!
//! It imitates three machines as they were observed, and is stricter than any of them: each SCCB it
//! is given must be right to the byte, or it panics with the reason. Faults (busy, refused) and
//! input can be scripted. All handles made by `clone` are the same SCLP.
//!
//! Limits: it knows the five commands of this crate and nothing else.

use crate::error::ServiceCallError;
use crate::sccb::SccbPage;
use crate::spec::{event_type, Command, ResponseCode, SCCB_SIZE};
use crate::transport::{EventPending, Transport};
use s390x::ebcdic::{CP037, CP500};
use std::collections::VecDeque;
use std::string::String;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

/// The machines that can be imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// QEMU with its default console.
    QemuAscii,
    /// QEMU with `-device sclplmconsole`.
    QemuLineMode,
    /// Hercules 3.13.
    Hercules,
    /// A machine with both consoles, as an LPAR.
    Both,
    /// QEMU without any console.
    Nothing,
}

impl Machine {
    /// What the SCLP of this machine receives.
    pub const fn receives(self) -> u32 {
        match self {
            Self::QemuAscii => 0x0000_0040,
            Self::QemuLineMode => 0x4080_0000,
            Self::Hercules => 0x42A0_0020,
            Self::Both => 0x4080_0040,
            Self::Nothing => 0,
        }
    }

    /// What the SCLP of this machine sends.
    pub const fn sends(self) -> u32 {
        match self {
            Self::QemuAscii => 0x0000_0048,
            Self::QemuLineMode => 0x8080_0008,
            Self::Hercules => 0x8380_0029,
            Self::Both => 0x8080_0048,
            Self::Nothing => 0x0000_0008,
        }
    }
}

/// One executed service call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The command.
    pub command: Command,
    /// The SCCB as the program built it.
    pub request: Vec<u8>,
    /// What the SCLP answered.
    pub response: ResponseCode,
}

/// The SCLP in software.
#[derive(Debug, Clone)]
pub struct ScriptedSclp(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    machine: Machine,
    calls: Vec<Call>,
    output: Vec<u8>,
    events: VecDeque<(u8, Vec<u8>)>,
    program_receives: u32,
    program_sends: u32,
    faults: VecDeque<Fault>,
    busy: u32,
    pauses: u32,
    scp_info: Vec<u8>,
}

/// A refusal, for [`ScriptedSclp::refuse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The answer to the next WRITE EVENT DATA or READ EVENT DATA.
    pub response: ResponseCode,
    /// Whether the event buffer is nevertheless marked as accepted.
    pub accepted: bool,
}

impl ScriptedSclp {
    /// An SCLP like that of `machine`, with 64 MiB of memory and one CPU.
    pub fn new(machine: Machine) -> Self {
        let mut scp_info = std::vec![0; 144];
        put16(&mut scp_info, 8, 64);
        scp_info[10] = 1;
        put16(&mut scp_info, 16, 1);
        put16(&mut scp_info, 18, 128);
        Self(Arc::new(Mutex::new(State {
            machine,
            calls: Vec::new(),
            output: Vec::new(),
            events: VecDeque::new(),
            program_receives: 0,
            program_sends: 0,
            faults: VecDeque::new(),
            busy: 0,
            pauses: 0,
            scp_info,
        })))
    }

    /// The calls that were executed, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Forgets the calls that were executed.
    pub fn forget_calls(&self) {
        self.state().calls.clear();
    }

    /// What an operator sees: in line mode, each text object as a line.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&self.state().output).into_owned()
    }

    /// The operator types: keys on an ASCII console, a command in line mode.
    pub fn type_in(&self, text: &str) {
        let machine = self.state().machine;
        match machine {
            Machine::QemuAscii | Machine::Both => {
                let mut payload = std::vec![0];
                payload.extend_from_slice(text.as_bytes());
                self.send_event(event_type::ASCII, payload);
            }
            Machine::QemuLineMode => {
                self.send_event(event_type::OPCMD, qemu_command(text));
            }
            Machine::Hercules => match text.strip_prefix('!') {
                Some(text) => self.send_event(event_type::PMSGCMD, hercules_command(text)),
                None => self.send_event(event_type::OPCMD, hercules_command(text)),
            },
            Machine::Nothing => panic!("this machine has no console"),
        }
    }

    /// The SCLP gets an event of any type and payload to send.
    pub fn send_event(&self, event_type: u8, payload: Vec<u8>) {
        self.state().events.push_back((event_type, payload));
    }

    /// The next reads or writes of events are answered like this, in order.
    pub fn refuse(&self, faults: &[Fault]) {
        self.state().faults.extend(faults);
    }

    /// The SCLP is busy for the next `times` service calls.
    pub fn be_busy(&self, times: u32) {
        self.state().busy = times;
    }

    /// How often the program paused.
    pub fn pauses(&self) -> u32 {
        self.state().pauses
    }

    /// Changes what READ SCP INFO returns, from byte 0 of the SCCB on.
    pub fn edit_scp_info(&self, edit: impl FnOnce(&mut [u8])) {
        edit(&mut self.state().scp_info);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for ScriptedSclp {
    fn execute(
        &mut self,
        command: Command,
        page: &mut SccbPage,
    ) -> Result<EventPending, ServiceCallError> {
        let mut state = self.state();
        if state.busy > 0 {
            state.busy -= 1;
            return Err(ServiceCallError::Busy);
        }
        let request = page.as_bytes();
        let length = usize::from(get16(request, 0));
        assert!((8..=SCCB_SIZE).contains(&length), "SCCB length {length}");
        let request = request[..length].to_vec();
        assert_eq!(
            get16(&request, 6),
            0,
            "response code is not zero in the request"
        );
        assert_eq!(request[2], 0, "function code");
        let response = match command {
            Command::WriteEventMask => state.write_event_mask(&request, page),
            Command::WriteEventData => state.write_event_data(&request, page),
            Command::ReadEventData => state.read_event_data(&request, page),
            Command::ReadScpInfo | Command::ReadScpInfoForced => {
                state.read_scp_info(command, &request, page)
            }
        };
        put16(page.as_bytes_mut(), 6, response.0);
        state.calls.push(Call {
            command,
            request,
            response,
        });
        Ok(EventPending::new(state.has_event()))
    }

    fn pause(&mut self) -> EventPending {
        let mut state = self.state();
        state.pauses += 1;
        EventPending::new(state.has_event())
    }
}

impl State {
    fn has_event(&self) -> bool {
        self.events
            .iter()
            .any(|(event_type, _)| self.takes(*event_type))
    }

    fn takes(&self, event_type: u8) -> bool {
        self.program_receives & mask(event_type) != 0
    }

    fn write_event_mask(&mut self, request: &[u8], page: &mut SccbPage) -> ResponseCode {
        assert_eq!(request.len(), 28, "length of WRITE EVENT MASK");
        assert_eq!(request[3..6], [0; 3], "control mask");
        assert_eq!(get16(request, 8), 0, "reserved");
        assert_eq!(get16(request, 10), 4, "mask length");
        assert_eq!(request[20..28], [0; 8], "the SCLP's masks in the request");
        self.program_receives = get32(request, 12);
        self.program_sends = get32(request, 16);
        let (receives, sends) = (self.machine.receives(), self.machine.sends());
        assert_eq!(
            self.program_receives & !sends,
            0,
            "takes what the SCLP does not send"
        );
        assert_eq!(
            self.program_sends & !receives,
            0,
            "sends what the SCLP does not take"
        );
        put32(page.as_bytes_mut(), 20, receives);
        put32(page.as_bytes_mut(), 24, sends);
        ResponseCode::NORMAL
    }

    fn write_event_data(&mut self, request: &[u8], page: &mut SccbPage) -> ResponseCode {
        assert_eq!(request[3..6], [0; 3], "control mask");
        let event = &request[8..];
        assert_eq!(
            usize::from(get16(event, 0)),
            event.len(),
            "one event buffer, exactly"
        );
        assert_eq!(event[3], 0, "event flags");
        assert_eq!(get16(event, 4), 0, "reserved");
        if self.machine.receives() & mask(event[2]) == 0 {
            return match self.machine {
                Machine::Hercules => ResponseCode::EVENT_BUFFER_SYNTAX,
                _ => ResponseCode::INVALID_FUNCTION,
            };
        }
        assert_ne!(
            self.program_sends & mask(event[2]),
            0,
            "sends what it did not announce"
        );
        if let Some(fault) = self.faults.pop_front() {
            if fault.accepted {
                page.as_bytes_mut()[11] = 0x80;
                self.show(event);
            }
            return fault.response;
        }
        page.as_bytes_mut()[11] = 0x80;
        self.show(event);
        ResponseCode::NORMAL
    }

    fn show(&mut self, event: &[u8]) {
        match event[2] {
            event_type::ASCII => self.output.extend_from_slice(&event[6..]),
            event_type::MSG | event_type::PMSGCMD => self.show_message(&event[6..]),
            other => panic!("event type {other:02X}"),
        }
    }

    fn show_message(&mut self, mdb: &[u8]) {
        assert_eq!(usize::from(get16(mdb, 0)), mdb.len(), "length of the MDB");
        assert_eq!(mdb[2..4], [0, 1], "type of the MDB");
        assert_eq!(mdb[4..8], *b"\xD4\xC4\xC2\x40", "tag of the MDB");
        assert_eq!(get32(mdb, 8), 1, "revision of the MDB");
        let general = &mdb[12..68];
        assert_eq!(get16(general, 0), 56, "length of the general object");
        assert_eq!(get16(general, 2), 1, "type of the general object");
        assert_eq!(general[4..], [0; 52], "general object");
        let mut objects = &mdb[68..];
        assert!(!objects.is_empty(), "a message without text");
        while !objects.is_empty() {
            let (object, rest) = objects.split_at(usize::from(get16(objects, 0)));
            assert_eq!(get16(object, 2), 4, "type of the message text object");
            assert_eq!(get16(object, 4), 0x1000, "line type");
            assert_eq!(object[6..10], [0; 4], "alarm and presentation");
            let line: String = CP500.decode(&object[10..]).collect();
            assert!(
                !line.contains(|c: char| c.is_control()),
                "control character in {line:?}"
            );
            self.output.extend_from_slice(line.as_bytes());
            self.output.push(b'\n');
            objects = rest;
        }
    }

    fn read_event_data(&mut self, request: &[u8], page: &mut SccbPage) -> ResponseCode {
        assert_eq!(request.len(), SCCB_SIZE, "QEMU wants a whole page");
        assert_eq!(request[3..6], [0, 0, 0x80], "variable-length response");
        if let Some(fault) = self.faults.pop_front() {
            return fault.response;
        }
        let mut end = 8;
        while let Some(at) = self.events.iter().position(|(event, _)| self.takes(*event)) {
            let length = 6 + self.events[at].1.len();
            if end + length > SCCB_SIZE {
                break;
            }
            let Some((event_type, payload)) = self.events.remove(at) else {
                break;
            };
            let buffer = &mut page.as_bytes_mut()[end..end + length];
            put16(buffer, 0, length as u16);
            buffer[2..6].copy_from_slice(&[event_type, 0x80, 0, 0]);
            buffer[6..].copy_from_slice(&payload);
            end += length;
            if self.machine == Machine::Hercules {
                break;
            }
        }
        put16(page.as_bytes_mut(), 0, end as u16);
        page.as_bytes_mut()[5] = 0;
        match (end, self.events.is_empty()) {
            (8, true) => ResponseCode::NO_EVENT_BUFFERS,
            (8, false) if self.machine == Machine::Hercules => ResponseCode::EVENTS_SUPPRESSED,
            (8, false) => ResponseCode::NO_EVENT_BUFFERS,
            _ => ResponseCode::NORMAL,
        }
    }

    fn read_scp_info(
        &mut self,
        command: Command,
        request: &[u8],
        page: &mut SccbPage,
    ) -> ResponseCode {
        assert_eq!(
            request.len(),
            SCCB_SIZE,
            "Hercules wants room for all its CPUs"
        );
        if self.machine == Machine::Hercules && command == Command::ReadScpInfoForced {
            return ResponseCode::INVALID_COMMAND;
        }
        let info = &self.scp_info[8..];
        page.as_bytes_mut()[8..8 + info.len()].copy_from_slice(info);
        ResponseCode::NORMAL_READ
    }
}

/// A command as QEMU 10.0.2 sends it from a little-endian host.
fn qemu_command(text: &str) -> Vec<u8> {
    let mut payload =
        std::vec![0, 16, 0x10, 0x13, 0, 12, 0x12, 0x12, 0, 8, 0x20, 0x13, 0, 0x31, 0, 0x30];
    payload.extend(text.chars().map(|c| CP037.encode_char(c)));
    payload
}

/// A command as Hercules sends it, with the vectors that stand beside the text.
fn hercules_command(text: &str) -> Vec<u8> {
    let text: Vec<u8> = text.chars().map(|c| CP500.encode_char(c)).collect();
    let message = [
        &[text.len() as u8 + 4, 0x31, text.len() as u8 + 2, 0x30],
        &text[..],
    ]
    .concat();
    let command = vector(0x1320, &message);
    let routing = vector(
        0x154D,
        &[
            0x0E, 0x06, 6, 0x10, 0, 3, 0, 0, 6, 0x60, 0xD6, 0xC3, 0xC6, 0xC1,
        ],
    );
    let request = vector(0x8070, &[]);
    let unit = vector(0x1212, &[routing, request, command].concat());
    let route = vector(0x1311, &[0; 0x21]);
    let correlator = vector(0x1549, &[8, 1, 3, 1, 0, 3, 2, 0]);
    vector(0x1310, &[route, correlator, unit].concat())
}

fn vector(id: u16, contents: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![0; 4];
    put16(&mut bytes, 0, 4 + contents.len() as u16);
    put16(&mut bytes, 2, id);
    bytes.extend_from_slice(contents);
    bytes
}

fn mask(event_type: u8) -> u32 {
    1 << (32 - u32::from(event_type))
}

fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from(get16(bytes, at)) << 16 | u32::from(get16(bytes, at + 2))
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}
