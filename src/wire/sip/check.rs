//! The strict reader: everything in one message that RFC 3261 does not allow, with place and clause.
//! Judges one message alone: no transaction, no dialog, no knowledge of what a node supports.

use super::{
    Line, Message, Name, StartLine, is_blank,
    values::{self, CSeq, NameAddr, Uri, Via, is_token},
};

/// One rule that a message breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Offset in octets of [`Message::bytes`].
    pub at: usize,
    /// The header's name by its long form, or "start line" or "body".
    pub header: String,
    /// What was found and what was expected.
    pub what: String,
    /// The rule: `RFC 3261 20.16`.
    pub clause: &'static str,
}

/// Everything wrong with a message, in order of place.
pub fn check(message: &Message) -> Vec<Problem> {
    let mut checking = Checking {
        message,
        problems: Vec::new(),
    };
    checking.start_line();
    checking.presence();
    for line in message.lines.iter() {
        checking.line(line);
    }
    checking.cseq();
    checking.contact_star();
    checking.body();
    checking.problems.sort_by_key(|problem| problem.at);
    checking.problems
}

struct Checking<'a> {
    message: &'a Message,
    problems: Vec<Problem>,
}

impl Checking<'_> {
    fn report(&mut self, at: usize, header: &str, what: impl Into<String>, clause: &'static str) {
        self.problems.push(Problem {
            at,
            header: header.to_owned(),
            what: what.into(),
            clause,
        });
    }

    fn start_line(&mut self) {
        let message = self.message;
        let bytes = &message.bytes;
        let (StartLine::Request { line, version, .. } | StartLine::Response { line, version, .. }) =
            &message.start;
        let at = line.from as usize;
        if !version.of(bytes).eq_ignore_ascii_case(b"SIP/2.0") {
            let found = version.of(bytes).escape_ascii();
            self.report(
                version.from as usize,
                START_LINE,
                format!("found version \"{found}\", expected SIP/2.0"),
                "RFC 3261 7.1",
            );
        }
        if !bytes[line.to as usize..].starts_with(b"\r\n") {
            self.report(line.to as usize, START_LINE, "found no CRLF", "RFC 3261 7");
        }
        match &message.start {
            StartLine::Request { method, uri, .. } => {
                if !method.of(bytes).iter().all(|octet| is_token(*octet)) {
                    self.report(at, START_LINE, "the method is no token", "RFC 3261 25.1");
                }
                let spaced = [method, uri, version]
                    .map(|span| span.of(bytes))
                    .join(&b' ');
                if spaced != line.of(bytes) {
                    self.report(
                        at,
                        START_LINE,
                        "expected one space between method, Request-URI and version, and none after",
                        "RFC 3261 7.1",
                    );
                }
                self.request_uri(uri.from as usize);
            }
            StartLine::Response { status, .. } => {
                let text = line.of(bytes);
                let code = version.of(bytes).len() + 1;
                let digits = format!("{status:03}");
                let well_formed = text[code.min(text.len())..].starts_with(digits.as_bytes())
                    && text.get(code + digits.len()) == Some(&b' ');
                if !well_formed {
                    self.report(
                        at,
                        START_LINE,
                        "expected SIP/2.0, one space, three digits, one space and a reason",
                        "RFC 3261 7.2",
                    );
                }
                if !(100..=699).contains(status) {
                    self.report(
                        at,
                        START_LINE,
                        format!("found status code {status}, expected 100 to 699"),
                        "RFC 3261 7.2",
                    );
                }
            }
        }
    }

    fn request_uri(&mut self, at: usize) {
        let uri = self.message.request_uri().unwrap_or_default();
        let mut wrong = |what: String, clause| self.report(at, START_LINE, what, clause);
        if let Some(found) = uri.find([' ', '\t', '<', '>', '"']) {
            let found = &uri[found..found + 1];
            return wrong(
                format!("found {found:?} in the Request-URI, expected no space, bracket or quote"),
                "RFC 3261 7.1",
            );
        }
        if let Some(what) = uri_problem(uri) {
            return wrong(what, "RFC 3261 19.1.1");
        }
        if let Ok(parsed) = Uri::parse(uri)
            && (parsed.headers.is_some() || parsed.params.has("method"))
        {
            wrong(
                "found URI headers or a method parameter in the Request-URI".to_owned(),
                "RFC 3261 19.1.1",
            );
        }
    }

    /// RFC 3261 8.1.1 for requests, 8.2.6.2 for responses.
    fn presence(&mut self) {
        let message = self.message;
        let end = message.headers_end();
        let clause = if message.is_request() {
            "RFC 3261 8.1.1"
        } else {
            "RFC 3261 8.2.6.2"
        };
        let mut needed: Vec<(&str, &'static str)> = ["Via", "From", "To", "Call-ID", "CSeq"]
            .map(|name| (name, clause))
            .into();
        if message.is_request() {
            needed.push(("Max-Forwards", clause));
        }
        if message.is_request() && message.method() == "INVITE" {
            needed.push(("Contact", "RFC 3261 8.1.1.8"));
        }
        if !message.body().is_empty() {
            needed.push(("Content-Type", "RFC 3261 20.15"));
        }
        for (name, clause) in needed {
            if !message.has(name) {
                self.report(end, name, "missing", clause);
            }
        }
        for (index, line) in message.lines.iter().enumerate() {
            if SINGLE.contains(&line.name)
                && message.lines[..index].iter().any(|l| l.name == line.name)
            {
                let name = long_name(line, &message.bytes);
                self.report(
                    line.start as usize,
                    &name,
                    "found twice, expected once",
                    "RFC 3261 7.3.1",
                );
            }
        }
    }

    fn line(&mut self, line: &Line) {
        let bytes = &self.message.bytes;
        let name = long_name(line, bytes);
        let raw_name = line.raw_name(bytes);
        if raw_name.is_empty() || !raw_name.iter().all(|octet| is_token(*octet)) {
            let at = line.start as usize;
            self.report(at, &name, "expected a token and a colon", "RFC 3261 7.3.1");
            return;
        }
        if let Some(at) = stray_line_end(&bytes[line.span()]) {
            self.report(
                line.start as usize + at,
                &name,
                "found CR or LF alone",
                "RFC 3261 7",
            );
        }
        if std::str::from_utf8(line.raw_value(bytes)).is_err() {
            self.report(
                line.value as usize,
                &name,
                "found octets that are no UTF-8",
                "RFC 3261 25.1",
            );
        }
        let value = line.value(bytes);
        if let Err((what, clause)) = value_problem(line.name, &value, self.message) {
            self.report(line.value as usize, &name, what, clause);
        }
    }

    fn cseq(&mut self) {
        let message = self.message;
        let (Some(line), Ok(cseq)) = (message.first(Name::CSeq, "CSeq"), message.cseq()) else {
            return;
        };
        if message.is_request() && cseq.method != message.method() {
            let what = format!(
                "found method {} in a {} request",
                cseq.method,
                message.method()
            );
            self.report(line.value as usize, "CSeq", what, "RFC 3261 8.1.1.5");
        }
    }

    /// `Contact: *` stands alone, in a REGISTER that expires at once (RFC 3261 10.2.2).
    fn contact_star(&mut self) {
        let message = self.message;
        let Some(line) = message.first(Name::Contact, "Contact") else {
            return;
        };
        let values = message.values("Contact");
        if !values.iter().any(|value| value == "*") {
            return;
        }
        let lawful = message.method() == "REGISTER"
            && message.is_request()
            && values.len() == 1
            && message.number("Expires") == Ok(Some(0));
        if !lawful {
            self.report(
                line.value as usize,
                "Contact",
                "found *, expected it alone in a REGISTER with Expires: 0",
                "RFC 3261 10.2.2",
            );
        }
    }

    fn body(&mut self) {
        let message = self.message;
        let Some(line) = message.first(Name::ContentLength, "Content-Length") else {
            return;
        };
        let there = message.body().len();
        match line.content_length(&message.bytes) {
            Ok(length) if length as usize > there => self.report(
                line.value as usize,
                "body",
                format!("found {there} octets, expected {length} by Content-Length"),
                "RFC 3261 18.3",
            ),
            _ => (),
        }
    }
}

/// What is wrong with one header's value.
fn value_problem(name: Name, value: &str, message: &Message) -> Result<(), (String, &'static str)> {
    let say =
        |error: super::Malformed| format!("found {}, expected {}", error.found, error.expected);
    match name {
        // A branch without the cookie, or none, is RFC 2543's and can be worked with (RFC 3261 17.2.3).
        Name::Via => elements(value, "RFC 3261 8.1.1.7", |element| {
            match Via::parse(element).map_err(say)?.branch() {
                Some(MAGIC) => Err(format!("found branch {MAGIC}, expected more after it")),
                _ => Ok(()),
            }
        }),
        Name::From | Name::To | Name::ReplyTo | Name::ReferTo | Name::ReferredBy => {
            let clause = "RFC 3261 20.10";
            address(value).map_err(|what| (what, clause))?;
            let tagged = NameAddr::parse(value).is_ok_and(|addr| addr.tag().is_some());
            let must = match name {
                Name::From => true,
                Name::To => message.status().is_some_and(|status| status > 100),
                _ => false,
            };
            if must && !tagged {
                let clause = match name {
                    Name::From => "RFC 3261 8.1.1.3",
                    _ => "RFC 3261 8.2.6.2",
                };
                return Err(("found no tag".to_owned(), clause));
            }
            Ok(())
        }
        Name::Contact if value == "*" => Ok(()),
        Name::Contact => elements(value, "RFC 3261 20.10", |element| {
            address(element)?;
            expires_param(element)
        }),
        Name::PAssertedIdentity | Name::PPreferredIdentity => {
            elements(value, "RFC 3261 20.10", address)
        }
        Name::Warning => elements(value, "RFC 3261 20.43", warning),
        Name::Route
        | Name::RecordRoute
        | Name::Path
        | Name::ServiceRoute
        | Name::PAssociatedUri => elements(value, "RFC 3261 25.1", |element| {
            address(element)?;
            if element.contains('<') {
                Ok(())
            } else {
                Err(format!("found \"{element}\", expected the URI in < and >"))
            }
        }),
        Name::CSeq => CSeq::parse(value)
            .map(|_| ())
            .map_err(|e| (say(e), "RFC 3261 20.16")),
        Name::MaxForwards => match values::number(value) {
            Ok(0..=255) => Ok(()),
            _ => Err((
                format!("found \"{value}\", expected a number from 0 to 255"),
                "RFC 3261 20.22",
            )),
        },
        Name::ContentLength | Name::Expires | Name::MinExpires | Name::MinSe | Name::RSeq => {
            super::decimal(value.as_bytes()).map(|_| ()).ok_or_else(|| {
                (
                    format!("found \"{value}\", expected a number of less than 2**32"),
                    match name {
                        Name::ContentLength => "RFC 3261 20.14",
                        Name::Expires => "RFC 3261 20.19",
                        Name::MinExpires => "RFC 3261 20.23",
                        _ => "RFC 3261 25.1",
                    },
                )
            })
        }
        Name::RetryAfter => values::number(value)
            .map(|_| ())
            .map_err(|e| (say(e), "RFC 3261 20.33")),
        Name::CallId if value.is_empty() || value.contains([' ', '\t']) => Err((
            format!("found \"{value}\", expected one word, or two with @ between"),
            "RFC 3261 20.8",
        )),
        Name::Date if !is_date(value) => Err((
            format!("found \"{value}\", expected an RFC 1123 date in GMT"),
            "RFC 3261 20.17",
        )),
        Name::ContentType => media_type(value).map_err(|what| (what, "RFC 3261 20.15")),
        Name::Require | Name::ProxyRequire | Name::Supported | Name::Unsupported | Name::Allow
            if !value.is_empty() =>
        {
            elements(value, "RFC 3261 25.1", |element| {
                if element.bytes().all(is_token) {
                    Ok(())
                } else {
                    Err(format!("found \"{element}\", expected a token"))
                }
            })
        }
        Name::Event | Name::SubscriptionState => {
            token_and_params(value).map_err(|what| (what, "RFC 6665 8.4"))
        }
        _ => Ok(()),
    }
}

/// Runs `problem` on each element of a list, none of which may be empty.
fn elements(
    value: &str,
    clause: &'static str,
    problem: impl Fn(&str) -> Result<(), String>,
) -> Result<(), (String, &'static str)> {
    for (_, element) in values::split(value, b',') {
        let element = element.trim();
        if element.is_empty() {
            return Err(("found an empty list element".to_owned(), "RFC 3261 25.1"));
        }
        problem(element).map_err(|what| (what, clause))?;
    }
    Ok(())
}

/// A name-addr or addr-spec with parameters.
fn address(value: &str) -> Result<(), String> {
    let addr = NameAddr::parse(value)
        .map_err(|e| format!("found {}, expected {}", e.found, e.expected))?;
    let bracketed = value.find('<');
    match bracketed {
        None if addr.uri.contains(['?', ',']) => {
            return Err(format!(
                "found \"{}\", expected < and > around a URI with ? or comma",
                addr.uri
            ));
        }
        Some(open) if !value.starts_with('"') => {
            let display = &value[..open];
            let is_words = display.bytes().all(|o| is_token(o) || is_blank(o));
            if !is_words {
                return Err(format!(
                    "found display name \"{display}\", expected tokens or quotes"
                ));
            }
        }
        _ => (),
    }
    if let Some(what) = uri_problem(&addr.uri) {
        return Err(what);
    }
    Ok(())
}

/// A Contact's own `expires`.
fn expires_param(value: &str) -> Result<(), String> {
    let addr = NameAddr::parse(value).ok();
    match addr.as_ref().and_then(|addr| addr.params.get("expires")) {
        Some(expires) if super::decimal(expires.as_bytes()).is_none() => Err(format!(
            "found expires {expires}, expected a number of less than 2**32"
        )),
        _ => Ok(()),
    }
}

/// Three digits, an agent, a quoted text.
fn warning(value: &str) -> Result<(), String> {
    let code = value.split([' ', '\t']).next().unwrap_or_default();
    if code.len() == 3 && code.bytes().all(|digit| digit.is_ascii_digit()) {
        Ok(())
    } else {
        Err(format!(
            "found \"{value}\", expected a code of three digits"
        ))
    }
}

/// What is wrong with a URI of any scheme; details of SIP and SIPS only.
fn uri_problem(uri: &str) -> Option<String> {
    let scheme = uri.split(':').next().unwrap_or_default();
    if scheme.len() == uri.len() || scheme.is_empty() {
        return Some(format!("found \"{uri}\", expected a scheme and a colon"));
    }
    if !uri.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Some(format!(
            "found \"{}\", expected printable ASCII",
            uri.escape_debug()
        ));
    }
    if !matches!(scheme.to_ascii_lowercase().as_str(), "sip" | "sips") {
        return None;
    }
    let escapes_well = uri.match_indices('%').all(|(at, _)| {
        uri.get(at + 1..at + 3)
            .is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    });
    if !escapes_well {
        return Some(format!(
            "found \"{uri}\", expected two hexadecimal digits after %"
        ));
    }
    Uri::parse(uri)
        .err()
        .map(|e| format!("found {}, expected {}", e.found, e.expected))
}

fn media_type(value: &str) -> Result<(), String> {
    let wrong = || format!("found \"{value}\", expected type/subtype");
    let essence = value.split(';').next().unwrap_or_default();
    let (kind, subtype) = essence.split_once('/').ok_or_else(wrong)?;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_token);
    if is_word(kind.trim()) && is_word(subtype.trim()) {
        Ok(())
    } else {
        Err(wrong())
    }
}

fn token_and_params(value: &str) -> Result<(), String> {
    let token = value.split(';').next().unwrap_or_default().trim();
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err(format!("found \"{value}\", expected a token"));
    }
    Ok(())
}

/// `Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 25.1 SIP-date).
fn is_date(value: &str) -> bool {
    let shape = "Aaa, 00 Aaa 0000 00:00:00 GMT";
    let fits = value.len() == shape.len()
        && value
            .bytes()
            .zip(shape.bytes())
            .all(|(octet, like)| match like {
                b'0' => octet.is_ascii_digit(),
                b'A' => octet.is_ascii_uppercase(),
                b'a' => octet.is_ascii_lowercase(),
                _ => octet == like,
            });
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    fits && DAYS.contains(&&value[..3]) && MONTHS.contains(&&value[8..11])
}

/// Offset of a CR or LF that is no part of a CRLF.
fn stray_line_end(line: &[u8]) -> Option<usize> {
    (0..line.len()).find(|&at| match line[at] {
        b'\r' => line.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || line[at - 1] != b'\r',
        _ => false,
    })
}

fn long_name(line: &Line, bytes: &[u8]) -> String {
    match line.name.long() {
        "" => line.name_text(bytes).to_owned(),
        long => long.to_owned(),
    }
}

const START_LINE: &str = "start line";

/// RFC 3261 8.1.1.7.
const MAGIC: &str = "z9hG4bK";

/// Headers whose grammar has one value and no list.
const SINGLE: &[Name] = &[
    Name::CallId,
    Name::ContentDisposition,
    Name::ContentLength,
    Name::ContentType,
    Name::CSeq,
    Name::Date,
    Name::Event,
    Name::Expires,
    Name::From,
    Name::MaxForwards,
    Name::MimeVersion,
    Name::MinExpires,
    Name::MinSe,
    Name::Organization,
    Name::Priority,
    Name::RAck,
    Name::RSeq,
    Name::ReferTo,
    Name::ReplyTo,
    Name::RetryAfter,
    Name::Server,
    Name::SessionExpires,
    Name::SipEtag,
    Name::SipIfMatch,
    Name::Subject,
    Name::SubscriptionState,
    Name::Timestamp,
    Name::To,
    Name::UserAgent,
];
