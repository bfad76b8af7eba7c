//! What an I-CSCF can do wrong.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    node::{
        Setup,
        deviation::{
            Deviation, Door, Heard, How, Passing, Said,
            bend::{
                Notes, cx,
                edits::request,
                recall::{Remembering, turn},
                said,
            },
        },
        policy::Doubt,
    },
    proto::cx::{AuthorizationType, experimental},
    spec::{Format, RefPoint::Mw, Role},
    wire::{
        diameter::{
            Avps, Header, Message, Outcome,
            dictionary::{self as d, experimental as code, result},
        },
        sip::{self, Uri},
    },
};

const fn i_cscf(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles: &[Role::ICscf],
        requirement,
        summary,
        how,
    }
}

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    i_cscf(
        "i-cscf-asks-again-for-a-repeat",
        "ICSCF-002",
        "puts a repeated REGISTER to the HSS again",
        How::Door(|_| Box::<Forgetful>::default()),
    ),
    i_cscf(
        "i-cscf-registers-for-strangers",
        "ICSCF-001",
        "takes a REGISTER from whoever sends it",
        How::Setup(|setup| setup.policy.i_cscf.guards_registration = false),
    ),
    i_cscf(
        "i-cscf-registers-for-strangers-with-credentials",
        "ICSCF-001",
        "takes a REGISTER from whoever sends it if it has credentials",
        How::Disposed(
            |setup| setup.policy.i_cscf.guards_registration = false,
            &How::Door(|_| {
                guarded(|p, sip| {
                    sip.method() == "REGISTER" && !sip.has("Authorization") && is_stranger(p)
                })
            }),
        ),
    ),
    i_cscf(
        "i-cscf-gives-up-a-silent-s-cscf-of-the-hss",
        "ICSCF-004",
        "refuses a registration if the S-CSCF that the HSS names is silent",
        How::Says(|p| match cx::request(p, "UAR") {
            Some(uar) if uar.number(&d::USER_AUTHORIZATION_TYPE) == Ok(Some(CAPABILITIES)) => {
                let unable = Outcome::Base(result::UNABLE_TO_COMPLY);
                Said::Answered(vec![cx::made_answer(uar, Avps::new().outcome(unable))])
            }
            _ => Said::AsWritten,
        }),
    ),
    i_cscf(
        "i-cscf-tries-one-s-cscf",
        "ICSCF-004",
        "gives a registration up if the S-CSCF it chose is silent",
        How::Setup(|setup| setup.policy.i_cscf.reselects = false),
    ),
    i_cscf(
        "i-cscf-chooses-no-s-cscf",
        "ICSCF-004",
        "refuses a registration for which the HSS names no S-CSCF",
        How::Hears(|p| match cx::answer(p, "UAA") {
            Some(uaa) if uaa.octets(&d::SERVER_NAME).is_none() => {
                let unknown = experimental(code::USER_UNKNOWN);
                Heard::as_one(cx::only_outcome(uaa, unknown))
            }
            _ => Heard::AsItCame,
        }),
    ),
    i_cscf(
        "i-cscf-believes-strangers",
        "ICSCF-011",
        "hands on what a neighbour asserts that it does not trust",
        How::Setup(|setup| setup.policy.i_cscf.doubts_strangers = Doubt::Nothing),
    ),
    i_cscf(
        "i-cscf-believes-strangers-outside-calls",
        "ICSCF-011",
        "hands on what a neighbour asserts that it does not trust in anything but INVITE",
        How::Door(|_| {
            Remembering::door(
                |memory, p| {
                    if let Some(sip) = p.message.sip()
                        && sip.is_request()
                        && sip.method() != "INVITE"
                        && is_stranger(p)
                        && let Some(asserted) = sip.header("P-Asserted-Identity")
                    {
                        memory.put(&turn(sip), asserted.into_owned());
                    }
                    Heard::AsItCame
                },
                |memory, p| match p.message.sip() {
                    Some(sip) if sip.is_request() => match memory.get(&turn(sip)) {
                        Some(asserted) => said(Some(
                            sip.edit().set("P-Asserted-Identity", asserted).finish(),
                        )),
                        None => Said::AsWritten,
                    },
                    _ => Said::AsWritten,
                },
            )
        }),
    ),
    i_cscf(
        "i-cscf-charges-as-strangers-say",
        "ICSCF-011",
        "takes identities off what a neighbour sends that it does not trust, and leaves charging headers",
        How::Setup(|setup| setup.policy.i_cscf.doubts_strangers = Doubt::Identities),
    ),
    i_cscf(
        "i-cscf-doubts-one-assertion",
        "ICSCF-011",
        "takes one asserted identity off what a neighbour sends that it does not trust, and leaves others",
        How::Door(|_| Remembering::door(note_further_assertions, further_assertions)),
    ),
    i_cscf(
        "i-cscf-serves-strangers-as-users",
        "ICSCF-012",
        "lets whoever sends it ask for originating services",
        How::Setup(|setup| setup.policy.i_cscf.guards_originating = false),
    ),
    i_cscf(
        "i-cscf-minds-the-case-of-orig",
        "ICSCF-012",
        "lets whoever sends it ask for originating services in capital letters",
        How::Disposed(
            |setup| setup.policy.i_cscf.guards_originating = false,
            &How::Door(|_| {
                guarded(|p, sip| {
                    let mut routes = sip.values("Route").into_iter();
                    let asks = sip.method() != "REGISTER" && routes.any(|r| r.contains(";orig"));
                    asks && is_stranger(p)
                })
            }),
        ),
    ),
    i_cscf(
        "i-cscf-registers-without-asking",
        "ICSCF-003",
        "chooses an S-CSCF for a REGISTER without asking the HSS",
        How::Says(|p| match cx::request(p, "UAR") {
            Some(uar) => {
                let outcome = experimental(code::FIRST_REGISTRATION);
                Said::Answered(vec![cx::made_answer(uar, Avps::new().outcome(outcome))])
            }
            None => Said::AsWritten,
        }),
    ),
    i_cscf(
        "i-cscf-asks-once-about-a-user",
        "ICSCF-003",
        "asks the HSS about the first REGISTER of a user and sends later ones the same way",
        How::Door(|_| Remembers::answers("UAR")),
    ),
    i_cscf(
        "i-cscf-names-itself-as-visited",
        "ICSCF-003",
        "puts its own name to the HSS in place of the visited network's",
        How::Says(|p| match (cx::request(p, "UAR"), own_host(p)) {
            (Some(uar), Some(host)) => {
                Said::as_one(cx::with_text(uar, &d::VISITED_NETWORK_IDENTIFIER, &host))
            }
            _ => Said::AsWritten,
        }),
    ),
    i_cscf(
        "i-cscf-finds-users-without-asking",
        "ICSCF-005",
        "sends a request for a user to the S-CSCF it knows without asking the HSS",
        How::Says(|p| match (cx::request(p, "LIR"), s_cscf(p.setup)) {
            (Some(lir), Some(server)) if is_of_a_user(p, lir) => {
                let avps = Avps::new()
                    .outcome(Outcome::Base(result::SUCCESS))
                    .text(&d::SERVER_NAME, &server);
                Said::Answered(vec![cx::made_answer(lir, avps)])
            }
            _ => Said::AsWritten,
        }),
    ),
    i_cscf(
        "i-cscf-asks-once-where-a-user-is",
        "ICSCF-005",
        "asks the HSS where a user is for the first request only",
        How::Door(|_| Remembers::answers("LIR")),
    ),
    i_cscf(
        "i-cscf-calls-the-unknown-absent",
        "ICSCF-006",
        "answers 480 for a user whom the HSS does not know",
        How::Hears(|p| bend_location(p, code::USER_UNKNOWN, code::IDENTITY_NOT_REGISTERED)),
    ),
    i_cscf(
        "i-cscf-calls-the-absent-unknown",
        "ICSCF-007",
        "answers 404 for a user who is not registered",
        How::Hears(|p| bend_location(p, code::IDENTITY_NOT_REGISTERED, code::USER_UNKNOWN)),
    ),
    i_cscf(
        "i-cscf-forwards-to-the-absent",
        "ICSCF-007",
        "sends a request for a user who is not registered to some S-CSCF",
        How::Hears(|p| match (cx::answer(p, "LIA"), s_cscf(p.setup)) {
            (Some(lia), Some(server)) if is_experimental(lia, code::IDENTITY_NOT_REGISTERED) => {
                Heard::as_one(cx::bent(lia, |avp| {
                    avp.is(&d::EXPERIMENTAL_RESULT).then(|| {
                        Avps::new()
                            .outcome(Outcome::Base(result::SUCCESS))
                            .text(&d::SERVER_NAME, &server)
                    })
                }))
            }
            _ => Heard::AsItCame,
        }),
    ),
    i_cscf(
        "i-cscf-waits-too-long-for-the-hss",
        "ICSCF-008",
        "refuses a request that the HSS gave no answer for when nobody waits for it any more",
        How::Door(|_| Box::<Patient>::default()),
    ),
    i_cscf(
        "i-cscf-knows-no-services",
        "ICSCF-009",
        "answers 404 for the tracker's service identity",
        How::Says(|p| match cx::request(p, "LIR") {
            Some(lir) if is_of_the_tracker(p, lir) => {
                let avps = Avps::new().outcome(experimental(code::USER_UNKNOWN));
                Said::Answered(vec![cx::made_answer(lir, avps)])
            }
            _ => Said::AsWritten,
        }),
    ),
    i_cscf(
        "i-cscf-records-its-route",
        "ICSCF-010",
        "stays on the path of dialogs",
        How::Says(|p| {
            request(p, Mw, &["INVITE", "SUBSCRIBE"], |edit, _| {
                match own_uri(p) {
                    Some(uri) => edit.prepend("Record-Route", &format!("<{uri};lr>")),
                    None => edit,
                }
            })
        }),
    ),
    i_cscf(
        "i-cscf-adds-itself-to-path",
        "ICSCF-010",
        "puts itself on the way to who registers",
        How::Says(|p| {
            request(p, Mw, &["REGISTER"], |edit, _| match own_uri(p) {
                Some(uri) => edit.prepend("Path", &format!("<{uri};lr>")),
                None => edit,
            })
        }),
    ),
];

/// Remembers all asserted identities but the first of what somebody outside the core sends.
fn note_further_assertions(memory: &mut Notes<String>, passing: &Passing<'_>) -> Heard {
    let core = [Role::PCscf, Role::ICscf, Role::SCscf, Role::Tracker];
    if let Some(sip) = passing.message.sip()
        && sip.is_request()
        && !core.iter().any(|role| passing.peer_is(*role))
        && let Some((_, further)) = sip.values(ASSERTED).split_first()
        && !further.is_empty()
    {
        memory.put(&turn(sip), further.join(", "));
    }
    Heard::AsItCame
}

fn further_assertions(memory: &mut Notes<String>, passing: &Passing<'_>) -> Said {
    request(passing, Mw, &[], |edit, sip| match memory.get(&turn(sip)) {
        Some(further) => edit.append(ASSERTED, further),
        None => edit,
    })
}

const ASSERTED: &str = "P-Asserted-Identity";

fn own_host(passing: &Passing<'_>) -> Option<String> {
    let node = passing.setup.directory.nodes.get(&passing.setup.name)?;
    Some(node.host.clone())
}

/// Where this node is reached on Mw.
fn own_uri(passing: &Passing<'_>) -> Option<String> {
    let name = passing.setup.name.as_str();
    let addr = passing.setup.directory.listener(name, Mw, Format::Sip)?;
    Some(format!("sip:{}:{}", own_host(passing)?, addr.port()))
}

/// The first S-CSCF of the directory.
fn s_cscf(setup: &Setup) -> Option<String> {
    let (name, node) = setup.directory.first(Role::SCscf)?;
    let addr = setup.directory.listener(name.as_str(), Mw, Format::Sip)?;
    Some(format!("sip:{}:{}", node.host, addr.port()))
}

fn public(request: &Message) -> String {
    let public = request.text(&d::PUBLIC_IDENTITY).ok().flatten();
    public.unwrap_or_default().to_owned()
}

fn is_of_a_user(passing: &Passing<'_>, lir: &Message) -> bool {
    let public = public(lir);
    let users = passing.setup.subscribers.iter();
    users
        .flat_map(|user| &user.impus)
        .any(|impu| *impu == public)
}

fn is_of_the_tracker(passing: &Passing<'_>, lir: &Message) -> bool {
    let psi = Uri::parse(&passing.setup.directory.tracker_psi);
    match (psi, Uri::parse(&public(lir))) {
        (Ok(psi), Ok(public)) => psi.same_user(&public),
        _ => false,
    }
}

fn is_experimental(answer: &Message, code: u32) -> bool {
    answer.outcome() == Ok(Some(experimental(code)))
}

fn bend_location(passing: &Passing<'_>, from: u32, to: u32) -> Heard {
    match cx::answer(passing, "LIA") {
        Some(lia) if is_experimental(lia, from) => {
            Heard::as_one(cx::with_outcome(lia, experimental(to)))
        }
        _ => Heard::AsItCame,
    }
}

/// Asks each question of one kind once, and takes the first answer for all others.
struct Remembers {
    question: &'static str,
    /// Public identities that were asked about, by the identifiers of the question.
    asked: Notes<String>,
    /// First answers by public identity.
    answers: Notes<Message>,
}

impl Remembers {
    fn answers(question: &'static str) -> Box<dyn Door> {
        Box::new(Remembers {
            question,
            asked: Notes::default(),
            answers: Notes::default(),
        })
    }
}

impl Door for Remembers {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let answer = ["UAA", "LIA"]
            .iter()
            .find_map(|name| cx::answer(passing, name));
        if let Some(answer) = answer
            && let Some(public) = self.asked.get(&identifier(answer))
            && self.answers.get(public).is_none()
        {
            self.answers.put(public, answer.clone());
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let Some(asked) = cx::request(passing, self.question) else {
            return Said::AsWritten;
        };
        let public = public(asked);
        if let Some(answer) = self.answers.get(&public) {
            return Said::Answered(vec![as_answer_to(asked, answer)]);
        }
        self.asked.put(&identifier(asked), public);
        Said::AsWritten
    }
}

/// Refuses with 403 what fits, and hears the rest.
struct Guarded(fn(&Passing<'_>, &sip::Message) -> bool);

fn guarded(refuses: fn(&Passing<'_>, &sip::Message) -> bool) -> Box<dyn Door> {
    Box::new(Guarded(refuses))
}

impl Door for Guarded {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        match passing.message.sip() {
            Some(sip) if sip.is_request() && (self.0)(passing, sip) => {
                let refusal = sip::Builder::response(sip, 403, sip::reason(403), Some("i-cscf"));
                Heard::Answer(vec![refusal.finish().bytes().clone()])
            }
            _ => Heard::AsItCame,
        }
    }
}

/// Whether the node at the other end is no CSCF of the home network.
fn is_stranger(passing: &Passing<'_>) -> bool {
    let trusted = [Role::PCscf, Role::ICscf, Role::SCscf, Role::Tracker];
    !trusted.into_iter().any(|role| passing.peer_is(role))
}

const CAPABILITIES: u32 = AuthorizationType::RegistrationAndCapabilities as u32;

fn identifier(message: &Message) -> String {
    let header = message.header();
    format!("{} {}", header.hop_by_hop, header.end_to_end)
}

/// An earlier answer with the identifiers of a later request.
fn as_answer_to(request: &Message, answer: &Message) -> Bytes {
    let header = Header {
        hop_by_hop: request.header().hop_by_hop,
        end_to_end: request.header().end_to_end,
        ..*answer.header()
    };
    cx::under(header, answer, |_| None)
}

/// Is late with a refusal if the HSS said nothing.
#[derive(Default)]
struct Patient {
    /// How many answers the HSS had given when a request came.
    answers_before: Notes<u32>,
    answers: u32,
}

impl Door for Patient {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let is_answer = |name: &&str| cx::answer(passing, name).is_some();
        if ["UAA", "LIA"].iter().any(is_answer) {
            self.answers = self.answers.wrapping_add(1);
        }
        if let Some(sip) = passing.message.sip()
            && sip.is_request()
        {
            self.answers_before.put(&turn(sip), self.answers);
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        match passing.message.sip() {
            Some(sip)
                if sip.status() == Some(480)
                    && self.answers_before.get(&turn(sip)).copied() == Some(self.answers) =>
            {
                Said::Later(Duration::from_secs(60))
            }
            _ => Said::AsWritten,
        }
    }
}

/// Takes each copy of a REGISTER for another one.
#[derive(Default)]
struct Forgetful {
    /// How many copies came, by branch.
    copies: Notes<u32>,
}

impl Door for Forgetful {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let Some(register) = passing.request("REGISTER") else {
            return Heard::AsItCame;
        };
        let Some(branch) = top_branch(register) else {
            return Heard::AsItCame;
        };
        let copies = self.copies.get(&branch).copied().unwrap_or(0);
        self.copies.put(&branch, copies.saturating_add(1));
        match copies {
            0 => Heard::AsItCame,
            _ => with_branch(register, &format!("{branch}{COPY}{copies}"))
                .map_or(Heard::AsItCame, Heard::as_one),
        }
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let Some(answer) = passing.response("REGISTER") else {
            return Said::AsWritten;
        };
        let branch = top_branch(answer);
        match branch.as_deref().and_then(|branch| branch.split_once(COPY)) {
            Some((branch, _)) => with_branch(answer, branch).map_or(Said::AsWritten, Said::as_one),
            None => Said::AsWritten,
        }
    }
}

fn top_branch(sip: &sip::Message) -> Option<String> {
    sip.top_via().ok()?.branch().map(str::to_owned)
}

fn with_branch(sip: &sip::Message, branch: &str) -> Option<Bytes> {
    let mut via = sip.top_via().ok()?;
    via.params.set("branch", Some(branch));
    let bent = sip
        .edit()
        .pop("Via")
        .prepend("Via", &via.to_string())
        .finish();
    Some(bent.bytes().clone())
}

/// Stands between a branch and the number of its copy.
const COPY: &str = "-copy-";
