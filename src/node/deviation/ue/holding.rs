//! What whoever serves pieces can do wrong.

use std::sync::Arc;

use bytes::BytesMut;

use super::of_holders;
use crate::node::{
    Setup,
    deviation::{Deviation, How},
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[of_holders(
    "holder-pollutes-a-piece",
    "PEER-012",
    "serves pieces with one octet changed",
    How::Setup(pollute),
)];

fn pollute(setup: &mut Setup) {
    let mut contents = (*setup.contents).clone();
    for content in &mut contents {
        let mut octets = BytesMut::from(&content.bytes[..]);
        for piece in &content.pieces {
            let middle = usize::try_from(piece.first + piece.len / 2).unwrap_or(usize::MAX);
            if let Some(octet) = octets.get_mut(middle) {
                *octet ^= 0x01;
            }
        }
        content.bytes = octets.freeze();
    }
    setup.contents = Arc::new(contents);
}
