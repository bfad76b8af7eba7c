//! Digest authentication for SIP and HTTP (RFC 7616, RFC 3261 22.4): MD5, SHA-256 and AKAv1-MD5 with
//! qop=auth, both ends. Works on header *values*, so it knows neither protocol.
//!
//! The client side is [`Session`], the server side [`Server`]; [`AuthValue`] is a header value for those
//! who only pass it on.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::{
    random::Random,
    time::At,
    wire::{
        Malformed,
        sip::{self, quote, unquote},
    },
};

/// A hash, and what it is called in `algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5 over AKA's RES as password (RFC 3310 3).
    AkaV1Md5,
    Md5,
    Sha256,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::AkaV1Md5 => "AKAv1-MD5",
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// `None` for what is not supported here, such as the `-sess` variants.
    pub fn named(name: &str) -> Option<Algorithm> {
        [Algorithm::AkaV1Md5, Algorithm::Md5, Algorithm::Sha256]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    fn hash(self, parts: &[&[u8]]) -> String {
        match self {
            Algorithm::AkaV1Md5 | Algorithm::Md5 => hex_of::<Md5>(parts),
            Algorithm::Sha256 => hex_of::<Sha256>(parts),
        }
    }
}

/// What a user shares with the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    Password(String),
    /// H(username:realm:password) in hexadecimal, as Cx carries it.
    Ha1(String),
    /// AKA's RES: any octets. Empty for the answer that carries AUTS (RFC 3310 3.4).
    Octets(Vec<u8>),
}

impl Secret {
    /// H(A1) (RFC 7616 3.4.2).
    pub fn ha1(&self, algorithm: Algorithm, username: &str, realm: &str) -> String {
        let password = match self {
            Secret::Ha1(ha1) => return ha1.to_ascii_lowercase(),
            Secret::Password(password) => password.as_bytes(),
            Secret::Octets(octets) => octets,
        };
        algorithm.hash(&[username.as_bytes(), realm.as_bytes(), password])
    }
}

/// The value of WWW-Authenticate, Authorization and their kin: a scheme and parameters in order
/// (RFC 3261 20.7, 25.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthValue {
    pub scheme: String,
    params: Vec<Param>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Param {
    name: String,
    /// Without quotes and escapes.
    value: String,
    quoted: bool,
}

impl AuthValue {
    pub fn digest() -> AuthValue {
        AuthValue {
            scheme: "Digest".to_owned(),
            params: Vec::new(),
        }
    }

    /// Reads one value: `Digest realm="a", nonce="b"`.
    pub fn parse(text: &str) -> Result<AuthValue, Malformed> {
        let mut values = AuthValue::parse_all(text)?.into_iter();
        match (values.next(), values.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(Malformed::new(
                text.as_bytes(),
                0,
                "one scheme with parameters",
            )),
        }
    }

    /// Reads the challenges of one header, which HTTP allows to be several (RFC 9110 11.6.1).
    pub fn parse_all(text: &str) -> Result<Vec<AuthValue>, Malformed> {
        let mut values: Vec<AuthValue> = Vec::new();
        for part in sip::list(text) {
            let at = part.as_ptr() as usize - text.as_ptr() as usize;
            let wrong = |expected: &str| Malformed::new(text.as_bytes(), at, expected);
            // A scheme stands before its first parameter, with white space between.
            let first_word_ends = part.find([' ', '\t']).unwrap_or(part.len());
            let (word, rest) = part.split_at(first_word_ends);
            let rest = rest.trim_start();
            let begins = !word.contains('=') && !rest.starts_with('=');
            if begins {
                values.push(AuthValue {
                    scheme: word.to_owned(),
                    params: Vec::new(),
                });
            }
            let param = if begins { rest } else { part };
            let value = values.last_mut().ok_or_else(|| wrong("a scheme"))?;
            if param.is_empty() {
                continue;
            }
            let (name, given) = param.split_once('=').ok_or_else(|| wrong("name=value"))?;
            let given = given.trim();
            value.params.push(Param {
                name: name.trim().to_owned(),
                value: unquote(given),
                quoted: given.starts_with('"'),
            });
        }
        Ok(values)
    }

    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("Digest")
    }

    /// A parameter's value without its quotes; names compare without case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|param| param.name.eq_ignore_ascii_case(name))
            .map(|param| param.value.as_str())
    }

    /// Sets a parameter written as a token: `algorithm=MD5`.
    pub fn set_token(&mut self, name: &str, value: &str) {
        self.put(name, value, Written::Token);
    }

    /// Sets a parameter written as a quoted string: `realm="a"`.
    pub fn set_quoted(&mut self, name: &str, value: &str) {
        self.put(name, value, Written::Quoted);
    }

    /// Removes a parameter and gives its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let at = self
            .params
            .iter()
            .position(|param| param.name.eq_ignore_ascii_case(name))?;
        Some(self.params.remove(at).value)
    }

    /// The algorithm, MD5 if none is named (RFC 7616 3.3); `None` if it is not supported here.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.get("algorithm")
            .map_or(Some(Algorithm::Md5), Algorithm::named)
    }

    /// Whether a challenge offers a quality of protection, and auth among them.
    fn offered_qop(&self) -> OfferedQop {
        match self.get("qop") {
            None => OfferedQop::None,
            Some(list)
                if list
                    .split(',')
                    .any(|qop| qop.trim().eq_ignore_ascii_case("auth")) =>
            {
                OfferedQop::Auth
            }
            Some(_) => OfferedQop::Other,
        }
    }

    fn put(&mut self, name: &str, value: &str, written: Written) {
        let param = Param {
            name: name.to_owned(),
            value: value.to_owned(),
            quoted: written == Written::Quoted,
        };
        let old = self
            .params
            .iter_mut()
            .find(|param| param.name.eq_ignore_ascii_case(name));
        match old {
            Some(old) => *old = param,
            None => self.params.push(param),
        }
    }
}

impl fmt::Display for AuthValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheme)?;
        for (index, param) in self.params.iter().enumerate() {
            let before = if index == 0 { " " } else { "," };
            write!(f, "{before}{}=", param.name)?;
            if param.quoted {
                f.write_str(&quote(&param.value))?;
            } else {
                f.write_str(&param.value)?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Quoted,
    Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfferedQop {
    None,
    Auth,
    Other,
}

/// Why a challenge cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    #[error("no challenge of scheme Digest with realm and nonce")]
    NoDigest,
    #[error("no algorithm among MD5, SHA-256 and AKAv1-MD5")]
    Algorithm,
    #[error("no quality of protection that is auth")]
    Qop,
}

/// A client's authentication session (RFC 7616 3.6): one challenge, answered as often as wanted.
#[derive(Clone, Debug)]
pub struct Session {
    challenge: AuthValue,
    algorithm: Algorithm,
    username: String,
    ha1: String,
    count: u32,
}

impl Session {
    /// Answers the first challenge it can (RFC 7616 3.7), or says why none.
    pub fn start(
        challenges: &[AuthValue],
        username: &str,
        secret: &Secret,
    ) -> Result<Session, Unanswerable> {
        let mut reason = Unanswerable::NoDigest;
        for challenge in challenges {
            match Session::with(challenge, username, secret) {
                Ok(session) => return Ok(session),
                Err(why) if reason == Unanswerable::NoDigest => reason = why,
                Err(_) => (),
            }
        }
        Err(reason)
    }

    fn with(
        challenge: &AuthValue,
        username: &str,
        secret: &Secret,
    ) -> Result<Session, Unanswerable> {
        let (true, Some(realm), Some(_)) = (
            challenge.is_digest(),
            challenge.get("realm"),
            challenge.get("nonce"),
        ) else {
            return Err(Unanswerable::NoDigest);
        };
        let algorithm = challenge.algorithm().ok_or(Unanswerable::Algorithm)?;
        if challenge.offered_qop() == OfferedQop::Other {
            return Err(Unanswerable::Qop);
        }
        Ok(Session {
            ha1: secret.ha1(algorithm, username, realm),
            challenge: challenge.clone(),
            algorithm,
            username: username.to_owned(),
            count: 0,
        })
    }

    /// The challenge being answered.
    pub fn challenge(&self) -> &AuthValue {
        &self.challenge
    }

    /// The value of (Proxy-)Authorization for the next request: the nonce count goes up by one.
    pub fn answer(&mut self, method: &str, uri: &str, random: &mut Random) -> AuthValue {
        let realm = self.challenge.get("realm").unwrap_or_default();
        let nonce = self.challenge.get("nonce").unwrap_or_default();
        let mut answer = AuthValue::digest();
        answer.set_quoted("username", &self.username);
        answer.set_quoted("realm", realm);
        answer.set_quoted("nonce", nonce);
        answer.set_quoted("uri", uri);
        if let Some(algorithm) = self.challenge.get("algorithm") {
            answer.set_token("algorithm", algorithm);
        }
        if let Some(opaque) = self.challenge.get("opaque") {
            answer.set_quoted("opaque", opaque);
        }
        if self.challenge.offered_qop() == OfferedQop::Auth {
            self.count = self.count.saturating_add(1);
            answer.set_token("qop", "auth");
            answer.set_token("nc", &format!("{:08x}", self.count));
            answer.set_quoted("cnonce", &random.token(16));
        }
        let response = response(self.algorithm, &self.ha1, method, &answer);
        answer.set_quoted("response", &response);
        answer
    }
}

/// What a server makes of the credentials in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// No response to any challenge: only a user name, as IMS sends it first. To be challenged.
    Unanswered,
    /// The right secret with a nonce that has expired, was never issued, or a count that was used:
    /// to be challenged anew with `stale=true`.
    Stale,
    /// The reason, for notes and reports.
    Refused(String),
}

/// The nonces a server has issued, and which counts of each were used.
///
/// Holds at most `MOST_NONCES`; the oldest is forgotten first, and its user is challenged anew.
#[derive(Clone, Debug)]
pub struct Server {
    realm: String,
    lifetime: Duration,
    random: Random,
    nonces: BTreeMap<String, Issued>,
    /// Nonces by age, oldest first.
    order: VecDeque<String>,
    counts: NonceCounts,
}

/// How often the count of a nonce is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonceCounts {
    /// Once (RFC 7616 5.4, clause not verified).
    #[default]
    Once,
    /// Unlawful: again, but not twice running.
    NotTwiceRunning,
    /// Unlawful: as often as it comes.
    Always,
}

#[derive(Clone, Debug)]
struct Issued {
    at: At,
    /// The largest count used.
    highest: u32,
    /// Bit n: count `highest - n` was used.
    used: u64,
    /// The count used last.
    last: u32,
}

impl Server {
    /// `lifetime` is that of a nonce; `seed` feeds the nonces.
    pub fn new(realm: &str, lifetime: Duration, seed: u64) -> Server {
        Server {
            realm: realm.to_owned(),
            lifetime,
            random: Random::new(seed),
            nonces: BTreeMap::new(),
            order: VecDeque::new(),
            counts: NonceCounts::Once,
        }
    }

    pub fn counting(mut self, counts: NonceCounts) -> Server {
        self.counts = counts;
        self
    }

    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Challenges with a fresh nonce: one value for each algorithm, the preferred first. Each goes into
    /// a header of its own.
    pub fn challenge(&mut self, at: At, algorithms: &[Algorithm], stale: Stale) -> Vec<AuthValue> {
        let nonce = self.random.token(32);
        self.challenge_with(at, &nonce, algorithms, stale)
    }

    /// Challenges with a given nonce, as AKA needs it (RFC 3310 3.2: RAND and AUTN in base64).
    pub fn challenge_with(
        &mut self,
        at: At,
        nonce: &str,
        algorithms: &[Algorithm],
        stale: Stale,
    ) -> Vec<AuthValue> {
        self.remember(at, nonce);
        let opaque = self.random.token(8);
        algorithms
            .iter()
            .map(|algorithm| {
                let mut challenge = AuthValue::digest();
                challenge.set_quoted("realm", &self.realm);
                challenge.set_quoted("nonce", nonce);
                challenge.set_token("algorithm", algorithm.name());
                challenge.set_quoted("qop", "auth");
                challenge.set_quoted("opaque", &opaque);
                if stale == Stale::Yes {
                    challenge.set_token("stale", "true");
                }
                challenge
            })
            .collect()
    }

    /// Judges credentials for a request. `secret` is the user's own, looked up by the caller by the
    /// `username` of the credentials. A count is used up only by an accepted request.
    ///
    /// Whether `uri` names the resource asked for is the caller's to check where the protocol demands
    /// it (HTTP does; SIP need not, RFC 3261 22.4 item 6).
    pub fn verify(
        &mut self,
        at: At,
        method: &str,
        credentials: &AuthValue,
        secret: &Secret,
    ) -> Verdict {
        if !credentials.is_digest() {
            return Verdict::Refused(format!("scheme {}, expected Digest", credentials.scheme));
        }
        let field = |name| credentials.get(name).unwrap_or_default();
        if field("response").is_empty() {
            return Verdict::Unanswered;
        }
        if field("realm") != self.realm {
            let found = field("realm");
            return Verdict::Refused(format!("realm {found:?}, expected {:?}", self.realm));
        }
        let Some(algorithm) = credentials.algorithm() else {
            return Verdict::Refused(format!("algorithm {:?}", field("algorithm")));
        };
        // Every challenge of ours offers qop, so an answer has to use it (RFC 3261 22.4 item 8).
        if !field("qop").eq_ignore_ascii_case("auth") || field("cnonce").is_empty() {
            return Verdict::Refused("no qop=auth with cnonce".to_owned());
        }
        let Some(count) = nonce_count(field("nc")) else {
            let found = field("nc");
            return Verdict::Refused(format!("nc {found:?}, expected eight hexadecimal digits"));
        };
        let ha1 = secret.ha1(algorithm, field("username"), &self.realm);
        let expected = response(algorithm, &ha1, method, credentials);
        if !expected.eq_ignore_ascii_case(field("response")) {
            return Verdict::Refused("wrong response".to_owned());
        }
        self.forget_expired(at);
        let issued = self.nonces.get_mut(field("nonce"));
        if issued.is_some_and(|issued| issued.take(count, self.counts)) {
            Verdict::Accepted
        } else {
            Verdict::Stale
        }
    }

    /// Withdraws a nonce: it was answered wrongly, or its authentication is over.
    pub fn forget(&mut self, nonce: &str) {
        self.nonces.remove(nonce);
        self.order.retain(|known| known != nonce);
    }

    fn remember(&mut self, at: At, nonce: &str) {
        self.forget_expired(at);
        self.forget(nonce);
        while self.order.len() >= MOST_NONCES {
            if let Some(oldest) = self.order.pop_front() {
                self.nonces.remove(&oldest);
            }
        }
        self.order.push_back(nonce.to_owned());
        let issued = Issued {
            at,
            highest: 0,
            used: 1,
            last: 0,
        };
        self.nonces.insert(nonce.to_owned(), issued);
    }

    fn forget_expired(&mut self, at: At) {
        while let Some(oldest) = self.order.front() {
            match self.nonces.get(oldest) {
                Some(issued) if at.since(issued.at) <= self.lifetime => return,
                _ => {
                    self.nonces.remove(oldest);
                    self.order.pop_front();
                }
            }
        }
    }
}

impl Issued {
    /// Uses a count; false if it was used, is zero, or is too far behind to know.
    fn take(&mut self, count: u32, counts: NonceCounts) -> bool {
        let before = std::mem::replace(&mut self.last, count);
        match counts {
            NonceCounts::Once => self.take_once(count),
            NonceCounts::NotTwiceRunning => count != before,
            NonceCounts::Always => true,
        }
    }

    fn take_once(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.used = self.used.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        let fresh = behind < 64 && self.used & (1 << behind) == 0;
        if fresh {
            self.used |= 1 << behind;
        }
        fresh
    }
}

/// Whether a challenge says that only the nonce was wrong (RFC 7616 3.3 `stale`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    No,
    Yes,
}

/// The `response` that belongs to credentials: with qop (RFC 7616 3.4.1), or without (its
/// predecessors).
pub fn response(algorithm: Algorithm, ha1: &str, method: &str, credentials: &AuthValue) -> String {
    let field = |name| credentials.get(name).unwrap_or_default().as_bytes();
    let ha2 = algorithm.hash(&[method.as_bytes(), field("uri")]);
    let (ha1, ha2) = (ha1.as_bytes(), ha2.as_bytes());
    if credentials.get("qop").is_some() {
        algorithm.hash(&[
            ha1,
            field("nonce"),
            field("nc"),
            field("cnonce"),
            field("qop"),
            ha2,
        ])
    } else {
        algorithm.hash(&[ha1, field("nonce"), ha2])
    }
}

/// Eight hexadecimal digits (RFC 7616 3.4 `nc`).
fn nonce_count(text: &str) -> Option<u32> {
    if text.len() != 8 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(text, 16).ok()
}

/// The hash of the parts with colons between, in lower-case hexadecimal.
fn hex_of<D: Digest>(parts: &[&[u8]]) -> String {
    let digest = D::digest(parts.join(&b':'));
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

const MOST_NONCES: usize = 65_536;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn password(password: &str) -> Secret {
        Secret::Password(password.to_owned())
    }

    fn value(text: &str) -> AuthValue {
        AuthValue::parse(text).expect("the test's value is well formed")
    }

    /// A server, its challenge to a client, and the client's session.
    fn challenged(algorithm: Algorithm) -> (Server, Session, Random) {
        let mut server = Server::new("ims.example", MINUTE, 1);
        let challenges = server.challenge(At::ZERO, &[algorithm], Stale::No);
        let session = Session::start(&challenges, "ue-a", &password("pw")).unwrap();
        (server, session, Random::new(2))
    }

    /// RFC 7616 3.9.1.
    #[test]
    fn the_examples_of_the_standard_come_out() {
        for (algorithm, expected) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            (
                "SHA-256",
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ] {
            let credentials = value(&format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
                 uri=\"/dir/index.html\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
                 cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth"
            ));
            let algorithm = credentials.algorithm().unwrap();
            let ha1 = password("Circle of Life").ha1(algorithm, "Mufasa", "http-auth@example.org");
            assert_eq!(expected, response(algorithm, &ha1, "GET", &credentials));
        }
    }

    /// RFC 2617 3.5, and the same without qop.
    #[test]
    fn the_example_of_the_older_standard_comes_out() {
        let mut credentials = value(
            "Digest username=\"Mufasa\",realm=\"testrealm@host.com\",\
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\",uri=\"/dir/index.html\",qop=auth,\
             nc=00000001,cnonce=\"0a4f113b\"",
        );
        let ha1 = password("Circle Of Life").ha1(Algorithm::Md5, "Mufasa", "testrealm@host.com");
        assert_eq!("939e7578ed9e3c518a452acee763bce9", ha1);
        let with_qop = response(Algorithm::Md5, &ha1, "GET", &credentials);
        assert_eq!("6629fae49393a05397450978507c4ef1", with_qop);
        credentials.remove("qop");
        let without = response(Algorithm::Md5, &ha1, "GET", &credentials);
        assert_eq!("670fd8c2df070c60b045671b8b24ff02", without);
    }

    #[test]
    fn a_challenge_is_answered_and_accepted() {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256, Algorithm::AkaV1Md5] {
            let (mut server, mut session, mut random) = challenged(algorithm);
            for nc in ["00000001", "00000002"] {
                let answer = session.answer("REGISTER", "sip:ims.example", &mut random);
                let answer = value(&answer.to_string());
                assert_eq!(Some(nc), answer.get("nc"));
                let verdict = server.verify(At::ZERO, "REGISTER", &answer, &password("pw"));
                assert_eq!(Verdict::Accepted, verdict);
            }
        }
    }

    #[test]
    fn ha1_and_octets_serve_as_secret() {
        let (mut server, mut session, mut random) = challenged(Algorithm::Md5);
        let ha1 = password("pw").ha1(Algorithm::Md5, "ue-a", "ims.example");
        for secret in [Secret::Ha1(ha1), Secret::Octets(b"pw".to_vec())] {
            let answer = session.answer("GET", "/", &mut random);
            assert_eq!(
                Verdict::Accepted,
                server.verify(At::ZERO, "GET", &answer, &secret)
            );
        }
    }

    #[test]
    fn a_count_serves_once_in_any_order() {
        let (mut server, mut session, mut random) = challenged(Algorithm::Md5);
        let mut answers: Vec<AuthValue> = (0..3)
            .map(|_| session.answer("GET", "/", &mut random))
            .collect();
        answers.reverse();
        for answer in &answers {
            let verdict = server.verify(At::ZERO, "GET", answer, &password("pw"));
            assert_eq!(Verdict::Accepted, verdict);
        }
        for answer in &answers {
            let verdict = server.verify(At::ZERO, "GET", answer, &password("pw"));
            assert_eq!(Verdict::Stale, verdict);
        }
    }

    #[test]
    fn an_expired_or_unknown_nonce_is_stale_only_with_the_right_secret() {
        let (mut server, mut session, mut random) = challenged(Algorithm::Md5);
        let answer = session.answer("GET", "/", &mut random);
        let late = At::ZERO + MINUTE + Duration::from_nanos(1);
        let refused = Verdict::Refused("wrong response".to_owned());

        assert_eq!(
            refused,
            server.verify(late, "GET", &answer, &password("no"))
        );
        assert_eq!(
            Verdict::Stale,
            server.verify(late, "GET", &answer, &password("pw"))
        );
        let anew = server.challenge(late, &[Algorithm::Md5], Stale::Yes);
        assert_eq!(Some("true"), anew[0].get("stale"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (mut server, mut session, mut random) = challenged(Algorithm::Md5);
        let good = session.answer("GET", "/", &mut random);
        let spoilt = [
            ("realm", "else.example"),
            ("qop", "auth-int"),
            ("nc", "1"),
            ("algorithm", "MD5-sess"),
            ("username", "ue-b"),
            ("uri", "/other"),
            ("response", "00"),
        ];
        for (name, bad) in spoilt {
            let mut answer = good.clone();
            answer.set_quoted(name, bad);
            let verdict = server.verify(At::ZERO, "GET", &answer, &password("pw"));
            assert!(
                matches!(verdict, Verdict::Refused(_)),
                "{name}: {verdict:?}"
            );
        }
        let mut blank = good.clone();
        blank.set_quoted("response", "");
        let verdict = server.verify(At::ZERO, "GET", &blank, &password("pw"));
        assert_eq!(Verdict::Unanswered, verdict);
        let other_method = server.verify(At::ZERO, "PUT", &good, &password("pw"));
        assert!(matches!(other_method, Verdict::Refused(_)));
        let still = server.verify(At::ZERO, "GET", &good, &password("pw"));
        assert_eq!(Verdict::Accepted, still);
    }

    #[test]
    fn the_first_challenge_that_can_be_answered_is() {
        let offered = "Basic realm=\"x\", Digest realm=\"a\", nonce=\"1\", algorithm=SHA-512-256, \
            qop=\"auth\", Digest realm=\"b\", nonce=\"2\", algorithm=SHA-256, qop=\"auth-int, auth\"";
        let offered = AuthValue::parse_all(offered).unwrap();

        assert_eq!(3, offered.len());
        let session = Session::start(&offered, "u", &password("p")).unwrap();
        assert_eq!(Some("b"), session.challenge().get("realm"));
        let none = Session::start(&offered[..2], "u", &password("p"));
        assert_eq!(Some(Unanswerable::Algorithm), none.err());
    }

    #[test]
    fn a_value_is_changed_in_place() {
        let mut value =
            value("Digest username=\"a \\\"b\\\"\", realm = \"r,s\",uri=\"sip:x\", nc=1");

        value.set_token("integrity-protected", "no");
        value.set_quoted("REALM", "t");

        assert_eq!(Some("a \"b\""), value.get("username"));
        assert_eq!(Some("1".to_owned()), value.remove("nc"));
        assert_eq!(
            "Digest username=\"a \\\"b\\\"\",REALM=\"t\",uri=\"sip:x\",integrity-protected=no",
            value.to_string()
        );
    }

    #[test]
    fn nonces_do_not_pile_up() {
        let mut server = Server::new("r", MINUTE, 1);
        for second in 0..200 {
            let at = At::ZERO + Duration::from_secs(second);
            server.challenge(at, &[Algorithm::Md5], Stale::No);
        }
        assert_eq!(61, server.nonces.len());
        assert_eq!(61, server.order.len());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,40}") {
            let _ = AuthValue::parse_all(&text);
            let mut server = Server::new("r", MINUTE, 1);
            if let Ok(value) = AuthValue::parse(&format!("Digest {text}")) {
                server.verify(At::ZERO, "GET", &value, &Secret::Octets(Vec::new()));
            }
        }

        #[test]
        fn a_written_value_is_read_back(pairs in proptest::collection::btree_map("[a-z]{1,6}", "[ -~]{0,10}", 1..6)) {
            let mut written = AuthValue::digest();
            for (name, value) in &pairs {
                written.set_quoted(name, value);
            }
            prop_assert_eq!(Ok(written.clone()), AuthValue::parse(&written.to_string()));
        }
    }
}
