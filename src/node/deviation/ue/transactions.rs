//! What the transaction layer of a UE, and of whoever serves pieces, can do wrong.

use std::time::Duration;

use super::{of_holders, of_users};
use crate::{
    node::deviation::{
        Deviation, Door, Heard, How, Passing, Said,
        bend::{self, recall::turn},
    },
    spec::RefPoint,
    time::At,
    wire::sip::{Builder, Message},
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    of_users(
        "ue-repeats-no-invite",
        "ERR-001",
        "sends an INVITE once, answered or not",
        How::Door(|_| Box::new(Once::of(|method| method == "INVITE"))),
    ),
    of_users(
        "ue-repeats-an-invite-once",
        "ERR-001",
        "sends an INVITE twice and then waits, answered or not",
        How::Door(|_| {
            Box::new(Once {
                left: 2,
                ..Once::of(|method| method == "INVITE")
            })
        }),
    ),
    of_users(
        "ue-sends-each-invite-twice",
        "ERR-001",
        "sends every INVITE and each copy of it twice at once",
        How::Says(|passing| match passing.request("INVITE") {
            Some(_) => Said::Instead(vec![passing.bytes.clone(), passing.bytes.clone()]),
            None => Said::AsWritten,
        }),
    ),
    of_users(
        "ue-repeats-no-request",
        "ERR-002",
        "sends a request other than INVITE once, answered or not",
        How::Door(|_| Box::new(Once::of(|method| !matches!(method, "INVITE" | "ACK")))),
    ),
    of_users(
        "ue-skips-every-other-copy",
        "ERR-002",
        "sends only every other copy of a request other than INVITE",
        How::Door(|_| Box::new(EveryOther::default())),
    ),
    of_users(
        "ue-gives-an-invite-up-early",
        "ERR-001",
        "repeats an INVITE for half a minute, as if T1 were half a second",
        How::Door(|_| {
            Box::new(Once {
                left: 5,
                ..Once::of(|method| method == "INVITE")
            })
        }),
    ),
    of_users(
        "ue-gives-a-request-up-early",
        "ERR-002",
        "repeats a request other than INVITE for half a minute, as if T1 were half a second",
        How::Door(|_| {
            Box::new(Once {
                left: 5,
                ..Once::of(|method| !matches!(method, "INVITE" | "ACK"))
            })
        }),
    ),
    of_users(
        "ue-knows-no-t2",
        "ERR-002",
        "doubles the interval between copies of a request other than INVITE beyond T2",
        How::Door(|_| Box::new(Slowing::default())),
    ),
    of_users(
        "ue-is-deaf-to-provisional-answers",
        "ERR-003",
        "goes on repeating an INVITE after a provisional answer",
        How::Hears(|passing| {
            let answer = passing.response("INVITE");
            match answer.and_then(Message::status) {
                Some(100..200) => Heard::Nothing,
                _ => Heard::AsItCame,
            }
        }),
    ),
    of_users(
        "ue-cancels-before-any-answer",
        "ERR-009",
        "sends CANCEL right after INVITE",
        How::Says(cancelled_at_once),
    ),
    of_users(
        "ue-sends-long-requests-over-udp",
        "ERR-019",
        "takes the path MTU of Gm for known and large",
        How::Setup(|setup| {
            setup.path_mtu.insert(RefPoint::Gm, 65_000);
        }),
    ),
    of_users(
        "ue-takes-1500-octets-for-safe",
        "ERR-019",
        "sends requests of up to 1500 octets over UDP",
        How::Setup(|setup| {
            setup.path_mtu.insert(RefPoint::Gm, 1_700);
        }),
    ),
    of_holders(
        "holder-says-200-once",
        "ERR-004",
        "does not repeat its 200 to an INVITE, acknowledged or not",
        How::Door(|_| Box::new(OnceAccepted::default())),
    ),
    of_holders(
        "holder-refuses-once",
        "ERR-024",
        "sends the refusal of an INVITE once, whether it is acknowledged or not",
        How::Door(|_| Box::new(Refusals::new(|copy| copy == 1))),
    ),
    of_holders(
        "holder-skips-every-other-refusal",
        "ERR-024",
        "leaves out every second copy of the refusal of an INVITE",
        How::Door(|_| Box::new(Refusals::new(|copy| copy % 2 == 1))),
    ),
    of_holders(
        "holder-doubles-beyond-t2",
        "ERR-024",
        "goes on doubling the intervals at which it refuses an INVITE beyond T2",
        How::Door(|_| Box::new(Refusals::new(|copy| matches!(copy, 1..=5 | 7 | 11)))),
    ),
    of_holders(
        "holder-answers-a-copy-under-another-tag",
        "ERR-005",
        "makes up another To tag when it answers the same request again",
        How::Door(|_| Box::new(Retagged::default())),
    ),
    of_holders(
        "holder-takes-a-copy-for-a-request-of-its-own",
        "ERR-005",
        "does what a request asks again when a copy of it comes",
        How::Door(|_| Box::new(Anew::of(|_| true))),
    ),
    of_holders(
        "holder-takes-a-late-copy-for-a-call-of-its-own",
        "ERR-006",
        "begins another session when an INVITE comes again after its 200",
        How::Door(|_| Box::new(Anew::of(|method| method == "INVITE"))),
    ),
    of_holders(
        "holder-accepts-any-prack",
        "ERR-016",
        "answers 200 to a PRACK that nothing waits for",
        How::Hears(|passing| match passing.request("PRACK") {
            Some(prack) => Heard::Answer(vec![
                Builder::response(prack, 200, "OK", None).finish().into(),
            ]),
            None => Heard::AsItCame,
        }),
    ),
    of_holders(
        "holder-waits-for-an-ack-for-ever",
        "ERR-023",
        "does not end a session that was never acknowledged",
        How::Door(|_| Box::new(Acknowledged::default())),
    ),
];

/// Sends requests of some methods no more than once, or as often as it is told.
pub struct Once {
    fits: fn(&str) -> bool,
    pub left: u32,
    seen: bend::Notes<u32>,
}

impl Once {
    pub fn of(fits: fn(&str) -> bool) -> Once {
        Once {
            fits,
            left: 1,
            seen: bend::Notes::default(),
        }
    }
}

/// What a request and its copies have in common.
fn key(request: &Message) -> Option<String> {
    let cseq = request.cseq().ok()?;
    Some(format!("{} {cseq}", request.call_id().ok()?))
}

impl Door for Once {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let request = passing.message.sip();
        let request = request.filter(|sip| sip.is_request() && (self.fits)(sip.method()));
        let Some(key) = request.and_then(key) else {
            return Said::AsWritten;
        };
        let sent = self.seen.get(&key).copied().unwrap_or(0);
        self.seen.put(&key, sent.saturating_add(1));
        match sent < self.left {
            true => Said::AsWritten,
            false => Said::Nothing,
        }
    }
}

/// Sends every other copy of a request that is neither INVITE nor ACK.
#[derive(Default)]
struct EveryOther(bend::Notes<bool>);

impl Door for EveryOther {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let request = passing.message.sip();
        let request =
            request.filter(|sip| sip.is_request() && !matches!(sip.method(), "INVITE" | "ACK"));
        let Some(key) = request.and_then(key) else {
            return Said::AsWritten;
        };
        let is_due = self.0.get(&key).is_none_or(|was_sent| !*was_sent);
        self.0.put(&key, is_due);
        match is_due {
            true => Said::AsWritten,
            false => Said::Nothing,
        }
    }
}

/// Leaves out copies of a request that is neither INVITE nor ACK where an interval that went on doubling
/// would not have ended.
#[derive(Default)]
struct Slowing(bend::Notes<Copies>);

/// When a request went out, and its last copy.
#[derive(Clone, Copy)]
struct Copies {
    last: At,
    /// The interval after which the next one is due; none before the first copy.
    due: Option<Duration>,
}

impl Door for Slowing {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let request = passing.message.sip();
        let request =
            request.filter(|sip| sip.is_request() && !matches!(sip.method(), "INVITE" | "ACK"));
        let Some(key) = request.and_then(key) else {
            return Said::AsWritten;
        };
        let at = passing.at;
        let Some(copies) = self.0.get(&key) else {
            let due = None;
            self.0.put(&key, Copies { last: at, due });
            return Said::AsWritten;
        };
        let interval = at.since(copies.last);
        if copies.due.is_some_and(|due| interval < due) {
            return Said::Nothing;
        }
        *copies = Copies {
            last: at,
            due: Some(interval * 2),
        };
        Said::AsWritten
    }
}

fn cancelled_at_once(passing: &Passing<'_>) -> Said {
    let cancel = passing.request("INVITE").and_then(|invite| {
        let number = invite.cseq().ok()?.number;
        let mut cancel = Builder::request("CANCEL", invite.request_uri()?);
        for name in ["Via", "Max-Forwards", "Route", "From", "To", "Call-ID"] {
            for value in invite.values(name) {
                cancel = cancel.header(name, &value);
            }
        }
        Some(cancel.header("CSeq", &format!("{number} CANCEL")).finish())
    });
    match cancel {
        Some(cancel) => Said::Instead(vec![passing.bytes.clone(), cancel.into()]),
        None => Said::AsWritten,
    }
}

/// Says a 200 to an INVITE once.
#[derive(Default)]
struct OnceAccepted(bend::Notes<()>);

impl Door for OnceAccepted {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let accepted = passing
            .response("INVITE")
            .filter(|sip| sip.status() == Some(200));
        let Some(key) = accepted.and_then(key) else {
            return Said::AsWritten;
        };
        if self.0.get(&key).is_some() {
            return Said::Nothing;
        }
        self.0.put(&key, ());
        Said::AsWritten
    }
}

/// Answers each copy under a To tag of its own.
#[derive(Default)]
struct Retagged(bend::Notes<u32>);

impl Door for Retagged {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let answer = passing
            .message
            .sip()
            .filter(|sip| sip.status() >= Some(200));
        let Some((answer, key)) = answer.and_then(|answer| Some((answer, key(answer)?))) else {
            return Said::AsWritten;
        };
        let copies = self.0.get(&key).map_or(0, |copies| *copies + 1);
        self.0.put(&key, copies);
        if copies == 0 {
            return Said::AsWritten;
        }
        bend::said(answer.to().ok().and_then(|mut to| {
            let tag = format!("{}{copies}", to.tag()?);
            to.params.set("tag", Some(&tag));
            Some(answer.edit().set("To", &to.to_string()).finish())
        }))
    }
}

/// Hears each copy of some requests as a request of its own.
struct Anew {
    fits: fn(&str) -> bool,
    /// By branch and method: how many came.
    seen: bend::Notes<u32>,
    /// The branch that came, by the one that was heard.
    came: bend::Notes<String>,
}

impl Anew {
    fn of(fits: fn(&str) -> bool) -> Anew {
        Anew {
            fits,
            seen: bend::Notes::default(),
            came: bend::Notes::default(),
        }
    }
}

/// A message whose topmost Via has another branch.
fn rebranched(message: &Message, branch: &str) -> Option<Message> {
    let mut via = message.top_via().ok()?;
    via.params.set("branch", Some(branch));
    let edit = message.edit().pop("Via");
    Some(edit.prepend("Via", &via.to_string()).finish())
}

impl Door for Anew {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let request = passing.message.sip().filter(|sip| {
            sip.is_request()
                && !matches!(sip.method(), "ACK" | "CANCEL")
                && (self.fits)(sip.method())
        });
        bend::heard(request.and_then(|request| {
            let branch = request.top_via().ok()?.branch()?.to_owned();
            let key = format!("{branch} {}", request.method());
            let copies = self.seen.get(&key).map_or(0, |copies| *copies + 1);
            self.seen.put(&key, copies);
            (copies > 0).then_some(())?;
            let other = format!("{branch}c{copies}");
            self.came.put(&other, branch);
            rebranched(request, &other)
        }))
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let answer = passing.message.sip().filter(|sip| !sip.is_request());
        bend::said(answer.and_then(|answer| {
            let heard = answer.top_via().ok()?;
            let came = self.came.get(heard.branch()?)?.clone();
            rebranched(answer, &came)
        }))
    }
}

/// Ends only sessions that were acknowledged.
#[derive(Default)]
struct Acknowledged(bend::Notes<()>);

impl Door for Acknowledged {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        if let Some(Ok(call)) = passing.request("ACK").map(Message::call_id) {
            self.0.put(&call, ());
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let call = passing.request("BYE").and_then(|bye| bye.call_id().ok());
        match call.is_some_and(|call| self.0.get(&call).is_none()) {
            true => Said::Nothing,
            false => Said::AsWritten,
        }
    }
}

/// Lets some copies of each refusal of an INVITE out, counted from 1.
struct Refusals {
    goes: fn(u32) -> bool,
    /// By Call-ID and CSeq.
    said: bend::Notes<u32>,
}

impl Refusals {
    fn new(goes: fn(u32) -> bool) -> Refusals {
        Refusals {
            goes,
            said: bend::Notes::default(),
        }
    }
}

impl Door for Refusals {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let answer = passing.response("INVITE");
        let refusal = answer.filter(|answer| answer.status().is_some_and(|status| status >= 300));
        let Some(refusal) = refusal else {
            return Said::AsWritten;
        };
        let name = turn(refusal);
        let copy = self.said.get(&name).copied().unwrap_or_default() + 1;
        self.said.put(&name, copy);
        match (self.goes)(copy) {
            true => Said::AsWritten,
            false => Said::Nothing,
        }
    }
}
