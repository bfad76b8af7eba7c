//! What the HSS knows: subscriptions, their secrets, and who serves them; and what it answers from that
//! (TS 29.228 6.1 to 6.3). Knows neither time nor connections.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    node::{
        Setup,
        policy::HssPolicy,
        setup::{Directory, Subscriber},
    },
    proto::{
        aka::{Keys, Sqn},
        cx::{
            AkaItem, AssignmentType, AuthItem, AuthorizationType, Capabilities, Charging, CxAnswer,
            CxRequest, DigestItem, Lia, Lir, Maa, Mar, SCHEME_AKA, SCHEME_DIGEST, SCHEME_UNKNOWN,
            Saa, Sar, Uaa, Uar, experimental,
            profile::{
                ApplicationServer, Condition, DefaultHandling, InitialFilterCriteria, Profile,
                PublicIdentity, ServiceAuthorization, ServicePointTrigger, ServiceProfile,
                SessionCase, TriggerPoint,
            },
        },
        digest::{Algorithm, Secret},
    },
    random::{Random, derive},
    spec::Role,
    wire::{
        diameter::{
            Outcome,
            dictionary::{experimental as cx, result},
        },
        sip::Uri,
    },
};

/// What the HSS knows: subscriptions, their secrets, and who serves them.
pub(super) struct Register {
    policy: HssPolicy,
    directory: Arc<Directory>,
    random: Random,
    records: Vec<Record>,
    /// Index into `records` by private identity.
    privates: BTreeMap<String, usize>,
    /// Index into `records` by public identity in canonical form.
    publics: BTreeMap<String, usize>,
}

/// A subscription, of a user or of a public service identity.
pub(super) struct Record {
    private: String,
    identities: Vec<PublicIdentity>,
    pub(super) criteria: Vec<InitialFilterCriteria>,
    /// `None`: a service, which nobody authenticates.
    subscriber: Option<Subscriber>,
    state: Registration,
    /// The S-CSCF, as a SIP URI.
    server: Option<String>,
    /// The Origin-Host of the S-CSCF.
    pub(super) diameter_host: Option<String>,
    is_authentication_pending: bool,
    sqn: Sqn,
}

/// The state of a public identity (TS 29.228 6.1.1.1 step 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    NotRegistered,
    /// An S-CSCF keeps the profile all the same.
    Unregistered,
    Registered,
}

impl Record {
    fn user(subscriber: &Subscriber, policy: &HssPolicy, servers: &[String]) -> Record {
        let identities = subscriber.impus.iter().enumerate();
        Record {
            private: subscriber.impi.clone(),
            identities: identities
                .map(|(index, identity)| PublicIdentity {
                    identity: identity.clone(),
                    barred: subscriber.barred && index == 0,
                    ..PublicIdentity::default()
                })
                .collect(),
            criteria: servers
                .split_first()
                .map_or_else(Vec::new, |(tracker, others)| {
                    criteria_of_a_user(tracker, others, subscriber.service)
                }),
            subscriber: Some(subscriber.clone()),
            state: Registration::NotRegistered,
            server: None,
            diameter_host: None,
            is_authentication_pending: false,
            sqn: Sqn::new(policy.first_sqn),
        }
    }

    /// A public service identity hosted at `server` (TS 23.228 5.4.12.2).
    fn service(directory: &Directory, server: &str) -> Record {
        Record {
            private: format!("tracker@private.{}", directory.domain),
            identities: vec![PublicIdentity {
                identity: directory.tracker_psi.clone(),
                identity_type: Some(DISTINCT_PSI),
                ..PublicIdentity::default()
            }],
            criteria: vec![criterion(
                0,
                server,
                vec![Condition::SessionCase(SessionCase::TerminatingUnregistered)],
            )],
            subscriber: None,
            state: Registration::NotRegistered,
            server: None,
            diameter_host: None,
            is_authentication_pending: false,
            sqn: Sqn::default(),
        }
    }

    pub(super) fn profile(&self) -> Profile {
        Profile {
            private: self.private.clone(),
            services: vec![ServiceProfile {
                identities: self.identities.clone(),
                authorization: self.subscriber.as_ref().map(|_| ServiceAuthorization {
                    media_profile: Some(MESSAGES_ONLY),
                    service_ids: None,
                }),
                criteria: self.criteria.clone(),
            }],
        }
    }

    fn is_service(&self) -> bool {
        self.subscriber.is_none()
    }

    /// Not registered, served by nobody.
    pub(super) fn clear(&mut self) {
        self.state = Registration::NotRegistered;
        self.server = None;
        self.diameter_host = None;
        self.is_authentication_pending = false;
    }

    fn assign(&mut self, server: &str, diameter_host: &str) {
        self.server = Some(server.to_owned());
        self.diameter_host = Some(diameter_host.to_owned());
    }

    /// Whether another S-CSCF than `server` is assigned.
    fn is_elsewhere(&self, server: &str) -> bool {
        self.server
            .as_deref()
            .is_some_and(|assigned| assigned != server)
    }
}

/// The media profile of every subscriber: messages, and nothing else. What its number means is agreed between HSS and
/// S-CSCF (TS 29.228 B.2.1A).
pub const MESSAGES_ONLY: u32 = 1;

impl Register {
    pub(super) fn new(setup: &Setup) -> Register {
        let policy = setup.policy.hss.clone();
        let nodes = setup.directory.nodes.values();
        let servers = nodes.filter(|node| node.role == Role::Tracker);
        let servers: Vec<String> = servers.map(|node| format!("sip:{}", node.host)).collect();
        let mut records: Vec<Record> = setup
            .subscribers
            .iter()
            .map(|subscriber| Record::user(subscriber, &policy, &servers))
            .collect();
        if let Some(tracker) = servers.first() {
            records.push(Record::service(&setup.directory, tracker));
        }
        let privates = records.iter().enumerate();
        let privates = privates.map(|(index, record)| (record.private.clone(), index));
        let publics = records.iter().enumerate().flat_map(|(index, record)| {
            let identities = record.identities.iter();
            identities.map(move |public| (canonical(&public.identity), index))
        });
        Register {
            privates: privates.collect(),
            publics: publics.collect(),
            policy,
            directory: setup.directory.clone(),
            random: Random::new(derive(setup.seed, &["vectors"])),
            records,
        }
    }

    pub(super) fn profiles(&self) -> Vec<Profile> {
        self.records.iter().map(Record::profile).collect()
    }

    /// `from` is the Origin-Host of the asker.
    pub(super) fn answer(&mut self, from: &str, request: &CxRequest) -> CxAnswer {
        let unable = Outcome::Base(result::UNABLE_TO_COMPLY);
        match request {
            CxRequest::Uar(uar) => CxAnswer::Uaa(self.authorize(uar).unwrap_or_else(Uaa::only)),
            CxRequest::Sar(sar) => CxAnswer::Saa(self.assign(from, sar).unwrap_or_else(|e| *e)),
            CxRequest::Lir(lir) => CxAnswer::Lia(self.locate(lir).unwrap_or_else(Lia::only)),
            CxRequest::Mar(mar) => {
                CxAnswer::Maa(self.authenticate(from, mar).unwrap_or_else(Maa::only))
            }
            CxRequest::Rtr(_) | CxRequest::Ppr(_) => request.refused(unable),
        }
    }

    /// TS 29.228 6.1.1.1, step by step.
    fn authorize(&self, uar: &Uar) -> Result<Uaa, Outcome> {
        let record = self.of_a_user(&uar.private, &uar.public)?;
        if record.identities.iter().all(|public| public.barred) {
            return Err(Outcome::Base(result::AUTHORIZATION_REJECTED));
        }
        let asked = uar.authorization.unwrap_or(AuthorizationType::Registration);
        if asked != AuthorizationType::DeRegistration {
            self.may_register(record, &uar.visited_network)?;
        }
        if asked == AuthorizationType::RegistrationAndCapabilities {
            return Ok(Uaa {
                capabilities: self.capabilities(),
                ..Uaa::only(Outcome::Base(result::SUCCESS))
            });
        }
        let is_deregistration = asked == AuthorizationType::DeRegistration;
        let is_known = record.state != Registration::NotRegistered;
        let outcome = match (&record.server, is_deregistration) {
            (Some(_), true) if is_known || record.is_authentication_pending => {
                Outcome::Base(result::SUCCESS)
            }
            (_, true) => return Err(experimental(cx::IDENTITY_NOT_REGISTERED)),
            (Some(_), false) => experimental(cx::SUBSEQUENT_REGISTRATION),
            (None, false) => {
                return Ok(Uaa {
                    capabilities: self.capabilities(),
                    ..Uaa::only(experimental(cx::FIRST_REGISTRATION))
                });
            }
        };
        Ok(Uaa {
            server: record.server.clone(),
            ..Uaa::only(outcome)
        })
    }

    /// Step 5: roaming, and leave to register at all. Networks of the home domain are the agreed ones.
    fn may_register(&self, record: &Record, visited: &str) -> Result<(), Outcome> {
        let home = self.directory.domain.as_str();
        let is_agreed = visited == home
            || visited
                .strip_suffix(home)
                .is_some_and(|rest| rest.ends_with('.'));
        if !is_agreed {
            return Err(experimental(cx::ROAMING_NOT_ALLOWED));
        }
        match &record.subscriber {
            Some(subscriber) if subscriber.may_register => Ok(()),
            _ => Err(Outcome::Base(result::AUTHORIZATION_REJECTED)),
        }
    }

    /// TS 29.228 6.3.1.
    fn authenticate(&mut self, from: &str, mar: &Mar) -> Result<Maa, Outcome> {
        let index = self.index_of_a_user(&mar.private, &mar.public)?;
        let record = &mut self.records[index];
        let Some(subscriber) = &record.subscriber else {
            return Err(experimental(cx::USER_UNKNOWN));
        };
        let scheme = match (mar.scheme.as_str(), subscriber.aka) {
            (SCHEME_UNKNOWN, true) => SCHEME_AKA,
            (SCHEME_UNKNOWN, false) => SCHEME_DIGEST,
            // Whoever has a USIM never had a password.
            (SCHEME_DIGEST, true) => return Err(experimental(cx::AUTH_SCHEME_NOT_SUPPORTED)),
            (scheme, _) => scheme,
        };
        let items = match scheme {
            SCHEME_DIGEST => {
                vec![digest_item(
                    subscriber,
                    &self.directory.domain,
                    &self.policy,
                )]
            }
            SCHEME_AKA => {
                let keys = Keys {
                    k: subscriber.k,
                    opc: subscriber.opc,
                };
                if let Some(resync) = &mar.resync
                    && !record.is_elsewhere(&mar.server)
                    && let Some(sqn) = keys.resynchronise(&resync.rand, &resync.auts)
                {
                    record.sqn = sqn;
                }
                let wanted = mar.items.clamp(1, self.policy.most_vectors);
                (0..wanted)
                    .map(|number| {
                        record.sqn = record.sqn.next();
                        let number = (wanted > 1).then_some(number);
                        aka_item(&keys, number, record.sqn, &mut self.random)
                    })
                    .collect()
            }
            _ => return Err(experimental(cx::AUTH_SCHEME_NOT_SUPPORTED)),
        };
        if record.state != Registration::Registered || record.is_elsewhere(&mar.server) {
            record.is_authentication_pending = true;
        }
        record.assign(&mar.server, from);
        Ok(Maa {
            private: Some(mar.private.clone()),
            public: Some(mar.public.clone()),
            items,
            ..Maa::only(Outcome::Base(result::SUCCESS))
        })
    }

    /// TS 29.228 6.1.2.1. An error may name the S-CSCF that is assigned.
    fn assign(&mut self, from: &str, sar: &Sar) -> Result<Saa, Box<Saa>> {
        let fail = |outcome| Box::new(Saa::only(outcome));
        self.count_identities(sar).map_err(fail)?;
        let index = self.index_of_assignment(sar).map_err(fail)?;
        let policy = self.policy.clone();
        let charging = self.charging();
        let record = &mut self.records[index];
        if record.is_service() && is_of_a_user(sar.assignment) {
            return Err(fail(experimental(cx::IN_ASSIGNMENT_TYPE)));
        }
        let is_elsewhere = record.is_elsewhere(&sar.server);
        match sar.assignment {
            AssignmentType::Registration
            | AssignmentType::ReRegistration
            | AssignmentType::UnregisteredUser
                if is_elsewhere =>
            {
                let outcome = experimental(cx::IDENTITY_ALREADY_REGISTERED);
                return Err(Box::new(Saa {
                    server: record.server.clone(),
                    ..Saa::only(outcome)
                }));
            }
            AssignmentType::Registration | AssignmentType::ReRegistration => {
                record.assign(&sar.server, from);
                record.state = Registration::Registered;
                record.is_authentication_pending = false;
            }
            AssignmentType::UnregisteredUser => {
                record.assign(&sar.server, from);
                record.state = Registration::Unregistered;
            }
            AssignmentType::NoAssignment if is_elsewhere || record.server.is_none() => {
                return Err(fail(Outcome::Base(result::UNABLE_TO_COMPLY)));
            }
            AssignmentType::NoAssignment => {}
            AssignmentType::TimeoutDeregistration
            | AssignmentType::UserDeregistration
            | AssignmentType::DeregistrationTooMuchData
            | AssignmentType::AdministrativeDeregistration => {
                record.clear();
                return Ok(acknowledged(record, Outcome::Base(result::SUCCESS)));
            }
            AssignmentType::TimeoutDeregistrationStoreServerName
            | AssignmentType::UserDeregistrationStoreServerName
                if policy.keeps_server_name =>
            {
                record.state = Registration::Unregistered;
                return Ok(acknowledged(record, Outcome::Base(result::SUCCESS)));
            }
            AssignmentType::TimeoutDeregistrationStoreServerName
            | AssignmentType::UserDeregistrationStoreServerName => {
                record.clear();
                let outcome = experimental(cx::SUCCESS_SERVER_NAME_NOT_STORED);
                return Ok(acknowledged(record, outcome));
            }
            AssignmentType::AuthenticationFailure | AssignmentType::AuthenticationTimeout => {
                if record.state == Registration::NotRegistered {
                    record.clear();
                }
                record.is_authentication_pending = false;
                return Ok(acknowledged(record, Outcome::Base(result::SUCCESS)));
            }
        }
        let sends_profile = !sar.has_profile || policy.sends_known_profile;
        Ok(Saa {
            profile: sends_profile.then(|| record.profile()),
            charging: sends_profile.then_some(charging),
            ..acknowledged(record, Outcome::Base(result::SUCCESS))
        })
    }

    /// Steps 1 to 3 as far as they count identities.
    fn count_identities(&self, sar: &Sar) -> Result<(), Outcome> {
        let takes_many = matches!(
            sar.assignment,
            AssignmentType::TimeoutDeregistration
                | AssignmentType::UserDeregistration
                | AssignmentType::DeregistrationTooMuchData
                | AssignmentType::TimeoutDeregistrationStoreServerName
                | AssignmentType::UserDeregistrationStoreServerName
                | AssignmentType::AdministrativeDeregistration
        );
        match (sar.publics.len(), takes_many) {
            (1, _) => Ok(()),
            (0, true) if sar.private.is_some() => Ok(()),
            (0, _) => Err(Outcome::Base(result::MISSING_AVP)),
            (_, true) => Ok(()),
            (_, false) => Err(Outcome::Base(result::AVP_OCCURS_TOO_MANY_TIMES)),
        }
    }

    fn index_of_assignment(&self, sar: &Sar) -> Result<usize, Outcome> {
        let unknown = experimental(cx::USER_UNKNOWN);
        let by_private = match &sar.private {
            Some(private) => Some(*self.privates.get(private).ok_or(unknown)?),
            None => None,
        };
        let mut by_public = None;
        for public in &sar.publics {
            let index = *self.publics.get(&canonical(public)).ok_or(unknown)?;
            by_public = by_public.or(Some(index));
        }
        match (by_private, by_public) {
            (Some(a), Some(b)) if a != b && self.policy.checks_identities_in_sar => {
                Err(experimental(cx::IDENTITIES_DONT_MATCH))
            }
            (_, Some(index)) | (Some(index), None) => Ok(index),
            (None, None) => Err(unknown),
        }
    }

    /// TS 29.228 6.1.4.1.
    fn locate(&self, lir: &Lir) -> Result<Lia, Outcome> {
        let index = self.publics.get(&canonical(&lir.public));
        let record = &self.records[*index.ok_or(experimental(cx::USER_UNKNOWN))?];
        if record.is_service() && self.policy.routes_service_directly && !lir.originating {
            return Ok(Lia {
                server: record.criteria.first().map(|c| c.server.name.clone()),
                psi_direct: self.policy.flags_direct_routing,
                ..Lia::only(Outcome::Base(result::SUCCESS))
            });
        }
        if let Some(server) = &record.server
            && (record.state != Registration::NotRegistered || lir.originating)
        {
            return Ok(Lia {
                server: Some(server.clone()),
                ..Lia::only(Outcome::Base(result::SUCCESS))
            });
        }
        // A service has a criterion for its unregistered state; users have none.
        if record.is_service() || lir.originating {
            return Ok(Lia {
                capabilities: self.capabilities(),
                ..Lia::only(experimental(cx::UNREGISTERED_SERVICE))
            });
        }
        Err(experimental(cx::IDENTITY_NOT_REGISTERED))
    }

    /// Checks that both identities exist and belong together (TS 29.228 6.1.1.1 and 6.3.1 steps 1 to 3).
    fn index_of_a_user(&self, private: &str, public: &str) -> Result<usize, Outcome> {
        let unknown = experimental(cx::USER_UNKNOWN);
        let by_private = self.privates.get(private).ok_or(unknown)?;
        let by_public = self.publics.get(&canonical(public)).ok_or(unknown)?;
        match by_private == by_public || !self.policy.matches_identities {
            true => Ok(*by_private),
            false => Err(experimental(cx::IDENTITIES_DONT_MATCH)),
        }
    }

    fn of_a_user(&self, private: &str, public: &str) -> Result<&Record, Outcome> {
        Ok(&self.records[self.index_of_a_user(private, public)?])
    }

    /// The private identity of the subscriber `id`.
    pub(super) fn private_of(&self, id: &str) -> Option<String> {
        self.records
            .iter()
            .filter_map(|record| record.subscriber.as_ref())
            .find(|subscriber| subscriber.id == id)
            .map(|subscriber| subscriber.impi.clone())
    }

    pub(super) fn record_mut(&mut self, private: &str) -> Option<&mut Record> {
        let index = *self.privates.get(private)?;
        self.records.get_mut(index)
    }

    /// What the I-CSCF is told to choose by (TS 29.228 6.7): nothing, so that any will do, or names.
    fn capabilities(&self) -> Option<Capabilities> {
        if !self.policy.names_servers {
            return None;
        }
        let nodes = self.directory.nodes.values();
        let servers = nodes.filter(|node| node.role == Role::SCscf);
        Some(Capabilities {
            servers: servers.map(|node| format!("sip:{}", node.host)).collect(),
            ..Capabilities::default()
        })
    }

    /// Goes with every profile (TS 29.228 table 6.1.2.2); there is no charging, only its name.
    fn charging(&self) -> Charging {
        Charging {
            primary_collection: Some(format!("aaa://ccf.{}", self.directory.domain)),
            ..Charging::default()
        }
    }
}

fn acknowledged(record: &Record, outcome: Outcome) -> Saa {
    Saa {
        private: Some(record.private.clone()),
        ..Saa::only(outcome)
    }
}

/// Assignments that only a distinct public user identity may have (TS 29.228 6.1.2.1 step 4).
fn is_of_a_user(assignment: AssignmentType) -> bool {
    matches!(
        assignment,
        AssignmentType::Registration
            | AssignmentType::ReRegistration
            | AssignmentType::UserDeregistration
            | AssignmentType::UserDeregistrationStoreServerName
            | AssignmentType::AuthenticationFailure
            | AssignmentType::AuthenticationTimeout
    )
}

/// TS 29.228 table 6.3.7.
fn digest_item(subscriber: &Subscriber, realm: &str, policy: &HssPolicy) -> AuthItem {
    let secret = Secret::Password(subscriber.password.clone());
    AuthItem::Digest(DigestItem {
        realm: realm.to_owned(),
        algorithm: policy.names_digest_algorithm.then(|| "MD5".to_owned()),
        qop: "auth".to_owned(),
        ha1: secret.ha1(Algorithm::Md5, &subscriber.impi, realm),
    })
}

/// TS 29.228 table 6.3.5: items are numbered if there are several.
fn aka_item(keys: &Keys, number: Option<u32>, sqn: Sqn, random: &mut Random) -> AuthItem {
    let vector = keys.vector(random.bytes(), sqn, AMF);
    AuthItem::Aka(AkaItem {
        number,
        rand: vector.rand,
        autn: vector.autn,
        xres: vector.xres.to_vec(),
        confidentiality_key: vector.ck.to_vec(),
        integrity_key: vector.ik.to_vec(),
    })
}

/// Brings the service's requests to the tracker. Who may not use it is sent there too, so that the tracker
/// refuses it; but the tracker is not told that such a user is there.
fn criteria_of_a_user(
    tracker: &str,
    others: &[String],
    has_service: bool,
) -> Vec<InitialFilterCriteria> {
    // Patterns are searched for (TS 29.228 Annex F), so an unanchored name would find Allow-Events too.
    let event = |name: &str| Condition::Header {
        name: "^(Event|o)$".to_owned(),
        content: Some(format!("^{name}(;.*)?$")),
    };
    let originating = |method: &str, package: &str| {
        vec![
            Condition::Method(method.to_owned()),
            event(package),
            Condition::SessionCase(SessionCase::Originating),
        ]
    };
    let register = vec![Condition::Method("REGISTER".to_owned())];
    let mut criteria = vec![
        criterion(10, tracker, register),
        criterion(11, tracker, originating("SUBSCRIBE", "p2pcds-peers")),
        criterion(12, tracker, originating("PUBLISH", "p2pcds-status")),
    ];
    if !has_service {
        criteria.remove(0);
    }
    // Further servers come first by priority, as numbers and not as text, and last in the profile; without them,
    // things go on.
    for (server, priority) in others.iter().zip(2..) {
        let wanted = originating("SUBSCRIBE", "p2pcds-peers");
        let mut before = criterion(priority, server, wanted);
        before.server.default_handling = Some(DefaultHandling::SessionContinued);
        criteria.push(before);
    }
    criteria
}

/// A criterion whose conditions must all hold; without its server, nothing goes on.
fn criterion(priority: u32, server: &str, conditions: Vec<Condition>) -> InitialFilterCriteria {
    let triggers = conditions.into_iter().zip(0..);
    InitialFilterCriteria {
        priority,
        trigger: Some(TriggerPoint {
            conjunctive: true,
            triggers: triggers
                .map(|(condition, group)| ServicePointTrigger {
                    negated: false,
                    groups: vec![group],
                    condition,
                    registration_types: Vec::new(),
                })
                .collect(),
        }),
        server: ApplicationServer {
            name: server.to_owned(),
            default_handling: Some(DefaultHandling::SessionTerminated),
            ..ApplicationServer::default()
        },
        part: None,
    }
}

/// A public identity without parameters, the host in lower case (TS 29.229 6.3.2 asks for the canonical
/// form of TS 23.003, clause not verified).
fn canonical(identity: &str) -> String {
    match Uri::parse(identity) {
        Ok(uri) => Uri {
            host: uri.host.to_ascii_lowercase(),
            port: None,
            params: Default::default(),
            headers: None,
            ..uri
        }
        .to_string(),
        Err(_) => {
            let end = identity.find(';').unwrap_or(identity.len());
            identity[..end].to_owned()
        }
    }
}

/// IdentityType (TS 29.228 table E.1).
const DISTINCT_PSI: u32 = 1;
/// The authentication management field; no bit of it means anything here (TS 33.102, clause not verified).
const AMF: [u8; 2] = [0, 0];

#[cfg(test)]
pub(super) mod tests;
