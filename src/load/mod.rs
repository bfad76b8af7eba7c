//! Throughput: what a tracker, a chunk server and call flows carry, measured honestly. The same plain functions as the
//! reference nodes answer, in per-core loops ([`engine::serve`]); an open-loop generator asks
//! ([`engine::generate`]). A figure may refuse to exist: [`validity`] decides before any is shown.
//!
//! Everything here is pure but [`engine`], which alone knows sockets, clocks, cores and processes. Start at
//! [`population`] (who there is), [`schedule`] (when something is asked), [`journey`] (what is asked, and
//! what a right answer is; [`flow`] where it takes several messages), [`record`] (what is kept of it) and [`trial`] (what came of it).

pub mod baseline;
pub mod call_flow;
pub mod chunks;
pub mod engine;
pub mod file;
pub mod flow;
pub mod journey;
pub mod log;
pub mod merge;
pub mod population;
pub mod profile;
pub mod record;
pub mod schedule;
pub mod search;
pub mod talked;
pub mod tracker;
pub mod trial;
pub mod units;
pub mod users;
pub mod validity;
