//! Header values as types: Via, name-addr, CSeq, URI, parameters, numbers, lists (RFC 3261 20, 25.1).
//! Each `parse` takes one unfolded value and gives offsets into it; each `Display` writes one back.

use std::fmt::{self, Write as _};

use super::super::Malformed;

/// Splits at the commas that stand outside quotes and angle brackets. Empty values are left out.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    split(value, b',')
        .map(|(_, part)| part.trim())
        .filter(|part| !part.is_empty())
}

/// The value of a Via header (RFC 3261 20.42): `SIP/2.0/TCP host:port;branch=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// As written: `UDP`, `TCP`, `TLS`, anything.
    pub transport: String,
    /// An IPv6 address with its brackets.
    pub host: String,
    pub port: Option<u16>,
    pub params: Params,
}

impl Via {
    pub fn parse(text: &str) -> Result<Via, Malformed> {
        let wrong = |at, expected: &str| Malformed::new(text.as_bytes(), at, expected);
        let mut slashes = text.match_indices('/').map(|(at, _)| at);
        let (Some(first), Some(second)) = (slashes.next(), slashes.next()) else {
            return Err(wrong(0, "SIP/2.0/transport host"));
        };
        if !text[..first].trim().eq_ignore_ascii_case("SIP")
            || text[first + 1..second].trim() != "2.0"
        {
            return Err(wrong(0, "SIP/2.0/"));
        }
        let from = second + 1 + blanks(&text[second + 1..]);
        let transport_length = token_length(&text[from..]);
        let after = from + transport_length;
        if transport_length == 0 || blanks(&text[after..]) == 0 {
            return Err(wrong(from, "a transport and white space"));
        }
        let semicolon = text[after..].find(';').map_or(text.len(), |at| after + at);
        let (host, port) = host_and_port(&text[after..semicolon])
            .ok_or_else(|| wrong(after, "a host, or a host and a port"))?;
        Ok(Via {
            transport: text[from..after].to_owned(),
            host,
            port,
            params: Params::parse_at(text, semicolon)?,
        })
    }

    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch")
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)
    }
}

/// The value of a CSeq header (RFC 3261 20.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    pub number: u32,
    pub method: String,
}

impl CSeq {
    pub fn parse(text: &str) -> Result<CSeq, Malformed> {
        let digits = digits(text);
        let number = super::decimal(&text.as_bytes()[..digits])
            .filter(|number| *number < 1 << 31)
            .ok_or_else(|| {
                Malformed::new(text.as_bytes(), 0, "a sequence number of less than 2**31")
            })?;
        let from = digits + blanks(&text[digits..]);
        let method = &text[from..];
        if from == digits || method.is_empty() || token_length(method) != method.len() {
            return Err(Malformed::new(text.as_bytes(), digits, "a method"));
        }
        Ok(CSeq {
            number,
            method: method.to_owned(),
        })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// `"Display" <uri>;params` or `uri;params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// Without quotes and escapes.
    pub display: Option<String>,
    /// As written between the angle brackets; any scheme. `*` for `Contact: *`.
    pub uri: String,
    /// The header's parameters, not the URI's.
    pub params: Params,
}

impl NameAddr {
    /// `<uri>` alone.
    pub fn new(uri: &str) -> NameAddr {
        NameAddr {
            display: None,
            uri: uri.to_owned(),
            params: Params::default(),
        }
    }

    pub fn parse(text: &str) -> Result<NameAddr, Malformed> {
        let wrong = |at, expected: &str| Malformed::new(text.as_bytes(), at, expected);
        let quoted = if text.starts_with('"') {
            quoted_length(text).ok_or_else(|| wrong(0, "a closing quote"))?
        } else {
            0
        };
        let Some(open) = text[quoted..].find('<').map(|at| quoted + at) else {
            if quoted > 0 {
                return Err(wrong(quoted, "<"));
            }
            // Without brackets every parameter is the header's (RFC 3261 20).
            let end = text.find(';').unwrap_or(text.len());
            return Ok(NameAddr {
                display: None,
                uri: address(text, 0, text[..end].trim_end())?,
                params: Params::parse_at(text, end)?,
            });
        };
        let display = match quoted {
            0 => Some(text[..open].trim())
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
            _ if !text[quoted..open].trim().is_empty() => return Err(wrong(quoted, "<")),
            _ => Some(unquote(&text[..quoted])),
        };
        let close = text[open..]
            .find('>')
            .map(|at| open + at)
            .ok_or_else(|| wrong(text.len(), ">"))?;
        Ok(NameAddr {
            display,
            uri: address(text, open + 1, &text[open + 1..close])?,
            params: Params::parse_at(text, close + 1)?,
        })
    }

    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag")
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.uri == "*" {
            return f.write_char('*');
        }
        if let Some(display) = &self.display {
            write!(f, "{} ", quote(display))?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

/// `;name=value` pairs in order; names compare without case, values stay as written, quotes included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(pub Vec<(String, Option<String>)>);

impl Params {
    /// Reads `;name=value;name…`; an empty text has no parameters.
    pub fn parse(text: &str) -> Result<Params, Malformed> {
        Params::parse_at(text, 0)
    }

    /// The value; `None` also for a parameter without one.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        value.as_deref()
    }

    /// The value without the quotes and escapes of a quoted string.
    pub fn unquoted(&self, name: &str) -> Option<String> {
        self.get(name).map(unquote)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    /// Changes a parameter in its place, or adds it at the end.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        match self
            .0
            .iter_mut()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
        {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Reads the rest of `text` from `at` on.
    fn parse_at(text: &str, at: usize) -> Result<Params, Malformed> {
        let wrong = |at, expected: &str| Malformed::new(text.as_bytes(), at, expected);
        let rest = &text[at..];
        let mut params = Vec::new();
        for (index, (offset, part)) in split(rest, b';').enumerate() {
            let offset = at + offset;
            if index == 0 {
                if !part.trim().is_empty() {
                    return Err(wrong(offset, ";"));
                }
                continue;
            }
            let (name, value) = match part.find('=') {
                Some(equals) => (part[..equals].trim(), Some(part[equals + 1..].trim())),
                None => (part.trim(), None),
            };
            if name.is_empty() || token_length(name) != name.len() {
                return Err(wrong(offset, "a parameter name"));
            }
            if let Some(value) = value
                && !is_param_value(value)
            {
                return Err(wrong(offset, "a token, a host or a quoted string as value"));
            }
            params.push((name.to_owned(), value.map(str::to_owned)));
        }
        Ok(Params(params))
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            write!(f, ";{name}")?;
            if let Some(value) = value {
                write!(f, "={value}")?;
            }
        }
        Ok(())
    }
}

/// A parsed SIP or SIPS URI (RFC 3261 19.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// `sip` or `sips`.
    pub scheme: String,
    /// Everything before the `@`, a password included, escapes as written.
    pub user: Option<String>,
    /// As written; an IPv6 address with its brackets.
    pub host: String,
    pub port: Option<u16>,
    pub params: Params,
    /// What stands after the `?`.
    pub headers: Option<String>,
}

impl Uri {
    /// Errors on any scheme but `sip` and `sips`.
    pub fn parse(text: &str) -> Result<Uri, Malformed> {
        let wrong = |at, expected: &str| Malformed::new(text.as_bytes(), at, expected);
        let colon = text
            .find(':')
            .ok_or_else(|| wrong(0, "a scheme and a colon"))?;
        let scheme = text[..colon].to_ascii_lowercase();
        if !matches!(scheme.as_str(), "sip" | "sips") {
            return Err(wrong(0, "the scheme sip or sips"));
        }
        if let Some(at) = text.find(|c: char| c.is_ascii_control() || c == ' ' || c == '"') {
            return Err(wrong(at, "no space, control character or quote in a URI"));
        }
        // A user may hold ; and ?, so the @ is sought first.
        let (user, from) = match text.find('@') {
            Some(at) if at == colon + 1 => return Err(wrong(at, "a user before @")),
            Some(at) => (Some(text[colon + 1..at].to_owned()), at + 1),
            None => (None, colon + 1),
        };
        let question = text[from..].find('?').map_or(text.len(), |at| from + at);
        let semicolon = text[from..question]
            .find(';')
            .map_or(question, |at| from + at);
        let (host, port) = host_and_port(&text[from..semicolon])
            .ok_or_else(|| wrong(from, "a host, or a host and a port"))?;
        Ok(Uri {
            scheme,
            user,
            host,
            port,
            params: uri_params(text, semicolon, question)?,
            headers: text.get(question + 1..).map(str::to_owned),
        })
    }

    /// Whether two URIs name the same address of record: scheme, user and host; escapes decoded, host
    /// without case, parameters and port aside (RFC 3261 10.3 step 5 strips parameters likewise).
    pub fn same_user(&self, other: &Uri) -> bool {
        self.scheme == other.scheme
            && self.host.eq_ignore_ascii_case(&other.host)
            && match (&self.user, &other.user) {
                (Some(ours), Some(theirs)) => unescape(ours) == unescape(theirs),
                (ours, theirs) => ours == theirs,
            }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)?;
        match &self.headers {
            Some(headers) => write!(f, "?{headers}"),
            None => Ok(()),
        }
    }
}

/// URI parameters allow characters that a token does not (`[ ] / : & + $`), but no quotes.
fn uri_params(text: &str, from: usize, to: usize) -> Result<Params, Malformed> {
    let mut params = Vec::new();
    let mut at = from;
    for part in text[from..to].split(';').skip(1) {
        at += 1;
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (part, None),
        };
        if name.is_empty() {
            return Err(Malformed::new(text.as_bytes(), at, "a parameter name"));
        }
        params.push((name.to_owned(), value));
        at += part.len();
    }
    Ok(Params(params))
}

/// A number at the start, alone or followed by a comment or parameters.
pub(super) fn number(text: &str) -> Result<u32, Malformed> {
    let digits = digits(text);
    let rest = text[digits..].trim_start();
    super::decimal(&text.as_bytes()[..digits])
        .filter(|_| rest.is_empty() || rest.starts_with(['(', ';']))
        .ok_or_else(|| Malformed::new(text.as_bytes(), 0, "a number of less than 2**32"))
}

/// RFC 3261 25.1.
pub(crate) fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&octet)
}

/// Parts of `text` between separators outside quotes and angle brackets, each with its offset.
pub(super) fn split(text: &str, separator: u8) -> impl Iterator<Item = (usize, &str)> {
    let bytes = text.as_bytes();
    let mut from = Some(0);
    std::iter::from_fn(move || {
        let start = from?;
        let end = start + unprotected(&bytes[start..], separator);
        from = (end < bytes.len()).then_some(end + 1);
        Some((start, &text[start..end]))
    })
}

/// Offset of the first separator outside quotes and angle brackets; the length if there is none.
pub(super) fn unprotected(bytes: &[u8], separator: u8) -> usize {
    let mut quoted = false;
    let mut bracketed = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' if !bracketed => quoted = !quoted,
            _ if quoted => (),
            b'<' => bracketed = true,
            b'>' => bracketed = false,
            octet if octet == separator && !bracketed => return at,
            _ => (),
        }
        at += 1;
    }
    bytes.len()
}

/// Length of the quoted string that `text` begins with, both quotes included.
pub(super) fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, octet) in text.bytes().enumerate().skip(1) {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => (),
        }
    }
    None
}

/// Takes quotes and escapes off a quoted string; other text stays as it is.
pub(crate) fn unquote(text: &str) -> String {
    let Some(inner) = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return text.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => chars.next().unwrap_or('\\'),
            other => other,
        });
    }
    plain
}

/// Puts quotes around `text` and escapes in it.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// Decodes `%41`; a percent sign without two hexadecimal digits stays.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    plain
}

/// A URI of any scheme, or `*`; `from` is where it stands in `text`.
fn address(text: &str, from: usize, uri: &str) -> Result<String, Malformed> {
    let wrong = |at, expected: &str| Malformed::new(text.as_bytes(), at, expected);
    let scheme = uri.find(':').unwrap_or(0);
    let has_scheme = uri.as_bytes()[..scheme].iter().enumerate().all(|(i, o)| {
        o.is_ascii_alphabetic() || i > 0 && (o.is_ascii_digit() || b"+-.".contains(o))
    });
    if uri != "*" && (scheme == 0 || !has_scheme) {
        return Err(wrong(from, "a URI"));
    }
    match uri.find(|c: char| c.is_ascii_control() || matches!(c, ' ' | '"' | '<' | '>' | ',')) {
        // A comma may stand in a user part; outside brackets the list was split at it.
        Some(at) if !uri[at..].starts_with(',') => {
            Err(wrong(from + at, "no space, quote or bracket in a URI"))
        }
        _ => Ok(uri.to_owned()),
    }
}

/// `host`, `host:port`, `[v6]:port`, white space around each.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let text = text.trim();
    let host_ends = match text.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let host = text[..host_ends].trim_end();
    let is_host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|o| o.is_ascii_alphanumeric() || b"-._".contains(&o))
        }
    };
    if !is_host {
        return None;
    }
    let rest = text[host_ends..].trim();
    if rest.is_empty() {
        return Some((host.to_owned(), None));
    }
    let port = rest.strip_prefix(':')?.trim_start();
    let port = super::decimal(port.as_bytes()).and_then(|port| u16::try_from(port).ok())?;
    Some((host.to_owned(), Some(port)))
}

fn is_param_value(value: &str) -> bool {
    if value.starts_with('"') {
        return quoted_length(value) == Some(value.len());
    }
    // token / host; IPv6 addresses stand without brackets in received (RFC 3261 25.1), and deployed
    // parameters hold characters of a URI.
    !value.is_empty()
        && value
            .bytes()
            .all(|o| is_token(o) || b"[]:/@&$?#=".contains(&o) || !o.is_ascii())
}

fn token_length(text: &str) -> usize {
    text.bytes().take_while(|octet| is_token(*octet)).count()
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn blanks(text: &str) -> usize {
    text.bytes()
        .take_while(|octet| super::is_blank(*octet))
        .count()
}
