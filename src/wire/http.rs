//! HTTP/1.1 (RFC 9110, RFC 9112): requests and responses as spans over their octets, ranges, entity tags.
//! What smuggling lives on (two lengths, bare line feeds, folded headers) is refused, with its place.
//! Start at [`frame`], [`Request`] and [`Response`].

use std::{borrow::Cow, fmt, ops::Range};

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;

use super::{Framed, Malformed};

/// The longest head (start line and headers, with the empty line) that is read, in octets.
pub const HEAD_LIMIT: usize = 64 << 10;

/// The most header lines a message may have.
pub const HEADERS_LIMIT: usize = 128;

/// Finds the end of the first message of a stream (RFC 9112 6.3).
///
/// A response without any length is taken to be empty unless it says `Connection: close`: it then
/// lasts to the end of the stream and stays `Partial`. `Err` on whatever makes the end ambiguous.
pub fn frame(buffer: &[u8]) -> Result<Framed, Malformed> {
    let Some(head) = Head::read(buffer)? else {
        return Ok(Framed::Partial);
    };
    let start = head.end;
    let end = match head.length(buffer)? {
        Length::Known(length) => usize::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .filter(|&end| end <= buffer.len()),
        Length::Chunked => chunked(buffer, start, |_| {})?,
        Length::UntilClose => None,
    };
    Ok(end.map_or(Framed::Partial, Framed::Whole))
}

/// A request, kept octet for octet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request(Text);

/// A response, kept octet for octet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response(Text);

impl Request {
    /// Reads exactly one whole request.
    pub fn parse(bytes: Bytes) -> Result<Request, Malformed> {
        let text = Text::parse(bytes)?;
        match text.head.is_response {
            false => Ok(Request(text)),
            true => Err(Malformed::new(&text.bytes, 0, "a request line")),
        }
    }

    /// Starts a request. The target is percent-encoded where it holds blanks or control characters.
    pub fn build(method: &str, target: &str) -> RequestBuilder {
        let mut target = Cow::Borrowed(target);
        if target.bytes().any(|b| b <= b' ' || b == 0x7f) {
            target = Cow::Owned(encode(&target, |b| b > b' ' && b != 0x7f));
        }
        RequestBuilder(Writer::new([method, &target, "HTTP/1.1"], false))
    }

    pub fn method(&self) -> &str {
        self.0.start(0)
    }

    /// The request target as received: path and query, or a whole URL.
    pub fn target(&self) -> &str {
        self.0.start(1)
    }

    /// The path of the target, as received: `/content/movie-0001`.
    pub fn path(&self) -> &str {
        let target = self.target();
        let path = match target.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => target,
        };
        path.split(['?', '#']).next().unwrap_or(path)
    }

    /// The first query parameter of that name, percent-decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target().split_once('?')?;
        query
            .split('#')
            .next()?
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(found, _)| decode(found).as_deref() == Some(name))
            .and_then(|(_, value)| decode(value))
    }
}

impl Response {
    /// Reads exactly one whole response, or one that lasts to the end of its stream.
    pub fn parse(bytes: Bytes) -> Result<Response, Malformed> {
        let text = Text::parse(bytes)?;
        match text.head.is_response {
            true => Ok(Response(text)),
            false => Err(Malformed::new(&text.bytes, 0, "a status line")),
        }
    }

    /// Starts a response with the customary reason phrase.
    pub fn build(status: u16) -> ResponseBuilder {
        let code = status.to_string();
        ResponseBuilder(Writer::new(["HTTP/1.1", &code, reason(status)], true))
    }

    pub fn status(&self) -> u16 {
        self.0.head.status
    }

    pub fn reason(&self) -> &str {
        self.0.start(2)
    }

    /// Whether it announces no more than headers of a response to come.
    pub fn is_provisional(&self) -> bool {
        (100..200).contains(&self.status())
    }
}

/// What requests and responses have in common.
macro_rules! common {
    ($name:ident) => {
        impl From<$name> for Bytes {
            fn from(message: $name) -> Bytes {
                message.0.bytes
            }
        }

        impl $name {
            /// The octets, as received or built.
            pub fn bytes(&self) -> &Bytes {
                &self.0.bytes
            }

            /// The first header of that name, in any case; `None` also if its value is not UTF-8.
            pub fn header(&self, name: &str) -> Option<&str> {
                self.0.header(name)
            }

            pub fn has(&self, name: &str) -> bool {
                self.0.has(name)
            }

            /// Every header line in order, names as written.
            pub fn headers(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
                self.0.headers()
            }

            /// Where the headers stand in `bytes`: name and value of each line.
            pub fn spans(&self) -> &[(Range<usize>, Range<usize>)] {
                &self.0.head.headers
            }

            /// The body, its chunks joined.
            pub fn body(&self) -> Cow<'_, [u8]> {
                self.0.body()
            }

            /// The body as shared octets.
            pub fn body_bytes(&self) -> Bytes {
                self.0.body_bytes()
            }

            /// Whether the connection ends after this message (RFC 9112 9.3).
            pub fn closes(&self) -> bool {
                self.0.head.closes(&self.0.bytes)
            }
        }
    };
}
common!(Request);
common!(Response);

/// Octets and where their parts stand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text {
    bytes: Bytes,
    head: Head,
    is_chunked: bool,
}

impl Text {
    fn parse(bytes: Bytes) -> Result<Text, Malformed> {
        let Some(head) = Head::read(&bytes)? else {
            let at = bytes.len();
            return Err(Malformed::new(
                &bytes,
                at,
                "an empty line after the headers",
            ));
        };
        let length = head.length(&bytes)?;
        let end = match length {
            Length::Known(length) => usize::try_from(length)
                .ok()
                .and_then(|length| head.end.checked_add(length)),
            Length::Chunked => chunked(&bytes, head.end, |_| {})?,
            Length::UntilClose => Some(bytes.len()),
        };
        match end {
            Some(end) if end == bytes.len() => Ok(Text {
                bytes,
                head,
                is_chunked: length == Length::Chunked,
            }),
            Some(end) if end < bytes.len() => {
                Err(Malformed::new(&bytes, end, "the end of the message"))
            }
            _ => Err(Malformed::new(&bytes, bytes.len(), "the rest of the body")),
        }
    }

    fn start(&self, part: usize) -> &str {
        str_of(&self.bytes, &self.head.start[part]).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .values(&self.bytes, name)
            .next()
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    fn has(&self, name: &str) -> bool {
        self.head.values(&self.bytes, name).next().is_some()
    }

    fn headers(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.head.headers.iter().map(|(name, value)| {
            let name = str_of(&self.bytes, name).unwrap_or_default();
            (name, String::from_utf8_lossy(&self.bytes[value.clone()]))
        })
    }

    fn body(&self) -> Cow<'_, [u8]> {
        if !self.is_chunked {
            return Cow::Borrowed(&self.bytes[self.head.end..]);
        }
        let mut joined = Vec::new();
        // The chunks were walked when the message was read: they cannot be malformed now.
        let _ = chunked(&self.bytes, self.head.end, |chunk| {
            joined.extend_from_slice(chunk);
        });
        Cow::Owned(joined)
    }

    fn body_bytes(&self) -> Bytes {
        match self.body() {
            Cow::Borrowed(_) => self.bytes.slice(self.head.end..),
            Cow::Owned(joined) => Bytes::from(joined),
        }
    }
}

/// How long a body is (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(u64),
    Chunked,
    UntilClose,
}

/// Where start line and headers stand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    /// The three parts of the start line.
    start: [Range<usize>; 3],
    headers: Vec<(Range<usize>, Range<usize>)>,
    /// First octet after the empty line.
    end: usize,
    is_response: bool,
    /// Zero for a request.
    status: u16,
    /// The minor version: 0 or 1.
    minor: u8,
}

impl Head {
    /// `None` while the empty line is missing.
    fn read(buffer: &[u8]) -> Result<Option<Head>, Malformed> {
        let Some((first, end)) = head_span(buffer)? else {
            return Ok(None);
        };
        let lines = &buffer[first..end];
        let mut slots = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
        let place = |text: &[u8]| span_of(buffer, text);
        let is_response = lines.starts_with(b"HTTP/");
        let (parsed, start, status, minor) = if is_response {
            let mut response = httparse::Response::new(&mut slots);
            let parsed = response.parse(lines);
            let status = response.code.unwrap_or(0);
            let version = first..first + 8;
            let code = first + 9..first + 12;
            // httparse blanks a reason phrase that holds obs-text, so its place is read here.
            let line_end = memmem::find(lines, b"\r\n").map_or(end, |at| first + at);
            let reason = (first + 13).min(line_end)..line_end;
            (
                parsed,
                [version, code, reason],
                status,
                response.version.unwrap_or(1),
            )
        } else {
            let mut request = httparse::Request::new(&mut slots);
            let parsed = request.parse(lines);
            let method = place(request.method.unwrap_or_default().as_bytes());
            let target = place(request.path.unwrap_or_default().as_bytes());
            let version = target.end + 1..target.end + 9;
            (
                parsed,
                [method, target, version],
                0,
                request.version.unwrap_or(1),
            )
        };
        if !matches!(parsed, Ok(httparse::Status::Complete(length)) if length == lines.len()) {
            return Err(locate(buffer, first, end, is_response));
        }
        let headers = slots
            .iter()
            .take_while(|slot| !slot.name.is_empty())
            .map(|slot| (place(slot.name.as_bytes()), place(slot.value)))
            .collect();
        Ok(Some(Head {
            start,
            headers,
            end,
            is_response,
            status,
            minor,
        }))
    }

    fn values<'a>(&self, bytes: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(found, _)| bytes[found.clone()].eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| &bytes[value.clone()])
    }

    fn closes(&self, bytes: &[u8]) -> bool {
        let says = |word: &str| {
            self.values(bytes, "Connection")
                .flat_map(|value| value.split(|&b| b == b','))
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        says("close") || (self.minor == 0 && !says("keep-alive"))
    }

    fn length(&self, bytes: &[u8]) -> Result<Length, Malformed> {
        let at = |value: &[u8]| span_of(bytes, value).start;
        let transfer: Vec<&[u8]> = self.values(bytes, "Transfer-Encoding").collect();
        let declared = self.content_length(bytes)?;
        if let Some(first) = transfer.first() {
            // RFC 9112 6.3 item 3: a message with both "ought to be handled as an error".
            if declared.is_some() {
                return Err(Malformed::new(
                    bytes,
                    at(first),
                    "Content-Length or Transfer-Encoding, not both",
                ));
            }
            if transfer.len() > 1 || !first.eq_ignore_ascii_case(b"chunked") || self.minor == 0 {
                return Err(Malformed::new(
                    bytes,
                    at(first),
                    "the single transfer coding \"chunked\" in HTTP/1.1",
                ));
            }
        }
        if self.is_response && matches!(self.status, 100..200 | 204 | 304) {
            return Ok(Length::Known(0));
        }
        Ok(match (transfer.is_empty(), declared) {
            (false, _) => Length::Chunked,
            (true, Some(length)) => Length::Known(length),
            (true, None) if self.is_response && self.closes(bytes) => Length::UntilClose,
            (true, None) => Length::Known(0),
        })
    }

    /// Equal repeated values count as one (RFC 9110 8.6).
    fn content_length(&self, bytes: &[u8]) -> Result<Option<u64>, Malformed> {
        let mut length = None;
        for value in self.values(bytes, "Content-Length") {
            for item in value.split(|&b| b == b',') {
                let item = item.trim_ascii();
                let number = digits(item).ok_or_else(|| {
                    Malformed::new(bytes, span_of(bytes, value).start, "a number of octets")
                })?;
                if length.is_some_and(|known| known != number) {
                    return Err(Malformed::new(
                        bytes,
                        span_of(bytes, value).start,
                        "one Content-Length",
                    ));
                }
                length = Some(number);
            }
        }
        Ok(length)
    }
}

/// First octet of the start line (empty lines before it are passed over, RFC 9112 2.2) and first octet
/// after the head; `None` while it is not whole.
fn head_span(buffer: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut first = 0;
    while buffer[first..].starts_with(b"\r\n") && first < HEAD_LIMIT {
        first += 2;
    }
    let mut line = first;
    for at in memchr::memchr2_iter(b'\r', b'\n', &buffer[first..]).map(|at| first + at) {
        if at >= HEAD_LIMIT {
            break;
        }
        match buffer[at] {
            b'\r' if buffer.get(at + 1).is_some_and(|&next| next != b'\n') => {
                return Err(Malformed::new(
                    buffer,
                    at,
                    "a line feed after a carriage return",
                ));
            }
            b'\n' if at == 0 || buffer[at - 1] != b'\r' => {
                return Err(Malformed::new(
                    buffer,
                    at,
                    "a carriage return before a line feed",
                ));
            }
            b'\n' if at == line + 1 && line > first => return Ok(Some((first, at + 1))),
            b'\n' => line = at + 1,
            _ => {}
        }
    }
    if buffer.len() >= HEAD_LIMIT {
        return Err(Malformed::new(
            buffer,
            0,
            format!("a head of at most {HEAD_LIMIT} octets"),
        ));
    }
    Ok(None)
}

/// Says where a head is wrong that httparse refused without saying it.
fn locate(buffer: &[u8], first: usize, end: usize, is_response: bool) -> Malformed {
    let mut at = first;
    for (number, line) in buffer[first..end]
        .split_inclusive(|&b| b == b'\n')
        .enumerate()
    {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        if number > 0 && !text.is_empty() {
            if matches!(text[0], b' ' | b'\t') {
                return Malformed::new(buffer, at, "a header name (folded lines are obsolete)");
            }
            let name = text
                .iter()
                .position(|&b| b == b':')
                .map_or(text, |colon| &text[..colon]);
            if let Some(bad) = name.iter().position(|&b| !is_token(b)) {
                return Malformed::new(buffer, at + bad, "a header name and a colon");
            }
            if name.is_empty() || name.len() == text.len() {
                return Malformed::new(buffer, at, "a header name and a colon");
            }
            let value = &text[name.len()..];
            let control = |&b: &u8| (b < b' ' && b != b'\t') || b == 0x7f;
            if let Some(bad) = value.iter().position(control) {
                return Malformed::new(
                    buffer,
                    at + name.len() + bad,
                    "no control character in a header value",
                );
            }
            if number > HEADERS_LIMIT {
                return Malformed::new(buffer, at, format!("at most {HEADERS_LIMIT} headers"));
            }
        }
        at += line.len();
    }
    let expected = match is_response {
        true => "a status line: HTTP/1.1, three digits, a reason",
        false => "a request line: method, target, HTTP/1.1",
    };
    Malformed::new(buffer, first, expected)
}

/// Walks chunks (RFC 9112 7.1) from `at`; the octet after the trailer section, `None` if not there yet.
fn chunked(
    buffer: &[u8],
    mut at: usize,
    mut take: impl FnMut(&[u8]),
) -> Result<Option<usize>, Malformed> {
    loop {
        let Some(line) = chunk_line(buffer, at)? else {
            return Ok(None);
        };
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let after = line[digits..].trim_ascii_start();
        let size = std::str::from_utf8(&line[..digits])
            .ok()
            .filter(|_| (1..=8).contains(&digits) && (after.is_empty() || after[0] == b';'))
            .and_then(|text| usize::from_str_radix(text, 16).ok())
            .ok_or_else(|| Malformed::new(buffer, at, "a chunk size in hexadecimal digits"))?;
        at += line.len() + 2;
        if size == 0 {
            break;
        }
        let Some(chunk) = buffer.get(at..at + size) else {
            return Ok(None);
        };
        take(chunk);
        at += size;
        let ending = &buffer[at..buffer.len().min(at + 2)];
        if !b"\r\n".starts_with(ending) {
            return Err(Malformed::new(buffer, at, "the end of a chunk"));
        }
        if ending.len() < 2 {
            return Ok(None);
        }
        at += 2;
    }
    loop {
        match chunk_line(buffer, at)? {
            None => return Ok(None),
            Some([]) => return Ok(Some(at + 2)),
            Some(line) => at += line.len() + 2,
        }
    }
}

/// A line inside a chunked body, without its end.
fn chunk_line(buffer: &[u8], at: usize) -> Result<Option<&[u8]>, Malformed> {
    const LIMIT: usize = 8 << 10;
    let rest = &buffer[at..];
    let seen = &rest[..rest.len().min(LIMIT)];
    match memchr::memchr(b'\n', seen) {
        Some(0) => Err(Malformed::new(buffer, at, "a chunk size")),
        Some(end) if seen[end - 1] != b'\r' => Err(Malformed::new(
            buffer,
            at + end,
            "a carriage return before a line feed",
        )),
        Some(end) => Ok(Some(&seen[..end - 1])),
        None if rest.len() >= LIMIT => Err(Malformed::new(
            buffer,
            at,
            format!("a line of at most {LIMIT} octets"),
        )),
        None => Ok(None),
    }
}

/// Builds a request; what could break a line is taken out of names and values.
#[derive(Debug)]
pub struct RequestBuilder(Writer);

impl RequestBuilder {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0.header(name, value);
        self
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.0.body(content_type, body.into());
        self
    }

    /// Adds Content-Length if there is a body, or if the method gives one a meaning.
    pub fn finish(self) -> Request {
        let wants = matches!(self.0.text(0), b"POST" | b"PUT" | b"PATCH");
        Request(self.0.finish(wants))
    }
}

/// Builds a response; what could break a line is taken out of names and values.
#[derive(Debug)]
pub struct ResponseBuilder(Writer);

impl ResponseBuilder {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0.header(name, value);
        self
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.0.body(content_type, body.into());
        self
    }

    /// Adds Content-Length, except where a response never has a body.
    pub fn finish(self) -> Response {
        let wants = self.wants_length();
        Response(self.0.finish(wants))
    }

    /// The same octets as head and body, so that a large body is not copied.
    pub fn parts(mut self) -> (Bytes, Bytes) {
        let wants = self.wants_length();
        let body = std::mem::take(&mut self.0.body);
        let head = self.0.finish_head(wants, body.len());
        (head.bytes.freeze(), body)
    }

    pub fn status(&self) -> u16 {
        self.0.head.status
    }

    fn wants_length(&self) -> bool {
        !matches!(self.status(), 100..200 | 204 | 304)
    }
}

/// Octets of a message under construction, its spans noted as they come.
#[derive(Debug)]
struct Writer {
    bytes: BytesMut,
    head: Head,
    body: Bytes,
}

impl Writer {
    fn new(start: [&str; 3], is_response: bool) -> Writer {
        let mut bytes = BytesMut::with_capacity(256);
        let start = start.map(|part| {
            if !bytes.is_empty() {
                bytes.put_u8(b' ');
            }
            put_clean(&mut bytes, part)
        });
        bytes.put_slice(b"\r\n");
        let status = match is_response {
            true => digits(&bytes[start[1].clone()]).unwrap_or(0) as u16,
            false => 0,
        };
        Writer {
            bytes,
            head: Head {
                start,
                headers: Vec::new(),
                end: 0,
                is_response,
                status,
                minor: 1,
            },
            body: Bytes::new(),
        }
    }

    fn text(&self, part: usize) -> &[u8] {
        &self.bytes[self.head.start[part].clone()]
    }

    fn header(&mut self, name: &str, value: &str) {
        let name = put_clean(&mut self.bytes, name);
        self.bytes.put_slice(b": ");
        let value = put_clean(&mut self.bytes, value.trim());
        self.bytes.put_slice(b"\r\n");
        self.head.headers.push((name, value));
    }

    fn body(&mut self, content_type: &str, body: Bytes) {
        self.header("Content-Type", content_type);
        self.body = body;
    }

    fn finish(mut self, wants_length: bool) -> Text {
        let body = std::mem::take(&mut self.body);
        let mut whole = self.finish_head(wants_length, body.len());
        let is_chunked = whole.has("Transfer-Encoding");
        whole.bytes.put_slice(&body);
        Text {
            bytes: whole.bytes.freeze(),
            head: whole.head,
            is_chunked,
        }
    }

    /// Ends the head of a message whose body has so many octets.
    fn finish_head(mut self, wants_length: bool, length: usize) -> Writer {
        let is_told = self.has("Transfer-Encoding") || self.has("Content-Length");
        if !is_told && (wants_length || length > 0) {
            self.header("Content-Length", &length.to_string());
        }
        self.bytes.put_slice(b"\r\n");
        self.head.end = self.bytes.len();
        self
    }

    fn has(&self, name: &str) -> bool {
        self.head.values(&self.bytes, name).next().is_some()
    }
}

/// Writes text without control characters (each becomes a blank): nothing put into a header line may
/// begin another.
fn put_clean(bytes: &mut BytesMut, text: &str) -> Range<usize> {
    let first = bytes.len();
    let is_control = |b: u8| matches!(b, 0..b' ' | 0x7f);
    if text.bytes().any(is_control) {
        let clean = |b: u8| if is_control(b) { b' ' } else { b };
        bytes.extend(text.bytes().map(clean));
    } else {
        bytes.put_slice(text.as_bytes());
    }
    first..bytes.len()
}

/// One member of a `Range` header (RFC 9110 14.1.2), 0-based and inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `65536-`
    From(u64),
    /// `65536-131071`
    FromTo(u64, u64),
    /// `-500`: the last 500 octets.
    Suffix(u64),
}

impl RangeSpec {
    /// The octets it means of `size`; `None` if it cannot be satisfied.
    pub fn within(self, size: u64) -> Option<Octets> {
        let last = size.checked_sub(1)?;
        match self {
            RangeSpec::From(first) if first <= last => Some(Octets { first, last }),
            RangeSpec::FromTo(first, to) if first <= last => Some(Octets {
                first,
                last: to.min(last),
            }),
            RangeSpec::Suffix(length) if length > 0 => Some(Octets {
                first: size.saturating_sub(length),
                last,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for RangeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RangeSpec::From(first) => write!(f, "{first}-"),
            RangeSpec::FromTo(first, last) => write!(f, "{first}-{last}"),
            RangeSpec::Suffix(length) => write!(f, "-{length}"),
        }
    }
}

/// The octets from `first` to `last`, 0-based, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Octets {
    pub first: u64,
    pub last: u64,
}

impl Octets {
    /// `len` octets from `first` on; `None` if there are none, or too many to count.
    pub fn new(first: u64, len: u64) -> Option<Octets> {
        let last = first.checked_add(len.checked_sub(1)?)?;
        Some(Octets { first, last })
    }

    pub fn len(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Never: a range holds one octet at least.
    pub fn is_empty(self) -> bool {
        false
    }

    /// Cuts these octets out of the whole.
    pub fn of(self, whole: &Bytes) -> Option<Bytes> {
        let first = usize::try_from(self.first).ok()?;
        let end = usize::try_from(self.last).ok()?.checked_add(1)?;
        (first < end && end <= whole.len()).then(|| whole.slice(first..end))
    }
}

/// A `Range` header in octets (RFC 9110 14.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(pub Vec<RangeSpec>);

impl Ranges {
    /// One range of `len` octets from `first` on.
    pub fn one(octets: Octets) -> Ranges {
        Ranges(vec![RangeSpec::FromTo(octets.first, octets.last)])
    }

    /// `Ok(None)` for a range unit other than `bytes`, which is to be ignored.
    pub fn parse(text: &str) -> Result<Option<Ranges>, Malformed> {
        let wrong = |expected: &str| Malformed::new(text.as_bytes(), 0, expected);
        let (unit, set) = text
            .split_once('=')
            .ok_or_else(|| wrong("a range unit, \"=\", ranges"))?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Ok(None);
        }
        let specs: Option<Vec<RangeSpec>> = set
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(spec)
            .collect();
        match specs {
            Some(specs) if !specs.is_empty() => Ok(Some(Ranges(specs))),
            _ => Err(wrong("ranges such as 0-499, 500- or -500")),
        }
    }
}

fn spec(text: &str) -> Option<RangeSpec> {
    let (first, last) = text.split_once('-')?;
    match (digits(first.as_bytes()), digits(last.as_bytes())) {
        (Some(first), Some(last)) if first <= last => Some(RangeSpec::FromTo(first, last)),
        (Some(first), None) if last.is_empty() => Some(RangeSpec::From(first)),
        (None, Some(length)) if first.is_empty() => Some(RangeSpec::Suffix(length)),
        _ => None,
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes=")?;
        for (n, spec) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{spec}")?;
        }
        Ok(())
    }
}

/// A `Content-Range` header in octets (RFC 9110 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// `None` in a 416: `bytes */196613`.
    pub octets: Option<Octets>,
    /// `None` if unknown: `*`.
    pub size: Option<u64>,
}

impl ContentRange {
    pub fn parse(text: &str) -> Result<ContentRange, Malformed> {
        read_content_range(text).ok_or_else(|| {
            Malformed::new(
                text.as_bytes(),
                0,
                "a content range such as bytes 0-499/1234 or bytes */1234",
            )
        })
    }
}

fn read_content_range(text: &str) -> Option<ContentRange> {
    let rest = text.trim().strip_prefix("bytes ")?.trim_start();
    let (range, size) = rest.split_once('/')?;
    let size = match size {
        "*" => None,
        number => Some(digits(number.as_bytes())?),
    };
    if range == "*" {
        return size.map(|_| ContentRange { octets: None, size });
    }
    let (first, last) = range.split_once('-')?;
    let octets = Octets {
        first: digits(first.as_bytes())?,
        last: digits(last.as_bytes())?,
    };
    let fits = octets.first <= octets.last && size.is_none_or(|size| octets.last < size);
    fits.then_some(ContentRange {
        octets: Some(octets),
        size,
    })
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.octets {
            Some(octets) => write!(f, "bytes {}-{}/", octets.first, octets.last)?,
            None => f.write_str("bytes */")?,
        }
        match self.size {
            Some(size) => write!(f, "{size}"),
            None => f.write_str("*"),
        }
    }
}

/// An entity tag (RFC 9110 8.8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag {
    pub weak: bool,
    /// Between the quotes.
    pub opaque: String,
}

impl ETag {
    pub fn strong(opaque: impl Into<String>) -> ETag {
        ETag {
            weak: false,
            opaque: opaque.into(),
        }
    }

    pub fn parse(text: &str) -> Result<ETag, Malformed> {
        let (weak, quoted) = match text.trim().strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, text.trim()),
        };
        quoted
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .filter(|opaque| !opaque.contains('"') && !opaque.bytes().any(|b| b <= b' '))
            .map(|opaque| ETag {
                weak,
                opaque: opaque.to_owned(),
            })
            .ok_or_else(|| Malformed::new(text.as_bytes(), 0, "a quoted entity tag"))
    }

    /// The strong comparison of RFC 9110 8.8.3.2.
    pub fn is(&self, other: &ETag) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weak = if self.weak { "W/" } else { "" };
        write!(f, "{weak}\"{}\"", self.opaque)
    }
}

/// Whether a `Range` counts although the request has this `If-Range` (RFC 9110 13.1.5). A date never
/// matches: nothing here has a modification date.
pub fn if_range_holds(if_range: &str, current: &ETag) -> bool {
    ETag::parse(if_range).is_ok_and(|tag| tag.is(current))
}

/// Percent-encodes every octet that `keep` does not keep.
pub fn encode(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for b in text.bytes() {
        match keep(b) && b.is_ascii() {
            true => encoded.push(char::from(b)),
            false => encoded.push_str(&format!("%{b:02X}")),
        }
    }
    encoded
}

/// Percent-decodes; `None` if an escape is broken or the result is not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b != b'%' {
            decoded.push(b);
            continue;
        }
        let pair = tail
            .get(..2)
            .filter(|pair| pair.iter().all(u8::is_ascii_hexdigit))?;
        decoded.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(decoded).ok()
}

/// The customary reason phrase of a status code (RFC 9110 15).
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

/// Digits only, at least one: no sign, no blank.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn str_of<'a>(bytes: &'a [u8], span: &Range<usize>) -> Option<&'a str> {
    std::str::from_utf8(bytes.get(span.clone())?).ok()
}

/// Where `part`, a slice of `whole`, stands in it.
fn span_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let first = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    if part.is_empty() && first > whole.len() {
        return 0..0;
    }
    first..first + part.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{spec::Format, wire::frame::Framer};

    fn malformed_at(text: &str) -> usize {
        frame(text.as_bytes()).unwrap_err().at
    }

    #[test]
    fn a_request_reads_as_it_was_built() {
        let built = Request::build("GET", "/content/movie 1?token=a%2Bb&x")
            .header("Host", "es1.cdn1.example")
            .header("X-Empty", "")
            .finish();
        let read = Request::parse(built.bytes().clone()).unwrap();

        assert_eq!("GET", read.method());
        assert_eq!("/content/movie%201", read.path());
        assert_eq!(Some("a+b"), read.query("token").as_deref());
        assert_eq!(Some(""), read.query("x").as_deref());
        assert_eq!(Some("es1.cdn1.example"), read.header("HOST"));
        assert_eq!(Some(""), read.header("x-empty"));
        assert!(read.body().is_empty());
        assert_eq!(
            built.headers().collect::<Vec<_>>(),
            read.headers().collect::<Vec<_>>()
        );
    }

    #[test]
    fn nothing_put_into_a_header_begins_another() {
        let built = Response::build(200)
            .header(
                "X-Name",
                "a\r\nP-Asserted-Identity: <sip:admin@ims.example>",
            )
            .finish();
        let read = Response::parse(built.bytes().clone()).unwrap();

        assert!(!read.has("P-Asserted-Identity"));
    }

    #[test]
    fn chunks_are_joined() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n";
        let response = Response::parse(Bytes::from_static(text.as_bytes())).unwrap();

        assert_eq!(&b"abcde"[..], &*response.body());
        assert_eq!("OK", response.reason());
    }

    #[test]
    fn smuggling_is_refused_where_it_stands() {
        let both = "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(both.find("chunked"), Some(malformed_at(both)));
        let lengths = "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(lengths.find('4'), Some(malformed_at(lengths)));
        let bare = "GET / HTTP/1.1\nHost: x\r\n\r\n";
        assert_eq!(bare.find('\n'), Some(malformed_at(bare)));
        let folded = "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n";
        assert_eq!(folded.find(" b"), Some(malformed_at(folded)));
        let blank = "GET / HTTP/1.1\r\nHost : x\r\n\r\n";
        assert_eq!(blank.find(" :"), Some(malformed_at(blank)));
        for wrong in ["gzip", "chunked, chunked", "identity"] {
            let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: {wrong}\r\n\r\n");
            assert_eq!(text.find(wrong), Some(malformed_at(&text)));
        }
        let chunk = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\n";
        assert_eq!(chunk.find("0x3"), Some(malformed_at(chunk)));
    }

    #[test]
    fn the_length_of_a_response_follows_its_status() {
        let whole = |text: &str| frame(text.as_bytes()) == Ok(Framed::Whole(text.len()));
        assert!(whole(
            "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n"
        ));
        assert!(whole("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(whole("POST / HTTP/1.1\r\nContent-Length: 2, 2\r\n\r\nab"));
        let until_close = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc";
        assert_eq!(Ok(Framed::Partial), frame(until_close.as_bytes()));
        let response = Response::parse(Bytes::from_static(until_close.as_bytes())).unwrap();
        assert_eq!(&b"abc"[..], &*response.body());
    }

    #[test]
    fn ranges_mean_octets() {
        let ranges = Ranges::parse("bytes=65536-131071, 500-,-500")
            .unwrap()
            .unwrap();
        assert_eq!("bytes=65536-131071,500-,-500", ranges.to_string());
        let within = |size| {
            let found: Vec<_> = ranges.0.iter().map(|spec| spec.within(size)).collect();
            found
        };
        let octets = |first, last| Some(Octets { first, last });
        assert_eq!(
            vec![
                octets(65_536, 99_999),
                octets(500, 99_999),
                octets(99_500, 99_999)
            ],
            within(100_000)
        );
        assert_eq!(vec![None, None, octets(0, 99)], within(100));
        assert_eq!(vec![None, None, None], within(0));
        assert_eq!(Ok(None), Ranges::parse("pieces=1"));
        for wrong in [
            "bytes=5-1",
            "bytes=",
            "bytes=-",
            "bytes",
            "bytes=+1-2",
            "bytes=a-b",
        ] {
            assert!(Ranges::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn content_ranges_read_and_print_alike() {
        for text in ["bytes 0-499/1234", "bytes 0-499/*", "bytes */1234"] {
            assert_eq!(text, ContentRange::parse(text).unwrap().to_string());
        }
        for wrong in [
            "bytes 0-1234/1234",
            "bytes 5-1/9",
            "bytes */*",
            "octets 0-1/2",
        ] {
            assert!(ContentRange::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_weak_tag_never_holds_a_range() {
        let tag = ETag::strong("v1");
        assert!(if_range_holds("\"v1\"", &tag));
        assert!(!if_range_holds("W/\"v1\"", &tag));
        assert!(!if_range_holds("Tue, 15 Nov 1994 12:45:26 GMT", &tag));
        assert_eq!("W/\"x\"", ETag::parse("W/\"x\"").unwrap().to_string());
    }

    fn messages() -> impl Strategy<Value = Vec<Bytes>> {
        let body = proptest::collection::vec(any::<u8>(), 0..40);
        let one = (body, 0..3u8).prop_map(|(body, shape)| match shape {
            0 => {
                Request::build("POST", "/ppstp")
                    .body("text/plain", body)
                    .finish()
                    .0
                    .bytes
            }
            1 => {
                Response::build(200)
                    .body("text/plain", body)
                    .finish()
                    .0
                    .bytes
            }
            _ => {
                let mut text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
                for chunk in body.chunks(7) {
                    text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    text.extend_from_slice(chunk);
                    text.extend_from_slice(b"\r\n");
                }
                text.extend_from_slice(b"0\r\n\r\n");
                Bytes::from(text)
            }
        });
        proptest::collection::vec(one, 1..4)
    }

    fn framed(stream: &[u8], cuts: &[usize]) -> (Vec<Bytes>, Option<Malformed>) {
        let mut framer = Framer::new(Format::Http);
        let (mut found, mut error) = (Vec::new(), None);
        let mut rest = stream;
        let mut cuts = cuts.iter().copied().cycle();
        while !rest.is_empty() {
            let cut = cuts.next().unwrap_or(1).clamp(1, rest.len());
            framer.feed(&rest[..cut]);
            rest = &rest[cut..];
            loop {
                match framer.next_message() {
                    Ok(Some(message)) => found.push(message),
                    Ok(None) => break,
                    Err(malformed) => error = Some(malformed),
                }
            }
        }
        (found, error)
    }

    proptest! {
        #[test]
        fn any_octets_do_no_harm(bytes: Vec<u8>) {
            let _ = frame(&bytes);
            let _ = Request::parse(Bytes::from(bytes.clone()));
            let _ = Response::parse(Bytes::from(bytes));
        }

        #[test]
        fn any_split_frames_alike(
            messages in messages(),
            cuts in proptest::collection::vec(1usize..50, 1..20),
        ) {
            prop_assert_eq!((messages.clone(), None), framed(&messages.concat(), &cuts));
        }

        #[test]
        fn damaged_streams_frame_alike_in_any_split(
            messages in messages(),
            at: proptest::sample::Index,
            b: u8,
            cuts in proptest::collection::vec(1usize..50, 1..20),
        ) {
            let mut stream = messages.concat();
            let at = at.index(stream.len());
            stream[at] = b;
            let (whole, wrong) = framed(&stream, &[usize::MAX]);
            let (found, error) = framed(&stream, &cuts);
            prop_assert_eq!(whole, found);
            prop_assert_eq!(wrong.is_some(), error.is_some());
        }

        #[test]
        fn what_is_encoded_decodes(text: String) {
            let encoded = encode(&text, |b| b.is_ascii_alphanumeric());
            prop_assert_eq!(Some(text), decode(&encoded));
        }
    }
}
