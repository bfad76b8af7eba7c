//! Making messages: [`Edit`] changes one and copies the rest octet for octet, [`Builder`] writes a new one.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use memchr::memchr2;

use super::{Line, Message, Name, Span, StartLine, values};

/// Changes to a message, applied in order. What `finish` gives begins at the start line and ends with
/// the body: empty lines before and octets after (RFC 3261 18.3) are not passed on.
#[derive(Debug)]
pub struct Edit<'a> {
    message: &'a Message,
    start: Option<String>,
    lines: Vec<Piece<'a>>,
    body: Option<Vec<u8>>,
}

/// A header line of the message as it will be.
#[derive(Debug)]
enum Piece<'a> {
    Old(&'a Line),
    New {
        name: Name,
        text: String,
        value: Vec<u8>,
    },
}

impl<'a> Edit<'a> {
    pub(super) fn new(message: &'a Message) -> Edit<'a> {
        Edit {
            message,
            start: None,
            lines: message.lines.iter().map(Piece::Old).collect(),
            body: None,
        }
    }

    /// No effect on a response.
    pub fn request_uri(mut self, uri: &str) -> Self {
        if let StartLine::Request {
            method, version, ..
        } = &self.message.start
        {
            let (method, version) = (self.message.text(method), self.message.text(version));
            self.start = Some(format!("{method} {} {version}", one_line(uri)));
        }
        self
    }

    /// No effect on a request.
    pub fn status(mut self, code: u16, reason: &str) -> Self {
        if !self.message.is_request() {
            self.start = Some(format!("SIP/2.0 {code:03} {}", one_line(reason)));
        }
        self
    }

    /// Replaces all headers of that name by one (in the first one's place; at the end of headers if none).
    pub fn set(mut self, name: &str, value: &str) -> Self {
        let at = self.position(name).unwrap_or(self.lines.len());
        self = self.remove(name);
        self.lines.insert(at, Piece::new(name, value));
        self
    }

    /// Adds a header line after all others.
    pub fn append(mut self, name: &str, value: &str) -> Self {
        self.lines.push(Piece::new(name, value));
        self
    }

    /// Adds a header line before the first of that name (before all headers if none).
    pub fn prepend(mut self, name: &str, value: &str) -> Self {
        let at = self.position(name).unwrap_or(0);
        self.lines.insert(at, Piece::new(name, value));
        self
    }

    /// Removes the first comma-separated value of that name (the header line with it, if it was alone).
    pub fn pop(mut self, name: &str) -> Self {
        let Some(at) = self.position(name) else {
            return self;
        };
        let bytes = &self.message.bytes;
        let value = self.lines[at].value(bytes);
        let first_ends = values::unprotected(value, b',');
        let rest = super::trim_span(value, (first_ends + 1).min(value.len())..value.len());
        if rest.from == rest.to {
            self.lines.remove(at);
            return self;
        }
        let (name, text) = match &self.lines[at] {
            Piece::Old(line) => (line.name, line.name_text(bytes).to_owned()),
            Piece::New { name, text, .. } => (*name, text.clone()),
        };
        self.lines[at] = Piece::New {
            name,
            text,
            value: rest.of(value).to_vec(),
        };
        self
    }

    pub fn remove(mut self, name: &str) -> Self {
        let known = Name::of(name.as_bytes());
        let bytes = &self.message.bytes;
        self.lines.retain(|line| !line.is(bytes, known, name));
        self
    }

    /// Replaces body and Content-Type (None: both removed) and sets Content-Length.
    pub fn body(mut self, content: Option<(&str, &[u8])>) -> Self {
        self = match content {
            Some((content_type, _)) => self.set("Content-Type", content_type),
            None => self.remove("Content-Type"),
        };
        let body = content.map_or(Vec::new(), |(_, body)| body.to_vec());
        self = self.set("Content-Length", &body.len().to_string());
        self.body = Some(body);
        self
    }

    pub fn finish(self) -> Message {
        let source = &self.message.bytes;
        let mut bytes = Vec::with_capacity(source.len() + 512);
        match &self.start {
            Some(start) => {
                bytes.extend_from_slice(start.as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
            None => {
                let (StartLine::Request { line, .. } | StartLine::Response { line, .. }) =
                    &self.message.start;
                bytes.extend_from_slice(line.of(source));
                bytes.extend_from_slice(b"\r\n");
            }
        }
        for line in &self.lines {
            match line {
                Piece::Old(line) => bytes.extend_from_slice(&source[line.span()]),
                Piece::New { text, value, .. } => write_line(&mut bytes, text, value),
            }
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or(self.message.body()));
        whole(bytes)
    }

    fn position(&self, name: &str) -> Option<usize> {
        let known = Name::of(name.as_bytes());
        self.lines
            .iter()
            .position(|line| line.is(&self.message.bytes, known, name))
    }
}

impl Piece<'_> {
    fn new(name: &str, value: &str) -> Self {
        Piece::New {
            name: Name::of(name.as_bytes()),
            text: one_line(name).into_owned(),
            value: one_line(value).into_owned().into_bytes(),
        }
    }

    fn is(&self, bytes: &[u8], known: Name, asked: &str) -> bool {
        match self {
            Piece::Old(line) => line.is(bytes, known, asked),
            Piece::New { name, text, .. } => {
                *name == known && (known != Name::Other || text.eq_ignore_ascii_case(asked))
            }
        }
    }

    fn value<'b>(&'b self, bytes: &'b [u8]) -> &'b [u8] {
        match self {
            Piece::Old(line) => line.raw_value(bytes),
            Piece::New { value, .. } => value,
        }
    }
}

/// Builds a message line by line; `finish` adds Content-Length if it was not written.
#[derive(Clone, Debug)]
pub struct Builder {
    head: Vec<u8>,
    body: Vec<u8>,
    has_length: bool,
}

impl Builder {
    pub fn request(method: &str, uri: &str) -> Builder {
        Builder::start(&format!("{} {} SIP/2.0", one_line(method), one_line(uri)))
    }

    /// Copies Via (all), From, To, Call-ID, CSeq of the request (RFC 3261 8.2.6.2). `to_tag` is added
    /// to To if it has none.
    pub fn response(request: &Message, code: u16, reason: &str, to_tag: Option<&str>) -> Builder {
        let mut built = Builder::start(&format!("SIP/2.0 {code:03} {}", one_line(reason)));
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            for line in request.all(name) {
                let mut value = line.raw_value(&request.bytes).to_vec();
                if let (Name::To, Some(tag)) = (line.name, to_tag)
                    && request.to().is_ok_and(|to| to.tag().is_none())
                {
                    value.extend_from_slice(b";tag=");
                    value.extend_from_slice(one_line(tag).as_bytes());
                }
                write_line(&mut built.head, name, &value);
            }
        }
        built
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.has_length |= Name::of(name.as_bytes()) == Name::ContentLength;
        write_line(&mut self.head, &one_line(name), one_line(value).as_bytes());
        self
    }

    /// Adds Content-Type, and the octets as body.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header("Content-Type", content_type)
    }

    pub fn finish(self) -> Message {
        let length = self.body.len();
        let built = if self.has_length {
            self
        } else {
            self.header("Content-Length", &length.to_string())
        };
        let mut bytes = built.head;
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&built.body);
        whole(bytes)
    }

    fn start(line: &str) -> Builder {
        let mut head = Vec::with_capacity(1024);
        head.extend_from_slice(line.as_bytes());
        head.extend_from_slice(b"\r\n");
        Builder {
            head,
            body: Vec::new(),
            has_length: false,
        }
    }
}

/// The customary reason phrase of a status code (RFC 3261 21 and later registrations).
pub fn reason(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match code / 100 {
            1 => "Progress",
            2 => "Success",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

fn write_line(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

/// A value cannot end its line: line ends in it become spaces.
fn one_line(text: &str) -> Cow<'_, str> {
    match memchr2(b'\r', b'\n', text.as_bytes()) {
        None => Cow::Borrowed(text),
        Some(_) => Cow::Owned(text.replace(['\r', '\n'], " ")),
    }
}

/// What was written parses, unless a caller wrote a start line that is none; then the octets are a
/// request without method, URI or headers.
fn whole(bytes: Vec<u8>) -> Message {
    let bytes = Bytes::from(bytes);
    Message::parse(bytes.clone()).unwrap_or_else(|_| Message {
        start: StartLine::Request {
            line: Span::new(0, 0),
            method: Span::new(0, 0),
            uri: Span::new(0, 0),
            version: Span::new(0, 0),
        },
        lines: Arc::default(),
        body: bytes.len()..bytes.len(),
        bytes,
    })
}
