//! Cx (TS 29.228, TS 29.229): the procedures as typed requests and answers, a Diameter peer that carries
//! them, and the user profile. Nodes see neither AVPs nor connections.
//!
//! Start at [`CxEndpoint`]; what is asked and answered stands in [`procedure`].

pub mod peer;
pub mod procedure;
pub mod profile;

pub use peer::{CxEndpoint, CxEvent, CxFailure, CxIdentity, CxServerTxn, CxTimers, CxTxn};
pub use procedure::*;
