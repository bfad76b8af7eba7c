//! Diameter (RFC 6733) as Cx speaks it: a message is its octets, with views on header and AVPs. What
//! parses is kept octet for octet; what does not says at which octet. Knows neither peers nor time.
//!
//! Start at [`Message::parse`] and [`Builder`]; names, codes and types stand in [`dictionary`].

pub mod dictionary;

use std::{fmt, ops::Range};

use bytes::Bytes;

use super::{Framed, Malformed};
use dictionary::{Attribute, Command, Kind};

/// Where the first message ends, by its length field (RFC 6733 3).
pub fn frame(buffer: &[u8]) -> Result<Framed, Malformed> {
    match buffer.first() {
        Some(&VERSION) => {}
        Some(_) => return Err(Malformed::new(buffer, 0, "Diameter version 1")),
        None => return Ok(Framed::Partial),
    }
    let Some(length) = buffer.get(1..4).map(be24) else {
        return Ok(Framed::Partial);
    };
    match length {
        0..HEADER => Err(Malformed::new(
            buffer,
            1,
            format!("a message length of at least {HEADER}"),
        )),
        _ if length <= buffer.len() => Ok(Framed::Whole(length)),
        _ => Ok(Framed::Partial),
    }
}

/// The fixed part of a message without version and length (RFC 6733 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// R, P, E, T and four reserved bits, as they stand on the wire.
    pub flags: u8,
    /// The command code, 24 bits.
    pub command: u32,
    pub application: u32,
    /// Matches an answer to its request on one connection.
    pub hop_by_hop: u32,
    /// Finds duplicates; kept from end to end.
    pub end_to_end: u32,
}

impl Header {
    pub const REQUEST: u8 = 0x80;
    pub const PROXIABLE: u8 = 0x40;
    pub const ERROR: u8 = 0x20;
    pub const RETRANSMITTED: u8 = 0x10;

    /// Reads the first 20 octets only, so that even a message with broken AVPs can be answered.
    pub fn parse(bytes: &[u8]) -> Result<Header, Malformed> {
        if bytes.first() != Some(&VERSION) {
            return Err(Malformed::new(bytes, 0, "Diameter version 1"));
        }
        let word = |at: usize| {
            bytes
                .get(at..at + 4)
                .map(be32)
                .ok_or_else(|| Malformed::new(bytes, bytes.len(), "a header of 20 octets"))
        };
        let command = word(4)?;
        Ok(Header {
            flags: (command >> 24) as u8,
            command: command & 0x00ff_ffff,
            application: word(8)?,
            hop_by_hop: word(12)?,
            end_to_end: word(16)?,
        })
    }

    pub fn is_request(&self) -> bool {
        self.flags & Header::REQUEST != 0
    }
}

/// A message and where its AVPs begin and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Bytes,
    header: Header,
    avps: Vec<Span>,
}

impl Message {
    /// Reads one whole message. Grouped AVPs are looked into only when asked for.
    pub fn parse(bytes: Bytes) -> Result<Message, Malformed> {
        let header = Header::parse(&bytes)?;
        let length = be24(&bytes[1..4]);
        if length != bytes.len() {
            return Err(Malformed::new(
                &bytes,
                1,
                format!("a message length of {}", bytes.len()),
            ));
        }
        let avps = spans(&bytes, HEADER..bytes.len())?;
        Ok(Message {
            bytes,
            header,
            avps,
        })
    }

    /// The message as it was received or built.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn is_request(&self) -> bool {
        self.header.is_request()
    }

    /// The command, if the dictionary has it for this application.
    pub fn command(&self) -> Option<&'static Command> {
        dictionary::command(self.header.application, self.header.command)
    }

    /// `UAR`, `UAA`, …; or `request 999`, `answer 999`.
    pub fn name(&self) -> String {
        match (self.command(), self.is_request()) {
            (Some(command), true) => command.request.to_owned(),
            (Some(command), false) => command.answer.to_owned(),
            (None, true) => format!("request {}", self.header.command),
            (None, false) => format!("answer {}", self.header.command),
        }
    }

    /// The AVPs of the message itself, in order.
    pub fn avps(&self) -> impl Iterator<Item = Avp<'_>> {
        self.avps.iter().map(|span| span.avp(&self.bytes))
    }

    /// The first AVP of that attribute.
    pub fn find(&self, attribute: &Attribute) -> Option<Avp<'_>> {
        self.avps().find(|avp| avp.is(attribute))
    }

    /// Every AVP of that attribute, in order.
    pub fn all<'a>(&'a self, attribute: &'a Attribute) -> impl Iterator<Item = Avp<'a>> {
        self.avps().filter(|avp| avp.is(attribute))
    }

    /// The text of the first AVP of that attribute.
    pub fn text(&self, attribute: &Attribute) -> Result<Option<&str>, Malformed> {
        self.find(attribute).map(|avp| avp.text()).transpose()
    }

    /// The number in the first AVP of that attribute.
    pub fn number(&self, attribute: &Attribute) -> Result<Option<u32>, Malformed> {
        self.find(attribute).map(|avp| avp.number()).transpose()
    }

    /// The octets of the first AVP of that attribute.
    pub fn octets(&self, attribute: &Attribute) -> Option<&[u8]> {
        self.find(attribute).map(|avp| avp.data())
    }

    /// What the answer says, in Result-Code or in Experimental-Result (RFC 6733 7.1, 7.6).
    pub fn outcome(&self) -> Result<Option<Outcome>, Malformed> {
        if let Some(code) = self.number(&dictionary::RESULT_CODE)? {
            return Ok(Some(Outcome::Base(code)));
        }
        let Some(result) = self.find(&dictionary::EXPERIMENTAL_RESULT) else {
            return Ok(None);
        };
        let within = result.group()?;
        let number = |attribute: &Attribute| {
            within
                .number(attribute)?
                .ok_or_else(|| result.lacks(attribute))
        };
        Ok(Some(Outcome::Experimental {
            vendor: number(&dictionary::VENDOR_ID)?,
            code: number(&dictionary::EXPERIMENTAL_RESULT_CODE)?,
        }))
    }

    /// The attributes the command's grammar demands and this message lacks.
    pub fn missing(&self) -> Vec<&'static Attribute> {
        let demanded = match (self.command(), self.is_request()) {
            (Some(command), true) => command.in_request,
            (Some(command), false) => command.in_answer,
            (None, _) => &[],
        };
        demanded
            .iter()
            .copied()
            .filter(|attribute| self.find(attribute).is_none())
            .collect()
    }

    /// The first AVP, at the top, that is marked mandatory and that the dictionary does not have.
    pub fn not_understood(&self) -> Option<Avp<'_>> {
        self.avps()
            .find(|avp| avp.flags() & Avp::MANDATORY != 0 && avp.attribute().is_none())
    }
}

/// One line an AVP, groups indented: for reports.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        self.avps().try_for_each(|avp| avp.draw(f, 1))
    }
}

/// The result of an answer. The same number means different things in the two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Result-Code.
    Base(u32),
    /// Experimental-Result.
    Experimental { vendor: u32, code: u32 },
}

impl Outcome {
    /// Whether the code is of the success class, 2xxx (RFC 6733 7.1).
    pub fn is_success(self) -> bool {
        let (Outcome::Base(code) | Outcome::Experimental { code, .. }) = self;
        (2000..3000).contains(&code)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Base(code) => write!(f, "Result-Code {code}"),
            Outcome::Experimental { vendor, code } => {
                write!(f, "Experimental-Result {code} of vendor {vendor}")
            }
        }
    }
}

/// One AVP in its message (RFC 6733 4.1).
#[derive(Clone, Copy, Debug)]
pub struct Avp<'a> {
    message: &'a [u8],
    span: &'a Span,
}

impl<'a> Avp<'a> {
    pub const VENDOR: u8 = 0x80;
    pub const MANDATORY: u8 = 0x40;
    pub const PROTECTED: u8 = 0x20;

    pub fn code(&self) -> u32 {
        self.span.code
    }

    pub fn flags(&self) -> u8 {
        self.span.flags
    }

    /// The vendor, if the V bit is set.
    pub fn vendor(&self) -> Option<u32> {
        self.span.vendor
    }

    /// Where the AVP begins, in octets from the start of the message.
    pub fn at(&self) -> usize {
        self.span.start
    }

    /// The octets of the value, without padding.
    pub fn data(&self) -> &'a [u8] {
        &self.message[self.span.data.clone()]
    }

    /// Header and value as they stand, without padding.
    pub fn octets(&self) -> &'a [u8] {
        &self.message[self.span.start..self.span.data.end]
    }

    pub fn is(&self, attribute: &Attribute) -> bool {
        self.span.code == attribute.code && self.span.vendor == attribute.vendor
    }

    /// What the dictionary knows of it.
    pub fn attribute(&self) -> Option<&'static Attribute> {
        dictionary::attribute(self.span.code, self.span.vendor)
    }

    /// UTF8String, DiameterIdentity or DiameterURI.
    pub fn text(&self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.data()).map_err(|error| {
            let at = self.span.data.start + error.valid_up_to();
            Malformed::new(self.message, at, format!("UTF-8 in {}", self.name()))
        })
    }

    /// Unsigned32 or Enumerated.
    pub fn number(&self) -> Result<u32, Malformed> {
        match self.data() {
            data @ [_, _, _, _] => Ok(be32(data)),
            _ => Err(self.wrong("four octets")),
        }
    }

    /// The AVPs inside.
    pub fn group(&self) -> Result<Group<'a>, Malformed> {
        Ok(Group {
            message: self.message,
            spans: spans(self.message, self.span.data.clone())?,
        })
    }

    /// `Public-Identity`, or `AVP 999 of vendor 10415`.
    pub fn name(&self) -> String {
        match (self.attribute(), self.span.vendor) {
            (Some(attribute), _) => attribute.name.to_owned(),
            (None, Some(vendor)) => format!("AVP {} of vendor {vendor}", self.span.code),
            (None, None) => format!("AVP {}", self.span.code),
        }
    }

    /// An error at the value of this AVP.
    pub fn wrong(&self, expected: &str) -> Malformed {
        let expected = format!("{expected} in {}", self.name());
        Malformed::new(self.message, self.span.data.start, expected)
    }

    fn lacks(&self, attribute: &Attribute) -> Malformed {
        let expected = format!("{} in {}", attribute.name, self.name());
        Malformed::new(self.message, self.span.data.end, expected)
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "\n{:width$}{}", "", self.name(), width = 2 * depth)?;
        match self.attribute().map(|attribute| attribute.kind) {
            Some(Kind::Grouped) if depth < DRAWN_DEPTH => match self.group() {
                Ok(group) => group.iter().try_for_each(|avp| avp.draw(f, depth + 1)),
                Err(malformed) => write!(f, ": {malformed}"),
            },
            Some(Kind::Unsigned32 | Kind::Enumerated) => match self.number() {
                Ok(number) => write!(f, ": {number}"),
                Err(malformed) => write!(f, ": {malformed}"),
            },
            _ => write!(f, ": {}", self.data().escape_ascii()),
        }
    }
}

/// The AVPs in a grouped AVP (RFC 6733 4.4).
#[derive(Clone, Debug)]
pub struct Group<'a> {
    message: &'a [u8],
    spans: Vec<Span>,
}

impl Group<'_> {
    pub fn iter(&self) -> impl Iterator<Item = Avp<'_>> {
        self.spans.iter().map(|span| span.avp(self.message))
    }

    /// The first AVP of that attribute.
    pub fn find(&self, attribute: &Attribute) -> Option<Avp<'_>> {
        self.iter().find(|avp| avp.is(attribute))
    }

    pub fn text(&self, attribute: &Attribute) -> Result<Option<&str>, Malformed> {
        self.find(attribute).map(|avp| avp.text()).transpose()
    }

    pub fn number(&self, attribute: &Attribute) -> Result<Option<u32>, Malformed> {
        self.find(attribute).map(|avp| avp.number()).transpose()
    }

    pub fn octets(&self, attribute: &Attribute) -> Option<&[u8]> {
        self.find(attribute).map(|avp| avp.data())
    }
}

/// Where an AVP stands in its message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    start: usize,
    code: u32,
    flags: u8,
    vendor: Option<u32>,
    data: Range<usize>,
}

impl Span {
    fn avp<'a>(&'a self, message: &'a [u8]) -> Avp<'a> {
        Avp {
            message,
            span: self,
        }
    }
}

/// Builds a message; AVPs are written in the order given.
#[derive(Clone, Debug)]
pub struct Builder {
    version: u8,
    length: Option<usize>,
    header: Header,
    avps: Avps,
}

impl Builder {
    /// A request of a command; Cx and base requests differ in the P bit.
    pub fn request(command: &Command, hop_by_hop: u32, end_to_end: u32) -> Builder {
        let proxiable = if command.proxiable {
            Header::PROXIABLE
        } else {
            0
        };
        Builder::new(Header {
            flags: Header::REQUEST | proxiable,
            command: command.code,
            application: command.application,
            hop_by_hop,
            end_to_end,
        })
    }

    /// An answer with the identifiers of its request and its P bit (RFC 6733 6.2).
    pub fn answer(request: &Header) -> Builder {
        Builder::new(Header {
            flags: request.flags & Header::PROXIABLE,
            ..*request
        })
    }

    pub fn new(header: Header) -> Builder {
        Builder {
            version: VERSION,
            length: None,
            header,
            avps: Avps::default(),
        }
    }

    pub fn avps(mut self, avps: Avps) -> Builder {
        self.avps.bytes.extend_from_slice(&avps.bytes);
        self
    }

    /// Sets flags beside those the command has.
    pub fn flag(mut self, flag: u8) -> Builder {
        self.header.flags |= flag;
        self
    }

    /// Claims another version than 1.
    pub fn version(mut self, version: u8) -> Builder {
        self.version = version;
        self
    }

    /// Claims another length than the message has; the lower 24 bits are written.
    pub fn length(mut self, length: usize) -> Builder {
        self.length = Some(length);
        self
    }

    pub fn finish(self) -> Bytes {
        let header = self.header;
        let length = self.length.unwrap_or(HEADER + self.avps.bytes.len());
        let mut bytes = Vec::with_capacity(HEADER + self.avps.bytes.len());
        bytes.push(self.version);
        put24(&mut bytes, length);
        bytes.push(header.flags);
        put24(&mut bytes, header.command as usize);
        for word in [header.application, header.hop_by_hop, header.end_to_end] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.extend_from_slice(&self.avps.bytes);
        bytes.into()
    }
}

/// AVPs one after another, for a message or a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Avps {
    bytes: Vec<u8>,
}

impl Avps {
    pub fn new() -> Avps {
        Avps::default()
    }

    pub fn octets(self, attribute: &Attribute, data: &[u8]) -> Avps {
        self.raw(RawAvp {
            code: attribute.code,
            flags: attribute.flags(),
            vendor: attribute.vendor,
            length: None,
            data: data.to_vec(),
        })
    }

    pub fn text(self, attribute: &Attribute, text: &str) -> Avps {
        self.octets(attribute, text.as_bytes())
    }

    pub fn number(self, attribute: &Attribute, number: u32) -> Avps {
        self.octets(attribute, &number.to_be_bytes())
    }

    pub fn group(self, attribute: &Attribute, inside: Avps) -> Avps {
        self.octets(attribute, &inside.bytes)
    }

    pub fn outcome(self, outcome: Outcome) -> Avps {
        match outcome {
            Outcome::Base(code) => self.number(&dictionary::RESULT_CODE, code),
            Outcome::Experimental { vendor, code } => self.group(
                &dictionary::EXPERIMENTAL_RESULT,
                Avps::new()
                    .number(&dictionary::VENDOR_ID, vendor)
                    .number(&dictionary::EXPERIMENTAL_RESULT_CODE, code),
            ),
        }
    }

    /// An AVP with a header of one's own: unknown codes, missing M bits, wrong lengths.
    pub fn raw(mut self, avp: RawAvp) -> Avps {
        let header = if avp.vendor.is_some() { 12 } else { 8 };
        let length = avp.length.unwrap_or(header + avp.data.len());
        self.bytes.extend_from_slice(&avp.code.to_be_bytes());
        self.bytes.push(avp.flags);
        put24(&mut self.bytes, length);
        if let Some(vendor) = avp.vendor {
            self.bytes.extend_from_slice(&vendor.to_be_bytes());
        }
        self.bytes.extend_from_slice(&avp.data);
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
        self
    }

    /// An AVP of another message as it stands there, padded anew.
    pub fn kept(self, avp: Avp<'_>) -> Avps {
        let mut avps = self.verbatim(avp.octets());
        let padded = avps.bytes.len().next_multiple_of(4);
        avps.bytes.resize(padded, 0);
        avps
    }

    /// Octets as they are, without header or padding.
    pub fn verbatim(mut self, bytes: &[u8]) -> Avps {
        self.bytes.extend_from_slice(bytes);
        self
    }
}

/// An AVP whose header need not be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAvp {
    pub code: u32,
    /// Written as given: the V bit does not follow from `vendor`.
    pub flags: u8,
    /// Written if given.
    pub vendor: Option<u32>,
    /// Claimed instead of the true length.
    pub length: Option<usize>,
    pub data: Vec<u8>,
}

/// Cuts a range of a message into AVPs.
fn spans(message: &[u8], range: Range<usize>) -> Result<Vec<Span>, Malformed> {
    let mut spans = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let span = span(message, at, range.end)?;
        at = span.data.end.next_multiple_of(4);
        if at > range.end {
            let expected = format!("padding to octet {at}");
            return Err(Malformed::new(message, span.data.end, expected));
        }
        spans.push(span);
    }
    Ok(spans)
}

fn span(message: &[u8], start: usize, end: usize) -> Result<Span, Malformed> {
    let within = &message[start..end];
    if within.len() < 8 {
        return Err(Malformed::new(
            message,
            start,
            "an AVP header of eight octets",
        ));
    }
    let flags = within[4];
    let header = if flags & Avp::VENDOR != 0 { 12 } else { 8 };
    let length = be24(&within[5..8]);
    if length < header || length > within.len() {
        let expected = format!("an AVP length from {header} to {}", within.len());
        return Err(Malformed::new(message, start + 5, expected));
    }
    Ok(Span {
        start,
        code: be32(&within[..4]),
        flags,
        vendor: (header == 12).then(|| be32(&within[8..12])),
        data: start + header..start + length,
    })
}

fn be24(octets: &[u8]) -> usize {
    octets[..3]
        .iter()
        .fold(0, |sum, &octet| sum << 8 | usize::from(octet))
}

fn be32(octets: &[u8]) -> u32 {
    octets[..4]
        .iter()
        .fold(0, |sum, &octet| sum << 8 | u32::from(octet))
}

fn put24(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend_from_slice(&(number as u32).to_be_bytes()[1..]);
}

const VERSION: u8 = 1;
const HEADER: usize = 20;
/// Groups deeper than this are drawn as octets.
const DRAWN_DEPTH: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{spec::Format, wire::frame::Framer};
    use dictionary::*;

    fn uar() -> Bytes {
        Builder::request(&UAR, 7, 9)
            .avps(
                Avps::new()
                    .text(&SESSION_ID, "icscf1.ims.example;1;1")
                    .text(&USER_NAME, "ue-a@private.ims.example")
                    .text(&PUBLIC_IDENTITY, "sip:ue-a@ims.example")
                    .octets(&VISITED_NETWORK_IDENTIFIER, b"ims.example"),
            )
            .finish()
    }

    #[test]
    fn a_request_reads_as_it_was_written() {
        let message = Message::parse(uar()).unwrap();
        assert_eq!("UAR", message.name());
        assert_eq!(Header::REQUEST | Header::PROXIABLE, message.header().flags);
        assert_eq!(16_777_216, message.header().application);
        assert_eq!(
            Ok(Some("sip:ue-a@ims.example")),
            message.text(&PUBLIC_IDENTITY)
        );
        let public = message.find(&PUBLIC_IDENTITY).unwrap();
        assert_eq!(Some(10415), public.vendor());
        assert_eq!(Avp::VENDOR | Avp::MANDATORY, public.flags());
        assert_eq!(
            vec![
                "Vendor-Specific-Application-Id",
                "Auth-Session-State",
                "Origin-Host",
                "Origin-Realm",
                "Destination-Realm"
            ],
            message.missing().iter().map(|a| a.name).collect::<Vec<_>>()
        );
    }

    /// Octets written by hand from the figures of RFC 6733 3 and 4.1.
    #[test]
    fn the_octets_are_those_of_the_figures() {
        let bytes = Builder::request(&DWR, 0x01020304, 0x05060708)
            .avps(Avps::new().text(&ORIGIN_HOST, "a.b"))
            .finish();
        let by_hand = [
            1, 0, 0, 32, 0x80, 0, 1, 24, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, //
            0, 0, 1, 8, 0x40, 0, 0, 11, b'a', b'.', b'b', 0,
        ];
        assert_eq!(&by_hand[..], &bytes[..]);
    }

    #[test]
    fn both_kinds_of_result_are_told_apart() {
        let answer = |outcome| {
            let header = Header::parse(&uar()).unwrap();
            let bytes = Builder::answer(&header)
                .avps(Avps::new().outcome(outcome))
                .finish();
            Message::parse(bytes).unwrap()
        };
        let base = Outcome::Base(5003);
        let experimental = Outcome::Experimental {
            vendor: VENDOR_3GPP,
            code: 5003,
        };
        assert_eq!(Ok(Some(base)), answer(base).outcome());
        assert_eq!(Ok(Some(experimental)), answer(experimental).outcome());
        assert_eq!("UAA", answer(base).name());
        assert_eq!(Header::PROXIABLE, answer(base).header().flags);
    }

    #[test]
    fn a_wrong_avp_length_is_located() {
        let raw = |length| RawAvp {
            code: 1,
            flags: 0,
            vendor: None,
            length: Some(length),
            data: b"name".to_vec(),
        };
        for length in [0, 7, 13, 0xff_ffff] {
            let bytes = Builder::request(&UAR, 1, 1)
                .avps(Avps::new().text(&SESSION_ID, "s").raw(raw(length)))
                .finish();
            let error = Message::parse(bytes).unwrap_err();
            assert_eq!(20 + 12 + 5, error.at, "length {length}: {error}");
            assert_eq!("an AVP length from 8 to 12", error.expected);
        }
    }

    #[test]
    fn a_broken_group_says_where() {
        let inside = Avps::new().raw(RawAvp {
            code: 298,
            flags: 0,
            vendor: None,
            length: Some(99),
            data: vec![0; 4],
        });
        let bytes = Builder::request(&UAR, 1, 1)
            .avps(Avps::new().group(&EXPERIMENTAL_RESULT, inside))
            .finish();
        let message = Message::parse(bytes).unwrap();
        assert_eq!(20 + 8 + 5, message.outcome().unwrap_err().at);
    }

    #[test]
    fn an_unknown_mandatory_avp_is_found() {
        let odd = RawAvp {
            code: 4242,
            flags: Avp::MANDATORY,
            vendor: None,
            length: None,
            data: vec![1],
        };
        let with = |flags| {
            let avp = RawAvp {
                flags,
                ..odd.clone()
            };
            let bytes = Builder::request(&UAR, 1, 1)
                .avps(Avps::new().raw(avp))
                .finish();
            Message::parse(bytes).unwrap()
        };
        let message = with(Avp::MANDATORY);
        assert_eq!(4242, message.not_understood().unwrap().code());
        assert!(with(0).not_understood().is_none());
    }

    #[test]
    fn a_message_is_drawn_with_names() {
        let bytes = Builder::request(&UAR, 1, 1)
            .avps(
                Avps::new()
                    .text(&USER_NAME, "a")
                    .outcome(Outcome::Experimental {
                        vendor: VENDOR_3GPP,
                        code: 2001,
                    }),
            )
            .finish();
        assert_eq!(
            "UAR\n  User-Name: a\n  Experimental-Result\n    Vendor-Id: 10415\n    \
             Experimental-Result-Code: 2001",
            Message::parse(bytes).unwrap().to_string()
        );
    }

    #[test]
    fn what_is_no_message_never_frames() {
        assert_eq!(0, frame(b"GET / HTTP/1.1").unwrap_err().at);
        assert_eq!(1, frame(&[1, 0, 0, 19]).unwrap_err().at);
        assert_eq!(Ok(Framed::Partial), frame(&[1, 0, 0]));
    }

    fn avps() -> impl Strategy<Value = Vec<RawAvp>> {
        let avp = (
            any::<u32>(),
            any::<u8>(),
            any::<u32>(),
            prop::collection::vec(any::<u8>(), 0..40),
        );
        let avp = avp.prop_map(|(code, flags, vendor, data)| RawAvp {
            code,
            flags,
            vendor: (flags & Avp::VENDOR != 0).then_some(vendor),
            length: None,
            data,
        });
        prop::collection::vec(avp, 0..6)
    }

    fn build(avps: &[RawAvp]) -> Bytes {
        let all = avps.iter().cloned().fold(Avps::new(), Avps::raw);
        Builder::request(&SAR, 3, 4).avps(all).finish()
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(avps in avps()) {
            let message = Message::parse(build(&avps)).unwrap();
            let read: Vec<RawAvp> = message.avps().map(|avp| RawAvp {
                code: avp.code(),
                flags: avp.flags(),
                vendor: avp.vendor(),
                length: None,
                data: avp.data().to_vec(),
            }).collect();
            prop_assert_eq!(&avps, &read);
            prop_assert_eq!(build(&avps), message.bytes().clone());
        }

        #[test]
        fn no_octets_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = frame(&bytes);
            if let Ok(message) = Message::parse(bytes.into()) {
                let _ = message.to_string();
            }
        }

        #[test]
        fn a_damaged_message_never_panics(avps in avps(), at in any::<prop::sample::Index>(), octet in any::<u8>()) {
            let mut bytes = build(&avps).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = octet;
            if let Ok(message) = Message::parse(bytes.clone().into()) {
                let _ = message.to_string();
                let _ = message.outcome();
                prop_assert_eq!(&bytes[..], &message.bytes()[..]);
            }
        }

        #[test]
        fn any_split_frames_alike(
            messages in prop::collection::vec(avps(), 1..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let whole: Vec<Bytes> = messages.iter().map(|avps| build(avps)).collect();
            let stream = whole.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let mut framer = Framer::new(Format::Diameter);
            let mut framed = Vec::new();
            for cut in cuts.windows(2) {
                framer.feed(&stream[cut[0]..cut[1]]);
                while let Some(message) = framer.next_message().unwrap() {
                    framed.push(message);
                }
            }
            prop_assert_eq!(whole, framed);
        }
    }
}
