//! A trace as a capture that other tools open: pcapng (draft-ietf-opsawg-pcapng) of raw IP packets, an interface
//! for each node. IP, UDP and TCP headers are made up around the octets that crossed, as frames hold none: each
//! frame stands once, on the interface of its receiver; what never arrived stands on the sender's and says so.
//! Connections begin with a handshake of their own and count their own octets. What was protected by TLS stands
//! there in the clear, on the plain port of its protocol. Each packet carries a comment: between whom, on which
//! reference point, which event of the trace it is, and what the caller has to say of that event.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{EventKind, ListenTransport, Trace};
use crate::{
    io::LinkEvent,
    spec::{Format, RefPoint},
    time::At,
    wire::frame::{Frame, LinkId, NodeName, Party, Security},
};

/// The capture of a trace. `about` says what it is evidence of; `remark` gives the lines that a reader is to see
/// beside an event. Frames have the number of the event at which they were sent, as in a ladder.
pub fn write(trace: &Trace, about: &str, remark: &dyn Fn(usize) -> String) -> Vec<u8> {
    let mut capture = Capture::new(trace, about);
    let never_arrived = never_arrived(trace);
    let sendings = trace.sendings();
    for (event, what) in trace.events.iter().enumerate() {
        let said =
            |frame: &Frame, fate: &str| comment(sendings[event], frame, fate, &remark(event));
        match &what.kind {
            EventKind::Received(frame) => {
                let comment = said(frame, "");
                capture.frame(what.at, frame, &frame.to, &comment);
            }
            EventKind::Sent(frame) if !trace.meta.sees_arrivals_at(&frame.to) => {
                let comment = said(frame, "");
                capture.frame(what.at, frame, &frame.to, &comment);
            }
            EventKind::Sent(frame) if never_arrived.contains(&event) => {
                let comment = said(frame, "NEVER ARRIVED, ");
                capture.frame(what.at, frame, &frame.from, &comment);
            }
            EventKind::Lost(frame) => {
                let comment = said(frame, "LOST, ");
                capture.frame(what.at, frame, &frame.from, &comment);
            }
            EventKind::Link {
                node,
                link,
                on,
                event,
            } => capture.link(what.at, node, *link, *on, event),
            _ => {}
        }
    }
    capture.bytes
}

/// Sendings of which neither an arrival nor a loss is recorded: they were in the air when the run ended. On a
/// stream that went on, what follows holds their octets.
fn never_arrived(trace: &Trace) -> BTreeSet<usize> {
    let mut flying: BTreeMap<(&Party, &Party, RefPoint, &[u8]), Vec<usize>> = BTreeMap::new();
    let mut last_arrival: BTreeMap<(SocketAddr, SocketAddr), usize> = BTreeMap::new();
    for (event, what) in trace.events.iter().enumerate() {
        let key = |frame| {
            let frame: &Frame = frame;
            (&frame.from, &frame.to, frame.on, frame.bytes.as_ref())
        };
        match &what.kind {
            EventKind::Sent(frame) if trace.meta.sees_arrivals_at(&frame.to) => {
                flying.entry(key(frame)).or_default().push(event);
            }
            EventKind::Received(frame) | EventKind::Lost(frame) => {
                last_arrival.insert((frame.src, frame.dst), event);
                if let Some(sent) = flying.get_mut(&key(frame)).filter(|sent| !sent.is_empty()) {
                    sent.remove(0);
                }
            }
            _ => {}
        }
    }
    let left = flying.into_values().flatten();
    left.filter(|&event| {
        trace.events[event].frame().is_some_and(|frame| {
            let later = last_arrival.get(&(frame.src, frame.dst));
            frame.is_datagram() || later.is_none_or(|later| *later < event)
        })
    })
    .collect()
}

/// `event` has the number that the ladder has as well: that of its sending.
fn comment(event: usize, frame: &Frame, fate: &str, remark: &str) -> String {
    let (from, to, on) = (&frame.from, &frame.to, frame.on);
    let security = under(&frame.security);
    let remark = match remark {
        "" => String::new(),
        remark => format!("\n{remark}"),
    };
    format!("{fate}event {event}: {from} to {to} on {on}{security}{remark}")
}

fn under(security: &Security) -> &'static str {
    match security {
        Security::Plain => "",
        Security::Tls { .. } => ", under TLS",
    }
}

/// The blocks written so far, and how far each stream has come.
struct Capture<'a> {
    trace: &'a Trace,
    bytes: Vec<u8>,
    /// The next sequence number of each direction of a stream.
    streams: BTreeMap<(SocketAddr, SocketAddr), u32>,
    /// A node's end of a connection: the other's address and its own, as written here.
    links: BTreeMap<(NodeName, LinkId), (SocketAddr, SocketAddr)>,
}

impl<'a> Capture<'a> {
    fn new(trace: &'a Trace, about: &str) -> Capture<'a> {
        let mut capture = Capture {
            trace,
            bytes: Vec::new(),
            streams: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        capture.block(SECTION, &section(about));
        for node in &trace.meta.nodes {
            capture.block(INTERFACE, &interface(node.name.as_str()));
        }
        capture.block(INTERFACE, &interface("elsewhere"));
        capture.block(NAMES, &names(trace));
        capture
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let length =
            u32::try_from(body.len() + 12).expect("a block holds a packet of 64 KiB at most");
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.extend_from_slice(&length.to_le_bytes());
    }

    fn frame(&mut self, at: At, frame: &Frame, seen_at: &Party, comment: &str) {
        let interface = self.interface(seen_at);
        let (src, dst) = (
            self.written(frame.src, frame),
            self.written(frame.dst, frame),
        );
        if frame.is_datagram() && frame.bytes.len() <= SEGMENT {
            let datagram = udp(src, dst, &frame.bytes);
            let packet = packet(src.ip(), dst.ip(), UDP, datagram);
            self.packet(at, interface, &packet, comment);
            return;
        }
        if let (Some(link), Party::Node(node)) = (frame.link, &frame.to) {
            self.links.insert((node.clone(), link), (src, dst));
        }
        if !self.streams.contains_key(&(src, dst)) {
            match self.listens(frame.src) && !self.listens(frame.dst) {
                true => self.handshake(at, dst, src, ""),
                false => self.handshake(at, src, dst, ""),
            }
        }
        for octets in frame.bytes.chunks(SEGMENT) {
            self.segment(at, interface, (src, dst), ACK_PUSH, octets, comment);
        }
    }

    /// Connections begin where they are accepted and end where the end is heard of.
    fn link(&mut self, at: At, node: &NodeName, link: LinkId, on: RefPoint, event: &LinkEvent) {
        match event {
            LinkEvent::Accepted {
                format,
                from,
                local,
                security,
                ..
            } => {
                let local = match security {
                    Security::Plain => *local,
                    Security::Tls { .. } => SocketAddr::new(local.ip(), plain_port(*format)),
                };
                let comment = format!("connection to {node} on {on}{}", under(security));
                self.links.insert((node.clone(), link), (*from, local));
                self.handshake(at, *from, local, &comment);
            }
            LinkEvent::Closed | LinkEvent::Reset => {
                let Some(ends) = self.links.remove(&(node.clone(), link)) else {
                    return;
                };
                if !self.streams.contains_key(&ends) {
                    return;
                }
                let interface = self.interface(&Party::Node(node.clone()));
                if *event == LinkEvent::Closed {
                    self.segment(at, interface, ends, ACK_FIN, &[], "");
                } else {
                    self.segment(at, interface, ends, ACK_RESET, &[], "connection reset");
                    self.streams.remove(&ends);
                    self.streams.remove(&(ends.1, ends.0));
                }
            }
            LinkEvent::Opened
            | LinkEvent::Refused
            | LinkEvent::TimedOut
            | LinkEvent::NotSecured { .. } => {}
        }
    }

    fn handshake(&mut self, at: At, client: SocketAddr, server: SocketAddr, comment: &str) {
        self.streams.insert((client, server), 0);
        self.streams.insert((server, client), 0);
        let (near, far) = (self.interface_at(server), self.interface_at(client));
        self.segment(at, near, (client, server), SYN, &[], comment);
        self.segment(at, far, (server, client), ACK_SYN, &[], "");
        self.segment(at, near, (client, server), ACK, &[], "");
    }

    /// A TCP segment; SYN and FIN count as an octet each (RFC 9293 3.4).
    fn segment(
        &mut self,
        at: At,
        interface: u32,
        (src, dst): (SocketAddr, SocketAddr),
        flags: u8,
        octets: &[u8],
        comment: &str,
    ) {
        let acknowledged = match flags {
            SYN => 0,
            _ => *self.streams.entry((dst, src)).or_insert(1),
        };
        let sequence = self.streams.entry((src, dst)).or_insert(1);
        let mut segment = Vec::new();
        segment.extend_from_slice(&src.port().to_be_bytes());
        segment.extend_from_slice(&dst.port().to_be_bytes());
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&acknowledged.to_be_bytes());
        segment.extend_from_slice(&[5 << 4, flags, 0xFF, 0xFF, 0, 0, 0, 0]);
        segment.extend_from_slice(octets);
        let counted = u32::from(flags & (SYN | FIN) != 0);
        *sequence = sequence.wrapping_add(octets.len() as u32 + counted);
        let sum = checksum(&[
            &pseudo_header(src.ip(), dst.ip(), TCP, segment.len()),
            &segment,
        ]);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let packet = packet(src.ip(), dst.ip(), TCP, segment);
        self.packet(at, interface, &packet, comment);
    }

    fn packet(&mut self, at: At, interface: u32, packet: &[u8], comment: &str) {
        let nanos = at.as_nanos();
        let length = u32::try_from(packet.len()).expect("a packet is 64 KiB at most");
        let mut body = Vec::new();
        body.extend_from_slice(&interface.to_le_bytes());
        body.extend_from_slice(&((nanos >> 32) as u32).to_le_bytes());
        body.extend_from_slice(&(nanos as u32).to_le_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(packet);
        pad(&mut body);
        if !comment.is_empty() {
            option(&mut body, OPTION_COMMENT, comment.as_bytes());
        }
        option(&mut body, OPTION_END, &[]);
        self.block(PACKET, &body);
    }

    /// The number of a party's interface; that of nobody's is the last.
    fn interface(&self, party: &Party) -> u32 {
        let nodes = &self.trace.meta.nodes;
        let place = nodes.iter().position(|node| party.is(node.name.as_str()));
        place.unwrap_or(nodes.len()) as u32
    }

    /// The number of the interface that has an address.
    fn interface_at(&self, addr: SocketAddr) -> u32 {
        let nodes = &self.trace.meta.nodes;
        let listens = nodes
            .iter()
            .position(|node| node.listeners.iter().any(|listener| listener.addr == addr));
        let has = || {
            nodes.iter().position(|node| {
                let ports = node
                    .ports
                    .is_none_or(|(first, last)| (first..=last).contains(&addr.port()));
                node.ip == Some(addr.ip()) && ports
            })
        };
        listens.or_else(has).unwrap_or(nodes.len()) as u32
    }

    fn listens(&self, addr: SocketAddr) -> bool {
        let nodes = self.trace.meta.nodes.iter();
        nodes
            .flat_map(|node| &node.listeners)
            .any(|listener| listener.addr == addr)
    }

    /// An address as it is written here: what listens for TLS listens on the plain port instead.
    fn written(&self, addr: SocketAddr, frame: &Frame) -> SocketAddr {
        let mut listeners = self
            .trace
            .meta
            .nodes
            .iter()
            .flat_map(|node| &node.listeners);
        let is_tls = listeners
            .any(|listener| listener.addr == addr && listener.transport == ListenTransport::Tls);
        match frame.security {
            Security::Tls { .. } if is_tls => SocketAddr::new(addr.ip(), plain_port(frame.format)),
            _ => addr,
        }
    }
}

/// Where tools expect a protocol without TLS.
fn plain_port(format: Format) -> u16 {
    match format {
        Format::Sip => 5060,
        Format::Http => 80,
        Format::Msrp => 2855,
        Format::Diameter => 3868,
    }
}

fn udp(src: SocketAddr, dst: SocketAddr, octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len() + 8).expect("a datagram is 60 000 octets at most");
    let mut datagram = Vec::new();
    datagram.extend_from_slice(&src.port().to_be_bytes());
    datagram.extend_from_slice(&dst.port().to_be_bytes());
    datagram.extend_from_slice(&length.to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(octets);
    let header = pseudo_header(src.ip(), dst.ip(), UDP, datagram.len());
    let sum = match checksum(&[&header, &datagram]) {
        0 => 0xFFFF,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// An IP packet; between addresses of two families, IPv4 ones are written as mapped.
fn packet(src: IpAddr, dst: IpAddr, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
    let mut packet = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let length = u16::try_from(payload.len() + 20).expect("segments are short enough");
            packet.extend_from_slice(&[0x45, 0]);
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
            packet.extend_from_slice(&src.octets());
            packet.extend_from_slice(&dst.octets());
            let sum = checksum(&[&packet]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        _ => {
            let length = u16::try_from(payload.len()).expect("segments are short enough");
            packet.extend_from_slice(&[0x60, 0, 0, 0]);
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&[protocol, 64]);
            packet.extend_from_slice(&wide(src));
            packet.extend_from_slice(&wide(dst));
        }
    }
    packet.extend(payload);
    packet
}

/// What checksums of UDP and TCP cover besides the segment.
fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let length = (length as u32).to_be_bytes();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => [
            &src.octets()[..],
            &dst.octets(),
            &[0, protocol],
            &length[2..],
        ]
        .concat(),
        _ => [&wide(src)[..], &wide(dst), &length, &[0, 0, 0, protocol]].concat(),
    }
}

fn wide(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The ones' complement sum of RFC 1071 over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
        }
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

fn section(about: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&BYTE_ORDER.to_le_bytes());
    body.extend_from_slice(&1u16.to_le_bytes());
    body.extend_from_slice(&0u16.to_le_bytes());
    body.extend_from_slice(&u64::MAX.to_le_bytes());
    option(&mut body, OPTION_COMMENT, about.as_bytes());
    option(&mut body, OPTION_APPLICATION, b"peerproof");
    option(&mut body, OPTION_END, &[]);
    body
}

fn interface(name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&RAW_IP.to_le_bytes());
    body.extend_from_slice(&0u16.to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
    option(&mut body, OPTION_NAME, name.as_bytes());
    option(&mut body, OPTION_RESOLUTION, &[NANOSECONDS]);
    option(&mut body, OPTION_END, &[]);
    body
}

/// Which node has which address.
fn names(trace: &Trace) -> Vec<u8> {
    let mut names: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for node in &trace.meta.nodes {
        let listeners = node.listeners.iter().map(|listener| listener.addr.ip());
        for ip in node.ip.into_iter().chain(listeners) {
            names.insert(ip, node.name.as_str());
        }
    }
    let mut body = Vec::new();
    for (ip, name) in names {
        let (kind, address) = match ip {
            IpAddr::V4(ip) => (NAME_IPV4, ip.octets().to_vec()),
            IpAddr::V6(ip) => (NAME_IPV6, ip.octets().to_vec()),
        };
        option(&mut body, kind, &[&address, name.as_bytes(), &[0]].concat());
    }
    option(&mut body, OPTION_END, &[]);
    body
}

/// An option or a record: its kind, its length, its value filled up to four octets.
fn option(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend_from_slice(&kind.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

const SECTION: u32 = 0x0A0D_0D0A;
const BYTE_ORDER: u32 = 0x1A2B_3C4D;
const INTERFACE: u32 = 1;
const NAMES: u32 = 4;
const PACKET: u32 = 6;
const RAW_IP: u16 = 101;
const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_NAME: u16 = 2;
const OPTION_APPLICATION: u16 = 4;
const OPTION_RESOLUTION: u16 = 9;
const NANOSECONDS: u8 = 9;
const NAME_IPV4: u16 = 1;
const NAME_IPV6: u16 = 2;
const UDP: u8 = 17;
const TCP: u8 = 6;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const ACK_FIN: u8 = 0x11;
const ACK_SYN: u8 = 0x12;
const ACK_RESET: u8 = 0x14;
const ACK_PUSH: u8 = 0x18;

/// The longest payload of a packet.
const SEGMENT: usize = 60_000;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        spec::{Architecture, Delivery, Options, RefPoint, Role},
        trace::{Cast, CastNode, Event, Meta},
        wire::frame::{LinkId, Party},
    };

    #[test]
    fn every_arrival_is_a_packet_and_streams_go_on_where_they_were() {
        let big = vec![7; SEGMENT + 10];
        let capture = write(
            &trace(vec![
                EventKind::Received(frame(
                    "192.0.2.1:5060",
                    None,
                    Format::Sip,
                    b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec(),
                )),
                EventKind::Received(frame("192.0.2.1:80", Some(2), Format::Http, big)),
                EventKind::Received(frame(
                    "[2001:db8::1]:80",
                    Some(4),
                    Format::Http,
                    b"abc".to_vec(),
                )),
            ]),
            "a run",
            &|event| format!("remark {event}"),
        );

        let blocks = blocks(&capture);
        let packets: Vec<&[u8]> = packets(&blocks);
        assert_eq!(UDP, packets[0][9]);
        let flags = |packet: &[u8]| packet[33];
        let handshake: Vec<u8> = packets[1..4].iter().map(|packet| flags(packet)).collect();
        assert_eq!(vec![SYN, ACK_SYN, ACK], handshake);
        assert_eq!(1, sequence(packets[4]));
        assert_eq!(1 + SEGMENT as u32, sequence(packets[5]));
        assert_eq!(0x60, packets[9][0]);
        for packet in &packets[..6] {
            assert_eq!(0, checksum(&[&packet[..20]]), "the header's sum");
            let ip = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
            let payload = &packet[20..];
            let header = pseudo_header(ip(12), ip(16), packet[9], payload.len());
            assert_eq!(0, checksum(&[&header, payload]), "the payload's sum");
        }
        assert!(contains(
            &capture,
            b"event 1: es-1 to ue-a on Data\nremark 1"
        ));
        assert!(contains(&capture, b"\xc0\x00\x02\x01es-1\0"));
    }

    #[test]
    fn what_never_arrives_stands_on_the_senders_interface_and_says_so() {
        let datagram = |text: &str| {
            frame(
                "192.0.2.1:5060",
                None,
                Format::Sip,
                text.as_bytes().to_vec(),
            )
        };
        let capture = write(
            &trace(vec![
                EventKind::Sent(datagram("arrives")),
                EventKind::Sent(datagram("is lost")),
                EventKind::Sent(datagram("flies on")),
                EventKind::Received(datagram("arrives")),
                EventKind::Lost(datagram("is lost")),
            ]),
            "",
            &|_| String::new(),
        );
        let blocks = blocks(&capture);
        let interfaces: Vec<u8> = blocks
            .iter()
            .filter(|(kind, _)| *kind == PACKET)
            .map(|(_, body)| body[0])
            .collect();
        // es-1 sends and has the first interface, ue-a has the second.
        assert_eq!(vec![0, 1, 0], interfaces);
        assert!(contains(&capture, b"NEVER ARRIVED, event 2: "));
        // What was lost has the number of its sending, as in a ladder.
        assert!(contains(&capture, b"LOST, event 1: "));
        let octets = packets(&blocks)
            .into_iter()
            .filter(|packet| contains(packet, b"arrives"));
        assert_eq!(1, octets.count(), "each frame once");
    }

    #[test]
    fn what_tls_protected_stands_on_the_plain_port() {
        let mut secret = frame(
            "192.0.2.1:8443",
            Some(2),
            Format::Http,
            b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        );
        secret.security = Security::Tls { client: None };
        let mut trace = trace(vec![EventKind::Received(secret)]);
        trace.meta.nodes[0].listeners.push(crate::trace::Listener {
            on: RefPoint::Data,
            format: Format::Http,
            transport: ListenTransport::Tls,
            addr: "192.0.2.1:8443".parse().unwrap(),
        });
        let capture = write(&trace, "", &|_| String::new());
        let blocks = blocks(&capture);
        let last = *packets(&blocks).last().unwrap();
        assert_eq!([0, 80], last[20..22]);
        assert!(contains(&capture, b"on Data, under TLS"));
    }

    /// Kind and body of each block; the two lengths of each are held to agree.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
        let word =
            |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !bytes.is_empty() {
            let length = word(bytes, 4) as usize;
            assert_eq!((0, length), (length % 4, word(bytes, length - 4) as usize));
            blocks.push((word(bytes, 0), &bytes[8..length - 4]));
            bytes = &bytes[length..];
        }
        blocks
    }

    fn packets<'a>(blocks: &[(u32, &'a [u8])]) -> Vec<&'a [u8]> {
        let packets = blocks.iter().filter(|(kind, _)| *kind == PACKET);
        packets.map(|(_, body)| packet_of(body)).collect()
    }

    fn packet_of(body: &[u8]) -> &[u8] {
        let length = u32::from_le_bytes(body[12..16].try_into().unwrap()) as usize;
        &body[20..20 + length]
    }

    fn sequence(packet: &[u8]) -> u32 {
        u32::from_be_bytes(packet[24..28].try_into().unwrap())
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    fn frame(src: &str, link: Option<u64>, format: Format, bytes: Vec<u8>) -> Frame {
        Frame {
            from: Party::Node("es-1".into()),
            to: Party::Node("ue-a".into()),
            src: src.parse().unwrap(),
            dst: "192.0.2.2:4711".parse().unwrap(),
            on: RefPoint::Data,
            format,
            link: link.map(LinkId),
            security: Security::Plain,
            bytes: Bytes::from(bytes),
            framed: true,
        }
    }

    fn trace(kinds: Vec<EventKind>) -> Trace {
        let node = |name: &str, ip: &str| CastNode {
            name: name.into(),
            role: Role::EdgeServer,
            cast: Cast::Reference,
            ip: Some(ip.parse().unwrap()),
            ports: None,
            listeners: Vec::new(),
            impu: None,
            certificate: crate::spec::Worth::Good,
        };
        let event = |kind| Event {
            at: At::from_nanos(5),
            kind,
        };
        Trace {
            meta: Meta {
                instance: "a/b/c".to_owned(),
                seed: 0,
                architecture: Architecture::Registered,
                options: Options::default(),
                delivery: Delivery::Delegate,
                transport: "memory".to_owned(),
                nodes: vec![node("es-1", "192.0.2.1"), node("ue-a", "192.0.2.2")],
                contents: Vec::new(),
                began: At::ZERO,
                unheard: Vec::new(),
                unreset: Vec::new(),
            },
            events: kinds.into_iter().map(event).collect(),
        }
    }
}
