//! A run folder that may be handed to strangers: the same run without its secrets. What is secret is known from
//! where it stands, like the response of digest credentials, HA1 and session keys on Cx, or a token, and from
//! what the subscribers are provisioned with. Each is overwritten by as many `x`, so that every length and every
//! offset stays true; what is eight octets or longer wherever else it occurs too, as it is, in hexadecimal and
//! in base64.

use std::{collections::BTreeSet, io, path::Path, sync::LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use regex::bytes::{Regex, RegexBuilder};
use serde_json::Value;

use super::{Folder, Report};
use crate::{
    proto::digest::{Algorithm, Secret},
    spec::Format,
    suite::Subscribers,
    trace::{EventKind, Trace, jsonl},
    wire::{
        diameter::{self, Avp, dictionary::Kind},
        frame::Frame,
    },
};

/// Writes the run of `folder` without its secrets into a new folder at `path`; a trace at a time. Captures,
/// ladders and reports are to be drawn again from there.
pub fn redact(
    folder: &Folder,
    report: &Report,
    subscribers: &Subscribers,
    path: &Path,
) -> io::Result<(Folder, Report)> {
    let to = Folder::create(path, folder.owned_contents())?;
    let mut redacted = report.clone();
    let mut all = provisioned(subscribers, &BTreeSet::new());
    for instance in &mut redacted.instances {
        let Some(mut trace) = folder.trace(instance)? else {
            continue;
        };
        let secrets = secrets(&trace, subscribers);
        overwrite(&mut trace, &secrets);
        let text = jsonl::write(&trace, &to.known()).text;
        instance.trace = Some(to.store(&super::folder::trace_file(&instance.id), text.as_bytes())?);
        all.extend(secrets);
    }
    let mut redacted = without(&redacted, &all)?;
    redacted.run.redacted = true;
    to.store_report(&redacted)?;
    Ok((to, redacted))
}

/// The results with every secret overwritten, in whatever text it stands.
fn without(report: &Report, secrets: &BTreeSet<Vec<u8>>) -> io::Result<Report> {
    let Some(pattern) = pattern(secrets) else {
        return Ok(report.clone());
    };
    let mut value = serde_json::to_value(report)?;
    let mut open = vec![&mut value];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => {
                let overwritten = overwritten(text.as_bytes(), &pattern);
                *text = String::from_utf8_lossy(&overwritten).into_owned();
            }
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => open.extend(fields.values_mut()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    Ok(serde_json::from_value(value)?)
}

/// Every secret that stands in a trace, and those the subscribers bring along.
fn secrets(trace: &Trace, subscribers: &Subscribers) -> BTreeSet<Vec<u8>> {
    let mut realms = BTreeSet::new();
    let mut found = BTreeSet::new();
    for frame in trace.events.iter().filter_map(|event| event.frame()) {
        for (start, end) in places(frame) {
            found.insert(frame.bytes[start..end].to_vec());
        }
        for captures in REALM.captures_iter(&frame.bytes) {
            realms.insert(String::from_utf8_lossy(&captures[1]).into_owned());
        }
    }
    found.extend(provisioned(subscribers, &realms));
    found
}

/// Passwords, keys, and the HA1 of each realm.
fn provisioned(subscribers: &Subscribers, realms: &BTreeSet<String>) -> BTreeSet<Vec<u8>> {
    let mut secrets = BTreeSet::new();
    for subscriber in &subscribers.all {
        secrets.insert(subscriber.password.clone().into_bytes());
        secrets.insert(subscriber.k.to_vec());
        secrets.insert(subscriber.opc.to_vec());
        let password = Secret::Password(subscriber.password.clone());
        for realm in realms {
            for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
                let ha1 = password.ha1(algorithm, &subscriber.impi, realm);
                secrets.insert(ha1.into_bytes());
            }
        }
    }
    secrets
}

fn overwrite(trace: &mut Trace, secrets: &BTreeSet<Vec<u8>>) {
    let pattern = pattern(secrets);
    let everywhere = |bytes: &[u8]| match &pattern {
        Some(pattern) => overwritten(bytes, pattern),
        None => bytes.to_vec(),
    };
    for event in &mut trace.events {
        match &mut event.kind {
            EventKind::Sent(frame) | EventKind::Received(frame) | EventKind::Lost(frame) => {
                let mut bytes = frame.bytes.to_vec();
                for (start, end) in places(frame) {
                    bytes[start..end].fill(FILL);
                }
                frame.bytes = Bytes::from(everywhere(&bytes));
            }
            EventKind::Noted { note, .. } => {
                let text = everywhere(note.text.as_bytes());
                note.text = String::from_utf8_lossy(&text).into_owned();
            }
            _ => {}
        }
    }
}

/// Where secrets stand in the octets of a frame, readable or not.
fn places(frame: &Frame) -> Vec<(usize, usize)> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for named in [&*PARAMETER, &*TOKEN, &*SCHEME] {
        let captures = named.captures_iter(&frame.bytes);
        places.extend(
            captures
                .filter_map(|all| all.get(1))
                .map(|m| (m.start(), m.end())),
        );
    }
    if frame.format == Format::Diameter
        && let Ok(message) = diameter::Message::parse(frame.bytes.clone())
    {
        for avp in message.avps() {
            in_avp(&avp, frame, 0, &mut places);
        }
    }
    places
}

fn in_avp(avp: &Avp<'_>, frame: &Frame, depth: usize, places: &mut Vec<(usize, usize)>) {
    let attribute = avp.attribute();
    if attribute.is_some_and(|attribute| SECRET_AVPS.contains(&attribute.name)) {
        let data = avp.data();
        let start = data.as_ptr() as usize - frame.bytes.as_ptr() as usize;
        places.push((start, start + data.len()));
    } else if attribute.is_some_and(|attribute| attribute.kind == Kind::Grouped)
        && depth < DEEPEST
        && let Ok(group) = avp.group()
    {
        for inside in group.iter() {
            in_avp(&inside, frame, depth + 1, places);
        }
    }
}

/// All secrets that are long enough to be nothing else by chance, in each notation, as one pattern.
fn pattern(secrets: &BTreeSet<Vec<u8>>) -> Option<Regex> {
    let mut notations: BTreeSet<String> = BTreeSet::new();
    for secret in secrets.iter().filter(|secret| secret.len() >= CERTAIN) {
        let hex = |letters: fn(&u8) -> String| secret.iter().map(letters).collect::<String>();
        let escaped: String = secret
            .iter()
            .map(|octet| format!("\\x{octet:02x}"))
            .collect();
        notations.insert(escaped);
        notations.insert(hex(|octet| format!("{octet:02x}")));
        notations.insert(hex(|octet| format!("{octet:02X}")));
        notations.insert(regex::escape(STANDARD.encode(secret).trim_end_matches('=')));
    }
    if notations.is_empty() {
        return None;
    }
    let alternatives: Vec<String> = notations.into_iter().collect();
    let pattern = RegexBuilder::new(&alternatives.join("|"))
        .unicode(false)
        .size_limit(LARGEST_PATTERN)
        .build();
    Some(pattern.expect("escaped octets are a pattern, and a run has not so many"))
}

fn overwritten(bytes: &[u8], pattern: &Regex) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let found: Vec<_> = pattern.find_iter(&bytes).map(|m| m.range()).collect();
    for range in found {
        bytes[range].fill(FILL);
    }
    bytes
}

fn fixed(pattern: &str) -> Regex {
    RegexBuilder::new(pattern)
        .unicode(false)
        .case_insensitive(true)
        .build()
        .expect("the pattern is a constant: see the tests")
}

/// Parameters of credentials and challenges: RFC 7616 3.4 and 3.5, RFC 3310 3.4; ck and ik as the S-CSCF hands them
/// to the P-CSCF (clause not verified).
static PARAMETER: LazyLock<Regex> =
    LazyLock::new(|| fixed(r#"\b(?:response|rspauth|auts|ck|ik)[ \t]*=[ \t]*"?([^",; \t\r\n]+)"#));

/// A token in a query or in a JSON document.
static TOKEN: LazyLock<Regex> =
    LazyLock::new(|| fixed(r#"(?:[?&]token=|"token"[ \t\r\n]*:[ \t\r\n]*")([^"&# \t\r\n]+)"#));

/// Credentials that are a secret by themselves (RFC 7617, RFC 6750).
static SCHEME: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"\bauthorization[ \t]*:[ \t]*(?:basic|bearer)[ \t]+([^ \t\r\n]+)"));

static REALM: LazyLock<Regex> = LazyLock::new(|| fixed(r#"\brealm[ \t]*=[ \t]*"([^"]*)""#));

/// TS 29.228 and RFC 4740: HA1, the answer that is expected, and the keys of the session.
const SECRET_AVPS: &[&str] = &[
    "Digest-HA1",
    "SIP-Authorization",
    "Confidentiality-Key",
    "Integrity-Key",
];

/// What takes a secret's place.
const FILL: u8 = b'x';

/// Octets from which a secret is looked for everywhere, not only where it is known to stand.
const CERTAIN: usize = 8;

/// Groups within groups.
const DEEPEST: usize = 6;

const LARGEST_PATTERN: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec::RefPoint,
        wire::frame::{Party, Security},
    };

    #[test]
    fn secrets_are_found_where_they_stand() {
        let found = |text: &str| {
            let frame = frame(text);
            let places = places(&frame);
            places
                .into_iter()
                .map(|(start, end)| text[start..end].to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            vec!["0123abcd"],
            found(
                "REGISTER sip:a SIP/2.0\r\nAuthorization: Digest nonce=\"n\", response=\"0123abcd\"\r\n\r\n"
            )
        );
        assert_eq!(
            vec!["c1", "i1"],
            found("WWW-Authenticate: Digest CK = \"c1\", ik=i1, realm=\"x\"\r\n")
        );
        assert_eq!(vec!["t0k"], found("GET /a?x=1&token=t0k HTTP/1.1\r\n"));
        assert_eq!(vec!["t1"], found("{\"token\": \"t1\", \"range\": 1}"));
        assert_eq!(vec!["b64=="], found("Authorization: Basic b64==\r\n"));
        assert!(found("{\"response\":\"ok\"}").is_empty());
    }

    #[test]
    fn a_long_secret_is_overwritten_in_every_notation_and_a_short_one_is_not_taken_for_more() {
        let secret = b"\x01\x02\x03\x04\x05\x06\x07\xff".to_vec();
        let pattern = pattern(&BTreeSet::from([secret.clone(), b"ok".to_vec()])).unwrap();
        let mut text = b"ok 01020304050607ff AQIDBAUGB/8= ".to_vec();
        text.extend(&secret);
        let overwritten = String::from_utf8(overwritten(&text, &pattern)).unwrap();
        assert_eq!("ok xxxxxxxxxxxxxxxx xxxxxxxxxxx= xxxxxxxx", overwritten);
    }

    fn frame(text: &str) -> Frame {
        Frame {
            from: Party::Node("a".into()),
            to: Party::Node("b".into()),
            src: "192.0.2.1:1".parse().unwrap(),
            dst: "192.0.2.2:2".parse().unwrap(),
            on: RefPoint::Ut,
            format: Format::Http,
            link: None,
            security: Security::Plain,
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            framed: true,
        }
    }
}
