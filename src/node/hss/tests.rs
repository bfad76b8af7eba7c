use bytes::Bytes;

use super::{register::tests::setup, *};
use crate::{
    io::{LinkEvent, Output},
    node::policy::HssPolicy,
    proto::cx::{AssignmentType, Lir, Ppa, Rta, Sar, experimental},
    wire::{
        diameter::dictionary::result,
        frame::{Frame, LinkId, NodeName, Party, Security},
    },
};

const PRIVATE: &str = "ue-a@private.ims.example";
const IMPU: &str = "sip:ue-a@ims.example";
const HERE: LinkId = LinkId(2);
const THERE: LinkId = LinkId(1);

/// The HSS, and an S-CSCF that answers what it is told with `outcome`.
struct Bench {
    hss: Hss,
    s_cscf: CxEndpoint,
    outs: [Outbox; 2],
    outcome: Outcome,
    told: Vec<CxRequest>,
    answers: Vec<CxAnswer>,
}

impl Bench {
    /// With ue-a registered.
    fn new(outcome: Outcome) -> Bench {
        let setup = setup(HssPolicy::default());
        let me = CxIdentity {
            host: "scscf1.ims.example".to_owned(),
            realm: "ims.example".to_owned(),
            ip: "192.0.2.3".parse().unwrap(),
        };
        let addr = "192.0.2.4:3868".parse().unwrap();
        let known = BTreeMap::from([(hss_host(&setup.directory), addr)]);
        let mut bench = Bench {
            hss: Hss::new(&setup),
            s_cscf: CxEndpoint::new(me, known, CxTimers::default(), 3),
            outs: Default::default(),
            outcome,
            told: Vec::new(),
            answers: Vec::new(),
        };
        let accepted = LinkEvent::Accepted {
            on: RefPoint::Cx,
            format: Format::Diameter,
            from: "192.0.2.3:40000".parse().unwrap(),
            local: "192.0.2.4:3868".parse().unwrap(),
            security: Security::Plain,
        };
        let [_, out] = &mut bench.outs;
        bench
            .hss
            .handle(At::ZERO, Input::Link(THERE, accepted), out);
        bench.ask(&CxRequest::Sar(Sar {
            private: Some(PRIVATE.to_owned()),
            publics: vec![IMPU.to_owned()],
            server: "sip:scscf1.ims.example".to_owned(),
            assignment: AssignmentType::Registration,
            has_profile: true,
        }));
        bench
    }

    fn ask(&mut self, request: &CxRequest) {
        let out = &mut self.outs[0];
        self.s_cscf.ask(At::ZERO, "hss.ims.example", request, out);
        let opened = Input::Link(HERE, LinkEvent::Opened);
        if self.answers.is_empty() {
            self.s_cscf.take(At::ZERO, &opened, &mut self.outs[0]);
        }
        self.carry();
    }

    fn act(&mut self, action: &Action) {
        self.hss
            .handle(At::ZERO, Input::Act(action), &mut self.outs[1]);
        self.carry();
    }

    /// Carries octets to and fro until nobody has anything to say.
    fn carry(&mut self) {
        loop {
            let [there, here] = [sends(&mut self.outs[0]), sends(&mut self.outs[1])];
            if there.is_empty() && here.is_empty() {
                return;
            }
            for bytes in there {
                let frame = frame(THERE, bytes);
                self.hss
                    .handle(At::ZERO, Input::Frame(&frame), &mut self.outs[1]);
            }
            for bytes in here {
                let frame = frame(HERE, bytes);
                let out = &mut self.outs[0];
                let events = self.s_cscf.take(At::ZERO, &Input::Frame(&frame), out);
                for event in events.unwrap_or_default() {
                    match event {
                        CxEvent::Request { txn, request, .. } => {
                            let answer = match request {
                                CxRequest::Ppr(_) => CxAnswer::Ppa(Ppa {
                                    outcome: self.outcome,
                                }),
                                _ => CxAnswer::Rta(Rta {
                                    outcome: self.outcome,
                                }),
                            };
                            self.told.push(request);
                            self.s_cscf.answer(txn, &answer, &mut self.outs[0]);
                        }
                        CxEvent::Answer { answer, .. } => self.answers.push(answer),
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }

    fn is_located(&mut self) -> bool {
        self.ask(&CxRequest::Lir(Lir {
            public: IMPU.to_owned(),
            originating: false,
            authorization: None,
        }));
        self.answers.last().unwrap().outcome().is_success()
    }
}

fn sends(out: &mut Outbox) -> Vec<Bytes> {
    out.drain()
        .filter_map(|output| match output {
            Output::Send { bytes, .. } => Some(bytes),
            _ => None,
        })
        .collect()
}

fn frame(link: LinkId, bytes: Bytes) -> Frame {
    Frame {
        from: Party::Node(NodeName::new("x")),
        to: Party::Node(NodeName::new("y")),
        src: "192.0.2.3:40000".parse().unwrap(),
        dst: "192.0.2.4:3868".parse().unwrap(),
        on: RefPoint::Cx,
        format: Format::Diameter,
        link: Some(link),
        security: Security::Plain,
        bytes,
        framed: true,
    }
}

fn user() -> String {
    "ue-a".to_owned()
}

fn deregistration(reason: DeregistrationReason) -> CxRequest {
    CxRequest::Rtr(Rtr {
        private: PRIVATE.to_owned(),
        publics: Vec::new(),
        reason,
        text: None,
    })
}

#[test]
fn a_withdrawn_user_is_deregistered_at_its_s_cscf() {
    let mut bench = Bench::new(Outcome::Base(result::SUCCESS));
    assert!(bench.is_located());
    bench.act(&Action::Withdraw { user: user() });
    let expected = deregistration(DeregistrationReason::PermanentTermination);
    assert_eq!(vec![expected], bench.told);
    assert!(!bench.is_located());
}

#[test]
fn a_revoked_service_is_pushed_as_a_profile_without_criteria() {
    let mut bench = Bench::new(Outcome::Base(result::SUCCESS));
    bench.act(&Action::Revoke { user: user() });
    let [CxRequest::Ppr(ppr)] = &bench.told[..] else {
        panic!("{:?}", bench.told);
    };
    let profile = ppr.profile.as_ref().unwrap();
    assert_eq!(Some(IMPU), profile.default_identity());
    assert!(profile.services[0].criteria.is_empty());
    assert!(bench.is_located());
}

#[test]
fn a_profile_that_is_too_much_costs_the_registration() {
    let mut bench = Bench::new(experimental(cx::TOO_MUCH_DATA));
    bench.act(&Action::Revoke { user: user() });
    let expected = deregistration(DeregistrationReason::ServerChange);
    assert_eq!(Some(&expected), bench.told.get(1));
    assert!(!bench.is_located());
}

#[test]
fn a_user_the_s_cscf_does_not_know_is_not_registered() {
    let mut bench = Bench::new(experimental(cx::USER_UNKNOWN));
    bench.act(&Action::Revoke { user: user() });
    assert_eq!(1, bench.told.len());
    assert!(!bench.is_located());
}
