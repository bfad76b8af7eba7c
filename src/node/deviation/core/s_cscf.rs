//! What an S-CSCF can do wrong.

pub(in crate::node::deviation) mod registering;
pub(in crate::node::deviation) mod routing;
pub(in crate::node::deviation) mod serving;

use bytes::Bytes;

use crate::{
    node::deviation::{Deviation, How, bend::cx},
    spec::Role,
    wire::{
        diameter::{self, Avps, Outcome, dictionary::result},
        sip::{Builder, Message},
    },
};

const fn s_cscf(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles: &[Role::SCscf],
        requirement,
        summary,
        how,
    }
}

fn ok(request: &Message) -> Bytes {
    let answer = Builder::response(request, 200, "OK", Some("s-cscf")).finish();
    answer.bytes().clone()
}

fn success(request: &diameter::Message) -> Bytes {
    cx::made_answer(request, Avps::new().outcome(Outcome::Base(result::SUCCESS)))
}
