//! What the core sends to a UE, and what the UE answers (TS 24.229 5.2.6.4, read second-hand only).

use super::{
    Context, FROM_CORE_ONLY, Outgoing, PCscf, Refusal,
    users::{Dialog, DialogId, Side},
};
use crate::{
    io::Outbox,
    node::policy::Privacy,
    proto::{endpoint::ServerTxn, proxy::next_max_forwards},
    spec::RefPoint,
    time::At,
    wire::sip::{Message, Params},
};

#[derive(Debug)]
pub(super) struct ToUe {
    contact: String,
    /// The charging vector as the core sent it.
    charging: Option<String>,
    icid: String,
    /// Who the UE is in this request: P-Called-Party-ID, else its default identity.
    identity: Option<String>,
    /// The URIs of Record-Route as they came.
    record_route: Vec<String>,
}

impl ToUe {
    /// The dialog this request makes or is in: a UE that was called takes the recorded routes in order
    /// (RFC 3261 12.1.1).
    pub(super) fn dialog(&self) -> Dialog {
        Dialog {
            contact: self.contact.clone(),
            icid: self.icid.clone(),
            routes: vec![self.record_route.clone()],
        }
    }
}

impl PCscf {
    /// A request from the core (TS 24.229 5.2.6.4, second-hand).
    pub(super) fn terminate(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let outgoing = self.toward(at, request)?;
        let icid = icid_of(request).unwrap_or_else(|| self.icid().value);
        let uri = request.request_uri().unwrap_or_default();
        let user = self.users.addressed(at, uri);
        let called = request.addrs("P-Called-Party-ID").unwrap_or_default();
        let called = called.first().map(|called| called.uri.clone());
        let context = ToUe {
            contact: user.map_or_else(|| uri.to_owned(), |user| user.contact.clone()),
            charging: request
                .header("P-Charging-Vector")
                .map(|value| value.into_owned()),
            identity: called.or_else(|| user?.identities.first().cloned()),
            icid,
            record_route: request
                .addrs("Record-Route")
                .unwrap_or_default()
                .into_iter()
                .map(|route| route.uri)
                .collect(),
        };
        // The dialog of a subscriber is made by NOTIFY, not by the answer to it (RFC 6665 4.4.1).
        if let ("NOTIFY", Some(id)) = (request.method(), DialogId::of(request, Side::To)) {
            self.dialogs.learn(id, context.dialog());
        }
        let (to, context) = ((RefPoint::Gm, outgoing.to), Context::ToUe(context));
        self.forward(at, txn, request, context, to, outgoing.request, out);
        Ok(())
    }

    /// What of a request goes on to the UE, and where.
    pub(super) fn toward(&self, at: At, request: &Message) -> Result<Outgoing, Refusal> {
        let uri = request.request_uri().unwrap_or_default();
        let inside = DialogId::of(request, Side::To).is_some();
        if !inside && self.users.addressed(at, uri).is_none() {
            return Err(NO_BINDING);
        }
        let (topmost, routes) = self.split_routes(request)?;
        let to = self.next_hop(&routes, request, RefPoint::Gm)?;
        let edit = topmost
            .taken_off(request)
            .set("Max-Forwards", &next_max_forwards(request));
        let edit = match self.keeps_private(request) {
            true => edit.remove("P-Asserted-Identity"),
            false => edit,
        };
        let edit = self.recorded(self.hidden(edit), request, RefPoint::Gm);
        Ok(Outgoing {
            request: edit.finish(),
            to,
        })
    }

    /// Whether the other end is not told who asks (RFC 3323 4.2 and RFC 3325 7, clauses not verified).
    fn keeps_private(&self, request: &Message) -> bool {
        let asked = request.header("Privacy").unwrap_or_default();
        let mut wishes = asked.split(';').map(str::trim);
        match self.policy.privacy {
            Privacy::Kept => wishes.any(|wish| wish.eq_ignore_ascii_case("id")),
            Privacy::KeptAlone => asked.trim().eq_ignore_ascii_case("id"),
            Privacy::Broken => false,
        }
    }

    /// TS 24.229 5.2.6.4.4 step 1 (second-hand): the identity that was called is the one asserted, and
    /// nothing the UE says of itself passes.
    pub(super) fn response_from_ue(&self, response: &Message, context: &ToUe) -> Message {
        let edit = response.edit();
        let mut edit = match self.policy.strips_assertions {
            true => FROM_CORE_ONLY
                .iter()
                .fold(edit, |edit, name| edit.remove(name)),
            false => edit,
        };
        if let Some(charging) = &context.charging {
            edit = edit.set("P-Charging-Vector", charging);
        }
        let tells = response
            .status()
            .is_some_and(|status| (101..300).contains(&status));
        if let (true, true, Some(identity)) =
            (tells, self.policy.asserts_identity, &context.identity)
        {
            edit = edit.set("P-Asserted-Identity", &format!("<{identity}>"));
        }
        self.turned(edit, response, Side::To).finish()
    }
}

fn icid_of(request: &Message) -> Option<String> {
    let vector = request.header("P-Charging-Vector")?;
    let params = Params::parse(&format!(";{vector}")).ok()?;
    params.unquoted("icid-value")
}

/// No clause was found for the code.
const NO_BINDING: Refusal = Refusal(480, "nobody is registered under the Request-URI");
