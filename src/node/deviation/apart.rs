//! Messages taken apart further than `bend` does: whole HTTP messages, JSON documents of any content
//! (what a deviation writes need not be PPSTP), session descriptions as a whole. Whatever cannot be read
//! is left as it is.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

use super::bend;
use crate::wire::{message::Decoded, sdp::Session, sip};

/// An HTTP message taken apart, to be put together otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The first line.
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Http {
    /// `None` if it is no HTTP message.
    pub fn of(message: &Decoded) -> Option<Http> {
        let (bytes, headers, body) = match message {
            Decoded::HttpRequest(m) => (m.bytes(), owned(m.headers()), m.body_bytes()),
            Decoded::HttpResponse(m) => (m.bytes(), owned(m.headers()), m.body_bytes()),
            _ => return None,
        };
        let start = bytes.split(|octet| *octet == b'\n').next()?;
        Some(Http {
            start: String::from_utf8_lossy(start).trim_end().to_owned(),
            headers,
            body,
        })
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Puts one header in the place of all of that name; at the end if there was none.
    pub fn set(mut self, name: &str, value: &str) -> Http {
        let same = |(other, _): &(String, String)| other.eq_ignore_ascii_case(name);
        let place = self.headers.iter().position(same);
        self.headers.retain(|header| !same(header));
        let place = place.unwrap_or(self.headers.len()).min(self.headers.len());
        let header = (name.to_owned(), value.to_owned());
        self.headers.insert(place, header);
        self
    }

    pub fn remove(mut self, name: &str) -> Http {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    pub fn method(mut self, method: &str) -> Http {
        if let Some((_, rest)) = self.start.split_once(' ') {
            self.start = format!("{method} {rest}");
        }
        self
    }

    /// Replaces the status and the reason of a response.
    pub fn status(mut self, status: u16) -> Http {
        let reason = crate::wire::http::reason(status);
        self.start = format!("HTTP/1.1 {status} {reason}");
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Http {
        self.body = body.into();
        self
    }

    /// The octets, with the length that the body has; never chunked.
    pub fn finish(self) -> Bytes {
        let counts = self.header("Content-Length").is_some()
            || self.header("Transfer-Encoding").is_some()
            || !self.body.is_empty();
        let mut message = self.remove("Transfer-Encoding");
        if counts {
            let length = message.body.len().to_string();
            message = message.set("Content-Length", &length);
        }
        let mut bytes = BytesMut::new();
        bytes.put_slice(message.start.as_bytes());
        for (name, value) in &message.headers {
            bytes.put_slice(format!("\r\n{name}: {value}").as_bytes());
        }
        bytes.put_slice(b"\r\n\r\n");
        bytes.put_slice(&message.body);
        bytes.freeze()
    }
}

fn owned<'a>(
    headers: impl Iterator<Item = (&'a str, std::borrow::Cow<'a, str>)>,
) -> Vec<(String, String)> {
    headers
        .map(|(name, value)| (name.to_owned(), value.into_owned()))
        .collect()
}

/// The JSON document in a body of SIP or HTTP.
pub fn json(message: &Decoded) -> Option<Value> {
    let (media_type, body) = message.body()?;
    match media_type.ends_with("json") {
        true => serde_json::from_slice(&body).ok(),
        false => None,
    }
}

/// The message with its JSON document changed; `None` if it carries none, or nothing was changed.
pub fn changed_json(message: &Decoded, change: impl FnOnce(&mut Value)) -> Option<Bytes> {
    let written = json(message)?;
    let mut document = written.clone();
    change(&mut document);
    match document == written {
        true => None,
        false => bend::with_body(message, &document.to_string()),
    }
}

/// Does something to each object in a document, the outer before the inner.
pub fn each_object(document: &mut Value, act: &mut dyn FnMut(&mut Map<String, Value>)) {
    match document {
        Value::Object(object) => {
            act(object);
            object
                .values_mut()
                .for_each(|value| each_object(value, act));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_object(item, act)),
        _ => {}
    }
}

/// A SIP message with its session description changed; `None` if it carries none.
pub fn changed_sdp(message: &sip::Message, change: impl FnOnce(&mut Session)) -> Option<Bytes> {
    let mut session = Session::parse(&message.body_bytes()).ok()?;
    change(&mut session);
    let kind = message.header("Content-Type")?.into_owned();
    let bent = message.edit().body(Some((&kind, &session.to_bytes())));
    Some(bent.finish().bytes().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec::Format,
        wire::{http, ppstp},
    };

    #[test]
    fn an_untouched_message_is_put_together_as_it_was() {
        let request = http::Request::build("POST", ppstp::PATH)
            .header("Host", "tracker")
            .body(ppstp::MEDIA_TYPE, "{}")
            .finish();
        let decoded = Decoded::HttpRequest(request.clone());
        let again = Http::of(&decoded).map(Http::finish);
        assert_eq!(Some(request.bytes().clone()), again);
    }

    #[test]
    fn a_changed_document_has_its_length() {
        let response = http::Response::build(200)
            .body(ppstp::MEDIA_TYPE, r#"{"a":1}"#)
            .finish();
        let decoded = Decoded::HttpResponse(response);
        let bent = changed_json(&decoded, |document| document["b"] = "more".into());
        let bent = Decoded::read(Format::Http, bent.unwrap_or_default());
        assert_eq!(Some(serde_json::json!({"a": 1, "b": "more"})), json(&bent));
        assert_eq!(None, changed_json(&bent, |_| {}));
    }
}
