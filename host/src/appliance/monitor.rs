//! QEMU's monitor: what the running VM is told, in QMP.
//!
//! # Scope
//!
//! [`Monitor`] speaks with one QEMU over a pair of sockets that nobody else has. [`Plug`] says how a device is plugged in, and how
//! what is left of it is taken away when that fails.
//!
//! # Rule
//!
//! Every wait for an answer has an end.

use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{anyhow, Context, Result};
use qapi::qmp::{cont, device_add, qmp_capabilities, Event};
use qapi::{Command, Empty, ExecuteError, Qmp, Stream};
use serde::Serialize;
use serde_json::{json, Value};

/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The monitor of a QEMU.
pub struct Monitor {
    qmp: Qmp<Stream<BufReader<UnixStream>, UnixStream>>,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

/// What QEMU has said unasked and somebody has to do something about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The device with this id has been unplugged.
    Unplugged(String),
    /// The VM does not run any more.
    Stopped,
}

/// A device as QEMU plugs it in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plug {
    /// Its id.
    pub id: String,
    /// The thread that serves it: `object-add`.
    pub thread: Option<Value>,
    /// What is behind it: `blockdev-add`.
    pub node: Option<Value>,
    /// Itself: `device_add`, without the id.
    pub device: serde_json::Map<String, Value>,
}

/// A command whose arguments are what QEMU's manual says, as JSON: those that the crate types would be none the clearer.
macro_rules! command {
    ($name:ident, $text:literal) => {
        #[derive(Debug, Serialize)]
        #[serde(transparent)]
        struct $name(Value);

        impl Command for $name {
            const NAME: &'static str = $text;
            const ALLOW_OOB: bool = false;
            type Ok = Empty;
        }
    };
}

command!(ObjectAdd, "object-add");
command!(ObjectDel, "object-del");
command!(BlockdevAdd, "blockdev-add");
command!(BlockdevDel, "blockdev-del");

impl Monitor {
    /// Greets a QEMU that was given the other end.
    ///
    /// # Errors
    ///
    /// It does not answer, or has ended.
    pub fn connect(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut greeting = String::new();
        let length = reader.read_line(&mut greeting).context("no greeting")?;
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut qmp = Qmp::new(Stream::new(reader, stream));
        qmp.execute(&qmp_capabilities { enable: None })
            .context("QEMU's monitor")?;
        Ok(Self { qmp })
    }

    /// Readable when QEMU says something.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.qmp.inner().get_ref_write().as_fd()
    }

    /// Lets the VM run.
    ///
    /// # Errors
    ///
    /// QEMU refuses, or does not answer.
    pub fn go_on(&mut self) -> Result<()> {
        self.execute(&cont {})
    }

    /// Plugs a device in. If that fails nothing of it is left.
    ///
    /// # Errors
    ///
    /// What QEMU says.
    pub fn plug(&mut self, plug: &Plug) -> Result<()> {
        // What is left of one that was unplugged.
        self.clean(plug);
        let added = self.add(plug);
        if added.is_err() {
            self.clean(plug);
        }
        added
    }

    fn add(&mut self, plug: &Plug) -> Result<()> {
        if let Some(thread) = &plug.thread {
            self.execute(&ObjectAdd(thread.clone()))?;
        }
        if let Some(node) = &plug.node {
            self.execute(&BlockdevAdd(node.clone()))?;
        }
        let mut arguments = plug.device.clone();
        let driver = arguments.remove("driver");
        let driver = driver.as_ref().and_then(Value::as_str).unwrap_or_default();
        self.execute(&device_add {
            bus: None,
            id: Some(plug.id.clone()),
            driver: driver.to_owned(),
            arguments,
        })
    }

    /// Takes away what a device that is not there has left, if anything.
    fn clean(&mut self, plug: &Plug) {
        if let Some(name) = plug.node.as_ref().and_then(|node| node.get("node-name")) {
            let _ = self.execute(&BlockdevDel(json!({ "node-name": name })));
        }
        if let Some(id) = plug.thread.as_ref().and_then(|thread| thread.get("id")) {
            let _ = self.execute(&ObjectDel(json!({ "id": id })));
        }
    }

    /// What QEMU has said since this was last asked.
    ///
    /// # Errors
    ///
    /// It does not answer, or has ended.
    pub fn news(&mut self) -> Result<Vec<News>> {
        self.qmp.nop().context("QEMU's monitor")?;
        let events = self.qmp.events();
        Ok(events
            .filter_map(|event| match event {
                Event::DEVICE_DELETED { data, .. } => data.device.map(News::Unplugged),
                Event::STOP { .. } => Some(News::Stopped),
                Event::BLOCK_IO_ERROR { data, .. } => {
                    let node = data.node_name.unwrap_or_default();
                    tracing::debug!(node, reason = data.reason, "QEMU reports an I/O error");
                    None
                }
                _ => None,
            })
            .collect())
    }

    fn execute<C: Command<Ok = Empty>>(&mut self, command: &C) -> Result<()> {
        match self.qmp.execute(command) {
            Ok(_) => Ok(()),
            Err(ExecuteError::Qapi(error)) => Err(anyhow!("{}", error.desc)),
            Err(ExecuteError::Io(error)) => Err(error).context("QEMU's monitor does not answer"),
        }
    }
}
