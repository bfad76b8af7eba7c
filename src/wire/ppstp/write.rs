//! Writes PPSTP as the grammar of RFC 7846 3.2 and 3.3 has it: arrays where it says arrays, numbers where
//! it says numbers, members in its order, compact. The `cds` members come last in their object.

use std::{fmt::Write, net::IpAddr};

use super::{
    ActionCds, AddressKind, Body, Connect, ErrorCode, Find, Manifest, Message, PeerAddr, PeerCds,
    PeerInfo, PeerNum, Pieces, Request, Response, Shared, Stat, StatCds, SwarmAction, SwarmResult,
    VERSION,
};

impl Message {
    /// The JSON text.
    pub fn to_json(&self) -> String {
        match self {
            Message::Request(request) => request.to_json(),
            Message::Response(response) => response.to_json(),
        }
    }
}

impl Request {
    /// The JSON text.
    pub fn to_json(&self) -> String {
        let mut json = Writer::new(512);
        json.raw("{\"PPSPTrackerProtocol\":{\"version\":");
        json.number(VERSION);
        json.string("request_type", self.body.request_type());
        json.string("transaction_id", &self.transaction_id);
        json.string("peer_id", &self.peer_id);
        match &self.body {
            Body::Connect(connect) => json.connect(connect),
            Body::Find(find) => json.find(find),
            Body::StatReport(report) if report.stat.is_empty() => {}
            Body::StatReport(report) => {
                json.name("stat_report");
                json.raw("{\"type\":\"STREAM_STATS\"");
                json.name("stat");
                json.list(&report.stat, Writer::stat);
                json.raw("}");
            }
        }
        json.raw("}}");
        json.text
    }
}

impl Response {
    /// The JSON text.
    pub fn to_json(&self) -> String {
        let listed: usize = self
            .swarm_result
            .iter()
            .map(|result| result.peers.as_ref().map_or(0, Vec::len))
            .sum();
        let mut json = Writer::new(512 + 320 * listed);
        json.raw("{\"PPSPTrackerProtocol\":{\"version\":");
        json.number(VERSION);
        json.integer("response_type", u8::from(self.error != ErrorCode::None));
        json.integer("error_code", self.error.number());
        json.string("transaction_id", &self.transaction_id);
        if let Some(addr) = &self.peer_addr {
            json.name("peer_addr");
            json.peer_addr(addr);
        }
        if !self.swarm_result.is_empty() {
            json.name("swarm_result");
            json.list(&self.swarm_result, Writer::swarm_result);
        }
        json.raw("}}");
        json.text
    }
}

/// The text so far.
struct Writer {
    text: String,
}

impl Writer {
    fn new(capacity: usize) -> Writer {
        Writer {
            text: String::with_capacity(capacity),
        }
    }

    fn connect(&mut self, connect: &Connect) {
        self.name("connect");
        self.raw("{");
        self.optional_peer_num(connect.peer_num.as_ref());
        if !connect.peer_addr.is_empty() {
            self.name("peer_addr");
            self.list(&connect.peer_addr, Writer::peer_addr);
        }
        self.name("swarm_action");
        self.list(&connect.swarm_action, Writer::swarm_action);
        self.raw("}");
    }

    fn find(&mut self, find: &Find) {
        self.name("find");
        self.raw("{");
        self.string("swarm_id", &find.swarm_id);
        self.optional_peer_num(find.peer_num.as_ref());
        self.raw("}");
    }

    fn optional_peer_num(&mut self, peer_num: Option<&PeerNum>) {
        let Some(num) = peer_num else { return };
        self.name("peer_num");
        self.raw("{");
        self.integer("peer_count", num.peer_count);
        self.optional_string("ability_nat", num.ability_nat.map(|nat| nat.word()));
        let rest = [
            ("concurrent_links", num.concurrent_links),
            ("online_time", num.online_time),
            ("upload_bandwidth", num.upload_bandwidth),
        ];
        for (name, value) in rest {
            if let Some(value) = value {
                self.integer(name, value);
            }
        }
        self.raw("}");
    }

    fn swarm_action(&mut self, action: &SwarmAction) {
        self.raw("{");
        self.string("swarm_id", &action.swarm_id);
        self.string("action", action.action.word());
        self.string("peer_mode", action.peer_mode.word());
        if let Some(cds) = &action.cds {
            self.name("cds");
            self.action_cds(cds);
        }
        self.raw("}");
    }

    /// Written for every peer of every list, so its fixed parts are written whole.
    fn peer_addr(&mut self, addr: &PeerAddr) {
        self.raw(match addr.ip {
            IpAddr::V4(_) => "{\"ip_address\":{\"address_type\":\"ipv4\",\"address\":\"",
            IpAddr::V6(_) => "{\"ip_address\":{\"address_type\":\"ipv6\",\"address\":\"",
        });
        self.ip(addr.ip);
        self.raw("\"},\"port\":");
        self.number(addr.port);
        self.raw(",\"priority\":");
        self.number(addr.priority);
        self.raw(match addr.kind {
            AddressKind::Host => ",\"type\":\"HOST\"",
            AddressKind::Reflexive => ",\"type\":\"REFLEXIVE\"",
            AddressKind::Proxy => ",\"type\":\"PROXY\"",
        });
        self.optional_string(
            "connection",
            addr.connection.map(|connection| connection.word()),
        );
        self.optional_string("asn", addr.asn.as_deref());
        self.optional_string("peer_protocol", addr.peer_protocol.as_deref());
        self.raw("}");
    }

    fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                for (octet, place) in ip.octets().into_iter().zip(0..) {
                    if place > 0 {
                        self.raw(".");
                    }
                    self.number(octet);
                }
            }
            // The text form of RFC 5952.
            IpAddr::V6(ip) => write!(self.text, "{ip}").expect("a String takes everything"),
        }
    }

    fn stat(&mut self, stat: &Stat) {
        self.raw("{");
        self.string("swarm_id", &stat.swarm_id);
        self.integer("uploaded_bytes", stat.uploaded_bytes);
        self.integer("downloaded_bytes", stat.downloaded_bytes);
        self.integer("available_bandwidth", stat.available_bandwidth);
        self.integer("concurrent_links", stat.concurrent_links);
        if let Some(cds) = &stat.cds {
            self.name("cds");
            self.stat_cds(cds);
        }
        self.raw("}");
    }

    fn swarm_result(&mut self, result: &SwarmResult) {
        self.raw("{");
        self.string("swarm_id", &result.swarm_id);
        self.integer("result", u8::from(!result.successful));
        if let Some(peers) = &result.peers {
            self.name("peer_group");
            self.raw("{");
            self.name("peer_info");
            self.list(peers, |json, peer| json.peer_info(peer));
            self.raw("}");
        }
        if let Some(manifest) = &result.manifest {
            self.name("cds");
            self.shared(manifest, Writer::manifest);
        }
        self.raw("}");
    }

    /// Writes a part that several responses share: anew only where nobody has written it yet.
    fn shared<T>(&mut self, part: &Shared<T>, write: fn(&mut Writer, &T)) {
        match part.json() {
            Some(json) => self.raw(json),
            None => {
                let begin = self.text.len();
                write(self, part);
                part.keep_json(&self.text[begin..]);
            }
        }
    }

    fn peer_info(&mut self, peer: &PeerInfo) {
        self.raw("{\"peer_id\":");
        self.quoted(&peer.peer_id);
        self.raw(",\"peer_addr\":");
        self.peer_addr(&peer.peer_addr);
        if let Some(cds) = &peer.cds {
            self.name("cds");
            self.peer_cds(cds);
        }
        self.raw("}");
    }

    fn peer_cds(&mut self, cds: &PeerCds) {
        self.raw("{");
        self.optional_string("sip_uri", cds.sip_uri.as_deref());
        self.optional_string("url", cds.url.as_deref());
        self.pieces(&cds.pieces);
        self.optional_string("role", cds.role.map(|role| role.word()));
        self.raw("}");
    }

    fn action_cds(&mut self, cds: &ActionCds) {
        self.raw("{");
        self.optional_string("sip_uri", cds.sip_uri.as_deref());
        self.optional_string("url", cds.url.as_deref());
        self.pieces(&cds.pieces);
        self.optional_string("role", cds.role.map(|role| role.word()));
        if let Some(manifest) = &cds.content {
            self.name("content");
            self.manifest(manifest);
        }
        self.raw("}");
    }

    fn stat_cds(&mut self, cds: &StatCds) {
        self.raw("{");
        self.pieces(&cds.pieces);
        self.name("complete");
        self.raw(if cds.complete { "true" } else { "false" });
        if !cds.peer_used.is_empty() {
            self.name("peer_used");
            self.list(&cds.peer_used, |json, id| json.quoted(id));
        }
        self.raw("}");
    }

    fn pieces(&mut self, pieces: &Pieces) {
        self.name("pieces");
        self.text.push('[');
        for (index, n) in pieces.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            self.number(n);
        }
        self.text.push(']');
    }

    fn manifest(&mut self, manifest: &Manifest) {
        self.raw("{");
        self.integer("size", manifest.size);
        self.optional_string("sha1", manifest.sha1.map(|digest| hex(&digest)).as_deref());
        self.string("sha256", &hex(&manifest.sha256));
        self.name("pieces");
        self.list(&manifest.pieces, |json, piece| {
            json.raw("{");
            json.integer("n", piece.n);
            json.integer("first", piece.first);
            json.integer("len", piece.len);
            json.string("sha256", &hex(&piece.sha256));
            json.raw("}");
        });
        self.raw("}");
    }

    fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// A member's name, after a comma unless it is the first.
    fn name(&mut self, name: &str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    fn integer(&mut self, name: &str, value: impl Into<i128>) {
        self.name(name);
        self.number(value);
    }

    fn number(&mut self, value: impl Into<i128>) {
        let value: i128 = value.into();
        if let small @ 0..=9 = value {
            self.text.push(char::from(b'0' + small as u8));
            return;
        }
        let Ok(mut rest) = u64::try_from(value) else {
            write!(self.text, "{value}").expect("a String takes everything");
            return;
        };
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let digits = std::str::from_utf8(&digits[first..]).expect("digits are ASCII");
        self.text.push_str(digits);
    }

    fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    fn optional_string(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.string(name, value);
        }
    }

    fn quoted(&mut self, value: &str) {
        let is_plain = |octet: u8| octet >= 0x20 && octet != b'"' && octet != b'\\';
        if value.bytes().all(is_plain) {
            self.text.push('"');
            self.text.push_str(value);
            self.text.push('"');
        } else {
            self.text
                .push_str(&serde_json::Value::from(value).to_string());
        }
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Writer, &T)) {
        self.text.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            write(self, item);
        }
        self.text.push(']');
    }
}

/// Lower-case hexadecimal digits.
fn hex(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    let mut text = String::with_capacity(2 * octets.len());
    for octet in octets {
        text.push(digit(octet >> 4));
        text.push(digit(octet & 15));
    }
    text
}
