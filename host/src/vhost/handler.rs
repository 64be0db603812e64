//! The messages, one by one.

use std::fs::File;

use vcss::client::MAX_QUEUE_SIZE;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Backend, Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};

use super::memory::MAX_REGIONS;
use super::ring::{check_eventfd, Place};
use super::session::{protocol_features, refusal, Session, ABSENT, FOREIGN};
use crate::remote::ROOM;
use crate::store::Key;
use crate::windows::Foreign;

impl VhostUserBackendReqHandlerMut for Session {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset()
    }

    fn reset_device(&mut self) -> Result<()> {
        self.reset()
    }

    fn get_features(&mut self) -> Result<u64> {
        self.features()
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        self.choose(features)
    }

    fn set_mem_table(&mut self, regions: &[VhostUserMemoryRegion], files: Vec<File>) -> Result<()> {
        let keys: Result<Vec<_>> = (0..)
            .zip(&files)
            .map(|(at, file)| self.kept(at, file))
            .collect();
        let regions: Vec<_> = regions
            .iter()
            .copied()
            .zip(files.iter().zip(keys?))
            .collect();
        let taken = self.memory.replace(&regions);
        taken.map_err(|foreign| self.refused(&foreign))
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MAX_REGIONS as u64)
    }

    fn add_mem_region(&mut self, region: &VhostUserSingleMemoryRegion, file: File) -> Result<()> {
        let key = self.kept(0, &file)?;
        let taken = self.memory.add(region, &file, key);
        taken.map_err(|foreign| self.refused(&foreign))
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        self.memory.remove(region);
        Ok(())
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let ring = self.idle_ring(index as usize)?;
        let good = num.is_power_of_two() && num as usize <= MAX_QUEUE_SIZE;
        if !good {
            return Err(refusal(format!(
                "a queue of {num} entries: it must be a power of 2 up to {MAX_QUEUE_SIZE} (queue-size=…)"
            )));
        }
        ring.size = num as u16;
        Ok(())
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        if flags.contains(VhostUserVringAddrFlags::VHOST_VRING_F_LOG) {
            return Err(refusal("a migration log is not kept"));
        }
        let inside = |what: &str, user: u64| {
            let address = self.memory.client_address(user);
            address.ok_or_else(|| {
                refusal(format!(
                    "the {what} of queue {index} is in no shared memory"
                ))
            })
        };
        let place = Place {
            descriptors: inside("descriptor table", descriptor)?,
            driver: inside("available ring", available)?,
            device: inside("used ring", used)?,
        };
        let ring = self.ring(index as usize)?;
        if ring.active && ring.place != Some(place) {
            return Err(refusal(format!(
                "queue {index} cannot move while it is served"
            )));
        }
        ring.place = Some(place);
        self.start_if_ready(index as usize)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let ring = self.idle_ring(index as usize)?;
        ring.base = u16::try_from(base)
            .map_err(|_| refusal(format!("queue {index} cannot begin at {base}")))?;
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        // Without an answer the peer would wait for ever: an error here ends the connection.
        let queue = index as usize;
        if let Err(error) = self.stop(queue) {
            if let Some(more) = self.log.line() {
                tracing::error!(disk = self.label(), queue, %error, "queue could not be released{more}");
            }
            return Err(Error::BackendInternalError);
        }
        let ring = self.ring(queue).map_err(|_| Error::InvalidMessage)?;
        ring.kick = None;
        ring.place = None;
        Ok(VhostUserVringState::new(index, u32::from(ring.base)))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let queue = usize::from(index);
        let kick = fd.ok_or_else(|| refusal("a queue without a kick eventfd cannot be served"))?;
        check_eventfd(&kick).map_err(Error::ReqHandlerError)?;
        if self.ring(queue)?.active {
            self.stop(queue)?;
        }
        self.ring(queue)?.kick = Some(self.kept(0, &kick)?);
        self.start_if_ready(queue)
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let queue = usize::from(index);
        self.ring(queue)?.call = self.kept_eventfd(fd.as_ref())?;
        self.set_call(queue, fd);
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.ring(usize::from(index))?.error = self.kept_eventfd(fd.as_ref())?;
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(protocol_features())
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        // Whoever reads the messages goes by it, though it be refused.
        self.protocol = Some(features);
        let unknown = features & !protocol_features().bits();
        if unknown != 0 {
            return Err(refusal(format!(
                "protocol features {unknown:#x} are not offered"
            )));
        }
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.rings.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        let queue = index as usize;
        self.ring(queue)?.enabled = enable;
        if enable {
            self.start_if_ready(queue)
        } else {
            self.stop(queue)
        }
    }

    fn get_config(
        &mut self,
        offset: u32,
        size: u32,
        _flags: VhostUserConfigFlags,
    ) -> Result<Vec<u8>> {
        let end = config_end(offset, size as usize);
        let config = end.and_then(|end| Ok(self.device.read_config(end)?));
        // The answer to the peer is an empty one, which says nothing; it can ask as often as it likes.
        let config = config.inspect_err(
            |error| tracing::debug!(disk = self.label(), %error, "configuration cannot be read"),
        )?;
        let config = config.get(offset as usize..).unwrap_or_default();
        self.backchannel.has_read(offset, config);
        Ok(config.to_vec())
    }

    fn set_config(&mut self, offset: u32, buf: &[u8], _flags: VhostUserConfigFlags) -> Result<()> {
        // The channel command writes from the start of the configuration space on.
        let end = config_end(offset, buf.len())?;
        let config = self.device.read_config(end);
        let mut config = config.map_err(|error| refusal(error.to_string()))?;
        if let Some(place) = config.get_mut(offset as usize..) {
            place.copy_from_slice(buf);
        }
        let written = self.device.write_config(&config);
        written.map_err(|error| refusal(error.to_string()))
    }

    /// What the crate makes of the socket does not know the message that there is for it, and would wait for an answer.
    fn set_backend_req_fd(&mut self, _backend: Backend) {
        self.backchannel.socket = self.incoming.first().copied().flatten();
        self.tell_capacity();
    }

    fn set_gpu_socket(&mut self, _gpu_backend: GpuBackend) -> Result<()> {
        Err(Error::InvalidMessage)
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        Err(Error::InvalidMessage)
    }

    fn get_inflight_fd(
        &mut self,
        _inflight: &VhostUserInflight,
    ) -> Result<(VhostUserInflight, File)> {
        Err(Error::InvalidMessage)
    }

    fn set_inflight_fd(&mut self, _inflight: &VhostUserInflight, _file: File) -> Result<()> {
        Err(Error::InvalidMessage)
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _fd: File,
    ) -> Result<Option<File>> {
        Err(Error::InvalidMessage)
    }

    fn check_device_state(&mut self) -> Result<()> {
        Err(Error::InvalidMessage)
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> Result<()> {
        Err(Error::InvalidMessage)
    }
}

impl Session {
    fn kept_eventfd(&self, file: Option<&File>) -> Result<Option<Key>> {
        let Some(file) = file else { return Ok(None) };
        check_eventfd(file).map_err(Error::ReqHandlerError)?;
        self.kept(0, file).map(Some)
    }

    /// Memory that cannot be laid ends the connection.
    fn refused(&self, foreign: &Foreign) -> Error {
        let kind = if foreign.passes() { ABSENT } else { FOREIGN };
        let text = format!("this VM cannot be served: {foreign}");
        Error::ReqHandlerError(std::io::Error::new(kind, text))
    }
}

fn config_end(offset: u32, size: usize) -> Result<usize> {
    let end = (offset as usize).checked_add(size);
    let end = end.filter(|&end| end <= ROOM && size != 0);
    end.ok_or_else(|| refusal("an access beyond the configuration space"))
}
