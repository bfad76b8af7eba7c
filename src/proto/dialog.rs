//! Dialogs of RFC 3261 12: what two user agents remember of each other between requests. A dialog is
//! made from the messages that establish it; it builds requests inside it and judges those that
//! arrive. It knows neither transactions nor where messages go: [`Dialog::next_hop`] names a URI.

use crate::wire::{
    Malformed,
    sip::{Builder, Message, NameAddr, Uri},
};

/// A dialog as its user agent sees it (RFC 3261 12): Call-ID, local tag, remote tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialogId {
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: String,
}

impl DialogId {
    /// The dialog an incoming request belongs to; `None` if its To has no tag: it is outside any.
    pub fn of_request(request: &Message) -> Option<DialogId> {
        Some(DialogId {
            call_id: request.call_id().ok()?,
            local_tag: request.to().ok()?.tag()?.to_owned(),
            remote_tag: tag_of(request.from().ok()?),
        })
    }

    /// The dialog a response to our request belongs to; `None` if it makes none.
    pub fn of_response(response: &Message) -> Option<DialogId> {
        Some(DialogId {
            call_id: response.call_id().ok()?,
            local_tag: tag_of(response.from().ok()?),
            remote_tag: response.to().ok()?.tag()?.to_owned(),
        })
    }
}

/// Why a request is not taken into a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 481: no such dialog (RFC 3261 12.2.2).
    NoSuchDialog,
    /// 500: its CSeq is lower than one already seen (RFC 3261 12.2.2).
    OutOfOrder,
}

impl Refusal {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Refusal::NoSuchDialog => 481,
            Refusal::OutOfOrder => 500,
        }
    }
}

/// The state of one dialog (RFC 3261 12.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    id: DialogId,
    /// Our From (or To) as we write it, tag included.
    local: String,
    /// Theirs, tag included.
    remote: String,
    local_seq: u32,
    remote_seq: Option<u32>,
    remote_target: String,
    /// Name-addrs, the next hop first.
    route_set: Vec<String>,
}

impl Dialog {
    /// The caller's side, from its request and a response with a To tag (RFC 3261 12.1.2).
    pub fn uac(request: &Message, response: &Message) -> Result<Dialog, Malformed> {
        let mut route_set = response.values("Record-Route");
        route_set.reverse();
        let id =
            DialogId::of_response(response).ok_or_else(|| missing(response, "a To with a tag"))?;
        Ok(Dialog {
            id,
            local: text(request, "From")?,
            remote: text(response, "To")?,
            local_seq: request.cseq()?.number,
            remote_seq: None,
            remote_target: contact(response)?,
            route_set,
        })
    }

    /// The callee's side, from the request it answers and the tag it puts on To (RFC 3261 12.1.1).
    pub fn uas(request: &Message, local_tag: &str) -> Result<Dialog, Malformed> {
        Ok(Dialog {
            id: DialogId {
                call_id: request.call_id()?,
                local_tag: local_tag.to_owned(),
                remote_tag: tag_of(request.from()?),
            },
            local: format!("{};tag={local_tag}", text(request, "To")?),
            remote: text(request, "From")?,
            local_seq: 0,
            remote_seq: Some(request.cseq()?.number),
            remote_target: contact(request)?,
            route_set: request.values("Record-Route"),
        })
    }

    /// The subscriber's side, from its SUBSCRIBE and the first NOTIFY, which may come before the 200
    /// (RFC 6665 4.4.1).
    pub fn subscriber(subscribe: &Message, notify: &Message) -> Result<Dialog, Malformed> {
        let id = DialogId::of_request(notify).ok_or_else(|| missing(notify, "a To with a tag"))?;
        Ok(Dialog {
            id,
            local: text(subscribe, "From")?,
            remote: text(notify, "From")?,
            local_seq: subscribe.cseq()?.number,
            remote_seq: None,
            remote_target: contact(notify)?,
            route_set: notify.values("Record-Route"),
        })
    }

    /// Takes the route set of a 2xx to the request that made the dialog, if none is known: proxies that
    /// recorded themselves on a SUBSCRIBE but not on its NOTIFYs stay on the path (RFC 3261 12.1.2).
    pub fn adopt_route(&mut self, response: &Message) {
        let is_ours = DialogId::of_response(response).as_ref() == Some(&self.id);
        if is_ours && self.route_set.is_empty() {
            self.route_set = response.values("Record-Route");
            self.route_set.reverse();
        }
    }

    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// The other end's Contact URI.
    pub fn remote_target(&self) -> &str {
        &self.remote_target
    }

    /// The URI a request inside this dialog is sent to: the top Route, or the remote target
    /// (RFC 3261 8.1.2, 12.2.1.1).
    pub fn next_hop(&self) -> String {
        match self.route_set.first() {
            Some(route) => uri_in(route),
            None => self.remote_target.clone(),
        }
    }

    /// Starts a request inside the dialog, with the next CSeq (RFC 3261 12.2.1.1): everything but Via,
    /// Contact and body. Not for ACK and CANCEL.
    pub fn request(&mut self, method: &str) -> Builder {
        self.local_seq = self.local_seq.saturating_add(1);
        self.build(method, self.local_seq)
    }

    /// Starts the ACK of a 2xx to the INVITE numbered `seq` (RFC 3261 13.2.2.4).
    pub fn ack(&self, seq: u32) -> Builder {
        self.build("ACK", seq)
    }

    /// The CSeq number of the last request sent.
    pub fn local_seq(&self) -> u32 {
        self.local_seq
    }

    /// Judges an incoming request and, if it belongs here and is in order, remembers its CSeq; a
    /// target refresh request moves the remote target (RFC 3261 12.2.2).
    pub fn take(&mut self, request: &Message) -> Result<(), Refusal> {
        if DialogId::of_request(request).as_ref() != Some(&self.id) {
            return Err(Refusal::NoSuchDialog);
        }
        let number = request.cseq().map_err(|_| Refusal::NoSuchDialog)?.number;
        if request.method() == "ACK" {
            return Ok(());
        }
        if self.remote_seq.is_some_and(|seen| number <= seen) {
            return Err(Refusal::OutOfOrder);
        }
        self.remote_seq = Some(number);
        self.refresh(request);
        Ok(())
    }

    /// Takes the Contact of a target refresh request, or of the 2xx to one, as the remote target
    /// (RFC 3261 12.2; for SUBSCRIBE and NOTIFY RFC 6665 4.4.1).
    pub fn refresh(&mut self, message: &Message) {
        const REFRESH: [&str; 4] = ["INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY"];
        if REFRESH.contains(&message.method())
            && let Ok(target) = contact(message)
        {
            self.remote_target = target;
        }
    }

    fn build(&self, method: &str, seq: u32) -> Builder {
        let (target, routes) = self.routing();
        let mut builder = Builder::request(method, &target).header("Max-Forwards", "70");
        for route in &routes {
            builder = builder.header("Route", route);
        }
        builder
            .header("From", &self.local)
            .header("To", &self.remote)
            .header("Call-ID", &self.id.call_id)
            .header("CSeq", &format!("{seq} {method}"))
    }

    /// Request-URI and Route values; a strict router on top takes the Request-URI (RFC 3261 12.2.1.1).
    fn routing(&self) -> (String, Vec<String>) {
        let Some(first) = self.route_set.first() else {
            return (self.remote_target.clone(), Vec::new());
        };
        let loose = Uri::parse(&uri_in(first)).is_ok_and(|uri| uri.params.has("lr"));
        if loose {
            return (self.remote_target.clone(), self.route_set.clone());
        }
        let mut routes = self.route_set[1..].to_vec();
        routes.push(format!("<{}>", self.remote_target));
        (uri_in(first), routes)
    }
}

/// The URI between the angle brackets of a name-addr, or before the first parameter of a bare one.
pub fn uri_in(name_addr: &str) -> String {
    let mut quoted = false;
    let open = name_addr.char_indices().find(|&(_, c)| {
        quoted ^= c == '"';
        c == '<' && !quoted
    });
    let uri = match open {
        Some((at, _)) => name_addr[at + 1..].split('>').next(),
        None => name_addr.split(';').next(),
    };
    uri.unwrap_or_default().trim().to_owned()
}

/// A tag, or "" where an RFC 2543 element set none (RFC 3261 12.1.1).
fn tag_of(name_addr: NameAddr) -> String {
    name_addr.tag().unwrap_or_default().to_owned()
}

fn text(message: &Message, name: &str) -> Result<String, Malformed> {
    message
        .header(name)
        .map(|value| value.into_owned())
        .ok_or_else(|| missing(message, name))
}

/// The remote target: the URI of the only Contact (RFC 3261 8.1.1.8).
fn contact(message: &Message) -> Result<String, Malformed> {
    let first = message.addrs("Contact")?.into_iter().next();
    first
        .map(|contact| contact.uri)
        .ok_or_else(|| missing(message, "Contact"))
}

fn missing(message: &Message, what: &str) -> Malformed {
    Malformed::new(message.bytes(), message.bytes().len(), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        let text = text.trim_start().replace('\n', "\r\n") + "\r\n";
        Message::parse(text.into_bytes().into()).expect("a SIP message")
    }

    fn invite() -> Message {
        message(
            "
INVITE sip:ue-b@ims.example SIP/2.0
Via: SIP/2.0/TCP 192.0.2.10:5070;branch=z9hG4bKi2
Max-Forwards: 70
Record-Route: <sip:scscf1.ims.example;lr>, <sip:pcscf1.ims.example;lr>
From: \"A\" <sip:ue-a@ims.example>;tag=ia2
To: <sip:ue-b@ims.example>
Call-ID: p2p-2
CSeq: 7 INVITE
Contact: <sip:192.0.2.10:5070;transport=tcp>;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3Ax\"
Content-Length: 0
",
        )
    }

    fn ok() -> Message {
        message(
            "
SIP/2.0 200 OK
Via: SIP/2.0/TCP 192.0.2.10:5070;branch=z9hG4bKi2
Record-Route: <sip:p2.ims.example;lr>
Record-Route: <sip:scscf1.ims.example;lr>, <sip:pcscf1.ims.example;lr>
From: \"A\" <sip:ue-a@ims.example>;tag=ia2
To: <sip:ue-b@ims.example>;tag=b1
Call-ID: p2p-2
CSeq: 7 INVITE
Contact: <sip:192.0.2.11:5070;transport=tcp>
Content-Length: 0
",
        )
    }

    fn bye(seq: u32, to_tag: &str) -> Message {
        message(&format!(
            "
BYE sip:192.0.2.10:5070 SIP/2.0
Via: SIP/2.0/TCP 192.0.2.11:5070;branch=z9hG4bKq{seq}
Max-Forwards: 70
From: <sip:ue-b@ims.example>;tag=b1
To: <sip:ue-a@ims.example>;tag={to_tag}
Call-ID: p2p-2
CSeq: {seq} BYE
Content-Length: 0
"
        ))
    }

    #[test]
    fn the_caller_reverses_record_route_and_targets_the_contact() {
        let mut dialog = Dialog::uac(&invite(), &ok()).expect("a dialog");
        let bye = dialog.request("BYE").finish();

        assert_eq!(Some("sip:192.0.2.11:5070;transport=tcp"), bye.request_uri());
        assert_eq!(
            vec![
                "<sip:pcscf1.ims.example;lr>",
                "<sip:scscf1.ims.example;lr>",
                "<sip:p2.ims.example;lr>"
            ],
            bye.values("Route")
        );
        assert_eq!("sip:pcscf1.ims.example;lr", dialog.next_hop());
        assert_eq!(8, bye.cseq().expect("CSeq").number);
        assert_eq!(Some("b1"), bye.to().expect("To").tag());
        assert_eq!(Some("ia2"), bye.from().expect("From").tag());
    }

    #[test]
    fn the_ack_of_a_2xx_keeps_the_number_of_the_invite() {
        let mut dialog = Dialog::uac(&invite(), &ok()).expect("a dialog");
        dialog.request("INFO").finish();
        let ack = dialog.ack(7).finish();
        assert_eq!(7, ack.cseq().expect("CSeq").number);
        assert_eq!("ACK", ack.method());
    }

    #[test]
    fn the_callee_keeps_record_route_in_order() {
        let mut dialog = Dialog::uas(&invite(), "b1").expect("a dialog");
        let bye = dialog.request("BYE").finish();
        assert_eq!(
            vec!["<sip:scscf1.ims.example;lr>", "<sip:pcscf1.ims.example;lr>"],
            bye.values("Route")
        );
        assert_eq!(Some("b1"), bye.from().expect("From").tag());
        assert_eq!(Some("sip:192.0.2.10:5070;transport=tcp"), bye.request_uri());
        assert_eq!(1, bye.cseq().expect("CSeq").number);
    }

    #[test]
    fn a_request_with_a_lower_cseq_is_out_of_order() {
        let mut dialog = Dialog::uac(&invite(), &ok()).expect("a dialog");
        assert_eq!(Ok(()), dialog.take(&bye(5, "ia2")));
        assert_eq!(Err(Refusal::OutOfOrder), dialog.take(&bye(5, "ia2")));
        assert_eq!(Err(Refusal::OutOfOrder), dialog.take(&bye(4, "ia2")));
        assert_eq!(Ok(()), dialog.take(&bye(9, "ia2")));
    }

    #[test]
    fn a_request_with_another_tag_belongs_elsewhere() {
        let mut dialog = Dialog::uac(&invite(), &ok()).expect("a dialog");
        assert_eq!(Err(Refusal::NoSuchDialog), dialog.take(&bye(5, "other")));
    }

    #[test]
    fn a_strict_router_takes_the_request_uri() {
        let strict = ok()
            .edit()
            .set("Record-Route", "<sip:old.ims.example>")
            .finish();
        let mut dialog = Dialog::uac(&invite(), &strict).expect("a dialog");
        let bye = dialog.request("BYE").finish();
        assert_eq!(Some("sip:old.ims.example"), bye.request_uri());
        assert_eq!(
            vec!["<sip:192.0.2.11:5070;transport=tcp>"],
            bye.values("Route")
        );
    }
}
