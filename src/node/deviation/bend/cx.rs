//! Bends of Diameter messages on Cx.

use bytes::Bytes;

use crate::{
    node::deviation::Passing,
    proto::cx::profile::Profile,
    wire::{
        diameter::{
            Avp, Avps, Builder, Header, Message, Outcome,
            dictionary::{self as d, Attribute},
        },
        message::Decoded,
    },
};

/// The request of this name that passes, `UAR`.
pub fn request<'a>(passing: &Passing<'a>, name: &str) -> Option<&'a Message> {
    let message = diameter(passing)?;
    let is_named = message
        .command()
        .is_some_and(|command| command.request == name);
    (message.is_request() && is_named).then_some(message)
}

/// The answer of this name that passes, `UAA`.
pub fn answer<'a>(passing: &Passing<'a>, name: &str) -> Option<&'a Message> {
    let message = diameter(passing)?;
    let is_named = message
        .command()
        .is_some_and(|command| command.answer == name);
    (!message.is_request() && is_named).then_some(message)
}

fn diameter<'a>(passing: &Passing<'a>) -> Option<&'a Message> {
    match passing.message {
        Decoded::Diameter(message) => Some(message),
        _ => None,
    }
}

/// The message with each AVP replaced by what `bend` gives, or kept where that is nothing.
pub fn bent(message: &Message, bend: impl Fn(Avp<'_>) -> Option<Avps>) -> Bytes {
    under(*message.header(), message, bend)
}

/// The same under another header.
pub fn under(header: Header, message: &Message, bend: impl Fn(Avp<'_>) -> Option<Avps>) -> Bytes {
    let mut builder = Builder::new(header);
    for avp in message.avps() {
        builder = builder.avps(match bend(avp) {
            Some(others) => others,
            None => Avps::new().kept(avp),
        });
    }
    builder.finish()
}

/// An answer that nobody gave: what of it an asker reads.
pub fn made_answer(request: &Message, avps: Avps) -> Bytes {
    let session = request.text(&d::SESSION_ID).ok().flatten();
    Builder::answer(request.header())
        .avps(Avps::new().text(&d::SESSION_ID, session.unwrap_or_default()))
        .avps(avps)
        .finish()
}

/// The message without an AVP.
pub fn without(message: &Message, attribute: &Attribute) -> Bytes {
    bent(message, |avp| avp.is(attribute).then(Avps::new))
}

/// The message with another text in an AVP it has.
pub fn with_text(message: &Message, attribute: &Attribute, text: &str) -> Bytes {
    bent(message, |avp| {
        avp.is(attribute).then(|| Avps::new().text(attribute, text))
    })
}

/// The answer with another outcome, and nothing else changed.
pub fn with_outcome(message: &Message, outcome: Outcome) -> Bytes {
    bent(message, |avp| {
        let is_outcome = avp.is(&d::RESULT_CODE) || avp.is(&d::EXPERIMENTAL_RESULT);
        is_outcome.then(|| Avps::new().outcome(outcome))
    })
}

/// The answer that is an outcome and nothing else of the command's own.
pub fn only_outcome(message: &Message, outcome: Outcome) -> Bytes {
    bent(message, |avp| {
        if avp.is(&d::RESULT_CODE) || avp.is(&d::EXPERIMENTAL_RESULT) {
            return Some(Avps::new().outcome(outcome));
        }
        avp.vendor().map(|_| Avps::new())
    })
}

/// The message with its user profile changed; `None` if it carries none that can be read.
pub fn with_profile(message: &Message, change: impl Fn(&mut Profile)) -> Option<Bytes> {
    let mut profile = Profile::from_xml(message.octets(&d::USER_DATA)?).ok()?;
    change(&mut profile);
    Some(with_text(message, &d::USER_DATA, &profile.to_xml()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::diameter::dictionary::result;

    fn answer() -> Message {
        let bytes = Builder::request(&d::UAR, 1, 2)
            .avps(
                Avps::new()
                    .text(&d::SESSION_ID, "abcde")
                    .outcome(Outcome::Base(result::SUCCESS))
                    .text(&d::SERVER_NAME, "sip:s"),
            )
            .finish();
        Message::parse(bytes).expect("a message that was built")
    }

    #[test]
    fn what_is_not_bent_stays_octet_for_octet() {
        assert_eq!(answer().bytes(), &bent(&answer(), |_| None));
    }

    #[test]
    fn another_outcome_takes_the_place_of_the_first() {
        let other = Outcome::Base(result::UNABLE_TO_COMPLY);
        let read = |bytes| Message::parse(bytes).expect("a bent message");
        let bent = read(with_outcome(&answer(), other));
        assert_eq!(Ok(Some(other)), bent.outcome());
        assert!(bent.find(&d::SERVER_NAME).is_some());
        let bare = read(only_outcome(&answer(), other));
        assert_eq!(Ok(Some(other)), bare.outcome());
        assert!(bare.find(&d::SERVER_NAME).is_none());
        assert!(bare.find(&d::SESSION_ID).is_some());
    }
}
