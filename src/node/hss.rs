//! HSS: who may register, with what secret, where they are served, and what is done for them. Speaks
//! Diameter on Cx and nothing else; the procedures are those of TS 29.228 6.1 to 6.3.
//!
//! IMS restoration procedures (TS 23.380) are not supported, nor are wildcarded identities, shared public
//! identities or emergency registration: every subscription has one private identity, and its public
//! identities form one implicit registration set.

mod register;

pub(super) use register::MESSAGES_ONLY;

use std::collections::BTreeMap;

use super::{Node, Setup, setup::Directory};
use crate::{
    io::{Action, Input, Outbox},
    proto::cx::{
        CxAnswer, CxEndpoint, CxEvent, CxIdentity, CxRequest, CxTimers, CxTxn,
        DeregistrationReason, Ppr, Rtr, profile::Profile,
    },
    random::derive,
    spec::{Format, RefPoint, Role},
    time::At,
    wire::diameter::{Outcome, dictionary::experimental as cx},
};
use register::Register;

pub fn build(setup: Setup) -> Box<dyn Node> {
    Box::new(Hss::new(&setup))
}

/// The profiles that the HSS gives its S-CSCFs: of every subscriber, and of the tracker's public service identity.
pub fn profiles(setup: &Setup) -> Vec<Profile> {
    Register::new(setup).profiles()
}

/// The Cx side of a node: its own identity, and the HSS as the peer it may connect to.
pub(super) fn cx_endpoint(setup: &Setup) -> CxEndpoint {
    let me = CxIdentity {
        host: setup
            .directory
            .nodes
            .get(&setup.name)
            .map_or_else(|| setup.name.to_string(), |node| node.host.clone()),
        realm: setup.directory.domain.clone(),
        ip: setup.ip,
    };
    let known = setup
        .directory
        .nodes
        .iter()
        .filter(|(name, node)| node.role == Role::Hss && **name != setup.name)
        .filter_map(|(name, node)| {
            let addr = setup
                .directory
                .listener(name.as_str(), RefPoint::Cx, Format::Diameter)?;
            Some((node.host.clone(), addr))
        });
    let seed = derive(setup.seed, &["cx"]);
    CxEndpoint::new(me, known.collect(), CxTimers::default(), seed)
}

/// The Origin-Host of the HSS; empty if there is none, so that asking it fails.
pub(super) fn hss_host(directory: &Directory) -> String {
    directory
        .first(Role::Hss)
        .map(|(_, node)| node.host.clone())
        .unwrap_or_default()
}

struct Hss {
    cx: CxEndpoint,
    register: Register,
    /// What an S-CSCF was told and has not yet acknowledged.
    told: BTreeMap<CxTxn, Told>,
}

/// A request of ours to an S-CSCF, about one private identity.
#[derive(Clone, Debug)]
enum Told {
    Deregistered(String),
    Changed(String),
}

impl Hss {
    fn new(setup: &Setup) -> Hss {
        Hss {
            cx: cx_endpoint(setup),
            register: Register::new(setup),
            told: BTreeMap::new(),
        }
    }

    fn event(&mut self, at: At, event: CxEvent, out: &mut Outbox) {
        match event {
            CxEvent::Request { txn, from, request } => {
                let answer = self.register.answer(&from, &request);
                if !answer.outcome().is_success() {
                    out.note("refused", format!("{}", answer.outcome()));
                }
                self.cx.answer(txn, &answer, out);
            }
            CxEvent::Answer { txn, answer, .. } => self.acknowledged(at, txn, &answer, out),
            CxEvent::Failed { txn, why } => {
                if let Some(told) = self.told.remove(&txn) {
                    out.note("undelivered", format!("{}: {why}", told.private()));
                }
            }
            CxEvent::Unreadable { malformed } => out.note("unreadable", malformed.to_string()),
        }
    }

    fn act(&mut self, at: At, action: &Action, out: &mut Outbox) {
        match action {
            Action::Withdraw { user } => {
                let Some(private) = self.register.private_of(user) else {
                    return out.note("unknown", format!("no subscriber {user}"));
                };
                self.deregister(
                    at,
                    &private,
                    DeregistrationReason::PermanentTermination,
                    out,
                );
            }
            Action::Revoke { user } => {
                let Some(private) = self.register.private_of(user) else {
                    return out.note("unknown", format!("no subscriber {user}"));
                };
                self.revoke(at, &private, out);
            }
            _ => {}
        }
    }

    /// Ends a user's registration and tells the S-CSCF (TS 29.228 6.1.3.1).
    fn deregister(
        &mut self,
        at: At,
        private: &str,
        reason: DeregistrationReason,
        out: &mut Outbox,
    ) {
        let Some(record) = self.register.record_mut(private) else {
            return;
        };
        let Some(host) = record.diameter_host.clone() else {
            return out.note("unserved", format!("{private} has no S-CSCF"));
        };
        record.clear();
        let rtr = CxRequest::Rtr(Rtr {
            private: private.to_owned(),
            publics: Vec::new(),
            reason,
            text: None,
        });
        let txn = self.cx.ask(at, &host, &rtr, out);
        self.told
            .insert(txn, Told::Deregistered(private.to_owned()));
    }

    /// Takes the service out of a user's profile and tells the S-CSCF, if one has it (TS 29.228 6.6.1).
    fn revoke(&mut self, at: At, private: &str, out: &mut Outbox) {
        let Some(record) = self.register.record_mut(private) else {
            return;
        };
        record.criteria.clear();
        let profile = record.profile();
        let Some(host) = record.diameter_host.clone() else {
            return;
        };
        let ppr = CxRequest::Ppr(Ppr {
            private: private.to_owned(),
            profile: Some(profile),
            charging: None,
            digest: None,
        });
        let txn = self.cx.ask(at, &host, &ppr, out);
        self.told.insert(txn, Told::Changed(private.to_owned()));
    }

    /// TS 29.228 6.2.2.1: a profile the S-CSCF cannot take costs it the user; one it cannot place is of a
    /// user it does not have.
    fn acknowledged(&mut self, at: At, txn: CxTxn, answer: &CxAnswer, out: &mut Outbox) {
        let Some(told) = self.told.remove(&txn) else {
            return;
        };
        let outcome = answer.outcome();
        if outcome.is_success() {
            return;
        }
        out.note("refused", format!("{}: {outcome}", told.private()));
        let Told::Changed(private) = told else {
            return;
        };
        match outcome {
            Outcome::Experimental {
                code: cx::USER_UNKNOWN,
                ..
            } => {
                if let Some(record) = self.register.record_mut(&private) {
                    record.clear();
                }
            }
            Outcome::Experimental {
                code: cx::TOO_MUCH_DATA | cx::NOT_SUPPORTED_USER_DATA,
                ..
            } => {
                self.deregister(at, &private, DeregistrationReason::ServerChange, out);
            }
            _ => {}
        }
    }
}

impl Told {
    fn private(&self) -> &str {
        let (Told::Deregistered(private) | Told::Changed(private)) = self;
        private
    }
}

impl Node for Hss {
    fn role(&self) -> Role {
        Role::Hss
    }

    fn handle(&mut self, at: At, input: Input<'_>, out: &mut Outbox) {
        if let Input::Act(action) = input {
            return self.act(at, action, out);
        }
        for event in self.cx.take(at, &input, out).unwrap_or_default() {
            self.event(at, event, out);
        }
    }
}

#[cfg(test)]
mod tests;
