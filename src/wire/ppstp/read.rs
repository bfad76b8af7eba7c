//! Reads PPSTP. Every refusal names the path, what stands there and what ought to; every leniency that
//! was needed is told. Unknown members are ignored (RFC 7846 4.4), unknown enumerators are not.

use std::net::IpAddr;

use super::{
    AbilityNat, Action, ActionCds, AddressKind, Body, Connect, Connection, ErrorCode, Find, LIMIT,
    Leniency, Manifest, ManifestPiece, Message, PeerAddr, PeerCds, PeerInfo, PeerMode, PeerNum,
    PeerRole, Pieces, Profile, Reading, Refusal, Request, Response, Stat, StatCds, StatReport,
    SwarmAction, SwarmResult, VERSION,
    json::{self, Value},
};

/// Reads a request or a response, whichever its members make it.
pub fn read(bytes: &[u8], profile: Profile) -> Result<Reading<Message>, Refusal> {
    with_root(bytes, profile, |reader, root| {
        match (root.has("request_type"), root.has("response_type")) {
            (false, true) => reader.response(root).map(Message::Response),
            _ => reader.request(root).map(Message::Request),
        }
    })
}

/// Reads a request (RFC 7846 3.3.3). The version is judged before anything else (RFC 7846 4.3).
pub fn read_request(bytes: &[u8], profile: Profile) -> Result<Reading<Request>, Refusal> {
    with_root(bytes, profile, Reader::request)
}

/// Reads a response (RFC 7846 3.3.4).
pub fn read_response(bytes: &[u8], profile: Profile) -> Result<Reading<Response>, Refusal> {
    with_root(bytes, profile, Reader::response)
}

fn with_root<T>(
    bytes: &[u8],
    profile: Profile,
    read: impl for<'v> FnOnce(&mut Reader, Object<'v>) -> Result<T, Wrong<'v>>,
) -> Result<Reading<T>, Refusal> {
    let tree = tree(bytes)?;
    let mut transaction_id = None;
    let mut reader = Reader {
        profile,
        leniencies: Vec::new(),
    };
    let root = Node(&tree).object().and_then(|top| top.object(ROOT));
    let message = root.and_then(|root| {
        transaction_id = root
            .member("transaction_id")
            .and_then(|at| at.text().ok())
            .map(str::to_owned);
        version(root)?;
        read(&mut reader, root)
    });
    match message {
        Ok(message) => Ok(Reading {
            message,
            leniencies: reader.leniencies,
        }),
        Err(wrong) => Err(wrong.refusal(&tree, transaction_id)),
    }
}

fn tree(bytes: &[u8]) -> Result<Value<'_>, Refusal> {
    let refusal = |path, found, expected: &str| Refusal {
        path,
        found,
        expected: expected.to_owned(),
        code: ErrorCode::BadRequest,
        transaction_id: None,
    };
    if bytes.len() > LIMIT {
        let found = format!("{} octets", bytes.len());
        return Err(refusal("the message".to_owned(), found, "at most 1048576"));
    }
    json::read(bytes).map_err(|error| refusal(error.place, error.found, error.expected))
}

/// RFC 7846 3.2.1, 4.3. What lies outside the registry's range, 0 to 255, is no version at all.
fn version(root: Object<'_>) -> Result<(), Wrong<'_>> {
    let at = root.needed("version")?;
    match at.0 {
        Value::Unsigned(number) if *number == u64::from(VERSION) => Ok(()),
        Value::Unsigned(0..=255) => Err(Wrong {
            code: ErrorCode::UnsupportedVersion,
            ..at.wrong("version 1")
        }),
        _ => Err(at.wrong("an integer from 0 to 255")),
    }
}

/// What a member may hold at most; bounds of ours.
const MOST_ACTIONS: usize = 1024;
const MOST_ADDRESSES: usize = 64;
const MOST_LISTED: usize = 4096;

const ROOT: &str = "PPSPTrackerProtocol";

struct Reader {
    profile: Profile,
    leniencies: Vec<Leniency>,
}

impl Reader {
    fn request<'v>(&mut self, root: Object<'v>) -> Result<Request, Wrong<'v>> {
        let kind = root.needed("request_type")?;
        let request_type = kind.text()?;
        let transaction_id = root.string("transaction_id")?;
        let peer_id = root.string("peer_id")?;
        let body = match request_type {
            "CONNECT" => Body::Connect(self.connect(root.object("connect")?)?),
            "FIND" => Body::Find(self.find(root)?),
            "STAT_REPORT" => Body::StatReport(self.stat_report(root)?),
            _ => return Err(kind.wrong("CONNECT, FIND or STAT_REPORT")),
        };
        Ok(Request {
            transaction_id,
            peer_id,
            body,
        })
    }

    fn response<'v>(&mut self, root: Object<'v>) -> Result<Response, Wrong<'v>> {
        let is_failure = root.flag("response_type")?;
        let at = root.needed("error_code")?;
        let number = at.unsigned(6)?;
        let error = *ErrorCode::ALL
            .get(number as usize)
            .ok_or_else(|| at.wrong("an error code from 0 to 6"))?;
        if is_failure != (error != ErrorCode::None) {
            return Err(at.wrong("0 exactly if response_type is 0"));
        }
        let transaction_id = match root.member("transaction_id") {
            None if error == ErrorCode::BadRequest && self.profile == Profile::Examples => {
                self.forgive(Leniency::MissingTransaction);
                String::new()
            }
            _ => root.string("transaction_id")?,
        };
        let peer_addr = match root.member("peer_addr") {
            Some(at) => Some(self.peer_addr(at)?),
            None => None,
        };
        let swarm_result = match root.member("swarm_result") {
            Some(at) => self.list(at, 1, MOST_ACTIONS, Reader::swarm_result)?,
            None => Vec::new(),
        };
        Ok(Response {
            transaction_id,
            error,
            peer_addr,
            swarm_result,
        })
    }

    fn connect<'v>(&mut self, connect: Object<'v>) -> Result<Connect, Wrong<'v>> {
        let peer_addr = match connect.member("peer_addr") {
            Some(at) => self.list(at, 1, MOST_ADDRESSES, Reader::peer_addr)?,
            None => Vec::new(),
        };
        let actions = connect.needed("swarm_action")?;
        Ok(Connect {
            peer_num: self.optional_peer_num(connect)?,
            peer_addr,
            swarm_action: self.list(actions, 1, MOST_ACTIONS, Reader::swarm_action)?,
        })
    }

    fn find<'v>(&mut self, root: Object<'v>) -> Result<Find, Wrong<'v>> {
        let is_flat = !root.has("find") && root.has("swarm_id");
        let find = if is_flat && self.profile == Profile::Examples {
            self.forgive(Leniency::FlatFind);
            root
        } else {
            root.object("find")?
        };
        Ok(Find {
            swarm_id: find.string("swarm_id")?,
            peer_num: self.optional_peer_num(find)?,
        })
    }

    /// Absent is a keep-alive by the text of RFC 7846 4.1.3, though 3.3.3 makes it mandatory.
    fn stat_report<'v>(&mut self, root: Object<'v>) -> Result<StatReport, Wrong<'v>> {
        if !root.has("stat_report") {
            return Ok(StatReport::default());
        }
        let report = root.object("stat_report")?;
        let kind = report.member("type");
        if let Some(kind) = kind {
            kind.one_of(&["STREAM_STATS"], |word| word)?;
        }
        let is_empty = report
            .member("stat")
            .is_none_or(|stat| matches!(stat.0, Value::List(items) if items.is_empty()));
        if is_empty && self.profile == Profile::Examples {
            self.forgive(Leniency::EmptyStatistics);
            return Ok(StatReport::default());
        }
        report.needed("type")?;
        let stat = self.list(report.needed("stat")?, 1, MOST_ACTIONS, Reader::stat)?;
        Ok(StatReport { stat })
    }

    fn optional_peer_num<'v>(&mut self, owner: Object<'v>) -> Result<Option<PeerNum>, Wrong<'v>> {
        if !owner.has("peer_num") {
            return Ok(None);
        }
        let num = owner.object("peer_num")?;
        let ability_nat = match num.member("ability_nat") {
            Some(at) => Some(at.one_of(AbilityNat::ALL, AbilityNat::word)?),
            None => None,
        };
        Ok(Some(PeerNum {
            peer_count: num.needed("peer_count")?.unsigned(u64::MAX)?,
            ability_nat,
            concurrent_links: self.described(num, "concurrent_links")?,
            online_time: self.described(num, "online_time")?,
            upload_bandwidth: self.described(num, "upload_bandwidth")?,
        }))
    }

    /// A number by which a peer describes itself; the RFC's examples write it as a string (AMB-05).
    fn described<'v>(
        &mut self,
        num: Object<'v>,
        name: &'static str,
    ) -> Result<Option<u64>, Wrong<'v>> {
        let Some(at) = num.member(name) else {
            return Ok(None);
        };
        if let (Value::Text(text), Profile::Examples) = (at.0, self.profile) {
            let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
            if let (true, Ok(number)) = (is_number, text.parse()) {
                self.forgive(Leniency::NumericString);
                return Ok(Some(number));
            }
        }
        at.unsigned(u64::MAX).map(Some)
    }

    fn swarm_action<'v>(&mut self, at: Node<'v>) -> Result<SwarmAction, Wrong<'v>> {
        let object = at.object()?;
        let action = object.needed("action")?;
        let mode = object.needed("peer_mode")?;
        let cds = match object.member("cds") {
            Some(at) => Some(self.action_cds(at.object()?)?),
            None => None,
        };
        Ok(SwarmAction {
            swarm_id: object.string("swarm_id")?,
            action: action.one_of(Action::ALL, Action::word)?,
            peer_mode: mode.one_of(PeerMode::ALL, PeerMode::word)?,
            cds,
        })
    }

    fn peer_addr<'v>(&mut self, at: Node<'v>) -> Result<PeerAddr, Wrong<'v>> {
        let object = at.object()?;
        let ip = self.ip_address(object.object("ip_address")?)?;
        let port_at = object.needed("port")?;
        let port = match u16::try_from(port_at.unsigned(u64::from(u16::MAX))?) {
            Ok(port) if port > 0 => port,
            _ => return Err(port_at.wrong("a port from 1 to 65535")),
        };
        let priority = match object.member("priority") {
            Some(at) => at.integer()?,
            None => {
                self.detail_is_missing(object, "priority")?;
                0
            }
        };
        let kind = match object.member("type") {
            Some(at) => at.one_of(AddressKind::ALL, AddressKind::word)?,
            None => {
                self.detail_is_missing(object, "type")?;
                AddressKind::Host
            }
        };
        let connection = match object.member("connection") {
            Some(at) => Some(at.one_of(Connection::ALL, Connection::word)?),
            None => None,
        };
        Ok(PeerAddr {
            ip,
            port,
            priority,
            kind,
            connection,
            asn: object.optional_string("asn")?,
            peer_protocol: object.optional_string("peer_protocol")?,
        })
    }

    fn detail_is_missing<'v>(
        &mut self,
        addr: Object<'v>,
        name: &'static str,
    ) -> Result<(), Wrong<'v>> {
        match self.profile {
            Profile::Examples => {
                self.forgive(Leniency::MissingAddressDetail);
                Ok(())
            }
            Profile::Grammar => addr.needed(name).map(|_| ()),
        }
    }

    fn ip_address<'v>(&mut self, object: Object<'v>) -> Result<IpAddr, Wrong<'v>> {
        let kind = object.needed("address_type")?;
        let at = object.needed("address")?;
        let text = at.text()?;
        let letters = kind.text()?;
        let ip = match letters.to_ascii_lowercase().as_str() {
            "ipv4" => text.parse().map(IpAddr::V4),
            "ipv6" => text.parse().map(IpAddr::V6),
            _ => return Err(kind.wrong("ipv4 or ipv6")),
        };
        let ip = ip.map_err(|_| at.wrong(&format!("an {letters} address")))?;
        if !matches!(letters, "ipv4" | "ipv6") {
            self.forgive_or(Leniency::AddressTypeLetters, || kind.wrong("ipv4 or ipv6"))?;
        }
        let canonical = ip.to_string();
        if canonical != text {
            self.forgive_or(Leniency::AddressText, || at.wrong(&canonical))?;
        }
        Ok(ip)
    }

    fn stat<'v>(&mut self, at: Node<'v>) -> Result<Stat, Wrong<'v>> {
        let object = at.object()?;
        let number = |name| object.needed(name).and_then(|at| at.unsigned(u64::MAX));
        let cds = match object.member("cds") {
            Some(at) => Some(self.stat_cds(at.object()?)?),
            None => None,
        };
        Ok(Stat {
            swarm_id: object.string("swarm_id")?,
            uploaded_bytes: number("uploaded_bytes")?,
            downloaded_bytes: number("downloaded_bytes")?,
            available_bandwidth: number("available_bandwidth")?,
            concurrent_links: number("concurrent_links")?,
            cds,
        })
    }

    fn swarm_result<'v>(&mut self, at: Node<'v>) -> Result<SwarmResult, Wrong<'v>> {
        let object = at.object()?;
        let peers = match object.member("peer_group") {
            Some(at) => {
                let peer_info = at.object()?.needed("peer_info")?;
                Some(self.list(peer_info, 0, MOST_LISTED, |reader, at| {
                    reader.peer_info(at).map(Into::into)
                })?)
            }
            None => None,
        };
        let manifest = match object.member("cds") {
            Some(at) => Some(self.manifest(at.object()?)?.into()),
            None => None,
        };
        Ok(SwarmResult {
            swarm_id: object.string("swarm_id")?,
            successful: !object.flag("result")?,
            peers,
            manifest,
        })
    }

    fn peer_info<'v>(&mut self, at: Node<'v>) -> Result<PeerInfo, Wrong<'v>> {
        let object = at.object()?;
        let cds = match object.member("cds") {
            Some(at) => {
                let cds = at.object()?;
                Some(PeerCds {
                    sip_uri: cds.optional_string("sip_uri")?,
                    url: cds.optional_string("url")?,
                    pieces: self.pieces(cds)?,
                    role: self.role(cds)?,
                })
            }
            None => None,
        };
        Ok(PeerInfo {
            peer_id: object.string("peer_id")?,
            peer_addr: self.peer_addr(object.needed("peer_addr")?)?,
            cds,
        })
    }

    fn action_cds<'v>(&mut self, cds: Object<'v>) -> Result<ActionCds, Wrong<'v>> {
        let content = match cds.member("content") {
            Some(at) => Some(self.manifest(at.object()?)?),
            None => None,
        };
        Ok(ActionCds {
            sip_uri: cds.optional_string("sip_uri")?,
            url: cds.optional_string("url")?,
            pieces: self.pieces(cds)?,
            role: self.role(cds)?,
            content,
        })
    }

    fn stat_cds<'v>(&mut self, cds: Object<'v>) -> Result<StatCds, Wrong<'v>> {
        let complete = match cds.member("complete") {
            Some(at) => match at.0 {
                Value::Boolean(complete) => *complete,
                _ => return Err(at.wrong("true or false")),
            },
            None => false,
        };
        let peer_used = match cds.member("peer_used") {
            Some(at) => self.list(at, 0, MOST_LISTED, |_, at| at.text().map(str::to_owned))?,
            None => Vec::new(),
        };
        Ok(StatCds {
            pieces: self.pieces(cds)?,
            complete,
            peer_used,
        })
    }

    fn role<'v>(&mut self, cds: Object<'v>) -> Result<Option<PeerRole>, Wrong<'v>> {
        match cds.member("role") {
            Some(at) => at.one_of(PeerRole::ALL, PeerRole::word).map(Some),
            None => Ok(None),
        }
    }

    fn pieces<'v>(&mut self, cds: Object<'v>) -> Result<Pieces, Wrong<'v>> {
        let Some(at) = cds.member("pieces") else {
            return Ok(Pieces::new());
        };
        let mut pieces = Pieces::new();
        self.list(at, 0, Pieces::LARGEST as usize, |_, at| {
            let n = u32::try_from(at.unsigned(u64::from(Pieces::LARGEST))?).unwrap_or(0);
            match pieces.insert(n) {
                true => Ok(()),
                false => Err(at.wrong("a piece number from 1 to 65536")),
            }
        })?;
        Ok(pieces)
    }

    fn manifest<'v>(&mut self, object: Object<'v>) -> Result<Manifest, Wrong<'v>> {
        let sha1 = match object.member("sha1") {
            Some(at) => Some(at.digest()?),
            None => None,
        };
        let pieces = object.needed("pieces")?;
        Ok(Manifest {
            size: object.needed("size")?.unsigned(u64::MAX)?,
            sha1,
            sha256: object.needed("sha256")?.digest()?,
            pieces: self.list(pieces, 0, Pieces::LARGEST as usize, |_, at| {
                let piece = at.object()?;
                let number = |name, most| piece.needed(name).and_then(|at| at.unsigned(most));
                Ok(ManifestPiece {
                    n: number("n", u64::from(Pieces::LARGEST))? as u32,
                    first: number("first", u64::MAX)?,
                    len: number("len", u64::MAX)?,
                    sha256: piece.needed("sha256")?.digest()?,
                })
            })?,
        })
    }

    /// An array; a bare object passes for an array of one where the RFC's examples write it so.
    fn list<'v, T>(
        &mut self,
        at: Node<'v>,
        least: usize,
        most: usize,
        mut read: impl FnMut(&mut Reader, Node<'v>) -> Result<T, Wrong<'v>>,
    ) -> Result<Vec<T>, Wrong<'v>> {
        match at.0 {
            Value::List(items) if (least..=most).contains(&items.len()) => {
                items.iter().map(|item| read(self, Node(item))).collect()
            }
            Value::Object(_) if self.profile == Profile::Examples => {
                self.forgive(Leniency::ObjectForArray);
                Ok(vec![read(self, at)?])
            }
            _ => Err(at.wrong(&format!("an array of {least} to {most}"))),
        }
    }

    fn forgive(&mut self, leniency: Leniency) {
        if !self.leniencies.contains(&leniency) {
            self.leniencies.push(leniency);
        }
    }

    fn forgive_or<'v>(
        &mut self,
        leniency: Leniency,
        wrong: impl FnOnce() -> Wrong<'v>,
    ) -> Result<(), Wrong<'v>> {
        match self.profile {
            Profile::Examples => {
                self.forgive(leniency);
                Ok(())
            }
            Profile::Grammar => Err(wrong()),
        }
    }
}

/// A value of the tree.
#[derive(Clone, Copy)]
struct Node<'v>(&'v Value<'v>);

impl<'v> Node<'v> {
    fn object(self) -> Result<Object<'v>, Wrong<'v>> {
        match self.0 {
            Value::Object(members) => Ok(Object {
                whole: self,
                members,
            }),
            _ => Err(self.wrong("an object")),
        }
    }

    fn text(self) -> Result<&'v str, Wrong<'v>> {
        match self.0 {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong("a string")),
        }
    }

    fn unsigned(self, most: u64) -> Result<u64, Wrong<'v>> {
        match self.0 {
            Value::Unsigned(number) if *number <= most => Ok(*number),
            _ => Err(self.wrong(&format!("an integer from 0 to {most}"))),
        }
    }

    fn integer(self) -> Result<i64, Wrong<'v>> {
        match *self.0 {
            Value::Negative(number) => Ok(number),
            Value::Unsigned(number) if number <= i64::MAX as u64 => Ok(number as i64),
            _ => Err(self.wrong("an integer of 64 bits")),
        }
    }

    /// The value among `all` that goes by this word.
    fn one_of<T: Copy>(self, all: &[T], word: impl Fn(T) -> &'static str) -> Result<T, Wrong<'v>> {
        let text = self.text()?;
        all.iter()
            .copied()
            .find(|&value| word(value) == text)
            .ok_or_else(|| {
                let words: Vec<_> = all.iter().map(|&value| word(value)).collect();
                self.wrong(&words.join(" or "))
            })
    }

    /// Octets in hexadecimal digits.
    fn digest<const N: usize>(self) -> Result<[u8; N], Wrong<'v>> {
        let wrong = || self.wrong(&format!("{} hexadecimal digits", 2 * N));
        let text = self.text()?.as_bytes();
        let mut digest = [0; N];
        if text.len() != 2 * N {
            return Err(wrong());
        }
        for (octet, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or_else(wrong);
            *octet = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(digest)
    }

    fn wrong(self, expected: &str) -> Wrong<'v> {
        Wrong {
            at: self.0,
            missing: None,
            expected: expected.to_owned(),
            code: ErrorCode::BadRequest,
        }
    }
}

/// An object of the tree.
#[derive(Clone, Copy)]
struct Object<'v> {
    whole: Node<'v>,
    members: &'v [(std::borrow::Cow<'v, str>, Value<'v>)],
}

impl<'v> Object<'v> {
    fn member(self, name: &str) -> Option<Node<'v>> {
        self.members
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| Node(value))
    }

    fn has(self, name: &str) -> bool {
        self.member(name).is_some()
    }

    fn needed(self, name: &'static str) -> Result<Node<'v>, Wrong<'v>> {
        self.member(name).ok_or_else(|| Wrong {
            missing: Some(name),
            ..self.whole.wrong("the member")
        })
    }

    fn object(self, name: &'static str) -> Result<Object<'v>, Wrong<'v>> {
        self.needed(name)?.object()
    }

    fn string(self, name: &'static str) -> Result<String, Wrong<'v>> {
        self.needed(name)?.text().map(str::to_owned)
    }

    fn optional_string(self, name: &str) -> Result<Option<String>, Wrong<'v>> {
        match self.member(name) {
            Some(at) => at.text().map(|text| Some(text.to_owned())),
            None => Ok(None),
        }
    }

    /// 0 or 1, as `response_type` and `result` have it; true for 1.
    fn flag(self, name: &'static str) -> Result<bool, Wrong<'v>> {
        let at = self.needed(name)?;
        match at.0 {
            Value::Unsigned(0) => Ok(false),
            Value::Unsigned(1) => Ok(true),
            _ => Err(at.wrong("0 or 1")),
        }
    }
}

/// What is wrong with a value, or missing from it.
struct Wrong<'v> {
    at: &'v Value<'v>,
    missing: Option<&'static str>,
    expected: String,
    code: ErrorCode,
}

impl Wrong<'_> {
    fn refusal(self, tree: &Value<'_>, transaction_id: Option<String>) -> Refusal {
        let mut path = Vec::new();
        locate(tree, self.at, &mut path);
        let found = match self.missing {
            Some(name) => {
                path.push(name.to_owned());
                "nothing".to_owned()
            }
            None => self.at.describe(),
        };
        let path = match path.is_empty() {
            true => "the message".to_owned(),
            false => path.join(".").replace(".[", "["),
        };
        Refusal {
            path,
            found,
            expected: self.expected,
            code: self.code,
            transaction_id,
        }
    }
}

/// Finds a value of the tree by its identity: so a path costs nothing until something is wrong.
fn locate(tree: &Value<'_>, sought: &Value<'_>, path: &mut Vec<String>) -> bool {
    if std::ptr::eq(
        std::ptr::from_ref(tree).cast::<()>(),
        std::ptr::from_ref(sought).cast::<()>(),
    ) {
        return true;
    }
    match tree {
        Value::List(items) => items.iter().enumerate().any(|(index, item)| {
            path.push(format!("[{index}]"));
            locate(item, sought, path) || path.pop().is_none()
        }),
        Value::Object(members) => members.iter().any(|(name, value)| {
            path.push(name.clone().into_owned());
            locate(value, sought, path) || path.pop().is_none()
        }),
        _ => false,
    }
}
