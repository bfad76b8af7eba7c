//! The system under test: what a profile says of it. Start at [`Profile`].

mod profile;

pub use profile::{Profile, Standing, Waiver};
