//! The system under test: what a profile says of it, and, where it is a program of its own, how it is reached,
//! started, told where everybody is, made to act, and stopped. Start at [`Profile`] and [`Guests`].

mod body;
#[cfg(feature = "containers")]
mod container;
pub mod contract;
mod guest;
mod guests;
pub mod lineup;
mod process;
mod profile;
pub mod sheet;
pub mod trigger;

pub use contract::Told;
pub use guest::{Addresses, Guest, Lifetime, Ready, Way, guest_of, parse_binding};
pub use guests::{Absence, Guests, News, Whereabouts};
pub use lineup::Lineup;
pub use profile::{Profile, Standing, Waiver};
pub use trigger::Trigger;
