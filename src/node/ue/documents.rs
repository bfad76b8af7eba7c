//! The PPSTP documents a UE writes (RFC 7846, with our `cds` members), the same on Ut, in SUBSCRIBE
//! and in PUBLISH. It numbers transactions and knows what the peer says of itself; it sends nothing.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    random::Random,
    wire::ppstp::{
        AbilityNat, Action, ActionCds, Body, Connect, Find, PeerAddr, PeerMode, PeerNum, PeerRole,
        Pieces, Request, Stat, StatCds, StatReport, SwarmAction,
    },
};

/// What a peer says of itself.
#[derive(Clone, Debug)]
pub struct Author {
    pub peer_id: String,
    pub sip_uri: Option<String>,
    /// Where it takes piece requests over HTTP; the swarm id is appended.
    pub url: Option<String>,
    /// Where it takes and sends pieces.
    pub data: Option<SocketAddr>,
    pub priority: i64,
    /// How many peers it asks for.
    pub peer_count: u64,
    /// Whether transaction ids count up; else they are random.
    pub counts: bool,
    pub random: Random,
    pub transactions: u64,
}

/// What a peer did in one swarm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub pieces: Pieces,
    pub complete: bool,
    pub uploaded: u64,
    pub downloaded: u64,
    pub links: u64,
    pub peer_used: Vec<String>,
}

impl Author {
    /// CONNECT: joins as LEECH and asks for peers (RFC 7846 4.1.1).
    pub fn join_as_leech(&mut self, swarm: &str, pieces: &Pieces) -> Request {
        let peer_num = Some(self.peer_num());
        self.connect(swarm, Action::Join, PeerMode::Leech, peer_num, Some(pieces))
    }

    /// CONNECT: joins as SEEDER, who holds `pieces`.
    pub fn join_as_seeder(&mut self, swarm: &str, pieces: &Pieces) -> Request {
        self.connect(swarm, Action::Join, PeerMode::Seeder, None, Some(pieces))
    }

    /// CONNECT: leaves.
    pub fn leave(&mut self, swarm: &str, mode: PeerMode) -> Request {
        self.connect(swarm, Action::Leave, mode, None, None)
    }

    /// FIND: asks for peers of a swarm it is in (RFC 7846 4.1.2).
    pub fn find(&mut self, swarm: &str) -> Request {
        let peer_num = Some(self.peer_num());
        self.request(Body::Find(Find {
            swarm_id: swarm.to_owned(),
            peer_num,
        }))
    }

    /// STAT_REPORT: one group a swarm; none is a keep-alive (RFC 7846 4.1.3).
    pub fn report(&mut self, standings: &BTreeMap<String, Standing>) -> Request {
        let stat = standings
            .iter()
            .map(|(swarm, standing)| Stat {
                swarm_id: swarm.clone(),
                uploaded_bytes: standing.uploaded,
                downloaded_bytes: standing.downloaded,
                available_bandwidth: BANDWIDTH,
                concurrent_links: standing.links,
                cds: Some(StatCds {
                    pieces: standing.pieces.clone(),
                    complete: standing.complete,
                    peer_used: standing.peer_used.clone(),
                }),
            })
            .collect();
        self.request(Body::StatReport(StatReport { stat }))
    }

    fn connect(
        &mut self,
        swarm: &str,
        action: Action,
        peer_mode: PeerMode,
        peer_num: Option<PeerNum>,
        pieces: Option<&Pieces>,
    ) -> Request {
        let data = self.data;
        let cds = pieces.map(|pieces| ActionCds {
            sip_uri: self.sip_uri.clone(),
            url: self.url.as_ref().map(|base| format!("{base}{swarm}")),
            pieces: pieces.clone(),
            role: Some(PeerRole::User),
            content: None,
        });
        let priority = self.priority;
        self.request(Body::Connect(Connect {
            peer_num,
            peer_addr: data
                .map(|addr| PeerAddr::host(addr, priority))
                .into_iter()
                .collect(),
            swarm_action: vec![SwarmAction {
                swarm_id: swarm.to_owned(),
                action,
                peer_mode,
                cds,
            }],
        }))
    }

    fn peer_num(&self) -> PeerNum {
        PeerNum {
            ability_nat: Some(AbilityNat::NoNat),
            ..PeerNum::at_most(self.peer_count)
        }
    }

    fn request(&mut self, body: Body) -> Request {
        self.transactions += 1;
        let transaction_id = match self.counts {
            true => format!("t-{}", self.transactions),
            false => self.random.token(16),
        };
        Request {
            transaction_id,
            peer_id: self.peer_id.clone(),
            body,
        }
    }
}

/// Upload bandwidth said to be free; the RFC gives no unit.
const BANDWIDTH: u64 = 1_024_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ppstp::{Profile, read_request};

    fn author() -> Author {
        Author {
            peer_id: "urn:uuid:0a".to_owned(),
            sip_uri: Some("sip:ue-a@ims.example".to_owned()),
            url: Some("http://192.0.2.10:8080/content/".to_owned()),
            data: Some(SocketAddr::from(([192, 0, 2, 10], 2855))),
            priority: 10,
            peer_count: 5,
            counts: true,
            random: Random::new(1),
            transactions: 0,
        }
    }

    #[test]
    fn what_it_writes_is_read_without_leniency() {
        let mut author = author();
        let pieces: Pieces = [1, 3].into_iter().collect();
        let standings = BTreeMap::from([("movie".to_owned(), Standing::default())]);
        let documents = [
            author.join_as_leech("movie", &pieces),
            author.join_as_seeder("movie", &pieces),
            author.leave("movie", PeerMode::Leech),
            author.find("movie"),
            author.report(&standings),
        ];
        for document in documents {
            let reading = read_request(document.to_json().as_bytes(), Profile::Grammar)
                .expect("a document by the grammar");
            assert_eq!(document, reading.message);
            assert!(reading.leniencies.is_empty());
        }
    }

    #[test]
    fn no_two_documents_share_a_transaction() {
        let mut author = author();
        assert_ne!(
            author.find("movie").transaction_id,
            author.find("movie").transaction_id
        );
    }
}
