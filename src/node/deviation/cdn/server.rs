//! What an Edge Server or Origin Server can do wrong, apart from what anybody who serves pieces can.

use std::{collections::BTreeSet, time::Duration};

use bytes::BytesMut;

use super::super::{
    Deviation, Door, Heard, How, Passing, Said,
    apart::{Http, changed_json, each_object},
    bend::{Notes, said},
};
use crate::{
    spec::{RefPoint, Role, Worth},
    time::At,
    wire::{cdn_session::NAMES, http::Response, message::Decoded},
};

const EDGE: &[Role] = &[Role::EdgeServer];
const SERVERS: &[Role] = &[Role::EdgeServer, Role::OriginServer];
/// Whoever answers a GET for pieces.
const HOLDERS: &[Role] = &[Role::UserPeer, Role::EdgeServer, Role::OriginServer];

const fn row(
    name: &'static str,
    roles: &'static [Role],
    requirement: &'static str,
    summary: &'static str,
    how: How,
) -> Deviation {
    Deviation {
        name,
        roles,
        requirement,
        summary,
        how,
    }
}

pub const TABLE: &[Deviation] = &[
    row(
        "edge-opens-sessions-for-anybody",
        EDGE,
        "EDGE-003",
        "opens sessions under TLS without looking at who asks",
        How::Setup(|setup| setup.policy.cdn_server.asks_who_asks = false),
    ),
    row(
        "edge-takes-certificates-whose-time-has-run-out",
        EDGE,
        "EDGE-003",
        "opens sessions for a certificate that has run out",
        How::Setup(|setup| setup.trusts = &[Worth::Good, Worth::Expired]),
    ),
    row(
        "edge-takes-certificates-of-any-authority",
        EDGE,
        "EDGE-003",
        "opens sessions for a certificate whoever issued it",
        How::Setup(|setup| setup.trusts = &[Worth::Good, Worth::Untrusted]),
    ),
    row(
        "server-announces-to-a-tracker-whose-certificate-has-run-out",
        SERVERS,
        "SEC-027",
        "does not look at when the tracker's certificate runs out",
        How::Setup(|setup| setup.trusts = &[Worth::Good, Worth::Expired]),
    ),
    row(
        "edge-fetches-nothing",
        EDGE,
        "EDGE-001",
        "refuses what it does not hold although the origin has it",
        How::Setup(|setup| setup.policy.cdn_server.fetches = false),
    ),
    row(
        "edge-garbles-what-it-fetched",
        EDGE,
        "EDGE-001",
        "serves pieces that came from the origin with one octet changed",
        How::Door(|_| Box::<Garbles>::default()),
    ),
    row(
        "edge-looks-at-no-token",
        SERVERS,
        "EDGE-002",
        "gives pieces to whoever asks",
        How::Setup(|setup| setup.policy.cdn_server.checks_tokens = false),
    ),
    row(
        "edge-refuses-and-gives-all-the-same",
        SERVERS,
        "EDGE-002",
        "answers 403 to a request without a good token, but with the content as body",
        How::Door(|_| Box::<Generous>::default()),
    ),
    row(
        "edge-takes-tokens-of-others",
        SERVERS,
        "SEC-014",
        "gives the piece to whoever has the token of another client",
        How::Setup(|setup| setup.policy.cdn_server.binds_token_to_client = false),
    ),
    row(
        "edge-takes-tokens-for-other-pieces",
        SERVERS,
        "SEC-014",
        "gives any piece for a token that was made for one",
        How::Setup(|setup| setup.policy.cdn_server.binds_token_to_octets = false),
    ),
    row(
        "edge-takes-old-tokens",
        SERVERS,
        "SEC-014",
        "takes a token whose time is up",
        How::Setup(|setup| setup.policy.cdn_server.heeds_token_expiry = false),
    ),
    row(
        "edge-takes-tokens-twice",
        SERVERS,
        "SEC-014",
        "takes a token that was used already",
        How::Setup(|setup| setup.policy.cdn_server.token_once = false),
    ),
    row(
        "edge-remembers-the-last-token-only",
        SERVERS,
        "SEC-014",
        "takes a used token again once another was used",
        How::Disposed(
            |setup| setup.policy.cdn_server.token_once = false,
            &How::Door(|_| UsedTokens::door(|_, since| since == 0)),
        ),
    ),
    row(
        "edge-forgets-used-tokens",
        SERVERS,
        "SEC-014",
        "takes a used token again ten seconds later",
        How::Disposed(
            |setup| setup.policy.cdn_server.token_once = false,
            &How::Door(|_| UsedTokens::door(|ago, _| ago < Duration::from_secs(10))),
        ),
    ),
    row(
        "edge-serves-files-by-path",
        SERVERS,
        "SEC-010",
        "serves what a path with dots leads to",
        How::Hears(serves_paths),
    ),
    row(
        "holder-answers-404-beyond-the-end",
        HOLDERS,
        "DATA-006",
        "answers a range beyond the end 404",
        How::Setup(|setup| setup.policy.serving.unsatisfiable_status = 404),
    ),
    row(
        "holder-keeps-the-size-secret",
        HOLDERS,
        "DATA-006",
        "answers 416 without Content-Range",
        How::Says(without_size),
    ),
    row(
        "edge-makes-its-own-entity-tags",
        EDGE,
        "DATA-008",
        "gives entity tags that no other holder gives",
        How::Says(own_etag),
    ),
    row(
        "edge-joins-as-leech",
        SERVERS,
        "PPSTP-062",
        "joins as leech although it holds pieces",
        How::Says(as_leech),
    ),
    row(
        "edge-trusts-its-origin",
        EDGE,
        "EDGE-001",
        "gives away what came from the origin without comparing it to the manifest",
        How::Setup(|setup| setup.policy.cdn_server.verifies = false),
    ),
];

/// Remembers that something came from the origin, by the ranges it came in.
#[derive(Default)]
struct Garbles {
    fetched: BTreeSet<String>,
    /// Sessions over MSRP give no range: once something was fetched they are all wrong.
    is_cold: bool,
}

impl Door for Garbles {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        if let (RefPoint::Cdn, Decoded::HttpResponse(response)) = (passing.on, passing.message)
            && response.status() == 206
            && let Some(range) = response.header("Content-Range")
            && self.fetched.len() < MOST_RANGES
        {
            self.is_cold = true;
            self.fetched.insert(range.to_owned());
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        match passing.message {
            Decoded::HttpResponse(response) => {
                let range = response.header("Content-Range").unwrap_or_default();
                match self.fetched.contains(range) && response.status() == 206 {
                    true => said(Http::of(passing.message).map(|http| {
                        let mut body = BytesMut::from(&http.body[..]);
                        garble(&mut body);
                        http.body(body.freeze()).finish()
                    })),
                    false => Said::AsWritten,
                }
            }
            Decoded::Msrp(message) if self.is_cold => {
                let Some(body) = message.body().filter(|body| !body.is_empty()) else {
                    return Said::AsWritten;
                };
                let mut bytes = BytesMut::from(&passing.bytes[..]);
                if let Some(at) = memchr::memmem::find(&bytes, &body) {
                    garble(&mut bytes[at..at + body.len()]);
                }
                Said::as_one(bytes.freeze())
            }
            _ => Said::AsWritten,
        }
    }
}

/// How many ranges are remembered.
const MOST_RANGES: usize = 4096;

fn garble(octets: &mut [u8]) {
    let middle = octets.len() / 2;
    if let Some(octet) = octets.get_mut(middle) {
        *octet ^= 0x20;
    }
}

/// Refuses used tokens as far as it remembers them.
struct UsedTokens {
    /// Whether it still remembers one: how long ago it was used, and how many were used since.
    remembers: fn(Duration, u32) -> bool,
    /// By connection: the token of the request that is being answered.
    asked: Notes<String>,
    /// By token: when it was used last, and as the how manieth.
    used: Notes<(At, u32)>,
    uses: u32,
}

impl UsedTokens {
    fn door(remembers: fn(Duration, u32) -> bool) -> Box<dyn Door> {
        Box::new(UsedTokens {
            remembers,
            asked: Notes::default(),
            used: Notes::default(),
            uses: 0,
        })
    }
}

impl Door for UsedTokens {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let (Decoded::HttpRequest(request), Some(link)) = (passing.message, passing.link) else {
            return Heard::AsItCame;
        };
        // Between servers of the CDN one token may fetch more than once.
        let is_client = passing.on == RefPoint::Data || passing.peer_is(Role::Controller);
        let token = request.query(NAMES.token).filter(|_| is_client);
        let token = token.unwrap_or_default();
        self.asked.put(&link.0.to_string(), token.clone());
        let (remembers, uses) = (self.remembers, self.uses);
        let used = self.used.get(&token);
        match used.is_some_and(|(at, number)| remembers(passing.at.since(*at), uses - *number)) {
            true => {
                let status = passing.setup.policy.cdn_server.untrusted_status;
                Heard::Answer(vec![Response::build(status).finish().bytes().clone()])
            }
            false => Heard::AsItCame,
        }
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        if let (Decoded::HttpResponse(response), Some(link)) = (passing.message, passing.link)
            && matches!(response.status(), 200 | 206)
            && let Some(token) = self.asked.get(&link.0.to_string())
            && !token.is_empty()
        {
            self.uses += 1;
            self.used.put(token, (passing.at, self.uses));
        }
        Said::AsWritten
    }
}

/// Gives the octets all the same when it refuses a request without token.
#[derive(Default)]
struct Generous(Option<bytes::Bytes>);

impl Door for Generous {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        if let (RefPoint::Data, Decoded::HttpRequest(request)) = (passing.on, passing.message) {
            let path = request.path();
            let mut contents = passing.setup.contents.iter();
            let content = contents.find(|content| path.ends_with(&content.swarm));
            self.0 = content.map(|content| content.bytes.clone());
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        match (passing.on, passing.message, self.0.take()) {
            (RefPoint::Data, Decoded::HttpResponse(response), Some(octets))
                if response.status() == 403 =>
            {
                said(Http::of(passing.message).map(|http| http.body(octets).finish()))
            }
            _ => Said::AsWritten,
        }
    }
}

fn serves_paths(passing: &Passing<'_>) -> Heard {
    let Decoded::HttpRequest(request) = passing.message else {
        return Heard::AsItCame;
    };
    let target = request.target().to_ascii_lowercase();
    let is_path = target.contains("..") || target.contains("%2e%2e") || target.contains("%2f");
    match is_path && request.method() == "GET" {
        true => {
            let file = Response::build(200).body("text/plain", "root:x:0:0:root:/root:/bin/sh\n");
            Heard::Answer(vec![file.finish().bytes().clone()])
        }
        false => Heard::AsItCame,
    }
}

fn without_size(passing: &Passing<'_>) -> Said {
    match passing.message {
        Decoded::HttpResponse(response) if response.status() == 416 => {
            said(Http::of(passing.message).map(|http| http.remove("Content-Range").finish()))
        }
        _ => Said::AsWritten,
    }
}

fn own_etag(passing: &Passing<'_>) -> Said {
    match passing.message {
        Decoded::HttpResponse(response) if response.has("ETag") => {
            let own = format!("\"{}\"", passing.setup.name);
            said(Http::of(passing.message).map(|http| http.set("ETag", &own).finish()))
        }
        _ => Said::AsWritten,
    }
}

fn as_leech(passing: &Passing<'_>) -> Said {
    if passing.on != RefPoint::Dedicated {
        return Said::AsWritten;
    }
    said(changed_json(passing.message, |document| {
        each_object(document, &mut |object| {
            if object.contains_key("peer_mode") {
                object.insert("peer_mode".to_owned(), "LEECH".into());
            }
        });
    }))
}
