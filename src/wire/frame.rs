//! Bytes in an envelope: who sent them to whom, where, and over what. [`Framer`] cuts a stream into
//! the messages of its format.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{Framed, Malformed, diameter, http, msrp, sip};
use crate::spec::{Format, RefPoint, Worth};

/// A node's name in a topology: `ue-a`, `p-cscf`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct NodeName(Arc<str>);

impl NodeName {
    pub fn new(name: &str) -> NodeName {
        NodeName(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<String> for NodeName {
    fn from(name: String) -> NodeName {
        NodeName(name.into())
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> NodeName {
        NodeName::new(name)
    }
}

/// One end of a frame: a node of the topology, or an address nobody there has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    Node(NodeName),
    Unknown(SocketAddr),
}

impl Party {
    pub fn is(&self, name: &str) -> bool {
        self.node().is_some_and(|node| node.as_str() == name)
    }

    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Party::Node(name) => Some(name),
            Party::Unknown(_) => None,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Node(name) => name.fmt(f),
            Party::Unknown(addr) => write!(f, "{addr}"),
        }
    }
}

/// One end of a stream connection, as one node numbers it. Two nodes' numbers are unrelated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(pub u64);

impl LinkId {
    /// Whether the node itself opened it: its own numbers are even, those of what it accepts odd.
    pub const fn is_own(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

/// Who a TLS client says it is: the name in its certificate, and what that is worth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Shown", into = "Shown")]
pub struct Identity {
    pub name: Arc<str>,
    pub worth: Worth,
}

impl Identity {
    /// Who shows a certificate that proves it.
    pub fn proven(name: &str) -> Identity {
        Identity {
            name: name.into(),
            worth: Worth::Good,
        }
    }

    /// The name, to whoever believes certificates that are worth one of these.
    pub fn proves_to(&self, trusts: &[Worth]) -> Option<&str> {
        trusts.contains(&self.worth).then_some(&*self.name)
    }
}

/// How an identity is written: its name alone where it is proven.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Shown {
    Proven(String),
    Doubtful { name: String, worth: Worth },
}

impl From<Shown> for Identity {
    fn from(shown: Shown) -> Identity {
        match shown {
            Shown::Proven(name) => Identity::proven(&name),
            Shown::Doubtful { name, worth } => Identity {
                name: name.into(),
                worth,
            },
        }
    }
}

impl From<Identity> for Shown {
    fn from(identity: Identity) -> Shown {
        let name = identity.name.as_ref().to_owned();
        match identity.worth {
            Worth::Good => Shown::Proven(name),
            worth => Shown::Doubtful { name, worth },
        }
    }
}

/// What protects a link. Memory links assert it; sockets prove it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    #[default]
    Plain,
    Tls {
        client: Option<Identity>,
    },
}

/// One message, or octets that never became one, between two parties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub from: Party,
    pub to: Party,
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub on: RefPoint,
    pub format: Format,
    /// The receiver's number for the connection it came on; `None` for a datagram.
    pub link: Option<LinkId>,
    pub security: Security,
    pub bytes: Bytes,
    /// False for octets left over when a link ended or a limit was hit: they never framed.
    pub framed: bool,
}

impl Frame {
    /// Whether it travelled by itself rather than on a connection.
    pub fn is_datagram(&self) -> bool {
        self.format == Format::Sip && self.link.is_none()
    }
}

/// Cuts a stream into messages of one format. Feeding the same octets in any split gives the same
/// messages.
#[derive(Debug)]
pub struct Framer {
    format: Format,
    buffer: BytesMut,
    broken: bool,
}

impl Framer {
    /// The largest message a stream may carry; what is longer is delivered unframed.
    pub const LIMIT: usize = 16 << 20;

    pub fn new(format: Format) -> Framer {
        Framer {
            format,
            buffer: BytesMut::new(),
            broken: false,
        }
    }

    /// Takes octets as they arrive.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message. `Err` once octets stand where no message can begin: the rest of the
    /// stream is then available from [`Framer::leftover`] only.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, Malformed> {
        if self.broken || self.buffer.is_empty() {
            return Ok(None);
        }
        let framed = match self.format {
            Format::Sip => sip::frame(&self.buffer),
            Format::Http => http::frame(&self.buffer),
            Format::Msrp => msrp::frame(&self.buffer),
            Format::Diameter => diameter::frame(&self.buffer),
        };
        match framed {
            Ok(Framed::Whole(length)) => Ok(Some(self.buffer.split_to(length).freeze())),
            Ok(Framed::Partial) if self.buffer.len() <= Framer::LIMIT => Ok(None),
            Ok(Framed::Partial) => {
                self.broken = true;
                Err(Malformed::new(
                    &self.buffer,
                    0,
                    format!("a message of at most {} octets", Framer::LIMIT),
                ))
            }
            Err(malformed) => {
                self.broken = true;
                Err(malformed)
            }
        }
    }

    /// Octets that are no whole message yet.
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the stream has stopped making sense.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Everything not yet framed; empties the buffer.
    pub fn leftover(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }
}
