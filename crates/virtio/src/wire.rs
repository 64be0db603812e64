//! How values of the wire become enums.

use thiserror::Error;

/// The other side sent a value that has no meaning in its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{value:#x} is no {field}")]
pub struct UnknownValue {
    /// What the field is.
    pub field: &'static str,
    /// What was in it.
    pub value: u32,
}

/// Defines an enum of wire values together with its `TryFrom` and `From`.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident($int:ident, $what:literal) {
            $( $(#[$variant_meta:meta])* $variant:ident = $value:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr($int)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant = $value, )*
        }

        impl $name {
            /// All values, in the order of their definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
        }

        impl TryFrom<$int> for $name {
            type Error = $crate::UnknownValue;

            fn try_from(value: $int) -> Result<Self, Self::Error> {
                match value {
                    $( $value => Ok(Self::$variant), )*
                    _ => Err($crate::UnknownValue { field: $what, value: value.into() }),
                }
            }
        }

        impl From<$name> for $int {
            fn from(value: $name) -> Self {
                value as Self
            }
        }
    };
}

pub(crate) use wire_enum;
