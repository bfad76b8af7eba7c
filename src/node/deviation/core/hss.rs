//! What an HSS can do wrong.

use crate::{
    node::deviation::{
        Deviation, Door, Heard, How, Passing, Said,
        bend::{Notes, cx},
    },
    proto::cx::{SCHEME_AKA, SCHEME_DIGEST, SCHEME_UNKNOWN, experimental, profile::Condition},
    spec::Role,
    wire::diameter::{
        Avps, Message, Outcome,
        dictionary::{self as d, experimental as code, result},
    },
};

const fn hss(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles: &[Role::Hss],
        requirement,
        summary,
        how,
    }
}

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    hss(
        "hss-calls-the-first-a-later-registration",
        "HSS-001",
        "authorises a first registration with the code of a later one",
        How::Says(|p| {
            let first = experimental(code::FIRST_REGISTRATION);
            bend_outcome(p, "UAA", first, experimental(code::SUBSEQUENT_REGISTRATION))
        }),
    ),
    hss(
        "hss-calls-the-first-registration-a-success",
        "HSS-001",
        "authorises a first registration with DIAMETER_SUCCESS",
        How::Says(|p| {
            let first = experimental(code::FIRST_REGISTRATION);
            bend_outcome(p, "UAA", first, Outcome::Base(result::SUCCESS))
        }),
    ),
    hss(
        "hss-lets-the-unknown-register",
        "HSS-001",
        "authorises the registration of a user it does not know",
        How::Says(|p| {
            let first = experimental(code::FIRST_REGISTRATION);
            bend_outcome(p, "UAA", experimental(code::USER_UNKNOWN), first)
        }),
    ),
    hss(
        "hss-lets-the-barred-register",
        "HSS-001",
        "authorises the registration of who is barred",
        How::Says(|p| {
            let rejected = Outcome::Base(result::AUTHORIZATION_REJECTED);
            bend_outcome(p, "UAA", rejected, experimental(code::FIRST_REGISTRATION))
        }),
    ),
    hss(
        "hss-gives-a-digest-for-aka",
        "HSS-002",
        "gives a digest to who asks for authentication vectors",
        How::Hears(|p| bend_scheme(p, |scheme| scheme == SCHEME_AKA, SCHEME_DIGEST)),
    ),
    hss(
        "hss-gives-vectors-for-a-digest",
        "HSS-002",
        "gives authentication vectors to who asks for a digest",
        How::Hears(|p| bend_scheme(p, |scheme| scheme == SCHEME_DIGEST, SCHEME_AKA)),
    ),
    hss(
        "hss-takes-unknown-schemes-for-its-own",
        "HSS-002",
        "gives data of a scheme of its own choice where it does not know the one asked for",
        How::Hears(|p| {
            let known = [SCHEME_AKA, SCHEME_DIGEST, SCHEME_UNKNOWN];
            bend_scheme(p, |scheme| !known.contains(&scheme), SCHEME_UNKNOWN)
        }),
    ),
    hss(
        "hss-gives-nothing-for-an-unknown-scheme",
        "HSS-002",
        "calls it a success that it gives no data for a scheme it does not know",
        How::Says(|p| {
            let refused = experimental(code::AUTH_SCHEME_NOT_SUPPORTED);
            bend_outcome(p, "MAA", refused, Outcome::Base(result::SUCCESS))
        }),
    ),
    hss(
        "hss-gives-no-criteria",
        "HSS-003",
        "gives profiles without filter criteria",
        How::Says(|p| bend_profile(p, |condition| matches!(condition, Condition::Method(_)))),
    ),
    hss(
        "hss-forgets-the-criterion-of-publications",
        "HSS-003",
        "gives profiles whose criteria do not bring PUBLISH to the tracker",
        How::Says(|p| bend_profile(p, |condition| is_of(condition, "PUBLISH"))),
    ),
    hss(
        "hss-forgets-the-criterion-of-registrations",
        "HSS-003",
        "gives profiles whose criteria do not bring REGISTER to the tracker",
        How::Says(|p| bend_profile(p, |condition| is_of(condition, "REGISTER"))),
    ),
    hss(
        "hss-names-no-s-cscf",
        "HSS-004",
        "says that a user is served and not where",
        How::Says(|p| match cx::answer(p, "LIA") {
            Some(lia) if lia.find(&d::LIA_FLAGS).is_none() => {
                Said::as_one(cx::without(lia, &d::SERVER_NAME))
            }
            _ => Said::AsWritten,
        }),
    ),
    hss(
        "hss-calls-everybody-absent",
        "HSS-004",
        "says of registered users that they are not registered",
        How::Says(|p| match cx::answer(p, "LIA") {
            Some(lia) if names_a_cscf(p, lia) => {
                let absent = experimental(code::IDENTITY_NOT_REGISTERED);
                Said::as_one(cx::only_outcome(lia, absent))
            }
            _ => Said::AsWritten,
        }),
    ),
    hss(
        "hss-pushes-no-profile",
        "HSS-006",
        "keeps a changed profile to itself",
        How::Says(|p| match cx::request(p, "PPR") {
            Some(ppr) => {
                let success = Avps::new().outcome(Outcome::Base(result::SUCCESS));
                Said::Answered(vec![cx::made_answer(ppr, success)])
            }
            None => Said::AsWritten,
        }),
    ),
    hss(
        "hss-matches-no-identities",
        "SEC-005",
        "lets a private identity register another's public one",
        How::Setup(|setup| {
            setup.policy.hss.matches_identities = false;
            setup.policy.hss.checks_identities_in_sar = false;
        }),
    ),
    hss(
        "hss-forgets-the-identities-registered-along",
        "HSS-004",
        "says of the other identities of a registered user that they are not registered",
        How::Door(|_| Box::<ByName>::default()),
    ),
];

fn bend_outcome(passing: &Passing<'_>, answer: &str, from: Outcome, to: Outcome) -> Said {
    match cx::answer(passing, answer) {
        Some(message) if message.outcome() == Ok(Some(from)) => {
            Said::as_one(cx::with_outcome(message, to))
        }
        _ => Said::AsWritten,
    }
}

/// Hears an MAR for another scheme than it is for.
fn bend_scheme(passing: &Passing<'_>, is_so: impl Fn(&str) -> bool, scheme: &str) -> Heard {
    let Some(mar) = cx::request(passing, "MAR") else {
        return Heard::AsItCame;
    };
    Heard::as_one(cx::bent(mar, |avp| {
        let item = avp
            .is(&d::SIP_AUTH_DATA_ITEM)
            .then(|| avp.group().ok())
            .flatten()?;
        let asked = item.text(&d::SIP_AUTHENTICATION_SCHEME).ok().flatten()?;
        let inside = Avps::new().text(&d::SIP_AUTHENTICATION_SCHEME, scheme);
        is_so(asked).then(|| Avps::new().group(&d::SIP_AUTH_DATA_ITEM, inside))
    }))
}

/// Gives profiles without the criteria that have such a condition.
fn bend_profile(passing: &Passing<'_>, is_so: fn(&Condition) -> bool) -> Said {
    let bent = cx::answer(passing, "SAA").and_then(|saa| {
        cx::with_profile(saa, |profile| {
            for service in &mut profile.services {
                service.criteria.retain(|criterion| {
                    let triggers = criterion.trigger.iter().flat_map(|point| &point.triggers);
                    !triggers
                        .into_iter()
                        .any(|trigger| is_so(&trigger.condition))
                });
            }
        })
    });
    bent.map_or(Said::AsWritten, Said::as_one)
}

fn is_of(condition: &Condition, method: &str) -> bool {
    matches!(condition, Condition::Method(found) if found == method)
}

fn names_a_cscf(passing: &Passing<'_>, lia: &Message) -> bool {
    let server = lia.text(&d::SERVER_NAME).ok().flatten().unwrap_or_default();
    let mut nodes = passing.setup.directory.nodes.values();
    nodes.any(|node| node.role == Role::SCscf && server.contains(&node.host))
}

/// Takes for registered only the identities that an S-CSCF named itself, not those registered along.
#[derive(Default)]
struct ByName {
    named: Notes<()>,
    /// Who was asked about, by the identifiers of the question.
    asked: Notes<String>,
}

impl Door for ByName {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        if let Some(identity) = cx::request(passing, "SAR").and_then(public) {
            self.named.put(identity, ());
        }
        if let Some(lir) = cx::request(passing, "LIR")
            && let Some(identity) = public(lir)
        {
            self.asked.put(&identifier(lir), identity.to_owned());
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let Some(lia) = cx::answer(passing, "LIA").filter(|lia| names_a_cscf(passing, lia)) else {
            return Said::AsWritten;
        };
        let Some(identity) = self.asked.get(&identifier(lia)) else {
            return Said::AsWritten;
        };
        let subscribers = &passing.setup.subscribers;
        let mut users = subscribers.iter().flat_map(|user| &user.impus);
        match users.any(|user| user == identity) && self.named.get(identity).is_none() {
            true => Said::as_one(cx::only_outcome(
                lia,
                experimental(code::IDENTITY_NOT_REGISTERED),
            )),
            false => Said::AsWritten,
        }
    }
}

fn public(request: &Message) -> Option<&str> {
    request.text(&d::PUBLIC_IDENTITY).ok().flatten()
}

fn identifier(message: &Message) -> String {
    let header = message.header();
    format!("{} {}", header.hop_by_hop, header.end_to_end)
}
