//! MSRP (RFC 4975): SEND, REPORT and responses as spans over their octets; URIs and byte ranges.
//! Knows nothing of sessions: those are in `proto::file_transfer`. Start at [`Message`].

use std::{fmt, ops::Range};

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;

use super::{Framed, Malformed};

/// The longest transaction id that is read; RFC 4975 9 gives 32.
const TRANSACTION_LIMIT: usize = 64;

/// The longest start line and header line that is read.
const LINE_LIMIT: usize = 4096;

/// Finds the end of the first message of a stream: its end-line, `-------`, the transaction id and a
/// continuation flag (RFC 4975 7.1).
pub fn frame(buffer: &[u8]) -> Result<Framed, Malformed> {
    match ends(buffer)? {
        Some((_, end, _)) => Ok(Framed::Whole(end)),
        None => Ok(Framed::Partial),
    }
}

/// What follows a chunk (RFC 4975 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `$`: the message is complete.
    Complete,
    /// `+`: more chunks follow.
    More,
    /// `#`: the message is abandoned.
    Aborted,
}

impl Flag {
    fn read(b: u8) -> Option<Flag> {
        match b {
            b'$' => Some(Flag::Complete),
            b'+' => Some(Flag::More),
            b'#' => Some(Flag::Aborted),
            _ => None,
        }
    }

    /// As written at the end of the end-line.
    pub fn symbol(self) -> char {
        match self {
            Flag::Complete => '$',
            Flag::More => '+',
            Flag::Aborted => '#',
        }
    }
}

/// A request or response, kept octet for octet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Bytes,
    transaction: Range<usize>,
    /// The method of a request, or the status code of a response.
    word: Range<usize>,
    /// The comment after a status code.
    comment: Range<usize>,
    headers: Vec<(Range<usize>, Range<usize>)>,
    body: Option<Range<usize>>,
    flag: Flag,
}

impl Message {
    /// Reads exactly one whole message.
    pub fn parse(bytes: Bytes) -> Result<Message, Malformed> {
        let Some((end_line, end, flag)) = ends(&bytes)? else {
            return Err(Malformed::new(&bytes, bytes.len(), "an end-line"));
        };
        if end != bytes.len() {
            return Err(Malformed::new(&bytes, end, "the end of the message"));
        }
        let transaction = transaction(&bytes)?.unwrap_or(5..5);
        let line_end = line_end(&bytes, transaction.end, end_line)?;
        let first = transaction.end + 1;
        let word_end = bytes[first..line_end]
            .iter()
            .position(|&b| b == b' ')
            .map_or(line_end, |at| first + at);
        let word = first..word_end;
        let is_status = word.len() == 3 && bytes[word.clone()].iter().all(u8::is_ascii_digit);
        let is_method = !word.is_empty() && bytes[word.clone()].iter().all(u8::is_ascii_uppercase);
        if !is_status && (!is_method || word_end != line_end) {
            return Err(Malformed::new(
                &bytes,
                first,
                "a method in capitals, or a status code of three digits",
            ));
        }
        let comment = (word_end + 1).min(line_end)..line_end;
        if std::str::from_utf8(&bytes[comment.clone()]).is_err() {
            return Err(Malformed::new(&bytes, comment.start, "a comment in UTF-8"));
        }
        let (headers, body) = headers(&bytes, line_end + 2, end_line)?;
        Ok(Message {
            transaction,
            word,
            comment,
            headers,
            body,
            flag,
            bytes,
        })
    }

    /// The octets, as received or built.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn transaction(&self) -> &str {
        self.str(&self.transaction)
    }

    /// SEND, REPORT or another method; `None` for a response.
    pub fn method(&self) -> Option<&str> {
        let word = self.str(&self.word);
        (!word.starts_with(|c: char| c.is_ascii_digit())).then_some(word)
    }

    /// The status code of a response.
    pub fn status(&self) -> Option<u16> {
        match self.method() {
            Some(_) => None,
            None => self.str(&self.word).parse().ok(),
        }
    }

    /// The comment after the status code; empty if none.
    pub fn comment(&self) -> &str {
        self.str(&self.comment)
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Every header line in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (self.str(name), self.str(value)))
    }

    /// Where the headers stand in `bytes`: name and value of each line.
    pub fn spans(&self) -> &[(Range<usize>, Range<usize>)] {
        &self.headers
    }

    /// The octets between headers and end-line; `None` if the message has no body at all.
    pub fn body(&self) -> Option<Bytes> {
        self.body.clone().map(|span| self.bytes.slice(span))
    }

    pub fn flag(&self) -> Flag {
        self.flag
    }

    /// The URIs of To-Path, the next hop first (RFC 4975 7.1).
    pub fn to_path(&self) -> Result<Vec<Uri>, Malformed> {
        self.path("To-Path")
    }

    /// The URIs of From-Path, the sender's first.
    pub fn from_path(&self) -> Result<Vec<Uri>, Malformed> {
        self.path("From-Path")
    }

    pub fn message_id(&self) -> Option<&str> {
        self.header("Message-ID")
    }

    /// The Byte-Range; absent means the whole message from octet 1 (RFC 4975 7.1.1).
    pub fn byte_range(&self) -> Result<Option<ByteRange>, Malformed> {
        self.header("Byte-Range").map(ByteRange::parse).transpose()
    }

    /// Whether a success report is asked for; no, unless it says so.
    pub fn success_report(&self) -> bool {
        self.header("Success-Report") == Some("yes")
    }

    /// Which responses are asked for; all, unless it says otherwise (RFC 4975 7.1.2).
    pub fn failure_report(&self) -> FailureReport {
        match self.header("Failure-Report") {
            Some("no") => FailureReport::No,
            Some("partial") => FailureReport::Partial,
            _ => FailureReport::Yes,
        }
    }

    fn path(&self, name: &str) -> Result<Vec<Uri>, Malformed> {
        let text = self.header(name).ok_or_else(|| {
            let at = self.headers.first().map_or(0, |(name, _)| name.start);
            Malformed::new(&self.bytes, at, format!("a {name} header"))
        })?;
        parse_path(text)
    }

    fn str(&self, span: &Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[span.clone()]).unwrap_or_default()
    }
}

/// Which responses a sender asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureReport {
    /// Every response, 200 too.
    #[default]
    Yes,
    /// Only responses that tell of an error.
    Partial,
    /// None at all.
    No,
}

/// First octet of the end-line, first octet after it, its flag.
fn ends(buffer: &[u8]) -> Result<Option<(usize, usize, Flag)>, Malformed> {
    let Some(transaction) = transaction(buffer)? else {
        return Ok(None);
    };
    let mut marker = Vec::with_capacity(9 + transaction.len());
    marker.extend_from_slice(b"\r\n-------");
    marker.extend_from_slice(&buffer[transaction.clone()]);
    let finder = memmem::Finder::new(&marker);
    let mut from = transaction.end;
    while let Some(found) = finder.find(&buffer[from..]) {
        let line = from + found + 2;
        let after = from + found + marker.len();
        match buffer.get(after..buffer.len().min(after + 3)) {
            Some([flag, b'\r', b'\n']) if Flag::read(*flag).is_some() => {
                let flag = Flag::read(*flag).unwrap_or(Flag::Complete);
                return Ok(Some((line, after + 3, flag)));
            }
            Some([] | [_] | [_, b'\r']) => return Ok(None),
            _ => from += found + 2,
        }
    }
    Ok(None)
}

/// Where the transaction id stands; `None` while it is not whole.
fn transaction(buffer: &[u8]) -> Result<Option<Range<usize>>, Malformed> {
    const START: &[u8] = b"MSRP ";
    let seen = &buffer[..buffer.len().min(START.len())];
    if !START.starts_with(seen) {
        return Err(Malformed::new(buffer, 0, "\"MSRP\" and a transaction id"));
    }
    let Some(rest) = buffer.get(START.len()..) else {
        return Ok(None);
    };
    let length = rest.iter().take_while(|&&b| is_ident(b)).count();
    let at = START.len() + length.min(TRANSACTION_LIMIT);
    match rest.get(length) {
        _ if length > TRANSACTION_LIMIT => Err(Malformed::new(
            buffer,
            at,
            "a transaction id of at most 32 characters",
        )),
        Some(b' ') if length > 0 => Ok(Some(START.len()..at)),
        Some(_) => Err(Malformed::new(
            buffer,
            at,
            "a transaction id of letters, digits and . - + % =",
        )),
        None => Ok(None),
    }
}

/// The octet where the line that holds `from` ends, before its CRLF.
fn line_end(bytes: &[u8], from: usize, end_line: usize) -> Result<usize, Malformed> {
    let limit = end_line.min(from + LINE_LIMIT);
    memmem::find(&bytes[from..limit], b"\r\n")
        .map(|at| from + at)
        .ok_or_else(|| Malformed::new(bytes, from, "a line that ends with CRLF"))
}

type Spans = Vec<(Range<usize>, Range<usize>)>;

/// Reads headers from `at` up to the body or the end-line.
fn headers(
    bytes: &[u8],
    mut at: usize,
    end_line: usize,
) -> Result<(Spans, Option<Range<usize>>), Malformed> {
    let mut headers = Vec::new();
    while at < end_line {
        let end = line_end(bytes, at, end_line)?;
        if end == at {
            // The CRLF before the end-line belongs to the end-line, not to the body.
            let body = end + 2;
            let body_end = end_line.checked_sub(2).filter(|&last| last >= body);
            let body_end =
                body_end.ok_or_else(|| Malformed::new(bytes, body, "a body, then an end-line"))?;
            return Ok((headers, Some(body..body_end)));
        }
        let line = &bytes[at..end];
        let colon = line.iter().position(|&b| b == b':').unwrap_or(0);
        if colon == 0 || !line[..colon].iter().all(|&b| is_token(b)) {
            return Err(Malformed::new(bytes, at, "a header name and a colon"));
        }
        if std::str::from_utf8(line).is_err() {
            return Err(Malformed::new(bytes, at, "a header in UTF-8"));
        }
        let text = &line[colon + 1..];
        let value = at + colon + 1 + (text.len() - text.trim_ascii_start().len());
        let value_end = value + text.trim_ascii().len();
        headers.push((at..at + colon, value..value_end));
        at = end + 2;
    }
    Ok((headers, None))
}

fn is_ident(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b".-+%=".contains(&b)
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Builds a message; what could break a line is taken out of names and values.
#[derive(Debug)]
pub struct Builder {
    bytes: BytesMut,
    transaction: String,
    body: Option<Bytes>,
}

impl Builder {
    pub fn request(transaction: &str, method: &str) -> Builder {
        Builder::start(transaction, method)
    }

    /// A response: its To-Path is the request's From-Path, its From-Path the first URI of the request's
    /// To-Path (RFC 4975 7.2). The request's first URI of From-Path is the next hop.
    pub fn response(request: &Message, status: u16, comment: &str) -> Builder {
        let line = match comment {
            "" => format!("{status:03}"),
            _ => format!("{status:03} {comment}"),
        };
        let first = |name: &str| {
            let path = request.header(name).unwrap_or_default();
            path.split(' ').next().unwrap_or_default().to_owned()
        };
        Builder::start(request.transaction(), &line)
            .header("To-Path", &first("From-Path"))
            .header("From-Path", &first("To-Path"))
    }

    fn start(transaction: &str, rest: &str) -> Builder {
        let transaction: String = transaction
            .chars()
            .filter(|&c| u8::try_from(c).is_ok_and(is_ident))
            .take(TRANSACTION_LIMIT)
            .collect();
        let mut bytes = BytesMut::new();
        bytes.put_slice(b"MSRP ");
        bytes.put_slice(transaction.as_bytes());
        bytes.put_u8(b' ');
        put_clean(&mut bytes, rest);
        bytes.put_slice(b"\r\n");
        Builder {
            bytes,
            transaction,
            body: None,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        put_clean(&mut self.bytes, name);
        self.bytes.put_slice(b": ");
        put_clean(&mut self.bytes, value);
        self.bytes.put_slice(b"\r\n");
        self
    }

    /// Content-Type stands last, right before the body (RFC 4975 9).
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self = self.header("Content-Type", content_type);
        self.body = Some(body.into());
        self
    }

    pub fn finish(mut self, flag: Flag) -> Bytes {
        if let Some(body) = self.body {
            self.bytes.put_slice(b"\r\n");
            self.bytes.put_slice(&body);
            self.bytes.put_slice(b"\r\n");
        }
        self.bytes.put_slice(b"-------");
        self.bytes.put_slice(self.transaction.as_bytes());
        self.bytes.put_u8(flag.symbol() as u8);
        self.bytes.put_slice(b"\r\n");
        self.bytes.freeze()
    }
}

/// Whether a body would end a message of this transaction: RFC 4975 7.1 wants another id then.
pub fn clashes(transaction: &str, body: &[u8]) -> bool {
    memmem::find(body, format!("-------{transaction}").as_bytes()).is_some()
}

fn put_clean(bytes: &mut BytesMut, text: &str) {
    bytes.extend(text.bytes().map(|b| match b {
        0..b' ' | 0x7f => b' ',
        other => other,
    }));
}

/// The customary comment of a status code (RFC 4975 10).
pub fn comment(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        408 => "Request Timeout",
        413 => "Stop Sending Message",
        415 => "Unsupported Media Type",
        423 => "Parameter Out Of Bounds",
        481 => "Session Does Not Exist",
        501 => "Unknown Method",
        506 => "Session Already In Use",
        _ => "",
    }
}

/// An MSRP URI: `msrp://192.0.2.10:2855/u7Qm2bXk0sPq;tcp` (RFC 4975 6).
#[derive(Clone, Debug)]
pub struct Uri {
    /// `msrp` or `msrps`.
    pub scheme: String,
    pub user: Option<String>,
    /// With its brackets if it is an IPv6 address.
    pub host: String,
    pub port: Option<u16>,
    pub session: Option<String>,
    /// `tcp`.
    pub transport: String,
    /// Whatever follows the transport.
    pub params: String,
}

impl Uri {
    /// A session of ours at `addr`.
    pub fn new(addr: std::net::SocketAddr, session: &str) -> Uri {
        let host = match addr {
            std::net::SocketAddr::V4(v4) => v4.ip().to_string(),
            std::net::SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        };
        Uri {
            scheme: "msrp".to_owned(),
            user: None,
            host,
            port: Some(addr.port()),
            session: Some(session.to_owned()),
            transport: "tcp".to_owned(),
            params: String::new(),
        }
    }

    pub fn parse(text: &str) -> Result<Uri, Malformed> {
        read_uri(text).ok_or_else(|| {
            Malformed::new(
                text.as_bytes(),
                0,
                "an MSRP URI such as msrp://192.0.2.10:2855/u7Qm2bXk0sPq;tcp",
            )
        })
    }

    /// Host and port as a socket address, if the host is numeric; the port defaults to 2855.
    pub fn addr(&self) -> Option<std::net::SocketAddr> {
        let ip = self.host.trim_matches(['[', ']']).parse().ok()?;
        Some(std::net::SocketAddr::new(ip, self.port.unwrap_or(2855)))
    }
}

fn read_uri(text: &str) -> Option<Uri> {
    let (scheme, rest) = text.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("msrp") && !scheme.eq_ignore_ascii_case("msrps") {
        return None;
    }
    if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return None;
    }
    let (place, params) = rest.split_once(';')?;
    let (transport, params) = match params.split_once(';') {
        Some((transport, more)) => (transport, format!(";{more}")),
        None => (params, String::new()),
    };
    if transport.is_empty() || !transport.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let (authority, session) = match place.split_once('/') {
        Some((authority, session)) => (authority, Some(session.to_owned())),
        None => (place, None),
    };
    let (user, hostport) = match authority.rsplit_once('@') {
        Some((user, hostport)) => (Some(user.to_owned()), hostport),
        None => (None, authority),
    };
    let (host, port) = match hostport.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        _ => (hostport, None),
    };
    if host.is_empty() || session.as_deref() == Some("") {
        return None;
    }
    Some(Uri {
        scheme: scheme.to_owned(),
        user,
        host: host.to_owned(),
        port,
        session,
        transport: transport.to_owned(),
        params,
    })
}

/// RFC 4975 6.1: scheme, host and transport compare without case, port and session id exactly; user and
/// other parameters do not count.
impl PartialEq for Uri {
    fn eq(&self, other: &Uri) -> bool {
        self.scheme.eq_ignore_ascii_case(&other.scheme)
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
            && self.session == other.session
            && self.transport.eq_ignore_ascii_case(&other.transport)
    }
}

impl Eq for Uri {}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if let Some(session) = &self.session {
            write!(f, "/{session}")?;
        }
        write!(f, ";{}{}", self.transport, self.params)
    }
}

/// Reads URIs parted by blanks, one at least.
pub fn parse_path(text: &str) -> Result<Vec<Uri>, Malformed> {
    text.split(' ')
        .filter(|uri| !uri.is_empty())
        .map(Uri::parse)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|path| match path.is_empty() {
            true => Err(Malformed::new(text.as_bytes(), 0, "an MSRP URI")),
            false => Ok(path),
        })
}

/// `1-2048/65536`: where a chunk stands in its message, 1-based and inclusive (RFC 4975 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    pub start: u64,
    /// `None` for `*`: the chunk may be interrupted.
    pub end: Option<u64>,
    /// `None` for `*`: not known yet.
    pub total: Option<u64>,
}

impl ByteRange {
    /// `1-0/0`: a message without content.
    pub const EMPTY: ByteRange = ByteRange {
        start: 1,
        end: Some(0),
        total: Some(0),
    };

    pub fn parse(text: &str) -> Result<ByteRange, Malformed> {
        read_byte_range(text).ok_or_else(|| {
            Malformed::new(
                text.as_bytes(),
                0,
                "a byte range such as 1-2048/65536 or 1-*/*",
            )
        })
    }
}

fn read_byte_range(text: &str) -> Option<ByteRange> {
    let (range, total) = text.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        _ if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok().map(Some),
        _ => None,
    };
    let range = ByteRange {
        start: number(start)??,
        end: number(end)?,
        total: number(total)?,
    };
    let ordered = range
        .end
        .is_none_or(|end| end >= range.start || (range.start == 1 && end == 0));
    (range.start > 0 && ordered).then_some(range)
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.start)?;
        match self.end {
            Some(end) => write!(f, "{end}/")?,
            None => f.write_str("*/")?,
        }
        match self.total {
            Some(total) => write!(f, "{total}"),
            None => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{spec::Format, wire::frame::Framer};

    fn send(transaction: &str, body: &[u8]) -> Bytes {
        Builder::request(transaction, "SEND")
            .header("To-Path", "msrp://192.0.2.10:2855/u7Qm2bXk0sPq;tcp")
            .header("From-Path", "msrp://198.51.100.21:7777/9sLm1;tcp")
            .header("Message-ID", "m-2")
            .header("Byte-Range", "1-2048/65536")
            .body("application/octet-stream", body.to_vec())
            .finish(Flag::More)
    }

    #[test]
    fn a_chunk_reads_as_it_was_built() {
        let bytes = send("d93k", b"octets\r\n-------d93k? and more");
        let message = Message::parse(bytes.clone()).unwrap();

        assert_eq!(Ok(Framed::Whole(bytes.len())), frame(&bytes));
        assert_eq!("d93k", message.transaction());
        assert_eq!(Some("SEND"), message.method());
        assert_eq!(Some("m-2"), message.message_id());
        assert_eq!(Flag::More, message.flag());
        assert_eq!(
            Some(&b"octets\r\n-------d93k? and more"[..]),
            message.body().as_deref()
        );
        let range = message.byte_range().unwrap().unwrap();
        assert_eq!(
            (1, Some(2048), Some(65_536)),
            (range.start, range.end, range.total)
        );
        assert_eq!(
            "9sLm1",
            message.from_path().unwrap()[0].session.as_deref().unwrap()
        );
    }

    #[test]
    fn a_response_goes_back_the_way_it_came() {
        let request = Message::parse(send("d93k", b"x")).unwrap();
        let bytes = Builder::response(&request, 481, comment(481)).finish(Flag::Complete);

        assert_eq!(
            "MSRP d93k 481 Session Does Not Exist\r\n\
             To-Path: msrp://198.51.100.21:7777/9sLm1;tcp\r\n\
             From-Path: msrp://192.0.2.10:2855/u7Qm2bXk0sPq;tcp\r\n-------d93k$\r\n",
            bytes
        );
        let response = Message::parse(bytes).unwrap();
        assert_eq!(Some(481), response.status());
        assert_eq!(None, response.body());
    }

    #[test]
    fn uris_compare_as_clause_6_1_says() {
        let uri = |text| Uri::parse(text).unwrap();
        assert_eq!(
            uri("msrp://Host.example:1/aB;tcp"),
            uri("MSRP://host.example:1/aB;TCP;x")
        );
        assert_ne!(uri("msrp://h:1/aB;tcp"), uri("msrp://h:1/ab;tcp"));
        assert_ne!(uri("msrp://h:1/a;tcp"), uri("msrp://h/a;tcp"));
        for wrong in [
            "http://h/a;tcp",
            "msrp://h/a",
            "msrp://:1/a;tcp",
            "msrp://h:x/a;tcp",
        ] {
            assert!(Uri::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            "[2001:db8::1]:7777".parse().ok(),
            uri("msrp://[2001:db8::1]:7777/s;tcp").addr()
        );
    }

    #[test]
    fn byte_ranges_read_and_print_alike() {
        for text in ["1-2048/65536", "1-*/*", "2049-4096/*", "1-0/0"] {
            assert_eq!(text, ByteRange::parse(text).unwrap().to_string());
        }
        for wrong in ["0-1/1", "2-1/5", "1-2", "*-2/3", "1-/3", "+1-2/3"] {
            assert!(ByteRange::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_do_no_harm(bytes: Vec<u8>) {
            let _ = frame(&bytes);
            let _ = Message::parse(Bytes::from(bytes));
        }

        #[test]
        fn damaged_chunks_do_no_harm(at in 0usize..200, b: u8) {
            let mut bytes = send("d93k", b"abc").to_vec();
            let at = at % bytes.len();
            bytes[at] = b;
            let _ = frame(&bytes);
            if let Ok(message) = Message::parse(Bytes::from(bytes.clone())) {
                let _ = (message.to_path(), message.from_path(), message.byte_range());
                prop_assert_eq!(&bytes[..], &message.bytes()[..]);
            }
        }

        #[test]
        fn any_split_frames_alike(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..4),
            cuts in proptest::collection::vec(1usize..50, 1..20),
        ) {
            let messages: Vec<Bytes> = bodies.iter().map(|body| send("tx01", body)).collect();
            let stream = messages.concat();
            let mut framer = Framer::new(Format::Msrp);
            let mut framed = Vec::new();
            let mut rest = &stream[..];
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let cut = cuts.next().unwrap_or(1).min(rest.len());
                framer.feed(&rest[..cut]);
                rest = &rest[cut..];
                while let Some(message) = framer.next_message().unwrap() {
                    framed.push(message);
                }
            }
            prop_assert_eq!(messages, framed);
        }
    }
}
