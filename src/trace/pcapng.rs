//! A trace as a capture that other tools open: pcapng (draft-ietf-opsawg-pcapng) of raw IP packets. IP, UDP
//! and TCP headers are made up around the octets that crossed, as frames hold none; each packet carries a
//! comment that says between whom, on which reference point, and which event of the trace it is. What was
//! protected by TLS stands there in the clear.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{EventKind, Trace};
use crate::{
    spec::Format,
    time::At,
    wire::frame::{Frame, Security},
};

/// The capture of a trace.
pub fn write(trace: &Trace) -> Vec<u8> {
    let mut capture = Capture::default();
    capture.block(SECTION, &section());
    capture.block(INTERFACE, &interface());
    capture.block(NAMES, &names(trace));
    for (event, what) in trace.events.iter().enumerate() {
        let frame = match &what.kind {
            EventKind::Received(frame) => frame,
            EventKind::Sent(frame) if !trace.meta.sees_arrivals_at(&frame.to) => frame,
            _ => continue,
        };
        capture.frame(what.at, frame, &comment(event, frame));
    }
    capture.bytes
}

fn comment(event: usize, frame: &Frame) -> String {
    let security = match frame.security {
        Security::Plain => "",
        Security::Tls { .. } => ", under TLS",
    };
    let (from, to, on) = (&frame.from, &frame.to, frame.on);
    format!("event {event}: {from} to {to} on {on}{security}")
}

/// The blocks written so far, and how far each stream has come.
#[derive(Default)]
struct Capture {
    bytes: Vec<u8>,
    /// The next sequence number of each direction of a stream.
    streams: BTreeMap<(SocketAddr, SocketAddr), u32>,
}

impl Capture {
    fn block(&mut self, kind: u32, body: &[u8]) {
        let length =
            u32::try_from(body.len() + 12).expect("a block holds a packet of 64 KiB at most");
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.extend_from_slice(&length.to_le_bytes());
    }

    fn frame(&mut self, at: At, frame: &Frame, comment: &str) {
        let is_datagram = frame.format == Format::Sip && frame.link.is_none();
        if is_datagram && frame.bytes.len() <= SEGMENT {
            let (src, dst) = (frame.src, frame.dst);
            let datagram = udp(src, dst, &frame.bytes);
            self.packet(at, &packet(src.ip(), dst.ip(), UDP, datagram), comment);
            return;
        }
        for octets in frame.bytes.chunks(SEGMENT) {
            let segment = self.tcp(frame.src, frame.dst, octets);
            let packet = packet(frame.src.ip(), frame.dst.ip(), TCP, segment);
            self.packet(at, &packet, comment);
        }
    }

    fn packet(&mut self, at: At, packet: &[u8], comment: &str) {
        let nanos = at.as_nanos();
        let length = u32::try_from(packet.len()).expect("a packet is 64 KiB at most");
        let mut body = Vec::new();
        body.extend_from_slice(&0u32.to_le_bytes());
        body.extend_from_slice(&((nanos >> 32) as u32).to_le_bytes());
        body.extend_from_slice(&(nanos as u32).to_le_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(packet);
        pad(&mut body);
        option(&mut body, OPTION_COMMENT, comment.as_bytes());
        option(&mut body, OPTION_END, &[]);
        self.block(PACKET, &body);
    }

    fn tcp(&mut self, src: SocketAddr, dst: SocketAddr, octets: &[u8]) -> Vec<u8> {
        let acknowledged = *self.streams.entry((dst, src)).or_insert(1);
        let sequence = self.streams.entry((src, dst)).or_insert(1);
        let mut segment = Vec::new();
        segment.extend_from_slice(&src.port().to_be_bytes());
        segment.extend_from_slice(&dst.port().to_be_bytes());
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&acknowledged.to_be_bytes());
        segment.extend_from_slice(&[5 << 4, ACK_PUSH, 0xFF, 0xFF, 0, 0, 0, 0]);
        segment.extend_from_slice(octets);
        *sequence = sequence.wrapping_add(octets.len() as u32);
        let sum = checksum(&[
            &pseudo_header(src.ip(), dst.ip(), TCP, segment.len()),
            &segment,
        ]);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        segment
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

fn section() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&BYTE_ORDER.to_le_bytes());
    body.extend_from_slice(&1u16.to_le_bytes());
    body.extend_from_slice(&0u16.to_le_bytes());
    body.extend_from_slice(&u64::MAX.to_le_bytes());
    body
}

fn interface() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&RAW_IP.to_le_bytes());
    body.extend_from_slice(&0u16.to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
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
const OPTION_RESOLUTION: u16 = 9;
const NANOSECONDS: u8 = 9;
const NAME_IPV4: u16 = 1;
const NAME_IPV6: u16 = 2;
const UDP: u8 = 17;
const TCP: u8 = 6;
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
        let capture = write(&trace(vec![
            frame(
                "192.0.2.1:5060",
                None,
                Format::Sip,
                b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec(),
            ),
            frame("192.0.2.1:80", Some(2), Format::Http, big),
            frame("[2001:db8::1]:80", Some(2), Format::Http, b"abc".to_vec()),
        ]));

        let blocks = blocks(&capture);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            vec![SECTION, INTERFACE, NAMES, PACKET, PACKET, PACKET, PACKET],
            kinds
        );
        let packets: Vec<&[u8]> = blocks[3..]
            .iter()
            .map(|(_, body)| packet_of(body))
            .collect();
        assert_eq!(UDP, packets[0][9]);
        assert_eq!(1, sequence(packets[1]));
        assert_eq!(1 + SEGMENT as u32, sequence(packets[2]));
        assert_eq!(0x60, packets[3][0]);
        for packet in &packets[..3] {
            assert_eq!(0, checksum(&[&packet[..20]]), "the header's sum");
            let ip = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
            let payload = &packet[20..];
            let header = pseudo_header(ip(12), ip(16), packet[9], payload.len());
            assert_eq!(0, checksum(&[&header, payload]), "the payload's sum");
        }
        assert!(contains(&capture, b"event 1: es-1 to ue-a on Data"));
        assert!(contains(&capture, b"\xc0\x00\x02\x01es-1\0"));
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

    fn trace(frames: Vec<Frame>) -> Trace {
        let node = |name: &str, ip: &str| CastNode {
            name: name.into(),
            role: Role::EdgeServer,
            cast: Cast::Reference,
            ip: Some(ip.parse().unwrap()),
            ports: None,
            listeners: Vec::new(),
            impu: None,
        };
        let event = |frame| Event {
            at: At::from_nanos(5),
            kind: EventKind::Received(frame),
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
            },
            events: frames.into_iter().map(event).collect(),
        }
    }
}
