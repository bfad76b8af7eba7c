//! What a registered UE sends (TS 24.229 5.2.6.3, read second-hand only): on the route it was given, under
//! an identity it registered, inside dialogs of its own.

use super::{
    Context, FROM_CORE_ONLY, ON_GM_ONLY, Outgoing, PCscf, Refusal, Topmost, UNREGISTERED,
    charging_vector, drop_tag, opens_dialog,
    users::{Dialog, DialogId, Side, User, same_hop},
};
use crate::{
    io::Outbox,
    node::{
        media_policy,
        policy::{Admission, RouteMismatch},
    },
    proto::{
        endpoint::{ServerTxn, Source},
        proxy::next_max_forwards,
    },
    spec::{RefPoint, Role},
    time::At,
    wire::sip::{Edit, Message, Uri},
};

#[derive(Debug)]
pub(super) struct FromUe {
    pub contact: String,
    pub icid: String,
}

impl PCscf {
    pub(super) fn originate(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        source: &Source,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let user = self.sender(at, source, request).ok_or(UNREGISTERED)?;
        let allowed = self.policy.allowed_media;
        if let Some(kind) = media_policy::barred(request, allowed) {
            out.note("refused", format!("INVITE 488: {kind} is not allowed"));
            let tag = self.random.token(10);
            let refusal = media_policy::refusal(request, allowed, self.ip, &tag);
            self.sip.respond(at, txn, refusal, false, out);
            return Ok(());
        }
        let (outgoing, icid) = match DialogId::of(request, Side::From) {
            Some(id) => self.inside_dialog(&user, &id, request)?,
            None => self.outside_dialog(&user, request)?,
        };
        let context = Context::FromUe(FromUe {
            contact: user.contact,
            icid,
        });
        let to = (RefPoint::Mw, outgoing.to);
        self.forward(at, txn, request, context, to, outgoing.request, out);
        Ok(())
    }

    /// Whose request this is. With [`Admission::Anyone`], a stranger is who From says, and
    /// goes the way of whoever is registered.
    pub(super) fn sender(&self, at: At, source: &Source, request: &Message) -> Option<User> {
        let ip = source.addr.ip();
        let alone = self.directory.nodes.values().filter(|n| n.ip == ip).count() <= 1;
        let known = self.users.sender(at, source, request, alone).cloned();
        match self.policy.admits {
            Admission::Registered => known,
            Admission::Anyone => known.or_else(|| {
                let routes = request.addrs("Route").unwrap_or_default();
                let mut routes: Vec<String> = routes.into_iter().map(|route| route.uri).collect();
                routes.retain(|route| !self.is_own(route));
                if routes.is_empty() {
                    routes = self.users.some_route(at);
                }
                Some(User {
                    contact: request.addrs("Contact").ok()?.first()?.uri.clone(),
                    source: source.clone(),
                    identities: vec![request.from().ok()?.uri],
                    service_route: routes,
                    until: at,
                })
            }),
        }
    }

    /// An initial or standalone request, and its charging identifier (TS 24.229 5.2.6.3.3, 5.2.6.3.7, second-hand).
    fn outside_dialog(
        &mut self,
        user: &User,
        request: &Message,
    ) -> Result<(Outgoing, String), Refusal> {
        let (topmost, routes) = self.split_routes(request)?;
        let (edit, routes) = self.keep_to(
            std::slice::from_ref(&user.service_route),
            topmost,
            routes,
            request,
        )?;
        let to = self.next_hop(&routes, request, RefPoint::Mw)?;
        let icid = self.icid();
        let edit = self
            .stripped(edit, request)
            .set("Max-Forwards", &next_max_forwards(request))
            .set("P-Charging-Vector", &icid.header);
        let edit = self.asserting(edit, user, request);
        let edit = self.recorded(edit, request, RefPoint::Mw);
        let request = edit.finish();
        Ok((Outgoing { request, to }, icid.value))
    }

    /// A request inside a dialog: only inside one of the sender's own, along its recorded route
    /// (TS 24.229 5.2.6.3.5, 5.2.6.3.9, second-hand).
    pub(super) fn inside_dialog(
        &self,
        user: &User,
        id: &DialogId,
        request: &Message,
    ) -> Result<(Outgoing, String), Refusal> {
        let dialog = self.dialogs.get(id);
        let dialog = dialog
            .filter(|dialog| dialog.contact == user.contact || !self.policy.guards_dialogs)
            .ok_or(FOREIGN_DIALOG)?;
        let (topmost, routes) = self.split_routes(request)?;
        // Whoever lets others into a dialog lets them in by their own way.
        let lawful = match dialog.contact == user.contact {
            true => dialog.routes.clone(),
            false => vec![routes.clone()],
        };
        let (edit, routes) = self.keep_to(&lawful, topmost, routes, request)?;
        let to = self.next_hop(&routes, request, RefPoint::Mw)?;
        let edit = self
            .stripped(edit, request)
            .set("Max-Forwards", &next_max_forwards(request))
            .set("P-Charging-Vector", &charging_vector(&dialog.icid));
        let edit = match self.policy.asserts_inside_dialogs {
            true => self.asserting(edit, user, request),
            false => edit,
        };
        let edit = self.recorded(edit, request, RefPoint::Mw);
        let request = edit.finish();
        Ok((Outgoing { request, to }, dialog.icid.clone()))
    }

    fn asserting<'a>(&self, edit: Edit<'a>, user: &User, request: &Message) -> Edit<'a> {
        let identities = asserted(user, request);
        match self.policy.asserts_identity && !identities.is_empty() {
            true => edit.set("P-Asserted-Identity", &identities.join(", ")),
            false => edit,
        }
    }

    /// Takes our own route off, and holds the others against those the request may take.
    fn keep_to<'a>(
        &self,
        lawful: &[Vec<String>],
        topmost: Topmost,
        found: Vec<String>,
        request: &'a Message,
    ) -> Result<(Edit<'a>, Vec<String>), Refusal> {
        let same = |routes: &Vec<String>| {
            routes.len() == found.len()
                && routes
                    .iter()
                    .zip(&found)
                    .all(|(one, other)| same_hop(one, other))
        };
        if lawful.iter().any(same) {
            return Ok((topmost.taken_off(request), found));
        }
        let contains = |routes: &Vec<String>| {
            let mut places = found.windows(routes.len().max(1));
            places.any(|place| {
                let mut hops = place.iter().zip(routes);
                hops.all(|(one, other)| same_hop(one, other))
            })
        };
        match self.policy.route_mismatch {
            RouteMismatch::PassContaining if lawful.iter().any(contains) => {
                Ok((topmost.taken_off(request), found))
            }
            RouteMismatch::PassNone if found.is_empty() => {
                Ok((topmost.taken_off(request), self.i_cscf()))
            }
            RouteMismatch::PassContaining | RouteMismatch::PassNone => Err(OTHER_ROUTE),
            RouteMismatch::Refuse => Err(OTHER_ROUTE),
            RouteMismatch::Replace => {
                let routes = lawful.first().cloned().unwrap_or_default();
                let mut edit = request.edit().remove("Route");
                if !routes.is_empty() {
                    edit = edit.set("Route", &bracketed_list(&routes));
                }
                Ok((edit, routes))
            }
            RouteMismatch::Pass => Ok((topmost.taken_off(request), found)),
        }
    }

    /// The URI of the I-CSCF, if there is one.
    fn i_cscf(&self) -> Vec<String> {
        let (_, node) = self.directory.first(Role::ICscf).unzip();
        node.map(|node| format!("sip:{}", node.host))
            .into_iter()
            .collect()
    }

    /// Takes off what a UE may not say to the core.
    fn stripped<'a>(&self, edit: Edit<'a>, request: &Message) -> Edit<'a> {
        let edit = match self.policy.strips_assertions {
            true => FROM_CORE_ONLY
                .iter()
                .fold(edit, |edit, name| edit.remove(name)),
            false => edit,
        };
        let edit = ON_GM_ONLY.iter().fold(edit, |edit, name| edit.remove(name));
        drop_tag(drop_tag(edit, request, "Require"), request, "Proxy-Require")
    }

    pub(super) fn response_to_ue(&self, response: &Message) -> Message {
        let edit = self.hidden(response.edit());
        self.turned(edit, response, Side::From).finish()
    }

    /// A UE that called takes the recorded routes in reverse (RFC 3261 12.1.2).
    pub(super) fn learn_as_caller(
        &mut self,
        request: &Message,
        response: &Message,
        contact: String,
        icid: String,
    ) {
        if !opens_dialog(request, response) {
            return;
        }
        let (Some(id), Ok(recorded)) = (
            DialogId::of(response, Side::From),
            response.addrs("Record-Route"),
        ) else {
            return;
        };
        let mut routes: Vec<String> = recorded.into_iter().rev().map(|r| r.uri).collect();
        if routes.first().is_some_and(|first| self.is_own(first)) {
            routes.remove(0);
        }
        let dialog = Dialog {
            contact,
            icid,
            routes: vec![routes],
        };
        self.dialogs.learn(id, dialog);
    }
}

/// The identities to assert: of those preferred, the first SIP and the first tel URI that are
/// registered, else the default identity. From takes no part (TS 24.229 5.2.6.3.1, second-hand).
fn asserted(user: &User, request: &Message) -> Vec<String> {
    let preferred = request.addrs("P-Preferred-Identity").unwrap_or_default();
    let registered = |scheme: &[&str]| {
        preferred.iter().map(|addr| &addr.uri).find(|uri| {
            scheme.iter().any(|s| uri.starts_with(s))
                && user
                    .identities
                    .iter()
                    .any(|known| same_identity(known, uri))
        })
    };
    let chosen: Vec<&String> = [registered(&["sip:", "sips:"]), registered(&["tel:"])]
        .into_iter()
        .flatten()
        .collect();
    let chosen = match chosen.is_empty() {
        true => user.identities.first().into_iter().collect(),
        false => chosen,
    };
    chosen.iter().map(|uri| format!("<{uri}>")).collect()
}

fn same_identity(one: &str, other: &str) -> bool {
    match (Uri::parse(one), Uri::parse(other)) {
        (Ok(one), Ok(other)) => one.same_user(&other),
        _ => one == other,
    }
}

fn bracketed_list(uris: &[String]) -> String {
    let values: Vec<String> = uris.iter().map(|uri| format!("<{uri}>")).collect();
    values.join(", ")
}

const FOREIGN_DIALOG: Refusal = Refusal(403, "the dialog is not the sender's");

const OTHER_ROUTE: Refusal = Refusal(400, "Route is not the one that was given");
