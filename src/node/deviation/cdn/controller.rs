//! What a CDN Controller can do wrong (TR 23.844 6.2.2).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::Value;

use super::super::{
    Deviation, Door, Heard, How, Passing, Said,
    apart::{Http, changed_json, changed_sdp, each_object},
    bend::said,
};
use crate::{
    node::{Setup, setup::Neighbour},
    spec::{Delivery, Format, RefPoint, Role, Worth},
    trace::ListenTransport,
    wire::{
        http::Response,
        message::Decoded,
        sdp,
        sip::{Builder, Message, reason},
    },
};

const CONTROLLER: &[Role] = &[Role::Controller];

const fn row(
    name: &'static str,
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles: CONTROLLER,
        requirement,
        summary,
        how,
    }
}

pub const TABLE: &[Deviation] = &[
    row(
        "controller-asks-edges-in-the-clear",
        "CTRL-029",
        "opens its connections to edges without TLS",
        How::Setup(without_tls_to_edges),
    ),
    row(
        "controller-believes-no-edge",
        "CTRL-030",
        "refuses what an edge tells it under TLS, whatever its certificate is worth",
        How::Setup(|setup| setup.trusts = &[]),
    ),
    row(
        "controller-takes-certificates-whose-time-has-run-out",
        "CTRL-030",
        "believes what somebody tells it under a certificate that has run out",
        How::Setup(|setup| setup.trusts = &[Worth::Good, Worth::Expired]),
    ),
    row(
        "controller-registers-its-edges",
        "REG-002",
        "sends a REGISTER for each of its edges along with its own",
        How::Says(registers_edges),
    ),
    row(
        "controller-says-not-what-a-request-passed",
        "CTRL-024",
        "asks its edges without a word on the CDNs that the request passed",
        How::Says(|passing| match (passing.on, passing.message) {
            (RefPoint::Cdn, Decoded::HttpRequest(_)) => {
                said(Http::of(passing.message).map(|http| http.remove("CDN-Loop").finish()))
            }
            _ => Said::AsWritten,
        }),
    ),
    row(
        "controller-forgets-what-a-request-passed",
        "CTRL-024",
        "names itself alone, and not the CDNs that the request passed before",
        How::Says(|passing| match (passing.on, passing.message) {
            (RefPoint::Cdn, Decoded::HttpRequest(request)) => {
                let chain = request.header("CDN-Loop").unwrap_or_default();
                let last = chain
                    .rsplit(',')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
                said(Http::of(passing.message).map(|http| http.set("CDN-Loop", &last).finish()))
            }
            _ => Said::AsWritten,
        }),
    ),
    row(
        "controller-serves-what-comes-back",
        "CTRL-024",
        "serves a request that passed it before",
        How::Setup(|setup| setup.policy.controller.refuses_loops = false),
    ),
    row(
        "controller-knows-itself-without-parameters-only",
        "CTRL-024",
        "serves a request that passed it before if its name there has parameters",
        How::Disposed(
            |setup| setup.policy.controller.refuses_loops = false,
            &How::Door(|_| Box::new(Literal)),
        ),
    ),
    row(
        "controller-asks-any-edge",
        "CTRL-001",
        "asks edges that do not hold the piece although another does",
        How::Setup(|setup| setup.policy.controller.asks_any_edge = true),
    ),
    row(
        "controller-asks-two-edges",
        "CTRL-001",
        "asks two holders for the same piece at once",
        How::Setup(|setup| setup.policy.controller.asked_at_a_time = 2),
    ),
    row(
        "controller-accepts-before-the-edge",
        "CTRL-002",
        "accepts a piece request before any edge has agreed",
        How::Setup(|setup| setup.policy.controller.accepts_first = true),
    ),
    row(
        "controller-tells-the-edge-its-own-address",
        "CTRL-003",
        "names itself to the edge as the client",
        How::Setup(|setup| setup.policy.controller.tells_own_address = true),
    ),
    row(
        "controller-answers-the-first-line-only",
        "CTRL-004",
        "answers the second media line and those after it with port 0",
        How::Says(first_line_only),
    ),
    row(
        "controller-leaves-lines-out",
        "CTRL-004",
        "writes one media line into its answer whatever was offered",
        How::Says(one_line),
    ),
    row(
        "controller-asks-nobody-else",
        "CTRL-005",
        "gives up when the first edge fails",
        How::Setup(|setup| setup.policy.controller.tries_alternates = false),
    ),
    row(
        "controller-waits-for-the-silent-edge-only",
        "CTRL-005",
        "asks another holder after a refusal, but not after silence",
        How::Setup(|setup| setup.policy.controller.tries_after_silence = false),
    ),
    row(
        "controller-calls-a-dead-edge-an-error",
        "CTRL-006",
        "refuses with 500 when the edge is down",
        How::Setup(|setup| setup.policy.controller.down_status = 500),
    ),
    row(
        "controller-calls-a-silent-edge-down",
        "CTRL-006",
        "refuses with 480 when the edge stays silent",
        How::Setup(|setup| setup.policy.controller.silent_status = 480),
    ),
    row(
        "controller-calls-a-busy-edge-down",
        "CTRL-006",
        "refuses with 480 when the edge is busy",
        How::Setup(|setup| setup.policy.controller.busy_status = 480),
    ),
    row(
        "controller-calls-the-unknown-404",
        "CTRL-006",
        "refuses with 404 what nobody holds",
        How::Setup(|setup| setup.policy.controller.unknown_status = 404),
    ),
    row(
        "controller-leaves-the-ue-without-100",
        "CTRL-007",
        "sends no 100 while it asks edges",
        How::Says(without_trying),
    ),
    row(
        "controller-sends-100-late",
        "CTRL-007",
        "sends 100 a second after the INVITE",
        How::Says(late_trying),
    ),
    row(
        "controller-tells-the-edge-in-o-line",
        "CTRL-008",
        "copies the o= line of its answer from an edge",
        How::Says(edge_in_origin),
    ),
    row(
        "controller-tells-the-edge-in-server",
        "CTRL-008",
        "names the edge in the Server header of its answer",
        How::Says(edge_in_server),
    ),
    row(
        "controller-tells-the-edge-in-retry-after",
        "CTRL-008",
        "names the edge that is down in a comment of Retry-After",
        How::Says(edge_in_retry_after),
    ),
    row(
        "controller-tells-the-edges-cdn-address",
        "CTRL-009",
        "names the address at which it asks the edge in an attribute of its answer",
        How::Says(cdn_address),
    ),
    row(
        "controller-tells-the-edges-name",
        "CTRL-009",
        "names the edge's host in s= of its answer",
        How::Says(edge_in_subject),
    ),
    row(
        "controller-repeats-the-edges-words",
        "CTRL-010",
        "puts what an edge said in its refusal into its own",
        How::Door(|_| Box::<Words>::default()),
    ),
    row(
        "controller-keeps-sessions-of-the-cancelled",
        "CTRL-011",
        "leaves the edge's session to itself when the UE cancels",
        How::Door(|_| Box::<Cancelled>::default()),
    ),
    row(
        "controller-ends-the-cancelled-with-480",
        "CTRL-011",
        "answers a cancelled INVITE 480",
        How::Says(cancelled_is_480),
    ),
    row(
        "controller-ignores-cancel",
        "CTRL-011",
        "answers CANCEL and goes on as if nothing had been said",
        How::Hears(deaf_to_cancel),
    ),
    row(
        "controller-keeps-sessions-after-the-call",
        "CTRL-012",
        "leaves the edge's session to itself when the call ends",
        How::Setup(|setup| setup.policy.controller.deletes_sessions = false),
    ),
    row(
        "controller-frees-every-other-session",
        "CTRL-012",
        "frees the first of two sessions at edges and forgets the second",
        How::Door(|_| Box::<EveryOther>::default()),
    ),
    row(
        "controller-redirects-with-307",
        "CTRL-013",
        "redirects with 307",
        How::Setup(|setup| setup.policy.controller.redirect_status = 307),
    ),
    row(
        "controller-redirects-to-nowhere",
        "CTRL-013",
        "redirects without Location",
        How::Says(without_location),
    ),
    row(
        "controller-redirects-invites",
        "CTRL-013",
        "answers an INVITE with 302 and an edge in Contact where it redirects HTTP",
        How::Hears(redirected_invite),
    ),
    row(
        "controller-tells-edges-who-asks",
        "CTRL-025",
        "hands the user's identity on to the edge in a header",
        How::Door(|_| Box::<Telltale>::default()),
    ),
    row(
        "controller-announces-nothing",
        "CTRL-026",
        "tells the tracker nothing of what its edges hold",
        How::Setup(|setup| setup.policy.controller.announces = false),
    ),
    row(
        "controller-withdraws-nothing",
        "CTRL-026",
        "goes on announcing what no edge holds any more",
        How::Setup(|setup| setup.policy.controller.withdraws = false),
    ),
    row(
        "controller-withdraws-what-one-edge-lost",
        "CTRL-026",
        "takes a piece back at the tracker when one edge loses it and another still holds it",
        How::Setup(|setup| setup.policy.controller.withdraws_early = true),
    ),
    row(
        "controller-withdraws-only-what-it-is-told",
        "CTRL-026",
        "goes on announcing what its edges turned out not to hold when they were asked",
        How::Setup(|setup| setup.policy.controller.withdraws_refused = false),
    ),
    row(
        "controller-announces-whole-contents",
        "CTRL-026",
        "announces all pieces of a content of which its edges hold some",
        How::Says(whole_contents),
    ),
    row(
        "controller-relays-whatever-comes",
        "CTRL-027",
        "sends on what an edge gave although it is longer or shorter than the range",
        How::Setup(|setup| setup.policy.controller.checks_length = false),
    ),
    row(
        "controller-asks-again-for-a-repeated-invite",
        "CTRL-028",
        "takes a repeated INVITE for another one",
        How::Door(|_| Box::<Repeats>::default()),
    ),
    row(
        "controller-mixes-cdns",
        "CDN-001",
        "takes the edges of every CDN for its own",
        How::Setup(mix_cdns),
    ),
    row(
        "controller-asks-the-other-cdn",
        "CDN-001",
        "asks the edges of the other CDN instead of its own",
        How::Setup(swap_cdns),
    ),
    row(
        "controller-asks-one-octet-further",
        "FLOW-003",
        "asks the edge for a range that begins one octet further, as if it counted from 1",
        How::Setup(|setup| setup.policy.controller.range_shifted = 1),
    ),
    row(
        "controller-reads-ahead",
        "FLOW-003",
        "asks an edge for the octets after those that the UE asked for, too",
        How::Setup(|setup| setup.policy.controller.reads_ahead = true),
    ),
];

/// As if no edge asked for TLS.
fn without_tls_to_edges(setup: &mut Setup) {
    let directory = Arc::make_mut(&mut setup.directory);
    for listener in directory
        .nodes
        .values_mut()
        .flat_map(|node| &mut node.listeners)
    {
        if listener.on == RefPoint::Cdn && listener.transport == ListenTransport::Tls {
            listener.transport = ListenTransport::Tcp;
        }
    }
}

/// Who could be named to a UE: the first edge of the own CDN.
fn an_edge(setup: &Setup) -> Option<&Neighbour> {
    let own = setup.directory.nodes.get(&setup.name)?;
    let mut nodes = setup.directory.nodes.values();
    nodes.find(|node| node.role == Role::EdgeServer && node.cdn == own.cdn)
}

fn registers_edges(passing: &Passing<'_>) -> Said {
    let Some(register) = passing.request("REGISTER") else {
        return Said::AsWritten;
    };
    let is_first = register.cseq().is_ok_and(|cseq| cseq.number == 1);
    let Some(own) = passing.setup.directory.nodes.get(&passing.setup.name) else {
        return Said::AsWritten;
    };
    if !is_first || register.values("Contact").is_empty() {
        return Said::AsWritten;
    }
    let nodes = passing.setup.directory.nodes.values();
    let edges = nodes.filter(|node| node.role == Role::EdgeServer && node.cdn == own.cdn);
    let mut messages = vec![passing.bytes.clone()];
    messages.extend(edges.map(|edge| {
        let identity = format!("<sip:{}>", edge.host);
        let call = format!("{}-{}", edge.host, register.call_id().unwrap_or_default());
        let mut message = register
            .edit()
            .set("From", &format!("{identity};tag=edge"))
            .set("To", &identity)
            .set("Call-ID", &call)
            .remove("Authorization");
        if let Ok(mut via) = register.top_via() {
            let branch = format!("{}-{}", via.branch().unwrap_or("z9hG4bK"), edge.host);
            via.params.set("branch", Some(&branch));
            message = message.set("Via", &via.to_string());
        }
        message.finish().bytes().clone()
    }));
    Said::Instead(messages)
}

fn first_line_only(passing: &Passing<'_>) -> Said {
    said(accepted(passing).and_then(|ok| {
        changed_sdp(ok, |session| {
            for media in session.media.iter_mut().skip(1) {
                media.port = 0;
                let stays = ["file-selector", "file-transfer-id"];
                media
                    .attributes
                    .retain(|attribute| stays.contains(&attribute.name.as_str()));
            }
        })
    }))
}

fn one_line(passing: &Passing<'_>) -> Said {
    said(accepted(passing).and_then(|ok| changed_sdp(ok, |session| session.media.truncate(1))))
}

/// A 200 to INVITE.
fn accepted<'a>(passing: &'a Passing<'_>) -> Option<&'a Message> {
    passing
        .response("INVITE")
        .filter(|response| response.status() == Some(200))
}

fn without_trying(passing: &Passing<'_>) -> Said {
    match trying(passing) {
        true => Said::Nothing,
        false => Said::AsWritten,
    }
}

fn late_trying(passing: &Passing<'_>) -> Said {
    match trying(passing) {
        true => Said::Later(Duration::from_secs(1)),
        false => Said::AsWritten,
    }
}

fn trying(passing: &Passing<'_>) -> bool {
    let response = passing.response("INVITE");
    response.is_some_and(|response| response.status() == Some(100))
}

fn edge_in_origin(passing: &Passing<'_>) -> Said {
    let (Some(ok), Some(edge)) = (accepted(passing), an_edge(passing.setup)) else {
        return Said::AsWritten;
    };
    said(changed_sdp(ok, |session| {
        session.origin.connection = sdp::Connection::new(edge.ip);
    }))
}

fn edge_in_server(passing: &Passing<'_>) -> Said {
    let (Some(ok), Some(edge)) = (accepted(passing), an_edge(passing.setup)) else {
        return Said::AsWritten;
    };
    let server = format!("controller/1.0 ({})", edge.ip);
    Said::as_one(ok.edit().set("Server", &server).finish().bytes().clone())
}

fn edge_in_retry_after(passing: &Passing<'_>) -> Said {
    let refusal = passing
        .response("INVITE")
        .filter(|response| response.status() >= Some(400));
    let (Some(refusal), Some(edge)) = (refusal, an_edge(passing.setup)) else {
        return Said::AsWritten;
    };
    let seconds = refusal.header("Retry-After").unwrap_or("30".into());
    let value = format!("{seconds} ({} {} is down)", edge.host, edge.ip);
    let bent = refusal.edit().set("Retry-After", &value).finish();
    Said::as_one(bent.bytes().clone())
}

fn cdn_address(passing: &Passing<'_>) -> Said {
    let (Some(ok), Some(edge)) = (accepted(passing), an_edge(passing.setup)) else {
        return Said::AsWritten;
    };
    let asked = edge.listeners.iter().find(|l| l.on == RefPoint::Cdn);
    let Some(asked) = asked else {
        return Said::AsWritten;
    };
    said(changed_sdp(ok, |session| {
        let source = sdp::Attribute::new("X-cache", asked.addr);
        session.attributes.push(source);
    }))
}

fn edge_in_subject(passing: &Passing<'_>) -> Said {
    let (Some(ok), Some(edge)) = (accepted(passing), an_edge(passing.setup)) else {
        return Said::AsWritten;
    };
    said(changed_sdp(ok, |session| {
        session.name.clone_from(&edge.host);
    }))
}

/// Remembers what an edge said last when it refused.
#[derive(Default)]
struct Words(Option<String>);

impl Door for Words {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        if let (RefPoint::Cdn, Decoded::HttpResponse(response)) = (passing.on, passing.message)
            && response.status() >= 400
        {
            let words = [response.status().to_string(), response.reason().to_owned()];
            self.0 = Some(words.join(" "));
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let refusal = passing
            .response("INVITE")
            .filter(|response| response.status() >= Some(400));
        match (refusal, &self.0) {
            (Some(refusal), Some(words)) => {
                let warning = format!("399 - \"{}\"", words.replace(['"', '\\'], "'"));
                let status = refusal.status().unwrap_or(500);
                let bent = refusal.edit().status(status, words);
                Said::as_one(bent.set("Warning", &warning).finish().bytes().clone())
            }
            _ => Said::AsWritten,
        }
    }
}

/// Once somebody cancelled, no session is given back.
#[derive(Default)]
struct Cancelled(bool);

impl Door for Cancelled {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        self.0 |= passing.request("CANCEL").is_some();
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        match self.0 && is_delete(passing) {
            true => Said::Nothing,
            false => Said::AsWritten,
        }
    }
}

fn is_delete(passing: &Passing<'_>) -> bool {
    passing.on == RefPoint::Cdn
        && matches!(passing.message, Decoded::HttpRequest(r) if r.method() == "DELETE")
}

fn cancelled_is_480(passing: &Passing<'_>) -> Said {
    let response = passing
        .response("INVITE")
        .filter(|response| response.status() == Some(487));
    said(response.map(|response| {
        let bent = response.edit().status(480, reason(480)).finish();
        bent.bytes().clone()
    }))
}

fn deaf_to_cancel(passing: &Passing<'_>) -> Heard {
    match passing.request("CANCEL") {
        Some(cancel) => {
            let ok = Builder::response(cancel, 200, reason(200), Some("cancel")).finish();
            Heard::Answer(vec![ok.bytes().clone()])
        }
        None => Heard::AsItCame,
    }
}

#[derive(Default)]
struct EveryOther(bool);

impl Door for EveryOther {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        if !is_delete(passing) {
            return Said::AsWritten;
        }
        self.0 = !self.0;
        match self.0 {
            true => Said::AsWritten,
            false => Said::Nothing,
        }
    }
}

fn without_location(passing: &Passing<'_>) -> Said {
    match passing.message {
        Decoded::HttpResponse(response) if response.status() / 100 == 3 => {
            said(Http::of(passing.message).map(|http| http.remove("Location").finish()))
        }
        _ => Said::AsWritten,
    }
}

fn redirected_invite(passing: &Passing<'_>) -> Heard {
    let invite = passing
        .request("INVITE")
        .filter(|_| passing.setup.delivery == Delivery::Redirect);
    let (Some(invite), Some(edge)) = (invite, an_edge(passing.setup)) else {
        return Heard::AsItCame;
    };
    let data = edge
        .listeners
        .iter()
        .find(|l| l.on == RefPoint::Data && l.format == Format::Msrp);
    let Some(data) = data else {
        return Heard::AsItCame;
    };
    let moved = Builder::response(invite, 302, reason(302), Some("moved"))
        .header("Contact", &format!("<sip:{}>", data.addr))
        .finish();
    Heard::Answer(vec![moved.bytes().clone()])
}

/// Refuses a request that passed its CDN, as far as it knows its own name.
struct Literal;

impl Door for Literal {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let own = passing.setup.directory.nodes.get(&passing.setup.name);
        let own = own.and_then(|own| own.cdn.as_deref());
        let Decoded::HttpRequest(request) = passing.message else {
            return Heard::AsItCame;
        };
        let chain = request.header("CDN-Loop").unwrap_or_default();
        let has_passed = chain.split(',').any(|entry| Some(entry.trim()) == own);
        match has_passed && passing.on == RefPoint::Data {
            true => Heard::Answer(vec![Response::build(508).finish().bytes().clone()]),
            false => Heard::AsItCame,
        }
    }
}

/// Remembers who asked last.
#[derive(Default)]
struct Telltale(Option<String>);

impl Door for Telltale {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        if let Some(invite) = passing.request("INVITE") {
            let asserted = invite.header("P-Asserted-Identity");
            self.0 = asserted
                .or(invite.header("From"))
                .map(|identity| identity.into_owned());
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        match (passing.on, passing.message, &self.0) {
            (RefPoint::Cdn, Decoded::HttpRequest(_), Some(identity)) => {
                let bent = Http::of(passing.message).map(|http| http.set("X-User", identity));
                said(bent.map(Http::finish))
            }
            _ => Said::AsWritten,
        }
    }
}

/// Every piece of the contents named in an announcement.
fn whole_contents(passing: &Passing<'_>) -> Said {
    if passing.on != RefPoint::Dedicated {
        return Said::AsWritten;
    }
    said(changed_json(passing.message, |document| {
        each_object(document, &mut |object| {
            let swarm = object.get("swarm_id").and_then(Value::as_str);
            let mut contents = passing.setup.contents.iter();
            let content = contents.find(|c| Some(c.swarm.as_str()) == swarm);
            let cds = object.get_mut("cds").and_then(Value::as_object_mut);
            if let (Some(content), Some(cds)) = (content, cds)
                && cds.contains_key("pieces")
            {
                let all: Vec<u32> = content.pieces.iter().map(|piece| piece.n).collect();
                cds.insert("pieces".to_owned(), all.into());
            }
        });
    }))
}

/// INVITEs by their branch.
#[derive(Default)]
struct Repeats(BTreeSet<String>);

impl Door for Repeats {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let invite = passing.request("INVITE");
        let Some((invite, mut via)) = invite.and_then(|i| Some((i, i.top_via().ok()?))) else {
            return Heard::AsItCame;
        };
        let branch = via.branch().unwrap_or_default().to_owned();
        if self.0.len() < MOST_BRANCHES && self.0.insert(branch.clone()) {
            return Heard::AsItCame;
        }
        via.params.set("branch", Some(&format!("{branch}-again")));
        let call = format!("again-{}", invite.call_id().unwrap_or_default());
        let bent = invite
            .edit()
            .pop("Via")
            .prepend("Via", &via.to_string())
            .set("Call-ID", &call)
            .finish();
        Heard::as_one(bent.bytes().clone())
    }
}

/// How many INVITEs are told from their repetitions.
const MOST_BRANCHES: usize = 4096;

fn mix_cdns(setup: &mut Setup) {
    relabel(setup, |_, own| own.to_owned());
    setup.policy.controller.last_holder_first = true;
}

fn swap_cdns(setup: &mut Setup) {
    relabel(setup, |cdn, own| match cdn == own {
        true => format!("not {own}"),
        false => own.to_owned(),
    });
}

/// Gives edges and origins another CDN; `as_seen` is told theirs and the node's own.
fn relabel(setup: &mut Setup, as_seen: impl Fn(&str, &str) -> String) {
    let mut directory = (*setup.directory).clone();
    let own = directory.nodes.get(&setup.name);
    let Some(own) = own.and_then(|own| own.cdn.clone()) else {
        return;
    };
    for node in directory.nodes.values_mut() {
        if matches!(node.role, Role::EdgeServer | Role::OriginServer)
            && let Some(cdn) = &node.cdn
        {
            node.cdn = Some(as_seen(cdn, &own));
        }
    }
    setup.directory = Arc::new(directory);
}
