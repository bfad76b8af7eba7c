//! A frame as named fields, layer by layer, read only as far as somebody asks. Tolerant on purpose: what
//! a vendor sent is shown as far as it can be read at all, whatever a stricter parser thinks of it.

use std::{borrow::Cow, cell::OnceCell};

use bytes::Bytes;
use serde_json::Value as Json;

use crate::{
    spec::{Format, words},
    wire::{
        frame::{Frame, LinkId},
        sip,
    },
};

words! {
    /// A protocol layer of a message.
    Layer, "layer", {
        Sip = "sip",
        Sdp = "sdp",
        Msrp = "msrp",
        Http = "http",
        Ppstp = "ppstp",
        Diameter = "diameter",
    }
}

impl Layer {
    /// The fields of this layer that are not header names.
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Layer::Sip => &[
                "method",
                "status",
                "reason",
                "uri",
                "for",
                "call-id",
                "cseq",
                "from-uri",
                "from-tag",
                "to-uri",
                "to-tag",
                "branch",
                "transport",
                "icid",
                "octets",
                "body",
                "body-length",
                "text",
            ],
            Layer::Sdp => &[
                "version",
                "origin",
                "connection",
                "media",
                "port",
                "protocol",
                "direction",
                "accept-types",
                "setup",
                "path",
                "file-selector",
                "file-transfer-id",
                "file-range",
                "file-disposition",
                "max-size",
                "text",
            ],
            Layer::Msrp => &[
                "method",
                "status",
                "transaction",
                "continuation",
                "body-length",
                "text",
            ],
            Layer::Http => &[
                "method",
                "target",
                "path",
                "query",
                "status",
                "reason",
                "body",
                "body-length",
                "text",
            ],
            Layer::Ppstp => &[
                "version",
                "request",
                "response",
                "error",
                "transaction-id",
                "peer-id",
                "swarm",
                "action",
                "mode",
                "peer-count",
                "result",
                "holders",
                "peers",
                "peer-ids",
                "addresses",
                "address-types",
                "roles",
                "urls",
                "pieces",
                "complete",
                "downloaded",
                "uploaded",
                "peer-used",
                "manifest-size",
                "manifest-sha1",
                "manifest-sha256",
                "manifest-pieces",
                "manifest-digests",
                "roots",
                "text",
            ],
            Layer::Diameter => &[
                "command",
                "code",
                "result",
                "experimental-result",
                "user-name",
                "public-identity",
                "server-name",
                "visited-network",
                "authentication-scheme",
                "assignment-type",
                "session-id",
                "user-data",
            ],
        }
    }

    /// Header names a pattern of this layer may test.
    pub const fn headers(self) -> &'static [&'static str] {
        match self {
            Layer::Sip => SIP_HEADERS,
            Layer::Http => HTTP_HEADERS,
            Layer::Msrp => MSRP_HEADERS,
            _ => &[],
        }
    }

    /// Whether a message of that format can have it.
    pub const fn travels_by(self, format: Format) -> bool {
        match self {
            Layer::Sip | Layer::Sdp => matches!(format, Format::Sip),
            Layer::Http => matches!(format, Format::Http),
            Layer::Ppstp => matches!(format, Format::Sip | Format::Http),
            Layer::Msrp => matches!(format, Format::Msrp),
            Layer::Diameter => matches!(format, Format::Diameter),
        }
    }

    /// Whether a pattern may name `key`: a field, a header, one of its derived fields (`route-uri`), or
    /// for JSON a pointer (`/range/first`).
    pub fn knows(self, key: &str) -> bool {
        let is_header = |name: &str| {
            self.headers()
                .iter()
                .any(|header| header.eq_ignore_ascii_case(name))
        };
        let derived = key
            .strip_suffix("-uri")
            .or_else(|| key.strip_suffix("-params"))
            .is_some_and(|name| self == Layer::Sip && is_header(name));
        let pointer = key.starts_with('/') && matches!(self, Layer::Http | Layer::Ppstp);
        self.fields().contains(&key) || is_header(key) || derived || pointer
    }
}

/// All that a field can ever hold: what a pattern says beyond it can never be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// One of these words, of that kind.
    Words(&'static str, &'static [&'static str]),
    /// Such a number, by name and article; both ends included.
    Numbers(&'static str, i64, i64),
}

impl Layer {
    /// What a field can hold, where its vocabulary is closed; `None` for free text. What is not in it but may
    /// come all the same (a method nobody knows) is asked for by a regular expression.
    pub(crate) fn range(self, key: &str) -> Option<Range> {
        Some(match (self, key) {
            (Layer::Sip, "method" | "for") => Range::Words("SIP method", sip::METHODS),
            (Layer::Sip, "status") => Range::Numbers("a SIP status", 100, 699),
            (Layer::Sip, "transport") => Range::Words("SIP transport", SIP_TRANSPORTS),
            (Layer::Sdp, "direction") => Range::Words("direction", DIRECTIONS),
            (Layer::Sdp, "setup") => Range::Words("set-up role", SETUPS),
            (Layer::Msrp, "method") => Range::Words("MSRP method", MSRP_METHODS),
            (Layer::Msrp, "status") => Range::Numbers("an MSRP status", 0, 999),
            (Layer::Msrp, "continuation") => Range::Words("continuation flag", FLAGS),
            (Layer::Http, "method") => Range::Words("HTTP method", HTTP_METHODS),
            (Layer::Http, "status") => Range::Numbers("an HTTP status", 100, 599),
            (Layer::Ppstp, "request") => Range::Words("PPSTP request", PPSTP_REQUESTS),
            (Layer::Diameter, "command") => Range::Words("Diameter command", DIAMETER_COMMANDS),
            (Layer::Diameter, "result") => Range::Numbers("a Diameter result", 1000, 5999),
            _ => return None,
        })
    }
}

/// RFC 3261 25.1 and RFC 7118.
const SIP_TRANSPORTS: &[&str] = &["UDP", "TCP", "TLS", "SCTP", "TLS-SCTP", "WS", "WSS"];

/// RFC 9110 9 and RFC 5789.
const HTTP_METHODS: &[&str] = &[
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

/// RFC 4975 7.1 and RFC 4976.
const MSRP_METHODS: &[&str] = &["AUTH", "REPORT", "SEND"];

/// RFC 4975 7.1: the message goes on, ends, is given up.
const FLAGS: &[&str] = &["+", "$", "#"];

/// RFC 4566 6.
const DIRECTIONS: &[&str] = &["inactive", "recvonly", "sendonly", "sendrecv"];

/// RFC 4145 4.
const SETUPS: &[&str] = &["active", "actpass", "holdconn", "passive"];

/// RFC 7846.
const PPSTP_REQUESTS: &[&str] = &["CONNECT", "FIND", "STAT_REPORT"];

/// Of Cx (TS 29.229): requests and answers.
const DIAMETER_COMMANDS: &[&str] = &[
    "LIA", "LIR", "MAA", "MAR", "PPA", "PPR", "RTA", "RTR", "SAA", "SAR", "UAA", "UAR",
];

/// A frame, decoded on demand.
#[derive(Clone, Debug)]
pub struct View {
    format: Format,
    framed: bool,
    bytes: Bytes,
    link: Option<LinkId>,
    head: OnceCell<Option<Head>>,
    json: OnceCell<Option<Json>>,
}

impl View {
    pub fn new(frame: &Frame) -> View {
        View {
            format: frame.format,
            framed: frame.framed,
            bytes: frame.bytes.clone(),
            link: frame.link,
            head: OnceCell::new(),
            json: OnceCell::new(),
        }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// The message as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The receiver's number for the connection it came on.
    pub fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// The values of a field: `None` if the message has no such layer, empty if the field is absent.
    pub fn get(&self, layer: Layer, key: &str) -> Option<Vec<String>> {
        match layer {
            Layer::Sip if self.format == Format::Sip => self.sip(key),
            Layer::Http if self.format == Format::Http => self.http(key),
            Layer::Msrp if self.format == Format::Msrp => self.msrp(key),
            Layer::Sdp => self.sdp(key),
            Layer::Ppstp => self.ppstp(key),
            Layer::Diameter if self.format == Format::Diameter => self.cx(key),
            _ => None,
        }
    }

    /// A field by the name templates use: `sdp.file-range`, or `call-id` in the message's own layer.
    pub fn value(&self, name: &str) -> Option<String> {
        let own = match self.format {
            Format::Sip => Layer::Sip,
            Format::Http => Layer::Http,
            Format::Msrp => Layer::Msrp,
            Format::Diameter => Layer::Diameter,
        };
        let (layer, key) = match name.split_once('.') {
            Some((layer, key)) => (layer.parse().ok()?, key),
            None => (own, name),
        };
        let values = self.get(layer, key)?;
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// What kind of message it is, for people: `INVITE`, `200 to INVITE`, `POST /ppstp (CONNECT)`.
    pub fn title(&self) -> String {
        if !self.framed {
            return format!("{} octets that are no message", self.bytes.len());
        }
        let one = |layer, key| self.get(layer, key).and_then(|v| v.into_iter().next());
        let ppstp = one(Layer::Ppstp, "request").or_else(|| {
            let error = one(Layer::Ppstp, "error")?;
            match (error.as_str(), self.get(Layer::Ppstp, "peer-ids")) {
                ("0", Some(peers)) if peers.len() == 1 => Some("1 peer".to_owned()),
                ("0", Some(peers)) if !peers.is_empty() => Some(format!("{} peers", peers.len())),
                ("0", _) => None,
                _ => Some(format!("error {error}")),
            }
        });
        let title = match self.format {
            Format::Sip | Format::Http | Format::Msrp => {
                let layer = match self.format {
                    Format::Sip => Layer::Sip,
                    Format::Http => Layer::Http,
                    _ => Layer::Msrp,
                };
                let status = one(layer, "status");
                let method = one(layer, "method");
                match (status, method, layer) {
                    (Some(status), _, Layer::Sip) => {
                        format!("{status} to {}", one(layer, "for").unwrap_or_default())
                    }
                    (Some(status), _, _) => status,
                    (None, Some(method), Layer::Http) => {
                        format!("{method} {}", one(layer, "path").unwrap_or_default())
                    }
                    (None, Some(method), _) => method,
                    (None, None, _) => "an unreadable message".to_owned(),
                }
            }
            Format::Diameter => match (
                one(Layer::Diameter, "command"),
                one(Layer::Diameter, "result")
                    .or_else(|| one(Layer::Diameter, "experimental-result")),
            ) {
                (Some(command), Some(result)) => format!("{command} {result}"),
                (Some(command), None) => command,
                _ => "an unreadable message".to_owned(),
            },
        };
        match ppstp {
            Some(ppstp) => format!("{title} ({ppstp})"),
            None => title,
        }
    }

    /// The title, with the type of the body, where that tells why something is not in it.
    pub fn title_and_type(&self) -> String {
        let own = match self.format {
            Format::Sip => Layer::Sip,
            Format::Http => Layer::Http,
            Format::Msrp => Layer::Msrp,
            Format::Diameter => return self.title(),
        };
        let kind = self.get(own, "Content-Type");
        match kind.and_then(|values| values.into_iter().next()) {
            Some(kind) => format!("{} (Content-Type {kind})", self.title()),
            None => self.title(),
        }
    }

    /// Whether it is an answer: with a status of SIP, HTTP or MSRP, or without the flag of a request of Diameter.
    pub fn is_answer(&self) -> bool {
        if self.format == Format::Diameter {
            return self.bytes.get(4).is_some_and(|flags| flags & 0x80 == 0);
        }
        [Layer::Sip, Layer::Http, Layer::Msrp]
            .into_iter()
            .any(|layer| self.get(layer, "status").is_some_and(|v| !v.is_empty()))
    }

    /// The status of an answer of SIP or HTTP.
    fn status(&self) -> Option<String> {
        let layers = [Layer::Sip, Layer::Http].into_iter();
        let mut statuses = layers.filter_map(|layer| self.get(layer, "status"));
        statuses.next()?.into_iter().next()
    }

    /// Whether it asks for the request again, with credentials.
    pub fn challenges(&self) -> bool {
        matches!(self.status().as_deref(), Some("401" | "407"))
    }

    /// Whether it is provisional: the answer is still to come.
    pub fn is_provisional(&self) -> bool {
        self.status().is_some_and(|status| status.starts_with('1'))
    }

    /// Whether it refuses what was asked for, for good.
    pub fn refuses(&self) -> bool {
        let is_error = |status: String| status.as_str() >= "400";
        self.status().is_some_and(is_error) && !self.challenges()
    }

    /// Whether who sent it had it from somebody else: a SIP request with more than one Via (RFC 3261 16.6).
    pub fn was_handed_on(&self) -> bool {
        let values = |key| self.get(Layer::Sip, key).unwrap_or_default();
        !values("method").is_empty() && values("Via").len() > 1
    }

    fn head(&self) -> Option<&Head> {
        let framed = self.framed;
        self.head
            .get_or_init(|| framed.then(|| Head::scan(&self.bytes)).flatten())
            .as_ref()
    }

    fn body(&self) -> &[u8] {
        let Some(head) = self.head() else { return &[] };
        let body = &self.bytes[head.body.min(self.bytes.len())..];
        match self.format {
            Format::Msrp => msrp_body(body, head.start_word(1)),
            _ => body,
        }
    }

    fn body_has_type(&self, wanted: &str) -> bool {
        let Some(head) = self.head() else {
            return false;
        };
        head.first("Content-Type").is_some_and(|found| {
            let media = found.split(';').next().unwrap_or_default();
            media.trim().eq_ignore_ascii_case(wanted)
        })
    }

    fn sip(&self, key: &str) -> Option<Vec<String>> {
        let head = self.head()?;
        let is_response = head.start.starts_with("SIP/");
        let in_request = |index| one_if(!is_response, head.start_word(index));
        let cseq_method = || {
            let cseq = head.first("CSeq")?;
            Some(cseq.split_whitespace().nth(1)?.to_owned())
        };
        let address = |name: &str| head.first(name).map(|value| Address::read(&value));
        Some(match key {
            "method" => in_request(0),
            "uri" => in_request(1),
            "status" => one_if(is_response, head.start_word(1)),
            "reason" => one_if(is_response, head.start_rest(2)),
            "for" => match is_response {
                true => cseq_method().into_iter().collect(),
                false => Vec::new(),
            },
            "call-id" => head.first("Call-ID").into_iter().collect(),
            "cseq" => head.first("CSeq").into_iter().collect(),
            "from-tag" => param_of(address("From"), "tag"),
            "to-tag" => param_of(address("To"), "tag"),
            "branch" => param_of(address("Via"), "branch"),
            // SIP/2.0/TCP
            "transport" => address("Via")
                .and_then(|via| {
                    Some(
                        via.uri
                            .split_whitespace()
                            .next()?
                            .rsplit('/')
                            .next()?
                            .to_owned(),
                    )
                })
                .into_iter()
                .collect(),
            // RFC 7315 4.6: the first parameter of P-Charging-Vector.
            "icid" => param_in(head.first("P-Charging-Vector"), "icid-value"),
            "body" => vec![String::from_utf8_lossy(self.body()).into_owned()],
            "body-length" => vec![self.body().len().to_string()],
            "octets" => vec![self.bytes.len().to_string()],
            "text" => vec![String::from_utf8_lossy(&self.bytes).into_owned()],
            _ => match (key.strip_suffix("-uri"), key.strip_suffix("-params")) {
                (Some(name), _) => addresses(head, name).map(|a| a.uri).collect(),
                (_, Some(name)) => addresses(head, name)
                    .flat_map(|a| a.params)
                    .map(|(name, value)| match value.is_empty() {
                        true => name,
                        false => format!("{name}={value}"),
                    })
                    .collect(),
                _ => head.values(key),
            },
        })
    }

    fn http(&self, key: &str) -> Option<Vec<String>> {
        let head = self.head()?;
        let is_response = head.start.starts_with("HTTP/");
        let in_request = |index| one_if(!is_response, head.start_word(index));
        let target = head.start_word(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Some(match key {
            "method" => in_request(0),
            "target" => in_request(1),
            "path" => one_if(!is_response, Some(path)),
            "query" => one_if(!is_response && !query.is_empty(), Some(query)),
            "status" => one_if(is_response, head.start_word(1)),
            "reason" => one_if(is_response, head.start_rest(2)),
            "body" => vec![String::from_utf8_lossy(self.body()).into_owned()],
            "body-length" => vec![self.body().len().to_string()],
            "text" => vec![String::from_utf8_lossy(&self.bytes).into_owned()],
            _ if key.starts_with('/') => texts(self.json()?.pointer(key)),
            _ => head.values(key),
        })
    }

    fn msrp(&self, key: &str) -> Option<Vec<String>> {
        let head = self.head()?;
        let word = head.start_word(2).unwrap_or_default();
        let is_response = word.len() == 3 && word.bytes().all(|b| b.is_ascii_digit());
        Some(match key {
            "transaction" => one_if(true, head.start_word(1)),
            "method" => one_if(!is_response, Some(word)),
            "status" => one_if(is_response, Some(word)),
            "continuation" => {
                let end = self.bytes.strip_suffix(b"\r\n").unwrap_or(&self.bytes);
                end.last()
                    .map(|flag| char::from(*flag).to_string())
                    .into_iter()
                    .collect()
            }
            "body-length" => vec![self.body().len().to_string()],
            "text" => vec![String::from_utf8_lossy(&self.bytes).into_owned()],
            _ => head.values(key),
        })
    }

    fn sdp(&self, key: &str) -> Option<Vec<String>> {
        if self.format != Format::Sip || !self.body_has_type("application/sdp") {
            return None;
        }
        let text = String::from_utf8_lossy(self.body()).into_owned();
        let lines = || text.lines().filter_map(|line| line.split_once('='));
        let all = |kind: &str| -> Vec<String> {
            lines()
                .filter(|(k, _)| *k == kind)
                .map(|(_, value)| value.to_owned())
                .collect()
        };
        let media = |index: usize| -> Vec<String> {
            all("m")
                .iter()
                .filter_map(|m| m.split_whitespace().nth(index).map(str::to_owned))
                .collect()
        };
        Some(match key {
            "version" => all("v"),
            "origin" => all("o"),
            "connection" => all("c"),
            "media" => media(0),
            "port" => media(1),
            "protocol" => media(2),
            "direction" => all("a")
                .into_iter()
                .filter(|a| {
                    matches!(
                        a.as_str(),
                        "sendonly" | "recvonly" | "sendrecv" | "inactive"
                    )
                })
                .collect(),
            "text" => vec![text.clone()],
            attribute => lines()
                .filter(|(kind, _)| *kind == "a")
                .filter_map(|(_, value)| match value.split_once(':') {
                    Some((name, value)) => (name == attribute).then(|| value.to_owned()),
                    None => (value == attribute).then(String::new),
                })
                .collect(),
        })
    }

    /// Fields of a Cx message (TS 29.229 6.1, 6.3).
    fn cx(&self, key: &str) -> Option<Vec<String>> {
        let head = self.bytes.first_chunk::<20>()?;
        let code = u32::from_be_bytes([0, head[5], head[6], head[7]]);
        let avps = avps(&self.bytes[20..]);
        let values = |wanted: u32| avps.iter().filter(move |(code, _)| *code == wanted);
        let strings = |wanted: u32| -> Vec<String> {
            values(wanted)
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
                .collect()
        };
        let number = |value: &[u8]| {
            let octets = value.first_chunk::<4>()?;
            Some(u32::from_be_bytes(*octets).to_string())
        };
        let within = |group: u32, wanted: u32| -> Vec<&[u8]> {
            values(group)
                .flat_map(|(_, value)| self::avps(value))
                .filter(|(code, _)| *code == wanted)
                .map(|(_, value)| value)
                .collect()
        };
        Some(match key {
            "code" => vec![code.to_string()],
            "command" => {
                let letter = if head[4] & 0x80 != 0 { 'R' } else { 'A' };
                let name = COMMANDS.iter().find(|(number, _)| *number == code);
                vec![name.map_or_else(|| code.to_string(), |(_, name)| format!("{name}{letter}"))]
            }
            "result" => values(268).filter_map(|(_, v)| number(v)).collect(),
            "experimental-result" => within(297, 298).into_iter().filter_map(number).collect(),
            // No field of patterns: it stands in words beside the result.
            "experimental-vendor" => within(297, 266).into_iter().filter_map(number).collect(),
            "user-name" => strings(1),
            "session-id" => strings(263),
            "visited-network" => strings(600),
            "public-identity" => strings(601),
            "server-name" => strings(602),
            "user-data" => strings(606),
            "assignment-type" => values(614).filter_map(|(_, v)| number(v)).collect(),
            "authentication-scheme" => within(612, 608)
                .into_iter()
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect(),
            _ => Vec::new(),
        })
    }

    fn json(&self) -> Option<&Json> {
        self.json
            .get_or_init(|| serde_json::from_slice(self.body()).ok())
            .as_ref()
    }

    /// Fields of a PPSTP document (RFC 7846), in a SIP or an HTTP body. Both layouts of the RFC's
    /// examples are read: an array of one may stand as a bare object.
    fn ppstp(&self, key: &str) -> Option<Vec<String>> {
        let carries = matches!(self.format, Format::Sip | Format::Http);
        if !carries || self.body().is_empty() || !self.body_has_type(PPSTP_TYPE) {
            return None;
        }
        if key == "text" {
            return Some(vec![String::from_utf8_lossy(self.body()).into_owned()]);
        }
        let Some(json) = self.json() else {
            return Some(Vec::new());
        };
        if key.starts_with('/') {
            return Some(texts(json.pointer(key)));
        }
        if key == "roots" {
            let members = json.as_object().into_iter().flatten();
            return Some(members.map(|(name, _)| name.clone()).collect());
        }
        let root = &json["PPSPTrackerProtocol"];
        let actions = || items(&root["connect"]["swarm_action"]);
        let stats = || items(&root["stat_report"]["stat"]);
        let results = || items(&root["swarm_result"]);
        let peers = || results().flat_map(|result| items(&result["peer_group"]["peer_info"]));
        let extensions = || {
            actions()
                .chain(stats())
                .map(|element| &element["cds"])
                .filter(|cds| !cds.is_null())
        };
        let each = |found: &mut dyn Iterator<Item = &Json>, member: &str| -> Vec<String> {
            found
                .flat_map(|element| texts(element.get(member)))
                .collect()
        };
        Some(match key {
            "version" => texts(root.get("version")),
            "request" => texts(root.get("request_type")),
            "response" => texts(root.get("response_type")),
            "error" => texts(root.get("error_code")),
            "transaction-id" => texts(root.get("transaction_id")),
            "peer-id" => texts(root.get("peer_id")),
            "swarm" => {
                let find = texts(root["find"].get("swarm_id"));
                let mut others = actions().chain(stats()).chain(results());
                find.into_iter()
                    .chain(each(&mut others, "swarm_id"))
                    .collect()
            }
            "action" => each(&mut actions(), "action"),
            "mode" => each(&mut actions(), "peer_mode"),
            "peer-count" => ["connect", "find"]
                .iter()
                .flat_map(|data| texts(root[*data]["peer_num"].get("peer_count")))
                .collect(),
            "result" => each(&mut results(), "result"),
            "holders" => peers().map(holder).collect(),
            "peers" => peers()
                .flat_map(|p| texts(p["cds"].get("sip_uri")))
                .collect(),
            "roles" => peers().flat_map(|p| texts(p["cds"].get("role"))).collect(),
            "urls" => peers().flat_map(|p| texts(p["cds"].get("url"))).collect(),
            "peer-ids" => each(&mut peers(), "peer_id"),
            "addresses" => peers()
                .flat_map(|p| items(&p["peer_addr"]))
                .map(|a| {
                    let ip = texts(a["ip_address"].get("address")).join("");
                    let port = texts(a.get("port")).join("");
                    match ip.contains(':') {
                        true => format!("[{ip}]:{port}"),
                        false => format!("{ip}:{port}"),
                    }
                })
                .collect(),
            "address-types" => peers()
                .flat_map(|p| items(&p["peer_addr"]))
                .flat_map(|a| texts(a.get("type")))
                .collect(),
            "pieces" => extensions().map(pieces).collect(),
            "complete" => each(&mut extensions(), "complete"),
            "peer-used" => each(&mut extensions(), "peer_used"),
            "downloaded" => each(&mut stats(), "downloaded_bytes"),
            "uploaded" => each(&mut stats(), "uploaded_bytes"),
            "manifest-size" => results()
                .flat_map(|r| texts(r["cds"].get("size")))
                .collect(),
            "manifest-sha1" => results()
                .flat_map(|r| texts(r["cds"].get("sha1")))
                .collect(),
            "manifest-sha256" => results()
                .flat_map(|r| texts(r["cds"].get("sha256")))
                .collect(),
            "manifest-digests" => results()
                .flat_map(|r| items(&r["cds"]["pieces"]))
                .flat_map(|p| texts(p.get("sha256")))
                .collect(),
            "manifest-pieces" => results()
                .flat_map(|r| items(&r["cds"]["pieces"]))
                .map(|p| {
                    let part = |member| texts(p.get(member)).join("");
                    format!("{} {}+{}", part("n"), part("first"), part("len"))
                })
                .collect(),
            _ => Vec::new(),
        })
    }
}

/// Splits the AVPs of a Diameter message (RFC 6733 4.1): code and value; stops where lengths lie.
fn avps(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let mut found = Vec::new();
    while let Some(head) = bytes.first_chunk::<8>() {
        let code = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let has_vendor = head[4] & 0x80 != 0;
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let start = if has_vendor { 12 } else { 8 };
        let Some(value) = bytes.get(start..length.max(start)) else {
            break;
        };
        found.push((code, value));
        bytes = bytes
            .get(length.max(start).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    found
}

/// Start line and headers of a text message, and where its body begins.
#[derive(Clone, Debug)]
struct Head {
    start: String,
    headers: Vec<(String, String)>,
    body: usize,
}

impl Head {
    fn scan(bytes: &[u8]) -> Option<Head> {
        let mut lines = Lines { bytes, at: 0 };
        let start = loop {
            let line = lines.next()?;
            if !line.is_empty() {
                break line.into_owned();
            }
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines.by_ref() {
            if line.is_empty() || line.starts_with("-------") {
                break;
            }
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = headers.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        Some(Head {
            start,
            headers,
            body: lines.at,
        })
    }

    fn start_word(&self, index: usize) -> Option<&str> {
        self.start.split(' ').nth(index)
    }

    fn start_rest(&self, index: usize) -> Option<&str> {
        self.start.splitn(index + 1, ' ').nth(index)
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(found, _)| is_header(found, name))
            .map(|(_, value)| value.as_str())
    }

    fn first(&self, name: &str) -> Option<String> {
        self.all(name).next().map(str::to_owned)
    }

    /// Every comma-separated value of every header of that name; dates and credentials stay whole.
    fn values(&self, name: &str) -> Vec<String> {
        let whole = WHOLE.iter().any(|w| w.eq_ignore_ascii_case(name));
        self.all(name)
            .flat_map(|value| match whole {
                true => vec![value.to_owned()],
                false => split_values(value),
            })
            .collect()
    }
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let (line, length) = match memchr::memchr(b'\n', rest) {
            Some(end) => (&rest[..end], end + 1),
            None => (rest, rest.len()),
        };
        self.at += length;
        Some(String::from_utf8_lossy(
            line.strip_suffix(b"\r").unwrap_or(line),
        ))
    }
}

/// `<uri>;params`, `"Name" <uri>;params` or `uri;params`; also good for Via, whose "uri" is its protocol
/// and host.
struct Address {
    uri: String,
    params: Vec<(String, String)>,
}

impl Address {
    fn read(value: &str) -> Address {
        let (uri, rest) = match value.split_once('<') {
            Some((_, rest)) => rest.split_once('>').unwrap_or((rest, "")),
            None => value.split_once(';').unwrap_or((value, "")),
        };
        let params = rest
            .split(';')
            .filter(|param| !param.trim().is_empty())
            .map(|param| {
                let (name, value) = param.split_once('=').unwrap_or((param, ""));
                (name.trim().to_owned(), value.trim().to_owned())
            })
            .collect();
        Address {
            uri: uri.trim().to_owned(),
            params,
        }
    }
}

fn addresses<'a>(head: &'a Head, name: &str) -> impl Iterator<Item = Address> + use<'a> {
    let values = head.values(name);
    values.into_iter().map(|value| Address::read(&value))
}

fn param_of(address: Option<Address>, name: &str) -> Vec<String> {
    let params = address.map(|address| address.params).unwrap_or_default();
    params
        .into_iter()
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .take(1)
        .collect()
}

/// The value of a parameter in `name=value;name="value"`.
fn param_in(value: Option<String>, name: &str) -> Vec<String> {
    let value = value.unwrap_or_default();
    let params = value.split(';').filter_map(|param| param.split_once('='));
    params
        .filter(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().trim_matches('"').to_owned())
        .take(1)
        .collect()
}

fn is_header(found: &str, name: &str) -> bool {
    let long = COMPACT
        .iter()
        .find(|(compact, _)| found.eq_ignore_ascii_case(compact))
        .map_or(found, |(_, long)| long);
    long.eq_ignore_ascii_case(name)
}

/// Splits at commas outside quotes and angle brackets.
fn split_values(text: &str) -> Vec<String> {
    let mut values = Vec::new();
    let (mut start, mut quoted, mut escaped, mut angled) = (0, false, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => angled = true,
            '>' if !quoted => angled = false,
            ',' if !quoted && !angled => {
                values.push(text[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    values.push(text[start..].trim().to_owned());
    values.retain(|value| !value.is_empty());
    values
}

fn one_if(holds: bool, value: Option<&str>) -> Vec<String> {
    value
        .filter(|_| holds)
        .map(str::to_owned)
        .into_iter()
        .collect()
}

/// What stands between the head of an MSRP message and its end line.
fn msrp_body<'a>(rest: &'a [u8], transaction: Option<&str>) -> &'a [u8] {
    let end = format!("-------{}", transaction.unwrap_or_default());
    match memchr::memmem::rfind(rest, end.as_bytes()) {
        Some(at) => rest[..at].strip_suffix(b"\r\n").unwrap_or(&rest[..at]),
        None => &[],
    }
}

/// The elements of an array, or the one that stands in its place.
fn items(json: &Json) -> impl Iterator<Item = &Json> {
    let (array, one) = match json {
        Json::Array(array) => (array.as_slice(), None),
        Json::Null => (&[][..], None),
        other => (&[][..], Some(other)),
    };
    array.iter().chain(one)
}

/// A scalar as text, an array as its elements, anything else as JSON.
fn texts(json: Option<&Json>) -> Vec<String> {
    match json {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::String(text)) => vec![text.clone()],
        Some(Json::Array(array)) => array.iter().flat_map(|each| texts(Some(each))).collect(),
        Some(other) => vec![other.to_string()],
    }
}

/// `1,2`: the numbers of the pieces held.
fn pieces(cds: &Json) -> String {
    texts(cds.get("pieces")).join(",")
}

/// `sip:ue-b@ims.example 1`: who holds what.
fn holder(peer: &Json) -> String {
    let cds = &peer["cds"];
    let name = match cds["sip_uri"].as_str() {
        Some(uri) => uri.to_owned(),
        None => texts(peer.get("peer_id")).join(""),
    };
    format!("{name} {}", pieces(cds))
}

/// Cx commands (TS 29.229 6.1) and the first letters of their names.
const COMMANDS: &[(u32, &str)] = &[
    (257, "CE"),
    (280, "DW"),
    (282, "DP"),
    (300, "UA"),
    (301, "SA"),
    (302, "LI"),
    (303, "MA"),
    (304, "RT"),
    (305, "PP"),
];

const PPSTP_TYPE: &str = "application/ppsp-tracker+json";

/// Headers whose commas do not part values.
const WHOLE: &[&str] = &[
    "Authorization",
    "Authentication-Info",
    "Date",
    "Expires",
    "Last-Modified",
    "Organization",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Retry-After",
    "Server",
    "Subject",
    "User-Agent",
    "WWW-Authenticate",
];

/// Compact names (RFC 3261 7.3.3, RFC 6665 8.2.1).
const COMPACT: &[(&str, &str)] = &[
    ("a", "Accept-Contact"),
    ("c", "Content-Type"),
    ("e", "Content-Encoding"),
    ("f", "From"),
    ("i", "Call-ID"),
    ("k", "Supported"),
    ("l", "Content-Length"),
    ("m", "Contact"),
    ("o", "Event"),
    ("s", "Subject"),
    ("t", "To"),
    ("u", "Allow-Events"),
    ("v", "Via"),
];

const SIP_HEADERS: &[&str] = &[
    "Accept",
    "Accept-Contact",
    "Allow",
    "Allow-Events",
    "Authentication-Info",
    "Authorization",
    "CSeq",
    "Call-ID",
    "Contact",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Date",
    "Event",
    "Expires",
    "From",
    "Max-Breadth",
    "Max-Forwards",
    "Min-Expires",
    "Min-SE",
    "P-Access-Network-Info",
    "P-Asserted-Identity",
    "P-Asserted-Service",
    "P-Associated-URI",
    "P-Called-Party-ID",
    "P-Charging-Function-Addresses",
    "P-Charging-Vector",
    "P-Preferred-Identity",
    "P-Preferred-Service",
    "P-Profile-Key",
    "P-Served-User",
    "P-Visited-Network-ID",
    "Path",
    "Privacy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Require",
    "RAck",
    "RSeq",
    "Reason",
    "Record-Route",
    "Require",
    "Retry-After",
    "Route",
    "SIP-ETag",
    "SIP-If-Match",
    "Security-Client",
    "Security-Server",
    "Security-Verify",
    "Server",
    "Service-Route",
    "Session-Expires",
    "Subscription-State",
    "Supported",
    "To",
    "Unsupported",
    "User-Agent",
    "Via",
    "WWW-Authenticate",
    "Warning",
];

const HTTP_HEADERS: &[&str] = &[
    "Accept",
    "Accept-Ranges",
    "Allow",
    "Authentication-Info",
    "Authorization",
    "CDN-Loop",
    "Cache-Control",
    "Connection",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Date",
    "ETag",
    "Host",
    "If-Range",
    "Location",
    "Range",
    "Retry-After",
    "Server",
    "Transfer-Encoding",
    "User-Agent",
    "Via",
    "WWW-Authenticate",
    "X-3GPP-Asserted-Identity",
    "X-3GPP-Intended-Identity",
    "X-Forwarded-For",
];

const MSRP_HEADERS: &[&str] = &[
    "Byte-Range",
    "Content-Type",
    "Failure-Report",
    "From-Path",
    "Message-ID",
    "Status",
    "Success-Report",
    "To-Path",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec::RefPoint,
        wire::frame::{Party, Security},
    };

    fn view(format: Format, text: &str) -> View {
        let addr = "192.0.2.1:5060".parse().unwrap();
        View::new(&Frame {
            from: Party::Node("a".into()),
            to: Party::Node("b".into()),
            src: addr,
            dst: addr,
            on: RefPoint::Gm,
            format,
            link: None,
            security: Security::Plain,
            bytes: Bytes::copy_from_slice(text.replace('\n', "\r\n").as_bytes()),
            framed: true,
        })
    }

    fn texts_of(view: &View, layer: Layer, key: &str) -> String {
        view.get(layer, key)
            .expect("the layer is there")
            .join(" | ")
    }

    #[test]
    fn an_invite_is_read_with_its_sdp() {
        let invite = view(
            Format::Sip,
            "INVITE sip:es1.cdn1@ims.example SIP/2.0\n\
             v: SIP/2.0/TCP 192.0.2.10:5070;branch=z9hG4bKi2;rport\n\
             Route: <sip:pcscf1.ims.example:5062;lr>,\n <sip:orig@scscf1.ims.example;lr>\n\
             From: \"A, B\" <sip:ue-a@ims.example>;tag=ia2\n\
             To: <sip:es1.cdn1@ims.example>\nCall-ID: p2p-2\nCSeq: 1 INVITE\n\
             Content-Type: application/sdp\n\nv=0\nm=message 2855 TCP/MSRP *\n\
             a=recvonly\na=file-range:65537-131072\n",
        );

        assert_eq!("INVITE", texts_of(&invite, Layer::Sip, "method"));
        assert_eq!("", texts_of(&invite, Layer::Sip, "status"));
        assert_eq!("z9hG4bKi2", texts_of(&invite, Layer::Sip, "branch"));
        assert_eq!("ia2", texts_of(&invite, Layer::Sip, "from-tag"));
        assert_eq!(
            "sip:ue-a@ims.example",
            texts_of(&invite, Layer::Sip, "from-uri")
        );
        assert_eq!(
            "sip:pcscf1.ims.example:5062;lr | sip:orig@scscf1.ims.example;lr",
            texts_of(&invite, Layer::Sip, "route-uri")
        );
        assert_eq!("65537-131072", texts_of(&invite, Layer::Sdp, "file-range"));
        assert_eq!("recvonly", texts_of(&invite, Layer::Sdp, "direction"));
        assert_eq!(None, invite.get(Layer::Http, "method"));
        assert_eq!("INVITE", invite.title());
    }

    #[test]
    fn a_peer_list_is_read_from_either_layout() {
        let list = |peers: &str| {
            view(
                Format::Http,
                &format!(
                    "HTTP/1.1 200 OK\nContent-Type: application/ppsp-tracker+json\n\n\
                     {{\"PPSPTrackerProtocol\":{{\"version\":1,\"response_type\":0,\"error_code\":0,\
                     \"swarm_result\":{{\"swarm_id\":\"m\",\"peer_group\":{{\"peer_info\":{peers}}}}}}}}}"
                ),
            )
        };
        let peer = "{\"peer_id\":\"b\",\"cds\":{\"sip_uri\":\"sip:ue-b@x\",\"pieces\":[1,2]}}";
        for peers in [peer.to_owned(), format!("[{peer}]")] {
            let list = list(&peers);
            assert_eq!("sip:ue-b@x 1,2", texts_of(&list, Layer::Ppstp, "holders"));
            assert_eq!("m", texts_of(&list, Layer::Ppstp, "swarm"));
            assert_eq!("200 (1 peer)", list.title());
        }
    }

    #[test]
    fn msrp_bodies_end_before_the_end_line() {
        let send = view(
            Format::Msrp,
            "MSRP d93k SEND\nTo-Path: msrp://a;tcp\nByte-Range: 1-5/5\n\
             Content-Type: text/plain\n\nhello\n-------d93k$\n",
        );
        assert_eq!("5", texts_of(&send, Layer::Msrp, "body-length"));
        assert_eq!("$", texts_of(&send, Layer::Msrp, "continuation"));
        assert_eq!("1-5/5", texts_of(&send, Layer::Msrp, "Byte-Range"));
        let ok = view(Format::Msrp, "MSRP d93k 200 OK\nTo-Path: x\n-------d93k$\n");
        assert_eq!("200", texts_of(&ok, Layer::Msrp, "status"));
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_reading_panic(bytes: Vec<u8>, key in "[a-zA-Z/-]{1,12}") {
            for format in Format::ALL {
                let mut view = view(*format, "");
                view.bytes = bytes.clone().into();
                for layer in Layer::ALL {
                    view.get(*layer, &key);
                    for field in layer.fields() {
                        view.get(*layer, field);
                    }
                }
                view.title();
            }
        }
    }
}
