//! What a UE publishes of itself (RFC 3903): one publication a swarm, one PUBLISH outstanding at a time
//! for all, as they share a Request-URI (RFC 3903 4). It says what to send next and reads the answer;
//! it sends nothing and writes no document.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    proto::publication::{Publication, Published},
    time::At,
    wire::sip::Message,
};

/// What one PUBLISH is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Creates or changes the state: the document.
    Set(String),
    /// Keeps it alive.
    Refresh,
    /// Ends it.
    Remove,
}

/// A PUBLISH to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub headers: Vec<(&'static str, String)>,
    pub document: Option<String>,
}

/// All publications of one UE.
#[derive(Debug)]
pub struct Publisher {
    event: &'static str,
    /// Seconds asked for.
    expires: u32,
    entries: BTreeMap<String, Publication>,
    queue: VecDeque<(String, Purpose)>,
    outstanding: Option<(String, Purpose)>,
}

impl Publisher {
    /// For one event package; `expires` is the lifetime asked for, in seconds.
    pub fn new(event: &'static str, expires: u32) -> Publisher {
        Publisher {
            event,
            expires,
            entries: BTreeMap::new(),
            queue: VecDeque::new(),
            outstanding: None,
        }
    }

    /// Whether the state of `swarm` stands, so that it can be changed or refreshed.
    pub fn stands(&self, swarm: &str) -> bool {
        self.entries.get(swarm).is_some_and(Publication::is_held)
    }

    /// Whether something about `swarm` is on its way.
    pub fn is_busy(&self, swarm: &str) -> bool {
        let outstanding = self.outstanding.iter();
        outstanding
            .chain(&self.queue)
            .any(|(busy, _)| busy == swarm)
    }

    /// Puts a PUBLISH in line; it takes the place of one in line for the same swarm.
    pub fn want(&mut self, swarm: &str, purpose: Purpose) {
        self.queue.retain(|(waiting, _)| waiting != swarm);
        self.queue.push_back((swarm.to_owned(), purpose));
    }

    /// Whether a PUBLISH waits in line and may be sent.
    pub fn has_next(&self) -> bool {
        self.outstanding.is_none() && !self.queue.is_empty()
    }

    /// The PUBLISH to send now, if none is outstanding; what has become pointless is passed over.
    pub fn next(&mut self) -> Option<Publish> {
        if self.outstanding.is_some() {
            return None;
        }
        while let Some((swarm, purpose)) = self.queue.pop_front() {
            let entry = self
                .entries
                .entry(swarm.clone())
                .or_insert_with(|| Publication::new(self.event));
            let (headers, document) = match &purpose {
                Purpose::Set(document) => (entry.publish(self.expires), Some(document.clone())),
                Purpose::Refresh => (entry.refresh(self.expires), None),
                Purpose::Remove => (entry.remove(), None),
            };
            if let Some(headers) = headers {
                self.outstanding = Some((swarm, purpose));
                return Some(Publish { headers, document });
            }
        }
        None
    }

    /// Takes the answer to the outstanding PUBLISH; gives its swarm. One that asked for too little goes
    /// back to the head of the line.
    pub fn answered(&mut self, at: At, response: &Message) -> Option<(String, Published)> {
        let (swarm, purpose) = self.outstanding.take()?;
        let entry = self.entries.get_mut(&swarm)?;
        let published = match entry.answered(at, response) {
            Published::Forgotten if purpose == Purpose::Remove => Published::Removed,
            Published::TooBrief { least } if least > LONGEST => Published::Refused { status: 423 },
            published => published,
        };
        match published {
            Published::Nothing => self.outstanding = Some((swarm.clone(), purpose)),
            Published::TooBrief { least } => {
                self.expires = least;
                self.queue.push_front((swarm.clone(), purpose));
            }
            _ => {}
        }
        Some((swarm, published))
    }

    /// No answer came to the outstanding PUBLISH; gives its swarm.
    pub fn unanswered(&mut self) -> Option<String> {
        let (swarm, _) = self.outstanding.take()?;
        if let Some(entry) = self.entries.get_mut(&swarm) {
            entry.unanswered();
        }
        Some(swarm)
    }
}

/// The longest life a publication is given, in seconds.
const LONGEST: u32 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::Builder;

    fn response(status: u16, headers: &[(&str, &str)]) -> Message {
        let request = Builder::request("PUBLISH", "sip:ue-a@ims.example")
            .header("Via", "SIP/2.0/TCP 192.0.2.10;branch=z9hG4bKp")
            .header("From", "<sip:ue-a@ims.example>;tag=a")
            .header("To", "<sip:ue-a@ims.example>")
            .header("Call-ID", "p-1")
            .header("CSeq", "1 PUBLISH")
            .finish();
        let mut builder = Builder::response(&request, status, "", Some("t"));
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        builder.finish()
    }

    fn publisher() -> Publisher {
        Publisher::new("p2pcds-status", 120)
    }

    fn set(text: &str) -> Purpose {
        Purpose::Set(text.to_owned())
    }

    fn header(publish: &Publish, name: &str) -> Option<String> {
        let found = publish.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    }

    #[test]
    fn one_publish_is_outstanding_at_a_time() {
        let mut publisher = publisher();
        publisher.want("a", set("1"));
        publisher.want("b", set("2"));
        assert_eq!(
            Some("1"),
            publisher.next().expect("a PUBLISH").document.as_deref()
        );
        assert_eq!(None, publisher.next());
        publisher.answered(At::ZERO, &response(200, &[("SIP-ETag", "x")]));
        assert_eq!(
            Some("2"),
            publisher.next().expect("a PUBLISH").document.as_deref()
        );
    }

    #[test]
    fn a_newer_document_takes_the_place_of_one_in_line() {
        let mut publisher = publisher();
        publisher.want("a", set("1"));
        publisher.next();
        publisher.want("a", set("2"));
        publisher.want("a", set("3"));
        publisher.answered(At::ZERO, &response(200, &[("SIP-ETag", "x")]));
        let next = publisher.next().expect("a PUBLISH");
        assert_eq!(Some("3"), next.document.as_deref());
        assert_eq!(Some("x".to_owned()), header(&next, "SIP-If-Match"));
        publisher.answered(At::ZERO, &response(200, &[("SIP-ETag", "y")]));
        assert_eq!(None, publisher.next());
    }

    #[test]
    fn without_a_tag_nothing_is_refreshed() {
        let mut publisher = publisher();
        publisher.want("a", set("1"));
        publisher.next();
        publisher.answered(At::ZERO, &response(200, &[]));
        publisher.want("a", Purpose::Refresh);
        assert_eq!(None, publisher.next());
    }

    #[test]
    fn too_brief_a_life_is_lengthened() {
        let mut publisher = publisher();
        publisher.want("a", set("1"));
        publisher.next();
        publisher.answered(At::ZERO, &response(423, &[("Min-Expires", "600")]));
        let again = publisher.next().expect("a PUBLISH");
        assert_eq!(Some("600".to_owned()), header(&again, "Expires"));
        assert_eq!(Some("1"), again.document.as_deref());
    }
}
