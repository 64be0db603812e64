//! Values that are texts in JSON, as people write them.

use std::fmt::{self, Display, LowerHex};

use channel::{DeviceNumber, SubchannelId};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::layout::parse_device;

/// A number with its subchannel set: `0.0.3270`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dotted<T>(pub T);

/// What is written so.
pub trait FromDotted: Sized {
    fn from_dotted(number: DeviceNumber) -> Option<Self>;
}

impl FromDotted for DeviceNumber {
    fn from_dotted(number: DeviceNumber) -> Option<Self> {
        Some(number)
    }
}

impl FromDotted for SubchannelId {
    fn from_dotted(number: DeviceNumber) -> Option<Self> {
        Self::new(number.set, number.number)
    }
}

impl<T: Display> Display for Dotted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Display> Serialize for Dotted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: FromDotted> Deserialize<'de> for Dotted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = parse_device(&text).and_then(T::from_dotted);
        number.map(Self).ok_or_else(|| Error::custom("no number"))
    }
}

/// A number in hexadecimal, with all its digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hex<T>(pub T);

impl<T: LowerHex> Display for Hex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.0, width = 2 * size_of::<T>())
    }
}

impl<T: LowerHex> Serialize for Hex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Hex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u64::from_str_radix(&text, 16).map_err(D::Error::custom)?;
        let number = number.try_into().ok();
        number.map(Self).ok_or_else(|| Error::custom("too large"))
    }
}

/// Something architected, bit by bit; in JSON the bytes, hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Architected<T>(pub T);

impl<T: IntoBytes + Immutable> Serialize for Architected<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex::serialize(self.0.as_bytes(), serializer)
    }
}

impl<'de, T: FromBytes> Deserialize<'de> for Architected<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: Vec<u8> = hex::deserialize(deserializer)?;
        let read = T::read_from_bytes(&bytes).map_err(|_| Error::custom("another length"));
        read.map(Self)
    }
}
