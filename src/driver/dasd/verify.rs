//! Paths that are lost under a program, and those that are found again.
//!
//! # Rules
//!
//! * A program that runs over a path that is not available any more is not waited for: it is ended (HALT, then CLEAR), and done again
//!   over another path. Where the channel subsystem ends it by itself, its status says so first. CANCEL is not used: on a subchannel of
//!   vfio-ccw it does not reach the device, which would go on with storage that is used for something else.
//! * A path that is available again is used when the same disk has been found over it, and the path group has it. That is done between two
//!   programs, and none is started before.

use channel::{ActivityControl, StatusControl};

use super::{Disk, Hold, Medium, State};
use crate::css::{self, while_serving, Platform};

/// The masks of the paths may be others than before.
pub(super) fn look_at_paths<M: Medium>(disk: &mut Disk<M>, platform: &mut dyn Platform) {
    if disk.state == State::Lent {
        // They are looked at when it is back.
        disk.doubtful = true;
        return;
    }
    let Some(schib) = disk.stored(platform) else {
        return;
    };
    let available = schib.pmcw.lpm & schib.pmcw.pam;
    if disk.state == State::GivenUp {
        // It may be brought up again over those.
        disk.hold.set(Hold::VERIFYING, available != 0);
        return;
    }
    let told = disk.paths.current();
    disk.paths.set_available(available);
    let unverified = disk.paths.unverified() != 0;
    disk.hold.set(Hold::VERIFYING, unverified);
    disk.medium.channel().set_path_mask(disk.paths.all());
    if !matches!(disk.state, State::Running(_) | State::Sensing(_)) || available == 0 {
        return;
    }
    let (scsw, over) = (&schib.scsw, schib.pmcw.lpum);
    // One that has no path yet goes over any of those that it was told of.
    let is_stranded = match scsw.activity().contains(ActivityControl::START_PENDING) {
        true => told & available == 0,
        false => over & disk.paths.lost() != 0,
    };
    if scsw.status().contains(StatusControl::PENDING) {
        disk.look(platform);
    } else if is_stranded {
        log::warn!("disk {}: its program runs over a lost path", disk.id);
        disk.requests.separate();
        disk.stop(platform);
    }
}

/// Verifies the paths that are available again, if no program runs; brings up again what was given up.
pub(super) fn verify<M: Medium>(disk: &mut Disk<M>, platform: &mut dyn Platform) {
    if disk.state == State::GivenUp {
        disk.hold -= Hold::VERIFYING;
        return while_serving(platform, |platform| disk.come_back(platform));
    }
    let unverified = disk.paths.unverified();
    if unverified == 0 {
        disk.hold -= Hold::VERIFYING;
        return;
    }
    if !matches!(disk.state, State::Idle(_) | State::Waiting(_)) {
        return;
    }
    let good = while_serving(platform, |platform| {
        let mut good = 0;
        for path in css::each_path(unverified) {
            disk.medium.channel().set_path_mask(path);
            match disk.medium.verify(platform) {
                Ok(()) => good |= path,
                Err(error) => {
                    log::warn!("disk {}: path {path:02x} is not used: {error}", disk.id);
                }
            }
        }
        disk.medium.regroup(platform, disk.paths.all() | good);
        good
    });
    disk.paths.verified(good);
    disk.hold -= Hold::VERIFYING;
}
