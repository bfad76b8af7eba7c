//! PPSTP, the PPSP tracker protocol (RFC 7846), with the `cds` extension of this profile: which pieces a
//! peer holds, how it is reached, and the manifest of a content.
//!
//! RFC 7846 does not agree with itself: its examples break its grammar. What is written here follows the
//! grammar; what is read follows one of two [`Profile`]s, and each [`Leniency`] that was needed is told.
//! Start at [`Request`] and [`Response`].

mod json;
mod pieces;
mod read;
mod shared;
mod write;

use std::net::IpAddr;

pub use pieces::Pieces;
pub use read::{read, read_request, read_response};
pub use shared::Shared;

/// Media type of requests and responses (RFC 7846 4, 8.1).
pub const MEDIA_TYPE: &str = "application/ppsp-tracker+json";

/// Where it is asked for over HTTP; RFC 7846 names no path, so this one is ours.
pub const PATH: &str = "/ppstp";

/// The version spoken here (RFC 7846 3.2.1).
pub const VERSION: u8 = 1;

/// The largest message read, in octets: ours, the RFC gives none.
pub const LIMIT: usize = 1 << 20;

/// Which of the RFC's two voices is law when reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// The grammar of RFC 7846 3.2 and 3.3.
    Grammar,
    /// Also what the examples in RFC 7846 4.1 show against the grammar.
    #[default]
    Examples,
}

/// A departure from the grammar that was forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leniency {
    /// AMB-01: a bare object where an array of one belongs (example in 4.1.1.1).
    ObjectForArray,
    /// AMB-02: `swarm_id` and `peer_num` beside `find` instead of inside (example in 4.1.2.1).
    FlatFind,
    /// AMB-05: a number written as a string inside `peer_num` (example in 4.1.1.1).
    NumericString,
    /// AMB-07: `type` or `priority` missing from an address (example in 4.1.1.1).
    MissingAddressDetail,
    /// AMB-10: a keep-alive that carries an empty statistics group (4.1.3 against 3.3.3).
    EmptyStatistics,
    /// AMB-20: a failure without `transaction_id`, as that of the request could not be read (4.3).
    MissingTransaction,
    /// AMB-36: `address_type` in other letters than `ipv4` and `ipv6` (3.2.4 enumerates none).
    AddressTypeLetters,
    /// PPSTP-042: an IPv6 address that is not in the text form of RFC 5952 4 (3.2.4).
    AddressText,
}

impl Leniency {
    /// Every one, in the order of their names.
    pub const ALL: &[Leniency] = &[
        Leniency::ObjectForArray,
        Leniency::FlatFind,
        Leniency::NumericString,
        Leniency::MissingAddressDetail,
        Leniency::EmptyStatistics,
        Leniency::MissingTransaction,
        Leniency::AddressTypeLetters,
        Leniency::AddressText,
    ];

    /// The name it has in verdicts.
    pub const fn name(self) -> &'static str {
        match self {
            Leniency::ObjectForArray => "AMB-01",
            Leniency::FlatFind => "AMB-02",
            Leniency::NumericString => "AMB-05",
            Leniency::MissingAddressDetail => "AMB-07",
            Leniency::EmptyStatistics => "AMB-10",
            Leniency::MissingTransaction => "AMB-20",
            Leniency::AddressTypeLetters => "AMB-36",
            Leniency::AddressText => "PPSTP-042",
        }
    }
}

/// A message as read, with what had to be forgiven, each leniency once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading<T> {
    pub message: T,
    pub leniencies: Vec<Leniency>,
}

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: found {found}, expected {expected}")]
pub struct Refusal {
    /// `PPSPTrackerProtocol.connect.swarm_action[0].action`, or `line 1 column 7`.
    pub path: String,
    /// What stands there, shortened.
    pub found: String,
    pub expected: String,
    /// What RFC 7846 4.3 answers: bad request, or unsupported version.
    pub code: ErrorCode,
    /// The message's `transaction_id`, if that much could be read.
    pub transaction_id: Option<String>,
}

impl Refusal {
    /// The failure that answers it; an unreadable `transaction_id` is answered with an empty one.
    pub fn response(&self) -> Response {
        Response::failed(
            self.transaction_id.as_deref().unwrap_or_default(),
            self.code,
        )
    }
}

/// A request or a response; RFC 7846 3.4 tells them apart only by their members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Request(Request),
    Response(Response),
}

/// A request (RFC 7846 3.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub transaction_id: String,
    pub peer_id: String,
    pub body: Body,
}

/// What is asked (RFC 7846 3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Connect(Connect),
    Find(Find),
    StatReport(StatReport),
}

impl Body {
    /// The `request_type`.
    pub const fn request_type(&self) -> &'static str {
        match self {
            Body::Connect(_) => "CONNECT",
            Body::Find(_) => "FIND",
            Body::StatReport(_) => "STAT_REPORT",
        }
    }
}

/// Joins and leaves swarms (RFC 7846 4.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Connect {
    pub peer_num: Option<PeerNum>,
    /// One per interface; empty is absent.
    pub peer_addr: Vec<PeerAddr>,
    /// At least one.
    pub swarm_action: Vec<SwarmAction>,
}

/// Asks for peers of a swarm (RFC 7846 4.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    pub swarm_id: String,
    pub peer_num: Option<PeerNum>,
}

/// Reports statistics; without any it is a keep-alive (RFC 7846 4.1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatReport {
    pub stat: Vec<Stat>,
}

/// How many peers are wanted, and what the asker is like (RFC 7846 3.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerNum {
    /// "Should be less than 30."
    pub peer_count: u64,
    pub ability_nat: Option<AbilityNat>,
    pub concurrent_links: Option<u64>,
    /// Seconds.
    pub online_time: Option<u64>,
    /// Kbit/s.
    pub upload_bandwidth: Option<u64>,
}

impl PeerNum {
    /// Asks for at most `peer_count` peers and says no more.
    pub fn at_most(peer_count: u64) -> PeerNum {
        PeerNum {
            peer_count,
            ..PeerNum::default()
        }
    }
}

/// Joins or leaves one swarm (RFC 7846 3.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SwarmAction {
    pub swarm_id: String,
    pub action: Action,
    pub peer_mode: PeerMode,
    pub cds: Option<ActionCds>,
}

/// An address a peer is reached at (RFC 7846 3.2.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr {
    pub ip: IpAddr,
    /// From 1 to 65535.
    pub port: u16,
    /// Larger is preferred.
    pub priority: i64,
    pub kind: AddressKind,
    pub connection: Option<Connection>,
    /// AS number, a string.
    pub asn: Option<String>,
    pub peer_protocol: Option<String>,
}

impl PeerAddr {
    /// A `HOST` address without optional members.
    pub fn host(addr: std::net::SocketAddr, priority: i64) -> PeerAddr {
        PeerAddr {
            ip: addr.ip(),
            port: addr.port(),
            priority,
            kind: AddressKind::Host,
            connection: None,
            asn: None,
            peer_protocol: None,
        }
    }

    /// Address and port.
    pub fn socket(&self) -> std::net::SocketAddr {
        (self.ip, self.port).into()
    }
}

/// Statistics of one swarm (RFC 7846 3.2.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub swarm_id: String,
    /// Octets sent to the swarm, since the peer joined.
    pub uploaded_bytes: u64,
    /// Octets received from the swarm, since the peer joined.
    pub downloaded_bytes: u64,
    /// Upload bandwidth available now; the RFC gives no unit.
    pub available_bandwidth: u64,
    pub concurrent_links: u64,
    pub cds: Option<StatCds>,
}

/// A response (RFC 7846 3.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub transaction_id: String,
    /// `response_type` is 0 if and only if this is [`ErrorCode::None`].
    pub error: ErrorCode,
    /// Where the tracker saw the asker.
    pub peer_addr: Option<PeerAddr>,
    /// One per swarm acted on; empty is absent.
    pub swarm_result: Vec<SwarmResult>,
}

impl Response {
    /// A success with one result per swarm acted on.
    pub fn ok(transaction_id: &str, swarm_result: Vec<SwarmResult>) -> Response {
        Response {
            transaction_id: transaction_id.to_owned(),
            error: ErrorCode::None,
            peer_addr: None,
            swarm_result,
        }
    }

    /// A failure: neither `peer_addr` nor `swarm_result` (RFC 7846 4.3).
    pub fn failed(transaction_id: &str, error: ErrorCode) -> Response {
        Response {
            transaction_id: transaction_id.to_owned(),
            error,
            peer_addr: None,
            swarm_result: Vec::new(),
        }
    }

    /// `response_type` 0.
    pub fn is_successful(&self) -> bool {
        self.error == ErrorCode::None
    }
}

/// What came of one action, or the peers of one swarm (RFC 7846 3.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmResult {
    pub swarm_id: String,
    /// `result` is 0.
    pub successful: bool,
    /// `peer_group.peer_info`; `None` where there is no `peer_group`.
    pub peers: Option<Vec<Listed>>,
    /// `cds`: the manifest.
    pub manifest: Option<Shared<Manifest>>,
}

/// One peer in a list (RFC 7846 3.2.4). A peer with several addresses is listed several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    pub peer_id: String,
    pub peer_addr: PeerAddr,
    pub cds: Option<PeerCds>,
}

/// A [`PeerInfo`] that several lists share.
pub type Listed = Shared<PeerInfo>;

/// `peer_info.cds`: how this peer serves, and what it holds. Ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCds {
    /// Where it takes piece requests through IMS.
    pub sip_uri: Option<String>,
    /// Where it takes piece requests over HTTP.
    pub url: Option<String>,
    pub pieces: Pieces,
    pub role: Option<PeerRole>,
}

/// `swarm_action.cds`: what a peer says of itself when it joins. Ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ActionCds {
    pub sip_uri: Option<String>,
    pub url: Option<String>,
    pub pieces: Pieces,
    pub role: Option<PeerRole>,
    /// The manifest, announced by an origin.
    pub content: Option<Manifest>,
}

/// `stat.cds`: what a peer holds now, and whom it had it from. Ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatCds {
    pub pieces: Pieces,
    /// It holds the whole content.
    pub complete: bool,
    /// Peer ids of those that served it; empty is absent.
    pub peer_used: Vec<String>,
}

/// `swarm_result.cds`: what the content is and how it is cut. Ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Manifest {
    /// Octets.
    pub size: u64,
    pub sha1: Option<[u8; 20]>,
    pub sha256: [u8; 32],
    pub pieces: Vec<ManifestPiece>,
}

impl Manifest {
    /// Whether the pieces, numbered from 1, cover the content without gap or overlap; else where not.
    pub fn check(&self) -> Result<(), String> {
        let mut end = 0;
        for (piece, n) in self.pieces.iter().zip(1..) {
            if piece.n != n || piece.first != end || piece.len == 0 {
                return Err(format!(
                    "piece {} at {} with {} octets, expected piece {n} at {end} with at least one",
                    piece.n, piece.first, piece.len
                ));
            }
            end = end.checked_add(piece.len).ok_or("lengths overflow")?;
        }
        if end == self.size && u64::from(Pieces::LARGEST) >= self.pieces.len() as u64 {
            Ok(())
        } else {
            Err(format!("pieces end at {end}, expected {}", self.size))
        }
    }

    /// The numbers of all its pieces.
    pub fn numbers(&self) -> Pieces {
        self.pieces.iter().map(|piece| piece.n).collect()
    }
}

/// One piece of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ManifestPiece {
    /// From 1.
    pub n: u32,
    /// Offset in octets, from 0.
    pub first: u64,
    /// Octets.
    pub len: u64,
    pub sha256: [u8; 32],
}

/// Declares the enumerated strings of the protocol.
macro_rules! enumerators {
    ($($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ })+) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every value, in the RFC's order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The word on the wire; case matters.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }
    )+ };
}

enumerators! {
    /// `ability_nat` (RFC 7846 3.2.2).
    AbilityNat {
        NoNat = "NO_NAT",
        Stun = "STUN",
        Turn = "TURN",
    }
    /// `action` (RFC 7846 3.2.3).
    Action {
        Join = "JOIN",
        Leave = "LEAVE",
    }
    /// `peer_mode` (RFC 7846 3.2.3).
    PeerMode {
        Seeder = "SEEDER",
        Leech = "LEECH",
    }
    /// `type` of an address (RFC 7846 3.2.4).
    AddressKind {
        Host = "HOST",
        Reflexive = "REFLEXIVE",
        Proxy = "PROXY",
    }
    /// `connection` of an address (RFC 7846 3.2.4).
    Connection {
        Wireless = "wireless",
        Wired = "wired",
    }
    /// `cds.role`. Ours.
    PeerRole {
        User = "user",
        Edge = "edge",
        Origin = "origin",
        Controller = "controller",
    }
}

/// `error_code` (RFC 7846 4.3, 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    None = 0,
    BadRequest = 1,
    UnsupportedVersion = 2,
    ForbiddenAction = 3,
    InternalServerError = 4,
    ServiceUnavailable = 5,
    AuthenticationRequired = 6,
}

impl ErrorCode {
    /// Every code, by number.
    pub const ALL: &'static [ErrorCode] = &[
        ErrorCode::None,
        ErrorCode::BadRequest,
        ErrorCode::UnsupportedVersion,
        ErrorCode::ForbiddenAction,
        ErrorCode::InternalServerError,
        ErrorCode::ServiceUnavailable,
        ErrorCode::AuthenticationRequired,
    ];

    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in RFC 7846 8.4.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorCode::None => "No Error",
            ErrorCode::BadRequest => "Bad Request",
            ErrorCode::UnsupportedVersion => "Unsupported Version Number",
            ErrorCode::ForbiddenAction => "Forbidden Action",
            ErrorCode::InternalServerError => "Internal Server Error",
            ErrorCode::ServiceUnavailable => "Service Unavailable",
            ErrorCode::AuthenticationRequired => "Authentication Required",
        }
    }
}

#[cfg(test)]
mod tests;
