//! What the transaction layer of a UE can do wrong.

use super::of_users;
use crate::{
    node::deviation::{Deviation, Door, Heard, How, Passing, Said, bend},
    spec::RefPoint,
    wire::sip::Message,
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

fn cancelled_at_once(passing: &Passing<'_>) -> Said {
    let cancel = passing.request("INVITE").and_then(|invite| {
        let number = invite.cseq().ok()?.number;
        let mut cancel = crate::wire::sip::Builder::request("CANCEL", invite.request_uri()?);
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
