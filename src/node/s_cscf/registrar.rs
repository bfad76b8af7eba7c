//! The S-CSCF as registrar (TS 24.229 5.4.1, clause numbers second-hand; RFC 3261 10.3): challenges, binds,
//! tells HSS and application servers. What it fills is the table in `users`.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Asked, Assignment, SCscf, ThirdParty, Wake, filter,
    home::canonical,
    preference,
    users::{Binding, User, same_contact},
    watch::Departure,
};
use crate::{
    io::Outbox,
    node::policy::Examination,
    proto::{
        cx::{
            AssignmentType, AuthItem, CxRequest, Maa, Mar, Resync, SCHEME_AKA, SCHEME_DIGEST, Saa,
            Sar,
            profile::{DefaultHandling, InitialFilterCriteria, RegistrationType, SessionCase},
        },
        digest::{Algorithm, AuthValue, Secret, Stale, Verdict},
        endpoint::ServerTxn,
    },
    time::At,
    wire::sip::{self, Builder, Message, NameAddr},
};

/// What authenticates a private identity.
#[derive(Clone, Debug)]
pub struct Credential {
    secret: Secret,
    algorithm: Algorithm,
    /// RAND of the last AKA challenge.
    rand: Option<[u8; 16]>,
    /// Public identities the HSS confirmed as this one's.
    identities: BTreeSet<String>,
}

/// What a REGISTER asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: it only asks what is bound.
    Fetch,
    /// `Contact: *`.
    RemoveAll,
    /// A lifetime in seconds for each contact.
    Bind(Vec<(NameAddr, u32)>),
}

impl SCscf {
    /// A REGISTER from the I-CSCF.
    pub(super) fn register(&mut self, at: At, txn: ServerTxn, request: Message, out: &mut Outbox) {
        let unknown: Vec<String> = request
            .values("Require")
            .into_iter()
            .filter(|tag| {
                !UNDERSTOOD
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(tag))
            })
            .collect();
        if !unknown.is_empty() {
            let headers = [("Unsupported", unknown.join(", "))];
            return self.refuse_with(at, txn, 420, &headers, out);
        }
        let Ok(to) = request.to() else {
            return self.refuse(at, txn, 400, out);
        };
        let public = canonical(&to.uri);
        let credentials = credentials(&request);
        let private = credentials
            .as_ref()
            .and_then(|value| value.get("username"))
            .filter(|name| !name.is_empty())
            .map_or_else(|| private_of(&public), str::to_owned);
        let assignment = Assignment {
            txn,
            request,
            private,
            public,
        };
        self.authenticate(at, assignment, credentials, out);
    }

    /// TS 24.229 5.4.1.2.2, 5.4.1.2.3 (second-hand).
    fn authenticate(
        &mut self,
        at: At,
        assignment: Assignment,
        credentials: Option<AuthValue>,
        out: &mut Outbox,
    ) {
        let Some(value) = credentials else {
            return self.ask_vector(at, assignment, SCHEME_DIGEST, None, Stale::No, out);
        };
        let scheme = scheme(&value);
        let known = self
            .credentials
            .get(&assignment.private)
            .filter(|known| known.identities.contains(&assignment.public))
            .cloned();
        let Some(known) = known else {
            return self.ask_vector(at, assignment, scheme, None, Stale::No, out);
        };
        if let Some(resync) = resync(&value, &known) {
            return self.ask_vector(at, assignment, SCHEME_AKA, Some(resync), Stale::No, out);
        }
        let answered = !value.get("response").unwrap_or_default().is_empty();
        if answered && value.algorithm() != Some(known.algorithm) {
            return self.wrong_response(at, assignment, &known, "another algorithm", out);
        }
        let is_registered = !self.users.bindings(&assignment.private).is_empty();
        let verdict = self.digest.verify(at, "REGISTER", &value, &known.secret);
        match self.policy.examines.judged(verdict, is_registered) {
            Verdict::Accepted => self.authenticated(at, assignment, &known, &value, out),
            Verdict::Unanswered => {
                self.ask_vector(at, assignment, scheme, None, Stale::No, out);
            }
            Verdict::Stale => self.ask_vector(at, assignment, scheme, None, Stale::Yes, out),
            Verdict::Refused(why) => {
                if let Some(nonce) = value.get("nonce") {
                    self.digest.forget(nonce);
                }
                self.wrong_response(at, assignment, &known, &why, out);
            }
        }
    }

    /// TS 24.229 5.4.1.2.3A and 5.4.1.2.3B (second-hand): 403 after a wrong RES; after a wrong digest 403 or a
    /// new challenge.
    fn wrong_response(
        &mut self,
        at: At,
        assignment: Assignment,
        known: &Credential,
        why: &str,
        out: &mut Outbox,
    ) {
        out.note("refused", format!("{}: {why}", assignment.private));
        let rechallenges = self.policy.rechallenges_wrong_digest
            && known.algorithm != Algorithm::AkaV1Md5
            && self.wrong.insert(assignment.private.clone());
        match rechallenges {
            true => self.ask_vector(at, assignment, SCHEME_DIGEST, None, Stale::No, out),
            false => {
                self.refuse(at, assignment.txn, 403, out);
                let kind = AssignmentType::AuthenticationFailure;
                self.end_authentication(at, &assignment, kind, out);
            }
        }
    }

    /// The HSS is told that a user it knows to be authenticating failed or gave up (TS 29.228 6.1.2; a
    /// registration that stands is not touched).
    pub(super) fn end_authentication(
        &mut self,
        at: At,
        assignment: &Assignment,
        kind: AssignmentType,
        out: &mut Outbox,
    ) {
        self.stop_awaiting(&assignment.private, out);
        let sar = Sar {
            private: Some(assignment.private.clone()),
            publics: vec![assignment.public.clone()],
            server: self.home.uri(),
            assignment: kind,
            has_profile: false,
        };
        self.ask(at, CxRequest::Sar(sar), Asked::Nothing, out);
    }

    /// Starts reg-await-auth (TS 24.229 7.8).
    fn await_answer(&mut self, at: At, assignment: &Assignment, out: &mut Outbox) {
        self.stop_awaiting(&assignment.private, out);
        let timer = out.wake_at(at + self.policy.awaits_answer);
        self.timers
            .insert(timer, Wake::Challenge(assignment.clone()));
        self.awaited.insert(assignment.private.clone(), timer);
    }

    fn stop_awaiting(&mut self, private: &str, out: &mut Outbox) {
        if let Some(timer) = self.awaited.remove(private) {
            self.timers.remove(&timer);
            out.disarm(timer);
        }
    }

    fn authenticated(
        &mut self,
        at: At,
        assignment: Assignment,
        known: &Credential,
        value: &AuthValue,
        out: &mut Outbox,
    ) {
        self.wrong.remove(&assignment.private);
        self.stop_awaiting(&assignment.private, out);
        if known.algorithm == Algorithm::AkaV1Md5 {
            // A vector authenticates once (TS 33.203 6.1.1).
            self.digest.forget(value.get("nonce").unwrap_or_default());
        }
        self.bind(at, assignment, out);
    }

    fn ask_vector(
        &mut self,
        at: At,
        assignment: Assignment,
        scheme: &str,
        resync: Option<Resync>,
        stale: Stale,
        out: &mut Outbox,
    ) {
        let mar = Mar {
            private: assignment.private.clone(),
            public: assignment.public.clone(),
            server: self.home.uri(),
            scheme: scheme.to_owned(),
            items: 1,
            resync,
        };
        self.ask(
            at,
            CxRequest::Mar(mar),
            Asked::Vector(assignment, stale),
            out,
        );
    }

    /// The HSS gave something to challenge with.
    pub(super) fn vector(
        &mut self,
        at: At,
        assignment: &Assignment,
        stale: Stale,
        maa: &Maa,
        out: &mut Outbox,
    ) {
        let challenge = match maa.items.first() {
            Some(AuthItem::Digest(item)) => {
                self.keep_secret(
                    assignment,
                    Secret::Ha1(item.ha1.clone()),
                    Algorithm::Md5,
                    None,
                );
                self.digest.challenge(at, &[Algorithm::Md5], stale).pop()
            }
            Some(AuthItem::Aka(item)) => {
                let algorithm = Algorithm::AkaV1Md5;
                let secret = Secret::Octets(item.xres.clone());
                self.keep_secret(assignment, secret, algorithm, Some(item.rand));
                let nonce = STANDARD.encode([item.rand, item.autn].concat());
                let challenge = self
                    .digest
                    .challenge_with(at, &nonce, &[algorithm], stale)
                    .pop();
                // For the P-CSCF, which takes them out again (TS 24.229 5.2.2.2, second-hand).
                challenge.map(|mut challenge| {
                    challenge.set_quoted("ck", &hex(&item.confidentiality_key));
                    challenge.set_quoted("ik", &hex(&item.integrity_key));
                    challenge
                })
            }
            None => None,
        };
        match challenge {
            Some(challenge) => {
                self.await_answer(at, assignment, out);
                let headers = [("WWW-Authenticate", challenge.to_string())];
                self.refuse_with(at, assignment.txn, 401, &headers, out);
            }
            None => self.refuse(at, assignment.txn, 403, out),
        }
    }

    fn keep_secret(
        &mut self,
        assignment: &Assignment,
        secret: Secret,
        algorithm: Algorithm,
        rand: Option<[u8; 16]>,
    ) {
        let identities = self
            .credentials
            .remove(&assignment.private)
            .map(|old| old.identities)
            .unwrap_or_default();
        let mut credential = Credential {
            secret,
            algorithm,
            rand,
            identities,
        };
        credential.identities.insert(assignment.public.clone());
        self.credentials
            .insert(assignment.private.clone(), credential);
    }

    /// RFC 3261 10.3 steps 6 and 7, up to where the HSS is told.
    fn bind(&mut self, at: At, assignment: Assignment, out: &mut Outbox) {
        let wish = match wish(&assignment.request, self.policy.longest_registration) {
            Ok(wish) => wish,
            Err(code) => return self.refuse(at, assignment.txn, code, out),
        };
        let bindings = self.users.bindings(&assignment.private);
        if let Wish::Bind(contacts) = &wish {
            if contacts
                .iter()
                .any(|(_, lifetime)| (1..SHORTEST).contains(lifetime))
            {
                let headers = [("Min-Expires", SHORTEST.to_string())];
                return self.refuse_with(at, assignment.txn, 423, &headers, out);
            }
            if is_out_of_order(&assignment.request, contacts, bindings) {
                return self.refuse(at, assignment.txn, 400, out);
            }
        }
        if wish == Wish::Fetch {
            self.accept(at, &assignment, out);
            return;
        }
        if removes_unknown(bindings, &wish) && self.policy.refuses_unknown_binding {
            return self.refuse(at, assignment.txn, 481, out);
        }
        let kind = match (bindings.len(), bindings_after(bindings, &wish)) {
            (0, 0) => {
                self.accept(at, &assignment, out);
                return;
            }
            (_, 0) => AssignmentType::UserDeregistration,
            (0, _) => AssignmentType::Registration,
            _ => AssignmentType::ReRegistration,
        };
        let sar = Sar {
            private: Some(assignment.private.clone()),
            publics: vec![assignment.public.clone()],
            server: self.home.uri(),
            assignment: kind,
            has_profile: self
                .users
                .get(&assignment.private)
                .is_some_and(User::has_profile),
        };
        let asked = Asked::Assignment(assignment, wish, kind);
        self.ask(at, CxRequest::Sar(sar), asked, out);
    }

    /// The HSS agreed.
    pub(super) fn assigned(
        &mut self,
        at: At,
        assignment: &Assignment,
        wish: &Wish,
        kind: AssignmentType,
        saa: Saa,
        out: &mut Outbox,
    ) {
        if let Some(profile) = saa.profile {
            self.users.keep_profile(&assignment.private, profile);
        }
        let bindings = self.users.bindings(&assignment.private);
        let bindings = bindings_with(bindings, at, wish, &assignment.request);
        let gone = self.users.bind(&assignment.private, bindings);
        if let Some(user) = self.users.get_mut(&assignment.private) {
            user.register = Some(assignment.request.clone());
        }
        let registration = match kind {
            AssignmentType::Registration => RegistrationType::Initial,
            AssignmentType::ReRegistration => RegistrationType::ReRegistration,
            _ => RegistrationType::DeRegistration,
        };
        let response = self.accept(at, assignment, out);
        self.tell_servers(
            at,
            &assignment.private,
            &assignment.public,
            registration,
            response,
            out,
        );
        if registration == RegistrationType::DeRegistration {
            self.users.remove(&assignment.private);
        }
        self.registration_changed(&assignment.private, &gone, Departure::Unregistered);
        self.tell_watchers(at, out);
        self.arm_expiry(out);
    }

    /// 200 with what is bound (RFC 3261 10.3 step 8, RFC 3327, RFC 3608, TS 24.229 5.4.1.2.2F second-hand).
    fn accept(&mut self, at: At, assignment: &Assignment, out: &mut Outbox) -> Option<Message> {
        let tag = self.random.token(10);
        let mut builder = Builder::response(&assignment.request, 200, sip::reason(200), Some(&tag));
        let bindings = self.users.bindings(&assignment.private);
        for binding in bindings {
            let mut contact = binding.contact.clone();
            let left = binding.until.since(at).as_secs();
            contact.params.set("expires", Some(&left.to_string()));
            builder = builder.header("Contact", &contact.to_string());
        }
        if !bindings.is_empty() {
            for path in assignment.request.values("Path") {
                builder = builder.header("Path", &path);
            }
            builder = builder.header("Service-Route", &self.home.service_route());
            let user = self.users.get(&assignment.private);
            let associated: Vec<String> = user
                .map(User::associated)
                .unwrap_or_default()
                .iter()
                .map(|identity| format!("<{identity}>"))
                .collect();
            if !associated.is_empty() {
                builder = builder.header("P-Associated-URI", &associated.join(", "));
            }
        }
        let response = builder.finish();
        self.sip
            .respond(at, assignment.txn, response.clone(), true, out);
        Some(response)
    }

    /// Third-party registration with every application server whose criterion the REGISTER meets (TS 23.218
    /// 6.3; TS 24.229 5.4.1.7, clause not verified).
    fn tell_servers(
        &mut self,
        at: At,
        private: &str,
        public: &str,
        registration: RegistrationType,
        response: Option<Message>,
        out: &mut Outbox,
    ) {
        let register = self
            .users
            .get(private)
            .and_then(|user| user.register.clone());
        let (Some(register), Some(served)) = (register, self.users.find(public)) else {
            return;
        };
        // A barred identity is registered, but nobody is told of it (TS 29.228 B.2.1).
        let told = match served.barred {
            true => self.users.get(private).map(|user| user.associated()),
            false => Some(vec![public]),
        };
        let Some(told) = told.and_then(|told| told.first().map(|told| (*told).to_owned())) else {
            return;
        };
        let bindings = self.users.bindings(private).iter();
        let expires = bindings
            .map(|binding| binding.until.since(at).as_secs())
            .max()
            .unwrap_or(0);
        let criteria = served.criteria;
        let occasion = filter::Occasion {
            case: SessionCase::Originating,
            registration: Some(registration),
        };
        let mut from = 0;
        while let Some((place, criterion)) =
            filter::next(&criteria, from, &register, occasion, &mut self.patterns)
        {
            from = place + 1;
            let third = ThirdParty {
                private: private.to_owned(),
                public: told.clone(),
                terminates: criterion.server.default_handling
                    == Some(DefaultHandling::SessionTerminated)
                    && registration != RegistrationType::DeRegistration,
            };
            let body = third_party_body(criterion, &register, response.as_ref());
            self.tell_server(at, &criterion.server.name, third, expires, body, out);
        }
    }

    fn tell_server(
        &mut self,
        at: At,
        server: &str,
        third: ThirdParty,
        expires: u64,
        body: Option<(String, Vec<u8>)>,
        out: &mut Outbox,
    ) {
        let hop = sip::Uri::parse(server)
            .ok()
            .and_then(|uri| self.home.way_to_node(&uri));
        let Some(hop) = hop else {
            return self.third_party_failed(at, &third, out);
        };
        let fresh = self.random.token(16);
        let Some(user) = self.users.get_mut(&third.private) else {
            return;
        };
        let (call_id, cseq) = user
            .third_parties
            .entry(server.to_owned())
            .or_insert((fresh, 0));
        *cseq += 1;
        let charging = user
            .register
            .as_ref()
            .and_then(|register| register.header("P-Charging-Vector"))
            .map(|vector| super::session::with_orig_ioi(&vector, self.home.domain()));
        let mut builder = Builder::request("REGISTER", server)
            .header("Max-Forwards", "70")
            .header(
                "From",
                &format!("<{}>;tag={}", self.home.uri(), self.random.token(10)),
            )
            .header("To", &format!("<{}>", third.public))
            .header("Call-ID", call_id)
            .header("CSeq", &format!("{cseq} REGISTER"))
            .header("Contact", &format!("<{}>", self.home.uri()))
            .header("Expires", &expires.to_string());
        if let Some(charging) = charging {
            builder = builder.header("P-Charging-Vector", &charging);
        }
        if let Some((content_type, body)) = body {
            builder = builder.body(&content_type, &body);
        }
        let client = self.sip.send(at, hop.on, hop.to, builder.finish(), out);
        self.third_parties.insert(client, third);
    }

    /// TS 23.218 6.9.2 by way of 6.3: where the criterion says so, the user is deregistered.
    pub(super) fn third_party_failed(&mut self, at: At, third: &ThirdParty, out: &mut Outbox) {
        out.note(
            "refused",
            format!("third-party registration of {}", third.public),
        );
        if third.terminates {
            let kind = Some(AssignmentType::AdministrativeDeregistration);
            self.end_registration(at, &third.private, kind, Departure::Deactivated, out);
        }
    }

    /// Ends a registration from this side: HSS (unless it asked for it) and application servers are told.
    pub(super) fn end_registration(
        &mut self,
        at: At,
        private: &str,
        kind: Option<AssignmentType>,
        why: Departure,
        out: &mut Outbox,
    ) {
        let gone = self.users.bind(private, Vec::new());
        let Some(user) = self.users.get(private) else {
            return;
        };
        let told = user.register.as_ref().and_then(|request| request.to().ok());
        if let Some(kind) = kind {
            let sar = Sar {
                private: Some(private.to_owned()),
                publics: user
                    .some_identity()
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
                server: self.home.uri(),
                assignment: kind,
                has_profile: true,
            };
            self.ask(at, CxRequest::Sar(sar), Asked::Nothing, out);
        }
        if let Some(to) = told {
            let public = canonical(&to.uri);
            let kind = RegistrationType::DeRegistration;
            self.tell_servers(at, private, &public, kind, None, out);
        }
        self.users.remove(private);
        self.credentials.remove(private);
        self.registration_changed(private, &gone, why);
        self.tell_watchers(at, out);
        self.arm_expiry(out);
    }

    /// Bindings have run out.
    pub(super) fn expire(&mut self, at: At, out: &mut Outbox) {
        for (private, gone) in self.users.expire(at) {
            out.note("expired", private.clone());
            self.registration_changed(&private, &gone, Departure::Expired);
            match self.users.bindings(&private).is_empty() {
                true => {
                    let kind = Some(AssignmentType::TimeoutDeregistration);
                    self.end_registration(at, &private, kind, Departure::Expired, out);
                }
                false => self.tell_watchers(at, out),
            }
        }
        self.arm_expiry(out);
    }
}

/// What the REGISTER wants, with lifetimes cut to `longest`. `Err` is a status (RFC 3261 10.3 step 6).
fn wish(request: &Message, longest: u32) -> Result<Wish, u16> {
    let contacts = request.addrs("Contact").map_err(|_| 400u16)?;
    let expires = request.number("Expires").unwrap_or(None);
    if contacts.is_empty() {
        return Ok(Wish::Fetch);
    }
    if contacts.iter().any(|contact| contact.uri == "*") {
        return match (contacts.len(), expires) {
            (1, Some(0)) => Ok(Wish::RemoveAll),
            _ => Err(400),
        };
    }
    let lifetime = |contact: &NameAddr| {
        let own = contact.params.get("expires").map(|text| text.parse().ok());
        let asked: Option<u32> = own.unwrap_or(expires);
        asked.unwrap_or(DEFAULT_LIFETIME).min(longest)
    };
    Ok(Wish::Bind(
        contacts
            .into_iter()
            .map(|contact| {
                let seconds = lifetime(&contact);
                (contact, seconds)
            })
            .collect(),
    ))
}

/// Whether a binding was made by a later REGISTER of the same Call-ID (RFC 3261 10.3 step 7).
fn is_out_of_order(request: &Message, contacts: &[(NameAddr, u32)], bindings: &[Binding]) -> bool {
    let (Ok(call_id), Ok(cseq)) = (request.call_id(), request.cseq()) else {
        return true;
    };
    bindings.iter().any(|binding| {
        binding.call_id == call_id
            && binding.cseq >= cseq.number
            && contacts
                .iter()
                .any(|(contact, _)| same_contact(&contact.uri, &binding.contact.uri))
    })
}

/// How many bindings there will be.
fn bindings_after(bindings: &[Binding], wish: &Wish) -> usize {
    match wish {
        Wish::Fetch => bindings.len(),
        Wish::RemoveAll => 0,
        Wish::Bind(contacts) => {
            let kept = bindings
                .iter()
                .filter(|binding| {
                    !contacts
                        .iter()
                        .any(|(contact, _)| same_contact(&contact.uri, &binding.contact.uri))
                })
                .count();
            kept + contacts.iter().filter(|(_, seconds)| *seconds > 0).count()
        }
    }
}

/// Whether all it does is to remove contacts that are not bound: 481 (TS 24.229 5.4.1.4, second-hand), or
/// nothing to do (RFC 3261 10.3 step 7).
fn removes_unknown(bindings: &[Binding], wish: &Wish) -> bool {
    match wish {
        Wish::Bind(contacts) => contacts.iter().all(|(contact, seconds)| {
            *seconds == 0
                && !bindings
                    .iter()
                    .any(|binding| same_contact(&contact.uri, &binding.contact.uri))
        }),
        _ => false,
    }
}

/// The bindings after a REGISTER.
fn bindings_with(bindings: &[Binding], at: At, wish: &Wish, request: &Message) -> Vec<Binding> {
    let mut bindings = bindings.to_vec();
    let contacts = match wish {
        Wish::Fetch => return bindings,
        Wish::RemoveAll => return Vec::new(),
        Wish::Bind(contacts) => contacts,
    };
    for (contact, seconds) in contacts {
        bindings.retain(|binding| !same_contact(&binding.contact.uri, &contact.uri));
        if *seconds == 0 || bindings.len() >= MOST_BINDINGS {
            continue;
        }
        bindings.push(Binding {
            features: preference::features(contact),
            contact: contact.clone(),
            path: request.values("Path"),
            until: at + Duration::from_secs(u64::from(*seconds)),
            call_id: request.call_id().unwrap_or_default(),
            cseq: request.cseq().map_or(0, |cseq| cseq.number),
        });
    }
    bindings
}

fn credentials(request: &Message) -> Option<AuthValue> {
    let value = AuthValue::parse(&request.header("Authorization")?).ok()?;
    value.is_digest().then_some(value)
}

/// Without Authorization the private identity is the public one without its scheme (TS 23.003, clause not
/// verified).
fn private_of(public: &str) -> String {
    match public.split_once(':') {
        Some((_, rest)) => rest.to_owned(),
        None => public.to_owned(),
    }
}

/// AKA for a UE that names its algorithm or whose P-CSCF speaks of integrity protection by IPsec, else SIP
/// digest (TS 24.229 5.4.1.2.1, clause not verified).
fn scheme(value: &AuthValue) -> &'static str {
    let is_aka = value.algorithm() == Some(Algorithm::AkaV1Md5)
        || matches!(value.get("integrity-protected"), Some("yes" | "no"));
    match is_aka {
        true => SCHEME_AKA,
        false => SCHEME_DIGEST,
    }
}

/// AUTS in the credentials: the sequence number is to be set right (RFC 3310 3.4).
fn resync(value: &AuthValue, known: &Credential) -> Option<Resync> {
    let auts = STANDARD.decode(value.get("auts")?).ok()?;
    Some(Resync {
        rand: known.rand?,
        auts: auts.try_into().ok()?,
    })
}

/// What a criterion wants to be told along (TS 29.228 B.2.2, TS 23.218 6.3): one part as it is, several as
/// multipart/mixed.
fn third_party_body(
    criterion: &InitialFilterCriteria,
    register: &Message,
    response: Option<&Message>,
) -> Option<(String, Vec<u8>)> {
    let mut parts: Vec<(&str, Vec<u8>)> = Vec::new();
    if let Some(info) = &criterion.server.service_info {
        let escaped = info.replace('&', "&amp;").replace('<', "&lt;");
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ims-3gpp version=\"1\"><service-info>\
             {escaped}</service-info></ims-3gpp>"
        );
        parts.push(("application/3gpp-ims+xml", xml.into_bytes()));
    }
    if criterion.server.include_register_request {
        parts.push(("message/sip", register.bytes().to_vec()));
    }
    if let Some(response) = response.filter(|_| criterion.server.include_register_response) {
        parts.push(("message/sip", response.bytes().to_vec()));
    }
    if parts.len() < 2 {
        return parts
            .pop()
            .map(|(content_type, body)| (content_type.to_owned(), body));
    }
    let mut body = Vec::new();
    for (content_type, part) in parts {
        let head = format!("--{BOUNDARY}\r\nContent-Type: {content_type}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    Some((format!("multipart/mixed;boundary={BOUNDARY}"), body))
}

impl Examination {
    /// What becomes of an answer to a challenge that was found so.
    fn judged(self, found: Verdict, is_registered: bool) -> Verdict {
        let overlooks = match (self, &found) {
            (_, Verdict::Accepted | Verdict::Unanswered) | (Examination::Whole, _) => false,
            (Examination::None, _) => true,
            (Examination::ResponseOnly, _) => matches!(found, Verdict::Stale),
            (Examination::FirstTime, _) => is_registered,
        };
        match overlooks {
            true => Verdict::Accepted,
            false => found,
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Option tags that may be required of the registrar.
const UNDERSTOOD: [&str; 3] = ["path", "gruu", "sec-agree"];

/// Seconds; shorter is refused with 423, which RFC 3261 10.3 step 7 allows below an hour.
const SHORTEST: u32 = 60;

/// Seconds, for a REGISTER that names none (RFC 3261 10.3 step 7 leaves it to the registrar; TS 24.229
/// 5.1.1.2.1, second-hand, has UEs ask for this).
const DEFAULT_LIFETIME: u32 = 600_000;

/// Contacts one private identity may bind.
const MOST_BINDINGS: usize = 10;

const BOUNDARY: &str = "third-party-registration";
