//! The devices that are plugged into the running VM, and which of them it could not have.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Config;
use crate::vm::Pluggable;

/// How long after a failure a device is tried again.
pub const PAUSE: Duration = Duration::from_secs(3);
/// How long one is not tried that has held up QEMU, and with it everybody; each further time twice as long, up to the limit.
const FIRST_REST: Duration = Duration::from_secs(60);
const LONGEST_REST: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub struct PluggedDevices {
    entries: Mutex<Vec<Entry>>,
    /// Wakes whoever plugs them in.
    nudge: UnixStream,
}

#[derive(Debug)]
struct Entry {
    what: Pluggable,
    trouble: Option<String>,
    tries: u32,
    /// When it is tried again; never, until somebody asks, if an administrator has unplugged it.
    next: Option<Instant>,
    /// How often it has held up QEMU, and until when it is not given for that, nor when the VM starts.
    held_up: u32,
    rests_until: Option<Instant>,
    /// What somebody wants to have longer, until whoever does that takes it.
    growth: Option<Growth>,
}

/// That a disk is to be longer.
#[derive(Debug)]
pub struct Growth {
    /// How long in bytes; none: as long as its file is.
    pub wanted: Option<u64>,
    /// Who is told how long it has become, or why it has not. Nobody waits for it if that is not there any more.
    pub answer: SyncSender<Result<u64, String>>,
    /// After that nothing is begun any more.
    pub until: Instant,
}

impl PluggedDevices {
    /// Those of a configuration. `nudge` is the writing end of what the supervisor watches.
    pub fn new(config: &Config, nudge: UnixStream) -> Self {
        let entries = Pluggable::all(config).into_iter().map(|what| Entry {
            what,
            trouble: None,
            tries: 0,
            next: None,
            held_up: 0,
            rests_until: None,
            growth: None,
        });
        Self {
            entries: Mutex::new(entries.collect()),
            nudge,
        }
    }

    /// Has something done with the entry of one.
    fn with<T>(&self, what: Pluggable, act: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut entries = self.entries.lock();
        entries.iter_mut().find(|entry| entry.what == what).map(act)
    }

    /// Those to which something applies.
    fn those(&self, applies: impl Fn(&Entry) -> bool) -> Vec<Pluggable> {
        let entries = self.entries.lock();
        let those = entries.iter().filter(|entry| applies(entry));
        those.map(|entry| entry.what).collect()
    }

    pub fn all(&self) -> Vec<Pluggable> {
        self.those(|_| true)
    }

    /// Those that a VM is given when it starts.
    pub fn to_start_with(&self, now: Instant) -> Vec<Pluggable> {
        self.those(|entry| entry.rests_until.is_none_or(|until| now >= until))
    }

    /// Those that are to be tried now: they have failed, or somebody has asked.
    pub fn due(&self, now: Instant) -> Vec<Pluggable> {
        self.those(|entry| entry.next.is_some_and(|next| now >= next))
    }

    pub fn next(&self) -> Option<Instant> {
        let entries = self.entries.lock();
        entries.iter().filter_map(|entry| entry.next).min()
    }

    /// Why one is not there, if it is not.
    pub fn trouble(&self, what: Pluggable) -> Option<String> {
        self.with(what, |entry| entry.trouble.clone()).flatten()
    }

    pub fn tries(&self, what: Pluggable) -> u32 {
        self.with(what, |entry| entry.tries).unwrap_or(0)
    }

    pub fn good(&self, what: Pluggable) {
        self.set(what, None, None);
    }

    /// The VM could not have it. Returns whether that is news.
    pub fn failed(&self, what: Pluggable, trouble: String) -> bool {
        self.set(what, Some(trouble), Some(Instant::now() + PAUSE))
    }

    /// QEMU was held up by it, for ever for all that is known. Returns for how long it is left alone.
    pub fn has_held_up(&self, what: Pluggable, trouble: String) -> Duration {
        self.set(what, Some(trouble), None);
        let rest = self.with(what, |entry| {
            let longer = 1 << entry.held_up.min(16);
            let rest = (FIRST_REST * longer).min(LONGEST_REST);
            entry.held_up += 1;
            entry.rests_until = Some(Instant::now() + rest);
            entry.next = entry.rests_until;
            rest
        });
        rest.unwrap_or(PAUSE)
    }

    /// It is being looked at: until that has come to something it is not due.
    pub fn begun(&self, what: Pluggable) {
        self.with(what, |entry| entry.next = None);
    }

    /// The administrator has unplugged one in QEMU: it stays so until somebody asks for it.
    pub fn unplugged(&self, what: Pluggable) {
        let trouble = "it was unplugged; `stellwerk retry` plugs it in again";
        self.set(what, Some(trouble.to_owned()), None);
    }

    /// It comes when somebody asks for it: what is in its way goes first.
    pub fn held_back(&self, what: Pluggable) {
        let trouble = "QEMU still has the one before: this one comes when that is unplugged";
        self.set(what, Some(trouble.to_owned()), None);
    }

    /// Has one that has failed tried at once; of one that has not it is found out whether it is another one by now.
    pub fn ask(&self, what: Pluggable) {
        self.with(what, |entry| {
            entry.next = Some(Instant::now());
            entry.rests_until = None;
        });
        self.nudge();
    }

    /// Has one made longer. One of several that want that at a time is heard, and what it replaces is told by the end of its channel.
    pub fn ask_to_grow(&self, what: Pluggable, growth: Growth) {
        self.with(what, |entry| entry.growth = Some(growth));
        self.nudge();
    }

    /// Those that are to be longer, which whoever asks this does.
    pub fn take_growths(&self) -> Vec<(Pluggable, Growth)> {
        let mut entries = self.entries.lock();
        let growths = entries
            .iter_mut()
            .filter_map(|entry| Some((entry.what, entry.growth.take()?)));
        growths.collect()
    }

    fn nudge(&self) {
        let _ = (&self.nudge).write(&[0]);
    }

    fn set(&self, what: Pluggable, trouble: Option<String>, next: Option<Instant>) -> bool {
        let news = self.with(what, |entry| {
            entry.next = next;
            entry.tries = entry.tries.wrapping_add(1);
            let news = entry.trouble != trouble;
            entry.trouble = trouble;
            news
        });
        news.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn fixture() -> (PluggedDevices, UnixStream) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        let disk = |name| format!("[[disk]]\nname = \"{name}\"\nimage = \"{name}.img\"\n");
        let client = "[[client]]\nname = \"c\"\nmemory = \"64M\"\n[[client.disk]]\ndisk = \"a\"\n";
        let text = format!(
            "[appliance]\nimage = \"i\"\n{}{}{client}",
            disk("a"),
            disk("b")
        );
        std::fs::write(&file, text).unwrap();
        let (heard, nudge) = UnixStream::pair().unwrap();
        heard.set_nonblocking(true).unwrap();
        let devices = PluggedDevices::new(&Config::load(&file).unwrap(), nudge);
        (devices, heard)
    }

    #[test]
    fn a_device_that_failed_is_due_again_soon_and_told_of_once() {
        let (devices, _) = fixture();
        let (a, b) = (Pluggable::Disk(0), Pluggable::Disk(1));
        assert_eq!(devices.all(), [a, b]);
        assert_eq!(devices.next(), None);
        assert!(devices.failed(a, "gone".into()));
        assert!(!devices.failed(a, "gone".into()), "no news");
        assert!(devices.failed(a, "locked".into()));
        assert_eq!(devices.trouble(a).as_deref(), Some("locked"));
        assert_eq!(devices.trouble(b), None);
        assert!(devices.due(Instant::now()).is_empty());
        assert_eq!(devices.due(Instant::now() + PAUSE), [a]);
        devices.good(a);
        assert_eq!((devices.trouble(a), devices.next()), (None, None));
        assert_eq!((devices.tries(a), devices.tries(b)), (4, 0));
    }

    #[test]
    fn who_asks_has_it_tried_at_once() {
        let (devices, mut heard) = fixture();
        devices.failed(Pluggable::Disk(1), "gone".into());
        devices.ask(Pluggable::Disk(0));
        devices.ask(Pluggable::Disk(1));
        assert_eq!(heard.read(&mut [0; 8]).unwrap(), 2);
        assert_eq!(
            devices.due(Instant::now()),
            [Pluggable::Disk(0), Pluggable::Disk(1)]
        );
        devices.begun(Pluggable::Disk(0));
        assert_eq!(devices.due(Instant::now()), [Pluggable::Disk(1)]);
    }

    #[test]
    fn what_has_held_up_qemu_is_left_alone_longer_and_longer_also_by_a_start() {
        let (devices, _heard) = fixture();
        let (a, b) = (Pluggable::Disk(0), Pluggable::Disk(1));
        assert_eq!(devices.has_held_up(b, "slow".into()), FIRST_REST);
        let now = Instant::now();
        assert_eq!(devices.to_start_with(now), [a]);
        assert!(devices.due(now + PAUSE).is_empty());
        assert_eq!(devices.due(now + FIRST_REST), [b]);
        assert_eq!(devices.to_start_with(now + FIRST_REST), [a, b]);
        assert_eq!(devices.has_held_up(b, "slow".into()), 2 * FIRST_REST);
        for _ in 0..40 {
            assert!(devices.has_held_up(b, "slow".into()) <= LONGEST_REST);
        }
        devices.ask(b);
        let now = Instant::now();
        assert_eq!(
            (devices.to_start_with(now), devices.due(now)),
            (vec![a, b], vec![b])
        );
    }

    #[test]
    fn what_an_administrator_unplugs_stays_so_until_somebody_asks() {
        let (devices, _heard) = fixture();
        devices.unplugged(Pluggable::Disk(0));
        assert!(devices.trouble(Pluggable::Disk(0)).is_some());
        assert_eq!(devices.next(), None);
        devices.ask(Pluggable::Disk(0));
        assert_eq!(devices.due(Instant::now()), [Pluggable::Disk(0)]);
    }

    #[test]
    fn what_is_held_back_comes_when_somebody_asks_and_with_another_vm() {
        let (devices, _heard) = fixture();
        let a = Pluggable::Disk(0);
        devices.held_back(a);
        assert!(devices.trouble(a).is_some());
        let later = Instant::now() + LONGEST_REST;
        assert!(devices.due(later).is_empty());
        assert!(devices.to_start_with(Instant::now()).contains(&a));
        devices.ask(a);
        assert_eq!(devices.due(Instant::now()), [a]);
    }
}
