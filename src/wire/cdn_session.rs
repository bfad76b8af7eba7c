//! What a CDN Controller and its edges say to each other over HTTP: sessions, holdings, data tokens.
//! All of it is ours, as TR 23.844 6.2.2 step 5 names no message. Every member name and path stands in
//! [`NAMES`], so that one edit renames it. Start at [`SessionRequest`].

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::Malformed;

/// Paths and member names.
pub struct Names {
    /// Where sessions are made: `POST`, and `DELETE` of one below it.
    pub sessions: &'static str,
    /// Where an edge tells what it holds.
    pub holdings: &'static str,
    pub content: &'static str,
    pub range: &'static str,
    pub first: &'static str,
    pub len: &'static str,
    pub client: &'static str,
    pub token: &'static str,
    pub msrp: &'static str,
    pub peer_path: &'static str,
    pub path: &'static str,
    pub session: &'static str,
    pub url: &'static str,
    pub pieces: &'static str,
}

/// The names in use.
pub const NAMES: Names = Names {
    sessions: "/p2pcds/sessions",
    holdings: "/p2pcds/holdings",
    content: "content",
    range: "range",
    first: "first",
    len: "len",
    client: "client",
    token: "token",
    msrp: "msrp",
    peer_path: "peer_path",
    path: "path",
    session: "session",
    url: "url",
    pieces: "pieces",
};

/// The type of every document here.
pub const MEDIA_TYPE: &str = "application/json";

/// The largest document that is read, in octets.
const LIMIT: usize = 64 << 10;

/// The Controller asks an edge to serve octets of a content to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The swarm id.
    pub content: String,
    /// 0-based offset in octets.
    pub first: u64,
    pub len: u64,
    /// Who will receive them.
    pub client: IpAddr,
    pub token: String,
    /// The client's MSRP path, if it is to be served over MSRP; else it will come by HTTP.
    pub peer_path: Option<String>,
}

impl SessionRequest {
    pub fn parse(bytes: &[u8]) -> Result<SessionRequest, Malformed> {
        let document = Document::read(bytes)?;
        let range = document.object(&document.root, NAMES.range)?;
        let client = document.text(&document.root, NAMES.client)?;
        let msrp = match document.root.get(NAMES.msrp) {
            None | Some(Value::Null) => None,
            Some(_) => Some(document.object(&document.root, NAMES.msrp)?),
        };
        Ok(SessionRequest {
            content: document.text(&document.root, NAMES.content)?,
            first: document.number(range, NAMES.first)?,
            len: document.number(range, NAMES.len)?,
            client: client
                .parse()
                .map_err(|_| document.wrong(NAMES.client, "a numeric address"))?,
            token: document.text(&document.root, NAMES.token)?,
            peer_path: msrp
                .map(|msrp| document.text(msrp, NAMES.peer_path))
                .transpose()?,
        })
    }

    pub fn to_json(&self) -> String {
        let mut root = json!({
            NAMES.content: self.content,
            NAMES.range: { NAMES.first: self.first, NAMES.len: self.len },
            NAMES.client: self.client.to_string(),
            NAMES.token: self.token,
        });
        if let Some(peer_path) = &self.peer_path {
            root[NAMES.msrp] = json!({ NAMES.peer_path: peer_path });
        }
        root.to_string()
    }
}

/// The edge agrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCreated {
    pub session: String,
    pub way: Way,
}

/// How the client gets at the octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The edge's own MSRP path.
    Msrp(String),
    Url(String),
}

impl SessionCreated {
    pub fn parse(bytes: &[u8]) -> Result<SessionCreated, Malformed> {
        let document = Document::read(bytes)?;
        let way = match document.root.contains_key(NAMES.msrp) {
            true => {
                let msrp = document.object(&document.root, NAMES.msrp)?;
                Way::Msrp(document.text(msrp, NAMES.path)?)
            }
            false => Way::Url(document.text(&document.root, NAMES.url)?),
        };
        Ok(SessionCreated {
            session: document.text(&document.root, NAMES.session)?,
            way,
        })
    }

    pub fn to_json(&self) -> String {
        let mut root = json!({ NAMES.session: self.session });
        match &self.way {
            Way::Msrp(path) => root[NAMES.msrp] = json!({ NAMES.path: path }),
            Way::Url(url) => root[NAMES.url] = json!(url),
        }
        root.to_string()
    }
}

/// An edge tells its Controller all it now holds of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    pub content: String,
    pub pieces: Vec<u32>,
}

impl Holdings {
    pub fn parse(bytes: &[u8]) -> Result<Holdings, Malformed> {
        let document = Document::read(bytes)?;
        let listed = document.root.get(NAMES.pieces).and_then(Value::as_array);
        let pieces = listed.and_then(|listed| {
            let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
            listed.iter().map(number).collect()
        });
        Ok(Holdings {
            content: document.text(&document.root, NAMES.content)?,
            pieces: pieces.ok_or_else(|| document.wrong(NAMES.pieces, "a list of numbers"))?,
        })
    }

    pub fn to_json(&self) -> String {
        json!({ NAMES.content: self.content, NAMES.pieces: self.pieces }).to_string()
    }
}

/// A JSON object and the octets it came from.
struct Document<'a> {
    bytes: &'a [u8],
    root: Map<String, Value>,
}

impl Document<'_> {
    fn read(bytes: &[u8]) -> Result<Document<'_>, Malformed> {
        if bytes.len() > LIMIT {
            let expected = format!("a document of at most {LIMIT} octets");
            return Err(Malformed::new(bytes, LIMIT, expected));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(root)) => Ok(Document { bytes, root }),
            Ok(_) => Err(Malformed::new(bytes, 0, "a JSON object")),
            Err(error) => {
                let line = bytes
                    .split_inclusive(|&b| b == b'\n')
                    .take(error.line().saturating_sub(1))
                    .map(<[u8]>::len)
                    .sum::<usize>();
                let at = bytes.len().min(line + error.column().saturating_sub(1));
                Err(Malformed::new(bytes, at, format!("JSON, {error}")))
            }
        }
    }

    fn object<'m>(
        &self,
        within: &'m Map<String, Value>,
        name: &str,
    ) -> Result<&'m Map<String, Value>, Malformed> {
        let found = within.get(name).and_then(Value::as_object);
        found.ok_or_else(|| self.wrong(name, "an object"))
    }

    fn text(&self, within: &Map<String, Value>, name: &str) -> Result<String, Malformed> {
        let found = within.get(name).and_then(Value::as_str);
        found
            .map(str::to_owned)
            .ok_or_else(|| self.wrong(name, "a string"))
    }

    fn number(&self, within: &Map<String, Value>, name: &str) -> Result<u64, Malformed> {
        let found = within.get(name).and_then(Value::as_u64);
        found.ok_or_else(|| self.wrong(name, "a number of octets"))
    }

    fn wrong(&self, name: &str, expected: &str) -> Malformed {
        let quoted = format!("\"{name}\"");
        let at = memchr::memmem::find(self.bytes, quoted.as_bytes()).unwrap_or(0);
        Malformed::new(self.bytes, at, format!("member \"{name}\", {expected}"))
    }
}

/// What a data token binds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    pub content: &'a str,
    pub first: u64,
    pub len: u64,
    pub client: IpAddr,
}

impl Grant<'_> {
    /// `base64url(expiry ‖ HMAC-SHA-256(key, content ‖ first ‖ len ‖ client ‖ expiry))`. Numbers have
    /// eight octets, most significant first; an IPv4 client stands as its IPv6 mapping; `expiry` is in
    /// seconds since the start of the run.
    pub fn token(&self, key: &[u8], expiry: u64) -> String {
        let mut octets = expiry.to_be_bytes().to_vec();
        octets.extend_from_slice(&self.mac(key, expiry));
        URL_SAFE_NO_PAD.encode(octets)
    }

    /// Whether a token is for exactly this and has not expired at `now`.
    pub fn admits(&self, key: &[u8], token: &str, now: u64) -> bool {
        let Ok(octets) = URL_SAFE_NO_PAD.decode(token) else {
            return false;
        };
        let Some((expiry, mac)) = octets.split_first_chunk::<8>() else {
            return false;
        };
        let expiry = u64::from_be_bytes(*expiry);
        now < expiry && mac == self.mac(key, expiry)
    }

    fn mac(&self, key: &[u8], expiry: u64) -> [u8; 32] {
        let client = match self.client {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        // HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
            return [0; 32];
        };
        mac.update(self.content.as_bytes());
        mac.update(&self.first.to_be_bytes());
        mac.update(&self.len.to_be_bytes());
        mac.update(&client.octets());
        mac.update(&expiry.to_be_bytes());
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(peer_path: Option<&str>) -> SessionRequest {
        SessionRequest {
            content: "movie-0001".to_owned(),
            first: 65_536,
            len: 65_536,
            client: "192.0.2.10".parse().unwrap(),
            token: "abc".to_owned(),
            peer_path: peer_path.map(str::to_owned),
        }
    }

    #[test]
    fn documents_read_as_they_are_written() {
        for request in [
            request(None),
            request(Some("msrp://192.0.2.10:2855/u7;tcp")),
        ] {
            assert_eq!(
                Ok(request.clone()),
                SessionRequest::parse(request.to_json().as_bytes())
            );
        }
        for way in [
            Way::Msrp("msrp://h:1/s;tcp".to_owned()),
            Way::Url("http://h/".to_owned()),
        ] {
            let created = SessionCreated {
                session: "s1".to_owned(),
                way,
            };
            assert_eq!(
                Ok(created.clone()),
                SessionCreated::parse(created.to_json().as_bytes())
            );
        }
        let holdings = Holdings {
            content: "movie-0001".to_owned(),
            pieces: vec![1, 3],
        };
        assert_eq!(
            Ok(holdings.clone()),
            Holdings::parse(holdings.to_json().as_bytes())
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = request(None).to_json().replace("65536}", "\"x\"}");
        let error = SessionRequest::parse(text.as_bytes()).unwrap_err();
        assert_eq!(text.find("\"len\""), Some(error.at));
        assert!(error.expected.contains("number of octets"));
        assert!(SessionRequest::parse(b"[]").is_err());
        assert!(SessionRequest::parse(&vec![b' '; LIMIT + 1]).is_err());
    }

    #[test]
    fn a_token_is_good_for_one_thing_only() {
        let client = "192.0.2.10".parse().unwrap();
        let grant = Grant {
            content: "movie-0001",
            first: 1,
            len: 2,
            client,
        };
        let token = grant.token(b"key", 100);

        assert!(grant.admits(b"key", &token, 99));
        assert!(!grant.admits(b"key", &token, 100));
        assert!(!grant.admits(b"other", &token, 99));
        assert!(!Grant { first: 2, ..grant }.admits(b"key", &token, 99));
        assert!(!Grant { len: 3, ..grant }.admits(b"key", &token, 99));
        assert!(
            !Grant {
                content: "movie-000",
                ..grant
            }
            .admits(b"key", &token, 99)
        );
        let other = "192.0.2.11".parse().unwrap();
        assert!(
            !Grant {
                client: other,
                ..grant
            }
            .admits(b"key", &token, 99)
        );
        assert!(!grant.admits(b"key", "", 0));
    }

    proptest! {
        #[test]
        fn any_octets_do_no_harm(bytes: Vec<u8>, text: String) {
            let _ = SessionRequest::parse(&bytes);
            let _ = SessionCreated::parse(&bytes);
            let _ = Holdings::parse(&bytes);
            prop_assert!(!request_grant().admits(b"key", &text, 0));
        }
    }

    fn request_grant() -> Grant<'static> {
        Grant {
            content: "movie-0001",
            first: 0,
            len: 1,
            client: IpAddr::from([192, 0, 2, 10]),
        }
    }
}
