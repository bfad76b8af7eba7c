//! Who stands in for a whole node and does nothing right: one who says nothing, and two who give everything
//! the same answer. Nothing they take part in may pass.

use bytes::Bytes;

use crate::{
    io::{Input, Outbox},
    node::{Node, Setup},
    spec::Role,
    time::At,
    wire::{
        diameter::{self, Avps, dictionary},
        frame::Frame,
        http,
        message::Decoded,
        msrp, sip,
    },
};

/// Hears everything, says nothing.
struct Silent(Role);

/// Gives every request of every protocol the same answer, and never begins anything.
struct Parrot {
    setup: Setup,
    answer: Answer,
}

#[derive(Clone, Copy)]
enum Answer {
    Yes,
    No,
}

pub fn silent(setup: Setup) -> Box<dyn Node> {
    Box::new(Silent(setup.role))
}

/// 200, or 2001 in Diameter.
pub fn says_yes(setup: Setup) -> Box<dyn Node> {
    Box::new(Parrot {
        setup,
        answer: Answer::Yes,
    })
}

/// 500, or 5012 in Diameter.
pub fn says_no(setup: Setup) -> Box<dyn Node> {
    Box::new(Parrot {
        setup,
        answer: Answer::No,
    })
}

impl Node for Silent {
    fn role(&self) -> Role {
        self.0
    }

    fn handle(&mut self, _at: At, _input: Input<'_>, _out: &mut Outbox) {}
}

impl Node for Parrot {
    fn role(&self) -> Role {
        self.setup.role
    }

    fn handle(&mut self, _at: At, input: Input<'_>, out: &mut Outbox) {
        let Input::Frame(frame) = input else {
            return;
        };
        if let Some(bytes) = self.reply(frame) {
            match frame.link {
                Some(link) => out.send(link, bytes),
                None => out.datagram(frame.on, frame.src, bytes),
            }
        }
    }
}

impl Parrot {
    fn reply(&self, frame: &Frame) -> Option<Bytes> {
        let status = match self.answer {
            Answer::Yes => 200,
            Answer::No => 500,
        };
        match Decoded::of(frame) {
            Decoded::Sip(request) if request.is_request() && request.method() != "ACK" => {
                let contact = format!("<sip:{}>", self.setup.ip);
                let reply =
                    sip::Builder::response(&request, status, sip::reason(status), Some("parrot"));
                Some(reply.header("Contact", &contact).finish().bytes().clone())
            }
            Decoded::HttpRequest(_) => Some(http::Response::build(status).finish().bytes().clone()),
            Decoded::Msrp(request) if request.method() == Some("SEND") => {
                let reply = msrp::Builder::response(&request, status, msrp::comment(status));
                Some(reply.finish(msrp::Flag::Complete))
            }
            Decoded::Diameter(request) if request.is_request() => Some(self.diameter(&request)),
            _ => None,
        }
    }

    fn diameter(&self, request: &diameter::Message) -> Bytes {
        let result = match self.answer {
            Answer::Yes => 2001,
            Answer::No => 5012,
        };
        let domain = &self.setup.directory.domain;
        let mut avps = Avps::new();
        if let Ok(Some(session)) = request.text(&dictionary::SESSION_ID) {
            avps = avps.text(&dictionary::SESSION_ID, session);
        }
        let avps = avps
            .number(&dictionary::RESULT_CODE, result)
            .text(&dictionary::ORIGIN_HOST, self.setup.name.as_str())
            .text(&dictionary::ORIGIN_REALM, domain);
        diameter::Builder::answer(request.header())
            .avps(avps)
            .finish()
    }
}
