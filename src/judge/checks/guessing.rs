//! MSRP session ids of one party cannot be guessed from one another (RFC 4975, clause not verified).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    judge::{Case, Finding},
    spec::RefPoint,
    wire::{frame::Party, sdp::Session},
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut ids: BTreeMap<Party, Vec<String>> = BTreeMap::new();
    let mut known: BTreeSet<(Party, String, usize)> = BTreeSet::new();
    let mut findings = Vec::new();
    for (seen, message) in case.evidence.sip_on(RefPoint::Gm) {
        let described = message.header("Content-Type").unwrap_or_default();
        if !seen.is_from_user(case.evidence) || !described.starts_with("application/sdp") {
            continue;
        }
        let (Ok(call), Ok(session)) = (
            message.call_id(),
            Session::parse(&Bytes::copy_from_slice(message.body())),
        ) else {
            continue;
        };
        let from = &seen.frame.from;
        for (line, media) in session.media.iter().enumerate() {
            let path = media.path().unwrap_or_default();
            let Some(id) = path.last().and_then(|uri| uri.session.clone()) else {
                continue;
            };
            // A session keeps its id, however often it is described.
            if !known.insert((from.clone(), call.to_string(), line)) {
                continue;
            }
            let ids = ids.entry(from.clone()).or_default();
            ids.push(id);
            let bits = varying(ids);
            if ids.len() > 1 && bits < FEWEST {
                let events = seen.index..seen.index + 1;
                let expected = "session ids of 80 random bits each";
                let actual = format!("{}, which differ in about {bits} bits", ids.join(", "));
                findings.extend(case.breach(from, "SEC-013", expected, actual, events));
            }
        }
    }
    findings
}

/// Of 80 random bits some are alike by chance in a few ids. That half of them are does not happen: not once in
/// a million pairs, be they written in hexadecimal or in any other letters.
const FEWEST: u32 = 40;

/// About how many bits differ from id to id: for each place at which not all have the same character, what the
/// characters found there can carry.
fn varying(ids: &[String]) -> u32 {
    let length = ids.iter().map(String::len).min().unwrap_or(0);
    let places = (0..length).map(|place| {
        let found: BTreeSet<u8> = ids.iter().map(|id| id.as_bytes()[place]).collect();
        // In tenths of a bit.
        match found.len() {
            ..2 => 0,
            _ if found.iter().all(u8::is_ascii_digit) => 33,
            _ if found.iter().all(u8::is_ascii_hexdigit) => 40,
            _ => 60,
        }
    });
    places.sum::<u32>() / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(ids: &[&str]) -> u32 {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        varying(&ids)
    }

    #[test]
    fn what_is_drawn_differs_and_what_is_counted_does_not() {
        let drawn = bits(&["u7Qm2bXk0sPqZ4", "W0c9TnLr5vYh8e"]);
        assert!(drawn >= 60, "{drawn}");
        let drawn = bits(&["9f8e7d6c5b4a39281706", "02c4a1b7e8d35f60914c"]);
        assert!(drawn >= 60, "{drawn}");
        assert_eq!(3, bits(&["u7Qm2bXk0sPq.1", "u7Qm2bXk0sPq.2"]));
        assert_eq!(3, bits(&["00000000001", "00000000002", "00000000003"]));
        assert_eq!(0, bits(&["u7Qm2bXk0sPqZ4", "u7Qm2bXk0sPqZ4"]));
    }
}
