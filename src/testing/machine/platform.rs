//! The machine around the channel subsystem: clock, sleep and storage.

use channel::{ChannelSubsystem, IoInterruption, SubchannelId};
use s390x::clock::Tod;
use window::{ClientAddress, Window};

use super::{Machine, Pace};
use crate::css::stock::Stock;
use crate::css::{EventInformation, OutOfStorage, Patience, Platform, Wake};

impl Platform for Machine {
    fn notify(&mut self, id: SubchannelId, queue: u16, cookie: i64) -> i64 {
        self.since_wait.update(|count| count + 1);
        if self.subchannel(id).mishaps.gone {
            return -22;
        }
        let mut virtio = self.subchannels[&id].virtio();
        assert_eq!(cookie, virtio.expected_cookie(queue));
        virtio.notified(queue);
        drop(virtio);
        self.work(id);
        i64::from(queue) + 1000
    }

    fn now(&self) -> Tod {
        Tod::from_micros(self.micros)
    }

    fn wait(&mut self, deadline: Option<Tod>) -> Wake {
        self.since_wait.set(0);
        if let Some((wake, interruption)) = self.wakes.pop_front() {
            self.pending.push_back(interruption);
            return wake;
        }
        self.pending.extend(self.css.pending_interruption());
        if !self.pending.is_empty() {
            return Wake::Io;
        }
        self.pause(deadline.expect("nothing will ever happen"));
        Wake::Deadline
    }

    fn pause(&mut self, deadline: Tod) {
        assert!(!self.serving, "everybody waits");
        self.sleeps += 1;
        if self.pace == Pace::Later {
            self.css.run(1000);
        }
        self.pending.extend(self.css.pending_interruption());
        if self.pending.is_empty() {
            self.micros = self.micros.max(deadline.as_micros());
        } else {
            self.micros += 1;
        }
    }

    fn forget_interruption(&mut self, id: SubchannelId) -> bool {
        self.pending
            .extend(core::iter::from_fn(|| self.css.pending_interruption()));
        let before = self.pending.len();
        self.pending
            .retain(|one| !matches!(one, IoInterruption::Subchannel { id: of, .. } if *of == id));
        self.pending.len() < before
    }

    fn storage(&mut self, pages: usize) -> Result<Window, OutOfStorage> {
        let bytes = pages as u64 * 4096;
        let again = self.stock.as_mut().and_then(|stock| stock.take(pages));
        let start = again.unwrap_or(self.free);
        if again.is_none() {
            if pages == 0 || start + bytes > self.storage.len() {
                return Err(OutOfStorage { pages });
            }
            self.free += bytes;
            if let Some(stock) = &mut self.stock {
                stock.add(start, pages);
            }
        }
        // SAFETY: within the leaked bytes, which nobody has a reference to.
        let window = unsafe { Window::new(self.base.add(start as usize), bytes, start) };
        window.fill(ClientAddress::new(0), bytes, 0).unwrap();
        Ok(window)
    }

    fn use_stock(&mut self, stock: Option<Stock>) -> Option<Stock> {
        core::mem::replace(&mut self.stock, stock)
    }

    unsafe fn zero(&mut self, address: u64, length: u32) -> bool {
        let place = ClientAddress::new(address);
        self.storage.fill(place, length.into(), 0).is_ok()
    }

    fn event_information(&mut self) -> Option<EventInformation> {
        self.events.pop_front()
    }

    fn has_midaws(&mut self) -> bool {
        self.midaws
    }

    fn arm_watchdog(&mut self, seconds: u32) -> bool {
        let set = self
            .watchdog
            .as_mut()
            .map(|watchdog| watchdog.push(seconds));
        set.is_some()
    }

    fn path_group(&self) -> [u8; 11] {
        *b"this system"
    }

    fn patience(&self) -> Patience {
        self.patience
    }

    fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    fn highest_set(&mut self) -> u8 {
        3
    }
}
