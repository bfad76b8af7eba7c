//! The subscriber's half of RFC 6665: one subscription from SUBSCRIBE to termination. 200 and first
//! NOTIFY may come in either order. It builds and judges messages; its owner sends them and keeps the
//! clock. The notifier's half is `notifier`.

use std::time::Duration;

use super::dialog::{Dialog, DialogId, Refusal};
use crate::{
    time::At,
    wire::sip::{Builder, Message},
};

/// How a NOTIFY is to be answered, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notified {
    /// Answer 200; this state was carried.
    Fresh {
        /// When to subscribe again; `None` if the subscription has ended.
        refresh_at: Option<At>,
        /// Set once the notifier has ended it: its `reason`, "" if it gave none.
        ended: Option<Ended>,
    },
    /// Answer with this status; nothing changes.
    Refused(u16),
}

/// Subscription-State: terminated (RFC 6665 4.1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// `deactivated`, `probation`, `rejected`, `timeout`, `giveup`, `noresource`, `invariant`, or "".
    pub reason: String,
    /// How long to wait before subscribing anew, if the notifier says so.
    pub retry_after: Option<Duration>,
}

/// What a response to a SUBSCRIBE means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Accepted for that long, in seconds; a NOTIFY is due within Timer N.
    Accepted { expires: u32 },
    /// The notifier's least lifetime, in seconds (423): ask again with it.
    TooBrief { least: u32 },
    /// Not accepted. On a refresh, the subscription stands until it runs out, unless the status ends
    /// it (RFC 6665 4.1.2.2; RFC 5057).
    Refused { status: u16, ended: bool },
    /// Provisional: nothing yet.
    Nothing,
}

/// One subscription of ours.
#[derive(Clone, Debug)]
pub struct Subscription {
    event: String,
    subscribe: Message,
    dialog: Option<Dialog>,
    /// The 2xx to the first SUBSCRIBE.
    accepted: Option<Message>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No NOTIFY yet.
    NotifyWait,
    Pending,
    Active,
    Terminated,
}

impl Subscription {
    /// From the SUBSCRIBE just sent.
    pub fn new(subscribe: &Message) -> Subscription {
        Subscription {
            event: package(subscribe),
            subscribe: subscribe.clone(),
            dialog: None,
            accepted: None,
            state: State::NotifyWait,
        }
    }

    /// Whether no NOTIFY has come yet: it is due within 64*T1 of the SUBSCRIBE (Timer N, RFC 6665 4.1.2.4).
    pub fn awaits_notify(&self) -> bool {
        self.state == State::NotifyWait
    }

    pub fn has_ended(&self) -> bool {
        self.state == State::Terminated
    }

    /// The dialog, once a NOTIFY has made it (RFC 6665 4.4.1).
    pub fn dialog(&self) -> Option<&Dialog> {
        self.dialog.as_ref()
    }

    /// Whether an incoming request is a NOTIFY of this subscription: same dialog, or the first one
    /// after our SUBSCRIBE, with our tag, our Call-ID and our event package (RFC 6665 4.4.1).
    pub fn owns(&self, request: &Message) -> bool {
        let Some(id) = DialogId::of_request(request) else {
            return false;
        };
        match &self.dialog {
            Some(dialog) => *dialog.id() == id,
            None => {
                request.method() == "NOTIFY"
                    && self
                        .subscribe
                        .call_id()
                        .is_ok_and(|ours| ours == id.call_id)
                    && self
                        .subscribe
                        .from()
                        .is_ok_and(|from| from.tag() == Some(id.local_tag.as_str()))
                    && package(request) == self.event
            }
        }
    }

    /// Whether a NOTIFY names our event package; else it is answered 489 (RFC 6665 4.1.3).
    pub fn speaks_of_package(&self, notify: &Message) -> bool {
        package(notify) == self.event
    }

    /// Takes a response to the SUBSCRIBE last sent.
    pub fn answered(&mut self, response: &Message) -> Answered {
        let status = response.status().unwrap_or_default();
        match status {
            0..200 => Answered::Nothing,
            200..300 => {
                let accepted = self.accepted.get_or_insert_with(|| response.clone());
                if let Some(dialog) = &mut self.dialog {
                    dialog.adopt_route(accepted);
                }
                Answered::Accepted {
                    expires: number(response, "Expires").unwrap_or_else(|| self.asked()),
                }
            }
            423 => match number(response, "Min-Expires") {
                Some(least) if least > self.asked() => Answered::TooBrief { least },
                _ => self.refused(status),
            },
            _ => self.refused(status),
        }
    }

    /// Takes a NOTIFY that `owns` accepted.
    pub fn notified(&mut self, at: At, notify: &Message) -> Notified {
        if let Err(status) = self.admit(notify) {
            return Notified::Refused(status);
        }
        let Some(state) = notify.header("Subscription-State") else {
            return Notified::Refused(400);
        };
        let (word, params) = split_state(&state);
        if word.eq_ignore_ascii_case("terminated") {
            self.state = State::Terminated;
            return Notified::Fresh {
                refresh_at: None,
                ended: Some(Ended {
                    reason: param(&params, "reason").unwrap_or_default().to_owned(),
                    retry_after: seconds(&params, "retry-after"),
                }),
            };
        }
        self.state = match word.eq_ignore_ascii_case("pending") {
            true => State::Pending,
            false => State::Active,
        };
        let left =
            seconds(&params, "expires").unwrap_or_else(|| Duration::from_secs(self.asked().into()));
        Notified::Fresh {
            refresh_at: Some(at + refresh_after(left)),
            ended: None,
        }
    }

    /// Starts a SUBSCRIBE inside the dialog: a refresh, or with `expires` zero the end
    /// (RFC 6665 4.1.2.2, 4.1.2.3). `None` while there is no dialog.
    pub fn refresh(&mut self, expires: u32) -> Option<Builder> {
        if self.has_ended() {
            return None;
        }
        let event = self.subscribe.header("Event")?.into_owned();
        let builder = self.dialog.as_mut()?.request("SUBSCRIBE");
        Some(
            builder
                .header("Event", &event)
                .header("Expires", &expires.to_string()),
        )
    }

    /// Remembers a SUBSCRIBE sent since: its lifetime is the one now asked for.
    pub fn sent(&mut self, subscribe: &Message) {
        self.subscribe = subscribe.clone();
    }

    /// Gives up: Timer N fired, or it ran out.
    pub fn end(&mut self) {
        self.state = State::Terminated;
    }

    fn admit(&mut self, notify: &Message) -> Result<(), u16> {
        match &mut self.dialog {
            Some(dialog) => dialog.take(notify).map_err(Refusal::status),
            None => {
                let mut dialog =
                    Dialog::subscriber(&self.subscribe, notify).map_err(|_| 400_u16)?;
                dialog.take(notify).map_err(Refusal::status)?;
                if let Some(accepted) = &self.accepted {
                    dialog.adopt_route(accepted);
                }
                self.dialog = Some(dialog);
                Ok(())
            }
        }
    }

    fn asked(&self) -> u32 {
        number(&self.subscribe, "Expires").unwrap_or(UNASKED)
    }

    fn refused(&mut self, status: u16) -> Answered {
        let first = self.dialog.is_none();
        let ended = first || ENDING.contains(&status);
        if ended {
            self.state = State::Terminated;
        }
        Answered::Refused { status, ended }
    }
}

/// When to refresh what lasts `left`: half-way (our choice; RFC 6665 4.1.2.2 wants it before the end).
pub fn refresh_after(left: Duration) -> Duration {
    left / 2
}

/// The event package of an Event header, without its parameters.
fn package(message: &Message) -> String {
    let event = message.header("Event").unwrap_or_default();
    let package = event.split(';').next().unwrap_or_default();
    package.trim().to_owned()
}

fn number(message: &Message, name: &str) -> Option<u32> {
    message.number(name).ok().flatten()
}

fn split_state(value: &str) -> (String, Vec<(String, String)>) {
    let mut parts = value.split(';').map(str::trim);
    let word = parts.next().unwrap_or_default().to_owned();
    let params = parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (name.trim().to_ascii_lowercase(), value.trim().to_owned()),
            None => (part.to_ascii_lowercase(), String::new()),
        })
        .collect();
    (word, params)
}

fn param<'a>(params: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = params.iter().find(|(known, _)| known == name)?;
    Some(&found.1)
}

fn seconds(params: &[(String, String)], name: &str) -> Option<Duration> {
    let seconds: u32 = param(params, name)?.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

/// What is taken as granted if nobody names a lifetime.
const UNASKED: u32 = 3600;

/// Statuses that end a subscription when they answer a refresh (RFC 5057 table, clause not verified;
/// 481 by RFC 6665 4.1.2.2).
const ENDING: [u16; 8] = [404, 405, 410, 416, 480, 481, 489, 501];

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: String) -> Message {
        let text = text.trim_start().replace('\n', "\r\n") + "\r\n";
        Message::parse(text.into_bytes().into()).expect("a SIP message")
    }

    fn subscribe() -> Message {
        message(
            "
SUBSCRIBE sip:tracker@p2pcds.ims.example SIP/2.0
Via: SIP/2.0/TCP 192.0.2.10:5070;branch=z9hG4bKs1
Max-Forwards: 70
From: <sip:ue-a@ims.example>;tag=sa1
To: <sip:tracker@p2pcds.ims.example>
Call-ID: pl-1
CSeq: 1 SUBSCRIBE
Contact: <sip:192.0.2.10:5070;transport=tcp>
Event: p2pcds-peers
Expires: 3600
Content-Length: 0
"
            .to_owned(),
        )
    }

    fn notify(seq: u32, state: &str) -> Message {
        message(format!(
            "
NOTIFY sip:192.0.2.10:5070;transport=tcp SIP/2.0
Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKn{seq}
Max-Forwards: 70
Record-Route: <sip:pcscf1.ims.example;lr>
From: <sip:tracker@p2pcds.ims.example>;tag=t1
To: <sip:ue-a@ims.example>;tag=sa1
Call-ID: pl-1
CSeq: {seq} NOTIFY
Contact: <sip:tracker-as.ims.example>
Event: p2pcds-peers
Subscription-State: {state}
Content-Length: 0
"
        ))
    }

    fn response(status: &str, more: &str) -> Message {
        message(format!(
            "
SIP/2.0 {status}
Via: SIP/2.0/TCP 192.0.2.10:5070;branch=z9hG4bKs1
From: <sip:ue-a@ims.example>;tag=sa1
To: <sip:tracker@p2pcds.ims.example>;tag=t1
Call-ID: pl-1
CSeq: 1 SUBSCRIBE
{more}
Content-Length: 0
"
        ))
    }

    #[test]
    fn a_notify_before_the_200_makes_the_dialog() {
        let mut subscription = Subscription::new(&subscribe());
        let first = notify(1, "active;expires=3599");

        assert!(subscription.awaits_notify());
        assert!(subscription.owns(&first));
        assert_eq!(
            Notified::Fresh {
                refresh_at: Some(At::ZERO + Duration::from_secs(3599) / 2),
                ended: None
            },
            subscription.notified(At::ZERO, &first)
        );
        assert_eq!(
            Answered::Accepted { expires: 3600 },
            subscription.answered(&response("200 OK", "Expires: 3600"))
        );

        let refresh = subscription.refresh(3600).expect("a dialog").finish();
        assert_eq!(Some("sip:tracker-as.ims.example"), refresh.request_uri());
        assert_eq!(vec!["<sip:pcscf1.ims.example;lr>"], refresh.values("Route"));
        assert_eq!(2, refresh.cseq().expect("CSeq").number);
        assert_eq!(Some("t1"), refresh.to().expect("To").tag());
    }

    #[test]
    fn proxies_recorded_on_the_subscribe_alone_stay_on_the_path() {
        let ok = response(
            "200 OK",
            "Record-Route: <sip:s.example;lr>, <sip:p.example;lr>\nExpires: 60",
        );
        let bare = notify(1, "active").edit().remove("Record-Route").finish();
        let expected = vec!["<sip:p.example;lr>", "<sip:s.example;lr>"];
        for notify_first in [true, false] {
            let mut subscription = Subscription::new(&subscribe());
            if notify_first {
                subscription.notified(At::ZERO, &bare);
                subscription.answered(&ok);
            } else {
                subscription.answered(&ok);
                subscription.notified(At::ZERO, &bare);
            }
            let refresh = subscription.refresh(60).expect("a dialog").finish();
            assert_eq!(expected, refresh.values("Route"));
        }
    }

    #[test]
    fn a_terminated_notify_ends_it() {
        let mut subscription = Subscription::new(&subscribe());
        let last = notify(1, "terminated;reason=timeout;retry-after=5");
        assert_eq!(
            Notified::Fresh {
                refresh_at: None,
                ended: Some(Ended {
                    reason: "timeout".to_owned(),
                    retry_after: Some(Duration::from_secs(5))
                })
            },
            subscription.notified(At::ZERO, &last)
        );
        assert!(subscription.has_ended());
        assert!(subscription.refresh(0).is_none());
    }

    #[test]
    fn an_old_notify_is_out_of_order() {
        let mut subscription = Subscription::new(&subscribe());
        subscription.notified(At::ZERO, &notify(5, "active;expires=60"));
        assert_eq!(
            Notified::Refused(500),
            subscription.notified(At::ZERO, &notify(4, "active;expires=60"))
        );
    }

    #[test]
    fn a_notify_of_another_package_is_not_ours() {
        let subscription = Subscription::new(&subscribe());
        let other = notify(1, "active").edit().set("Event", "reg").finish();
        assert!(!subscription.owns(&other));
    }

    #[test]
    fn too_brief_a_lifetime_names_the_least() {
        let mut subscription = Subscription::new(&subscribe());
        assert_eq!(
            Answered::TooBrief { least: 7200 },
            subscription.answered(&response("423 Interval Too Brief", "Min-Expires: 7200"))
        );
        assert_eq!(
            Answered::Refused {
                status: 403,
                ended: true
            },
            subscription.answered(&response("403 Forbidden", "Reason: none"))
        );
    }
}
