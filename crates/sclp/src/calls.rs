//! The five service calls, each as a method: build the SCCB, call, look at the response.
//!
//! Limits: one call at a time, synchronous. Retries are counted, never endless.

use crate::encode;
use crate::error::{ConsoleError, ScpInfoError, ServiceCallError};
use crate::event::{EventBuffer, EventBuffers};
use crate::sccb::SccbPage;
use crate::scp_info::ScpInfo;
use crate::spec::{
    Command, EventMask, EventMaskSccb, EventSccb, ResponseCode, SccbHeader, ScpInfoSccb,
    EVENT_ACCEPTED, EVENT_MASK_LENGTH, SCCB_SIZE, VARIABLE_LENGTH_RESPONSE,
};
use crate::transport::{EventPending, Signal, Transport};
use core::mem::size_of;

/// How often a call is tried while the SCLP is busy, with a pause in between.
pub const BUSY_RETRIES: u32 = 1000;

/// How often a refused WRITE EVENT DATA is tried again if its response code allows that.
pub const WRITE_RETRIES: u32 = 5;

/// The SCLP: a transport, and the page its SCCBs are built in.
#[derive(Debug)]
pub struct Sclp<'a, T: Transport> {
    transport: T,
    page: &'a mut SccbPage,
    event_pending: bool,
}

/// What the SCLP takes and sends, as WRITE EVENT MASK tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SclpMasks {
    /// The events that the SCLP takes: what the program can send.
    pub receive: EventMask,
    /// The events that the SCLP sends: what the program can take.
    pub send: EventMask,
}

impl<'a, T: Transport> Sclp<'a, T> {
    /// The SCLP behind `transport`, called with SCCBs in `page`.
    pub fn new(transport: T, page: &'a mut SccbPage) -> Self {
        Self {
            transport,
            page,
            event_pending: false,
        }
    }

    /// Remembers a service signal that was taken elsewhere, such as in the idle wait.
    pub fn note_signal(&mut self, signal: Signal) {
        self.note(EventPending::new(signal.event_pending()));
    }

    /// Whether the SCLP is known to hold an event for READ EVENT DATA.
    pub const fn event_pending(&self) -> bool {
        self.event_pending
    }

    /// WRITE EVENT MASK: sets what the program takes and sends, and returns what the SCLP does.
    pub fn write_event_mask(
        &mut self,
        receive: EventMask,
        send: EventMask,
    ) -> Result<SclpMasks, ConsoleError> {
        let sccb = EventMaskSccb {
            header: SccbHeader::new(size_of::<EventMaskSccb>(), [0; 3]),
            reserved: 0.into(),
            mask_length: EVENT_MASK_LENGTH.into(),
            cp_receive_mask: receive.bits().into(),
            cp_send_mask: send.bits().into(),
            sclp_receive_mask: 0.into(),
            sclp_send_mask: 0.into(),
        };
        self.page.write(0, &sccb);
        match (
            self.call(Command::WriteEventMask)?,
            self.page.read::<EventMaskSccb>(),
        ) {
            (ResponseCode::NORMAL, Some(sccb)) => Ok(SclpMasks {
                receive: EventMask::from_bits_retain(sccb.sclp_receive_mask.get()),
                send: EventMask::from_bits_retain(sccb.sclp_send_mask.get()),
            }),
            (code, _) => Err(ConsoleError::Refused(code)),
        }
    }

    /// WRITE EVENT DATA with ASCII data. Returns how much of `text` one SCCB took: all, or as much
    /// as a page holds.
    pub fn write_ascii(&mut self, text: &[u8]) -> Result<usize, ConsoleError> {
        let taken = encode::ascii(self.page, text);
        self.write_event_data()?;
        Ok(taken)
    }

    /// WRITE EVENT DATA with a line-mode message of this event type. Returns how much of `text`
    /// one SCCB took: all, or as many lines as a page holds.
    pub fn write_lines(&mut self, event_type: u8, text: &[u8]) -> Result<usize, ConsoleError> {
        let taken = encode::lines(self.page, event_type, text);
        self.write_event_data()?;
        Ok(taken)
    }

    /// READ EVENT DATA, unconditional: hands each event buffer that the SCLP stored to `take`.
    ///
    /// No event is no error. Afterwards the SCLP counts as having an event pending only if its
    /// completion says so.
    pub fn read_events(
        &mut self,
        mut take: impl FnMut(EventBuffer<'_>),
    ) -> Result<(), ConsoleError> {
        self.event_pending = false;
        match self.call_for_page(Command::ReadEventData)? {
            ResponseCode::NORMAL => EventBuffers::new(self.page.sccb()).for_each(&mut take),
            ResponseCode::NO_EVENT_BUFFERS | ResponseCode::EVENTS_SUPPRESSED => {}
            code => return Err(ConsoleError::Refused(code)),
        }
        Ok(())
    }

    /// READ SCP INFO: what the machine is made of.
    pub fn read_scp_info(&mut self) -> Result<ScpInfo, ScpInfoError> {
        // The order matters to Hercules, which stops a non-CP processor that uses the second.
        self.read_scp_info_by(Command::ReadScpInfoForced)
            .or_else(|error| match error {
                ScpInfoError::Refused(ResponseCode::INVALID_COMMAND) => {
                    self.read_scp_info_by(Command::ReadScpInfo)
                }
                other => Err(other),
            })
    }

    fn read_scp_info_by(&mut self, command: Command) -> Result<ScpInfo, ScpInfoError> {
        let code = self.call_for_page(command);
        match (
            code.map_err(ScpInfoError::ServiceCall)?,
            self.page.read::<ScpInfoSccb>(),
        ) {
            (ResponseCode::NORMAL_READ, Some(sccb)) => ScpInfo::from_sccb(&sccb),
            (code, _) => Err(ScpInfoError::Refused(code)),
        }
    }

    /// Executes the WRITE EVENT DATA that lies in the page, again as long as that is of use.
    fn write_event_data(&mut self) -> Result<(), ConsoleError> {
        let mut retries = 0;
        loop {
            let code = self.call(Command::WriteEventData)?;
            let sccb = self.page.read::<EventSccb>();
            let accepted = sccb.is_some_and(|sccb| sccb.event.flags & EVENT_ACCEPTED != 0);
            match code {
                ResponseCode::NORMAL => return Ok(()),
                // The one buffer of this SCCB went through; what failed is none of ours.
                ResponseCode::CONTAINED_EQUIPMENT_CHECK if accepted => return Ok(()),
                code if code.is_retryable() && retries < WRITE_RETRIES => {
                    retries += 1;
                    self.pause();
                    self.clear_response();
                }
                code => return Err(ConsoleError::Refused(code)),
            }
        }
    }

    /// Takes back what the SCLP stored in a WRITE EVENT DATA, so that it can be sent again.
    fn clear_response(&mut self) {
        if let Some(mut sccb) = self.page.read::<EventSccb>() {
            sccb.header.response_code = 0.into();
            sccb.event.flags = 0;
            self.page.write(0, &sccb);
        }
    }

    /// A call that the SCLP answers with as much as a page holds.
    fn call_for_page(&mut self, command: Command) -> Result<ResponseCode, ServiceCallError> {
        let header = SccbHeader::new(SCCB_SIZE, [0, 0, VARIABLE_LENGTH_RESPONSE]);
        *self.page.as_bytes_mut() = [0; SCCB_SIZE];
        self.page.write(0, &header);
        self.call(command)
    }

    fn call(&mut self, command: Command) -> Result<ResponseCode, ServiceCallError> {
        for _ in 0..BUSY_RETRIES {
            match self.transport.execute(command, self.page) {
                Ok(pending) => {
                    self.note(pending);
                    return Ok(self.page.response_code());
                }
                Err(ServiceCallError::Busy) => self.pause(),
                Err(error) => return Err(error),
            }
        }
        Err(ServiceCallError::Busy)
    }

    fn pause(&mut self) {
        let pending = self.transport.pause();
        self.note(pending);
    }

    fn note(&mut self, pending: EventPending) {
        match pending {
            EventPending::Yes => self.event_pending = true,
            EventPending::No => {}
        }
    }
}
