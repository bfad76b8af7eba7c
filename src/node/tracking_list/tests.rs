use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::wire::ppstp::{
    Action, ActionCds, Body, Connect, Find, Listed, PeerAddr, PeerNum, Request, StatCds,
    StatReport, SwarmAction,
};

fn at(seconds: u64) -> At {
    At::ZERO + Duration::from_secs(seconds)
}

fn user(name: &str) -> Asker {
    Asker {
        is_qualified: true,
        owner: name.into(),
        role: PeerRole::User,
        identities: vec![format!("sip:{name}@ims.example")],
        seen: None,
    }
}

fn server(name: &str, role: PeerRole) -> Asker {
    Asker { role, ..user(name) }
}

fn request(peer_id: &str, transaction: &str, body: Body) -> Request {
    Request {
        transaction_id: transaction.to_owned(),
        peer_id: peer_id.to_owned(),
        body,
    }
}

fn addr(last: u8) -> PeerAddr {
    PeerAddr::host(([192, 0, 2, last], 2855).into(), 1)
}

fn action(swarm: &str, action: Action, mode: PeerMode, pieces: Option<&[u32]>) -> SwarmAction {
    SwarmAction {
        swarm_id: swarm.to_owned(),
        action,
        peer_mode: mode,
        cds: pieces.map(|pieces| ActionCds {
            pieces: pieces.iter().copied().collect(),
            ..ActionCds::default()
        }),
    }
}

fn join(swarm: &str, mode: PeerMode, pieces: &[u32]) -> SwarmAction {
    action(swarm, Action::Join, mode, Some(pieces))
}

fn leave(swarm: &str) -> SwarmAction {
    action(swarm, Action::Leave, PeerMode::Leech, None)
}

fn connect(last: u8, actions: Vec<SwarmAction>) -> Body {
    Body::Connect(Connect {
        peer_num: None,
        peer_addr: vec![addr(last)],
        swarm_action: actions,
    })
}

fn find(swarm: &str, count: Option<u64>) -> Body {
    Body::Find(Find {
        swarm_id: swarm.to_owned(),
        peer_num: count.map(PeerNum::at_most),
    })
}

fn stat(swarm: &str, pieces: &[u32]) -> Body {
    Body::StatReport(StatReport {
        stat: vec![Stat {
            swarm_id: swarm.to_owned(),
            cds: Some(StatCds {
                pieces: pieces.iter().copied().collect(),
                ..StatCds::default()
            }),
            ..Stat::default()
        }],
    })
}

fn movie() -> Manifest {
    let pieces = (1..=3).map(|n| ManifestPiece {
        n,
        first: u64::from(n - 1) * 10,
        len: 10,
        sha256: [n as u8; 32],
    });
    Manifest {
        size: 30,
        pieces: pieces.collect(),
        ..Manifest::default()
    }
}

fn list() -> TrackingList {
    let mut list = TrackingList::new(Rules::default(), 7);
    list.provision("movie", movie()).expect("it covers");
    list
}

/// The list of the first result: peer ids and pieces, sorted.
fn listed(response: &Response) -> Vec<(String, Vec<u32>)> {
    assert_eq!(ErrorCode::None, response.error);
    let peers = response.swarm_result[0].peers.as_ref().expect("a list");
    let pieces = |peer: &Listed| peer.cds.as_ref().map(|cds| cds.pieces.iter().collect());
    let mut listed: Vec<_> = peers
        .iter()
        .map(|peer| (peer.peer_id.clone(), pieces(peer).unwrap_or_default()))
        .collect();
    listed.sort();
    listed
}

/// Three holders, as in the three-piece fixture.
fn three_holders(list: &mut TrackingList) {
    let holders = [
        ("ue-b", PeerRole::User, 1),
        ("es-1", PeerRole::Edge, 2),
        ("os-1", PeerRole::Origin, 3),
    ];
    for (name, role, piece) in holders {
        let body = connect(piece as u8, vec![join("movie", PeerMode::Seeder, &[piece])]);
        let response = list.answer(at(0), &server(name, role), &request(name, "t", body));
        assert!(response.is_successful());
    }
}

#[test]
fn an_asker_is_told_who_holds_which_piece_and_not_itself() {
    let mut list = list();
    three_holders(&mut list);
    let body = connect(
        10,
        vec![action("movie", Action::Join, PeerMode::Leech, None)],
    );
    let response = list.answer(at(1), &user("ue-a"), &request("a", "t", body));
    let expected = [("es-1", 2), ("os-1", 3), ("ue-b", 1)];
    assert_eq!(
        expected.map(|(id, n)| (id.to_owned(), vec![n])).to_vec(),
        listed(&response)
    );
    let result = &response.swarm_result[0];
    assert_eq!(Some(movie()), result.manifest.as_deref().cloned());
    let peers = result.peers.as_ref().expect("a list");
    let priorities: Vec<i64> = peers.iter().map(|peer| peer.peer_addr.priority).collect();
    assert_eq!(vec![20, 10, 5], priorities);
    let cds = peers[0].cds.as_ref().expect("an edge says what it is");
    assert_eq!(Some(PeerRole::Edge), cds.role);
    assert_eq!(Some("sip:es-1@ims.example"), cds.sip_uri.as_deref());
}

#[test]
fn a_reported_piece_is_listed_and_a_lost_one_is_not() {
    let mut list = list();
    three_holders(&mut list);
    let body = connect(10, vec![join("movie", PeerMode::Leech, &[])]);
    list.answer(at(1), &user("ue-a"), &request("a", "1", body));
    list.answer(
        at(2),
        &user("ue-a"),
        &request("a", "2", stat("movie", &[1, 2, 3])),
    );
    list.answer(
        at(2),
        &user("ue-b"),
        &request("ue-b", "2", stat("movie", &[])),
    );
    let body = connect(11, vec![join("movie", PeerMode::Leech, &[])]);
    let response = list.answer(at(3), &user("ue-d"), &request("d", "1", body));
    let expected = [("a", vec![1, 2, 3]), ("es-1", vec![2]), ("os-1", vec![3])];
    assert_eq!(
        expected.map(|(id, n)| (id.to_owned(), n)).to_vec(),
        listed(&response)
    );
}

#[test]
fn few_listed_peers_cover_the_rarest_missing_piece_first() {
    let mut list = list();
    three_holders(&mut list);
    for n in 20..60 {
        let name = format!("p{n}");
        let body = connect(n, vec![join("movie", PeerMode::Seeder, &[1, 2])]);
        list.answer(
            at(1),
            &server(&name, PeerRole::Edge),
            &request(&name, "t", body),
        );
    }
    let body = connect(10, vec![join("movie", PeerMode::Leech, &[])]);
    list.answer(at(2), &user("ue-a"), &request("a", "1", body));
    let one = list.answer(
        at(2),
        &user("ue-a"),
        &request("a", "2", find("movie", Some(1))),
    );
    assert_eq!("os-1", listed(&one)[0].0);
    let two = list.answer(
        at(2),
        &user("ue-a"),
        &request("a", "3", find("movie", Some(2))),
    );
    let pieces: BTreeSet<u32> = listed(&two).into_iter().flat_map(|(_, n)| n).collect();
    assert_eq!(BTreeSet::from([1, 2, 3]), pieces);
}

#[test]
fn a_rare_holder_in_a_large_swarm_is_found() {
    let mut list = list();
    three_holders(&mut list);
    for n in 0..2000 {
        let name = format!("p{n}");
        let body = connect(9, vec![join("movie", PeerMode::Seeder, &[1])]);
        list.answer(at(1), &user(&name), &request(&name, "t", body));
    }
    let body = connect(10, vec![join("movie", PeerMode::Leech, &[])]);
    let response = list.answer(at(2), &user("ue-a"), &request("a", "1", body));
    let all = listed(&response);
    assert_eq!(20, all.len());
    let pieces: BTreeSet<u32> = all.into_iter().flat_map(|(_, n)| n).collect();
    assert_eq!(BTreeSet::from([1, 2, 3]), pieces);
}

#[test]
fn whoever_is_silent_is_not_listed_though_its_timer_was_not_come_to() {
    let mut list = list();
    for n in 0..100 {
        let name = format!("p{n}");
        let body = connect(1, vec![join("movie", PeerMode::Seeder, &[1])]);
        list.answer(at(n), &user(&name), &request(&name, "t", body));
    }
    // The timers of p0 to p60 have fired; nobody has looked.
    let asked = request("p99", "u", find("movie", Some(29)));
    for _ in 0..10 {
        let all = listed(&list.answer(at(240), &user("p99"), &asked));
        let late = |(name, _): &(String, Vec<u32>)| name[1..].parse().is_ok_and(|n: u64| n > 60);
        assert!(all.len() == 29 && all.iter().all(late), "{all:?}");
    }
    // Each is told once, as one that has gone, by whoever looks next.
    assert!(list.next_expiry().is_some_and(|due| due <= at(240)));
    let gone: BTreeSet<Box<str>> = list
        .expire(at(240))
        .into_iter()
        .map(|r| r.peer_id)
        .collect();
    assert_eq!(61, gone.len());
    assert!(list.expire(at(240)).is_empty());
}

/// 500 members, of whom p123 and p124 are edge servers.
fn crowd(order: Order) -> TrackingList {
    let mut list = TrackingList::new(
        Rules {
            order,
            ..Rules::default()
        },
        1,
    );
    for n in 0..500 {
        let name = format!("p{n}");
        let asker = match n {
            123 | 124 => server(&name, PeerRole::Edge),
            _ => user(&name),
        };
        let body = connect(1, vec![join("x", PeerMode::Seeder, &[1])]);
        list.answer(at(0), &asker, &request(&name, "t", body));
    }
    list
}

#[test]
fn nobody_is_preferred_in_a_large_swarm_whose_order_prefers_nobody() {
    let mut list = crowd(Order::Shuffled);
    let asked = request("p7", "u", find("x", Some(10)));
    let told = (0..200).filter(|_| {
        let all = listed(&list.answer(at(0), &user("p7"), &asked));
        all.iter().any(|(name, _)| name == "p123")
    });
    // One list in fifty, on average; one in seven, if it were weighed each time.
    assert!(told.count() < 15);
}

#[test]
fn an_edge_server_in_a_large_swarm_is_listed_first() {
    let mut list = crowd(Order::Priority);
    let first_two = |list: &mut TrackingList| {
        let asked = request("p7", "u", find("x", Some(10)));
        let response = list.answer(at(0), &user("p7"), &asked);
        let peers = response.swarm_result[0].peers.as_ref().expect("a list");
        assert_eq!(10, peers.len());
        let names = peers.iter().take(2).map(|peer| peer.peer_id.clone());
        names.collect::<BTreeSet<String>>()
    };
    let both: BTreeSet<String> = ["p123", "p124"].map(str::to_owned).into();
    (0..50).for_each(|_| assert_eq!(both, first_two(&mut list)));
    // One that has gone is told no more, and the other still is.
    list.evict("p123");
    (0..50).for_each(|_| {
        let told = first_two(&mut list);
        assert!(told.contains("p124") && !told.contains("p123"), "{told:?}");
    });
}

#[test]
fn a_rare_holder_is_found_after_those_that_were_known_have_gone() {
    let mut list = list();
    for n in 0..2_000 {
        let name = format!("p{n}");
        // Piece 3 is held by eight peers at the far end only.
        let pieces: &[u32] = if n >= 1_992 { &[3] } else { &[1, 2] };
        let body = connect(1, vec![join("movie", PeerMode::Seeder, pieces)]);
        list.answer(at(0), &user(&name), &request(&name, "t", body));
    }
    for gone in 1_992..2_000 {
        let answer = list.answer(
            at(1),
            &user("p0"),
            &request("p0", "u", find("movie", Some(5))),
        );
        let holders = listed(&answer)
            .into_iter()
            .filter(|(_, pieces)| pieces == &[3]);
        assert!(holders.count() > 0, "with p{gone} still there");
        list.evict(&format!("p{gone}"));
    }
    let answer = list.answer(
        at(1),
        &user("p0"),
        &request("p0", "u", find("movie", Some(5))),
    );
    assert!(listed(&answer).iter().all(|(_, pieces)| pieces == &[1, 2]));
}

#[test]
fn repeated_asking_shows_every_peer() {
    let mut list = TrackingList::new(Rules::default(), 7);
    for n in 0..100 {
        let name = format!("p{n}");
        let body = connect(
            n,
            vec![action("base", Action::Join, PeerMode::Seeder, None)],
        );
        list.answer(at(0), &user(&name), &request(&name, "t", body));
    }
    let body = connect(
        200,
        vec![action("base", Action::Join, PeerMode::Leech, None)],
    );
    list.answer(at(0), &user("a"), &request("a", "t", body));
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let response = list.answer(at(0), &user("a"), &request("a", "u", find("base", None)));
        let all = listed(&response);
        assert_eq!(20, all.len());
        seen.extend(all.into_iter().map(|(id, _)| id));
    }
    assert_eq!(100, seen.len());
}

#[test]
fn the_eight_rows_of_table_6() {
    let leech = |swarm: &str| action(swarm, Action::Join, PeerMode::Leech, None);
    let seed = |swarm: &str| action(swarm, Action::Join, PeerMode::Seeder, None);
    let rules = Rules {
        leech_opens_swarm: true,
        ..Rules::default()
    };
    let ask = |list: &mut TrackingList, t: &str, actions| {
        let response = list.answer(at(0), &user("a"), &request("a", t, connect(1, actions)));
        (response.error.number(), list.is_tracking("a"))
    };
    let mut list = TrackingList::new(rules, 1);
    assert_eq!((3, false), ask(&mut list, "row 2", vec![leave("x")]));
    assert_eq!(
        (3, false),
        ask(&mut list, "row 4", vec![leech("y"), leave("x")])
    );
    assert_eq!((0, true), ask(&mut list, "row 1", vec![leech("x")]));
    assert_eq!(
        (0, true),
        ask(&mut list, "row 5", vec![leave("x"), leech("y")])
    );
    assert_eq!(
        (None, true),
        (list.mode("a", "x"), list.mode("a", "y").is_some())
    );
    assert_eq!((0, false), ask(&mut list, "row 3", vec![leave("y")]));
    assert_eq!(
        (0, true),
        ask(&mut list, "row 6", vec![seed("x"), seed("y"), seed("z")])
    );
    assert_eq!((3, true), ask(&mut list, "row 7", vec![seed("w")]));
    assert_eq!(
        (0, false),
        ask(&mut list, "row 8", vec![leave("x"), leave("y"), leave("z")])
    );
    assert_eq!((0, 0), (list.len(), list.swarm_count()));
}

#[test]
fn an_invalid_action_ends_a_registration_if_the_rules_say_so() {
    let rules = Rules {
        invalid_action: InvalidAction::Terminate,
        ..Rules::default()
    };
    let mut list = TrackingList::new(rules, 1);
    let seed = |swarm: &str| connect(1, vec![action(swarm, Action::Join, PeerMode::Seeder, None)]);
    list.answer(at(0), &user("a"), &request("a", "1", seed("x")));
    let response = list.answer(at(0), &user("a"), &request("a", "2", seed("y")));
    assert_eq!(
        (ErrorCode::ForbiddenAction, false),
        (response.error, list.is_tracking("a"))
    );
}

#[test]
fn a_repeated_connect_has_its_effect_once() {
    let mut list = list();
    let body = connect(1, vec![join("movie", PeerMode::Seeder, &[1])]);
    let asked = request("b", "t", body);
    let first = list.answer(at(0), &user("b"), &asked);
    assert_eq!(first, list.answer(at(10), &user("b"), &asked));
    assert_eq!(1, list.len());
    let bye = request("b", "u", connect(1, vec![leave("movie")]));
    assert!(list.answer(at(11), &user("b"), &bye).is_successful());
    assert!(list.answer(at(12), &user("b"), &bye).is_successful());
    assert!(list.answer(at(13), &user("b"), &asked).is_successful());
    assert!(list.is_tracking("b"));
}

#[test]
fn a_peer_id_belongs_to_whom_it_was_registered_by() {
    let mut list = list();
    three_holders(&mut list);
    for body in [
        stat("movie", &[1, 2, 3]),
        find("movie", None),
        connect(9, vec![leave("movie")]),
    ] {
        let response = list.answer(at(1), &user("ue-x"), &request("ue-b", "t9", body));
        assert_eq!(ErrorCode::ForbiddenAction, response.error);
    }
    assert_eq!(
        Some(&[1].into_iter().collect()),
        list.pieces("ue-b", "movie")
    );
}

#[test]
fn one_owner_has_a_bounded_number_of_peer_ids() {
    let mut list = list();
    for n in 0..100 {
        let body = connect(1, vec![join("movie", PeerMode::Leech, &[])]);
        list.answer(at(0), &user("a"), &request(&format!("a{n}"), "t", body));
    }
    assert_eq!(64, list.len());
}

#[test]
fn a_manifest_is_announced_once_by_an_origin() {
    let mut list = TrackingList::new(Rules::default(), 7);
    let announce = |mut manifest: Manifest, size: u64, n: u8| {
        manifest.pieces[2].len += size - manifest.size;
        manifest.size = size;
        let mut action = join("new", PeerMode::Seeder, &[1, 2, 3]);
        action.cds.as_mut().expect("given").content = Some(manifest);
        connect(n, vec![action])
    };
    let user_says = list.answer(
        at(0),
        &user("u"),
        &request("u", "t", announce(movie(), 30, 1)),
    );
    assert_eq!(ErrorCode::ForbiddenAction, user_says.error);
    let os_1 = server("os-1", PeerRole::Origin);
    assert!(
        list.answer(at(0), &os_1, &request("o", "t", announce(movie(), 30, 2)))
            .is_successful()
    );
    let os_2 = server("os-2", PeerRole::Origin);
    let differs = list.answer(at(0), &os_2, &request("p", "t", announce(movie(), 31, 3)));
    assert_eq!(ErrorCode::ForbiddenAction, differs.error);
    assert!(
        list.answer(at(0), &os_2, &request("p", "u", announce(movie(), 30, 3)))
            .is_successful()
    );
    let mut gap = movie();
    gap.pieces[1].first += 1;
    let badly = list.answer(at(0), &os_2, &request("q", "t", announce(gap, 30, 3)));
    assert_eq!(ErrorCode::BadRequest, badly.error);
}

#[test]
fn a_piece_that_is_not_in_the_manifest_cannot_be_claimed() {
    let mut list = list();
    three_holders(&mut list);
    let response = list.answer(
        at(1),
        &user("ue-b"),
        &request("ue-b", "u", stat("movie", &[1, 4])),
    );
    assert_eq!(ErrorCode::ForbiddenAction, response.error);
    let body = connect(9, vec![join("movie", PeerMode::Seeder, &[4])]);
    let response = list.answer(at(1), &user("x"), &request("x", "u", body));
    assert_eq!(ErrorCode::ForbiddenAction, response.error);
}

#[test]
fn hidden_addresses_and_hosts_are_never_listed() {
    let rules = Rules {
        hidden: Hidden {
            ips: BTreeSet::from(["192.0.2.21".parse().expect("an address")]),
            hosts: BTreeSet::from(["es1.cdn1.example".to_owned()]),
        },
        ..Rules::default()
    };
    let mut list = TrackingList::new(rules, 7);
    list.provision("movie", movie()).expect("it covers");
    let ctrl = server("ctrl", PeerRole::Controller);
    let only_hidden = connect(21, vec![join("movie", PeerMode::Seeder, &[2])]);
    let response = list.answer(at(0), &ctrl, &request("c", "1", only_hidden));
    assert_eq!(ErrorCode::ForbiddenAction, response.error);
    for url in [
        "https://ES1.cdn1.example/x",
        "https://u@192.0.2.21:8080/x",
        "//es1.cdn1.example?x",
    ] {
        let mut action = join("movie", PeerMode::Seeder, &[2, 3]);
        action.cds.as_mut().expect("given").url = Some(url.to_owned());
        let body = Body::Connect(Connect {
            peer_num: None,
            peer_addr: vec![addr(21), addr(20), addr(22)],
            swarm_action: vec![action],
        });
        assert!(
            list.answer(at(0), &ctrl, &request("c", url, body))
                .is_successful()
        );
        let body = connect(10, vec![join("movie", PeerMode::Leech, &[])]);
        let response = list.answer(at(0), &user("a"), &request("a", url, body));
        let peers = response.swarm_result[0].peers.as_ref().expect("a list");
        assert_eq!(1, peers.len());
        assert_eq!(
            (addr(20).ip, AddressKind::Proxy),
            (peers[0].peer_addr.ip, peers[0].peer_addr.kind)
        );
        assert_eq!(None, peers[0].cds.as_ref().and_then(|cds| cds.url.as_ref()));
        list.evict("c");
    }
}

#[test]
fn a_publication_keeps_a_peer_beyond_the_track_timer() {
    let mut list = list();
    three_holders(&mut list);
    list.keep_until("ue-b", at(300));
    let gone: Vec<_> = list
        .expire(at(180))
        .into_iter()
        .map(|r| r.peer_id.to_string())
        .collect();
    assert_eq!(vec!["es-1", "os-1"], gone);
    assert!(list.expire(at(299)).is_empty());
    assert_eq!(1, list.expire(at(300)).len());
    assert_eq!(None, list.next_expiry());
}

/// The same list, written for the reader: whole maps, searched from end to end.
#[derive(Default)]
struct Model {
    peers: BTreeMap<String, ModelPeer>,
}

struct ModelPeer {
    owner: String,
    deadline: At,
    pieces: BTreeMap<String, BTreeSet<u32>>,
}

/// Holders of a swarm, with their pieces.
#[derive(Debug, PartialEq)]
struct Holders(BTreeMap<String, BTreeSet<u32>>);

/// What an operation comes to: an error, or each swarm's result with its list.
#[derive(Debug, PartialEq)]
enum Outcome {
    Error(u8),
    Ok(Vec<(String, bool, Option<Holders>)>),
}

impl Model {
    fn expire(&mut self, at: At) -> BTreeSet<String> {
        let due: BTreeSet<String> = self
            .peers
            .iter()
            .filter(|(_, p)| p.deadline <= at)
            .map(|(id, _)| id.clone())
            .collect();
        self.peers.retain(|id, _| !due.contains(id));
        due
    }

    fn holders(&self, swarm: &str, but: &str) -> Holders {
        let holders = self
            .peers
            .iter()
            .filter(|(id, _)| *id != but)
            .filter_map(|(id, peer)| Some((id.clone(), peer.pieces.get(swarm)?.clone())))
            .filter(|(_, pieces)| swarm != "movie" || !pieces.is_empty())
            .collect();
        Holders(holders)
    }

    fn answer(&mut self, at: At, owner: &str, id: &str, op: &Op) -> Outcome {
        if self.peers.get(id).is_some_and(|peer| peer.owner != owner) {
            return Outcome::Error(3);
        }
        match op {
            Op::Find(swarm) => {
                let is_in = self
                    .peers
                    .get(id)
                    .is_some_and(|peer| peer.pieces.contains_key(swarm));
                if !is_in {
                    return Outcome::Error(3);
                }
                self.touch(at, id);
                Outcome::Ok(vec![(swarm.clone(), true, Some(self.holders(swarm, id)))])
            }
            Op::Stat(swarm, pieces) => match self
                .peers
                .get_mut(id)
                .and_then(|peer| peer.pieces.get_mut(swarm))
            {
                Some(held) if swarm != "movie" || pieces.iter().all(|n| *n <= 3) => {
                    *held = pieces.clone();
                    self.touch(at, id);
                    Outcome::Ok(vec![(swarm.clone(), true, None)])
                }
                _ => Outcome::Error(3),
            },
            Op::KeepAlive => match self.peers.contains_key(id) {
                true => {
                    self.touch(at, id);
                    Outcome::Ok(vec![])
                }
                false => Outcome::Error(3),
            },
            Op::Connect(actions) => self.connect(at, owner, id, actions),
        }
    }

    fn touch(&mut self, at: At, id: &str) {
        self.peers.get_mut(id).expect("it is tracked").deadline = at + Duration::from_secs(180);
    }

    fn connect(&mut self, at: At, owner: &str, id: &str, actions: &[Act]) -> Outcome {
        let names: BTreeSet<&str> = actions.iter().map(|a| &*a.swarm).collect();
        let is_known = self.peers.contains_key(id);
        let leaves = actions.iter().any(|a| !a.joins);
        let seeds = actions.iter().any(|a| a.joins && a.seeder);
        if names.len() < actions.len() || (!is_known && leaves) || (is_known && seeds) {
            return Outcome::Error(3);
        }
        let valid = |act: &Act| {
            let opened = self
                .peers
                .values()
                .any(|peer| peer.pieces.contains_key(&act.swarm));
            match act.joins {
                true => {
                    (act.seeder || act.swarm == "movie" || opened)
                        && (act.swarm != "movie" || act.pieces.iter().all(|n| *n <= 3))
                }
                false => self
                    .peers
                    .get(id)
                    .is_some_and(|peer| peer.pieces.contains_key(&act.swarm)),
            }
        };
        let verdicts: Vec<bool> = actions.iter().map(valid).collect();
        if !verdicts.contains(&true) {
            return Outcome::Error(3);
        }
        let peer = self.peers.entry(id.to_owned()).or_insert(ModelPeer {
            owner: owner.to_owned(),
            deadline: at,
            pieces: BTreeMap::new(),
        });
        for (act, _) in actions.iter().zip(&verdicts).filter(|(_, v)| **v) {
            match act.joins {
                true => peer.pieces.insert(act.swarm.clone(), act.pieces.clone()),
                false => peer.pieces.remove(&act.swarm),
            };
        }
        self.touch(at, id);
        let results = actions.iter().zip(&verdicts).map(|(act, &is_valid)| {
            let is_told = is_valid && act.joins && !act.seeder;
            let holders = is_told.then(|| self.holders(&act.swarm, id));
            (act.swarm.clone(), is_valid, holders)
        });
        let results = results.collect();
        self.peers.retain(|_, peer| !peer.pieces.is_empty());
        Outcome::Ok(results)
    }
}

#[derive(Clone, Debug)]
struct Act {
    swarm: String,
    joins: bool,
    seeder: bool,
    pieces: BTreeSet<u32>,
}

#[derive(Clone, Debug)]
enum Op {
    Connect(Vec<Act>),
    Find(String),
    Stat(String, BTreeSet<u32>),
    KeepAlive,
}

fn swarm_name() -> impl Strategy<Value = String> {
    prop::sample::select(&["movie", "x", "y"][..]).prop_map(str::to_owned)
}

/// Seconds between two operations: mostly few, sometimes enough for a peer to expire.
fn passing() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0u64..3, 1 => 0u64..200]
}

fn piece_set() -> impl Strategy<Value = BTreeSet<u32>> {
    prop::collection::btree_set(1u32..5, 0..3)
}

fn op() -> impl Strategy<Value = Op> {
    let act = (
        swarm_name(),
        prop::bool::weighted(0.7),
        any::<bool>(),
        piece_set(),
    )
        .prop_map(|(swarm, joins, seeder, pieces)| Act {
            swarm,
            joins,
            seeder,
            pieces,
        });
    prop_oneof![
        3 => vec(act, 1..3).prop_map(Op::Connect),
        2 => swarm_name().prop_map(Op::Find),
        2 => (swarm_name(), piece_set()).prop_map(|(swarm, pieces)| Op::Stat(swarm, pieces)),
        1 => Just(Op::KeepAlive),
    ]
}

fn body_of(op: &Op) -> Body {
    match op {
        Op::Find(swarm) => find(swarm, Some(29)),
        Op::Stat(swarm, pieces) => stat(swarm, &pieces.iter().copied().collect::<Vec<_>>()),
        Op::KeepAlive => Body::StatReport(StatReport::default()),
        Op::Connect(acts) => {
            let actions = acts.iter().map(|act| {
                let verb = if act.joins {
                    Action::Join
                } else {
                    Action::Leave
                };
                let mode = if act.seeder {
                    PeerMode::Seeder
                } else {
                    PeerMode::Leech
                };
                let pieces: Vec<u32> = act.pieces.iter().copied().collect();
                action(&act.swarm, verb, mode, act.joins.then_some(&pieces))
            });
            connect(1, actions.collect())
        }
    }
}

fn outcome_of(response: &Response) -> Outcome {
    if !response.is_successful() {
        return Outcome::Error(response.error.number());
    }
    let list = |peers: &Vec<Listed>| {
        let holders = peers
            .iter()
            .map(|peer| {
                let pieces = peer
                    .cds
                    .as_ref()
                    .expect("all describe themselves")
                    .pieces
                    .iter();
                (peer.peer_id.clone(), pieces.collect())
            })
            .collect();
        Holders(holders)
    };
    let results = response.swarm_result.iter();
    Outcome::Ok(
        results
            .map(|r| (r.swarm_id.clone(), r.successful, r.peers.as_ref().map(list)))
            .collect(),
    )
}

proptest! {
    #[test]
    fn the_list_answers_as_its_naive_model(
        ops in vec((passing(), 0usize..8, prop::bool::weighted(0.9), op()), 1..100),
        seed: u64,
    ) {
        let mut list = TrackingList::new(Rules::default(), seed);
        list.provision("movie", movie()).expect("it covers");
        let mut model = Model::default();
        let mut now = At::ZERO;
        for (step, (passed, who, is_owner, op)) in ops.into_iter().enumerate() {
            now += Duration::from_secs(passed);
            let gone: BTreeSet<String> =
                list.expire(now).into_iter().map(|removed| removed.peer_id.to_string()).collect();
            prop_assert_eq!(model.expire(now), gone);
            let id = format!("p{who}");
            let owner = if is_owner { id.clone() } else { "thief".to_owned() };
            let asked = request(&id, &step.to_string(), body_of(&op));
            let response = list.answer(now, &user(&owner), &asked);
            prop_assert_eq!(model.answer(now, &owner, &id, &op), outcome_of(&response), "{:?}", op);
            prop_assert_eq!(&asked.transaction_id, &response.transaction_id);
            prop_assert_eq!(model.peers.len(), list.len());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_answers(seed: u64, count in 1u64..40) {
        let run = || {
            let mut list = TrackingList::new(Rules { order: Order::Shuffled, ..Rules::default() }, seed);
            for n in 0..40 {
                let name = format!("p{n}");
                let body = connect(n, vec![join("x", PeerMode::Seeder, &[1])]);
                list.answer(at(0), &user(&name), &request(&name, "t", body));
            }
            list.answer(at(0), &user("p0"), &request("p0", "u", find("x", Some(count)))).to_json()
        };
        let first = run();
        prop_assert_eq!(&first, &run());
        prop_assert_eq!(count.min(29) as usize, first.matches("peer_id").count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_list_is_short_without_repeats_without_the_asker_and_covers_what_is_held(
        held in vec(prop::collection::btree_set(1u32..4, 0..3), 1..400),
        own in prop::collection::btree_set(1u32..4, 0..3),
        count in 0u64..40,
        order in prop::sample::select(&[Order::Priority, Order::Rarest, Order::Shuffled][..]),
        seed: u64,
    ) {
        let mut list = TrackingList::new(Rules { order, ..Rules::default() }, seed);
        list.provision("movie", movie()).expect("it covers");
        let of = |set: &BTreeSet<u32>| set.iter().copied().collect::<Vec<_>>();
        for (n, pieces) in held.iter().enumerate() {
            let name = format!("p{n}");
            let body = connect(1, vec![join("movie", PeerMode::Leech, &of(pieces))]);
            list.answer(at(0), &user(&name), &request(&name, "t", body));
        }
        let body = connect(2, vec![join("movie", PeerMode::Leech, &of(&own))]);
        list.answer(at(0), &user("a"), &request("a", "t", body));
        let asked = request("a", "u", find("movie", Some(count)));
        let all = listed(&list.answer(at(0), &user("a"), &asked));
        let names: BTreeSet<&String> = all.iter().map(|(name, _)| name).collect();
        let holders = held.iter().filter(|pieces| !pieces.is_empty()).count();
        prop_assert_eq!(holders.min(count.min(29) as usize), all.len());
        prop_assert_eq!(names.len(), all.len());
        prop_assert!(!names.contains(&"a".to_owned()));
        let missing: BTreeSet<u32> = held.iter().flatten().copied().filter(|n| !own.contains(n)).collect();
        let told: BTreeSet<u32> = all.into_iter().flat_map(|(_, pieces)| pieces).collect();
        prop_assert!(count < 3 || missing.is_subset(&told));
    }
}
