//! Ut and the dedicated interface: PPSTP over HTTP (RFC 7846 2.2, 4). On Ut a user proves itself by HTTP
//! Digest; on the dedicated interface the link says who is there. RFC 7846 gives no HTTP status for a
//! failure, so what is sent is the policy's.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    super::{
        Setup,
        policy::{Belief, DigestOffer, ErrorStatus, MediaTypeError, TlsDemand, TrackerPolicy},
        tracking_list::{Asker, TrackingList},
    },
    people::People,
};
use crate::{
    io::{Input, Outbox},
    proto::{
        digest::{self, Algorithm, AuthValue, Secret, Stale, Verdict},
        http_exchange::{self, HttpServer, ServerEvent},
        publication::is_media_type,
    },
    random::derive,
    spec::RefPoint,
    time::At,
    wire::{
        frame::Security,
        http,
        ppstp::{self, ErrorCode, MEDIA_TYPE, PeerRole, Profile, read_request},
    },
};

pub(super) struct HttpDoor {
    server: HttpServer,
    digest: digest::Server,
    people: Arc<People>,
    policy: TrackerPolicy,
    has_tls: bool,
}

/// How long a nonce may be used: ours.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// A request that goes no further: the HTTP answer.
type Stopped = Box<http::ResponseBuilder>;

impl HttpDoor {
    pub fn new(setup: &Setup, people: Arc<People>) -> HttpDoor {
        let domain = &setup.directory.domain;
        let realm = setup.directory.tracker_psi.rsplit('@').next();
        let seed = derive(setup.seed, &["digest"]);
        HttpDoor {
            server: HttpServer::new(),
            digest: digest::Server::new(realm.unwrap_or(domain), NONCE_LIFETIME, seed)
                .counting(setup.policy.tracker.nonce_counts),
            people,
            policy: setup.policy.tracker.clone(),
            has_tls: setup.tls,
        }
    }

    /// Takes an input if it is HTTP's; false if not.
    pub fn take(
        &mut self,
        at: At,
        input: &Input<'_>,
        list: &mut TrackingList,
        out: &mut Outbox,
    ) -> bool {
        let Some(events) = self.server.take(input, out) else {
            return false;
        };
        for event in events {
            if let ServerEvent::Request {
                served,
                request,
                asker,
            } = event
            {
                let answers = |asker: &Asker, asked: &ppstp::Request| list.answer(at, asker, asked);
                let response = self.answer(at, &request, &asker, answers, out);
                self.server.respond(served, response.finish(), out);
            }
        }
        true
    }

    /// The answer to a request, not yet put together. Who asks what, once that is known, is answered by `answers`:
    /// the list, however it is reached.
    pub fn answer(
        &mut self,
        at: At,
        request: &http::Request,
        from: &http_exchange::Asker,
        answers: impl FnOnce(&Asker, &ppstp::Request) -> ppstp::Response,
        out: &mut Outbox,
    ) -> http::ResponseBuilder {
        match self.serve(at, request, from, answers, out) {
            Ok(response) => response,
            Err(stopped) => *stopped,
        }
    }

    fn serve(
        &mut self,
        at: At,
        request: &http::Request,
        from: &http_exchange::Asker,
        answers: impl FnOnce(&Asker, &ppstp::Request) -> ppstp::Response,
        out: &mut Outbox,
    ) -> Result<http::ResponseBuilder, Stopped> {
        self.check_head(request)?;
        let asker = match from.on {
            RefPoint::Dedicated => self.neighbour(request, from)?,
            _ => self.user(at, request, from)?,
        };
        let answer = match read_request(&request.body(), Profile::Examples) {
            Ok(reading) => answers(&asker, &reading.message),
            Err(refusal) => {
                out.note("refused", refusal.to_string());
                refusal.response()
            }
        };
        if !answer.is_successful() {
            out.note(
                "refused",
                format!("{}: {}", asker.owner, answer.error.name()),
            );
        }
        Ok(carried(
            status(answer.error, self.policy.error_status),
            &answer,
        ))
    }

    /// What HTTP itself asks for: path, method, media type, size.
    fn check_head(&self, request: &http::Request) -> Result<(), Stopped> {
        if request.path() != ppstp::PATH {
            return Err(Box::new(http::Response::build(404)));
        }
        if request.method() != "POST" && !self.policy.takes_any_method {
            let response = http::Response::build(405).header("Allow", "POST");
            return Err(Box::new(response));
        }
        let content_type = request.header("Content-Type").unwrap_or_default();
        if !is_media_type(content_type, MEDIA_TYPE) {
            return Err(match self.policy.media_type_error {
                MediaTypeError::UnsupportedMediaType => {
                    Box::new(http::Response::build(415).header("Accept", MEDIA_TYPE))
                }
                MediaTypeError::BadRequest => failed(400, ErrorCode::BadRequest),
            });
        }
        if request.body().len() > ppstp::LIMIT {
            return Err(failed(413, ErrorCode::BadRequest));
        }
        Ok(())
    }

    /// The CDN node at the other end of the dedicated interface.
    fn neighbour(
        &self,
        request: &http::Request,
        from: &http_exchange::Asker,
    ) -> Result<Asker, Stopped> {
        let believes = match self.policy.believes_certificates {
            Belief::Always => true,
            Belief::WhenJoining => memchr::memmem::find(&request.body(), b"\"CONNECT\"").is_some(),
            Belief::Never => false,
        };
        let known = match believes {
            true => self.people.on_dedicated(from.from, &from.security),
            false => {
                let there = self.people.at_address(from.from);
                there.filter(|asker| asker.role != PeerRole::User)
            }
        };
        known
            .or_else(|| match self.policy.proves_neighbours {
                true => None,
                false => self.people.at_address(from.from),
            })
            .ok_or_else(|| failed(403, ErrorCode::ForbiddenAction))
    }

    /// The user that proves itself on Ut. `X-3GPP-Intended-Identity` has to be one of its identities;
    /// `X-3GPP-Asserted-Identity` means nothing, as no proxy stands before this server.
    fn user(
        &mut self,
        at: At,
        request: &http::Request,
        from: &http_exchange::Asker,
    ) -> Result<Asker, Stopped> {
        let demands_tls = match self.policy.demands_tls {
            TlsDemand::OfEverybody => true,
            TlsDemand::OfStrangers => !request.has("Authorization"),
            TlsDemand::OfNobody => false,
        };
        if self.has_tls && demands_tls && from.security == Security::Plain {
            return Err(failed(403, ErrorCode::ForbiddenAction));
        }
        let people = self.people.clone();
        if self.policy.believes_asserted_on_ut
            && let Some(identity) = request.header("X-3GPP-Asserted-Identity")
            && let Some(asker) = people.asserted(identity.trim().trim_matches('"'), from.from)
        {
            return Ok(asker);
        }
        if !self.policy.proves_users
            && !request.has("Authorization")
            && let Some(asker) = people.at_address(from.from)
        {
            return Ok(asker);
        }
        let credentials = request
            .header("Authorization")
            .and_then(|value| AuthValue::parse(value).ok());
        let Some(credentials) = credentials else {
            return Err(self.challenge(at, Stale::No));
        };
        let name = credentials.get("username").unwrap_or_default();
        let Some(person) = people.by_private(name) else {
            return Err(self.challenge(at, Stale::No));
        };
        let secret = Secret::Password(person.password.clone());
        match self
            .digest
            .verify(at, request.method(), &credentials, &secret)
        {
            Verdict::Accepted => {}
            Verdict::Refused(_) if self.policy.takes_any_password => {}
            Verdict::Stale => return Err(self.challenge(at, Stale::Yes)),
            Verdict::Unanswered | Verdict::Refused(_) => {
                return Err(self.challenge(at, Stale::No));
            }
        }
        if credentials.get("uri") != Some(request.target()) {
            return Err(failed(400, ErrorCode::BadRequest));
        }
        let intended = request.header("X-3GPP-Intended-Identity");
        let intended = intended.map(|value| value.trim().trim_matches('"'));
        let is_own = intended.is_none_or(|identity| person.is(identity));
        let is_served = person.is_served || !self.policy.checks_service_on_ut;
        match is_own && is_served {
            true => Ok(person.seen_at(from.from)),
            false => Err(failed(403, ErrorCode::ForbiddenAction)),
        }
    }

    /// 401 with a challenge for each algorithm (RFC 7616 3.3) and error 6 (RFC 7846 4.3).
    fn challenge(&mut self, at: At, stale: Stale) -> Stopped {
        let algorithms = match self.policy.digest_offer {
            DigestOffer::Sha256First => [Algorithm::Sha256, Algorithm::Md5],
            DigestOffer::Md5First => [Algorithm::Md5, Algorithm::Sha256],
        };
        let challenges = self.digest.challenge(at, &algorithms, stale);
        let builder = http::Response::build(401);
        let builder = challenges.iter().fold(builder, |builder, challenge| {
            builder.header("WWW-Authenticate", &challenge.to_string())
        });
        let body = ppstp::Response::failed("", ErrorCode::AuthenticationRequired).to_json();
        Box::new(builder.body(MEDIA_TYPE, Bytes::from(body)))
    }
}

/// The HTTP status that carries a PPSTP outcome. 401 is for challenges alone: it may not come without
/// one (RFC 9110 15.5.2).
pub(super) fn status(error: ErrorCode, by: ErrorStatus) -> u16 {
    match (error, by) {
        (ErrorCode::None, _) => 200,
        (ErrorCode::InternalServerError, _) => 500,
        (ErrorCode::ServiceUnavailable, _) => 503,
        (_, ErrorStatus::Ok) => 200,
        (ErrorCode::BadRequest | ErrorCode::UnsupportedVersion, ErrorStatus::Mapped) => 400,
        (ErrorCode::ForbiddenAction | ErrorCode::AuthenticationRequired, ErrorStatus::Mapped) => {
            403
        }
    }
}

fn carried(status: u16, answer: &ppstp::Response) -> http::ResponseBuilder {
    http::Response::build(status).body(MEDIA_TYPE, Bytes::from(answer.to_json()))
}

/// A failure of a request whose document was not looked at.
fn failed(status: u16, error: ErrorCode) -> Stopped {
    Box::new(carried(status, &ppstp::Response::failed("", error)))
}
