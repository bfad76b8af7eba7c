//! Who is registered through this P-CSCF and which dialogs they are in. No message is made here.

use std::collections::BTreeMap;

use crate::{
    proto::endpoint::Source,
    time::At,
    wire::{
        frame::LinkId,
        sip::{Message, Uri},
    },
};

/// A registered user agent, as its REGISTER and the 200 to it told.
#[derive(Clone, Debug)]
pub(super) struct User {
    /// The Contact's URI, as registered.
    pub contact: String,
    /// Where the REGISTER came from.
    pub source: Source,
    /// Public identities, the default first.
    pub identities: Vec<String>,
    /// The URIs of Service-Route, in order.
    pub service_route: Vec<String>,
    pub until: At,
}

/// Registered users by Contact URI.
#[derive(Debug, Default)]
pub(super) struct Users(BTreeMap<String, User>);

impl Users {
    pub fn put(&mut self, user: User) {
        self.0.insert(user.contact.clone(), user);
    }

    /// Removes a binding; true if it was there.
    pub fn remove(&mut self, contact: &str) -> bool {
        self.0.remove(contact).is_some()
    }

    /// Removes every binding of an identity and gives their Contacts.
    pub fn remove_all_of(&mut self, identity: &str) -> Vec<String> {
        self.remove_if(|user| user.identities.iter().any(|known| known == identity))
    }

    /// The Contacts of an identity.
    pub fn contacts_of(&self, identity: &str) -> Vec<String> {
        let is_its = |user: &&User| user.identities.iter().any(|known| known == identity);
        let users = self.0.values().filter(is_its);
        users.map(|user| user.contact.clone()).collect()
    }

    /// Removes what has ended and gives the Contacts.
    pub fn remove_expired(&mut self, at: At) -> Vec<String> {
        self.remove_if(|user| user.until <= at)
    }

    pub fn get(&self, at: At, contact: &str) -> Option<&User> {
        self.0.get(contact).filter(|user| user.until > at)
    }

    /// Whose request this is: by the connection, by the address, by the address in Via, and, where
    /// `alone` says that nobody else has the sender's IP address, by that. What the request says of its
    /// sender otherwise takes no part.
    pub fn sender(&self, at: At, source: &Source, request: &Message, alone: bool) -> Option<&User> {
        let near: Vec<&User> = self
            .0
            .values()
            .filter(|user| user.until > at && user.source.addr.ip() == source.addr.ip())
            .collect();
        let sent_by = request.top_via().ok().map(|via| (via.host, via.port));
        let find = |fits: &dyn Fn(&User) -> bool| near.iter().copied().find(|user| fits(user));
        find(&|user| same_link(user.source.link, source.link))
            .or_else(|| find(&|user| user.source.addr == source.addr))
            .or_else(|| find(&|user| host_and_port(&user.contact) == sent_by))
            .or_else(|| near.first().copied().filter(|_| alone))
    }

    /// The Service-Route of somebody who is registered.
    pub fn some_route(&self, at: At) -> Vec<String> {
        let mut users = self.0.values().filter(|user| user.until > at);
        users
            .next()
            .map_or_else(Vec::new, |user| user.service_route.clone())
    }

    /// The user whose Contact a Request-URI names: the same user part, host and port.
    pub fn addressed(&self, at: At, uri: &str) -> Option<&User> {
        self.get(at, uri).or_else(|| {
            self.0
                .values()
                .find(|user| user.until > at && same_place(&user.contact, uri))
        })
    }

    fn remove_if(&mut self, gone: impl Fn(&User) -> bool) -> Vec<String> {
        let contacts: Vec<String> = self
            .0
            .values()
            .filter(|user| gone(user))
            .map(|user| user.contact.clone())
            .collect();
        for contact in &contacts {
            self.0.remove(contact);
        }
        contacts
    }
}

/// A dialog by Call-ID, the tag of our user and the tag of the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DialogId {
    pub call_id: String,
    pub ours: String,
    pub theirs: String,
}

impl DialogId {
    /// The dialog of a message: our user is where From (or To) stands.
    pub fn of(message: &Message, ours: Side) -> Option<DialogId> {
        let from = message.from().ok()?.tag()?.to_owned();
        let to = message.to().ok()?.tag()?.to_owned();
        let (ours, theirs) = match ours {
            Side::From => (from, to),
            Side::To => (to, from),
        };
        Some(DialogId {
            call_id: message.call_id().ok()?,
            ours,
            theirs,
        })
    }
}

/// The header of a message in which our user stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    From,
    To,
}

#[derive(Clone, Debug)]
pub(super) struct Dialog {
    /// The Contact of the user it belongs to.
    pub contact: String,
    /// The charging identifier of the request that made it.
    pub icid: String,
    /// The URIs our user's requests have to take after us, in order. A subscriber's may be known twice:
    /// by the answer to SUBSCRIBE and by NOTIFY, whichever it goes by (RFC 6665 4.4.1: by NOTIFY).
    pub routes: Vec<Vec<String>>,
}

/// Dialogs on whose path we stay. Holds at most `MOST_DIALOGS`; more are not learnt.
#[derive(Debug, Default)]
pub(super) struct Dialogs(BTreeMap<DialogId, Dialog>);

impl Dialogs {
    /// A dialog, or one more route of a known one.
    pub fn learn(&mut self, id: DialogId, dialog: Dialog) {
        let has_room = self.0.len() < MOST_DIALOGS;
        match self.0.get_mut(&id) {
            Some(known) => {
                for routes in dialog.routes {
                    if known.routes.len() < MOST_ROUTES && !known.routes.contains(&routes) {
                        known.routes.push(routes);
                    }
                }
            }
            None if has_room => {
                self.0.insert(id, dialog);
            }
            None => (),
        }
    }

    pub fn get(&self, id: &DialogId) -> Option<&Dialog> {
        self.0.get(id)
    }

    pub fn forget(&mut self, id: &DialogId) {
        self.0.remove(id);
    }

    pub fn forget_all_of(&mut self, contact: &str) {
        self.0.retain(|_, dialog| dialog.contact != contact);
    }
}

/// Whether two URIs of Route headers name the same hop: compared URI by URI (TS 24.229 5.2.6.3.3 step 2,
/// second-hand), hosts without case, parameters in any order.
pub(super) fn same_hop(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (Uri::parse(one), Uri::parse(other)) else {
        return one == other;
    };
    let sorted = |uri: &Uri| {
        let mut params: Vec<(String, Option<String>)> = uri.params.0.clone();
        for (name, _) in &mut params {
            name.make_ascii_lowercase();
        }
        params.sort();
        params
    };
    one.scheme == other.scheme
        && one.user == other.user
        && one.host.eq_ignore_ascii_case(&other.host)
        && one.port == other.port
        && sorted(&one) == sorted(&other)
}

fn same_link(one: Option<LinkId>, other: Option<LinkId>) -> bool {
    one.is_some() && one == other
}

fn same_place(one: &str, other: &str) -> bool {
    match (Uri::parse(one), Uri::parse(other)) {
        (Ok(one), Ok(other)) => {
            one.user == other.user
                && one.host.eq_ignore_ascii_case(&other.host)
                && one.port == other.port
        }
        _ => false,
    }
}

fn host_and_port(uri: &str) -> Option<(String, Option<u16>)> {
    let uri = Uri::parse(uri).ok()?;
    Some((uri.host, uri.port))
}

const MOST_DIALOGS: usize = 1 << 20;

const MOST_ROUTES: usize = 4;
