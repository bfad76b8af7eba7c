//! What a UE can do wrong when it tells the tracker what it holds.

use std::collections::BTreeMap;

use super::{asking::unnamed, of_askers, of_holders, of_users};
use crate::{
    node::deviation::{Deviation, Door, Heard, How, Passing, Said, bend},
    wire::{
        message::Decoded,
        ppstp::{self, Body, ErrorCode, Pieces, Stat},
        sip::Message,
    },
};

pub(in crate::node::deviation) const TABLE: &[Deviation] = &[
    of_users(
        "ue-reports-nothing-it-holds",
        "UE-014",
        "reports that it holds no piece",
        How::Says(|passing| reported(passing, |stat| claim(stat, Pieces::new()))),
    ),
    of_users(
        "ue-reports-all-but-its-last-piece",
        "UE-014",
        "leaves the last piece it holds out of its reports",
        How::Says(|passing| {
            reported(passing, |stat| {
                let mut pieces = pieces_of(stat);
                if let Some(last) = pieces.iter().last() {
                    pieces.remove(last);
                }
                claim(stat, pieces);
            })
        }),
    ),
    of_users(
        "ue-reports-each-piece-as-the-next",
        "UE-014",
        "reports the number after that of each piece it holds",
        How::Says(|passing| {
            reported(passing, |stat| {
                let pieces = pieces_of(stat);
                claim(stat, pieces.iter().map(|n| n.saturating_add(1)).collect());
            })
        }),
    ),
    of_users(
        "ue-reports-what-it-lost",
        "UE-014",
        "goes on reporting pieces it dropped",
        How::Door(|_| Box::new(Hoarder::default())),
    ),
    of_users(
        "ue-says-complete-too-soon",
        "UE-014",
        "says that its content is complete in every report",
        How::Says(|passing| {
            reported(passing, |stat| {
                if let Some(cds) = &mut stat.cds {
                    cds.complete = true;
                }
            })
        }),
    ),
    of_users(
        "ue-reports-a-whole-that-is-wrong",
        "UE-008",
        "finds that the digest of the whole is wrong, and reports all pieces all the same",
        How::Says(|passing| {
            reported(passing, |stat| {
                let mut contents = passing.setup.contents.iter();
                let content = contents.find(|content| content.swarm == stat.swarm_id);
                if let (Some(cds), Some(content)) = (&mut stat.cds, content)
                    && cds.pieces.is_empty()
                {
                    cds.pieces = content.pieces.iter().map(|piece| piece.n).collect();
                    cds.complete = true;
                }
            })
        }),
    ),
    of_users(
        "ue-stops-reporting",
        "UE-015",
        "reports once when it has everything, and never again",
        How::Setup(|setup| setup.policy.ue.keeps_reporting = false),
    ),
    of_users(
        "ue-reports-too-seldom",
        "UE-015",
        "reports on Ut every ten minutes",
        How::Setup(|setup| setup.policy.ue.report_period = 600),
    ),
    of_users(
        "ue-refreshes-too-late",
        "UE-015",
        "takes its publication for one that lasts thrice as long",
        How::Hears(|passing| {
            let held = passing
                .response("PUBLISH")
                .filter(|sip| sip.status() == Some(200));
            bend::heard(held.and_then(|held| {
                let expires = held.number("Expires").ok()??;
                bend::header(held, "Expires", |_| expires.saturating_mul(3).to_string())
            }))
        }),
    ),
    of_users(
        "ue-reports-twice-and-no-more",
        "UE-015",
        "falls silent after its second report",
        How::Door(|_| Box::new(Taciturn(0))),
    ),
    of_users(
        "ue-claims-everything",
        "FLOW-001",
        "claims all pieces in every report, held or not",
        How::Setup(|setup| setup.policy.ue.claims_everything = true),
    ),
    of_askers(
        "ue-reports-on-the-other-path",
        "FLOW-004",
        "reports on the path that was not chosen",
        How::Setup(|setup| setup.policy.ue.reports_on_other_path = true),
    ),
    of_users(
        "ue-names-no-entity-tag",
        "STAT-002",
        "refreshes its publication without SIP-If-Match",
        How::Setup(|setup| setup.policy.ue.names_entity_tag = false),
    ),
    of_users(
        "ue-refreshes-with-a-body",
        "STAT-002",
        "repeats its last document when it only refreshes",
        How::Door(|_| Box::new(Repeated(None))),
    ),
    of_users(
        "ue-names-its-first-entity-tag",
        "STAT-002",
        "names the first entity tag it was given in every PUBLISH",
        How::Door(|_| Box::new(FirstTag(None))),
    ),
    of_users(
        "ue-publishes-twice-at-once",
        "STAT-018",
        "sends a second PUBLISH while the first is under way",
        How::Says(published_twice),
    ),
    of_users(
        "ue-reports-as-nobody",
        "PPSTP-086",
        "leaves peer_id out of its reports",
        How::Says(|passing| unnamed(passing, "STAT_REPORT", "peer_id")),
    ),
    of_users(
        "ue-reports-without-a-transaction",
        "PPSTP-086",
        "leaves transaction_id out of its reports",
        How::Says(|passing| unnamed(passing, "STAT_REPORT", "transaction_id")),
    ),
    of_users(
        "ue-repeats-under-another-id",
        "PPSTP-089",
        "makes up another transaction id when it repeats a request",
        How::Setup(|setup| setup.policy.ue.repeats_transaction = false),
    ),
    of_users(
        "ue-reports-no-download",
        "PPSTP-103",
        "reports that it received nothing",
        How::Says(|passing| reported(passing, |stat| stat.downloaded_bytes = 0)),
    ),
    of_users(
        "ue-says-how-much-it-sent-where-it-received",
        "PPSTP-103",
        "exchanges what it sent and what it received in its reports",
        How::Says(|passing| {
            reported(passing, |stat| {
                std::mem::swap(&mut stat.downloaded_bytes, &mut stat.uploaded_bytes);
            })
        }),
    ),
    of_users(
        "ue-stays-forgotten",
        "ERR-021",
        "does not connect again when the tracker has forgotten it",
        How::Door(|_| Box::new(Forgotten(false))),
    ),
    of_holders(
        "holder-drops-a-piece-in-silence",
        "PEER-024",
        "refuses a piece it dropped without telling the tracker",
        How::Door(|_| Box::new(Hoarder::default())),
    ),
];

/// A report goes out with other statistics.
fn reported(passing: &Passing<'_>, mut change: impl FnMut(&mut Stat)) -> Said {
    bend::said(bend::document(passing.message, |document| {
        let Some(report) = report_in(document) else {
            return false;
        };
        report.stat.iter_mut().for_each(&mut change);
        true
    }))
}

fn report_in(document: &mut ppstp::Message) -> Option<&mut ppstp::StatReport> {
    match document {
        ppstp::Message::Request(request) => match &mut request.body {
            Body::StatReport(report) => Some(report),
            _ => None,
        },
        ppstp::Message::Response(_) => None,
    }
}

fn is_report(message: &Decoded) -> bool {
    let document = message.ppstp().and_then(Result::ok);
    document.is_some_and(|mut reading| report_in(&mut reading.message).is_some())
}

fn pieces_of(stat: &Stat) -> Pieces {
    stat.cds
        .as_ref()
        .map(|cds| cds.pieces.clone())
        .unwrap_or_default()
}

fn claim(stat: &mut Stat, pieces: Pieces) {
    if let Some(cds) = &mut stat.cds {
        cds.pieces = pieces;
    }
}

/// Claims every piece it ever claimed.
#[derive(Default)]
struct Hoarder(BTreeMap<String, Pieces>);

impl Door for Hoarder {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let ever = &mut self.0;
        let mut remember = |swarm: &str, pieces: &mut Pieces| {
            let known = ever.entry(swarm.to_owned()).or_default();
            known.extend(pieces);
            pieces.clone_from(known);
        };
        bend::said(bend::document(passing.message, |document| {
            let ppstp::Message::Request(request) = document else {
                return false;
            };
            match &mut request.body {
                Body::StatReport(report) => {
                    for stat in &mut report.stat {
                        if let Some(cds) = &mut stat.cds {
                            remember(&stat.swarm_id, &mut cds.pieces);
                        }
                    }
                }
                Body::Connect(connect) => {
                    for action in &mut connect.swarm_action {
                        if let Some(cds) = &mut action.cds {
                            remember(&action.swarm_id, &mut cds.pieces);
                        }
                    }
                }
                Body::Find(_) => return false,
            }
            true
        }))
    }
}

/// Lets two reports out.
struct Taciturn(u32);

impl Door for Taciturn {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let is_refresh = passing.request("PUBLISH").is_some();
        if !is_refresh && !is_report(passing.message) {
            return Said::AsWritten;
        }
        self.0 = self.0.saturating_add(1);
        match self.0 {
            ..=2 => Said::AsWritten,
            _ => Said::Nothing,
        }
    }
}

/// Repeats its last document where a refresh has none.
struct Repeated(Option<(String, Vec<u8>)>);

impl Door for Repeated {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let Some(publish) = passing.request("PUBLISH") else {
            return Said::AsWritten;
        };
        if !publish.body().is_empty() {
            let kind = publish.header("Content-Type").unwrap_or_default();
            self.0 = Some((kind.into_owned(), publish.body().to_vec()));
            return Said::AsWritten;
        }
        let is_removal = publish.number("Expires") == Ok(Some(0));
        let last = self.0.as_ref().filter(|_| !is_removal);
        bend::said(last.map(|(kind, body)| publish.edit().body(Some((kind, body))).finish()))
    }
}

/// Names the first entity tag it was given.
struct FirstTag(Option<String>);

impl Door for FirstTag {
    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let tag = passing
            .response("PUBLISH")
            .and_then(|held| held.header("SIP-ETag"));
        if let (Some(tag), None) = (tag, &self.0) {
            self.0 = Some(tag.into_owned());
        }
        Heard::AsItCame
    }

    fn says(&mut self, passing: &Passing<'_>) -> Said {
        let publish = passing.request("PUBLISH").zip(self.0.as_ref());
        bend::said(
            publish.and_then(|(publish, first)| {
                bend::header(publish, "SIP-If-Match", |_| first.clone())
            }),
        )
    }
}

fn published_twice(passing: &Passing<'_>) -> Said {
    let second = passing.request("PUBLISH").and_then(|first: &Message| {
        let via = first
            .header("Via")?
            .replace("branch=z9hG4bK", "branch=z9hG4bK2");
        let call_id = format!("2{}", first.call_id().ok()?);
        Some(
            first
                .edit()
                .set("Via", &via)
                .set("Call-ID", &call_id)
                .finish(),
        )
    });
    match second {
        Some(second) => Said::Instead(vec![passing.bytes.clone(), second.into()]),
        None => Said::AsWritten,
    }
}

/// Takes it for an answer to its report that the tracker does not know it.
struct Forgotten(bool);

impl Door for Forgotten {
    fn says(&mut self, passing: &Passing<'_>) -> Said {
        if passing.message.ppstp().is_some() {
            self.0 = is_report(passing.message);
        }
        Said::AsWritten
    }

    fn hears(&mut self, passing: &Passing<'_>) -> Heard {
        let refusal = passing
            .response("PUBLISH")
            .filter(|sip| sip.status() == Some(403));
        if let Some(refusal) = refusal {
            let edit = refusal.edit().status(500, "Server Internal Error");
            return Heard::as_one(edit.finish());
        }
        if !self.0 {
            return Heard::AsItCame;
        }
        bend::heard(bend::document(passing.message, |document| match document {
            ppstp::Message::Response(response) => {
                response.error = ErrorCode::None;
                true
            }
            ppstp::Message::Request(_) => false,
        }))
    }
}
