//! What the nodes of a CDN can do wrong: Edge Server, Origin Server, CDN Controller.

use super::{Deviation, How};
use crate::spec::Role;

const CONTROLLER: &[Role] = &[Role::Controller];

pub(super) const TABLE: &[Deviation] = &[Deviation {
    name: "controller-asks-any-edge",
    roles: CONTROLLER,
    requirement: "CTRL-001",
    summary: "asks edges that do not hold the piece although another does",
    how: How::Setup(|setup| setup.policy.controller.asks_any_edge = true),
}];
