//! A UE's registration with IMS (TS 24.229 5.1.1, clause numbers second-hand): builds each REGISTER,
//! answers challenges, keeps what the registrar granted. It sends nothing itself and never sees Via or
//! the P-CSCF's address; its owner hands it responses and the time.

use std::time::Duration;

use sha1::{Digest as _, Sha1};

use super::{
    aka::{self, Answer, Keys, Sqn, Usim},
    digest::{Algorithm, AuthValue, Secret, Session},
};
use crate::{
    random::Random,
    time::At,
    wire::sip::{Builder, Message},
};

/// Who registers, and with which secrets.
#[derive(Clone, Debug)]
pub struct Account {
    /// `ue-a@private.ims.example`.
    pub impi: String,
    /// `sip:ue-a@ims.example`.
    pub impu: String,
    /// The home domain: `ims.example`.
    pub domain: String,
    pub password: String,
    pub keys: Keys,
    /// The sequence number the USIM saw last.
    pub usim_sqn: u64,
}

/// What the device says of itself in every REGISTER.
#[derive(Clone, Debug)]
pub struct Device {
    /// Contact URI: `sip:192.0.2.10:5070;transport=tcp`.
    pub contact: String,
    /// Contact parameters, each with its semicolon: `;+sip.instance="…"`.
    pub contact_params: String,
    pub call_id: String,
    /// Headers of the access: P-Access-Network-Info and whatever the owner's policy adds.
    pub headers: Vec<(String, String)>,
    /// Whether Security-Client and its companions are sent. Headers only: no IPsec is ever built.
    pub sec_agree: bool,
    /// Whether the lifetime is asked for in Contact, not in Expires (RFC 3261 10.2.1.1 allows both).
    pub expires_in_contact: bool,
    /// Whether a later REGISTER reuses the last nonce (RFC 7616 3.4, RFC 3261 22.3).
    pub reuse_nonce: bool,
    /// Whether a REGISTER without an answer to a challenge names the user in Authorization.
    pub names_user_at_first: bool,
    /// Whether a challenge is answered only if its AUTN was made with the USIM's key (TS 33.203 6.1.2).
    pub checks_network: bool,
    /// Whether the Request-URI has a user part, which RFC 3261 10.2 forbids.
    pub registrar_has_user: bool,
}

/// What to do after a response.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send this REGISTER.
    Send(Box<Message>),
    /// Registered; send a refresh at `refresh_at`.
    Registered { refresh_at: At },
    /// The binding is gone.
    Deregistered,
    /// The registrar refused with this status, or with a challenge that cannot be met (401).
    Refused(u16),
    /// Not an answer to anything outstanding.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Register,
    Deregister,
}

/// One registration: one Call-ID for its life (RFC 3261 10.2).
#[derive(Debug)]
pub struct Registration {
    account: Account,
    device: Device,
    random: Random,
    tag: String,
    cseq: u32,
    asked: u32,
    pending: Option<Pending>,
    /// Challenges answered since the last success.
    challenged: u32,
    /// A 423 is obeyed once a registration attempt.
    lengthened: bool,
    session: Option<Session>,
    usim: Usim,
    security_server: Vec<String>,
    granted: Option<Granted>,
}

/// What the registrar granted with its 200.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Name-addrs, in order (RFC 3608).
    pub service_route: Vec<String>,
    /// Public identities, the default first.
    pub associated: Vec<String>,
    /// When the binding ends.
    pub until: At,
}

impl Registration {
    /// `seed` feeds tags and client nonces.
    pub fn new(account: Account, device: Device, seed: u64) -> Registration {
        let mut random = Random::new(seed);
        let tag = random.token(10);
        let usim = Usim::new(account.keys.clone(), Sqn::new(account.usim_sqn));
        Registration {
            account,
            device,
            random,
            tag,
            cseq: 0,
            asked: ASKED,
            pending: None,
            challenged: 0,
            lengthened: false,
            session: None,
            usim,
            security_server: Vec::new(),
            granted: None,
        }
    }

    /// What was granted, while the binding stands.
    pub fn granted(&self) -> Option<&Granted> {
        self.granted.as_ref()
    }

    /// Whether a REGISTER waits for its answer: no second one may be sent (RFC 3261 10.2).
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The REGISTER that makes or refreshes the binding; `None` while one is outstanding.
    pub fn register(&mut self) -> Option<Message> {
        self.begin(Pending::Register)
    }

    /// The REGISTER that removes the binding (RFC 3261 10.2.2); `None` while one is outstanding.
    pub fn deregister(&mut self) -> Option<Message> {
        self.begin(Pending::Deregister)
    }

    /// Forgets the outstanding REGISTER: no answer came.
    pub fn abandon(&mut self) {
        self.pending = None;
    }

    /// Forgets the binding: it ran out, or the network ended it.
    pub fn lose(&mut self) {
        self.granted = None;
    }

    /// Takes the final response to the last REGISTER.
    pub fn answer(&mut self, at: At, response: &Message) -> Step {
        let Some(pending) = self.pending else {
            return Step::Nothing;
        };
        if !response.cseq().is_ok_and(|cseq| cseq.number == self.cseq) {
            return Step::Nothing;
        }
        match response.status().unwrap_or_default() {
            100..200 => Step::Nothing,
            200..300 => self.accept(at, pending, response),
            401 => self.meet(pending, response),
            423 => self.lengthen(pending, response),
            status => self.refuse(status),
        }
    }

    fn begin(&mut self, what: Pending) -> Option<Message> {
        if self.pending.is_some() {
            return None;
        }
        self.pending = Some(what);
        self.challenged = 0;
        self.lengthened = false;
        let uri = self.registrar();
        let reusable = self.session.as_mut().filter(|session| {
            self.device.reuse_nonce && session.challenge().algorithm() != Some(Algorithm::AkaV1Md5)
        });
        let authorization = reusable.map(|session| {
            session
                .answer("REGISTER", &uri, &mut self.random)
                .to_string()
        });
        Some(self.build(what, authorization))
    }

    fn accept(&mut self, at: At, pending: Pending, response: &Message) -> Step {
        self.pending = None;
        if pending == Pending::Deregister {
            self.granted = None;
            return Step::Deregistered;
        }
        let lifetime = self.lifetime(response);
        if lifetime == 0 {
            self.granted = None;
            return Step::Deregistered;
        }
        self.granted = Some(Granted {
            service_route: response.values("Service-Route"),
            associated: response
                .addrs("P-Associated-URI")
                .unwrap_or_default()
                .into_iter()
                .map(|identity| identity.uri)
                .collect(),
            until: at + Duration::from_secs(lifetime.into()),
        });
        Step::Registered {
            refresh_at: at + refresh_after(lifetime),
        }
    }

    /// The granted lifetime in seconds: our Contact's expires, else Expires, else what was asked
    /// (RFC 3261 10.2.4).
    fn lifetime(&self, response: &Message) -> u32 {
        let contacts = response.addrs("Contact").unwrap_or_default();
        let ours = contacts
            .iter()
            .find(|contact| contact.uri == self.device.contact)
            .or(match contacts.as_slice() {
                [only] => Some(only),
                _ => None,
            });
        ours.and_then(|contact| contact.params.get("expires")?.parse().ok())
            .or_else(|| response.number("Expires").ok().flatten())
            .unwrap_or(self.asked)
    }

    /// Answers a challenge. Another 401 is lawful if it brings a new nonce; the same nonce again
    /// means that the credentials are wrong (RFC 3261 22.3).
    fn meet(&mut self, pending: Pending, response: &Message) -> Step {
        let challenges: Vec<AuthValue> = response
            .headers()
            .filter(|header| header.name.eq_ignore_ascii_case("WWW-Authenticate"))
            .flat_map(|header| AuthValue::parse_all(&header.value).unwrap_or_default())
            .collect();
        let nonce = |value: &AuthValue| value.get("nonce").map(str::to_owned);
        let last = self.session.as_ref().and_then(|s| nonce(s.challenge()));
        let again = last.is_some() && challenges.iter().any(|value| nonce(value) == last);
        self.challenged += 1;
        if (again && self.challenged > 1) || self.challenged > MOST_CHALLENGES {
            return self.refuse(401);
        }
        self.security_server = response.values("Security-Server");
        let Some(authorization) = self.credentials(&challenges) else {
            return self.refuse(401);
        };
        Step::Send(Box::new(self.build(pending, Some(authorization))))
    }

    /// The answer to the first challenge that can be met; with AKA the USIM has its say first.
    fn credentials(&mut self, challenges: &[AuthValue]) -> Option<String> {
        let aka = challenges
            .iter()
            .find(|value| value.algorithm() == Some(Algorithm::AkaV1Md5));
        let (secret, auts) = match aka {
            Some(challenge) => {
                let (rand, autn) = aka::read_nonce(challenge.get("nonce")?)?;
                match self.usim.answer(&rand, &autn) {
                    Answer::Response { res, .. } => (Secret::Octets(res.to_vec()), None),
                    Answer::Resynchronise { auts } => (Secret::Octets(Vec::new()), Some(auts)),
                    Answer::Rejected if !self.device.checks_network => {
                        (Secret::Octets(self.usim.res(&rand).to_vec()), None)
                    }
                    Answer::Rejected => return None,
                }
            }
            None => (Secret::Password(self.account.password.clone()), None),
        };
        let chosen = aka.map_or(challenges, std::slice::from_ref);
        let mut session = Session::start(chosen, &self.account.impi, &secret).ok()?;
        let uri = self.registrar();
        let mut answer = session.answer("REGISTER", &uri, &mut self.random);
        if let Some(auts) = auts {
            answer.set_quoted("auts", &aka::write_auts(&auts));
        }
        self.session = Some(session);
        Some(answer.to_string())
    }

    /// Asks again for at least Min-Expires (RFC 3261 10.2.8), once.
    fn lengthen(&mut self, pending: Pending, response: &Message) -> Step {
        let least = response.number("Min-Expires").ok().flatten();
        match least {
            Some(least) if least > self.asked && !self.lengthened => {
                self.lengthened = true;
                self.asked = least;
                Step::Send(Box::new(self.build(pending, None)))
            }
            _ => self.refuse(423),
        }
    }

    fn refuse(&mut self, status: u16) -> Step {
        self.pending = None;
        self.session = None;
        Step::Refused(status)
    }
}
impl Registration {
    fn build(&mut self, what: Pending, authorization: Option<String>) -> Message {
        self.cseq = self.cseq.saturating_add(1);
        let expires = match what {
            Pending::Register => self.asked,
            Pending::Deregister => 0,
        };
        let account = &self.account;
        let device = &self.device;
        let mut contact = format!("<{}>", device.contact);
        if device.expires_in_contact {
            contact.push_str(&format!(";expires={expires}"));
        }
        contact.push_str(&device.contact_params);
        let mut builder = Builder::request("REGISTER", &self.registrar())
            .header("Max-Forwards", "70")
            .header("From", &format!("<{}>;tag={}", account.impu, self.tag))
            .header("To", &format!("<{}>", account.impu))
            .header("Call-ID", &device.call_id)
            .header("CSeq", &format!("{} REGISTER", self.cseq))
            .header("Contact", &contact);
        if !device.expires_in_contact {
            builder = builder.header("Expires", &expires.to_string());
        }
        let blank = || device.names_user_at_first.then(|| self.blank());
        if let Some(authorization) = authorization.or_else(blank) {
            builder = builder.header("Authorization", &authorization);
        }
        for (name, value) in &device.headers {
            builder = builder.header(name, value);
        }
        builder = builder.header("Supported", "path,gruu");
        if device.sec_agree {
            builder = self.secure(builder);
        }
        builder.finish()
    }

    /// Names the user before any challenge (TS 24.229 5.1.1.2.3, second-hand).
    fn blank(&self) -> String {
        format!(
            "Digest username=\"{}\",realm=\"{}\",nonce=\"\",uri=\"{}\",response=\"\"",
            self.account.impi,
            self.account.domain,
            self.registrar()
        )
    }

    /// RFC 3329, headers only.
    fn secure(&self, builder: Builder) -> Builder {
        let mut builder = builder
            .header("Require", "sec-agree")
            .header("Proxy-Require", "sec-agree")
            .header("Security-Client", SECURITY_CLIENT);
        for mechanism in &self.security_server {
            builder = builder.header("Security-Verify", mechanism);
        }
        builder
    }

    fn registrar(&self) -> String {
        match self.device.registrar_has_user {
            true => self.account.impu.clone(),
            false => format!("sip:{}", self.account.domain),
        }
    }
}

/// When a binding of `lifetime` seconds is refreshed: 600 s before its end if it lasts longer than
/// 1200 s, else at half (TS 24.229 5.1.1.4, clause not verified).
pub fn refresh_after(lifetime: u32) -> Duration {
    Duration::from_secs(match lifetime {
        1201.. => u64::from(lifetime) - 600,
        _ => u64::from(lifetime) / 2,
    })
}

/// A name-based UUID URN for `name`, as RFC 9562 version 5 over the name alone: the same private
/// identity always gives the same instance and peer.
pub fn urn_of(name: &str) -> String {
    let mut uuid: [u8; 16] = [0; 16];
    uuid.copy_from_slice(&Sha1::digest(name.as_bytes())[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x50;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    let hex: String = uuid.iter().map(|octet| format!("{octet:02x}")).collect();
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// The lifetime a UE asks for, in seconds (TS 24.229 5.1.1.2.1, second-hand).
const ASKED: u32 = 600_000;

/// Challenges answered in one attempt: a second one is lawful, an endless row is not.
const MOST_CHALLENGES: u32 = 3;

const SECURITY_CLIENT: &str = "ipsec-3gpp;alg=hmac-sha-1-96;ealg=null;spi-c=1001;spi-s=1002;\
    port-c=5071;port-s=5070";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::digest::{Server, Stale, Verdict};

    fn registration() -> Registration {
        let account = Account {
            impi: "ue-a@private.ims.example".to_owned(),
            impu: "sip:ue-a@ims.example".to_owned(),
            domain: "ims.example".to_owned(),
            password: "secret".to_owned(),
            keys: Keys {
                k: [7; 16],
                opc: [9; 16],
            },
            usim_sqn: 0,
        };
        let device = Device {
            contact: "sip:192.0.2.10:5070;transport=tcp".to_owned(),
            contact_params: ";+g.3gpp.icsi-ref=\"x\"".to_owned(),
            call_id: "reg-1".to_owned(),
            headers: Vec::new(),
            sec_agree: false,
            expires_in_contact: true,
            reuse_nonce: false,
            names_user_at_first: true,
            checks_network: true,
            registrar_has_user: false,
        };
        Registration::new(account, device, 1)
    }

    fn answer(request: &Message, status: u16, headers: &[(&str, &str)]) -> Message {
        let mut builder = Builder::response(request, status, "", Some("r1"));
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        builder.finish()
    }

    fn challenge(server: &mut Server) -> String {
        let offered = server.challenge(At::ZERO, &[Algorithm::Md5], Stale::No);
        offered[0].to_string()
    }

    fn next(step: Step) -> Message {
        match step {
            Step::Send(message) => *message,
            other => panic!("{other:?}, expected another REGISTER"),
        }
    }

    fn credentials(request: &Message) -> AuthValue {
        let header = request.header("Authorization").expect("Authorization");
        AuthValue::parse(&header).expect("credentials")
    }

    fn server() -> Server {
        Server::new("ims.example", Duration::from_secs(240), 5)
    }

    #[test]
    fn a_challenge_is_met_and_the_grant_kept() {
        let mut registration = registration();
        let mut server = server();

        let first = registration.register().expect("a REGISTER");
        assert_eq!(Some("sip:ims.example"), first.request_uri());
        assert_eq!(Some(""), credentials(&first).get("nonce"));
        assert_eq!(Some(""), credentials(&first).get("response"));
        assert!(registration.register().is_none());

        let header = challenge(&mut server);
        let refusal = answer(&first, 401, &[("WWW-Authenticate", &header)]);
        let second = next(registration.answer(At::ZERO, &refusal));
        assert_eq!(first.call_id(), second.call_id());
        assert_eq!(2, second.cseq().expect("CSeq").number);
        let password = Secret::Password("secret".to_owned());
        assert_eq!(
            Verdict::Accepted,
            server.verify(At::ZERO, "REGISTER", &credentials(&second), &password)
        );

        let ok = answer(
            &second,
            200,
            &[
                (
                    "Contact",
                    "<sip:192.0.2.10:5070;transport=tcp>;expires=3600",
                ),
                ("Service-Route", "<sip:orig@scscf1.ims.example;lr>"),
                ("P-Associated-URI", "<sip:ue-a@ims.example>"),
            ],
        );
        let step = registration.answer(At::ZERO, &ok);
        let Step::Registered { refresh_at } = step else {
            panic!("{step:?}, expected registered");
        };
        assert_eq!(At::ZERO + Duration::from_secs(3000), refresh_at);
        let granted = registration.granted().expect("a grant");
        assert_eq!(
            vec!["<sip:orig@scscf1.ims.example;lr>"],
            granted.service_route
        );
        assert_eq!(vec!["sip:ue-a@ims.example"], granted.associated);
    }

    #[test]
    fn a_second_challenge_is_lawful_with_a_new_nonce_only() {
        let mut registration = registration();
        let mut server = server();
        let first = registration.register().expect("a REGISTER");
        let one = challenge(&mut server);
        let two = challenge(&mut server);
        let second = next(registration.answer(
            At::ZERO,
            &answer(&first, 401, &[("WWW-Authenticate", &one)]),
        ));
        let third = next(registration.answer(
            At::ZERO,
            &answer(&second, 401, &[("WWW-Authenticate", &two)]),
        ));
        let again = answer(&third, 401, &[("WWW-Authenticate", &two)]);
        assert!(matches!(
            registration.answer(At::ZERO, &again),
            Step::Refused(401)
        ));
        assert!(!registration.is_pending());
    }

    #[test]
    fn a_brief_interval_is_lengthened_once() {
        let mut registration = registration();
        registration.asked = 60;
        let first = registration.register().expect("a REGISTER");
        let brief = |request: &Message| answer(request, 423, &[("Min-Expires", "3600")]);
        let second = next(registration.answer(At::ZERO, &brief(&first)));
        assert!(
            second
                .header("Contact")
                .expect("Contact")
                .contains(";expires=3600")
        );
        assert!(matches!(
            registration.answer(At::ZERO, &brief(&second)),
            Step::Refused(423)
        ));
    }

    #[test]
    fn an_old_sequence_number_is_answered_with_auts() {
        let mut registration = registration();
        let keys = registration.account.keys.clone();
        registration.usim = Usim::new(keys.clone(), Sqn::new(40));
        let first = registration.register().expect("a REGISTER");
        let vector = |sqn| keys.vector([3; 16], Sqn::new(sqn), [0x80, 0]);
        let mut server = server();
        let mut aka = |sqn| {
            let nonce = vector(sqn).nonce();
            server.challenge_with(At::ZERO, &nonce, &[Algorithm::AkaV1Md5], Stale::No)[0]
                .to_string()
        };
        let old = answer(&first, 401, &[("WWW-Authenticate", &aka(9))]);
        let second = next(registration.answer(At::ZERO, &old));
        let auts = credentials(&second);
        let auts = aka::read_auts(auts.get("auts").expect("auts")).expect("14 octets");
        assert_eq!(Some(Sqn::new(40)), keys.resynchronise(&[3; 16], &auts));

        let fresh = answer(&second, 401, &[("WWW-Authenticate", &aka(41))]);
        let third = next(registration.answer(At::ZERO, &fresh));
        let res = Secret::Octets(vector(41).xres.to_vec());
        assert_eq!(
            Verdict::Accepted,
            server.verify(At::ZERO, "REGISTER", &credentials(&third), &res)
        );
    }

    #[test]
    fn a_deregistration_asks_for_nothing() {
        let mut registration = registration();
        let request = registration.deregister().expect("a REGISTER");
        assert!(
            request
                .header("Contact")
                .expect("Contact")
                .contains(";expires=0")
        );
        assert!(matches!(
            registration.answer(At::ZERO, &answer(&request, 200, &[])),
            Step::Deregistered
        ));
    }

    #[test]
    fn a_long_binding_is_refreshed_ten_minutes_early_and_a_short_one_at_half() {
        assert_eq!(Duration::from_secs(599_400), refresh_after(600_000));
        assert_eq!(Duration::from_secs(601), refresh_after(1201));
        assert_eq!(Duration::from_secs(600), refresh_after(1200));
        assert_eq!(Duration::from_secs(30), refresh_after(60));
    }

    #[test]
    fn a_name_always_gives_the_same_urn() {
        let urn = urn_of("ue-a@private.ims.example");
        assert_eq!(urn, urn_of("ue-a@private.ims.example"));
        assert_ne!(urn, urn_of("ue-b@private.ims.example"));
        assert_eq!(45, urn.len());
    }
}
