//! Bytes to messages and back. Pure and lossless: what cannot be parsed is kept, located and shown.
//! Knows nothing of time or nodes. Start at [`frame::Frame`]; one module per wire format.

pub mod cdn_session;
pub mod diameter;
pub mod frame;
pub mod http;
pub mod message;
pub mod msrp;
pub mod ppstp;
pub mod sdp;
pub mod sip;

/// What could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("octet {at}: found {found}, expected {expected}")]
pub struct Malformed {
    /// Offset in octets from the start of what was being read.
    pub at: usize,
    /// What stands there, shortened and escaped for printing.
    pub found: String,
    /// What ought to stand there.
    pub expected: String,
}

impl Malformed {
    /// At most 40 octets from `at` on are shown.
    pub fn new(bytes: &[u8], at: usize, expected: impl Into<String>) -> Malformed {
        let rest = bytes.get(at..).unwrap_or_default();
        let found = match rest {
            [] => "the end".to_owned(),
            _ => format!("\"{}\"", rest[..rest.len().min(40)].escape_ascii()),
        };
        Malformed {
            at,
            found,
            expected: expected.into(),
        }
    }
}

/// Where one message ends in a stream: the answer of every format's `frame` function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// The first `n` octets are one message.
    Whole(usize),
    /// More octets are needed.
    Partial,
}
