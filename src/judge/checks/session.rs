//! Offers, answers and dialogs of a piece transfer agree (RFC 5547 8; RFC 3261 13.2.2.4, 15; RFC 4975 5.4).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    judge::{Case, Finding, evidence::Seen},
    spec::{RefPoint, Role},
    time::At,
    trace::EventKind,
    wire::{
        frame::Party,
        sdp::{Direction, Media, Session},
        sip::Message,
    },
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut offers: BTreeMap<String, Session> = BTreeMap::new();
    for (seen, message) in case.evidence.sip_on(RefPoint::Gm) {
        if message.method() != "INVITE" {
            continue;
        }
        let Ok(call) = message.call_id() else {
            continue;
        };
        let mut report = |requirement, expected: &str, actual: String| {
            let events = seen.index..seen.index + 1;
            findings.extend(case.breach(&seen.frame.from, requirement, expected, actual, events));
        };
        match (message.status(), described(seen)) {
            (None, Some(offer)) => {
                if seen.is_from_user(case.evidence) {
                    offered(&offer, &mut report);
                }
                offers.insert(call, offer);
            }
            (Some(200..300), answer) => {
                if !seen.is_from_user(case.evidence) {
                    continue;
                }
                accepted(message, &mut report);
                if let (Some(offer), Some(answer)) = (offers.get(&call), answer) {
                    let role = case.evidence.role(&seen.frame.from);
                    answered(offer, &answer, role, &mut report);
                }
            }
            _ => {}
        }
    }
    findings.extend(finished(case));
    findings.extend(opened(case));
    findings
}

/// Who said `a=setup:passive` and was answered `active` opens no connection for data to the other end (RFC 6135,
/// clause not verified).
fn opened(case: &Case<'_>) -> Vec<Finding> {
    let setups = |session: &Session| -> Vec<Option<String>> {
        let of = |media: &Media| media.attribute("setup").map(str::to_owned);
        session.media.iter().map(of).collect()
    };
    let mut offers: BTreeMap<String, (Party, Vec<Option<String>>)> = BTreeMap::new();
    let mut waits: BTreeMap<Party, usize> = BTreeMap::new();
    for (seen, message) in case.evidence.sip_on(RefPoint::Gm) {
        let (Ok(call), Some(described)) = (message.call_id(), described(seen)) else {
            continue;
        };
        let setup = setups(&described);
        let is_passive = |setup: &Option<String>| setup.as_deref() == Some("passive");
        if message.is_request() && seen.is_from_user(case.evidence) {
            offers.insert(call, (seen.frame.from.clone(), setup));
        } else if message.status() == Some(200)
            && let Some((party, offered)) = offers.get(&call)
            && seen.frame.to == *party
            && offered.iter().all(is_passive)
            && setup.iter().all(|setup| setup.as_deref() == Some("active"))
        {
            waits.entry(party.clone()).or_insert(seen.index);
        }
    }
    let events = case.evidence.trace.events.iter().enumerate();
    let opened = events.filter_map(|(index, event)| match &event.kind {
        EventKind::Opening { node, on, to } if *on == RefPoint::Data => {
            let party = Party::Node(node.clone());
            let since = *waits.get(&party)?;
            let expected = "the other end, which said active, to open the connection";
            let actual = format!("a connection to {to}");
            let finding = case.breach(&party, "DATA-004", expected, actual, index..index + 1);
            finding.filter(|_| since < index)
        }
        _ => None,
    });
    opened.collect()
}

fn described(seen: &Seen<'_>) -> Option<Session> {
    let (media_type, body) = seen.message.body()?;
    (media_type == "application/sdp")
        .then(|| Session::parse(&Bytes::from(body)).ok())
        .flatten()
}

type Report<'a> = &'a mut dyn FnMut(&'static str, &str, String);

fn offered(offer: &Session, report: Report<'_>) {
    for media in offer
        .media
        .iter()
        .filter(|media| media.is_msrp() && media.port != 0)
    {
        let selector = match media.file_selector() {
            Ok(Some(selector)) => selector,
            unread => {
                let actual = match unread {
                    Ok(_) => "none",
                    Err(_) => "one that cannot be read",
                };
                let expected = "a file-selector in a pull offer";
                report("UE-004", expected, actual.into());
                continue;
            }
        };
        let lacks = match (selector.is_empty(), media.file_transfer_id()) {
            (true, _) => Some("an empty file-selector"),
            (false, None) => Some("no file-transfer-id"),
            (false, Some(_)) => None,
        };
        if let Some(lacks) = lacks {
            report("UE-004", "a selector and a file-transfer-id", lacks.into());
        }
        if media.direction() != Direction::RecvOnly {
            report(
                "UE-004",
                "a pull offer that is recvonly",
                media.direction().word().into(),
            );
        }
        let has_path = media.path().is_ok_and(|path| !path.is_empty());
        let lacks = match (has_path, media.accept_types().is_empty()) {
            (false, _) => Some("no path that can be read"),
            (true, true) => Some("no accept-types"),
            (true, false) => None,
        };
        if let Some(lacks) = lacks {
            report("UE-005", "an MSRP path and accept-types", lacks.into());
        }
    }
}

fn accepted(answer: &Message, report: Report<'_>) {
    if !answer.has("Contact") {
        report("PEER-021", "Contact in a 2xx to INVITE", "none".into());
    }
}

fn answered(offer: &Session, answer: &Session, by: Option<Role>, report: Report<'_>) {
    if offer.media.len() != answer.media.len() {
        let requirement = match by {
            Some(Role::Controller) => "CTRL-004",
            _ => "PEER-023",
        };
        let actual = format!("{} for {}", answer.media.len(), offer.media.len());
        report(requirement, "one answer line for each offered line", actual);
        return;
    }
    for (asked, given) in offer.media.iter().zip(&answer.media) {
        if given.port == 0 {
            continue;
        }
        if given.direction() != Direction::SendOnly {
            report(
                "PEER-001",
                "an answer that is sendonly",
                given.direction().word().into(),
            );
        }
        let id = given.file_transfer_id();
        if id != asked.file_transfer_id() {
            // The id of another line: the lines are answered in another order than they were offered.
            let of_another = |media: &Media| id.is_some() && media.file_transfer_id() == id;
            let is_crosswise = offer.media.iter().any(of_another);
            report(
                if is_crosswise { "PEER-023" } else { "PEER-001" },
                "the offer's file-transfer-id",
                shown(id),
            );
        }
        if !can_be_sent(asked) {
            report(
                "PEER-003",
                "a range that cannot be sent refused",
                format!("{} accepted", shown(asked.attribute("file-range"))),
            );
            continue;
        }
        let range = |media: &Media| {
            media
                .file_range()
                .ok()
                .flatten()
                .map(|range| range.to_string())
        };
        if range(given) != range(asked) {
            report(
                "PEER-002",
                &format!("the offer's file-range {}", shown(range(asked).as_deref())),
                shown(range(given).as_deref()),
            );
        }
    }
}

/// Whether the range that a line asks for, if it asks for one, lies within the file it names.
fn can_be_sent(asked: &Media) -> bool {
    let size = asked.file_selector().ok().flatten();
    let size = size.and_then(|selector| selector.size).unwrap_or(u64::MAX);
    match asked.file_range() {
        Ok(Some(range)) => range.within(size).is_some(),
        Ok(None) => true,
        Err(_) => false,
    }
}

fn shown(value: Option<&str>) -> String {
    value.unwrap_or("none").to_owned()
}

/// Each 2xx to INVITE is acknowledged by whoever got it. What the network did to the ACK is not its fault.
fn finished(case: &Case<'_>) -> Vec<Finding> {
    let acknowledged = acknowledged(case);
    let sendings = case.evidence.trace.sendings();
    let end = case
        .evidence
        .crossed
        .last()
        .map(|seen| seen.at)
        .unwrap_or_default();
    let invited = invited(case);
    let mut looked_at = BTreeSet::new();
    let mut findings = Vec::new();
    for (index, at, asked) in agreed(case) {
        // What is still on its way when the run ends is nobody's fault.
        let is_recent = end.since(at) <= std::time::Duration::from_secs(1);
        if is_recent || acknowledged.contains_key(&asked) || !looked_at.insert(asked.clone()) {
            continue;
        }
        // One that names no INVITE of this call was meant for this.
        let (party, call, number) = &asked;
        let stray = acknowledged.iter().find(|(ack, event)| {
            let (by, of, _) = ack;
            (by, of) == (party, call) && **event > index && !invited.contains(ack)
        });
        let (shown, actual) = match stray {
            Some(((_, _, named), event)) => (*event, format!("CSeq {named} ACK, not {number} ACK")),
            None => (index, format!("none to event {}", sendings[index])),
        };
        let expected = "an ACK for each 2xx";
        findings.extend(case.lapse(party, "UE-011", expected, actual, shown..shown + 1));
    }
    findings
}

/// Who asked, in which call, by which request.
type Asked = (Party, String, u32);

/// Every INVITE on Gm.
fn invited(case: &Case<'_>) -> BTreeSet<Asked> {
    let requests = case.evidence.sip_on(RefPoint::Gm);
    let invites = requests.filter(|(_, m)| m.is_request() && m.method() == "INVITE");
    invites
        .filter_map(|(seen, invite)| {
            let number = invite.cseq().ok()?.number;
            Some((seen.frame.from.clone(), invite.call_id().ok()?, number))
        })
        .collect()
}

/// Each 2xx to an INVITE of a user that reached it: where, when, and what it accepts.
fn agreed(case: &Case<'_>) -> impl Iterator<Item = (usize, At, Asked)> {
    case.evidence
        .sip_on(RefPoint::Gm)
        .filter_map(|(seen, message)| {
            let accepts =
                matches!(message.status(), Some(200..300)) && message.method() == "INVITE";
            if !accepts || seen.is_from_user(case.evidence) {
                return None;
            }
            let asked = (
                seen.frame.to.clone(),
                message.call_id().ok()?,
                message.cseq().ok()?.number,
            );
            Some((seen.index, seen.at, asked))
        })
}

/// The first ACK that was sent for each request, whether it arrived or not.
fn acknowledged(case: &Case<'_>) -> BTreeMap<Asked, usize> {
    let mut acknowledged = BTreeMap::new();
    for (index, event) in case.evidence.trace.events.iter().enumerate() {
        let (EventKind::Sent(frame) | EventKind::Received(frame)) = &event.kind else {
            continue;
        };
        if frame.on != RefPoint::Gm || !frame.bytes.starts_with(b"ACK ") {
            continue;
        }
        if let Ok(ack) = Message::parse(frame.bytes.clone())
            && let (Ok(call), Ok(cseq)) = (ack.call_id(), ack.cseq())
        {
            let asked = (frame.from.clone(), call, cseq.number);
            acknowledged.entry(asked).or_insert(index);
        }
    }
    acknowledged
}
