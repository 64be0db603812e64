//! What the daemon and the appliance's QEMU cannot do, whatever becomes of them.
//!
//! # Purpose
//!
//! The daemon gives up what root has and it does not need, for itself and for all that it starts. QEMU, which interprets what clients
//! and devices say, is in a Landlock domain of its own besides: it reaches no process but itself, no network, and makes and removes
//! files nowhere but in the run directory.
//!
//! # Limits
//!
//! * Which files QEMU may open is decided by their modes alone. A rule for each disk's directory would have to be made by opening
//!   that directory, before each start, and a file system that does not answer would then hold up the daemon; and a disk that a
//!   reload adds to the running QEMU would be out of its reach.
//! * With `qemu_args` QEMU may be asked for sockets and files anywhere: then only other processes are out of its reach.

use std::os::fd::OwnedFd;

use landlock::{
    make_bitflags, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, ABI,
};
use rustix::io;
use rustix::thread::{capabilities, set_capabilities, set_no_new_privs};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::config::Appliance;

/// What is kept of root's capabilities: to give a socket to a client's group, to open whatever disk is configured, and, for vfio, to
/// have memory that stays in place.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::IPC_LOCK);

/// The newest kind of rules that is asked for; an older system has those that it knows.
const NEWEST: ABI = ABI::V6;

/// Gives up capabilities, and all ways to get any by starting a program. It holds for threads that are started from now on, and for
/// programs that these start.
pub fn drop_privileges() -> io::Result<()> {
    // First: without it a program that root starts has all of them again.
    set_no_new_privs(true)?;
    let had = capabilities(None)?;
    let kept = CapabilitySets {
        effective: had.effective & KEPT,
        permitted: had.permitted & KEPT,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, kept)
}

/// The rules for QEMU, for whoever starts it; none if the system knows none.
pub fn of_qemu(appliance: &Appliance) -> Option<OwnedFd> {
    match rules(appliance) {
        Ok(Some(rules)) => Some(rules),
        Ok(None) => {
            tracing::info!("this system has no Landlock: QEMU is confined by its sandbox alone");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "there are no Landlock rules for QEMU");
            None
        }
    }
}

fn rules(appliance: &Appliance) -> Result<Option<OwnedFd>, RulesetError> {
    let mut rules = Ruleset::default();
    if !appliance.qemu_args.is_empty() {
        return Ok(rules.scope(Scope::Signal)?.create()?.into());
    }
    let makes = make_bitflags!(AccessFs::{
        MakeChar | MakeBlock | MakeDir | MakeReg | MakeSock | MakeFifo | MakeSym | RemoveDir | RemoveFile
    });
    rules = rules.handle_access(makes)?;
    rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
    let made = rules.scope(Scope::from_all(NEWEST))?.create()?;
    let Ok(run_dir) = PathFd::new(&appliance.run_dir) else {
        return Ok(made.into());
    };
    let in_run_dir = make_bitflags!(AccessFs::{MakeReg | MakeSock | RemoveFile});
    Ok(made.add_rule(PathBeneath::new(run_dir, in_run_dir))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    use crate::config::Config;

    #[test]
    fn what_is_given_up_stays_given_up_in_what_is_started() {
        // Only this thread, and what it starts, is affected.
        let said = std::thread::spawn(|| {
            drop_privileges().unwrap();
            let mut command = Command::new("cat");
            command.arg("/proc/self/status").output().unwrap().stdout
        });
        let said = String::from_utf8(said.join().unwrap()).unwrap();
        let field = |name| {
            let mut lines = said.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .trim()
        };
        assert_eq!(field("NoNewPrivs:"), "1");
        for set in ["CapEff:", "CapPrm:", "CapInh:"] {
            let left = u64::from_str_radix(field(set), 16).unwrap();
            assert_eq!(left & !KEPT.bits(), 0, "{set} {left:x}");
        }
    }

    #[test]
    fn rules_can_be_made_whatever_the_system_knows() {
        let dir = tempfile::tempdir().unwrap();
        for more in ["", "qemu_args = [\"-name\", \"x\"]"] {
            let run_dir = dir.path().display();
            let text = format!("[appliance]\nimage = \"i\"\nrun_dir = \"{run_dir}\"\n{more}\n");
            let config = Config::parse(Path::new("alone.toml"), &text).unwrap();
            rules(&config.appliance).unwrap();
        }
    }
}
