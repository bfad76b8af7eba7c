//! Initial filter criteria: which application server a request goes to next (TS 23.218 5.2, 6.4.1; TS
//! 29.228 Annexes B, C and F). Pure: profile and request in, criterion out.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use crate::{
    proto::cx::profile::{
        Condition, InitialFilterCriteria, ProfilePart, RegistrationType, ServicePointTrigger,
        SessionCase,
    },
    wire::sip::{Message, Name, Uri, list},
};

/// What a request is to its served user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occasion {
    pub case: SessionCase,
    /// For REGISTER only.
    pub registration: Option<RegistrationType>,
}

/// Compiled patterns; profiles repeat them.
#[derive(Debug, Default)]
pub struct Patterns(BTreeMap<String, Option<Regex>>);

/// The first criterion from `from` on that the request meets, with its place. `criteria` are in order of
/// priority.
pub fn next<'a>(
    criteria: &'a [InitialFilterCriteria],
    from: usize,
    request: &Message,
    occasion: Occasion,
    patterns: &mut Patterns,
) -> Option<(usize, &'a InitialFilterCriteria)> {
    criteria
        .iter()
        .enumerate()
        .skip(from)
        .find(|(_, criterion)| meets(criterion, request, occasion, patterns))
}

/// Lower number first (TS 29.228 B.2.2).
pub fn by_priority(criteria: &[InitialFilterCriteria]) -> Vec<InitialFilterCriteria> {
    let mut sorted = criteria.to_vec();
    sorted.sort_by_key(|criterion| criterion.priority);
    sorted
}

fn meets(
    criterion: &InitialFilterCriteria,
    request: &Message,
    occasion: Occasion,
    patterns: &mut Patterns,
) -> bool {
    let unregistered = matches!(
        occasion.case,
        SessionCase::TerminatingUnregistered | SessionCase::OriginatingUnregistered
    );
    let part_applies = match criterion.part {
        None => true,
        Some(ProfilePart::Registered) => !unregistered,
        Some(ProfilePart::Unregistered) => unregistered,
    };
    part_applies
        && criterion
            .trigger
            .as_ref()
            .is_none_or(|point| point.holds(|trigger| is_met(trigger, request, occasion, patterns)))
}

/// One condition, before its negation.
fn is_met(
    trigger: &ServicePointTrigger,
    request: &Message,
    occasion: Occasion,
    patterns: &mut Patterns,
) -> bool {
    match &trigger.condition {
        Condition::Method(method) => {
            request.method() == method
                && (trigger.registration_types.is_empty()
                    || occasion
                        .registration
                        .is_none_or(|kind| trigger.registration_types.contains(&kind)))
        }
        Condition::RequestUri(pattern) => request
            .request_uri()
            .is_some_and(|uri| patterns.found(pattern, &host_part(uri))),
        Condition::Header { name, content } => request.headers().any(|header| {
            patterns.is_whole(name, &long_name(header.name))
                && content.as_ref().is_none_or(|content| {
                    list(&header.value).any(|value| patterns.found(content, &squeezed(value)))
                })
        }),
        Condition::SessionCase(case) => *case == occasion.case,
        Condition::SessionDescription { line, content } => {
            sdp_lines(request).any(|(kind, value)| {
                patterns.is_whole(line, &kind)
                    && content
                        .as_ref()
                        .is_none_or(|content| patterns.found(content, &value))
            })
        }
    }
}

impl Patterns {
    /// Whether an extended regular expression is found in a text. One that cannot be compiled is found
    /// nowhere.
    fn found(&mut self, pattern: &str, text: &str) -> bool {
        self.is_match(pattern.to_owned(), text)
    }

    /// Whether it matches the whole of a name, in any case. Annex F only says "matched against the
    /// header-name"; taken as a search, which is as lawful, `Event` would also find Allow-Events.
    fn is_whole(&mut self, pattern: &str, text: &str) -> bool {
        self.is_match(format!("(?i)^(?:{pattern})$"), text)
    }

    fn is_match(&mut self, pattern: String, text: &str) -> bool {
        if self.0.len() > MOST_PATTERNS {
            self.0.clear();
        }
        self.0
            .entry(pattern)
            .or_insert_with_key(|pattern| {
                RegexBuilder::new(pattern)
                    .size_limit(PATTERN_SIZE)
                    .build()
                    .ok()
            })
            .as_ref()
            .is_some_and(|regex| regex.is_match(text))
    }
}

/// What a RequestURI trigger sees: the host and port of a SIP URI, the number of a tel URI (Annex F).
fn host_part(uri: &str) -> String {
    if let Ok(uri) = Uri::parse(uri) {
        return match uri.port {
            Some(port) => format!("{}:{port}", uri.host),
            None => uri.host,
        };
    }
    match uri.split_once(':') {
        Some((_, number)) => number.split(';').next().unwrap_or_default().to_owned(),
        None => uri.to_owned(),
    }
}

/// A header's name in its long form.
fn long_name(name: &str) -> String {
    match Name::of(name.as_bytes()).long() {
        "" => name.to_owned(),
        long => long.to_owned(),
    }
}

/// A header value as Annex F matches it: white space around separators gone, else one space. Quoted text
/// stays as it is.
fn squeezed(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let (mut quoted, mut escaped, mut space) = (false, false, false);
    for c in value.trim().chars() {
        if quoted {
            text.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        if c.is_ascii_whitespace() {
            space = true;
            continue;
        }
        if space && !SEPARATORS.contains(c) && !text.ends_with(|last| SEPARATORS.contains(last)) {
            text.push(' ');
        }
        space = false;
        quoted = c == '"';
        text.push(c);
    }
    text
}

/// The fields of an SDP body: type and value.
fn sdp_lines(request: &Message) -> impl Iterator<Item = (String, String)> {
    let is_sdp = request
        .header("Content-Type")
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/sdp"));
    let body = match is_sdp {
        true => String::from_utf8_lossy(request.body()),
        false => "".into(),
    };
    let lines: Vec<_> = body
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(kind, value)| (kind.to_owned(), value.to_owned()))
        .collect();
    lines.into_iter()
}

/// SEMI, EQUAL, SLASH, COMMA and COLON allow white space around them (RFC 3261 25.1).
const SEPARATORS: &str = ";=/,:";

const MOST_PATTERNS: usize = 1000;

/// Octets a compiled pattern may take.
const PATTERN_SIZE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        proto::cx::profile::{ApplicationServer, TriggerPoint},
        wire::sip::Builder,
    };

    const ORIGINATING: Occasion = Occasion {
        case: SessionCase::Originating,
        registration: None,
    };

    fn request(event: &str) -> Message {
        Builder::request("SUBSCRIBE", "sip:tracker@p2pcds.ims.example:5060;lr")
            .header("Allow-Events", "p2pcds-peers")
            .header("o", event)
            .header("Content-Type", "application/sdp")
            .body("application/sdp", b"v=0\r\nm=message 2855 TCP/MSRP *\r\n")
            .finish()
    }

    fn met(condition: Condition, request: &Message) -> bool {
        let criterion = criterion(1, vec![condition]);
        meets(&criterion, request, ORIGINATING, &mut Patterns::default())
    }

    fn criterion(priority: u32, conditions: Vec<Condition>) -> InitialFilterCriteria {
        let triggers = conditions
            .into_iter()
            .zip(0..)
            .map(|(condition, group)| ServicePointTrigger {
                negated: false,
                groups: vec![group],
                condition,
                registration_types: Vec::new(),
            })
            .collect();
        InitialFilterCriteria {
            priority,
            trigger: Some(TriggerPoint {
                conjunctive: true,
                triggers,
            }),
            server: ApplicationServer::default(),
            part: None,
        }
    }

    fn event(content: &str) -> Condition {
        Condition::Header {
            name: "Event".to_owned(),
            content: Some(content.to_owned()),
        }
    }

    #[test]
    fn a_header_trigger_is_a_pattern_on_each_value() {
        let peers = event("^p2pcds-peers(;.*)?$");
        assert!(met(peers.clone(), &request("p2pcds-peers")));
        assert!(met(peers.clone(), &request("p2pcds-peers ; id=1")));
        assert!(!met(peers, &request("reg")));
        assert!(met(event("^a$"), &request("b, a")));
        assert!(
            !met(event("("), &request("(")),
            "a broken pattern meets nothing"
        );
    }

    #[test]
    fn a_header_name_is_matched_whole() {
        let request = request("reg");
        assert!(
            !met(event("p2pcds-peers"), &request),
            "Allow-Events is not Event"
        );
        let either = Condition::Header {
            name: "allow-events|x".to_owned(),
            content: None,
        };
        assert!(met(either, &request));
    }

    #[test]
    fn a_request_uri_trigger_sees_host_and_port_only() {
        let request = request("reg");
        let on = |pattern: &str| met(Condition::RequestUri(pattern.to_owned()), &request);
        assert!(on("^p2pcds\\.ims\\.example(:[0-9]+)?$"));
        assert!(!on("tracker"));
    }

    #[test]
    fn session_case_and_session_description_are_looked_at() {
        let request = request("reg");
        assert!(met(
            Condition::SessionCase(SessionCase::Originating),
            &request
        ));
        let other = SessionCase::TerminatingRegistered;
        assert!(!met(Condition::SessionCase(other), &request));
        let line = |content: &str| Condition::SessionDescription {
            line: "m".to_owned(),
            content: Some(content.to_owned()),
        };
        assert!(met(line("^message "), &request));
        assert!(!met(line("^audio "), &request));
    }

    #[test]
    fn the_lowest_priority_number_comes_first_and_each_is_tried_once() {
        let method = |m: &str| Condition::Method(m.to_owned());
        let criteria = by_priority(&[
            criterion(7, vec![method("SUBSCRIBE")]),
            criterion(2, vec![method("SUBSCRIBE"), event("^reg$")]),
            criterion(4, vec![method("INVITE")]),
        ]);
        let request = request("reg");
        let mut patterns = Patterns::default();
        let mut met = Vec::new();
        let mut from = 0;
        while let Some((at, criterion)) =
            next(&criteria, from, &request, ORIGINATING, &mut patterns)
        {
            met.push(criterion.priority);
            from = at + 1;
        }
        assert_eq!(vec![2, 7], met);
    }

    #[test]
    fn white_space_around_separators_does_not_count() {
        assert_eq!("a;b=c d", squeezed(" a ; b =\tc   d "));
        assert_eq!("\"a ; b\";c", squeezed("\"a ; b\" ; c"));
    }
}
