//! SIP (RFC 3261): spans over the received bytes, typed views on demand, edits that copy untouched
//! ranges. A message that parses is kept octet for octet; one that does not says where and why.
//!
//! Reading is forgiving, so that a proxy can pass on what it need not understand; [`check`] is strict.
//! Start at [`Message`].

mod check;
mod edit;
mod name;
mod values;

use std::{borrow::Cow, ops::Range, sync::Arc};

use bytes::Bytes;
use memchr::memchr;

use super::{Framed, Malformed};

pub use check::{Problem, check};
pub use edit::{Builder, Edit, reason};
pub(crate) use name::Name;
pub use values::{CSeq, NameAddr, Params, Uri, Via, list};
pub(crate) use values::{quote, unquote};

/// Where the first message of a stream ends: after its headers and as many octets of body as its
/// Content-Length says (RFC 3261 18.3), none if it has no such header. Empty lines before the start
/// line (RFC 3261 7.5) belong to the message.
pub fn frame(buffer: &[u8]) -> Result<Framed, Malformed> {
    let start = skip_empty_lines(buffer);
    let mut lines = Lines::new(buffer, start);
    let Some(first) = lines.next() else {
        return Ok(Framed::Partial);
    };
    StartLine::parse(buffer, first)?;

    let mut length: Option<u32> = None;
    while let Some(span) = lines.next() {
        if span.is_empty() {
            let end = lines.at.saturating_add(length.unwrap_or(0) as usize);
            return Ok(if end <= buffer.len() {
                Framed::Whole(end)
            } else {
                Framed::Partial
            });
        }
        let line = Line::new(buffer, span, &lines);
        if line.name != Name::ContentLength {
            continue;
        }
        let found = line.content_length(buffer)?;
        if length.is_some_and(|earlier| earlier != found) {
            return Err(Malformed::new(
                buffer,
                line.start as usize,
                "one Content-Length",
            ));
        }
        length = Some(found);
    }
    Ok(Framed::Partial)
}

/// A SIP message: its octets, and where its parts stand in them.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    start: StartLine,
    /// Shared by copies of the message.
    lines: Arc<Vec<Line>>,
    /// From the first octet after the empty line to the end, or to where Content-Length says.
    body: Range<usize>,
}

/// Messages are equal if their octets are.
impl PartialEq for Message {
    fn eq(&self, other: &Message) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Message {}

impl From<Message> for Bytes {
    fn from(message: Message) -> Bytes {
        message.bytes
    }
}

impl Message {
    /// Reads a whole message. Needs a start line and the empty line after the headers; whatever else is
    /// wrong is kept and left to [`check`].
    pub fn parse(bytes: Bytes) -> Result<Message, Malformed> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Malformed::new(&bytes, 0, "a message of less than 4 GiB"));
        }
        let mut reader = Lines::new(&bytes, skip_empty_lines(&bytes));
        let first = reader
            .next()
            .ok_or_else(|| Malformed::new(&bytes, 0, "a start line ended by CRLF"))?;
        let start = StartLine::parse(&bytes, first)?;

        let mut lines = Vec::with_capacity(32);
        let mut length = None;
        loop {
            let span = reader.next().ok_or_else(|| {
                Malformed::new(&bytes, bytes.len(), "an empty line after the headers")
            })?;
            if span.is_empty() {
                break;
            }
            let line = Line::new(&bytes, span, &reader);
            if line.name == Name::ContentLength && length.is_none() {
                length = line.content_length(&bytes).ok();
            }
            lines.push(line);
        }
        let from = reader.at;
        let to = match length {
            Some(length) => from.saturating_add(length as usize).min(bytes.len()),
            None => bytes.len(),
        };
        Ok(Message {
            bytes,
            start,
            lines: Arc::new(lines),
            body: from..to,
        })
    }

    /// All octets as received; on a datagram that may be more than headers and body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The request's method, or the method of the CSeq a response answers; "" if unreadable.
    pub fn method(&self) -> &str {
        match &self.start {
            StartLine::Request { method, .. } => self.text(method),
            StartLine::Response { .. } => self
                .first(Name::CSeq, "CSeq")
                .and_then(|line| {
                    line.raw_value(&self.bytes)
                        .rsplit(|octet| is_space(*octet))
                        .next()
                })
                .and_then(|method| std::str::from_utf8(method).ok())
                .unwrap_or_default(),
        }
    }

    /// Octets after the method, as received: SIP, tel, urn, sips, anything. `None` for a response.
    pub fn request_uri(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { uri, .. } => Some(self.text(uri)),
            StartLine::Response { .. } => None,
        }
    }

    /// A response's status code: three digits or more, as long as they fit.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// A response's reason phrase; octets that are no UTF-8 make it empty.
    pub fn reason(&self) -> Option<&str> {
        match &self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { reason, .. } => Some(self.text(reason)),
        }
    }

    /// Every header line in order, compact names included as written. A line without a name (no colon)
    /// comes with an empty one.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.lines.iter().map(|line| Header {
            name: line.name_text(&self.bytes),
            value: line.value(&self.bytes),
            span: line.span(),
        })
    }

    /// First header of that name (any case, long or compact form asked by long name), unfolded, trimmed.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.first(Name::of(name.as_bytes()), name)
            .map(|line| line.value(&self.bytes))
    }

    pub fn has(&self, name: &str) -> bool {
        self.first(Name::of(name.as_bytes()), name).is_some()
    }

    /// Every comma-separated value of every header of that name (quotes and angle brackets respected).
    /// Empty values are left out.
    pub fn values(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        for line in self.all(name) {
            let value = line.value(&self.bytes);
            found.extend(list(&value).map(str::to_owned));
        }
        found
    }

    /// The body, as far as Content-Length and the octets reach.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body.clone()]
    }

    /// The body without copying.
    pub fn body_bytes(&self) -> Bytes {
        self.bytes.slice(self.body.clone())
    }

    /// The topmost Via.
    pub fn top_via(&self) -> Result<Via, Malformed> {
        let line = self.required(Name::Via, "Via")?;
        let value = line.value(&self.bytes);
        let top = list(&value).next().unwrap_or_default();
        Via::parse(top).map_err(|e| line.locate(e))
    }

    pub fn from(&self) -> Result<NameAddr, Malformed> {
        self.addr(Name::From, "From")
    }

    pub fn to(&self) -> Result<NameAddr, Malformed> {
        self.addr(Name::To, "To")
    }

    pub fn cseq(&self) -> Result<CSeq, Malformed> {
        let line = self.required(Name::CSeq, "CSeq")?;
        CSeq::parse(&line.value(&self.bytes)).map_err(|e| line.locate(e))
    }

    pub fn call_id(&self) -> Result<String, Malformed> {
        let line = self.required(Name::CallId, "Call-ID")?;
        Ok(line.value(&self.bytes).into_owned())
    }

    /// Name-addr list headers: Route, Record-Route, Path, Service-Route, Contact, P-Asserted-Identity…
    /// `Contact: *` is one entry whose `uri` is `*`.
    pub fn addrs(&self, name: &str) -> Result<Vec<NameAddr>, Malformed> {
        let mut found = Vec::new();
        for line in self.all(name) {
            for value in list(&line.value(&self.bytes)) {
                found.push(NameAddr::parse(value).map_err(|e| line.locate(e))?);
            }
        }
        Ok(found)
    }

    /// A header that is one number: Expires, Max-Forwards, Min-Expires, Content-Length, Retry-After
    /// (whose comment and parameters are passed over).
    pub fn number(&self, name: &str) -> Result<Option<u32>, Malformed> {
        match self.first(Name::of(name.as_bytes()), name) {
            None => Ok(None),
            Some(line) => values::number(&line.value(&self.bytes))
                .map(Some)
                .map_err(|e| line.locate(e)),
        }
    }

    /// Starts an edit: untouched octets are copied as they are.
    pub fn edit(&self) -> Edit<'_> {
        Edit::new(self)
    }

    fn addr(&self, known: Name, name: &str) -> Result<NameAddr, Malformed> {
        let line = self.required(known, name)?;
        NameAddr::parse(&line.value(&self.bytes)).map_err(|e| line.locate(e))
    }

    fn required(&self, known: Name, name: &str) -> Result<&Line, Malformed> {
        self.first(known, name).ok_or_else(|| {
            Malformed::new(
                &self.bytes,
                self.headers_end(),
                format!("a {name} header before the end of the headers"),
            )
        })
    }

    fn first(&self, known: Name, name: &str) -> Option<&Line> {
        self.lines
            .iter()
            .find(|line| line.is(&self.bytes, known, name))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &Line> {
        let known = Name::of(name.as_bytes());
        self.lines
            .iter()
            .filter(move |line| line.is(&self.bytes, known, name))
    }

    fn headers_end(&self) -> usize {
        match self.lines.last() {
            Some(line) => line.end as usize,
            None => self.start.end(),
        }
    }

    fn text(&self, span: &Span) -> &str {
        std::str::from_utf8(span.of(&self.bytes)).unwrap_or_default()
    }
}

/// One header line.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// As written, without white space before the colon.
    pub name: &'a str,
    /// Unfolded and trimmed; octets that are no UTF-8 are shown as U+FFFD.
    pub value: Cow<'a, str>,
    /// The whole line with its continuations and CRLF, in octets of [`Message::bytes`].
    pub span: Range<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    from: u32,
    to: u32,
}

impl Span {
    fn new(from: usize, to: usize) -> Span {
        Span {
            from: from as u32,
            to: to as u32,
        }
    }

    fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.from as usize..self.to as usize]
    }
}

#[derive(Clone, Debug)]
enum StartLine {
    Request {
        line: Span,
        method: Span,
        uri: Span,
        version: Span,
    },
    Response {
        line: Span,
        version: Span,
        status: u16,
        reason: Span,
    },
}

impl StartLine {
    /// Reads `METHOD uri SIP/x` or `SIP/x nnn reason`. White space beyond the one SP between parts
    /// is passed over here and reported by `check`.
    fn parse(bytes: &[u8], line: Range<usize>) -> Result<StartLine, Malformed> {
        let text = &bytes[line.clone()];
        if is_version(text.split(|octet| is_blank(*octet)).next().unwrap_or(text)) {
            StartLine::response(bytes, line)
        } else {
            StartLine::request(bytes, line)
        }
    }

    fn request(bytes: &[u8], line: Range<usize>) -> Result<StartLine, Malformed> {
        let wrong = |at| {
            Malformed::new(
                bytes,
                at,
                "METHOD Request-URI SIP/2.0, or SIP/2.0 and a code",
            )
        };
        let text = trim_end(&bytes[line.clone()]);
        let method = text
            .iter()
            .position(|octet| is_blank(*octet))
            .filter(|&length| length > 0)
            .ok_or_else(|| wrong(line.start))?;
        if !text[..method].iter().all(u8::is_ascii_graphic) {
            return Err(wrong(line.start));
        }
        let version = text
            .iter()
            .rposition(|octet| is_blank(*octet))
            .map_or(0, |blank| blank + 1);
        if version <= method || !is_version(&text[version..]) {
            return Err(wrong(line.start + version));
        }
        let uri = trim_span(bytes, line.start + method..line.start + version);
        Ok(StartLine::Request {
            method: Span::new(line.start, line.start + method),
            uri,
            version: Span::new(line.start + version, line.start + text.len()),
            line: Span::new(line.start, line.end),
        })
    }

    fn response(bytes: &[u8], line: Range<usize>) -> Result<StartLine, Malformed> {
        let text = &bytes[line.clone()];
        let version = text
            .iter()
            .position(|octet| is_blank(*octet))
            .unwrap_or(text.len());
        let rest = trim_span(bytes, line.start + version..line.end);
        let digits = rest
            .of(bytes)
            .iter()
            .take_while(|octet| octet.is_ascii_digit())
            .count();
        let code_ends = rest.from as usize + digits;
        let status = decimal(&bytes[rest.from as usize..code_ends])
            .and_then(|code| u16::try_from(code).ok())
            .filter(|_| {
                bytes[code_ends..line.end]
                    .first()
                    .is_none_or(|o| is_blank(*o))
            })
            .ok_or_else(|| Malformed::new(bytes, rest.from as usize, "a status code"))?;
        Ok(StartLine::Response {
            version: Span::new(line.start, line.start + version),
            status,
            reason: trim_span(bytes, code_ends..line.end),
            line: Span::new(line.start, line.end),
        })
    }

    /// Offset of the first octet after the line, were it ended by CRLF.
    fn end(&self) -> usize {
        let (StartLine::Request { line, .. } | StartLine::Response { line, .. }) = self;
        line.to as usize
    }
}

/// A header line's parts: `start` name `name_end` … `value` … `value_end` CRLF `end`.
#[derive(Clone, Debug)]
struct Line {
    name: Name,
    folded: bool,
    start: u32,
    name_end: u32,
    value: u32,
    value_end: u32,
    end: u32,
}

impl Line {
    /// `span` is the line that was just read, with its continuations and without its last line end.
    #[inline]
    fn new(bytes: &[u8], span: Range<usize>, read: &Lines<'_>) -> Line {
        let text = &bytes[span.clone()];
        // No colon: no name, and the whole line is the value.
        let (name_end, after_colon) = match memchr(b':', text) {
            Some(colon) => (trim_end(&text[..colon]).len(), colon + 1),
            None => (0, 0),
        };
        let value = trim_span(bytes, span.start + after_colon..span.end);
        Line {
            name: Name::of(&text[..name_end]),
            folded: read.continued && memchr(b'\n', value.of(bytes)).is_some(),
            start: span.start as u32,
            name_end: (span.start + name_end) as u32,
            value: value.from,
            value_end: value.to,
            end: read.at as u32,
        }
    }

    fn is(&self, bytes: &[u8], known: Name, name: &str) -> bool {
        self.name == known
            && (known != Name::Other || self.raw_name(bytes).eq_ignore_ascii_case(name.as_bytes()))
    }

    fn raw_name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..self.name_end as usize]
    }

    fn raw_value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.value as usize..self.value_end as usize]
    }

    fn name_text<'a>(&self, bytes: &'a [u8]) -> &'a str {
        std::str::from_utf8(self.raw_name(bytes)).unwrap_or_default()
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        let raw = self.raw_value(bytes);
        // The check alone is much faster than the search for what is to be replaced.
        let text = match std::str::from_utf8(raw) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(raw),
        };
        if self.folded {
            Cow::Owned(unfold(&text))
        } else {
            text
        }
    }

    fn span(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Moves an error found in this line's value to where it stands in the message (exact unless the
    /// value was folded before it).
    fn locate(&self, mut error: Malformed) -> Malformed {
        error.at += self.value as usize;
        error
    }

    fn content_length(&self, bytes: &[u8]) -> Result<u32, Malformed> {
        decimal(self.raw_value(bytes)).ok_or_else(|| {
            Malformed::new(
                bytes,
                self.value as usize,
                format!("a Content-Length of at most {} octets", u32::MAX),
            )
        })
    }
}

/// Cuts octets into lines, each with the continuation lines that follow it (RFC 3261 7.3.1). Lines end
/// in CRLF; a lone LF is taken for one, and `check` reports it.
struct Lines<'a> {
    bytes: &'a [u8],
    /// The first octet not yet read.
    at: usize,
    first: bool,
    /// The line last read has continuation lines.
    continued: bool,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8], at: usize) -> Lines<'a> {
        Lines {
            bytes,
            at,
            first: true,
            continued: false,
        }
    }

    /// The next line without its line end; empty for the line that ends the headers. `None` if the
    /// octets end first.
    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let mut seek = start;
        self.continued = false;
        loop {
            let feed = seek + memchr(b'\n', &self.bytes[seek..])?;
            let end = if feed > start && self.bytes[feed - 1] == b'\r' {
                feed - 1
            } else {
                feed
            };
            seek = feed + 1;
            let may_continue = end > start && !std::mem::take(&mut self.first);
            if may_continue && self.bytes.get(seek).is_some_and(|o| is_blank(*o)) {
                self.continued = true;
                continue;
            }
            self.at = seek;
            return Some(start..end);
        }
    }
}

fn skip_empty_lines(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|octet| !matches!(octet, b'\r' | b'\n'))
        .unwrap_or(bytes.len())
}

fn is_version(text: &[u8]) -> bool {
    text.len() > 4 && text[..4].eq_ignore_ascii_case(b"SIP/")
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn trim_end(text: &[u8]) -> &[u8] {
    let kept = text.iter().rposition(|octet| !is_space(*octet));
    &text[..kept.map_or(0, |last| last + 1)]
}

fn trim_span(bytes: &[u8], span: Range<usize>) -> Span {
    let text = trim_end(&bytes[span.clone()]);
    let skipped = text
        .iter()
        .position(|octet| !is_space(*octet))
        .unwrap_or(text.len());
    Span::new(span.start + skipped, span.start + text.len())
}

/// One to ten digits that fit.
fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0u32, |value, digit| {
        value.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
    })
}

/// Each line end with the white space around it becomes one space.
fn unfold(text: &str) -> String {
    let mut unfolded = String::with_capacity(text.len());
    for (index, part) in text.split('\n').enumerate() {
        let part = part.strip_suffix('\r').unwrap_or(part);
        let part = match index {
            0 => part,
            _ => part.trim_start_matches([' ', '\t']),
        };
        if index > 0 {
            unfolded.truncate(unfolded.trim_end_matches([' ', '\t']).len());
            unfolded.push(' ');
        }
        unfolded.push_str(part);
    }
    unfolded
}

/// Every method: of RFC 3261 and of those registered after it (RFC 3262, 3311, 3428, 3515, 3903, 6086, 6665).
pub const METHODS: &[&str] = &[
    "ACK",
    "BYE",
    "CANCEL",
    "INFO",
    "INVITE",
    "MESSAGE",
    "NOTIFY",
    "OPTIONS",
    "PRACK",
    "PUBLISH",
    "REFER",
    "REGISTER",
    "SUBSCRIBE",
    "UPDATE",
];

#[cfg(test)]
mod tests;
