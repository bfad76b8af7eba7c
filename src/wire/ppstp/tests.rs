use std::net::SocketAddr;

use proptest::{collection::vec, option, prelude::*};

use super::*;

const CONNECT: &str = r#"{"PPSPTrackerProtocol":{"version":1,"request_type":"CONNECT","transaction_id":"t-1","peer_id":"ue-a","connect":{"peer_num":{"peer_count":5,"ability_nat":"NO_NAT"},"peer_addr":[{"ip_address":{"address_type":"ipv4","address":"192.0.2.10"},"port":2855,"priority":1,"type":"HOST"}],"swarm_action":[{"swarm_id":"movie-0001","action":"JOIN","peer_mode":"LEECH"}]}}}"#;

fn refusal(text: &str, profile: Profile) -> Refusal {
    read_request(text.as_bytes(), profile).expect_err(text)
}

fn names<T>(reading: Reading<T>) -> Vec<&'static str> {
    reading.leniencies.iter().map(|l| l.name()).collect()
}

#[test]
fn a_connect_is_read_and_written_as_it_came() {
    let reading = read_request(CONNECT.as_bytes(), Profile::Grammar).expect("it is well formed");
    let Body::Connect(connect) = &reading.message.body else {
        panic!("{:?}", reading.message);
    };
    let addr: SocketAddr = "192.0.2.10:2855".parse().expect("an address");
    assert_eq!(vec![PeerAddr::host(addr, 1)], connect.peer_addr);
    assert_eq!(CONNECT, reading.message.to_json());
    assert!(reading.leniencies.is_empty());
}

#[test]
fn a_list_is_written_as_the_profile_shows_it() {
    let peer = PeerInfo {
        peer_id: "b".to_owned(),
        peer_addr: PeerAddr::host("[2001:db8::2]:80".parse().expect("an address"), 10),
        cds: Some(PeerCds {
            sip_uri: Some("sip:ue-b@ims.example".to_owned()),
            url: None,
            pieces: [1, 3].into_iter().collect(),
            role: Some(PeerRole::User),
        }),
    };
    let response = Response::ok(
        "t\"1",
        vec![SwarmResult {
            swarm_id: "movie".to_owned(),
            successful: true,
            peers: Some(vec![peer.into()]),
            manifest: None,
        }],
    );
    assert_eq!(
        r#"{"PPSPTrackerProtocol":{"version":1,"response_type":0,"error_code":0,"transaction_id":"t\"1","swarm_result":[{"swarm_id":"movie","result":0,"peer_group":{"peer_info":[{"peer_id":"b","peer_addr":{"ip_address":{"address_type":"ipv6","address":"2001:db8::2"},"port":80,"priority":10,"type":"HOST"},"cds":{"sip_uri":"sip:ue-b@ims.example","pieces":[1,3],"role":"user"}}]}}]}}"#,
        response.to_json()
    );
}

#[test]
fn a_keep_alive_has_no_statistics_group() {
    let request = Request {
        transaction_id: "t-5".to_owned(),
        peer_id: "ue-1".to_owned(),
        body: Body::StatReport(StatReport::default()),
    };
    assert_eq!(
        r#"{"PPSPTrackerProtocol":{"version":1,"request_type":"STAT_REPORT","transaction_id":"t-5","peer_id":"ue-1"}}"#,
        request.to_json()
    );
}

#[test]
fn the_examples_are_read_with_their_leniencies_and_the_grammar_refuses_them() {
    let join = r#"{"swarm_id":"s","action":"JOIN","peer_mode":"LEECH"}"#;
    let start =
        r#"{"PPSPTrackerProtocol":{"version":1,"transaction_id":"t","peer_id":"p","request_type":"#;
    let cases = [
        (
            format!(r#"{start}"CONNECT","connect":{{"swarm_action":{join}}}}}}}"#),
            "AMB-01",
        ),
        (format!(r#"{start}"FIND","swarm_id":"s"}}}}"#), "AMB-02"),
        (
            format!(
                r#"{start}"FIND","find":{{"swarm_id":"s","peer_num":{{"peer_count":5,"online_time":"1200"}}}}}}}}"#
            ),
            "AMB-05",
        ),
        (CONNECT.replace(r#","type":"HOST""#, ""), "AMB-07"),
        (CONNECT.replace(r#""priority":1,"#, ""), "AMB-07"),
        (
            format!(r#"{start}"STAT_REPORT","stat_report":{{"type":"STREAM_STATS"}}}}}}"#),
            "AMB-10",
        ),
        (
            format!(
                r#"{start}"STAT_REPORT","stat_report":{{"type":"STREAM_STATS","stat":[]}}}}}}"#
            ),
            "AMB-10",
        ),
        (CONNECT.replace("ipv4", "Ipv4"), "AMB-36"),
        (
            CONNECT
                .replace("ipv4", "ipv6")
                .replace("192.0.2.10", "2001:DB8::1"),
            "PPSTP-042",
        ),
    ];
    for (text, name) in cases {
        let reading = read_request(text.as_bytes(), Profile::Examples).expect(&text);
        assert_eq!(vec![name], names(reading), "{text}");
        assert_eq!(ErrorCode::BadRequest, refusal(&text, Profile::Grammar).code);
    }
}

#[test]
fn a_refusal_names_path_found_and_expected() {
    let cases = [
        (
            CONNECT.replace("JOIN", "join"),
            r#"PPSPTrackerProtocol.connect.swarm_action[0].action: found "join", expected JOIN or LEAVE"#,
        ),
        (
            CONNECT.replace(r#","peer_mode":"LEECH""#, ""),
            "PPSPTrackerProtocol.connect.swarm_action[0].peer_mode: found nothing, expected the member",
        ),
        (
            CONNECT.replace("2855", "0"),
            "PPSPTrackerProtocol.connect.peer_addr[0].port: found 0, expected a port from 1 to 65535",
        ),
        (
            CONNECT.replace("2855", "1e3"),
            "PPSPTrackerProtocol.connect.peer_addr[0].port: found the number 1000, expected an integer from 0 to 65535",
        ),
        (
            CONNECT.replace(":5,", ":-1,"),
            "PPSPTrackerProtocol.connect.peer_num.peer_count: found -1, expected an integer from 0 to 18446744073709551615",
        ),
        (
            CONNECT.replace(r#""port""#, r#""type":"HOST","port""#),
            r#"PPSPTrackerProtocol.connect.peer_addr[0]: found "type" twice, expected each member once"#,
        ),
        (
            CONNECT.replace("192.0.2.10", "010.1.1.1"),
            r#"PPSPTrackerProtocol.connect.peer_addr[0].ip_address.address: found "010.1.1.1", expected an ipv4 address"#,
        ),
        (
            "[]".to_owned(),
            "the message: found an array of 0, expected an object",
        ),
        (
            "{}".to_owned(),
            "PPSPTrackerProtocol: found nothing, expected the member",
        ),
        (
            format!("{CONNECT}x"),
            "line 1 column 360: found trailing characters, expected one JSON text",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(expected, refusal(&text, Profile::Examples).to_string());
    }
}

#[test]
fn the_version_is_judged_before_the_rest_and_the_transaction_is_kept() {
    let unknown = CONNECT
        .replace("\"version\":1", "\"version\":2")
        .replace("CONNECT", "JUMP");
    let refused = refusal(&unknown, Profile::Grammar);
    assert_eq!(ErrorCode::UnsupportedVersion, refused.code);
    assert_eq!(
        r#"{"PPSPTrackerProtocol":{"version":1,"response_type":1,"error_code":2,"transaction_id":"t-1"}}"#,
        refused.response().to_json()
    );
    for version in ["256", "-1", "1.5", "\"1\"", "null", "true"] {
        let text = CONNECT.replace("\"version\":1", &format!("\"version\":{version}"));
        assert_eq!(
            ErrorCode::BadRequest,
            refusal(&text, Profile::Examples).code
        );
    }
}

#[test]
fn every_mandatory_member_is_missed() {
    let tree: serde_json::Value = serde_json::from_str(CONNECT).expect("it is JSON");
    let mandatory = [
        "",
        "/version",
        "/request_type",
        "/transaction_id",
        "/peer_id",
        "/connect",
        "/connect/peer_num/peer_count",
        "/connect/peer_addr/0/ip_address",
        "/connect/peer_addr/0/port",
        "/connect/peer_addr/0/ip_address/address_type",
        "/connect/peer_addr/0/ip_address/address",
        "/connect/peer_addr/0/priority",
        "/connect/peer_addr/0/type",
        "/connect/swarm_action",
        "/connect/swarm_action/0/swarm_id",
        "/connect/swarm_action/0/action",
        "/connect/swarm_action/0/peer_mode",
    ];
    for member in mandatory {
        let pointer = format!("/PPSPTrackerProtocol{member}");
        let (owner, name) = pointer.rsplit_once('/').expect("it has a slash");
        let mut less = tree.clone();
        let object = less
            .pointer_mut(owner)
            .and_then(|value| value.as_object_mut());
        object.expect("an object").remove(name).expect("a member");
        let refused = refusal(&less.to_string(), Profile::Grammar);
        assert_eq!(ErrorCode::BadRequest, refused.code, "{member}");
        assert!(refused.path.ends_with(name), "{member}: {refused}");
    }
}

#[test]
fn unknown_members_are_ignored_at_every_level() {
    let extended = CONNECT.replace('{', r#"{"x-unknown":{"deep":[null,1.5,"x"]},"#);
    let reading = read_request(extended.as_bytes(), Profile::Grammar).expect(&extended);
    assert_eq!(CONNECT, reading.message.to_json());
}

#[test]
fn size_and_depth_are_bounded() {
    let long = CONNECT.replace("ue-a", &"a".repeat(LIMIT));
    assert!(
        refusal(&long, Profile::Examples)
            .to_string()
            .contains("at most 1048576")
    );
    for depth in [33, 100, 100_000] {
        let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(
            ErrorCode::BadRequest,
            refusal(&text, Profile::Examples).code
        );
    }
}

#[test]
fn a_message_cut_short_anywhere_is_a_bad_request() {
    for end in 0..CONNECT.len() {
        assert_eq!(
            ErrorCode::BadRequest,
            refusal(&CONNECT[..end], Profile::Examples).code
        );
    }
}

#[test]
fn a_manifest_covers_its_content() {
    let piece = |n, first, len| ManifestPiece {
        n,
        first,
        len,
        sha256: [n as u8; 32],
    };
    let mut manifest = Manifest {
        size: 10,
        pieces: vec![piece(1, 0, 4), piece(2, 4, 6)],
        ..Manifest::default()
    };
    assert_eq!(Ok(()), manifest.check());
    manifest.pieces[1].first = 5;
    assert!(manifest.check().is_err());
    manifest.pieces[1] = piece(2, 4, 5);
    assert!(manifest.check().is_err());
}

fn peer_addr() -> impl Strategy<Value = PeerAddr> {
    (
        any::<std::net::IpAddr>(),
        1u16..,
        any::<i64>(),
        prop::sample::select(AddressKind::ALL),
        option::of(prop::sample::select(Connection::ALL)),
        option::of(any::<String>()),
    )
        .prop_map(|(ip, port, priority, kind, connection, text)| PeerAddr {
            ip,
            port,
            priority,
            kind,
            connection,
            asn: text.clone(),
            peer_protocol: text,
        })
}

fn peer_num() -> impl Strategy<Value = PeerNum> {
    (
        any::<u64>(),
        option::of(prop::sample::select(AbilityNat::ALL)),
        any::<Option<u64>>(),
    )
        .prop_map(|(peer_count, ability_nat, number)| PeerNum {
            peer_count,
            ability_nat,
            concurrent_links: number,
            online_time: number,
            upload_bandwidth: number,
        })
}

fn pieces() -> impl Strategy<Value = Pieces> {
    vec(1u32..=300, 0..5).prop_map(|numbers| numbers.into_iter().collect())
}

fn manifest() -> impl Strategy<Value = Manifest> {
    (
        any::<u64>(),
        any::<Option<[u8; 20]>>(),
        any::<[u8; 32]>(),
        vec((0u32..100, any::<u64>()), 0..3),
    )
        .prop_map(|(size, sha1, sha256, pieces)| Manifest {
            size,
            sha1,
            sha256,
            pieces: pieces
                .into_iter()
                .map(|(n, first)| ManifestPiece {
                    n,
                    first,
                    len: size,
                    sha256,
                })
                .collect(),
        })
}

fn swarm_action() -> impl Strategy<Value = SwarmAction> {
    let cds = (
        option::of(any::<String>()),
        pieces(),
        option::of(prop::sample::select(PeerRole::ALL)),
        option::of(manifest()),
    )
        .prop_map(|(text, pieces, role, content)| ActionCds {
            sip_uri: text.clone(),
            url: text,
            pieces,
            role,
            content,
        });
    (
        any::<String>(),
        prop::sample::select(Action::ALL),
        prop::sample::select(PeerMode::ALL),
        option::of(cds),
    )
        .prop_map(|(swarm_id, action, peer_mode, cds)| SwarmAction {
            swarm_id,
            action,
            peer_mode,
            cds,
        })
}

fn stat() -> impl Strategy<Value = Stat> {
    (
        any::<String>(),
        any::<[u64; 4]>(),
        option::of((pieces(), any::<bool>(), vec(any::<String>(), 0..3))),
    )
        .prop_map(|(swarm_id, numbers, cds)| Stat {
            swarm_id,
            uploaded_bytes: numbers[0],
            downloaded_bytes: numbers[1],
            available_bandwidth: numbers[2],
            concurrent_links: numbers[3],
            cds: cds.map(|(pieces, complete, peer_used)| StatCds {
                pieces,
                complete,
                peer_used,
            }),
        })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        (
            option::of(peer_num()),
            vec(peer_addr(), 0..3),
            vec(swarm_action(), 1..4)
        )
            .prop_map(
                |(peer_num, peer_addr, swarm_action)| Body::Connect(Connect {
                    peer_num,
                    peer_addr,
                    swarm_action
                })
            ),
        (any::<String>(), option::of(peer_num()))
            .prop_map(|(swarm_id, peer_num)| Body::Find(Find { swarm_id, peer_num })),
        vec(stat(), 0..3).prop_map(|stat| Body::StatReport(StatReport { stat })),
    ]
}

fn swarm_result() -> impl Strategy<Value = SwarmResult> {
    let peer = (
        any::<String>(),
        peer_addr(),
        option::of((option::of(any::<String>()), pieces())),
    )
        .prop_map(|(peer_id, peer_addr, cds)| {
            let cds = cds.map(|(text, pieces)| PeerCds {
                sip_uri: text.clone(),
                url: text,
                pieces,
                role: Some(PeerRole::Edge),
            });
            Listed::from(PeerInfo {
                peer_id,
                peer_addr,
                cds,
            })
        });
    (
        any::<String>(),
        any::<bool>(),
        option::of(vec(peer, 0..3)),
        option::of(manifest()),
    )
        .prop_map(|(swarm_id, successful, peers, manifest)| SwarmResult {
            swarm_id,
            successful,
            peers,
            manifest: manifest.map(Into::into),
        })
}

proptest! {
    #[test]
    fn requests_are_read_as_they_were_written(transaction_id: String, peer_id: String, body in body()) {
        let request = Request { transaction_id, peer_id, body };
        let reading = read_request(request.to_json().as_bytes(), Profile::Grammar);
        prop_assert_eq!(Ok(Reading { message: request, leniencies: vec![] }), reading);
    }

    #[test]
    fn responses_are_read_as_they_were_written(
        transaction_id: String,
        error in prop::sample::select(ErrorCode::ALL),
        peer_addr in option::of(peer_addr()),
        swarm_result in vec(swarm_result(), 0..3),
    ) {
        let response = Response { transaction_id, error, peer_addr, swarm_result };
        // What is shared is kept as text when it is written first, and the same the second time.
        let shared = response.clone();
        let json = response.to_json();
        prop_assert_eq!(&json, &shared.to_json());
        let reading = read(json.as_bytes(), Profile::Grammar);
        prop_assert_eq!(
            Ok(Reading { message: Message::Response(response), leniencies: vec![] }),
            reading
        );
    }

    #[test]
    fn reading_never_panics(octets in vec(any::<u8>(), 0..200)) {
        let _ = read(&octets, Profile::Examples);
    }

    #[test]
    fn reading_a_damaged_message_never_panics(at in 0..CONNECT.len(), octet: u8) {
        let mut octets = CONNECT.as_bytes().to_vec();
        octets[at] = octet;
        let _ = read(&octets, Profile::Examples);
        let _ = read(&octets, Profile::Grammar);
    }
}
