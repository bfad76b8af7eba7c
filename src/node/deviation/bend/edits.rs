//! Bends of SIP messages.

use crate::{
    node::deviation::{Heard, Passing, Said},
    spec::RefPoint,
    wire::sip::{Edit, Message, NameAddr, Uri},
};

/// What goes out, or comes in, in place of a message.
pub trait InPlace: Sized {
    const UNCHANGED: Self;

    fn message(message: &Message) -> Self;
}

impl InPlace for Said {
    const UNCHANGED: Said = Said::AsWritten;

    fn message(message: &Message) -> Said {
        Said::as_one(message.bytes().clone())
    }
}

impl InPlace for Heard {
    const UNCHANGED: Heard = Heard::AsItCame;

    fn message(message: &Message) -> Heard {
        Heard::as_one(message.bytes().clone())
    }
}

/// Bends requests of these methods on a reference point; of any method, if none is named.
pub fn request<B: InPlace>(
    passing: &Passing<'_>,
    on: RefPoint,
    methods: &[&str],
    bend: impl for<'a> FnOnce(Edit<'a>, &'a Message) -> Edit<'a>,
) -> B {
    match passing.message.sip() {
        Some(sip) if sip.is_request() && passing.on == on && is_one_of(sip, methods) => {
            B::message(&bend(sip.edit(), sip).finish())
        }
        _ => B::UNCHANGED,
    }
}

/// Bends responses with a status from `from` to `to` to requests of these methods on a reference point.
pub fn response<B: InPlace>(
    passing: &Passing<'_>,
    on: RefPoint,
    methods: &[&str],
    (from, to): (u16, u16),
    bend: impl for<'a> FnOnce(Edit<'a>, &'a Message) -> Edit<'a>,
) -> B {
    let fits = |sip: &Message| {
        let status = sip.status();
        status.is_some_and(|status| (from..=to).contains(&status)) && is_one_of(sip, methods)
    };
    match passing.message.sip() {
        Some(sip) if passing.on == on && fits(sip) => B::message(&bend(sip.edit(), sip).finish()),
        _ => B::UNCHANGED,
    }
}

fn is_one_of(sip: &Message, methods: &[&str]) -> bool {
    methods.is_empty() || methods.contains(&sip.method())
}

/// Whether a request stands inside a dialog.
pub fn is_inside(sip: &Message) -> bool {
    sip.to().is_ok_and(|to| to.tag().is_some())
}

/// The URI of the first entry of a header of name-addrs.
pub fn first_uri(sip: &Message, name: &str) -> Option<String> {
    let entries = sip.addrs(name).ok()?;
    entries.into_iter().next().map(|entry| entry.uri)
}

/// Replaces all values of a header; without any, takes it out.
pub fn set_all<'a>(edit: Edit<'a>, name: &str, values: &[String]) -> Edit<'a> {
    match values.is_empty() {
        true => edit.remove(name),
        false => edit.set(name, &values.join(", ")),
    }
}

/// Keeps of a header of name-addrs the entries whose URI fits.
pub fn keep_only<'a>(
    edit: Edit<'a>,
    sip: &Message,
    name: &str,
    fits: impl Fn(&str) -> bool,
) -> Edit<'a> {
    let mut values = sip.values(name);
    values.retain(|value| NameAddr::parse(value).map_or(true, |entry| fits(&entry.uri)));
    set_all(edit, name, &values)
}

/// Whether a URI names the node itself.
pub fn is_own(passing: &Passing<'_>, uri: &str) -> bool {
    let directory = &passing.setup.directory;
    Uri::parse(uri)
        .is_ok_and(|uri| directory.owner(&uri.host, uri.port) == Some(&passing.setup.name))
}
