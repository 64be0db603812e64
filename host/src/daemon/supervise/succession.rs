//! How the VM that another daemon has left is taken over.

use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, Result};
use vcss::control::Order;

use super::{Stop, Supervisor};
use crate::daemon::handover::{Left, LeftVm};
use crate::doorbell::Request;
use crate::sys;
use crate::vm::{Monitor, MonitorError, Vm};
use crate::windows::{Laid, Overlay};

impl Supervisor<'_> {
    /// Takes over the VM that another daemon has left. One that does not serve yet is ended, and started anew.
    pub fn take_over(&mut self, left: &Left, laid: Laid) -> Result<(), Stop> {
        self.plugger.is_first = false;
        let Some(vm) = &left.vm else {
            return self.start_again();
        };
        let handover = &self.shared.handover;
        // Without its process no other one may be started: it would be beside this one.
        let process = handover
            .get(vm.process)
            .context("the appliance's process was not kept")?;
        let messages = vm.messages.and_then(|key| handover.get(key).ok());
        self.vm = Some(Vm::take_over(vm.pid, process, messages)?);
        self.console_from = vm.console_from;
        self.shared.run.lock().pid = vm.pid;
        *self.shared.vm_memory.lock() = handover.get(vm.memory).ok();
        // The other daemon may have died while the appliance was to make way for another one.
        self.shared.areas.order(Order::SERVE)?;
        let Some(since) = vm.serving_since else {
            return self.start_again();
        };
        if let Err(error) = self.take_over_ways(vm, left.daemons, laid) {
            tracing::error!("the appliance's VM cannot be taken over: {error:#}");
            return self.start_again();
        }
        let ago = sys::uptime().saturating_sub(since);
        self.shared.run.lock().serving_since = Instant::now().checked_sub(ago);
        self.watchdog.begin();
        Ok(())
    }

    /// The ways into that VM but for the monitor.
    fn take_over_ways(&self, left: &LeftVm, daemons: u32, laid: Laid) -> Result<()> {
        let handover = &self.shared.handover;
        let (overlay, process) = (handover.get(left.overlay)?, handover.get(left.process)?);
        let overlay = Overlay::go_on(overlay, process, daemons);
        self.shared.windows.runs_already(overlay, laid)?;
        let link = UnixStream::from(handover.get(left.link)?);
        self.shared.bell.request(Request::Link { link });
        Ok(())
    }

    /// The monitor of that VM. QEMU may be held up just now, so nobody waits for this.
    pub fn take_over_monitor(&mut self, left: &Left) {
        let Some(vm) = left.vm.as_ref().filter(|vm| vm.serving_since.is_some()) else {
            return;
        };
        // Another one was started.
        if self.vm.as_ref().is_none_or(|it| it.pid() != vm.pid) {
            return;
        }
        let monitor = self.shared.handover.get(vm.monitor).map(UnixStream::from);
        let monitor = monitor.map_err(MonitorError::from).and_then(|monitor| {
            Monitor::take_over(monitor, self.signals.try_clone()?, left.daemons)
        });
        match monitor {
            Ok(monitor) => self.plugger.take_over(monitor, &vm.sizes),
            // It was to be exchanged for another one, and has shut itself down.
            Err(error @ MonitorError::Refused(_)) => {
                tracing::warn!("the appliance's VM does not go on: {error}");
                self.kill_vm();
            }
            // Its end is noticed as any other is, and who has told us to stop is heard.
            Err(error) => {
                tracing::warn!(%error, "the monitor of the appliance's QEMU cannot be taken over: until the appliance is started again, as by `stellwerk upgrade`, nothing is plugged in or unplugged")
            }
        }
    }
}
