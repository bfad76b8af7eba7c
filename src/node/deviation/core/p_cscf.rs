//! What a P-CSCF can do wrong.

pub(in crate::node::deviation) mod admitting;
pub(in crate::node::deviation) mod identities;
pub(in crate::node::deviation) mod proxying;

use crate::{
    node::deviation::{
        Deviation, Heard, How, Passing, Said,
        bend::{Notes, edits::request, recall::turn},
    },
    spec::{
        RefPoint::{Gm, Mw},
        Role,
    },
    wire::sip::{self, Builder, Message},
};

const fn p_cscf(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles: &[Role::PCscf],
        requirement,
        summary,
        how,
    }
}

/// Remembers a header of a UE's request.
fn note(memory: &mut Notes<String>, passing: &Passing<'_>, name: &str) -> Heard {
    note_if(memory, passing, name, Message::is_request)
}

/// Remembers a header of what a UE sends, if it is of that kind.
fn note_if(
    memory: &mut Notes<String>,
    passing: &Passing<'_>,
    name: &str,
    fits: fn(&Message) -> bool,
) -> Heard {
    if let Some(sip) = passing.message.sip()
        && passing.on == Gm
        && fits(sip)
        && sip.has(name)
    {
        memory.put(&turn(sip), sip.values(name).join(", "));
    }
    Heard::AsItCame
}

/// Adds what was remembered of a UE's request to the same request in the core.
fn append_noted(memory: &mut Notes<String>, passing: &Passing<'_>, name: &str) -> Said {
    request(passing, Mw, &[], |edit, sip| match memory.get(&turn(sip)) {
        Some(value) => edit.append(name, value),
        None => edit,
    })
}

fn refuse(sip: &Message, code: u16) -> Heard {
    let reason = sip::reason(code);
    match sip.method() {
        "ACK" => Heard::Nothing,
        _ => Heard::Answer(vec![
            Builder::response(sip, code, reason, Some("p-cscf"))
                .finish()
                .bytes()
                .clone(),
        ]),
    }
}
