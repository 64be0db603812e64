//! The validated view of an area: header and capabilities checked once, entries reached by type.

use core::sync::atomic::{fence, Ordering};

use thiserror::Error;
use window::{ClientAddress, OutOfWindow, Window, WindowSlice, WindowWord};

use crate::layout::{
    Capability, CapabilityId, Doorbell, Entry, Header, Kind, CAPABILITY_VERSION, MAGIC,
    MAX_CAPABILITIES, VERSION_MAJOR,
};

/// Why a piece of memory is not an area that this side can use, or an access to it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the message says what the fields are
pub enum AreaError {
    #[error("no area: wrong magic number")]
    Magic,
    /// Laid out by an incompatible version.
    #[error("area of major version {found}, this side speaks {VERSION_MAJOR}")]
    Version { found: u16 },
    #[error("area of another kind ({found})")]
    Kind { found: u32 },
    /// The header's length is not that of the memory.
    #[error("area says it is {found:#x} bytes long, its memory is not")]
    Length { found: u64 },
    #[error("area lists {found} capabilities, at most {MAX_CAPABILITIES} are allowed")]
    Capabilities { found: u32 },
    /// A part that does not fit into the area, or whose entries are too small or not aligned.
    #[error("capability {id:#x} does not fit the area")]
    Part { id: u16 },
    /// A part that has to be there is not.
    #[error("area has no {id:?} part")]
    Missing { id: CapabilityId },
    #[error("{id:?} part has no entry {index}")]
    Index { id: CapabilityId, index: u32 },
    /// An access outside.
    #[error(transparent)]
    Outside(#[from] OutOfWindow),
}

/// Numbers of parts end here.
const PARTS: usize = CapabilityId::Program as usize + 1;

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    offset: u32,
    stride: u32,
    count: u32,
}

/// An area whose header and capability list have been checked.
///
/// The list is read once: what the other side does to it later changes nothing here. What reaches entries fails where there is no
/// such entry.
#[derive(Clone, Debug)]
pub struct Area<'w> {
    window: &'w Window,
    /// By [`CapabilityId`].
    parts: [Part; PARTS],
}

impl<'w> Area<'w> {
    /// Checks the area that fills `window`.
    pub fn open(window: &'w Window, kind: Kind) -> Result<Self, AreaError> {
        let header: Header = window.read(ClientAddress::new(0))?;
        if header.magic != MAGIC {
            return Err(AreaError::Magic);
        }
        let found = header.major.get();
        if found != VERSION_MAJOR {
            return Err(AreaError::Version { found });
        }
        let found = header.kind.get();
        if Kind::from_number(found) != Some(kind) {
            return Err(AreaError::Kind { found });
        }
        let found = header.length.get();
        if found != window.len() {
            return Err(AreaError::Length { found });
        }
        let count = header.capability_count.get();
        if count as usize > MAX_CAPABILITIES {
            return Err(AreaError::Capabilities { found: count });
        }
        let mut parts = [Part::default(); PARTS];
        for number in 0..u64::from(count) {
            let at = u64::from(header.capabilities.get()) + number * size_of::<Capability>() as u64;
            let capability: Capability = window.read(ClientAddress::new(at))?;
            let Some(id) = CapabilityId::from_number(capability.id.get()) else {
                continue;
            };
            // Entries of a format that this side does not know are as good as none.
            if capability.version.get() != CAPABILITY_VERSION {
                continue;
            }
            let part = Part {
                offset: capability.offset.get(),
                stride: capability.stride.get(),
                count: capability.count.get(),
            };
            let bytes = u64::from(part.stride).checked_mul(u64::from(part.count));
            let fits = bytes.is_some_and(|bytes| {
                window.contains(ClientAddress::new(u64::from(part.offset)), bytes)
            });
            if !fits || !part.offset.is_multiple_of(8) {
                return Err(AreaError::Part { id: id as u16 });
            }
            if let Some(place) = parts.get_mut(usize::from(id as u16)) {
                *place = part;
            }
        }
        Ok(Self { window, parts })
    }

    /// How many entries of a type there are; 0 when the area has no such part.
    pub fn count<T: Entry>(&self) -> u32 {
        self.part::<T>().count
    }

    /// Copies an entry.
    pub fn read<T: Entry>(&self, index: u32) -> Result<T, AreaError> {
        Ok(self.window.read(self.entry::<T>(index)?)?)
    }

    /// Stores an entry.
    pub fn write<T: Entry>(&self, index: u32, entry: &T) -> Result<(), AreaError> {
        Ok(self.window.write(self.entry::<T>(index)?, entry)?)
    }

    /// The word at `offset` of an entry, to be loaded and stored by itself.
    ///
    /// # Errors
    ///
    /// No such entry, or `offset` is not that of a word in it, or its entries are not aligned.
    pub fn word<T: Entry>(&self, index: u32, offset: usize) -> Result<Word<'w>, AreaError> {
        let missing = AreaError::Index { id: T::ID, index };
        if !offset.is_multiple_of(4) || offset + 4 > size_of::<T>() {
            return Err(missing);
        }
        let entry = self.entry::<T>(index)?;
        let address = entry.checked_add(offset as u64).ok_or(missing)?;
        let word = self.window.slice(address, 4)?.as_word();
        word.map(Word).ok_or(AreaError::Part { id: T::ID as u16 })
    }

    /// The entries `first` to `first + count` of a type as one array; for types whose stride is
    /// their size.
    pub fn array<T: Entry>(&self, first: u32, count: u32) -> Result<WindowSlice<'w>, AreaError> {
        let part = self.part::<T>();
        let missing = AreaError::Index {
            id: T::ID,
            index: first,
        };
        let end = first.checked_add(count).ok_or(missing)?;
        if end > part.count || part.stride as usize != size_of::<T>() {
            return Err(missing);
        }
        let start = u64::from(part.offset) + u64::from(first) * u64::from(part.stride);
        Ok(self
            .window
            .slice(ClientAddress::new(start), count * part.stride)?)
    }

    /// The entries of a type as a ring, of which a power of two counts, and the mask that makes a place of a number.
    pub(crate) fn ring<T: Entry>(&self) -> Result<(WindowSlice<'w>, u32), AreaError> {
        let power = self.count::<T>().checked_ilog2();
        let count = 1 << power.ok_or(AreaError::Missing { id: T::ID })?;
        Ok((self.array::<T>(0, count)?, count - 1))
    }

    /// Where an entry lies in the area.
    pub fn entry<T: Entry>(&self, index: u32) -> Result<ClientAddress, AreaError> {
        let part = self.part::<T>();
        if part.count == 0 {
            return Err(AreaError::Missing { id: T::ID });
        }
        if index >= part.count || (part.stride as usize) < size_of::<T>() {
            return Err(AreaError::Index { id: T::ID, index });
        }
        Ok(ClientAddress::new(
            u64::from(part.offset) + u64::from(index) * u64::from(part.stride),
        ))
    }

    #[inline]
    fn part<T: Entry>(&self) -> Part {
        self.parts
            .get(const { T::ID as usize })
            .copied()
            .unwrap_or_default()
    }
}

/// A big-endian 32-bit word in an area, loaded and stored whole.
#[derive(Clone, Debug)]
pub struct Word<'w>(WindowWord<'w>);

impl Word<'_> {
    /// The word; what was stored before it by its writer is visible after this.
    #[inline]
    pub fn load(&self) -> u32 {
        self.0.load_acquire()
    }

    /// Stores the word, after everything stored before.
    #[inline]
    pub fn store(&self, value: u32) {
        self.0.store_release(value);
    }

    /// Where it is, for whoever has nothing but an address.
    pub fn address(&self) -> usize {
        self.0.expose_address()
    }
}

/// One side of a [`Doorbell`]: rings the other side, hears it, and sleeps without missing it.
#[derive(Debug)]
pub struct Bell<'w> {
    own_bell: Word<'w>,
    own_asleep: Word<'w>,
    their_bell: Word<'w>,
    their_asleep: Word<'w>,
    their_generation: Word<'w>,
    own_acted: Word<'w>,
    rung: u32,
    heard: u32,
    generation: u32,
}

impl<'w> Bell<'w> {
    const CLIENT: usize = core::mem::offset_of!(Doorbell, client);
    const APPLIANCE: usize = core::mem::offset_of!(Doorbell, appliance);
    const BELL: usize = 0;
    const ASLEEP: usize = 4;
    const GENERATION: usize = 8;
    const ACTED: usize = 12;

    /// The client's side.
    pub fn of_client(area: &Area<'w>) -> Result<Self, AreaError> {
        Self::new(area, Self::CLIENT, Self::APPLIANCE)
    }

    /// The side of a client that begins anew: whatever an earlier one left running is ended by the
    /// appliance when it hears the first ring.
    pub fn of_new_client(area: &Area<'w>) -> Result<Self, AreaError> {
        let bell = Self::of_client(area)?;
        let generation = area.word::<Doorbell>(0, Self::CLIENT + Self::GENERATION)?;
        generation.store(generation.load().wrapping_add(1));
        Ok(bell)
    }

    /// The appliance's side. Starts a new generation. A client that began anew since an earlier life said that it
    /// [had acted](Self::has_acted) on that begins anew now.
    pub fn of_appliance(area: &Area<'w>) -> Result<Self, AreaError> {
        let mut bell = Self::new(area, Self::APPLIANCE, Self::CLIENT)?;
        match bell.own_acted.load() {
            // There was no earlier life, or one that did not know this word.
            0 => bell.has_acted(),
            acted => bell.generation = acted.wrapping_sub(1),
        }
        let generation = area.word::<Doorbell>(0, Self::APPLIANCE + Self::GENERATION)?;
        generation.store(generation.load().wrapping_add(1));
        Ok(bell)
    }

    fn new(area: &Area<'w>, own: usize, theirs: usize) -> Result<Self, AreaError> {
        let word = |offset| area.word::<Doorbell>(0, offset);
        let own_bell = word(own + Self::BELL)?;
        let their_bell = word(theirs + Self::BELL)?;
        let their_generation = word(theirs + Self::GENERATION)?;
        let bell = Self {
            generation: their_generation.load(),
            their_generation,
            own_acted: word(own + Self::ACTED)?,
            rung: own_bell.load(),
            // One less than it is: whatever came before counts as not heard yet.
            heard: their_bell.load().wrapping_sub(1),
            own_bell,
            own_asleep: word(own + Self::ASLEEP)?,
            their_bell,
            their_asleep: word(theirs + Self::ASLEEP)?,
        };
        bell.own_asleep.store(0);
        Ok(bell)
    }

    /// Tells the other side to look. Returns whether it sleeps, and so needs the wake-up byte.
    #[inline]
    #[must_use = "a sleeping side hears only the wake-up byte"]
    pub fn ring(&mut self) -> bool {
        self.rung = self.rung.wrapping_add(1);
        self.own_bell.store(self.rung);
        fence(Ordering::SeqCst);
        self.their_asleep.load() != 0
    }

    /// Whether the other side sleeps, and so needs the wake-up byte.
    pub fn is_to_be_rung(&self) -> bool {
        self.their_asleep.load() != 0
    }

    /// Whether the other side has rung since this was asked last.
    #[inline]
    pub fn heard(&mut self) -> bool {
        let bell = self.their_bell.load();
        let rang = bell != self.heard;
        self.heard = bell;
        rang
    }

    /// Whether the other side has rung, without taking note of it.
    #[inline]
    pub fn rings(&self) -> bool {
        self.their_bell.load() != self.heard
    }

    /// Whether the other side has begun anew since this was asked last. Nothing that it was asked, or
    /// asked for, before that holds any more.
    #[inline]
    pub fn began_anew(&mut self) -> bool {
        let generation = self.their_generation.load();
        let anew = generation != self.generation;
        self.generation = generation;
        anew
    }

    /// The appliance has ended all that was left from before the other side [began anew](Self::began_anew): a next life need not.
    pub fn has_acted(&self) {
        self.own_acted.store(self.generation.wrapping_add(1));
    }

    /// Says that this side is about to sleep. The caller then looks for work once more, this bell
    /// included, and sleeps only if there is none.
    #[inline]
    pub fn arm_wakeup(&mut self) {
        self.own_asleep.store(1);
        fence(Ordering::SeqCst);
    }

    /// Says that this side is awake.
    #[inline]
    pub fn disarm_wakeup(&mut self) {
        self.own_asleep.store(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Command, Status};
    use crate::plan;

    /// Memory for an area: it begins on a doubleword.
    #[repr(align(8))]
    struct Memory([u8; 131_072]);

    impl core::ops::Deref for Memory {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            &self.0
        }
    }

    impl core::ops::DerefMut for Memory {
        fn deref_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }

    fn area_bytes() -> Memory {
        let mut bytes = Memory([0; 131_072]);
        let plan = plan::client_area(2);
        plan.write(&Window::borrowed(&mut bytes, 0)).unwrap();
        bytes
    }

    #[test]
    fn what_was_planned_opens() {
        let mut bytes = area_bytes();
        let length = plan::client_area(2).length() as usize;
        let window = Window::borrowed(&mut bytes[..length], 0);
        let area = Area::open(&window, Kind::Client).unwrap();
        assert_eq!(area.count::<Command>(), 2);
        assert!(area.read::<Status>(1).is_ok());
        assert_eq!(
            area.read::<Status>(2).unwrap_err(),
            AreaError::Index {
                id: CapabilityId::Statuses,
                index: 2
            }
        );
        assert_eq!(
            Area::open(&window, Kind::Control).unwrap_err(),
            AreaError::Kind { found: 2 }
        );
    }

    #[test]
    fn a_part_of_another_version_is_not_there() {
        let mut bytes = area_bytes();
        let length = plan::client_area(2).length() as usize;
        bytes[64 + 16 + 3] = 2; // the version of the second capability: the commands
        let window = Window::borrowed(&mut bytes[..length], 0);
        let area = Area::open(&window, Kind::Client).unwrap();
        assert_eq!(area.count::<Command>(), 0);
        assert_eq!(area.count::<Status>(), 2);
    }

    #[test]
    fn a_part_that_is_not_aligned_has_no_words() {
        let mut bytes = area_bytes();
        let length = plan::client_area(2).length() as usize;
        bytes[64 + 16 + 11] += 2; // the stride of the second capability: the commands
        let window = Window::borrowed(&mut bytes[..length], 0);
        let area = Area::open(&window, Kind::Client).unwrap();
        assert!(area.word::<Command>(0, 0).is_ok());
        assert_eq!(
            area.word::<Command>(1, 0).unwrap_err(),
            AreaError::Part {
                id: CapabilityId::Commands as u16
            }
        );
    }

    #[test]
    fn a_part_beyond_the_end_is_refused() {
        let mut bytes = area_bytes();
        let length = plan::client_area(2).length() as usize;
        bytes[64 + 4] = 0x7F; // the first capability's offset
        let window = Window::borrowed(&mut bytes[..length], 0);
        assert_eq!(
            Area::open(&window, Kind::Client).unwrap_err(),
            AreaError::Part { id: 1 }
        );
    }

    #[test]
    fn a_sleeper_hears_a_bell_that_rang_while_it_lay_down() {
        let mut bytes = area_bytes();
        let length = plan::client_area(2).length() as usize;
        let window = Window::borrowed(&mut bytes[..length], 0);
        let area = Area::open(&window, Kind::Client).unwrap();
        let mut client = Bell::of_client(&area).unwrap();
        let mut appliance = Bell::of_appliance(&area).unwrap();
        assert!(appliance.heard(), "what came before is not missed");
        assert!(!appliance.heard());
        assert!(!client.ring(), "the appliance is awake");
        appliance.arm_wakeup();
        assert!(appliance.rings());
        assert!(appliance.heard());
        assert!(client.ring(), "the appliance needs the byte");
        appliance.disarm_wakeup();
        assert!(!client.ring());
    }

    #[test]
    fn a_side_that_begins_anew_is_noticed_once() {
        let mut bytes = area_bytes();
        let length = plan::client_area(2).length() as usize;
        let window = Window::borrowed(&mut bytes[..length], 0);
        let area = Area::open(&window, Kind::Client).unwrap();
        let mut client = Bell::of_new_client(&area).unwrap();
        let mut appliance = Bell::of_appliance(&area).unwrap();
        assert!(client.began_anew());
        assert!(!client.began_anew());
        assert!(!appliance.began_anew(), "the client was there before it");
        Bell::of_new_client(&area).unwrap();
        assert!(appliance.began_anew());
        assert!(!appliance.began_anew());
    }

    #[test]
    fn a_client_that_begins_anew_while_the_appliance_is_dead_is_noticed_by_the_next_life() {
        let mut bytes = area_bytes();
        let length = plan::client_area(2).length() as usize;
        let window = Window::borrowed(&mut bytes[..length], 0);
        let area = Area::open(&window, Kind::Client).unwrap();
        Bell::of_new_client(&area).unwrap();
        assert!(!Bell::of_appliance(&area).unwrap().began_anew());
        assert!(!Bell::of_appliance(&area).unwrap().began_anew());
        Bell::of_new_client(&area).unwrap();
        // A life that dies before it has acted leaves it to the next one.
        assert!(Bell::of_appliance(&area).unwrap().began_anew());
        let mut last = Bell::of_appliance(&area).unwrap();
        assert!(last.began_anew());
        last.has_acted();
        assert!(!Bell::of_appliance(&area).unwrap().began_anew());
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_opens_out_of_bounds(garbage in proptest::collection::vec(0u8.., 64..400)) {
            let mut bytes = area_bytes();
            let length = plan::client_area(2).length() as usize;
            bytes[64..64 + garbage.len().min(400)].copy_from_slice(&garbage);
            let window = Window::borrowed(&mut bytes[..length], 0);
            if let Ok(area) = Area::open(&window, Kind::Client) {
                for index in 0..4 {
                    let _ = area.read::<Status>(index);
                    let _ = area.word::<Doorbell>(index, 4);
                    let _ = area.array::<crate::client::InFlight>(index, 16);
                }
            }
        }
    }
}
