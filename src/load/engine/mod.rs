//! What touches the world under load: sockets, clocks, cores, processes. Nothing here decides what is asked,
//! what is right, or what a figure is worth. [`serve`] answers, [`generate`] asks, [`bench`] sets one against the
//! other and collects what [`super::trial`] needs.

pub mod bench;
mod book;
pub mod channel;
pub mod child;
pub mod clock;
pub mod converse;
pub mod generate;
pub mod machine;
pub mod metrics;
mod ready;
pub mod serve;
pub mod served;
pub mod speak;
pub mod spoken;
#[cfg(feature = "users")]
pub mod users;
