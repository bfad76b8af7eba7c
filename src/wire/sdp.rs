//! SDP (RFC 8866) with the file-transfer attributes of RFC 5547. [`Sdp`] is a lossless line scanner that
//! also says what is out of order; [`Session`] is a typed view of what a piece request needs, and the
//! way to build one. Start at [`Sdp::scan`].

use std::{fmt, net::IpAddr, ops::Range};

use bytes::Bytes;

use super::{Malformed, msrp};

/// The most lines that are read; what follows is one problem.
const LINES_LIMIT: usize = 4096;

/// A session description as it stands: every octet belongs to exactly one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdp {
    bytes: Bytes,
    lines: Vec<Line>,
    problems: Vec<Malformed>,
}

/// One line: `a=recvonly`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The letter before `=`; zero if the line has none.
    pub kind: u8,
    /// The whole line with its end.
    pub span: Range<usize>,
    /// What follows `=`, without the line's end.
    pub value: Range<usize>,
    /// The media description it belongs to, counted from 0; `None` at session level.
    pub media: Option<usize>,
}

impl Sdp {
    /// Reads lines. Never fails: what is wrong is kept and told by [`Sdp::problems`].
    pub fn scan(bytes: Bytes) -> Sdp {
        let mut sdp = Sdp {
            lines: Vec::new(),
            problems: Vec::new(),
            bytes,
        };
        let mut at = 0;
        let mut media = None;
        while at < sdp.bytes.len() {
            let rest = &sdp.bytes[at..];
            let length = match sdp.lines.len() < LINES_LIMIT {
                true => memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1),
                false => rest.len(),
            };
            let line = sdp.line(at..at + length, &mut media);
            sdp.lines.push(line);
            at += length;
        }
        sdp.check_order();
        sdp.problems.sort_by_key(|problem| problem.at);
        sdp
    }

    /// Reads lines and refuses a description that has any problem.
    pub fn parse(bytes: Bytes) -> Result<Sdp, Malformed> {
        let sdp = Sdp::scan(bytes);
        match sdp.problems.first() {
            Some(problem) => Err(problem.clone()),
            None => Ok(sdp),
        }
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What breaks RFC 8866 clause 5 or 9: unreadable lines, wrong order, missing lines.
    pub fn problems(&self) -> &[Malformed] {
        &self.problems
    }

    /// What a line says after `=`; not UTF-8 reads as replacement characters.
    pub fn value(&self, line: &Line) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes[line.value.clone()])
    }

    fn line(&mut self, span: Range<usize>, media: &mut Option<usize>) -> Line {
        let text = &self.bytes[span.clone()];
        let content = text.strip_suffix(b"\n").unwrap_or(text);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let end = span.start + content.len();
        let problem = |at: usize, expected: &str| Malformed::new(&self.bytes, at, expected);
        let (kind, value, found) = match content {
            [kind, b'=', ..] if kind.is_ascii_lowercase() => (*kind, span.start + 2..end, None),
            _ => (
                0,
                span.start..end,
                Some(problem(span.start, "a line such as a=recvonly")),
            ),
        };
        // RFC 8866 5: "parsers SHOULD be tolerant" of a bare line feed; a last line without end is not.
        let ending = match text.ends_with(b"\n") {
            true => None,
            false => Some(problem(end, "the end of the line")),
        };
        self.problems.extend(found);
        self.problems.extend(ending);
        if kind == b'm' {
            *media = Some(media.map_or(0, |n| n + 1));
        }
        Line {
            kind,
            span,
            value,
            media: *media,
        }
    }

    /// RFC 8866 9: the order of lines, which are repeated, which are missing.
    fn check_order(&mut self) {
        let mut problems = Vec::new();
        for section in self.lines.chunk_by(|a, b| a.media == b.media) {
            let is_media = section[0].media.is_some();
            let order = if is_media { MEDIA } else { SESSION };
            let mut reached = 0;
            for line in section.iter().filter(|line| line.kind != 0) {
                let place = order.iter().position(|&(kind, _)| kind == line.kind);
                let wrong = |expected: &str| Malformed::new(&self.bytes, line.span.start, expected);
                match place {
                    None => problems.push(wrong("a line type that is known at this level")),
                    Some(place) if place < reached => {
                        // Time descriptions repeat as a group (t=, r=).
                        if matches!(line.kind, b't') && order[reached].0 == b'r' {
                            reached = place;
                        } else {
                            problems.push(wrong("lines in the order of RFC 8866 clause 9"));
                        }
                    }
                    Some(place) => {
                        let again = place == reached
                            && !order[place].1
                            && section
                                .iter()
                                .any(|l| l.kind == line.kind && l.span.start < line.span.start);
                        if again {
                            problems.push(wrong("this line type once"));
                        }
                        reached = place;
                    }
                }
            }
        }
        let session_has = |kind: u8| {
            self.lines
                .iter()
                .any(|line| line.media.is_none() && line.kind == kind)
        };
        if self.lines.first().is_none_or(|line| line.kind != b'v') {
            problems.push(Malformed::new(&self.bytes, 0, "v=0"));
        }
        for kind in [b'o', b's', b't'] {
            if !session_has(kind) {
                let expected = format!("a line {}=", char::from(kind));
                problems.push(Malformed::new(&self.bytes, self.bytes.len(), expected));
            }
        }
        self.problems.extend(problems);
    }
}

/// The order of lines at session level, and whether one may be repeated (RFC 8866 9).
const SESSION: &[(u8, bool)] = &[
    (b'v', false),
    (b'o', false),
    (b's', false),
    (b'i', false),
    (b'u', false),
    (b'e', true),
    (b'p', true),
    (b'c', false),
    (b'b', true),
    (b't', true),
    (b'r', true),
    (b'z', false),
    (b'k', false),
    (b'a', true),
];

/// The order of lines in a media description (RFC 8866 9).
const MEDIA: &[(u8, bool)] = &[
    (b'm', false),
    (b'i', false),
    (b'c', true),
    (b'b', true),
    (b'k', false),
    (b'a', true),
];

/// What a piece request needs of a session description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub origin: Origin,
    /// `s=`; `-` where there is nothing to say.
    pub name: String,
    pub connection: Option<Connection>,
    /// Session-level attributes in order.
    pub attributes: Vec<Attribute>,
    pub media: Vec<Media>,
}

impl Session {
    /// A description without media by somebody at `ip`. `id` numbers the session, `version` this
    /// description of it (RFC 8866 5.2).
    pub fn new(ip: IpAddr, id: u64, version: u64) -> Session {
        let connection = Connection::new(ip);
        Session {
            origin: Origin {
                user: "-".to_owned(),
                id,
                version,
                connection: connection.clone(),
            },
            name: "-".to_owned(),
            connection: Some(connection),
            attributes: Vec::new(),
            media: Vec::new(),
        }
    }

    /// Reads the typed view; lines it does not know are passed over.
    pub fn parse(bytes: &Bytes) -> Result<Session, Malformed> {
        Session::of(&Sdp::parse(bytes.clone())?)
    }

    /// The typed view of a scanned description, problems of order or not.
    pub fn of(sdp: &Sdp) -> Result<Session, Malformed> {
        let mut origin = None;
        let mut name = "-".to_owned();
        let mut connection = None;
        let mut attributes = Vec::new();
        let mut media: Vec<Media> = Vec::new();
        for line in &sdp.lines {
            let value = sdp.value(line);
            let wrong = |expected: &str| Malformed::new(&sdp.bytes, line.span.start, expected);
            match (line.kind, media.last_mut()) {
                (b'o', None) => {
                    origin = Some(Origin::read(&value).ok_or_else(|| {
                        wrong("o=, a user, two numbers, IN, IP4 or IP6, an address")
                    })?);
                }
                (b's', None) => name = value.into_owned(),
                (b'c', place) => {
                    let read = Connection::read(&value)
                        .ok_or_else(|| wrong("c=IN, IP4 or IP6, an address"))?;
                    match place {
                        Some(media) => media.connection = Some(read),
                        None => connection = Some(read),
                    }
                }
                (b'a', Some(media)) => media.attributes.push(Attribute::read(&value)),
                (b'a', None) => attributes.push(Attribute::read(&value)),
                (b'm', _) => media.push(
                    Media::read(&value)
                        .ok_or_else(|| wrong("m=, media, port, protocol, format"))?,
                ),
                _ => {}
            }
        }
        let origin = origin.ok_or_else(|| Malformed::new(&sdp.bytes, 0, "a line o="))?;
        Ok(Session {
            origin,
            name,
            connection,
            attributes,
            media,
        })
    }

    /// The address data goes to or comes from for a media description: its own `c=`, or the session's.
    pub fn connection_of<'a>(&'a self, media: &'a Media) -> Option<&'a Connection> {
        media.connection.as_ref().or(self.connection.as_ref())
    }

    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.to_string())
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = &self.origin;
        write!(
            f,
            "v=0\r\no={} {} {} {}\r\ns={}\r\n",
            origin.user,
            origin.id,
            origin.version,
            origin.connection,
            clean(&self.name)
        )?;
        if let Some(connection) = &self.connection {
            write!(f, "c={connection}\r\n")?;
        }
        f.write_str("t=0 0\r\n")?;
        for attribute in &self.attributes {
            write!(f, "a={attribute}\r\n")?;
        }
        for media in &self.media {
            let kind = clean(&media.kind);
            let (protocol, formats) = (clean(&media.protocol), clean(&media.formats));
            write!(f, "m={kind} {} {protocol} {formats}\r\n", media.port)?;
            if let Some(connection) = &media.connection {
                write!(f, "c={connection}\r\n")?;
            }
            for attribute in &media.attributes {
                write!(f, "a={attribute}\r\n")?;
            }
        }
        Ok(())
    }
}

/// `o=` (RFC 8866 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub user: String,
    pub id: u64,
    pub version: u64,
    pub connection: Connection,
}

impl Origin {
    fn read(value: &str) -> Option<Origin> {
        let mut words = value.splitn(4, ' ');
        Some(Origin {
            user: words.next()?.to_owned(),
            id: words.next()?.parse().ok()?,
            version: words.next()?.parse().ok()?,
            connection: Connection::read(words.next()?)?,
        })
    }
}

/// `IN IP4 192.0.2.10` (RFC 8866 5.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `IP4` or `IP6`.
    pub address_type: String,
    pub address: String,
}

impl Connection {
    pub fn new(ip: IpAddr) -> Connection {
        let address_type = if ip.is_ipv4() { "IP4" } else { "IP6" };
        Connection {
            address_type: address_type.to_owned(),
            address: ip.to_string(),
        }
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }

    fn read(value: &str) -> Option<Connection> {
        let words: Vec<&str> = value.split(' ').collect();
        match words[..] {
            ["IN", kind @ ("IP4" | "IP6"), address] if !address.is_empty() => Some(Connection {
                address_type: kind.to_owned(),
                address: address.to_owned(),
            }),
            _ => None,
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IN {} {}", self.address_type, self.address)
    }
}

/// `recvonly`, or `setup:active`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub value: Option<String>,
}

impl Attribute {
    pub fn flag(name: &str) -> Attribute {
        Attribute {
            name: name.to_owned(),
            value: None,
        }
    }

    pub fn new(name: &str, value: impl fmt::Display) -> Attribute {
        Attribute {
            name: name.to_owned(),
            value: Some(value.to_string()),
        }
    }

    fn read(text: &str) -> Attribute {
        match text.split_once(':') {
            Some((name, value)) => Attribute::new(name, value),
            None => Attribute::flag(text),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}:{}", clean(&self.name), clean(value)),
            None => f.write_str(&clean(&self.name)),
        }
    }
}

/// Which way a media stream flows, as its describer sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    Inactive,
    RecvOnly,
    SendOnly,
    /// What holds where nothing is said (RFC 8866 6.7).
    #[default]
    SendRecv,
}

impl Direction {
    pub fn word(self) -> &'static str {
        match self {
            Direction::Inactive => "inactive",
            Direction::RecvOnly => "recvonly",
            Direction::SendOnly => "sendonly",
            Direction::SendRecv => "sendrecv",
        }
    }

    fn read(word: &str) -> Option<Direction> {
        [
            Direction::Inactive,
            Direction::RecvOnly,
            Direction::SendOnly,
            Direction::SendRecv,
        ]
        .into_iter()
        .find(|direction| direction.word() == word)
    }
}

/// A media description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `message`.
    pub kind: String,
    /// Zero refuses the stream (RFC 3264 6).
    pub port: u16,
    /// `TCP/MSRP`.
    pub protocol: String,
    /// `*`.
    pub formats: String,
    pub connection: Option<Connection>,
    pub attributes: Vec<Attribute>,
}

impl Media {
    /// An MSRP stream without attributes (RFC 4975 8).
    pub fn msrp(port: u16) -> Media {
        Media {
            kind: "message".to_owned(),
            port,
            protocol: "TCP/MSRP".to_owned(),
            formats: "*".to_owned(),
            connection: None,
            attributes: Vec::new(),
        }
    }

    pub fn is_msrp(&self) -> bool {
        self.kind == "message" && matches!(&*self.protocol, "TCP/MSRP" | "TCP/TLS/MSRP")
    }

    pub fn with(mut self, attribute: Attribute) -> Media {
        self.attributes.push(attribute);
        self
    }

    /// The value of the first attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name)?
            .value
            .as_deref()
    }

    pub fn has(&self, name: &str) -> bool {
        self.attributes
            .iter()
            .any(|attribute| attribute.name == name)
    }

    pub fn direction(&self) -> Direction {
        self.attributes
            .iter()
            .find_map(|attribute| Direction::read(&attribute.name))
            .unwrap_or_default()
    }

    /// `active`, `passive`, `actpass` or `holdconn` (RFC 4145 4; clause not verified).
    pub fn setup(&self) -> Option<&str> {
        self.attribute("setup")
    }

    pub fn path(&self) -> Result<Vec<msrp::Uri>, Malformed> {
        match self.attribute("path") {
            Some(path) => msrp::parse_path(path),
            None => Err(Malformed::new(b"", 0, "an attribute a=path")),
        }
    }

    pub fn accept_types(&self) -> Vec<&str> {
        self.attribute("accept-types")
            .map(|types| types.split(' ').filter(|word| !word.is_empty()).collect())
            .unwrap_or_default()
    }

    /// `a=file-selector`, `None` if there is none.
    pub fn file_selector(&self) -> Result<Option<FileSelector>, Malformed> {
        match self.attribute("file-selector") {
            Some(text) => FileSelector::parse(text).map(Some),
            // The attribute may stand without a value (RFC 5547 6).
            None if self.has("file-selector") => Ok(Some(FileSelector::default())),
            None => Ok(None),
        }
    }

    pub fn file_transfer_id(&self) -> Option<&str> {
        self.attribute("file-transfer-id")
    }

    /// `a=file-range`, `None` if there is none: the whole file.
    pub fn file_range(&self) -> Result<Option<FileRange>, Malformed> {
        self.attribute("file-range")
            .map(FileRange::parse)
            .transpose()
    }

    fn read(value: &str) -> Option<Media> {
        let mut words = value.splitn(4, ' ');
        Some(Media {
            kind: words.next()?.to_owned(),
            port: words.next()?.split('/').next()?.parse().ok()?,
            protocol: words.next()?.to_owned(),
            formats: words.next()?.to_owned(),
            connection: None,
            attributes: Vec::new(),
        })
    }
}

/// `a=file-selector` (RFC 5547 6): which file is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSelector {
    /// Decoded: percent escapes stand for the octets that may not be written.
    pub name: Option<String>,
    /// `type`, as written.
    pub media_type: Option<String>,
    /// Octets of the whole file.
    pub size: Option<u64>,
    /// Algorithm and digest of the whole file, even where only a range is sent.
    pub hashes: Vec<(String, Vec<u8>)>,
}

impl FileSelector {
    pub fn parse(text: &str) -> Result<FileSelector, Malformed> {
        let mut selector = FileSelector::default();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let word = &rest[..word_end(rest)];
            if !word.is_empty() {
                selector.take(word).ok_or_else(|| {
                    Malformed::new(
                        text.as_bytes(),
                        at,
                        "a selector: name:\"…\", type:…, size:… or hash:sha-1:…",
                    )
                })?;
            }
            at += word.len() + 1;
        }
        Ok(selector)
    }

    pub fn hash(&self, algorithm: &str) -> Option<&[u8]> {
        self.hashes
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(algorithm))
            .map(|(_, digest)| &digest[..])
    }

    /// Whether it selects anything at all.
    pub fn is_empty(&self) -> bool {
        *self == FileSelector::default()
    }

    fn take(&mut self, word: &str) -> Option<()> {
        let (kind, value) = word.split_once(':')?;
        match kind {
            "name" => {
                let quoted = value.strip_prefix('"')?.strip_suffix('"')?;
                self.name = Some(super::http::decode(quoted)?);
            }
            "type" if !value.is_empty() => self.media_type = Some(value.to_owned()),
            "size" if value.bytes().all(|b| b.is_ascii_digit()) => {
                self.size = Some(value.parse().ok()?);
            }
            "hash" => {
                let (algorithm, digest) = value.split_once(':')?;
                let octets: Option<Vec<u8>> = digest.split(':').map(octet).collect();
                self.hashes.push((algorithm.to_owned(), octets?));
            }
            _ => return None,
        }
        Some(())
    }
}

/// Where the first blank outside quotes stands.
fn word_end(text: &str) -> usize {
    let mut quoted = false;
    text.bytes()
        .position(|b| {
            quoted ^= b == b'"';
            b == b' ' && !quoted
        })
        .unwrap_or(text.len())
}

fn octet(text: &str) -> Option<u8> {
    let hex = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for FileSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if let Some(name) = &self.name {
            // RFC 5547 6: NUL, LF, CR, the quotation mark and the percent sign are escaped; we escape
            // every control character.
            let mut escaped = String::new();
            for c in name.chars() {
                match c {
                    '\0'..'\x20' | '\x7f' | '"' | '%' => {
                        escaped.push_str(&format!("%{:02X}", u32::from(c)));
                    }
                    other => escaped.push(other),
                }
            }
            words.push(format!("name:\"{escaped}\""));
        }
        words.extend(self.media_type.iter().map(|kind| format!("type:{kind}")));
        words.extend(self.size.iter().map(|size| format!("size:{size}")));
        for (algorithm, digest) in &self.hashes {
            let octets: Vec<String> = digest.iter().map(|b| format!("{b:02X}")).collect();
            words.push(format!("hash:{algorithm}:{}", octets.join(":")));
        }
        f.write_str(&words.join(" "))
    }
}

/// `a=file-range`: octets of the file, 1-based and inclusive (RFC 5547 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    pub start: u64,
    /// `None` for `*`: to the end.
    pub stop: Option<u64>,
}

impl FileRange {
    /// `len` octets from the 0-based `first` on; `None` for no octets at all.
    pub fn of(first: u64, len: u64) -> Option<FileRange> {
        (len > 0).then_some(FileRange {
            start: first.checked_add(1)?,
            stop: Some(first.checked_add(len)?),
        })
    }

    pub fn parse(text: &str) -> Result<FileRange, Malformed> {
        read_file_range(text).ok_or_else(|| {
            Malformed::new(
                text.as_bytes(),
                0,
                "a file range such as 1-65536 or 1-*, counted from 1",
            )
        })
    }

    /// Its 0-based first octet and its length in a file of `size` octets; `None` if the file is too short.
    pub fn within(self, size: u64) -> Option<(u64, u64)> {
        let stop = self.stop.unwrap_or(size);
        let inside = self.start >= 1 && self.start <= stop && stop <= size;
        inside.then(|| (self.start - 1, stop - self.start + 1))
    }
}

fn read_file_range(text: &str) -> Option<FileRange> {
    let (start, stop) = text.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let range = FileRange {
        start: number(start)?,
        stop: match stop {
            "*" => None,
            _ => Some(number(stop)?),
        },
    };
    let ordered = range.start >= 1 && range.stop.is_none_or(|stop| stop >= range.start);
    ordered.then_some(range)
}

impl fmt::Display for FileRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stop {
            Some(stop) => write!(f, "{}-{stop}", self.start),
            None => write!(f, "{}-*", self.start),
        }
    }
}

/// Takes out what would break a line.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\0' | '\r' | '\n' => ' ',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFER: &str = "v=0\r\no=- 3910000002 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\n\
        t=0 0\r\nm=message 2855 TCP/MSRP *\r\na=recvonly\r\n\
        a=accept-types:application/octet-stream\r\na=setup:active\r\n\
        a=path:msrp://192.0.2.10:2855/u7Qm2bXk0sPq;tcp\r\n\
        a=file-selector:name:\"movie-0001\" size:196613 hash:sha-1:\
        94:18:BD:DB:73:76:B2:56:76:DD:CB:7D:83:F5:29:42:15:33:15:00\r\n\
        a=file-transfer-id:R8xk2nP0vQ4mZ7\r\na=file-range:65537-131072\r\n";

    #[test]
    fn a_pull_offer_reads_and_prints_alike() {
        let bytes = Bytes::from_static(OFFER.as_bytes());
        let session = Session::parse(&bytes).unwrap();
        let media = &session.media[0];
        let selector = media.file_selector().unwrap().unwrap();

        assert_eq!(Direction::RecvOnly, media.direction());
        assert_eq!(Some("active"), media.setup());
        assert_eq!(vec!["application/octet-stream"], media.accept_types());
        assert_eq!(Some("movie-0001"), selector.name.as_deref());
        assert_eq!(Some(196_613), selector.size);
        assert_eq!(Some(0x94), selector.hash("SHA-1").map(|d| d[0]));
        let range = media.file_range().unwrap().unwrap();
        assert_eq!(Some((65_536, 65_536)), range.within(196_613));
        assert_eq!(Some(range), FileRange::of(65_536, 65_536));
        assert_eq!(bytes, session.to_bytes());
    }

    #[test]
    fn what_is_out_of_order_is_told_with_its_place() {
        let wrong = OFFER.replacen(
            "s=-\r\nc=IN IP4 192.0.2.10",
            "c=IN IP4 192.0.2.10\r\ns=-",
            1,
        );
        let error = Sdp::parse(Bytes::from(wrong.clone())).unwrap_err();

        assert_eq!(wrong.find("s=-"), Some(error.at));
        for (line, missing) in [("v=0\r\n", "v=0"), ("s=-\r\n", "s="), ("t=0 0\r\n", "t=")] {
            let error = Sdp::parse(Bytes::from(OFFER.replacen(line, "", 1))).unwrap_err();
            assert!(error.expected.contains(missing), "{error}");
        }
        let twice = OFFER.replacen("t=0 0\r\n", "t=0 0\r\nr=1\r\nt=1 1\r\n", 1);
        assert!(Sdp::parse(Bytes::from(twice)).is_ok());
        let twice = OFFER.replacen("s=-\r\n", "s=-\r\ns=-\r\n", 1);
        assert!(Sdp::parse(Bytes::from(twice)).is_err());
    }

    #[test]
    fn ranges_count_from_one() {
        for wrong in ["0-10", "5-4", "1", "-", "1-", "+1-2", "1-2-3", "*-1"] {
            assert!(FileRange::parse(wrong).is_err(), "{wrong}");
        }
        let open = FileRange::parse("3-*").unwrap();
        assert_eq!(Some((2, 8)), open.within(10));
        assert_eq!(None, open.within(2));
        assert_eq!(None, FileRange::parse("1-11").unwrap().within(10));
    }

    #[test]
    fn a_hostile_name_stays_in_its_quotes() {
        let selector = FileSelector {
            name: Some("a\" size:1\r\na=x %".to_owned()),
            ..FileSelector::default()
        };
        let text = selector.to_string();

        assert!(!text.contains('\r') && !text.contains('\n'), "{text}");
        assert_eq!(selector, FileSelector::parse(&text).unwrap());
    }

    proptest! {
        #[test]
        fn scanning_never_panics_and_keeps_every_octet(bytes: Vec<u8>) {
            let sdp = Sdp::scan(Bytes::from(bytes.clone()));
            let kept: Vec<u8> = sdp
                .lines()
                .iter()
                .flat_map(|line| bytes[line.span.clone()].to_vec())
                .collect();
            prop_assert_eq!(bytes, kept);
            let _ = Session::of(&sdp);
        }

        #[test]
        fn damaged_offers_never_panic(at in 0..OFFER.len(), b: u8) {
            let mut bytes = OFFER.as_bytes().to_vec();
            bytes[at] = b;
            let sdp = Sdp::scan(Bytes::from(bytes));
            if let Ok(session) = Session::of(&sdp) {
                for media in &session.media {
                    let _ = (media.path(), media.file_selector(), media.file_range());
                }
            }
        }

        #[test]
        fn selectors_print_as_they_parse(
            name in proptest::option::of("\\PC{0,20}"),
            size: Option<u64>,
            digest in proptest::collection::vec(any::<u8>(), 1..33),
        ) {
            let selector = FileSelector {
                name,
                media_type: None,
                size,
                hashes: vec![("sha-256".to_owned(), digest)],
            };
            prop_assert_eq!(selector.clone(), FileSelector::parse(&selector.to_string()).unwrap());
        }
    }
}
