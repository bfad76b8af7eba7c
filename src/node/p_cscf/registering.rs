//! REGISTER on its way to the registrar, and what its answer teaches (TS 24.229 5.2.2, read second-hand
//! only).

use std::time::Duration;

use super::{
    Context, FROM_CORE_ONLY, NOWHERE, ON_GM_ONLY, PCscf, Refusal, UNREADABLE, drop_tag,
    users::{User, same_hop},
    without_tag,
};
use crate::{
    io::Outbox,
    proto::{
        digest::{Algorithm, AuthValue},
        endpoint::{ServerTxn, Source},
        proxy::{Up, next_max_forwards},
    },
    spec::{Format, RefPoint, Role},
    time::At,
    wire::sip::{Builder, Edit, Message},
};

#[derive(Debug)]
pub(super) struct Registering {
    source: Source,
    identity: String,
    /// The Contacts of the request: URIs, or `*`.
    contacts: Vec<String>,
    /// What our Security-Server says, if the UE speaks security agreement.
    security_server: Option<String>,
}

impl PCscf {
    /// TS 24.229 5.2.2.1 (second-hand): Path, Require: path, P-Visited-Network-ID, charging vector,
    /// integrity-protected; security agreement stays on Gm.
    pub(super) fn register(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        source: &Source,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let verified = request.values("Security-Verify");
        if !verified.is_empty() && verified != [SECURITY_SERVER] {
            return self.disagree(at, txn, request, out);
        }
        let identity = request.to().map_err(|_| UNREADABLE)?.uri;
        let contacts = request.addrs("Contact").map_err(|_| UNREADABLE)?;
        let (icscf, _) = self.directory.first(Role::ICscf).ok_or(NOWHERE)?;
        let to = self
            .directory
            .listener(icscf.as_str(), RefPoint::Mw, Format::Sip)
            .ok_or(NOWHERE)?;
        let icid = self.icid();
        let mut edit = outsiders(request)
            .set("Max-Forwards", &next_max_forwards(request))
            .remove("Route")
            .remove("Path")
            .append("Path", &format!("<{}>", self.path()))
            .append("P-Visited-Network-ID", &self.directory.domain)
            .append("P-Charging-Vector", &icid.header);
        let mut required = without_tag(request, "Require", "sec-agree");
        required.retain(|tag| !tag.eq_ignore_ascii_case("path"));
        required.push("path".to_owned());
        edit = edit.set("Require", &required.join(", "));
        edit = self.unprotected(edit, request);
        let context = Context::Register(Registering {
            source: source.clone(),
            identity,
            contacts: contacts.into_iter().map(|contact| contact.uri).collect(),
            security_server: request
                .has("Security-Client")
                .then(|| SECURITY_SERVER.to_owned()),
        });
        self.forward(
            at,
            txn,
            request,
            context,
            (RefPoint::Mw, to),
            edit.finish(),
            out,
        );
        Ok(())
    }

    /// What we offered was changed on its way to the UE (RFC 3329 2.3.1, clause not verified).
    fn disagree(
        &mut self,
        at: At,
        txn: ServerTxn,
        request: &Message,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        out.note(
            "refused",
            "REGISTER 494: Security-Verify is not what was offered",
        );
        let tag = self.random.token(10);
        let refusal = Builder::response(request, 494, "Security Agreement Required", Some(&tag))
            .header("Security-Server", SECURITY_SERVER)
            .finish();
        self.sip.respond(at, txn, refusal, false, out);
        Ok(())
    }

    /// No security association protects what comes (none is ever built here), whatever the UE claims.
    fn unprotected<'a>(&self, edit: Edit<'a>, request: &Message) -> Edit<'a> {
        let authorization = request
            .header("Authorization")
            .and_then(|value| AuthValue::parse(&value).ok());
        let Some(mut value) = authorization.filter(AuthValue::is_digest) else {
            return edit;
        };
        let by_aka =
            request.has("Security-Client") || value.algorithm() == Some(Algorithm::AkaV1Md5);
        let protection = match by_aka {
            true => Some("no"),
            false => self.policy.digest_protection.as_deref(),
        };
        value.remove("integrity-protected");
        if let Some(protection) = protection {
            value.set_quoted("integrity-protected", protection);
        }
        edit.set("Authorization", &value.to_string())
    }

    fn registered(
        &mut self,
        at: At,
        registering: &Registering,
        response: &Message,
        out: &mut Outbox,
    ) {
        let uris = |name| -> Vec<String> {
            let addrs = response.addrs(name).unwrap_or_default();
            addrs.into_iter().map(|addr| addr.uri).collect()
        };
        let mut identities = uris("P-Associated-URI");
        if identities.is_empty() {
            identities.push(registering.identity.clone());
        }
        let granted = response.addrs("Contact").unwrap_or_default();
        let default = response.number("Expires").ok().flatten();
        if registering.contacts.iter().any(|contact| contact == "*") {
            for contact in self.users.remove_all_of(&registering.identity) {
                self.dialogs.forget_all_of(&contact);
            }
        }
        for contact in registering
            .contacts
            .iter()
            .filter(|contact| *contact != "*")
        {
            let lifetime = granted
                .iter()
                .find(|addr| same_hop(&addr.uri, contact))
                .map(|addr| {
                    let own = addr
                        .params
                        .get("expires")
                        .and_then(|text| text.parse().ok());
                    own.or(default).unwrap_or(DEFAULT_LIFETIME)
                });
            match lifetime {
                None | Some(0) => {
                    self.users.remove(contact);
                    self.dialogs.forget_all_of(contact);
                }
                Some(seconds) => {
                    out.note("registered", format!("{contact} for {seconds} s"));
                    self.users.put(User {
                        contact: contact.clone(),
                        source: registering.source.clone(),
                        identities: identities.clone(),
                        service_route: uris("Service-Route"),
                        until: at + Duration::from_secs(seconds.into()),
                    });
                }
            }
        }
    }

    /// TS 24.229 5.2.2.2 (second-hand): the keys of a challenge stay here.
    pub(super) fn register_response(&mut self, at: At, up: &Up, out: &mut Outbox) -> Message {
        let Some(Context::Register(registering)) = self.proxy.context_mut(up.server) else {
            return up.response.clone();
        };
        let agreed = registering.security_server.clone();
        let status = up.response.status().unwrap_or_default();
        let learnt = (200..300).contains(&status).then(|| Registering {
            source: registering.source.clone(),
            identity: registering.identity.clone(),
            contacts: registering.contacts.clone(),
            security_server: None,
        });
        if let Some(learnt) = learnt {
            self.registered(at, &learnt, &up.response, out);
        }
        let mut edit = self.hidden(up.response.edit());
        if status == 401 {
            let challenges: Vec<String> = up
                .response
                .headers()
                .filter(|header| header.name.eq_ignore_ascii_case("WWW-Authenticate"))
                .map(|header| without_keys(&header.value))
                .collect();
            edit = edit.remove("WWW-Authenticate");
            for challenge in challenges {
                edit = edit.append("WWW-Authenticate", &challenge);
            }
            if let Some(agreed) = agreed {
                edit = edit.append("Security-Server", &agreed);
            }
        }
        edit.finish()
    }

    fn path(&self) -> String {
        let user = match self.policy.path_has_user {
            true => "term@",
            false => "",
        };
        format!("sip:{user}{};lr", self.place(RefPoint::Mw))
    }
}

/// What a REGISTER from outside the trust domain may not carry in.
fn outsiders(request: &Message) -> Edit<'_> {
    let names = FROM_CORE_ONLY.iter().chain(ON_GM_ONLY);
    let edit = names.fold(request.edit(), |edit, name| edit.remove(name));
    drop_tag(edit, request, "Proxy-Require")
}

fn without_keys(challenge: &str) -> String {
    match AuthValue::parse(challenge) {
        Ok(mut value) => {
            value.remove("ck");
            value.remove("ik");
            value.to_string()
        }
        Err(_) => challenge.to_owned(),
    }
}

/// Seconds, if neither Contact nor Expires says: "malformed values SHOULD be treated as equivalent to
/// 3600" (RFC 3261 10.2).
const DEFAULT_LIFETIME: u32 = 3600;

const SECURITY_SERVER: &str = "ipsec-3gpp;q=0.1;alg=hmac-sha-1-96;ealg=null;spi-c=2001;spi-s=2002;\
    port-c=5061;port-s=5062";
