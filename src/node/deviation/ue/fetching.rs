//! What a UE can do wrong when it requests pieces and takes them.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;

use super::offers::{
    Change, first_transfer_id, late_rest, of_range, old_transfer_id, passive, range,
};
use super::{asking::listed_as, of_users, offers::Reworded, transactions::Once};
use crate::{
    node::{
        Setup,
        deviation::{Deviation, Door, Heard, How, Passing, Said, bend, bend::Line},
        ims_user::own_subscriber,
    },
    spec::{RequestPath, Role},
    wire::{
        http::{Octets, RangeSpec, Ranges},
        message::Decoded,
        sip::Message,
    },
};

pub(in crate::node::deviation) const TABLE: &[Deviation] =
    &[
        of_users(
            "ue-skips-p-cscf",
            "UE-023",
            "sends its INVITE straight to the peer",
            How::Setup(|setup| setup.policy.ua.skips_p_cscf = true),
        ),
        of_users(
            "ue-names-no-access",
            "UE-003",
            "sends no P-Access-Network-Info",
            How::Setup(|setup| setup.policy.ua.names_access_network = false),
        ),
        of_users(
            "ue-names-no-access-in-its-offers",
            "UE-003",
            "sends P-Access-Network-Info in everything but INVITE",
            How::Says(|passing| {
                let invite = passing.request("INVITE");
                bend::said(invite.and_then(|invite| bend::without(invite, "P-Access-Network-Info")))
            }),
        ),
        of_users(
            "ue-asserts-itself",
            "UE-003",
            "asserts its own identity",
            How::Setup(|setup| setup.policy.ua.asserts_identity = true),
        ),
        of_users(
            "ue-asserts-itself-when-it-publishes",
            "UE-003",
            "asserts its own identity in PUBLISH only",
            How::Says(asserts_in_publish),
        ),
        of_users(
            "ue-offers-to-send",
            "UE-004",
            "offers sendrecv for what it only wants to receive",
            How::Setup(|setup| setup.policy.ue.offers_to_send = true),
        ),
        of_users(
            "ue-says-no-direction",
            "UE-004",
            "leaves a=recvonly out of its offers",
            How::Says(|passing| offered(passing, |line| gone_if(line, "a=recvonly"))),
        ),
        of_users(
            "ue-names-no-file",
            "UE-004",
            "leaves the file selector out of its offers",
            How::Says(|passing| offered(passing, |line| gone_if(line, "a=file-selector:"))),
        ),
        of_users(
            "ue-names-no-transfer",
            "UE-004",
            "leaves the transfer id out of its offers",
            How::Says(|passing| offered(passing, |line| gone_if(line, "a=file-transfer-id:"))),
        ),
        of_users(
            "ue-reuses-a-transfer-id",
            "UE-004",
            "writes its first transfer id into every offer",
            How::Door(|_| Box::new(Reworded::new(first_transfer_id()))),
        ),
        of_users(
            "ue-names-no-accepted-type",
            "UE-005",
            "leaves accept-types out of its offers",
            How::Setup(|setup| setup.policy.ue.names_accepted_types = false),
        ),
        of_users(
            "ue-names-no-path",
            "UE-005",
            "leaves the MSRP path out of its offers",
            How::Says(|passing| offered(passing, |line| gone_if(line, "a=path:"))),
        ),
        of_users(
            "ue-puts-two-pieces-in-one-line",
            "UE-005",
            "asks for all pieces of an offer in its first media line",
            How::Says(|passing| bend::said(passing.request("INVITE").and_then(joined))),
        ),
        of_users(
            "ue-counts-file-ranges-from-zero",
            "UE-006",
            "writes file ranges as HTTP would",
            How::Door(|_| {
                Box::new(Reworded::new(range(|start, stop| {
                    (start.saturating_sub(1), stop.saturating_sub(1))
                })))
            }),
        ),
        of_users(
            "ue-counts-later-ranges-from-zero",
            "UE-006",
            "counts file ranges from 0 where they do not begin the file",
            How::Setup(|setup| setup.policy.ue.counts_range_from_zero = true),
        ),
        of_users(
            "ue-takes-the-end-of-a-range-for-excluded",
            "UE-006",
            "writes the octet after the last as the end of a file range",
            How::Door(|_| {
                Box::new(Reworded::new(range(|start, stop| {
                    (start, stop.saturating_add(1))
                })))
            }),
        ),
        of_users(
            "ue-dates-the-file-it-wants",
            "UE-007",
            "writes a=file-date into its offers",
            How::Says(|passing| {
                offered(passing, |line| match line {
                    "a=recvonly" => Line::As(format!("{line}\r\na=file-date:{DATE}")),
                    _ => Line::Kept,
                })
            }),
        ),
        of_users(
            "ue-checks-no-whole",
            "UE-008",
            "takes pieces for the content without looking at the digest of the whole",
            How::Setup(|setup| setup.policy.ue.verifies_the_whole = false),
        ),
        of_users(
            "ue-checks-no-whole-that-came-over-http",
            "UE-008",
            "looks at the digest of the whole only where its pieces came through IMS",
            How::Setup(|setup| {
                let is_direct = setup.options.request == RequestPath::Direct;
                setup.policy.ue.verifies_the_whole = !is_direct;
            }),
        ),
        of_users(
            "ue-verifies-no-piece",
            "UE-009",
            "uses pieces whatever their digest",
            How::Setup(|setup| setup.policy.ue.verifies_pieces = false),
        ),
        of_users(
            "ue-gives-up-at-a-polluted-piece",
            "UE-009",
            "throws a polluted piece away and asks nobody else for it",
            How::Setup(|setup| setup.policy.ue.replaces_polluted = false),
        ),
        of_users(
            "ue-wraps-its-offers",
            "UE-010",
            "sends its description as an encrypted body",
            How::Says(wrapped),
        ),
        of_users(
            "ue-acknowledges-nothing",
            "UE-011",
            "sends no ACK",
            How::Setup(|setup| setup.policy.ua.acknowledges = false),
        ),
        of_users(
            "ue-acknowledges-once",
            "UE-011",
            "sends no second ACK when a 2xx comes again",
            How::Door(|_| Box::new(Once::of(|method| method == "ACK"))),
        ),
        of_users(
            "ue-acknowledges-another-number",
            "UE-011",
            "counts CSeq up for its ACK",
            How::Says(|passing| {
                let ack = passing.request("ACK");
                bend::said(ack.and_then(|ack| bend::header(ack, "CSeq", |_| "2 ACK".to_owned())))
            }),
        ),
        of_users(
            "ue-ends-no-session",
            "UE-011",
            "sends no BYE",
            How::Setup(|setup| setup.policy.ua.ends_sessions = false),
        ),
        of_users(
            "ue-ends-its-first-session-only",
            "UE-011",
            "sends one BYE, and no other",
            How::Door(|_| Box::new(FirstBye::default())),
        ),
        of_users(
            "ue-is-impatient",
            "UE-012",
            "reads no Retry-After",
            How::Setup(|setup| setup.policy.ue.waits_when_asked = false),
        ),
        of_users(
            "ue-comes-back-early",
            "UE-012",
            "waits half as long as Retry-After says",
            How::Hears(|passing| {
                waits(passing, |text| {
                    let seconds: u32 = text.parse().ok()?;
                    Some((seconds / 2).to_string())
                })
            }),
        ),
        of_users(
            "ue-reads-no-comment",
            "ERR-017",
            "takes a Retry-After with comment or duration for none",
            How::Hears(|passing| {
                waits(passing, |text| {
                    let is_bare = text.bytes().all(|octet| octet.is_ascii_digit());
                    (!is_bare).then(|| "0".to_owned())
                })
            }),
        ),
        of_users(
            "ue-gives-up-when-refused",
            "UE-013",
            "asks nobody else when a holder refuses",
            How::Setup(|setup| setup.policy.ue.looks_elsewhere = false),
        ),
        of_users(
            "ue-asks-the-tracker-once",
            "UE-013",
            "gives up when all listed holders refused, without asking for a new list",
            How::Setup(|setup| setup.policy.ue.most_finds = 0),
        ),
        of_users(
            "ue-asks-without-end",
            "UE-013",
            "asks the same holders as long as they refuse",
            How::Setup(|setup| setup.policy.ue.most_finds = u32::MAX),
        ),
        of_users(
            "ue-breaks-off-by-a-bye",
            "UE-020",
            "ends the session when it gives a transfer up, without an offer that says so",
            How::Says(|passing| match is_closing(passing) {
                true => Said::Nothing,
                false => Said::AsWritten,
            }),
        ),
        of_users(
            "ue-breaks-off-under-another-id",
            "UE-020",
            "gives a transfer up in an offer with port 0 under another id",
            How::Says(|passing| match is_closing(passing) {
                true => bend::said(passing.request("INVITE").and_then(renamed)),
                false => Said::AsWritten,
            }),
        ),
        of_users(
            "ue-knows-no-session-it-gave-up",
            "UE-020",
            "answers 481 to the data of a transfer that it gives up",
            How::Says(|passing| {
                let answer = passing.message.msrp();
                let refusal = answer.filter(|answer| answer.status() == Some(413));
                bend::said(refusal.map(|refusal| {
                    let word = "481 Session does not exist";
                    bend::msrp(refusal, word, |_, value| Some(value.to_owned()))
                }))
            }),
        ),
        of_users(
            "ue-takes-what-it-gave-up",
            "UE-020",
            "goes on acknowledging the data of a transfer that it gives up",
            How::Says(|passing| {
                let answer = passing.message.msrp();
                let refusal = answer.filter(|answer| answer.status() == Some(413));
                bend::said(refusal.map(|refusal| {
                    bend::msrp(refusal, "200 OK", |_, value| Some(value.to_owned()))
                }))
            }),
        ),
        of_users(
            "ue-leaves-gaps",
            "UE-017",
            "asks for each piece without its first octet",
            How::Door(|_| {
                Box::new(Ranged::new(|first, last| {
                    (first.saturating_add(1).min(last), last)
                }))
            }),
        ),
        of_users(
            "ue-asks-for-overlapping-pieces",
            "UE-017",
            "begins each piece but the first an octet early",
            How::Door(|_| Box::new(Ranged::new(|first, last| (first.saturating_sub(1), last)))),
        ),
        of_users(
            "ue-takes-any-range",
            "UE-018",
            "takes the body of a 206 whatever range it says",
            How::Setup(|setup| setup.policy.ue.checks_content_range = false),
        ),
        of_users(
            "ue-believes-anybody",
            "UE-022",
            "takes answers from whatever address they come",
            How::Setup(|setup| setup.policy.ua.trusts_anybody = true),
        ),
        of_users(
            "ue-requests-pieces-on-the-other-path",
            "FLOW-004",
            "requests pieces on the path that was not chosen",
            How::Setup(|setup| setup.policy.ue.requests_on_other_path = true),
        ),
        of_users(
            "ue-says-nothing-when-it-connects",
            "DATA-001",
            "opens an MSRP connection and waits for the other end",
            How::Says(|passing| match is_greeting(passing) {
                true => Said::Nothing,
                false => Said::AsWritten,
            }),
        ),
        of_users(
            "ue-takes-its-time-when-it-connects",
            "DATA-001",
            "sends its first SEND two seconds after it opened a connection",
            How::Says(|passing| match is_greeting(passing) {
                true => Said::Later(Duration::from_secs(2)),
                false => Said::AsWritten,
            }),
        ),
        of_users(
            "ue-says-passive-and-opens",
            "DATA-004",
            "says that the other end opens the connection, and opens one as well",
            How::Disposed(
                |setup| setup.policy.ue.says_setup = true,
                &How::Door(|_| Box::new(Reworded::new(Box::new(passive)))),
            ),
        ),
        of_users(
            "ue-names-a-core-host-for-its-data",
            "DATA-007",
            "offers its data path at the P-CSCF's address",
            How::Says(named_at_the_p_cscf),
        ),
        of_users(
            "ue-fetches-from-the-p-cscf",
            "DATA-007",
            "looks for pieces at the P-CSCF's address",
            How::Hears(at_the_p_cscf),
        ),
        of_users(
            "ue-resumes-under-the-old-id",
            "DATA-009",
            "asks for the rest of a broken transfer under the id it had",
            How::Door(|_| Box::new(Reworded::new(old_transfer_id()))),
        ),
        of_users(
            "ue-resumes-an-octet-late",
            "DATA-009",
            "leaves out an octet when it asks for the rest of a broken transfer",
            How::Disposed(
                |setup| setup.policy.ue.resumes = true,
                &How::Door(|_| Box::new(Reworded::new(late_rest()))),
            ),
        ),
        of_users(
            "ue-keeps-what-came-first",
            "DATA-011",
            "keeps the first of octets that come twice",
            How::Door(|_| Box::new(FirstOctets::default())),
        ),
        of_users(
            "ue-answers-no-chunk",
            "DATA-012",
            "answers no SEND",
            How::Says(|passing| match is_chunk_answer(passing) {
                true => Said::Nothing,
                false => Said::AsWritten,
            }),
        ),
        of_users(
            "ue-answers-chunks-late",
            "DATA-012",
            "answers each SEND after a second",
            How::Says(|passing| match is_chunk_answer(passing) {
                true => Said::Later(Duration::from_secs(1)),
                false => Said::AsWritten,
            }),
        ),
        of_users(
            "ue-takes-any-media-type",
            "DATA-013",
            "takes chunks of a type it did not accept",
            How::Hears(any_type),
        ),
    ];

fn gone_if(line: &str, begins: &str) -> Line {
    match line.starts_with(begins) {
        true => Line::Gone,
        false => Line::Kept,
    }
}

/// An offer goes out with other lines.
fn offered(passing: &Passing<'_>, change: fn(&str) -> Line) -> Said {
    let invite = passing.request("INVITE");
    bend::said(invite.and_then(|invite| bend::sdp(invite, |_, line| change(line))))
}

fn asserts_in_publish(passing: &Passing<'_>) -> Said {
    let user = own_subscriber(passing.setup).and_then(|user| user.impus.first());
    let bent = passing.request("PUBLISH").zip(user).map(|(publish, impu)| {
        let asserted = format!("<{impu}>");
        publish
            .edit()
            .append("P-Asserted-Identity", &asserted)
            .finish()
    });
    bend::said(bent)
}

/// All pieces of an offer in its first media line.
fn joined(invite: &Message) -> Option<Message> {
    bend::sdp(invite, |media, line| {
        let is_of_file = line.starts_with("a=file-");
        match media > 1 && !is_of_file {
            true => Line::Gone,
            false => Line::Kept,
        }
    })
}

fn wrapped(passing: &Passing<'_>) -> Said {
    let invite = passing
        .request("INVITE")
        .filter(|invite| !invite.body().is_empty());
    bend::said(invite.map(|invite| {
        let octets: Vec<u8> = invite.body().iter().map(|octet| octet ^ 0x5a).collect();
        let kind = "application/pkcs7-mime; smime-type=enveloped-data";
        invite.edit().body(Some((kind, &octets))).finish()
    }))
}

/// Lets out the BYE of the first session that is ended.
#[derive(Default)]
struct FirstBye(Option<String>);

impl Door for FirstBye {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let call = passing.request("BYE").and_then(|bye| bye.call_id().ok());
        match (call, &self.0) {
            (Some(call), Some(first)) if call != *first => Said::Nothing,
            (Some(call), None) => {
                self.0 = Some(call);
                Said::AsWritten
            }
            _ => Said::AsWritten,
        }
    }
}

/// The Retry-After of a refusal is heard as another.
fn waits(passing: &Passing<'_>, change: fn(&str) -> Option<String>) -> Heard {
    let refusal = passing.response("INVITE");
    bend::heard(refusal.and_then(|refusal| {
        let value = refusal.header("Retry-After")?;
        let changed = change(value.trim())?;
        bend::header(refusal, "Retry-After", |_| changed)
    }))
}

/// Asks for other octets than it should, through IMS and over HTTP.
struct Ranged {
    offers: Reworded,
    /// Of the 0-based first and last octet.
    change: fn(u64, u64) -> (u64, u64),
}

impl Ranged {
    fn new(change: fn(u64, u64) -> (u64, u64)) -> Ranged {
        let reword: Change = Box::new(move |_, line| {
            of_range(line, |start, stop| {
                let (first, last) = change(start.saturating_sub(1), stop.saturating_sub(1));
                (first.saturating_add(1), last.saturating_add(1))
            })
        });
        Ranged {
            offers: Reworded::new(reword),
            change,
        }
    }
}

impl Door for Ranged {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        self.offers.hears(passing)
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let Decoded::HttpRequest(request) = passing.message else {
            return self.offers.says(passing);
        };
        let bent = request.header("Range").and_then(|text| {
            let ranges = Ranges::parse(text).ok()??;
            let [RangeSpec::FromTo(first, last)] = ranges.0[..] else {
                return None;
            };
            let (first, last) = (self.change)(first, last);
            let range = Ranges::one(Octets { first, last }).to_string();
            Some(bend::ask(request, |name, value| {
                let is_range = name.eq_ignore_ascii_case("Range");
                Some(if is_range {
                    range.clone()
                } else {
                    value.to_owned()
                })
            }))
        });
        bend::said(bent)
    }
}

/// The first SEND on a connection that was opened to receive: it carries nothing (RFC 4975 5.4).
/// Whether a transfer is given up by an offer with port 0.
fn is_closing(passing: &Passing<'_>) -> bool {
    let offer = passing.request("INVITE").map(|invite| invite.body());
    let text = offer.and_then(|offer| std::str::from_utf8(offer).ok());
    text.is_some_and(|text| text.contains("m=message 0 "))
}

fn renamed(offer: &Message) -> Option<Message> {
    bend::sdp(offer, |_, line| {
        match line.starts_with("a=file-transfer-id:") {
            true => Line::As(format!("{line}2")),
            false => Line::Kept,
        }
    })
}

fn is_greeting(passing: &Passing<'_>) -> bool {
    let chunk = passing.message.msrp();
    chunk.is_some_and(|chunk| chunk.method() == Some("SEND") && chunk.body().is_none())
}

fn is_chunk_answer(passing: &Passing<'_>) -> bool {
    let answer = passing.message.msrp();
    answer.is_some_and(|answer| answer.status() == Some(200))
}

/// Of octets that come twice, hears the first again.
#[derive(Default)]
struct FirstOctets(bend::Notes<Vec<(u64, Bytes)>>);

impl Door for FirstOctets {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let chunk = passing.message.msrp();
        bend::heard(chunk.and_then(|chunk| {
            let start = chunk.byte_range().ok()??.start;
            let mut octets = chunk.body()?.to_vec();
            let key = chunk.message_id()?;
            let mut known = self.0.get(key).cloned().unwrap_or_default();
            let is_bent = repeat(&mut octets, start, &known);
            if known.len() < MOST_CHUNKS {
                known.push((start, octets.clone().into()));
                self.0.put(key, known);
            }
            is_bent.then(|| bend::chunk_with(chunk, octets))
        }))
    }
}

/// Puts octets that came before in the place of those that come again.
fn repeat(octets: &mut [u8], start: u64, known: &[(u64, Bytes)]) -> bool {
    let mut is_bent = false;
    for (place, octet) in (start..).zip(octets.iter_mut()) {
        let first = known.iter().find_map(|(start, octets)| {
            let at = usize::try_from(place.checked_sub(*start)?).ok()?;
            octets.get(at).copied()
        });
        if let Some(first) = first {
            *octet = first;
            is_bent = true;
        }
    }
    is_bent
}

/// Chunks of a message that are remembered.
const MOST_CHUNKS: usize = 256;

fn any_type(passing: &Passing<'_>) -> Heard {
    let chunk = passing.message.msrp();
    let other = chunk.filter(|chunk| {
        let kind = chunk.header("Content-Type");
        kind.is_some_and(|kind| kind != PIECE_TYPE)
    });
    bend::heard(other.map(|chunk| {
        bend::msrp(chunk, chunk.method().unwrap_or_default(), |name, value| {
            let is_kind = name.eq_ignore_ascii_case("Content-Type");
            Some(if is_kind { PIECE_TYPE } else { value }.to_owned())
        })
    }))
}

fn p_cscf(setup: &Setup) -> Option<IpAddr> {
    setup.directory.first(Role::PCscf).map(|(_, node)| node.ip)
}

fn named_at_the_p_cscf(passing: &Passing<'_>) -> Said {
    let bent = passing.request("INVITE").zip(p_cscf(passing.setup));
    bend::said(bent.and_then(|(invite, ip)| {
        bend::sdp(invite, |_, line| match line.starts_with("c=IN ") {
            true => Line::As(format!("c=IN IP{} {ip}", if ip.is_ipv4() { 4 } else { 6 })),
            false => Line::Kept,
        })
    }))
}

/// Where pieces are, as it hears it in answers and in lists.
fn at_the_p_cscf(passing: &Passing<'_>) -> Heard {
    let Some(ip) = p_cscf(passing.setup) else {
        return Heard::AsItCame;
    };
    if let Some(answer) = passing.response("INVITE") {
        return bend::heard(bend::sdp(answer, |_, line| {
            match line
                .strip_prefix("a=path:msrp://")
                .and_then(|uri| uri.split_once(':'))
            {
                Some((_, rest)) => Line::As(format!("a=path:msrp://{ip}:{rest}")),
                None => Line::Kept,
            }
        }));
    }
    listed_as(passing, |setup, result| {
        let Some(ip) = p_cscf(setup) else { return };
        super::asking::each_peer(result, |cds| {
            let rest = cds
                .url
                .as_deref()
                .and_then(|url| url.strip_prefix("http://"));
            let rest = rest
                .and_then(|rest| rest.split_once(':'))
                .map(|(_, rest)| rest);
            if let Some(rest) = rest {
                cds.url = Some(format!("http://{ip}:{rest}"));
            }
        });
    })
}

const PIECE_TYPE: &str = "application/octet-stream";

const DATE: &str = "modification:\"Tue, 01 Jan 2013 00:00:00 +0000\"";
