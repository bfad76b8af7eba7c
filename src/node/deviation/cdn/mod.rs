//! What the nodes of a CDN can do wrong: the Controller, and the Edge and Origin Servers.

pub(super) mod controller;
pub(super) mod server;
