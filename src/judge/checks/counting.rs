//! Octets are counted from 1 where SDP and MSRP count them, ends included, and what is asked for after a transfer
//! broke off begins where it broke off (RFC 5547 6; RFC 4975 7.1.1).

use bytes::Bytes;

use crate::{
    judge::{
        Case, Finding,
        evidence::Seen,
        transfers::{Assembly, Delivered, delivered},
    },
    spec::RefPoint,
    suite::{Content, Piece},
    wire::{
        message::Decoded,
        sdp::{Media, Session},
    },
};

pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    let parts = delivered(case.evidence);
    let mut findings = Vec::new();
    for seen in &case.evidence.crossed {
        let wrong = match &seen.message {
            Decoded::Msrp(chunk) if begins_at_zero(chunk) => vec![(
                "PEER-011",
                "the first octet of a piece as number 1".to_owned(),
                shown(chunk.header("Byte-Range")),
            )],
            Decoded::Sip(invite)
                if seen.frame.on == RefPoint::Gm
                    && invite.is_request()
                    && invite.method() == "INVITE"
                    && seen.is_from_user(case.evidence) =>
            {
                offered(case, seen, &parts)
            }
            _ => Vec::new(),
        };
        for (requirement, expected, actual) in wrong {
            let events = seen.index..seen.index + 1;
            findings.extend(case.breach(&seen.frame.from, requirement, expected, actual, events));
        }
    }
    findings
}

type Breach = (&'static str, String, String);

fn begins_at_zero(chunk: &crate::wire::msrp::Message) -> bool {
    let range = chunk.header("Byte-Range").unwrap_or_default();
    chunk.method() == Some("SEND")
        && chunk.body().is_some_and(|body| !body.is_empty())
        && range
            .split_once('-')
            .is_some_and(|(start, _)| is_zero(start))
}

fn is_zero(number: &str) -> bool {
    !number.is_empty() && number.bytes().all(|digit| digit == b'0')
}

fn shown(value: Option<&str>) -> String {
    value.unwrap_or("none").to_owned()
}

fn offered(case: &Case<'_>, seen: &Seen<'_>, parts: &[Delivered]) -> Vec<Breach> {
    let Some((_, body)) = seen.message.body() else {
        return Vec::new();
    };
    let Ok(session) = Session::parse(&Bytes::from(body)) else {
        return Vec::new();
    };
    let lines = session.media.iter();
    lines
        .filter_map(|media| asked(case, seen, media, parts))
        .collect()
}

fn asked(case: &Case<'_>, seen: &Seen<'_>, media: &Media, parts: &[Delivered]) -> Option<Breach> {
    let text = media.attribute("file-range")?;
    if text
        .split_once('-')
        .is_some_and(|(start, _)| is_zero(start))
    {
        let expected = "a file range that counts from 1".to_owned();
        return Some(("UE-006", expected, text.to_owned()));
    }
    let (first, length) = media.file_range().ok()??.within(u64::MAX)?;
    let last = first.checked_add(length)?.checked_sub(1)?;
    let swarm = media.file_selector().ok()??.name?;
    let content = case.content(&swarm)?;
    let Some(piece) = ending(content, first, last) else {
        let meant = content
            .pieces
            .iter()
            .find(|p| is_miscounted(p, first, last))?;
        let expected = format!(
            "octets {}-{} for piece {}",
            meant.first + 1,
            end(meant),
            meant.n
        );
        return Some(("UE-006", expected, text.to_owned()));
    };
    let mine = parts.iter().filter(|part| {
        part.index < seen.index && part.to == seen.frame.from && part.swarm == swarm
    });
    let missing = left_out(content, piece, first, mine)?;
    Some((
        "DATA-009",
        format!(
            "the rest of piece {} from octet {} on",
            piece.n,
            missing + 1
        ),
        text.to_owned(),
    ))
}

/// The number, from 1, of a piece's last octet.
fn end(piece: &Piece) -> u64 {
    piece.first + piece.len
}

/// The piece of which these octets are the whole or the rest.
fn ending(content: &Content, first: u64, last: u64) -> Option<&Piece> {
    let mut pieces = content.pieces.iter();
    pieces.find(|piece| piece.first <= first && end(piece) == last + 1)
}

/// Whether the octets are those of a piece counted from 0, or with an end that is not included.
fn is_miscounted(piece: &Piece, first: u64, last: u64) -> bool {
    let from_zero = piece.first == first + 1 && end(piece) == last + 2;
    let excludes_end = piece.first <= first && end(piece) == last;
    from_zero || excludes_end
}

/// The first octet, from 0, that neither came nor is asked for although the transfer broke off before it.
fn left_out<'a>(
    content: &Content,
    piece: &Piece,
    first: u64,
    mine: impl Iterator<Item = &'a Delivered>,
) -> Option<u64> {
    let mut there = Assembly::of(content.bytes.len());
    mine.for_each(|part| there.add(part));
    let came = |at: u64| there.range(at, 1).is_some();
    let broke_off = came(piece.first) && !came(end(piece) - 1);
    let missing = (piece.first..first).find(|at| !came(*at))?;
    broke_off.then_some(missing)
}
