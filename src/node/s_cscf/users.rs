//! Whom this S-CSCF serves: profiles, contacts, and when they run out. A table; the registrar fills it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{filter, home::canonical};
use crate::{
    proto::cx::profile::{InitialFilterCriteria, Profile},
    time::At,
    wire::sip::{Message, NameAddr, Params, Uri},
};

/// Everybody this S-CSCF serves, by private identity.
#[derive(Debug, Default)]
pub struct Users {
    users: BTreeMap<String, User>,
    /// Private identities by public one, in canonical form.
    privates: BTreeMap<String, String>,
    /// Private identities by when a binding runs out.
    expiries: BTreeSet<(At, String)>,
}

/// One private identity and its implicitly registered public identities.
#[derive(Debug, Default)]
pub struct User {
    profile: Option<Profile>,
    /// What is done for each public identity, by canonical form.
    services: BTreeMap<String, Service>,
    bindings: Vec<Binding>,
    /// Its REGISTER as last accepted: application servers may want it.
    pub register: Option<Message>,
    /// Third-party registrations by application server: Call-ID and last CSeq.
    pub third_parties: BTreeMap<String, (String, u32)>,
}

/// A contact and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub contact: NameAddr,
    pub features: Params,
    /// Name-addrs, as the P-CSCF gave them (RFC 3327).
    pub path: Vec<String>,
    pub until: At,
    pub call_id: String,
    pub cseq: u32,
}

/// What is done for a public identity.
#[derive(Clone, Debug)]
struct Service {
    barred: bool,
    criteria: Arc<Vec<InitialFilterCriteria>>,
    ids: Option<Arc<Vec<String>>>,
    media_profile: Option<u32>,
}

/// A served user and one of its identities.
#[derive(Clone, Debug)]
pub struct Served {
    pub private: String,
    pub barred: bool,
    pub registered: bool,
    /// In order of priority.
    pub criteria: Arc<Vec<InitialFilterCriteria>>,
    /// `None`: every service is allowed (TS 29.228 B.2.1A).
    pub services: Option<Arc<Vec<String>>>,
    /// `None`: every medium is allowed (TS 29.228 B.2.1A).
    pub media_profile: Option<u32>,
}

impl Users {
    /// Who has this public identity, as far as a profile says so.
    pub fn find(&self, identity: &str) -> Option<Served> {
        let identity = canonical(identity);
        let private = self.privates.get(&identity)?;
        let user = self.users.get(private)?;
        let service = user.services.get(&identity)?;
        Some(Served {
            private: private.clone(),
            barred: service.barred,
            registered: !user.bindings.is_empty(),
            criteria: service.criteria.clone(),
            services: service.ids.clone(),
            media_profile: service.media_profile,
        })
    }

    /// The bindings of a private identity.
    pub fn bindings(&self, private: &str) -> &[Binding] {
        self.users
            .get(private)
            .map_or(&[], |user| user.bindings.as_slice())
    }

    pub fn get(&self, private: &str) -> Option<&User> {
        self.users.get(private)
    }

    pub fn get_mut(&mut self, private: &str) -> Option<&mut User> {
        self.users.get_mut(private)
    }

    /// Keeps a profile; it overwrites what was there (TS 29.228 6.6.1).
    pub fn keep_profile(&mut self, private: &str, profile: Profile) {
        let user = self.users.entry(private.to_owned()).or_default();
        for identity in user.services.keys() {
            self.privates.remove(identity);
        }
        user.services = services(&profile);
        for identity in user.services.keys() {
            self.privates.insert(identity.clone(), private.to_owned());
        }
        user.profile = Some(profile);
    }

    /// Replaces the bindings; gives those whose contact is bound no more.
    pub fn bind(&mut self, private: &str, bindings: Vec<Binding>) -> Vec<Binding> {
        let user = self.users.entry(private.to_owned()).or_default();
        for old in &user.bindings {
            self.expiries.remove(&(old.until, private.to_owned()));
        }
        for new in &bindings {
            self.expiries.insert((new.until, private.to_owned()));
        }
        let before = std::mem::replace(&mut user.bindings, bindings);
        let stays = |old: &Binding| {
            user.bindings
                .iter()
                .any(|new| same_contact(&new.contact.uri, &old.contact.uri))
        };
        before.into_iter().filter(|old| !stays(old)).collect()
    }

    /// Forgets a user altogether.
    pub fn remove(&mut self, private: &str) {
        self.bind(private, Vec::new());
        if let Some(user) = self.users.remove(private) {
            for identity in user.services.keys() {
                self.privates.remove(identity);
            }
        }
    }

    /// When the next binding runs out.
    pub fn next_expiry(&self) -> Option<At> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Drops what has run out; gives it by private identity.
    pub fn expire(&mut self, at: At) -> Vec<(String, Vec<Binding>)> {
        let due: BTreeSet<String> = self
            .expiries
            .iter()
            .take_while(|(until, _)| *until <= at)
            .map(|(_, private)| private.clone())
            .collect();
        due.into_iter()
            .map(|private| {
                let bindings = self.bindings(&private).iter();
                let stay = bindings.filter(|binding| binding.until > at).cloned();
                let stay = stay.collect();
                let gone = self.bind(&private, stay);
                (private, gone)
            })
            .collect()
    }
}

impl User {
    /// The public identities a UE may use, the default first (TS 24.229 5.4.1.2.2F, second-hand).
    pub fn associated(&self) -> Vec<&str> {
        self.profile
            .iter()
            .flat_map(Profile::identities)
            .filter(|public| !public.barred)
            .map(|public| public.identity.as_str())
            .collect()
    }

    /// Any of its public identities: all the HSS needs to find it.
    pub fn some_identity(&self) -> Option<&str> {
        let mut identities = self.profile.iter().flat_map(Profile::identities);
        identities.next().map(|public| public.identity.as_str())
    }

    pub fn has_profile(&self) -> bool {
        self.profile.is_some()
    }
}

fn services(profile: &Profile) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::new();
    for service in &profile.services {
        let criteria = Arc::new(filter::by_priority(&service.criteria));
        let ids = service
            .authorization
            .as_ref()
            .and_then(|authorization| authorization.service_ids.clone())
            .map(Arc::new);
        let media_profile = service.authorization.as_ref().and_then(|a| a.media_profile);
        for public in &service.identities {
            services.insert(
                canonical(&public.identity),
                Service {
                    barred: public.barred,
                    criteria: criteria.clone(),
                    ids: ids.clone(),
                    media_profile,
                },
            );
        }
    }
    services
}

/// Same user, host and port; parameters that only say how to get there aside.
pub fn same_contact(a: &str, b: &str) -> bool {
    match (Uri::parse(a), Uri::parse(b)) {
        (Ok(a), Ok(b)) => a.same_user(&b) && a.port == b.port,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proto::cx::profile::{PublicIdentity, ServiceProfile};

    fn at(seconds: u64) -> At {
        At::ZERO + Duration::from_secs(seconds)
    }

    fn binding(uri: &str, until: u64) -> Binding {
        Binding {
            contact: NameAddr::new(uri),
            features: Params::default(),
            path: Vec::new(),
            until: at(until),
            call_id: String::new(),
            cseq: 1,
        }
    }

    fn profile(identity: &str) -> Profile {
        Profile {
            private: "a".to_owned(),
            services: vec![ServiceProfile {
                identities: vec![PublicIdentity {
                    identity: identity.to_owned(),
                    ..PublicIdentity::default()
                }],
                ..ServiceProfile::default()
            }],
        }
    }

    #[test]
    fn an_identity_is_found_in_any_spelling_until_its_profile_changes() {
        let mut users = Users::default();
        users.keep_profile("a", profile("sip:a@IMS.example"));
        assert!(users.find("sip:a@ims.example;user=phone").is_some());
        users.keep_profile("a", profile("sip:b@ims.example"));
        assert!(users.find("sip:a@ims.example").is_none());
        assert!(!users.find("sip:b@ims.example").unwrap().registered);
        users.remove("a");
        assert!(users.find("sip:b@ims.example").is_none());
    }

    #[test]
    fn what_runs_out_goes_and_the_rest_stays() {
        let mut users = Users::default();
        users.bind("a", vec![binding("sip:a@x", 10), binding("sip:a@y", 20)]);
        users.bind("b", vec![binding("sip:b@x", 10)]);
        assert_eq!(Some(at(10)), users.next_expiry());
        let gone = users.expire(at(10));
        assert_eq!(2, gone.len());
        assert_eq!(vec![binding("sip:a@x", 10)], gone[0].1);
        assert_eq!(Some(at(20)), users.next_expiry());
        assert!(users.bindings("b").is_empty());
    }

    #[test]
    fn a_refreshed_binding_does_not_run_out_at_its_old_end() {
        let mut users = Users::default();
        users.bind("a", vec![binding("sip:a@x", 10)]);
        assert!(users.bind("a", vec![binding("sip:a@x", 30)]).is_empty());
        assert_eq!(Some(at(30)), users.next_expiry());
        assert!(users.expire(at(10)).is_empty());
    }
}
