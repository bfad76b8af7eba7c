use super::*;
use crate::{
    node::{policy::Policy, setup::Neighbour},
    spec::{Architecture, Delivery, Options},
    wire::frame::NodeName,
};

const A: &str = "ue-a@private.ims.example";
const IMPU: &str = "sip:ue-a@ims.example";
const SCSCF: &str = "sip:scscf1.ims.example";
const OTHER: &str = "sip:scscf2.ims.example";

fn subscriber(id: &str) -> Subscriber {
    Subscriber {
        id: id.to_owned(),
        impi: format!("{id}@private.ims.example"),
        impus: vec![format!("sip:{id}@ims.example")],
        password: "secret".to_owned(),
        k: [1; 16],
        opc: [2; 16],
        service: true,
        qualified: true,
        barred: false,
        may_register: true,
        aka: false,
        usim_sqn: 0,
    }
}

fn neighbour(role: Role, host: &str) -> Neighbour {
    Neighbour {
        role,
        host: host.to_owned(),
        ip: "192.0.2.9".parse().unwrap(),
        ports: None,
        listeners: Vec::new(),
        impu: None,
        cdn: None,
        holds: Vec::new(),
    }
}

fn register(policy: HssPolicy) -> Register {
    Register::new(&setup(policy))
}

/// An HSS with a few subscribers, one S-CSCF and a tracker.
pub(in crate::node::hss) fn setup(policy: HssPolicy) -> Setup {
    let nodes = [
        ("hss", Role::Hss, "hss.ims.example"),
        ("s-cscf", Role::SCscf, "scscf1.ims.example"),
        ("tracker", Role::Tracker, "tracker-as.ims.example"),
    ];
    let directory = Directory {
        nodes: nodes
            .into_iter()
            .map(|(name, role, host)| (NodeName::new(name), neighbour(role, host)))
            .collect(),
        domain: "ims.example".to_owned(),
        tracker_psi: "sip:tracker@p2pcds.ims.example".to_owned(),
        ..Directory::default()
    };
    let subscribers = vec![
        subscriber("ue-a"),
        subscriber("ue-b"),
        Subscriber {
            service: false,
            ..subscriber("ue-c")
        },
        Subscriber {
            barred: true,
            ..subscriber("barred")
        },
        Subscriber {
            may_register: false,
            ..subscriber("refused")
        },
    ];
    Setup {
        name: NodeName::new("hss"),
        role: Role::Hss,
        seed: 7,
        ip: "192.0.2.9".parse().unwrap(),
        listeners: Vec::new(),
        architecture: Architecture::Registered,
        options: Options::default(),
        delivery: Delivery::Delegate,
        directory: Arc::new(directory),
        subscribers: Arc::new(subscribers),
        user: None,
        contents: Arc::new(Vec::new()),
        holds: Vec::new(),
        tls: false,
        trusts: crate::node::setup::PROVEN,
        path_mtu: BTreeMap::new(),
        policy: Policy {
            hss: policy,
            ..Policy::default()
        },
        token_key: Vec::new(),
    }
}

fn canonical_register() -> Register {
    register(HssPolicy::default())
}

fn uar(id: &str) -> Uar {
    Uar {
        private: format!("{id}@private.ims.example"),
        public: format!("sip:{id}@ims.example"),
        visited_network: "ims.example".to_owned(),
        authorization: None,
    }
}

fn mar(scheme: &str) -> Mar {
    Mar {
        private: A.to_owned(),
        public: IMPU.to_owned(),
        server: SCSCF.to_owned(),
        scheme: scheme.to_owned(),
        items: 1,
        resync: None,
    }
}

fn sar(assignment: AssignmentType) -> Sar {
    Sar {
        private: Some(A.to_owned()),
        publics: vec![IMPU.to_owned()],
        server: SCSCF.to_owned(),
        assignment,
        has_profile: false,
    }
}

fn lir(public: &str) -> Lir {
    Lir {
        public: public.to_owned(),
        originating: false,
        authorization: None,
    }
}

fn assigned(register: &mut Register, assignment: AssignmentType) -> Saa {
    register
        .assign("scscf1.ims.example", &sar(assignment))
        .unwrap_or_else(|saa| *saa)
}

fn success() -> Outcome {
    Outcome::Base(result::SUCCESS)
}

#[test]
fn a_registration_is_first_then_subsequent() {
    let mut register = canonical_register();
    let first = register.authorize(&uar("ue-a")).unwrap();
    assert_eq!(experimental(cx::FIRST_REGISTRATION), first.outcome);
    assert_eq!(None, first.server);
    assigned(&mut register, AssignmentType::Registration);
    let next = register.authorize(&uar("ue-a")).unwrap();
    assert_eq!(experimental(cx::SUBSEQUENT_REGISTRATION), next.outcome);
    assert_eq!(Some(SCSCF), next.server.as_deref());
}

#[test]
fn a_user_under_authentication_keeps_its_s_cscf() {
    let mut register = canonical_register();
    register.authenticate("s", &mar(SCHEME_DIGEST)).unwrap();
    let uaa = register.authorize(&uar("ue-a")).unwrap();
    assert_eq!(experimental(cx::SUBSEQUENT_REGISTRATION), uaa.outcome);
    let leaving = Uar {
        authorization: Some(AuthorizationType::DeRegistration),
        ..uar("ue-a")
    };
    assert_eq!(success(), register.authorize(&leaving).unwrap().outcome);
}

#[test]
fn who_may_not_register_is_told_why() {
    let register = canonical_register();
    let refusal = |uar: Uar| register.authorize(&uar).unwrap_err();
    let rejected = Outcome::Base(result::AUTHORIZATION_REJECTED);
    assert_eq!(experimental(cx::USER_UNKNOWN), refusal(uar("nobody")));
    assert_eq!(rejected, refusal(uar("barred")));
    assert_eq!(rejected, refusal(uar("refused")));
    let mixed = Uar {
        public: "sip:ue-b@ims.example".to_owned(),
        ..uar("ue-a")
    };
    assert_eq!(experimental(cx::IDENTITIES_DONT_MATCH), refusal(mixed));
    let roaming = Uar {
        visited_network: "elsewhere.example".to_owned(),
        ..uar("ue-a")
    };
    assert_eq!(experimental(cx::ROAMING_NOT_ALLOWED), refusal(roaming));
    let leaving = Uar {
        authorization: Some(AuthorizationType::DeRegistration),
        ..uar("ue-a")
    };
    assert_eq!(experimental(cx::IDENTITY_NOT_REGISTERED), refusal(leaving));
}

#[test]
fn digest_is_given_as_ha1() {
    let maa = canonical_register()
        .authenticate("s", &mar(SCHEME_DIGEST))
        .unwrap();
    // MD5 of "ue-a@private.ims.example:ims.example:secret".
    let item = AuthItem::Digest(DigestItem {
        realm: "ims.example".to_owned(),
        algorithm: Some("MD5".to_owned()),
        qop: "auth".to_owned(),
        ha1: "17e9958834db45421adbecc17c2b7351".to_owned(),
    });
    assert_eq!(vec![item], maa.items);
}

#[test]
fn each_vector_has_a_sequence_number_of_its_own() {
    let mut register = canonical_register();
    let asked = Mar {
        items: 9,
        ..mar(SCHEME_AKA)
    };
    let maa = register.authenticate("s", &asked).unwrap();
    assert_eq!(5, maa.items.len());
    assert_eq!(5, register.records[0].sqn.number());
}

#[test]
fn only_auts_with_the_key_from_the_same_s_cscf_moves_the_sequence_number() {
    use crate::proto::{
        aka::{Answer, Usim},
        cx::Resync,
    };
    let mut register = canonical_register();
    let keys = Keys {
        k: [1; 16],
        opc: [2; 16],
    };
    let mut usim = Usim::new(keys, Sqn::new(1000));
    let maa = register.authenticate("s", &mar(SCHEME_AKA)).unwrap();
    let AuthItem::Aka(vector) = &maa.items[0] else {
        panic!("no vector");
    };
    let Answer::Resynchronise { auts } = usim.answer(&vector.rand, &vector.autn) else {
        panic!("the USIM took an old sequence number");
    };
    let with = |auts| Mar {
        resync: Some(Resync {
            rand: vector.rand,
            auts,
        }),
        ..mar(SCHEME_AKA)
    };
    register.authenticate("s", &with([0; 14])).unwrap();
    assert_eq!(2, register.records[0].sqn.number());
    let elsewhere = Mar {
        server: OTHER.to_owned(),
        ..with(auts)
    };
    register.authenticate("s2", &elsewhere).unwrap();
    assert_eq!(3, register.records[0].sqn.number());
    register.authenticate("s", &mar(SCHEME_AKA)).unwrap();
    let maa = register.authenticate("s", &with(auts)).unwrap();
    let AuthItem::Aka(vector) = &maa.items[0] else {
        panic!("no vector");
    };
    let answer = usim.answer(&vector.rand, &vector.autn);
    assert!(matches!(answer, Answer::Response { .. }), "{answer:?}");
}

#[test]
fn an_unknown_scheme_is_not_supported() {
    let refusal = canonical_register().authenticate("s", &mar("Early-IMS-Security"));
    assert_eq!(Err(experimental(cx::AUTH_SCHEME_NOT_SUPPORTED)), refusal);
}

#[test]
fn a_registered_user_has_criteria_in_order() {
    let mut register = canonical_register();
    let saa = assigned(&mut register, AssignmentType::Registration);
    let profile = saa.profile.unwrap();
    assert_eq!(Some(IMPU), profile.default_identity());
    let criteria = &profile.services[0].criteria;
    let priorities: Vec<u32> = criteria.iter().map(|c| c.priority).collect();
    assert_eq!(vec![10, 11, 12], priorities);
    let server = ApplicationServer {
        name: "sip:tracker-as.ims.example".to_owned(),
        default_handling: Some(DefaultHandling::SessionTerminated),
        ..ApplicationServer::default()
    };
    assert!(criteria.iter().all(|c| c.server == server));
    let subscribe = criteria[1].trigger.as_ref().unwrap();
    let events = subscribe
        .triggers
        .iter()
        .filter_map(|t| match &t.condition {
            Condition::Header { content, .. } => content.as_deref(),
            _ => None,
        });
    assert_eq!(vec!["^p2pcds-peers(;.*)?$"], events.collect::<Vec<_>>());
}

#[test]
fn a_user_without_the_service_still_reaches_the_tracker() {
    let mut register = canonical_register();
    let asked = Sar {
        private: None,
        publics: vec!["sip:ue-c@ims.example".to_owned()],
        ..sar(AssignmentType::Registration)
    };
    let saa = register.assign("s", &asked).unwrap();
    let criteria = saa.profile.unwrap().services[0].criteria.clone();
    let priorities: Vec<u32> = criteria.iter().map(|c| c.priority).collect();
    assert_eq!(vec![11, 12], priorities);
}

#[test]
fn a_second_s_cscf_is_told_of_the_first() {
    let mut register = canonical_register();
    assigned(&mut register, AssignmentType::Registration);
    let other = Sar {
        server: OTHER.to_owned(),
        ..sar(AssignmentType::Registration)
    };
    let saa = register.assign("s2", &other).unwrap_err();
    let outcome = experimental(cx::IDENTITY_ALREADY_REGISTERED);
    assert_eq!((outcome, Some(SCSCF)), (saa.outcome, saa.server.as_deref()));
    assert_eq!(None, saa.profile);
    let mar = Mar {
        server: OTHER.to_owned(),
        ..mar(SCHEME_DIGEST)
    };
    register.authenticate("s2", &mar).unwrap();
    assert_eq!(success(), register.assign("s2", &other).unwrap().outcome);
}

#[test]
fn a_deregistered_user_is_located_no_more() {
    let mut register = canonical_register();
    let located = |register: &Register| register.locate(&lir(IMPU));
    let absent = Err(experimental(cx::IDENTITY_NOT_REGISTERED));
    assert_eq!(absent, located(&register));
    assigned(&mut register, AssignmentType::Registration);
    assert_eq!(Some(SCSCF), located(&register).unwrap().server.as_deref());
    let saa = assigned(&mut register, AssignmentType::UserDeregistration);
    assert_eq!((success(), None), (saa.outcome, saa.profile));
    assert_eq!(absent, located(&register));
}

#[test]
fn the_name_of_the_s_cscf_is_kept_or_not_as_decided() {
    let kept = |keeps_server_name| {
        let mut register = register(HssPolicy {
            keeps_server_name,
            ..HssPolicy::default()
        });
        assigned(&mut register, AssignmentType::Registration);
        let kind = AssignmentType::UserDeregistrationStoreServerName;
        let outcome = assigned(&mut register, kind).outcome;
        (outcome, register.locate(&lir(IMPU)).is_ok())
    };
    let not_stored = experimental(cx::SUCCESS_SERVER_NAME_NOT_STORED);
    assert_eq!((success(), true), kept(true));
    assert_eq!((not_stored, false), kept(false));
}

#[test]
fn a_failed_authentication_frees_the_s_cscf() {
    let mut register = canonical_register();
    register.authenticate("s", &mar(SCHEME_DIGEST)).unwrap();
    assigned(&mut register, AssignmentType::AuthenticationFailure);
    let uaa = register.authorize(&uar("ue-a")).unwrap();
    assert_eq!(experimental(cx::FIRST_REGISTRATION), uaa.outcome);
}

#[test]
fn identities_are_counted() {
    let register = canonical_register();
    let count = |assignment, n| {
        register.count_identities(&Sar {
            publics: vec![IMPU.to_owned(); n],
            private: None,
            ..sar(assignment)
        })
    };
    let (one, many) = (
        AssignmentType::Registration,
        AssignmentType::UserDeregistration,
    );
    assert_eq!(Ok(()), count(one, 1));
    assert_eq!(Ok(()), count(many, 2));
    assert_eq!(Err(Outcome::Base(result::MISSING_AVP)), count(one, 0));
    assert_eq!(Err(Outcome::Base(result::MISSING_AVP)), count(many, 0));
    let too_many = Outcome::Base(result::AVP_OCCURS_TOO_MANY_TIMES);
    assert_eq!(Err(too_many), count(one, 2));
}

#[test]
fn unknown_identities_are_told_from_unregistered_ones() {
    let register = canonical_register();
    let unknown = Err(experimental(cx::USER_UNKNOWN));
    assert_eq!(unknown, register.locate(&lir("sip:nobody@ims.example")));
    let absent = Err(experimental(cx::IDENTITY_NOT_REGISTERED));
    assert_eq!(absent, register.locate(&lir("sip:ue-a@IMS.example;x=y")));
}

#[test]
fn the_tracker_is_located_by_either_way() {
    let psi = lir("sip:tracker@p2pcds.ims.example");
    let direct = canonical_register().locate(&psi).unwrap();
    assert_eq!(Some("sip:tracker-as.ims.example"), direct.server.as_deref());
    assert!(direct.psi_direct);
    let mut register = register(HssPolicy {
        routes_service_directly: false,
        ..HssPolicy::default()
    });
    let lia = register.locate(&psi).unwrap();
    assert_eq!(experimental(cx::UNREGISTERED_SERVICE), lia.outcome);
    let asked = Sar {
        private: None,
        publics: vec![psi.public.clone()],
        ..sar(AssignmentType::UnregisteredUser)
    };
    let saa = register.assign("s", &asked).unwrap();
    let criteria = &saa.profile.unwrap().services[0].criteria;
    assert_eq!("sip:tracker-as.ims.example", criteria[0].server.name);
    assert_eq!(
        Some(SCSCF),
        register.locate(&psi).unwrap().server.as_deref()
    );
    let registering = Sar {
        assignment: AssignmentType::Registration,
        ..asked
    };
    let saa = register.assign("s", &registering).unwrap_err();
    assert_eq!(experimental(cx::IN_ASSIGNMENT_TYPE), saa.outcome);
}
