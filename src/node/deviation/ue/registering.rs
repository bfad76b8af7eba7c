//! What a UE can do wrong while it registers, and with what the registration gave it.

use super::{ASKERS, HOLDERS, of_askers, of_users};
use crate::{
    node::{
        deviation::{Deviation, Door, Heard, How, Passing, Said, bend},
        ims_user::own_subscriber,
        setup::Subscriber,
    },
    proto::{
        aka::{self, Keys, Sqn, Usim},
        digest::{AuthValue, Secret, Session},
    },
    random::Random,
    spec::Role,
    wire::sip::{Message, NameAddr},
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    Deviation {
        name: "ue-asks-without-being-registered",
        roles: ASKERS,
        requirement: "REG-001",
        summary: "takes the challenge to its REGISTER for a 200 and goes on",
        how: How::Hears(accepted_at_once),
    },
    Deviation {
        name: "holder-is-there-without-being-registered",
        roles: HOLDERS,
        requirement: "REG-001",
        summary: "takes the challenge to its REGISTER for a 200 and announces what it holds",
        how: How::Hears(accepted_at_once),
    },
    of_users(
        "ue-registers-at-a-user",
        "REG-003",
        "writes its public identity into the Request-URI of REGISTER",
        How::Setup(|setup| setup.policy.ua.registrar_has_user = true),
    ),
    of_users(
        "ue-registers-at-its-p-cscf",
        "REG-003",
        "writes the P-CSCF's host into the Request-URI of REGISTER",
        How::Says(at_the_p_cscf),
    ),
    of_users(
        "ue-registers-from-its-private-identity",
        "REG-003",
        "writes its private identity into From of REGISTER",
        How::Says(from_private_identity),
    ),
    of_users(
        "ue-names-no-user-at-first",
        "REG-004",
        "sends its first REGISTER without Authorization",
        How::Setup(|setup| setup.policy.ua.names_user_at_first = false),
    ),
    of_users(
        "ue-names-another-realm-at-first",
        "REG-004",
        "names the P-CSCF's host as the realm of its first REGISTER",
        How::Says(another_realm),
    ),
    of_users(
        "ue-writes-no-nonce-at-first",
        "REG-004",
        "leaves nonce and response out of its first REGISTER",
        How::Says(no_nonce),
    ),
    of_askers(
        "ue-preloads-no-service-route",
        "REG-009",
        "routes by its P-CSCF alone",
        How::Setup(|setup| setup.policy.ua.preloads_service_route = false),
    ),
    of_askers(
        "ue-turns-its-route-round",
        "REG-009",
        "writes its preloaded route in reverse order",
        How::Says(|passing| {
            rerouted(
                passing,
                |method| method != "REGISTER",
                |mut route| {
                    route.reverse();
                    route
                },
            )
        }),
    ),
    of_users(
        "ue-leaves-its-p-cscf-out-of-the-route",
        "REG-009",
        "routes by Service-Route alone",
        How::Says(|passing| {
            rerouted(
                passing,
                |method| method != "REGISTER",
                |route| route.into_iter().skip(1).collect(),
            )
        }),
    ),
    of_askers(
        "ue-publishes-without-its-service-route",
        "REG-009",
        "routes PUBLISH by its P-CSCF alone, all else as it should",
        How::Says(|passing| {
            rerouted(
                passing,
                |method| method == "PUBLISH",
                |route| route.into_iter().take(1).collect(),
            )
        }),
    ),
    of_users(
        "ue-does-not-watch-its-registration",
        "REG-010",
        "sends no SUBSCRIBE for its registration state",
        How::Setup(|setup| setup.policy.ua.watches_registration = false),
    ),
    of_users(
        "ue-fetches-its-registration-once",
        "REG-010",
        "subscribes to its registration state for 0 s",
        How::Says(watches_for_nothing),
    ),
    of_users(
        "ue-renews-its-registration-late",
        "REG-011",
        "renews 300 s before the end, or after three quarters of the time",
        How::Hears(|passing| {
            granted(passing, |seconds| match seconds {
                0 => 0,
                1201.. => seconds.saturating_add(300),
                _ => seconds + seconds / 2,
            })
        }),
    ),
    of_users(
        "ue-never-renews-its-registration",
        "REG-011",
        "takes its registration for one that lasts for years",
        How::Hears(|passing| granted(passing, |seconds| seconds.saturating_mul(1_000_000))),
    ),
    of_users(
        "ue-registers-without-its-service",
        "REG-015",
        "writes no service identifier into Contact",
        How::Setup(|setup| setup.policy.ua.contact_names_service = false),
    ),
    of_users(
        "ue-registers-another-service",
        "REG-015",
        "names the service identifier of telephony in the Contact of REGISTER",
        How::Says(another_service),
    ),
    of_users(
        "ue-registers-again-while-one-is-pending",
        "REG-017",
        "sends a REGISTER for a second contact right after its first",
        How::Says(second_register),
    ),
    of_users(
        "ue-writes-res-in-hexadecimal",
        "REG-021",
        "takes RES in hexadecimal for the password of an AKA digest",
        How::Door(|_| {
            Box::new(WrongAka::of(|_, res| {
                let text: String = res.iter().map(|octet| format!("{octet:02x}")).collect();
                Secret::Password(text)
            }))
        }),
    ),
    of_users(
        "ue-answers-aka-with-its-password",
        "REG-021",
        "takes the password of SIP digest for that of an AKA digest",
        How::Door(|_| {
            Box::new(WrongAka::of(|user, _| {
                Secret::Password(user.password.clone())
            }))
        }),
    ),
    of_users(
        "ue-answers-any-network",
        "REG-022",
        "answers an AKA challenge that was not made with its key",
        How::Setup(|setup| setup.policy.ua.checks_network = false),
    ),
];

/// Makes its AKA digests with another password than RES.
struct WrongAka {
    secret: fn(&Subscriber, &[u8; 8]) -> Secret,
    challenge: Option<AuthValue>,
}

impl WrongAka {
    fn of(secret: fn(&Subscriber, &[u8; 8]) -> Secret) -> WrongAka {
        WrongAka {
            secret,
            challenge: None,
        }
    }

    fn answer(&self, passing: &Passing<'_>) -> Option<Message> {
        let register = passing.request("REGISTER")?;
        let written = register.header("Authorization")?;
        let challenge = self.challenge.as_ref()?;
        let is_answer = written.contains("AKAv1-MD5") && !written.contains("auts=");
        let user = own_subscriber(passing.setup).filter(|_| is_answer)?;
        let keys = Keys {
            k: user.k,
            opc: user.opc,
        };
        let (rand, _) = aka::read_nonce(challenge.get("nonce")?)?;
        let secret = (self.secret)(user, &Usim::new(keys, Sqn::default()).res(&rand));
        let challenges = std::slice::from_ref(challenge);
        let mut session = Session::start(challenges, &user.impi, &secret).ok()?;
        let mut random = Random::new(passing.setup.seed);
        let answer = session.answer("REGISTER", register.request_uri()?, &mut random);
        bend::header(register, "Authorization", |_| answer.to_string())
    }
}

impl Door for WrongAka {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let challenge = passing.response("REGISTER");
        let value = challenge.and_then(|challenge| challenge.header("WWW-Authenticate"));
        let values = value.and_then(|value| AuthValue::parse_all(&value).ok());
        if let Some(challenge) = values.and_then(|values| values.into_iter().next()) {
            self.challenge = Some(challenge);
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        bend::said(self.answer(passing))
    }
}

fn accepted_at_once(passing: &Passing<'_>) -> Heard {
    let challenge = passing
        .response("REGISTER")
        .filter(|response| response.status() == Some(401));
    bend::heard(challenge.map(|challenge| {
        let accepted = challenge.edit().status(200, "OK");
        accepted.remove("WWW-Authenticate").finish()
    }))
}

fn at_the_p_cscf(passing: &Passing<'_>) -> Said {
    let host = passing.setup.directory.first(Role::PCscf);
    let bent = passing
        .request("REGISTER")
        .zip(host)
        .map(|(register, (_, p_cscf))| {
            let uri = format!("sip:{}", p_cscf.host);
            register.edit().request_uri(&uri).finish()
        });
    bend::said(bent)
}

fn from_private_identity(passing: &Passing<'_>) -> Said {
    let user = own_subscriber(passing.setup);
    let bent = passing
        .request("REGISTER")
        .zip(user)
        .and_then(|(register, user)| {
            let mut from = register.from().ok()?;
            from.uri = format!("sip:{}", user.impi);
            Some(register.edit().set("From", &from.to_string()).finish())
        });
    bend::said(bent)
}

/// A REGISTER that answers no challenge yet.
fn first_register<'a>(passing: &Passing<'a>) -> Option<&'a Message> {
    let message = passing.message.sip()?;
    let register = passing.request("REGISTER").map(|_| message)?;
    let authorization = register.header("Authorization")?;
    authorization.contains("nonce=\"\"").then_some(register)
}

fn another_realm(passing: &Passing<'_>) -> Said {
    let p_cscf = passing.setup.directory.first(Role::PCscf);
    let bent = first_register(passing)
        .zip(p_cscf)
        .and_then(|(register, (_, p_cscf))| {
            bend::header(register, "Authorization", |value| {
                let home = format!("realm=\"{}\"", passing.setup.directory.domain);
                value.replace(&home, &format!("realm=\"{}\"", p_cscf.host))
            })
        });
    bend::said(bent)
}

fn no_nonce(passing: &Passing<'_>) -> Said {
    let bent = first_register(passing).and_then(|register| {
        bend::header(register, "Authorization", |value| {
            value
                .replace(",nonce=\"\"", "")
                .replace(",response=\"\"", "")
        })
    });
    bend::said(bent)
}

/// A request outside any dialog, by another route.
fn rerouted(
    passing: &Passing<'_>,
    fits: fn(&str) -> bool,
    change: fn(Vec<String>) -> Vec<String>,
) -> Said {
    let outside = |message: &&Message| {
        message.is_request()
            && fits(message.method())
            && message.to().is_ok_and(|to| to.tag().is_none())
    };
    let bent = passing.message.sip().filter(outside).and_then(|message| {
        let route = change(message.values("Route"));
        bend::header(message, "Route", |_| route.join(", "))
    });
    bend::said(bent)
}

fn watches_for_nothing(passing: &Passing<'_>) -> Said {
    let subscribe = passing
        .request("SUBSCRIBE")
        .filter(|subscribe| subscribe.header("Event").as_deref() == Some("reg"));
    bend::said(subscribe.and_then(|subscribe| bend::header(subscribe, "Expires", |_| "0".into())))
}

/// The lifetime of a registration is heard as another.
fn granted(passing: &Passing<'_>, change: fn(u32) -> u32) -> Heard {
    let accepted = passing
        .response("REGISTER")
        .filter(|response| response.status() == Some(200));
    bend::heard(accepted.and_then(|accepted| {
        let mut contacts = accepted.addrs("Contact").ok()?;
        for contact in &mut contacts {
            let lifetime = contact
                .params
                .get("expires")
                .and_then(|text| text.parse().ok());
            if let Some(lifetime) = lifetime {
                let heard = change(lifetime).to_string();
                contact.params.set("expires", Some(&heard));
            }
        }
        let contacts: Vec<String> = contacts.iter().map(NameAddr::to_string).collect();
        let bent = bend::header(accepted, "Contact", |_| contacts.join(", "))?;
        let lifetime = bent.number("Expires").ok().flatten();
        match lifetime {
            Some(lifetime) => bend::header(&bent, "Expires", |_| change(lifetime).to_string()),
            None => Some(bent),
        }
    }))
}

fn another_service(passing: &Passing<'_>) -> Said {
    let register = passing.request("REGISTER");
    let bent = register.and_then(|register| {
        bend::header(register, "Contact", |contact| {
            contact.replace("x-p2pcds", "mmtel")
        })
    });
    bend::said(bent)
}

fn second_register(passing: &Passing<'_>) -> Said {
    let Some(first) = first_register(passing) else {
        return Said::AsWritten;
    };
    let second = (|| {
        let via = first
            .header("Via")?
            .replace("branch=z9hG4bK", "branch=z9hG4bK2");
        let port = own_port(first)?;
        let contact = first.header("Contact")?;
        let contact = contact.replacen(&format!(":{port}"), &format!(":{}", port ^ 1), 1);
        let edit = first.edit().set("Via", &via).set("Contact", &contact);
        let call_id = format!("2{}", first.call_id().ok()?);
        Some(edit.set("Call-ID", &call_id).finish())
    })();
    match second {
        Some(second) => Said::Instead(vec![passing.bytes.clone(), second.into()]),
        None => Said::AsWritten,
    }
}

/// The port in the Contact of a REGISTER.
fn own_port(register: &Message) -> Option<u16> {
    let contact = register.addrs("Contact").ok()?.into_iter().next()?;
    let uri = crate::wire::sip::Uri::parse(&contact.uri).ok()?;
    uri.port
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        node::testbed::{Bed, Cast},
        spec::{Architecture, Delivery, Format, RefPoint},
        time::At,
        wire::{message::Decoded, sip::Builder},
    };

    const CAST: &[Cast] = &[Cast {
        name: "ue-a",
        role: Role::Ue,
        ip: "192.0.2.10",
        listens: &[(RefPoint::Gm, Format::Sip, 5070)],
        user: Some("ue-a"),
        holds: &[],
    }];

    #[test]
    fn a_lifetime_is_heard_as_another_wherever_it_stands() {
        let register = Builder::request("REGISTER", "sip:ims.example")
            .header("CSeq", "2 REGISTER")
            .finish();
        let accepted = Builder::response(&register, 200, "OK", None)
            .header("Contact", "<sip:192.0.2.10:5070>;expires=60;q=1, <sip:a@b>")
            .header("Expires", "1800")
            .finish();
        let message = Decoded::Sip(accepted.clone());
        let bed = Bed::new(CAST, Architecture::Registered, Delivery::Delegate);
        let setup = bed.setup_of("ue-a");
        let heard = granted(
            &Passing {
                at: At::ZERO,
                setup: &setup,
                on: RefPoint::Gm,
                peer: "192.0.2.1:5060".parse().expect("an address"),
                message: &message,
                bytes: accepted.bytes(),
                link: None,
            },
            |seconds| seconds + 1,
        );
        let Heard::Instead(heard) = heard else {
            panic!("{heard:?}");
        };
        let heard = Message::parse(heard[0].clone()).expect("a message");
        assert_eq!(Some(1801), heard.number("Expires").expect("a number"));
        let contacts = heard.values("Contact");
        assert_eq!("<sip:192.0.2.10:5070>;expires=61;q=1", contacts[0]);
        assert_eq!("<sip:a@b>", contacts[1]);
    }
}
