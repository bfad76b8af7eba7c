#![doc = include_str!("README.md")]
#![forbid(unsafe_code)]

// In layer order: each module imports only from those above it. The `layering` test holds them to it.
pub mod random;
pub mod spec;
pub mod time;

pub mod wire;

pub mod io;

pub mod proto;
pub mod trace;

pub mod suite;

pub mod judge;
pub mod net;
pub mod node;

pub mod drive;

pub mod sut;

pub mod run;

pub mod load;
pub mod prove;

pub mod report;

pub mod cli;
