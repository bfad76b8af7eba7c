//! Pieces on the wire: which octets of which content went from whom to whom, read from Data frames and
//! the ranges that signalling and transfer protocols state. Nothing a node says about itself counts.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Evidence, evidence::Seen};
use crate::{
    spec::{Format, RefPoint},
    wire::{
        frame::Party,
        http::{ContentRange, Ranges, Request, Response},
        msrp::Flag,
        sdp::Session,
    },
};

/// Octets of a content that arrived somewhere.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The trace event that brought them.
    pub index: usize,
    pub from: Party,
    pub to: Party,
    /// The swarm id.
    pub swarm: String,
    /// 0-based offset in the content of the first octet, as whoever sent it numbers it.
    pub first: u64,
    /// 0-based offset and length of what was asked for.
    pub asked: (u64, u64),
    pub octets: Bytes,
    /// The protocol that carried them.
    pub by: Format,
    /// Whether nothing follows.
    pub is_last: bool,
}

/// One media line of an offer or answer, as it crossed.
#[derive(Clone, Debug)]
pub struct Agreed {
    pub index: usize,
    pub call_id: String,
    /// Where SEND requests for this session go: the session part of the describing party's own path.
    pub session: String,
    /// The id of the transfer.
    pub transfer_id: Option<String>,
    /// The content, by the name in its file-selector.
    pub swarm: Option<String>,
    /// 0-based offset and length in octets.
    pub range: Option<(u64, u64)>,
}

/// Every media line of every offer and answer.
pub fn agreed(evidence: &Evidence<'_>) -> Vec<Agreed> {
    let mut lines = Vec::new();
    for (seen, message) in evidence.sip() {
        let Some((media_type, body)) = seen.message.body() else {
            continue;
        };
        if media_type != "application/sdp" {
            continue;
        }
        let Ok(session) = Session::parse(&Bytes::from(body)) else {
            continue;
        };
        for media in session.media.iter().filter(|media| media.is_msrp()) {
            let Some(path) = media.path().ok().and_then(|path| path.into_iter().next()) else {
                continue;
            };
            let selector = media.file_selector().ok().flatten();
            lines.push(Agreed {
                index: seen.index,
                call_id: message.call_id().unwrap_or_default(),
                session: path.session.clone().unwrap_or_default(),
                transfer_id: media.file_transfer_id().map(str::to_owned),
                swarm: selector.and_then(|selector| selector.name),
                range: media
                    .file_range()
                    .ok()
                    .flatten()
                    .and_then(|range| range.within(u64::MAX)),
            });
        }
    }
    lines
}

/// Every octet of content that arrived, in order of arrival.
pub fn delivered(evidence: &Evidence<'_>) -> Vec<Delivered> {
    let mut sessions: BTreeMap<String, Agreed> = BTreeMap::new();
    for line in agreed(evidence) {
        // RFC 5547 8.3.2: an id that was used begins nothing new, whatever range comes with it.
        let known = sessions.get(&line.session);
        let is_used = known.is_some_and(|known| known.transfer_id == line.transfer_id);
        if !is_used {
            sessions.insert(line.session.clone(), line);
        }
    }
    let mut all: Vec<Delivered> = evidence
        .crossed
        .iter()
        .filter(|seen| seen.frame.on == RefPoint::Data)
        .filter_map(|seen| by_msrp(seen, &sessions).or_else(|| by_http(evidence, seen)))
        .collect();
    all.sort_by_key(|delivered| delivered.index);
    all
}

fn by_msrp(seen: &Seen<'_>, sessions: &BTreeMap<String, Agreed>) -> Option<Delivered> {
    let message = seen.message.msrp()?;
    if message.method() != Some("SEND") {
        return None;
    }
    let to = message.to_path().ok()?.into_iter().next()?;
    let line = sessions.get(to.session.as_deref()?)?;
    let octets = message.body().filter(|body| !body.is_empty())?;
    let start = message.byte_range().ok()??.start;
    Some(Delivered {
        index: seen.index,
        from: seen.frame.from.clone(),
        to: seen.frame.to.clone(),
        swarm: line.swarm.clone()?,
        first: line.range?.0 + start.checked_sub(1)?,
        asked: line.range?,
        octets,
        by: Format::Msrp,
        is_last: message.flag() == Flag::Complete,
    })
}

fn by_http(evidence: &Evidence<'_>, seen: &Seen<'_>) -> Option<Delivered> {
    let crate::wire::message::Decoded::HttpResponse(response) = &seen.message else {
        return None;
    };
    let request = evidence.request_of(seen)?;
    let (first, octets) = octets_of(response)?;
    let length = octets.len() as u64;
    Some(Delivered {
        index: seen.index,
        from: seen.frame.from.clone(),
        to: seen.frame.to.clone(),
        swarm: swarm_of(request)?,
        first,
        asked: asked_by(request).unwrap_or((first, length)),
        octets,
        by: Format::Http,
        is_last: true,
    })
}

/// The 0-based offset and the length that a GET asks for; `None` if it asks for everything.
pub fn asked_by(request: &Request) -> Option<(u64, u64)> {
    let ranges = Ranges::parse(request.header("Range")?).ok()??;
    let octets = ranges.0.first()?.within(u64::MAX)?;
    Some((octets.first, octets.len()))
}

/// The content a request names: the last segment of its path.
pub fn swarm_of(request: &Request) -> Option<String> {
    let last = request.path().rsplit('/').next()?;
    crate::wire::http::decode(last)
}

fn octets_of(response: &Response) -> Option<(u64, Bytes)> {
    let body = Bytes::from(response.body().to_vec());
    match response.status() {
        206 => {
            let range = ContentRange::parse(response.header("Content-Range")?).ok()?;
            Some((range.octets?.first, body))
        }
        200 if !body.is_empty() => Some((0, body)),
        _ => None,
    }
}

/// What one party has put together from what arrived there: later octets replace earlier ones.
pub struct Assembly {
    octets: Vec<u8>,
    have: Vec<bool>,
}

impl Assembly {
    pub fn of(size: usize) -> Assembly {
        Assembly {
            octets: vec![0; size],
            have: vec![false; size],
        }
    }

    /// Octets beyond the content's end are left out, and so are those that nobody asked for.
    pub fn add(&mut self, delivered: &Delivered) {
        let (first, length) = delivered.asked;
        let before = first.saturating_sub(delivered.first);
        let until = first
            .saturating_add(length)
            .saturating_sub(delivered.first)
            .min(delivered.octets.len() as u64);
        if before < until {
            let octets = &delivered.octets[before as usize..until as usize];
            self.put(delivered.first.saturating_add(before), octets);
        }
    }

    /// As `add`, but where they were asked for, whatever the answer says.
    pub fn add_as_asked(&mut self, delivered: &Delivered) {
        match delivered.by {
            Format::Http => self.put(delivered.asked.0, &delivered.octets),
            _ => self.add(delivered),
        }
    }

    fn put(&mut self, first: u64, octets: &[u8]) {
        let first = usize::try_from(first)
            .unwrap_or(usize::MAX)
            .min(self.octets.len());
        let length = octets.len().min(self.octets.len() - first);
        self.octets[first..first + length].copy_from_slice(&octets[..length]);
        self.have[first..first + length].fill(true);
    }

    /// The octets from `first` on, `len` of them, if all are there.
    pub fn range(&self, first: u64, len: u64) -> Option<&[u8]> {
        let first = usize::try_from(first).ok()?;
        let end = first.checked_add(usize::try_from(len).ok()?)?;
        let have = self.have.get(first..end)?;
        have.iter()
            .all(|there| *there)
            .then(|| &self.octets[first..end])
    }

    pub fn whole(&self) -> Option<&[u8]> {
        self.range(0, self.octets.len() as u64)
    }
}
