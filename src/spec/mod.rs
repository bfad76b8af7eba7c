//! The standard's vocabulary: who takes part, where they speak, what the text leaves open, and what
//! it asks for. No behaviour. Start at [`Role`] and [`RefPoint`].

mod clause;
mod feature;
mod options;
mod ref_point;
mod requirement;
mod role;
mod worth;

pub use clause::Clause;
pub use feature::Feature;
pub use options::{Architecture, Delivery, Options, Path, RequestPath};
pub use ref_point::{Format, RefPoint};
pub use requirement::{Basis, Requirement, Strength};
pub use role::Role;
pub use worth::Worth;

/// A word that is not in a closed vocabulary, with what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} \"{found}\", expected one of {}", expected.join(", "))]
pub struct UnknownWord {
    /// What the word was taken for: "role", "reference point", …
    pub kind: &'static str,
    /// The word found.
    pub found: String,
    /// All words that would do.
    pub expected: Vec<&'static str>,
}

/// Declares a closed vocabulary: an enum, its list of words, parsing, printing and serde by word.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $kind:literal, { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The word that stands for it in files, flags and reports.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::spec::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|v| v.word() == word).ok_or_else(|| {
                    $crate::spec::UnknownWord {
                        kind: $kind,
                        found: word.to_owned(),
                        expected: Self::ALL.iter().map(|v| v.word()).collect(),
                    }
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.word())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                word.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let all: Vec<&str> = Self::ALL.iter().map(|v| v.word()).collect();
                schemars::json_schema!({ "type": "string", "enum": all })
            }
        }
    };
}
pub(crate) use words;
