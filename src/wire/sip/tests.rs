use proptest::prelude::*;

use super::*;
use crate::{spec::Format, wire::frame::Framer};

/// A shortened IMS INVITE with compact names, folding and an unknown header.
const INVITE: &str = "INVITE sip:es1.cdn1@ims.example SIP/2.0\r\n\
    v: SIP/2.0/TCP 192.0.2.10:5070;branch=z9hG4bKi2;rport, SIP/2.0/UDP [2001:db8::1];branch=z9hG4bKx\r\n\
    Max-Forwards: 70\r\n\
    Route: <sip:pcscf1.ims.example:5062;lr>,<sip:orig@scscf1.ims.example;lr>\r\n\
    f: \"A. \\\"Bell\\\", Jr\" <sip:ue-a@ims.example;user=phone>;tag=ia2\r\n\
    To:\r\n <sip:es1.cdn1@ims.example>\r\n\
    i: p2p-2@192.0.2.10\r\n\
    CSeq: 1\r\n INVITE\r\n\
    m: <sip:192.0.2.10:5070;transport=tcp>;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.x-p2pcds\"\r\n\
    X-Unknown  :  kept \t\r\n\
    Content-Type: application/sdp\r\n\
    l: 5\r\n\
    \r\n\
    v=0\r\n";

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()))
        .expect("the test's message is well formed")
}

#[test]
fn an_invite_shows_its_parts() {
    let invite = message(INVITE);

    assert!(invite.is_request());
    assert_eq!("INVITE", invite.method());
    assert_eq!(Some("sip:es1.cdn1@ims.example"), invite.request_uri());
    assert_eq!(b"v=0\r\n", invite.body());
    assert_eq!(Some("kept"), invite.header("x-unknown").as_deref());
    let via = invite.top_via().unwrap();
    assert_eq!(
        ("TCP", "192.0.2.10", Some(5070)),
        (&*via.transport, &*via.host, via.port)
    );
    assert_eq!(Some("z9hG4bKi2"), via.branch());
    assert!(via.params.has("rport"));
    assert_eq!(2, invite.values("Via").len());
    let from = invite.from().unwrap();
    assert_eq!(Some("A. \"Bell\", Jr"), from.display.as_deref());
    assert_eq!("sip:ue-a@ims.example;user=phone", from.uri);
    assert_eq!(Some("ia2"), from.tag());
    assert_eq!("sip:es1.cdn1@ims.example", invite.to().unwrap().uri);
    assert_eq!(
        CSeq {
            number: 1,
            method: "INVITE".to_owned()
        },
        invite.cseq().unwrap()
    );
    assert_eq!("p2p-2@192.0.2.10", invite.call_id().unwrap());
    let route = invite.addrs("Route").unwrap();
    assert_eq!("sip:orig@scscf1.ims.example;lr", route[1].uri);
    let contact = &invite.addrs("Contact").unwrap()[0];
    assert_eq!(
        Some("urn%3Aurn-7%3A3gpp-service.ims.icsi.x-p2pcds"),
        contact.params.unquoted("+G.3gpp.icsi-ref").as_deref()
    );
    assert_eq!(Ok(Some(70)), invite.number("Max-Forwards"));
    assert_eq!(Ok(None), invite.number("Expires"));
    assert_eq!(Vec::<Problem>::new(), check(&invite));
}

#[test]
fn a_response_answers_with_the_headers_of_its_request() {
    let invite = message(INVITE);

    let ok = Builder::response(&invite, 200, reason(200), Some("x1"))
        .header("Contact", "<sip:198.51.100.21:5060>")
        .finish();

    assert_eq!(Some(200), ok.status());
    assert_eq!(Some("OK"), ok.reason());
    assert_eq!("INVITE", ok.method());
    assert_eq!(invite.values("Via"), ok.values("Via"));
    assert_eq!(Some("x1"), ok.to().unwrap().tag());
    assert_eq!(Some("0"), ok.header("Content-Length").as_deref());
    assert_eq!(Vec::<Problem>::new(), check(&ok));
}

#[test]
fn an_edit_touches_only_what_it_names() {
    let invite = message(INVITE);

    assert_eq!(invite.bytes(), invite.edit().finish().bytes());
    let edited = invite
        .edit()
        .request_uri("sip:192.0.2.99:5070")
        .pop("Route")
        .prepend("Via", "SIP/2.0/TCP p.example;branch=z9hG4bKp")
        .set("Max-Forwards", "69")
        .remove("X-Unknown")
        .append("P-Charging-Vector", "icid-value=1\r\nEvil: yes")
        .finish();
    assert_eq!(
        INVITE
            .replace("sip:es1.cdn1@ims.example SIP", "sip:192.0.2.99:5070 SIP")
            .replace("<sip:pcscf1.ims.example:5062;lr>,", "")
            .replace("v: ", "Via: SIP/2.0/TCP p.example;branch=z9hG4bKp\r\nv: ")
            .replace("Forwards: 70", "Forwards: 69")
            .replace("X-Unknown  :  kept \t\r\n", "")
            .replace(
                "l: 5\r\n",
                "l: 5\r\nP-Charging-Vector: icid-value=1  Evil: yes\r\n"
            ),
        std::str::from_utf8(edited.bytes()).unwrap()
    );
}

#[test]
fn popping_the_last_value_takes_the_line() {
    let popped = message(INVITE)
        .edit()
        .pop("Route")
        .pop("Route")
        .pop("Route")
        .finish();

    assert!(!popped.has("Route"));
}

#[test]
fn a_body_is_replaced_with_its_headers() {
    let invite = message(INVITE);

    let none = invite.edit().body(None).finish();
    let other = invite
        .edit()
        .body(Some(("text/plain", b"hello, world")))
        .finish();

    assert_eq!(
        (false, Ok(Some(0))),
        (none.has("Content-Type"), none.number("Content-Length"))
    );
    assert_eq!(b"hello, world", other.body());
    assert_eq!(Ok(Some(12)), other.number("Content-Length"));
}

#[test]
fn octets_after_the_body_of_a_datagram_are_kept_but_not_body() {
    let long = message(&format!("{INVITE}trailing"));

    assert_eq!(b"v=0\r\n", long.body());
    assert!(long.bytes().ends_with(b"trailing"));
    assert_eq!(INVITE.as_bytes(), &long.edit().finish().bytes()[..]);
}

#[test]
fn a_body_cut_short_is_a_problem() {
    let short = message(&INVITE.replace("l: 5", "l: 50"));

    assert_eq!(
        vec!["RFC 3261 18.3"],
        check(&short).iter().map(|p| p.clause).collect::<Vec<_>>()
    );
}

#[test]
fn octets_that_are_no_text_stay() {
    let mut octets = INVITE.as_bytes().to_vec();
    let at = INVITE.find("kept").unwrap();
    octets[at] = 0xff;

    let message = Message::parse(Bytes::from(octets.clone())).unwrap();

    assert_eq!(Some("\u{fffd}ept"), message.header("X-Unknown").as_deref());
    assert_eq!(
        octets,
        message
            .edit()
            .set("Max-Forwards", "70")
            .finish()
            .bytes()
            .to_vec()
    );
    assert_eq!(1, check(&message).len());
}

#[test]
fn a_list_is_cut_only_outside_quotes_and_brackets() {
    let text = "\"a\\\", b\" <sip:c,d@e>;f=\"g,h\", <sip:i>,, j";

    let values: Vec<&str> = list(text).collect();

    assert_eq!(
        vec!["\"a\\\", b\" <sip:c,d@e>;f=\"g,h\"", "<sip:i>", "j"],
        values
    );
}

#[test]
fn every_uri_scheme_can_be_asked_for() {
    for uri in [
        "tel:+358-555-1234567;postd=pp22",
        "urn:service:sos",
        "soap.beep://h:3002",
        "x:",
    ] {
        assert_eq!(
            Some(uri),
            message(&INVITE.replace("sip:es1.cdn1@ims.example SIP", &format!("{uri} SIP")))
                .request_uri()
        );
    }
}

#[test]
fn a_uri_with_odd_users_and_parameters_is_read() {
    let uri = Uri::parse("SIP:alice;day=tue?x:pw@[2001:db8::1]:5061;transport=tcp;lr?subject=a@b")
        .unwrap();

    assert_eq!("sip", uri.scheme);
    assert_eq!(Some("alice;day=tue?x:pw"), uri.user.as_deref());
    assert_eq!(("[2001:db8::1]", Some(5061)), (&*uri.host, uri.port));
    assert_eq!(Some("tcp"), uri.params.get("transport"));
    assert_eq!(Some("subject=a@b"), uri.headers.as_deref());
    for wrong in [
        "sip:",
        "sip:@h",
        "sip:a@",
        "sip:a b@h",
        "sip:h:99999",
        "sip:a@[::1",
        "tel:1",
        "x",
    ] {
        assert!(Uri::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_same_user_is_known_under_escapes() {
    let plain = Uri::parse("sip:ue-a@IMS.example;user=phone").unwrap();

    assert!(plain.same_user(&Uri::parse("sip:%75e-a@ims.example").unwrap()));
    assert!(!plain.same_user(&Uri::parse("sip:ue-b@ims.example").unwrap()));
}

#[test]
fn what_is_no_message_is_refused_with_its_place() {
    for (octets, at) in [
        ("", 0),
        ("GET / HTTP/1.1\r\n\r\n", 6),
        ("INVITE\r\n\r\n", 0),
        ("SIP/2.0 abc OK\r\n\r\n", 8),
        ("SIP/2.0 70000 OK\r\n\r\n", 8),
        ("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n", 31),
    ] {
        let refused = Message::parse(Bytes::from(octets)).unwrap_err();
        assert_eq!(at, refused.at, "{octets:?}: {refused}");
    }
}

#[test]
fn a_stream_is_cut_by_content_length() {
    let keep_alive = "\r\n\r\n";
    let bodiless = "OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n";
    let stream = format!("{keep_alive}{INVITE}{keep_alive}{bodiless}{INVITE}");
    let mut framer = Framer::new(Format::Sip);

    framer.feed(stream.as_bytes());

    let mut lengths = Vec::new();
    while let Some(bytes) = framer.next_message().unwrap() {
        lengths.push(bytes.len());
    }
    assert_eq!(
        vec![INVITE.len() + 4, bodiless.len() + 4, INVITE.len()],
        lengths
    );
}

#[test]
fn a_stream_that_cannot_be_cut_is_an_error() {
    for wrong in [
        "l: -1",
        "l: 99999999999",
        "l: 5\r\nContent-Length: 6",
        "l: 5 5",
    ] {
        assert!(
            frame(INVITE.replace("l: 5", wrong).as_bytes()).is_err(),
            "{wrong}"
        );
    }
    assert!(frame(b"MSRP d93k SEND\r\n").is_err());
}

/// A message of RFC 4475 and what the RFC says of it.
struct Torture {
    name: String,
    class: String,
    octets: Bytes,
}

fn torture() -> Vec<Torture> {
    static DIRECTORY: include_dir::Dir =
        include_dir::include_dir!("$CARGO_MANIFEST_DIR/fixtures/messages/rfc4475");
    let index = DIRECTORY.get_file("index.toml").unwrap().contents_utf8();
    let index: toml::Table = index.unwrap().parse().unwrap();
    let messages = index["message"].as_array().unwrap();
    assert_eq!(DIRECTORY.files().count(), messages.len() + 1);
    messages
        .iter()
        .map(|entry| {
            let name = entry["name"].as_str().unwrap();
            let file = DIRECTORY.get_file(format!("{name}.sip")).unwrap();
            Torture {
                name: name.to_owned(),
                class: entry["class"].as_str().unwrap().to_owned(),
                octets: Bytes::from_static(file.contents()),
            }
        })
        .collect()
}

/// What is wrong with a message: why it does not parse, or what `check` finds.
fn wrongs(octets: &Bytes) -> Vec<String> {
    match Message::parse(octets.clone()) {
        Err(malformed) => vec![malformed.to_string()],
        Ok(message) => check(&message)
            .iter()
            .map(|p| format!("{}: {} ({})", p.header, p.what, p.clause))
            .collect(),
    }
}

#[test]
fn torture_messages_are_judged_as_the_rfc_does() {
    let mut misjudged = Vec::new();
    for Torture {
        name,
        class,
        octets,
    } in torture()
    {
        let wrongs = wrongs(&octets);
        println!("{name} ({class}): {wrongs:#?}");
        if wrongs.is_empty() != (class == "valid") {
            misjudged.push((name, class, wrongs));
        }
    }
    assert!(misjudged.is_empty(), "{misjudged:#?}");
}

#[test]
fn torture_messages_come_out_octet_for_octet() {
    for Torture { name, octets, .. } in torture() {
        let _ = frame(&octets);
        let Ok(message) = Message::parse(octets.clone()) else {
            assert_eq!("bigcode", name);
            continue;
        };
        assert_eq!(octets, message.bytes(), "{name}");
        let through = message.edit().finish();
        assert!(octets.starts_with(through.bytes()), "{name}");
        assert_eq!(message.body(), through.body(), "{name}");
        read_all(&message);
    }
}

fn any_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("SIP/2.0".to_owned()),
            Just("INVITE".to_owned()),
            Just("\r\n".to_owned()),
            Just("\r\n\r\n".to_owned()),
            Just("Via: SIP/2.0/UDP h;branch=z9hG4bK1".to_owned()),
            Just("Contact: \"a\\\"b\" <sip:a@b;c?d>;e=\"f;g\", *".to_owned()),
            Just("CSeq: 1 INVITE".to_owned()),
            Just("l: 3".to_owned()),
            "[ -~\\t\"<>;,:=%@?\\\\]{1,6}",
            "\\PC{1,3}",
        ],
        0..24,
    )
    .prop_map(|parts| parts.concat())
}

/// Uses everything that reads; the values do not matter.
fn read_all(message: &Message) {
    check(message);
    for header in message.headers() {
        message.values(header.name);
        let _ = message.addrs(header.name);
        let _ = message.number(header.name);
        let _ = Uri::parse(&header.value);
        let _ = Via::parse(&header.value);
        let _ = Params::parse(&header.value);
    }
    let _ = (
        message.top_via(),
        message.from(),
        message.to(),
        message.cseq(),
        message.method(),
    );
    let _ = message
        .edit()
        .pop("Via")
        .pop("Contact")
        .set("To", "x")
        .request_uri("y")
        .body(None)
        .finish();
    Builder::response(message, 200, "OK", Some("t")).finish();
}

proptest! {
    #[test]
    fn reading_never_panics_and_keeps_every_octet(octets in any::<Vec<u8>>(), text in any_text(), head in any::<bool>()) {
        let start = if head { "INVITE sip:a@b SIP/2.0\r\n" } else { "" };
        for bytes in [[start.as_bytes(), &octets[..]].concat(), format!("{start}{text}\r\n\r\n").into_bytes()] {
            let _ = frame(&bytes);
            if let Ok(message) = Message::parse(Bytes::from(bytes.clone())) {
                prop_assert_eq!(&bytes, message.bytes());
                read_all(&message);
            }
        }
    }

    #[test]
    fn what_frames_parses(text in any_text()) {
        let bytes = format!("SIP/2.0 200 OK\r\n{text}\r\n\r\nabc").into_bytes();
        if let Ok(Framed::Whole(length)) = frame(&bytes) {
            let message = Message::parse(Bytes::copy_from_slice(&bytes[..length]));
            prop_assert!(message.is_ok());
            prop_assert_eq!(length, message.unwrap().body.end);
        }
    }

    #[test]
    fn any_split_of_a_stream_frames_alike(cuts in proptest::collection::vec(0usize..400, 0..12)) {
        let stream = format!("\r\n\r\n{INVITE}\r\n{INVITE}{INVITE}");
        let mut whole = Framer::new(Format::Sip);
        whole.feed(stream.as_bytes());
        let mut split = Framer::new(Format::Sip);
        let (mut expected, mut actual) = (Vec::new(), Vec::new());
        while let Some(bytes) = whole.next_message().unwrap() {
            expected.push(bytes);
        }

        let mut rest = stream.as_bytes();
        for cut in cuts.into_iter().chain([stream.len()]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            split.feed(now);
            while let Some(bytes) = split.next_message().unwrap() {
                actual.push(bytes);
            }
        }

        prop_assert_eq!(3, expected.len());
        prop_assert_eq!(expected, actual);
    }

    #[test]
    fn written_values_are_read_back(display in "[ -~]{0,12}", user in "[a-z0-9.;?%-]{1,8}", port in any::<Option<u16>>(), tag in "[a-z0-9]{1,6}") {
        let uri = Uri {
            scheme: "sip".to_owned(),
            user: Some(user),
            host: "ims.example".to_owned(),
            port,
            params: Params(vec![("lr".to_owned(), None), ("ob".to_owned(), Some("1".to_owned()))]),
            headers: None,
        };
        let addr = NameAddr { display: Some(display), uri: uri.to_string(), params: Params(vec![("tag".to_owned(), Some(tag))]) };
        prop_assert_eq!(Ok(uri.clone()), Uri::parse(&uri.to_string()));
        prop_assert_eq!(Ok(addr.clone()), NameAddr::parse(&addr.to_string()));
    }
}
