//! Protocol machines that nodes share. Pure: they know neither sockets nor roles, time is told to them.

pub mod aka;
pub mod cx;
pub mod dialog;
pub mod digest;
pub mod endpoint;
pub mod file_transfer;
#[cfg(test)]
pub(crate) mod harness;
pub mod http_exchange;
pub mod notifier;
pub mod proxy;
pub mod publication;
pub mod registration;
pub mod subscription;
pub mod transaction;
