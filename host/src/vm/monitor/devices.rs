//! How devices are plugged in and unplugged, and what is behind them.

use std::time::{Duration, Instant};

use qapi::qmp::{device_add, device_del, qom_get, Event};
use qapi::{Command, Empty};
use serde::Serialize;
use serde_json::{json, Map, Value};

use super::{Answer, Monitor, MonitorError, Signals};

/// So many devices are plugged in at a time: their commands, and the answers, fit into the sockets' buffers.
pub(super) const AT_A_TIME: usize = 16;

/// How long QEMU may take for an answer while another one serves: whoever waits for it does not look after that one.
const BESIDE: Duration = Duration::from_secs(2);

/// A device as QEMU plugs it in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plug {
    pub id: String,
    /// The thread that serves it: `object-add`.
    pub thread: Option<Value>,
    /// What is behind it: `blockdev-add`.
    pub node: Option<Node>,
    /// Itself: `device_add`, without the id.
    pub device: Map<String, Value>,
}

/// What is behind a disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The arguments of `blockdev-add`.
    pub arguments: Value,
    /// Whether it can be opened while another QEMU writes to the same file: nothing of that is kept in memory. QEMU takes no lock
    /// before there is a device in front of it.
    pub opens_beside: bool,
}

impl Node {
    fn name(&self) -> Option<&Value> {
        self.arguments.get("node-name")
    }
}

/// Which of a device's commands are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    /// Those that do nothing to another QEMU which has the same device.
    Beforehand,
    /// The others.
    Rest,
}

/// What came of a device that was to be plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    There,
    Refused(String),
    /// QEMU is still at it, and does nothing else meanwhile.
    Underway,
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
command!(BlockdevSetActive, "blockdev-set-active");
command!(BlockResize, "block_resize");

impl Monitor {
    /// Whether a device is plugged in.
    pub fn has(&mut self, id: &str) -> Result<bool, MonitorError> {
        let asked = self.execute(qom_get {
            path: format!("/machine/peripheral/{id}"),
            property: "realized".into(),
        });
        match asked {
            Ok(()) => Ok(true),
            Err(MonitorError::Refused(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Plugs devices in, and says what came of each. Of one that fails nothing is left. The one that QEMU is held up by is the last
    /// that is told of: those behind it have not been tried.
    pub fn plug_in(&mut self, plugs: &[Plug]) -> Result<Vec<Outcome>, MonitorError> {
        self.plug_in_part(plugs, Part::All)
    }

    /// Does of [`Self::plug_in`] what can be done while another QEMU has the same devices.
    pub fn plug_in_beforehand(&mut self, plugs: &[Plug]) -> Result<Vec<Outcome>, MonitorError> {
        self.within(BESIDE, |this| this.plug_in_part(plugs, Part::Beforehand))
    }

    /// Does the rest of it.
    pub fn plug_in_the_rest(&mut self, plugs: &[Plug]) -> Result<Vec<Outcome>, MonitorError> {
        self.plug_in_part(plugs, Part::Rest)
    }

    fn plug_in_part(&mut self, plugs: &[Plug], part: Part) -> Result<Vec<Outcome>, MonitorError> {
        let mut outcomes = Vec::new();
        for plugs in plugs.chunks(AT_A_TIME) {
            self.catch_up()?;
            let mut lines = Vec::new();
            let mut counts = Vec::new();
            for plug in plugs {
                counts.push(self.put_plug(&mut lines, plug, part)?);
            }
            let (answers, waited) = self.ask(&lines);
            let is_held_up = match waited {
                Ok(()) => false,
                Err(MonitorError::Silent) => true,
                Err(error) => return Err(error),
            };
            let mut answers = answers.into_iter();
            for (plug, count) in plugs.iter().zip(counts) {
                let own: Vec<Answer> = answers.by_ref().take(count).collect();
                if own.len() < count {
                    outcomes.push(Outcome::Underway);
                    return Ok(outcomes);
                }
                // The first error tells why the others came.
                let outcome: Result<Vec<Value>, String> = own.into_iter().collect();
                outcomes.push(match outcome {
                    Ok(_) => Outcome::There,
                    Err(reason) => {
                        // Of a QEMU that is held up nobody makes use any more.
                        if !is_held_up {
                            self.clean(plug)?;
                        }
                        Outcome::Refused(reason)
                    }
                });
            }
        }
        Ok(outcomes)
    }

    /// Adds the commands that plug a device in, or a part of them, and says how many they are.
    fn put_plug(
        &mut self,
        lines: &mut Vec<u8>,
        plug: &Plug,
        part: Part,
    ) -> Result<usize, MonitorError> {
        let before = self.sent;
        let is_wanted = |beside: bool| match part {
            Part::All => true,
            Part::Beforehand => beside,
            Part::Rest => !beside,
        };
        // An image that cannot be opened is the likeliest trouble.
        if let Some(node) = plug.node.as_ref().filter(|it| is_wanted(it.opens_beside)) {
            self.put(lines, BlockdevAdd(node.arguments.clone()))?;
        }
        if let Some(thread) = plug.thread.as_ref().filter(|_| is_wanted(true)) {
            self.put(lines, ObjectAdd(thread.clone()))?;
        }
        if is_wanted(false) {
            let mut arguments = plug.device.clone();
            let driver = arguments.remove("driver");
            let driver = driver.as_ref().and_then(Value::as_str).unwrap_or_default();
            let device = device_add {
                bus: None,
                id: Some(plug.id.clone()),
                driver: driver.to_owned(),
                arguments,
            };
            self.put(lines, device)?;
        }
        Ok((self.sent - before) as usize)
    }

    /// Unplugs a device, waits until it is gone, and takes away what was behind it. That this was done is no news.
    pub fn unplug(&mut self, plug: &Plug) -> Result<(), MonitorError> {
        self.execute(device_del {
            id: plug.id.clone(),
        })?;
        let until = Instant::now() + self.patience;
        let is_its_end = |event: &Event| matches!(event, Event::DEVICE_DELETED { data, .. } if data.device.as_ref() == Some(&plug.id));
        while !self.events.iter().any(is_its_end) {
            if !self.is_readable_until(until, Signals::Heeded)? {
                return Err(MonitorError::Silent);
            }
            self.read()?;
            self.take_answers();
        }
        self.events.retain(|event| !is_its_end(event));
        self.clean(plug)
    }

    /// Closes nodes whose devices do nothing any more: what is in memory is written out, and another QEMU can have the locks.
    ///
    /// # Errors
    ///
    /// Some may still be open. QEMU has this command since version 10.0.
    pub fn close<'a>(&mut self, nodes: impl Iterator<Item = &'a str>) -> Result<(), MonitorError> {
        self.catch_up()?;
        let mut lines = Vec::new();
        for node in nodes {
            let closed = json!({ "node-name": node, "active": false });
            self.put(&mut lines, BlockdevSetActive(closed))?;
        }
        let (answers, waited) = self.ask(&lines);
        waited?;
        let answers: Result<Vec<Value>, String> = answers.into_iter().collect();
        answers.map(drop).map_err(MonitorError::Refused)
    }

    /// Makes what is behind a device so long: shorter, too, if that is less.
    pub fn resize(&mut self, node: &str, bytes: u64) -> Result<(), MonitorError> {
        self.execute(BlockResize(json!({ "node-name": node, "size": bytes })))
    }

    /// Takes away what a device that is not there has left, if anything.
    pub fn clean(&mut self, plug: &Plug) -> Result<(), MonitorError> {
        self.catch_up()?;
        let mut lines = Vec::new();
        if let Some(name) = plug.node.as_ref().and_then(Node::name) {
            self.put(&mut lines, BlockdevDel(json!({ "node-name": name })))?;
        }
        if let Some(id) = plug.thread.as_ref().and_then(|thread| thread.get("id")) {
            self.put(&mut lines, ObjectDel(json!({ "id": id })))?;
        }
        self.ask(&lines).1
    }
}
