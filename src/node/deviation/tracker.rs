//! What a Tracker AS can do wrong.

use super::{Deviation, How};
use crate::spec::Role;

const TRACKER: &[Role] = &[Role::Tracker];

pub(super) const TABLE: &[Deviation] = &[Deviation {
    name: "tracker-keeps-the-silent",
    roles: TRACKER,
    requirement: "PPSTP-017",
    summary: "lists peers for an hour after they were last heard of",
    how: How::Setup(|setup| setup.policy.tracker.track_timeout = 3600),
}];
