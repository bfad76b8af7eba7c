//! Named rule-breakings: reference nodes that break one rule and keep all others. A deviation is a set-up or
//! a [`Policy`](super::policy::Policy) outside the lawful sets, or something in the node's door that bends
//! what passes; no node's own source knows of them. A new one is one row in the table of its role.

mod apart;
mod bend;
mod cdn;
mod core;
mod stand_in;
mod tracker;
mod ue;

use super::{Node, Setup};
use crate::spec::Role;

pub use super::door::{Behind, Door, Heard, Passing, Said};

/// One rule broken on purpose, everything else kept.
#[derive(Clone, Copy)]
pub struct Deviation {
    pub name: &'static str,
    /// The roles that can break it; all nodes of these roles do.
    pub roles: &'static [Role],
    /// The ledger row it breaks.
    pub requirement: &'static str,
    pub summary: &'static str,
    pub how: How,
}

/// How a node is made to deviate.
#[derive(Clone, Copy)]
pub enum How {
    /// It is told something else than it should be, or decides as it must not.
    Setup(fn(&mut Setup)),
    /// Some messages are lost on it, or reach it as others.
    Hears(fn(&Passing<'_>) -> Heard),
    /// Some messages it writes do not go out, or go out as others, or late.
    Says(fn(&Passing<'_>) -> Said),
    /// What bends its messages has a memory.
    Door(fn(&Setup) -> Box<dyn Door>),
    /// Both: it decides otherwise, and what bends its messages has a memory.
    SetupAndDoor(fn(&mut Setup), fn(&Setup) -> Box<dyn Door>),
    /// Somebody else stands in for it.
    StandIn(fn(Setup) -> Box<dyn Node>),
}

/// Every deviation, role by role.
const TABLES: &[&[Deviation]] = &[
    ue::registering::TABLE,
    ue::asking::TABLE,
    ue::fetching::TABLE,
    ue::transactions::TABLE,
    ue::holding::TABLE,
    ue::reporting::TABLE,
    ue::sending::TABLE,
    core::p_cscf::admitting::TABLE,
    core::p_cscf::identities::TABLE,
    core::p_cscf::proxying::TABLE,
    core::i_cscf::TABLE,
    core::s_cscf::registering::TABLE,
    core::s_cscf::serving::TABLE,
    core::s_cscf::routing::TABLE,
    core::hss::TABLE,
    tracker::documents::TABLE,
    tracker::addresses::TABLE,
    tracker::peers::TABLE,
    tracker::joining::TABLE,
    tracker::lists::TABLE,
    tracker::isc::TABLE,
    cdn::controller::TABLE,
    cdn::server::TABLE,
];

/// Every deviation.
pub fn all() -> impl Iterator<Item = &'static Deviation> {
    TABLES.iter().copied().flatten()
}

/// Every deviation's name.
pub fn names() -> Vec<&'static str> {
    all().map(|deviation| deviation.name).collect()
}

/// Who does nothing right, as a whole node: with one of them in a role that a scenario tests, nothing may
/// pass.
pub fn stand_ins(role: Role) -> Vec<Deviation> {
    let stand_in = |name, summary, how| Deviation {
        name,
        roles: only(role),
        requirement: "",
        summary,
        how: How::StandIn(how),
    };
    vec![
        stand_in("silent", "says nothing", stand_in::silent),
        stand_in("says-yes", "answers every request 200", stand_in::says_yes),
        stand_in("says-no", "answers every request 500", stand_in::says_no),
    ]
}

fn only(role: Role) -> &'static [Role] {
    let place = Role::ALL.iter().position(|other| *other == role);
    place.map_or(&[], |place| &Role::ALL[place..=place])
}

impl Deviation {
    pub fn named(name: &str) -> Option<&'static Deviation> {
        all().find(|deviation| deviation.name == name)
    }

    /// Makes the node that this set-up describes deviate; `build` makes the node itself.
    pub fn play(
        &self,
        mut setup: Setup,
        build: impl FnOnce(Setup) -> Option<Box<dyn Node>>,
    ) -> Option<Box<dyn Node>> {
        let door: Box<dyn Door> = match self.how {
            How::Setup(change) => {
                change(&mut setup);
                return build(setup);
            }
            How::StandIn(stand_in) => return Some(stand_in(setup)),
            How::Hears(hears) => Box::new(Deaf(hears)),
            How::Says(says) => Box::new(Loose(says)),
            How::Door(door) => door(&setup),
            How::SetupAndDoor(change, door) => {
                change(&mut setup);
                door(&setup)
            }
        };
        let node = build(setup.clone())?;
        Some(Box::new(Behind::new(node, door, setup)))
    }
}

impl std::fmt::Debug for Deviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A door that bends what is heard, without memory.
struct Deaf(fn(&Passing<'_>) -> Heard);

impl Door for Deaf {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        (self.0)(passing)
    }
}

/// A door that bends what is said, without memory.
struct Loose(fn(&Passing<'_>) -> Said);

impl Door for Loose {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        (self.0)(passing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;

    use super::*;
    use crate::{
        io::{Input, LinkEvent, Outbox, Output},
        node::testbed::{Bed, Cast},
        proto::cx::experimental,
        random::Random,
        spec::{Architecture, Delivery, Format, RefPoint},
        time::At,
        wire::{
            diameter::{
                Avps, Builder, Header,
                dictionary::{self as d, experimental as code},
            },
            frame::{Frame, LinkId, Party, Security},
        },
    };

    #[test]
    fn each_deviation_has_a_name_of_its_own_and_somebody_to_play_it() {
        let mut names = BTreeSet::new();
        for deviation in all() {
            assert!(names.insert(deviation.name), "{}", deviation.name);
            assert!(!deviation.roles.is_empty(), "{}", deviation.name);
        }
    }

    /// Says what it hears.
    struct Parrot(Role);

    impl Node for Parrot {
        fn role(&self) -> Role {
            self.0
        }

        fn handle(&mut self, _: At, input: Input<'_>, out: &mut Outbox) {
            if let Input::Frame(frame) = input {
                match frame.link {
                    Some(link) => out.send(link, frame.bytes.clone()),
                    None => out.datagram(frame.on, frame.src, frame.bytes.clone()),
                }
            }
        }
    }

    const CAST: &[Cast] = &[
        Cast {
            name: "ue-a",
            role: Role::Ue,
            ip: "192.0.2.10",
            listens: &[
                (RefPoint::Gm, Format::Sip, 5070),
                (RefPoint::Data, Format::Msrp, 2855),
            ],
            user: Some("ue-a"),
            holds: &[1],
        },
        Cast {
            name: "p-cscf",
            role: Role::PCscf,
            ip: "192.0.2.1",
            listens: &[(RefPoint::Gm, Format::Sip, 5060)],
            user: None,
            holds: &[],
        },
    ];

    /// Messages of every format a door meets, whole.
    fn messages() -> Vec<(Format, Bytes)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/messages/rfc4475");
        let torture = std::fs::read_dir(folder).expect("the torture messages");
        let mut found: Vec<(Format, Bytes)> = torture
            .filter_map(|entry| Some((Format::Sip, std::fs::read(entry.ok()?.path()).ok()?.into())))
            .collect();
        found.sort();
        let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
                   m=message 2855 TCP/MSRP *\r\na=recvonly\r\na=sendonly\r\na=setup:active\r\n\
                   a=path:msrp://192.0.2.10:2855/s1;tcp\r\na=file-range:1-18446744073709551615\r\n\
                   a=file-selector:name:\"../x\" size:9 hash:sha-1:00\r\na=file-transfer-id:t\r\n\
                   m=message 0 TCP/MSRP *\r\na=file-range:0-0\r\n";
        let ppstp = "{\"PPSPTrackerProtocol\":{\"version\":1,\"response_type\":0,\"error_code\":0,\
                     \"transaction_id\":\"1\",\"swarm_result\":[{\"swarm_id\":\"m\",\"result\":0,\
                     \"peer_group\":{\"peer_info\":[]}}]}}";
        let head = "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
                    Call-ID: 1\r\nContact: <sip:a@b>;expires=4294967295\r\nRoute: <sip:x;lr>\r\n\
                    Require: path\r\nRetry-After: 4294967296 (x)\r\nExpires: 4294967295\r\n";
        for method in [
            "INVITE",
            "REGISTER",
            "SUBSCRIBE",
            "NOTIFY",
            "PUBLISH",
            "BYE",
            "PRACK",
        ] {
            for (kind, body) in [
                ("application/sdp", sdp),
                ("application/ppsp-tracker+json", ppstp),
            ] {
                for start in [
                    &format!("{method} sip:c@d SIP/2.0"),
                    "SIP/2.0 200 OK",
                    "SIP/2.0 401 U",
                ] {
                    let text = format!(
                        "{start}\r\n{head}CSeq: 4294967295 {method}\r\nContent-Type: {kind}\r\n\
                         Content-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    found.push((Format::Sip, text.into()));
                }
            }
        }
        for text in [
            "GET /content/..%2fx HTTP/1.1\r\nHost: h\r\nRange: bytes=0-18446744073709551615\r\n\r\n",
            "HTTP/1.1 206 P\r\nContent-Range: bytes 0-0/*\r\nContent-Length: 1\r\n\r\nx",
            "HTTP/1.1 206 P\r\nContent-Range: bytes */9\r\nContent-Length: 0\r\n\r\n",
        ] {
            found.push((Format::Http, text.into()));
        }
        for text in [
            "MSRP a SEND\r\nTo-Path: msrp://192.0.2.10:2855/s1;tcp\r\nFrom-Path: msrp://h:1/s;tcp\r\n\
             Byte-Range: 18446744073709551615-*/*\r\nContent-Type: a/b\r\n\r\nx\r\n-------a$\r\n",
            "MSRP a 481 No\r\nTo-Path: msrp://h:1/s;tcp\r\nFrom-Path: msrp://h:1/s;tcp\r\n-------a$\r\n",
        ] {
            found.push((Format::Msrp, text.into()));
        }
        found.extend(diameter().map(|bytes| (Format::Diameter, bytes)));
        found
    }

    /// Requests of Cx and answers to them, with all AVPs that doors look at.
    fn diameter() -> impl Iterator<Item = Bytes> {
        let profile = "<?xml version=\"1.0\"?><IMSSubscription><PrivateID>a@b</PrivateID>\
                       <ServiceProfile><PublicIdentity><Identity>sip:a@b</Identity></PublicIdentity>\
                       </ServiceProfile></IMSSubscription>";
        let avps = || {
            Avps::new()
                .text(&d::SESSION_ID, "s")
                .text(&d::PUBLIC_IDENTITY, "sip:a@b")
                .text(&d::VISITED_NETWORK_IDENTIFIER, "v")
                .text(&d::SERVER_NAME, "sip:s")
                .text(&d::USER_DATA, profile)
                .group(
                    &d::SIP_AUTH_DATA_ITEM,
                    Avps::new().text(&d::SIP_AUTHENTICATION_SCHEME, "SIP Digest"),
                )
        };
        let outcomes = [code::FIRST_REGISTRATION, code::USER_UNKNOWN].map(experimental);
        d::COMMANDS.iter().flat_map(move |command| {
            let request = Builder::request(command, 1, 2).avps(avps()).finish();
            let header = Header::parse(&request).expect("the header of a request that was built");
            let answers = outcomes.into_iter().map(move |outcome| {
                let avps = avps().outcome(outcome);
                Builder::answer(&header).avps(avps).finish()
            });
            std::iter::once(request).chain(answers)
        })
    }

    #[test]
    fn no_door_panics_on_any_message() {
        let bed = Bed::new(CAST, Architecture::Registered, Delivery::Delegate);
        let messages = messages();
        let mut random = Random::new(1);
        for deviation in all() {
            let setup = bed.setup_of("ue-a");
            let role = deviation.roles[0];
            let build = |_| Some(Box::new(Parrot(role)) as Box<dyn Node>);
            let mut node = deviation.play(setup, build).expect("a node");
            let mut out = Outbox::default();
            for (number, (format, bytes)) in messages.iter().enumerate() {
                for round in 0..4 {
                    let link = Some(LinkId(number as u64)).filter(|_| round % 2 == 0);
                    let mut octets = bytes.to_vec();
                    if round > 1 && !octets.is_empty() {
                        let at = random.below(octets.len() as u64) as usize;
                        octets[at] = random.below(256) as u8;
                    }
                    for on in places(*format) {
                        let octets = Bytes::from(octets.clone());
                        meet(&mut *node, (*on, *format), link, octets, &mut out);
                        out.drain().for_each(drop);
                    }
                }
            }
        }
    }

    /// A message comes to a node.
    fn meet(
        node: &mut dyn Node,
        (on, format): (RefPoint, Format),
        link: Option<LinkId>,
        bytes: Bytes,
        out: &mut Outbox,
    ) {
        let there = "192.0.2.1:5060".parse().expect("an address");
        let here = "192.0.2.10:5070".parse().expect("an address");
        if let Some(link) = link {
            let accepted = LinkEvent::Accepted {
                on,
                format,
                from: there,
                local: here,
                security: Security::Plain,
            };
            node.handle(At::ZERO, Input::Link(link, accepted), out);
        }
        let frame = Frame {
            from: Party::Unknown(there),
            to: Party::Unknown(here),
            src: there,
            dst: here,
            on,
            format,
            link,
            security: Security::Plain,
            bytes,
            framed: true,
        };
        node.handle(At::ZERO, Input::Frame(&frame), out);
    }

    /// Where messages of a format go.
    fn places(format: Format) -> &'static [RefPoint] {
        match format {
            Format::Sip => &[RefPoint::Gm, RefPoint::Mw, RefPoint::Isc],
            Format::Diameter => &[RefPoint::Cx],
            _ => &[RefPoint::Data],
        }
    }

    /// What a parrot that deviates says to a message on Gm or Isc, as datagrams.
    fn said_by(name: &str, on: RefPoint, text: &str) -> Vec<Bytes> {
        let bed = Bed::new(CAST, Architecture::Registered, Delivery::Delegate);
        let deviation = Deviation::named(name).expect("a deviation");
        let build = |_| Some(Box::new(Parrot(deviation.roles[0])) as Box<dyn Node>);
        let mut node = deviation
            .play(bed.setup_of("p-cscf"), build)
            .expect("a node");
        let mut out = Outbox::default();
        let octets = Bytes::from(text.to_owned());
        meet(&mut *node, (on, Format::Sip), None, octets, &mut out);
        let said = out.drain().filter_map(|output| match output {
            Output::Datagram { bytes, .. } => Some(bytes),
            _ => None,
        });
        said.collect()
    }

    #[test]
    fn a_node_hears_an_answer_that_nobody_gave() {
        let register = "REGISTER sip:t SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
                        From: <sip:s>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n\r\n";
        let name = "s-cscf-tells-the-tracker-of-nobody";
        let said = said_by(name, RefPoint::Isc, register);
        assert_eq!(1, said.len());
        assert!(said[0].starts_with(b"SIP/2.0 200 "));
        assert_eq!(vec![register], said_by(name, RefPoint::Gm, register));
    }
}
