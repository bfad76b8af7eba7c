//! Every decision a node may take differently, as plain data. The first value of each list is canonical
//! (seed 0); the others are as lawful, with the source that allows them beside. Nothing else in a node
//! may be a matter of taste.

use std::time::Duration;

use super::tracking_list::{Empty, Excess, InvalidAction, KeptAliveBy, Order, Reuse, Unqualified};
use crate::{proto::digest::NonceCounts, random::Random, spec::Role, wire::ppstp::ErrorCode};

/// Declares a role's decisions: `name: Type = [canonical, other lawful values…]`.
macro_rules! decisions {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $ty:ty = [$first:expr $(, $other:expr)* $(,)?],)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $first,)* }
            }
        }

        impl $name {
            /// One lawful value for each decision.
            #[allow(unused_variables)]
            pub fn draw(random: &mut Random) -> Self {
                $name { $($field: {
                    let lawful: Vec<$ty> = vec![$first $(, $other)*];
                    // What is not to be decided draws nothing, so that a new row of that kind leaves
                    // what each seed draws as it is.
                    let drawn = if lawful.len() > 1 { random.below(lawful.len() as u64) } else { 0 };
                    lawful[drawn as usize].clone()
                },)* }
            }

            /// The decisions that are not canonical, by name.
            pub fn differing(&self) -> Vec<&'static str> {
                #[allow(unused_variables)]
                let canonical = Self::default();
                #[allow(unused_mut)]
                let mut names = Vec::new();
                $(if self.$field != canonical.$field { names.push(stringify!($field)); })*
                names
            }
        }
    };
}

decisions! {
    /// What any SIP user agent may do one way or another.
    UaPolicy {
        /// Whether a 2xx to INVITE is acknowledged (RFC 3261 13.2.2.4).
        acknowledges: bool = [true],
        /// Whether it asserts its identity itself (RFC 3325 has the network do that, clause not verified).
        asserts_identity: bool = [false],
        /// Whether an AKA challenge is answered only if it was made with the USIM's key (TS 33.203 6.1.2).
        checks_network: bool = [true],
        /// Whether a Call-ID ends in @host (RFC 3261 25.1: the host part is optional).
        call_id_has_host: bool = [true, false],
        /// Whether Contact names the service (TS 24.229 5.1.1.2.1, second-hand).
        contact_names_service: bool = [true],
        /// Whether long-known headers go by their compact names (RFC 3261 7.3.3).
        compact_names: bool = [false, true],
        /// Whether sessions are ended by BYE (RFC 3261 15).
        ends_sessions: bool = [true],
        /// Whether a REGISTER asks for its lifetime in Contact or in Expires (RFC 3261 10.2.1.1).
        expires_in_contact: bool = [true, false],
        /// Whether a header no one needs to know goes along (RFC 3261 20: unknown ones are ignored).
        extra_header: bool = [false, true],
        /// Whether headers after Route stand in reverse order (RFC 3261 7.3.1: the order of different
        /// names means nothing).
        headers_reversed: bool = [false, true],
        /// Whether requests name the access network (TS 24.229 5.1.2A.1, clause not verified).
        names_access_network: bool = [true],
        /// Whether the first REGISTER names the private identity (TS 24.229 5.1.1.2.3, second-hand).
        names_user_at_first: bool = [true],
        /// Whether P-Preferred-Identity is sent; without it the P-CSCF takes the default identity
        /// (TS 24.229 5.2.6.3.1, second-hand).
        preferred_identity: bool = [true, false],
        /// Whether the Service-Route is preloaded (RFC 3608, clause not verified).
        preloads_service_route: bool = [true],
        /// Whether a REGISTER's Request-URI has a user part (RFC 3261 10.2 forbids it).
        registrar_has_user: bool = [false],
        /// Whether a refreshing REGISTER reuses the last nonce with the next count (RFC 3261 22.3).
        reuse_nonce: bool = [false, true],
        /// Whether several routes stand in one Route header or in one each (RFC 3261 7.3.1).
        routes_in_one_line: bool = [true, false],
        /// Whether security agreement headers are sent (RFC 3329); headers only, no IPsec is built.
        sec_agree: bool = [false],
        /// Whether an INVITE goes straight to the other end, past the P-CSCF.
        skips_p_cscf: bool = [false],
        /// T1 towards the P-CSCF, in milliseconds, the other timers in proportion (TS 24.229 7.7, second-hand).
        t1_millis: u32 = [2000],
        /// Whether what does not come from its P-CSCF is heeded (TS 24.229 5.1.1, clause not verified).
        trusts_anybody: bool = [false],
        /// Whether it subscribes to its own registration state (TS 24.229 5.1.1.3, clause not verified).
        watches_registration: bool = [true],
    }
}

decisions! {
    /// The asking UE.
    UePolicy {
        /// Whether every listed peer is taken to hold every piece.
        asks_anybody: bool = [false],
        /// Whether it asks itself for pieces.
        asks_itself: bool = [false],
        /// Whether all pieces are asked for at once, or one after the other.
        asks_in_parallel: bool = [true, false],
        /// Whether a 206 is held against what was asked for (RFC 9110 15.3.7).
        checks_content_range: bool = [true],
        /// Whether it reports as soon as it has a list, and claims all pieces in every report.
        claims_everything: bool = [false],
        /// Whether file ranges count from 0 (RFC 5547 6: from 1).
        counts_range_from_zero: bool = [false],
        /// Whether PPSTP transaction ids count up or are random (RFC 7846 1.1: opaque).
        counts_transactions: bool = [true, false],
        /// Whether credentials go with every request on Ut once a challenge is known, or only with the
        /// answer to a challenge (RFC 7616 3.6).
        digest_preempts: bool = [true, false],
        /// Whether who is no longer listed is no longer asked.
        heeds_later_lists: bool = [true],
        /// Whether an HTTP connection is used again (RFC 9112 9.3).
        keeps_connections: bool = [true, false],
        /// Whether it goes on telling the tracker after its first report (RFC 7846 2.2).
        keeps_reporting: bool = [true],
        /// Whether later pieces are asked for first.
        last_piece_first: bool = [false, true],
        /// How often a list is asked for anew when nobody listed can be asked; ours.
        most_finds: u32 = [2],
        /// Whether a PUBLISH about state that stands names its entity tag (RFC 3903 4.1).
        names_entity_tag: bool = [true],
        /// Whether it looks for another holder after a refusal.
        looks_elsewhere: bool = [true],
        /// Whether an offer says which types it accepts (RFC 4975 8.6).
        names_accepted_types: bool = [true],
        /// Whether a pull offer is sendrecv instead of recvonly (RFC 5547 8.2.2).
        offers_to_send: bool = [false],
        /// How many peers it asks for; "should be less than 30" (RFC 7846 3.2.2).
        peer_count: u64 = [5, 10, 29],
        /// Whether it publishes to the tracker's service identity instead of its own; to be declared.
        publishes_to_psi: bool = [false],
        /// Whether a repeated PPSTP request keeps its transaction id (RFC 7846 4.3).
        repeats_transaction: bool = [true],
        /// Seconds between status reports on Ut; the RFC names no period.
        report_period: u64 = [60, 45],
        /// Whether another holder is asked for a piece whose digest was wrong.
        replaces_polluted: bool = [true],
        /// Whether it reports on the path the status option does not name.
        reports_on_other_path: bool = [false],
        /// Whether it requests pieces on the path the request option does not name.
        requests_on_other_path: bool = [false],
        /// Whether the tail of a broken transfer is asked for, or the piece anew.
        resumes: bool = [true, false],
        /// Whether a file selector has a SHA-256 digest beside the SHA-1 (RFC 5547 6: several are lawful).
        selector_has_sha256: bool = [true, false],
        /// Whether the offer says a=setup:active, or leaves it to be understood (RFC 4975 5.4).
        says_setup: bool = [true, false],
        /// Whether peers of equal priority are tried in random order, or as listed.
        ties_at_random: bool = [false, true],
        /// Whether all pieces together are held against the digests of the whole (RFC 5547 6: should).
        verifies_the_whole: bool = [true],
        /// Whether a piece is held against its digest.
        verifies_pieces: bool = [true],
        /// Whether Retry-After is waited for (RFC 3261 20.33).
        waits_when_asked: bool = [true],
        /// Whether it ends its subscription once it has everything.
        unsubscribes_when_done: bool = [false, true],
    }
}

decisions! {
    /// Whoever serves pieces: user peer, registered Edge Server and Origin Server.
    ServingPolicy {
        /// The status that refuses a request of which no piece can be given (RFC 5547 8.3.2, clause not
        /// verified: the description is rejected, so 488, not 404).
        unheld_status: u16 = [488],
        /// The status that refuses a request beyond the limit (RFC 3261 21.4.24).
        busy_status: u16 = [486],
        /// Seconds after which a busy holder may be asked again (RFC 3261 20.33).
        retry_after: u64 = [5, 30],
        /// Transfers a holder carries at a time.
        most_transfers: usize = [16],
        /// Whether 180 goes before 200 (RFC 3261 13.3.1.1: the UAS may send provisional responses).
        rings: bool = [false, true],
        /// Whether the answer names the SHA-1 of the whole file where the offer did not (RFC 5547 8.3.2,
        /// clause not verified).
        tells_hash: bool = [true],
        /// How many octets further than asked the pieces it sends begin.
        octets_shifted: u64 = [0],
        /// How many octets of a piece it does not send.
        octets_withheld: u64 = [0],
        /// Whether the first octet of each piece it sends is wrong.
        pollutes: bool = [false],
        /// Whether pieces are given away that are not held.
        serves_unheld: bool = [false],
        /// Whether a SEND of more than 2048 octets leaves its end open, so that it can be interrupted
        /// (RFC 4975 7.1.1).
        interruptible: bool = [true],
        /// Octets a SEND carries (RFC 4975 7.1.1: above 2048 it must be interruptible, and says so).
        msrp_chunk: usize = [2048, 8192, 16384],
        /// Whether Failure-Report is written although it has its default value (RFC 4975 7.1.2).
        says_failure_report: bool = [false, true],
        /// The status for a range that cannot be satisfied or read (RFC 9110 15.5.17).
        unsatisfiable_status: u16 = [416],
        /// Whether the strong entity tag is made of SHA-256; any would do if all holders agree.
        etag_from_sha256: bool = [true],
    }
}

decisions! {
    /// P-CSCF.
    PCscfPolicy {
        /// T1 toward UEs (TS 24.229 7.7, second-hand).
        access_t1: Duration = [Duration::from_secs(2)],
        /// Whose requests pass. For the others 403 and silence are lawful (TS 24.229 5.2.6.3.2A,
        /// second-hand); ours answers 403.
        admits: Admission = [Admission::Registered],
        /// Whether an identity is asserted for the UE (TS 24.229 5.2.6.3.1, second-hand).
        asserts_identity: bool = [true],
        /// Whether the identity is asserted again inside a dialog (RFC 3325 5: a proxy may add it to any
        /// request; TS 24.229 5.2.6.3.5 was not read for it).
        asserts_inside_dialogs: bool = [true, false],
        /// Whether a request inside a dialog must be of the UE whose dialog it is (TS 24.229 5.2.6.3.5,
        /// second-hand).
        guards_dialogs: bool = [true],
        /// Whether charging and served-user headers stay in the core (TS 24.229 4.5, second-hand).
        hides_charging: bool = [true],
        /// Whether the charging vector says where it was made (RFC 7315: optional; clause not verified).
        icid_generated_at: bool = [false, true],
        /// What the registrar is told of the protection of a REGISTER by SIP digest without TLS
        /// (TS 24.229 5.2.2.3, clause not verified). With security agreement it is always "no": no
        /// association is ever built.
        digest_protection: Option<String> = [None, Some("ip-assoc-pending".to_owned())],
        /// Whether the Path URI has a user part (RFC 3327: any URI that leads here; clause not verified).
        path_has_user: bool = [true, false],
        /// Whether it stays on the path of dialogs (TS 24.229 5.2.6.3.3 step 4, second-hand).
        records_route: bool = [true],
        /// What becomes of a request whose Route is not the one given to the UE: both are lawful
        /// (TS 24.229 5.2.6.3.3 step 2, second-hand).
        route_mismatch: RouteMismatch = [RouteMismatch::Refuse, RouteMismatch::Replace],
        /// Whether what only the core may say is taken off what a UE sends.
        strips_assertions: bool = [true],
        /// The media it lets through (TS 24.229 6.2, clause not verified: the operator's policy).
        allowed_media: &'static [&'static str] = [&["audio", "message"]],
        /// Whether who is called is told of a caller that asks for privacy (RFC 3323, clause not verified).
        privacy: Privacy = [Privacy::Kept],
        /// How long an INVITE may go without a final answer once it had a provisional one (RFC 3261 16.6 step 11: more
        /// than three minutes).
        timer_c: Duration = [Duration::from_secs(181)],
        /// Whose registrations it watches (TS 24.229 5.2.3, second-hand: everybody's).
        watches: Watching = [Watching::Everybody],
        /// After how long without another answer an INVITE is answered 100: at once, or "unless it knows that the
        /// TU will generate a response within 200 ms" (RFC 3261 17.2.1), where on a real clock timers come late.
        trying_after: Duration = [Duration::ZERO, Duration::from_millis(150)],
    }
}

/// What becomes of the identity of a caller that asks for privacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    Kept,
    /// Unlawful: kept only if nothing else is asked for beside it.
    KeptAlone,
    /// Unlawful: told all the same.
    Broken,
}

/// Whose registrations a P-CSCF watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    Everybody,
    /// Unlawful: the first user's alone.
    First,
    /// Unlawful.
    Nobody,
}

/// Whose requests a P-CSCF lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Registered,
    /// Unlawful: a stranger is taken for who From says.
    Anyone,
}

/// What a P-CSCF does with a request that leaves the route its sender was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteMismatch {
    /// 400.
    Refuse,
    /// The right route is put in its place.
    Replace,
    /// Unlawful: the request goes where it wants.
    Pass,
    /// Unlawful: it goes where it wants if the right route stands somewhere in its own.
    PassContaining,
    /// Unlawful: it goes to the I-CSCF if it has no route.
    PassNone,
}

decisions! {
    /// I-CSCF.
    ICscfPolicy {
        /// Whether an INVITE is answered 100 at once, or only if nothing better came in 200 ms
        /// (RFC 3261 17.2.1).
        answers_trying_at_once: bool = [false, true],
        /// Whether S-CSCFs that are equally fit are tried from the last (TS 29.228 6.7 leaves it open).
        chooses_from_the_end: bool = [false, true],
        /// Whether what a neighbour outside the trust domain says of its users is taken off (TS 24.229 4.4, clause not
        /// verified).
        doubts_strangers: Doubt = [Doubt::Everything],
        /// Whether only neighbours in the trust domain may register users (TS 24.229 5.3.1.2).
        guards_registration: bool = [true],
        /// Whether only neighbours in the trust domain get a request served as one of a user (TS 24.229 5.3.2.1A,
        /// clause not verified).
        guards_originating: bool = [true],
        /// Whether another S-CSCF is tried if one does not serve (TS 24.229 5.3.1.3, second-hand).
        reselects: bool = [true],
        /// How long an S-CSCF may take for a REGISTER before another one is tried. No text names a time;
        /// a second one must still fit into Timer F of the P-CSCF, 32 s.
        s_cscf_patience: Duration = [Duration::from_secs(10), Duration::from_secs(12)],
        /// Whether the UAR of a registration says that it is one (TS 29.228 table 6.1.1.1: may be absent).
        states_registration: bool = [false, true],
    }
}

/// What an I-CSCF takes off a request of a neighbour that is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    Everything,
    /// Unlawful: charging headers stay.
    Identities,
    /// Unlawful.
    Nothing,
}

decisions! {
    /// S-CSCF.
    SCscfPolicy {
        /// What a non-INVITE request is answered when an application server that may not be passed by stays
        /// silent: any 5xx, but never 408 (TS 23.218 6.4.1, RFC 4320 4.2).
        as_silence: u16 = [504, 500],
        /// What becomes of a request with a service identifier the user is not subscribed to (TS 23.218
        /// 6.4.1: an operator's option).
        icsi: IcsiPolicy = [IcsiPolicy::Reject, IcsiPolicy::Proceed],
        /// Seconds; the longest registration granted. A registrar may shorten what was asked for (RFC 3261
        /// 10.3 step 8).
        longest_registration: u32 = [600_000, 7_200],
        /// Whether the original dialog identifier stands in the user part of our URI instead of a parameter
        /// (TS 24.229 5.4.3.4 leaves its form open, clause not verified).
        odi_in_user: bool = [false, true],
        /// How an answer to a challenge is looked at (TS 24.229 5.4.1.2.3B, second-hand).
        examines: Examination = [Examination::Whole],
        /// How long an answer to a challenge is awaited: reg-await-auth (TS 24.229 7.8, second-hand).
        awaits_answer: Duration = [Duration::from_secs(240)],
        /// Whether a request that came back as it was is refused (RFC 5393 4.2, clause not verified).
        finds_loops: Loops = [Loops::OfAnything],
        /// Whether requests of a barred identity, and for it, are refused (TS 23.218 6.4.1).
        heeds_barring: bool = [true],
        /// Whether media that a user has not subscribed to are refused (TS 24.229 6.3, clause not verified).
        heeds_media_profiles: bool = [true],
        /// Whether only neighbours that may do so get a request served as one of a user (TS 24.229 5.4.3.1,
        /// second-hand).
        guards_originating: bool = [true],
        /// Whether P-Access-Network-Info stays on a request until the terminating side (TS 24.229 4.4,
        /// second-hand: it may travel inside the trust domain).
        passes_access_network: bool = [true, false],
        /// Whether a wrong SIP digest is challenged once more before 403 (TS 24.229 5.4.1.2.3B, second-hand:
        /// 403 or a new 401).
        rechallenges_wrong_digest: bool = [false, true],
        /// Whether removing a contact that is not bound is refused with 481 (TS 24.229 5.4.1.4, second-hand)
        /// or accepted (RFC 3261 10.3 step 7).
        refuses_unknown_binding: bool = [true, false],
    }
}

decisions! {
    /// HSS.
    HssPolicy {
        /// Whether the association of the identities is checked in SAR too (TS 29.228 6.1.2.1 step 2: may).
        checks_identities_in_sar: bool = [true, false],
        /// Where the sequence numbers of AKA begin. Any would be lawful; a USIM answers a distant one with
        /// AUTS, which costs a round trip more.
        first_sqn: u64 = [0],
        /// Whether LIA-Flags tells that Server-Name is an application server (TS 29.228 6.1.4.1: may).
        flags_direct_routing: bool = [true, false],
        /// Whether a private identity gets at its own public identities only (TS 29.228 6.1.1.1 and 6.3.1,
        /// steps 1 to 3).
        matches_identities: bool = [true],
        /// Whether the S-CSCF's name is kept if it asks so at a de-registration (TS 29.228 6.1.2.1).
        keeps_server_name: bool = [true, false],
        /// How many authentication vectors are given at most (TS 29.228 6.3.1: up to the number asked for).
        most_vectors: u32 = [5, 1],
        /// Whether Digest-Algorithm is sent; MD5 is assumed without (TS 29.228 table 6.3.7).
        names_digest_algorithm: bool = [true, false],
        /// Whether the I-CSCF is given names of S-CSCFs to choose from; without any it may choose any
        /// (TS 29.228 6.1.1.1 step 6, 6.7).
        names_servers: bool = [false, true],
        /// Whether the service identity of the tracker is answered with the application server or with an
        /// S-CSCF for it (TS 23.228 5.4.12.2 b and a).
        routes_service_directly: bool = [true, false],
        /// Whether a profile is sent though the S-CSCF says it has it (TS 29.228 6.6: may).
        sends_known_profile: bool = [false, true],
    }
}

decisions! {
    /// Tracker AS.
    TrackerPolicy {
        /// Whether the certificate of whoever comes over the dedicated interface says who it is (RFC 7846 4), not its
        /// address.
        believes_certificates: Belief = [Belief::Always],
        /// Whether links on Ut have to be protected where the tracker has TLS (RFC 7846 6.1).
        demands_tls: TlsDemand = [TlsDemand::OfEverybody],
        /// Whether X-3GPP-Asserted-Identity on Ut is taken for proof: only where a proxy stands before
        /// the server that takes it off what users write (TS 24.109, clause not verified), and none does.
        believes_asserted_on_ut: bool = [false],
        /// Whether a peer id is its first user's alone (RFC 7846 6.1).
        binds_peer_ids: bool = [true],
        /// Whether reports are taken from the peer id's own user only (RFC 7846 6.1).
        binds_reports: bool = [true],
        /// Whether who may not use the service is refused on ISC (TR 23.844 6.2).
        checks_service_on_isc: bool = [true],
        /// Whether who may not use the service is refused on Ut (TR 23.844 6.2).
        checks_service_on_ut: bool = [true],
        /// Whether peers are chosen so that together they hold what the asker lacks (TR 23.844 6.2.1 step 2).
        covers: bool = [true],
        /// What becomes of user peers that the network's policy does not find qualified (TR 23.844).
        unqualified: Unqualified = [Unqualified::Hidden],
        /// Which requests keep a peer alive (RFC 7846 2.3.1, 4.1.3).
        kept_alive_by: KeptAliveBy = [KeptAliveBy::AnyRequest],
        /// Whether a peer that left its last swarm is forgotten (RFC 7846 4.1.1).
        leaving_ends: bool = [true],
        /// Whether a LEECH may open a swarm that nobody announced.
        leech_opens_swarm: bool = [false],
        /// The longest list (RFC 7846 3.2.2: less than 30).
        most_listed: u64 = [29],
        /// How often a nonce count is good (RFC 7616 5.4, clause not verified).
        nonce_counts: NonceCounts = [NonceCounts::Once],
        /// Whether whoever comes over the dedicated interface has to prove who it is: ours.
        proves_neighbours: bool = [true],
        /// Whether whoever comes over Ut has to prove who it is (RFC 7846 4).
        proves_users: bool = [true],
        /// Whether a first CONNECT registers although each of its actions is invalid (RFC 7846 2.3.2).
        registers_whoever_errs: bool = [false],
        /// Whether a CONNECT that comes again has its effect once (RFC 7846 4.3).
        remembers_transactions: bool = [true],
        /// Whether a publication of which some is refused has the rest of its effect (RFC 3903 6: it must not).
        takes_parts_of_publications: Parts = [Parts::OfNone],
        /// Whether a wrong password on Ut is as good as the right one (RFC 7846 4.1.1).
        takes_any_password: bool = [false],
        /// Whether other methods than POST are taken for POST (RFC 7846 4).
        takes_any_method: bool = [false],
        /// Which algorithm Ut's challenge offers first (RFC 7616 3.7: the server's order of preference).
        digest_offer: DigestOffer = [DigestOffer::Sha256First, DigestOffer::Md5First],
        /// How a list of nobody is written (RFC 7846 3.2.4 against 4.1.2).
        empty: Empty = [Empty::EmptyArray, Empty::NoGroup],
        /// Which HTTP status carries a PPSTP failure (RFC 7846 4.3 names none).
        error_status: ErrorStatus = [ErrorStatus::Ok, ErrorStatus::Mapped],
        /// What is done when 30 peers or more are asked for (RFC 7846 3.2.2).
        excess: Excess = [Excess::Cap, Excess::Refuse],
        /// What an invalid action does to a tracked peer (RFC 7846 Figure 5 against Table 6).
        invalid_action: InvalidAction = [InvalidAction::Keep, InvalidAction::Terminate],
        /// The longest publication, in seconds (RFC 3903 4.2: shortened, never extended).
        longest_publication: u32 = [3600, 600],
        /// The longest subscription, in seconds (RFC 6665 4.2.1.1: shortened, never lengthened).
        longest_subscription: u32 = [3600, 600],
        /// What answers a request of another media type (RFC 7846 4; the code is HTTP's or error 1).
        media_type_error: MediaTypeError =
            [MediaTypeError::UnsupportedMediaType, MediaTypeError::BadRequest],
        /// Whether the first NOTIFY goes before the 200 or after it (RFC 6665 4.1.2.4: either order).
        notify_timing: NotifyTiming = [NotifyTiming::AfterResponse, NotifyTiming::BeforeResponse],
        /// Which peers are preferred (RFC 7846 4.1.1 leaves it open).
        order: Order = [Order::Priority, Order::Rarest, Order::Shuffled],
        /// Whether the asker is told where it was seen (RFC 7846 4.1.1: may).
        reflexive: bool = [false, true],
        /// What is done when a transaction id comes again with other content (RFC 7846 4.3 is silent).
        reuse: Reuse = [Reuse::Process, Reuse::Refuse],
        /// Seconds below which a publication is refused with 423 (RFC 3903 6 step 4: may).
        shortest_publication: u32 = [0, 10],
        /// T1 on ISC, in milliseconds, the other timers in proportion (TS 24.229 7.7, second-hand).
        t1_millis: u32 = [500],
        /// The error for a peer id that is bound to somebody else (RFC 7846 2.3.2 B: 6 or 3).
        taken: ErrorCode = [ErrorCode::ForbiddenAction, ErrorCode::AuthenticationRequired],
        /// The least time between two NOTIFYs, in milliseconds (RFC 6665 4.2.2 leaves it open).
        throttle_millis: u32 = [1000, 500],
        /// The track timer, in seconds (RFC 7846 2.3 gives no value).
        track_timeout: u32 = [180, 150],
        /// The error for an unregistered peer's FIND or STAT_REPORT (RFC 7846 2.3.2 B: 6 or 3).
        unregistered: ErrorCode =
            [ErrorCode::ForbiddenAction, ErrorCode::AuthenticationRequired],
    }
}

/// Which HTTP Digest algorithm stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestOffer {
    Sha256First,
    Md5First,
}

/// Which HTTP status carries the PPSTP errors 1 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorStatus {
    /// 200: the document says it all.
    Ok,
    /// 400 or 403.
    Mapped,
}

/// What answers a document of another media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaTypeError {
    /// 415.
    UnsupportedMediaType,
    /// 400 with error 1.
    BadRequest,
}

/// When the first NOTIFY of a subscription goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyTiming {
    AfterResponse,
    BeforeResponse,
}

decisions! {
    /// Edge Server and Origin Server as HTTP servers.
    CdnServerPolicy {
        /// The status that refuses a session for octets that are not held and cannot be had.
        unheld_status: u16 = [404],
        /// The status that refuses a session beyond the limit.
        busy_status: u16 = [409],
        /// The status for a data request without a good token.
        untrusted_status: u16 = [403],
        /// Seconds after which a busy server may be asked again (RFC 9110 10.2.3).
        retry_after: u64 = [5, 30],
        /// Sessions a server carries at a time.
        most_sessions: usize = [64],
        /// Seconds a session waits for its client: longer than any token for it lives.
        session_lifetime: u64 = [90, 120],
        /// Whether a token is good for one transfer only.
        token_once: bool = [true],
        /// Whether tokens are looked at.
        checks_tokens: bool = [true],
        /// Whether a token is good for the client alone that it was made for (RFC 9246, clause not
        /// verified; so the two below).
        binds_token_to_client: bool = [true],
        /// Whether a token is good for those octets alone that it was made for.
        binds_token_to_octets: bool = [true],
        /// Whether a token is good for its time only.
        heeds_token_expiry: bool = [true],
        /// Whether 201 names the session in Location (RFC 9110 10.2.2).
        says_location: bool = [true, false],
        /// Whether sessions under TLS are opened for the own Controller alone.
        asks_who_asks: bool = [true],
        /// Whether an edge fetches from the origin what it does not hold.
        fetches: bool = [true],
        /// Whether what came from the origin is compared to the manifest before it is given away.
        verifies: bool = [true],
        /// Seconds between reports of a server that tells the tracker what it holds.
        report_interval: u64 = [30, 20],
        /// Whether an origin announces the manifest along (its own is the provisioned one).
        announces_manifest: bool = [true, false],
    }
}

decisions! {
    /// CDN Controller.
    ControllerPolicy {
        /// Whether 100 goes out at once; else the transaction sends it in time (RFC 3261 17.2.1: within
        /// 200 ms).
        tries_at_once: bool = [true, false],
        /// Whether a request that passed this CDN before is refused (RFC 8586 2).
        refuses_loops: bool = [true],
        /// Milliseconds an edge may take to answer.
        edge_limit: u64 = [2000],
        /// Which of several holders is asked first.
        last_holder_first: bool = [false, true],
        /// Whether edges are asked that do not hold the piece although another does.
        asks_any_edge: bool = [false],
        /// Whether a piece that only the origin holds is asked of an edge, which then fetches it.
        fills_cold_edges: bool = [true],
        /// Whether a call is accepted before an edge has spoken; TS 26.237 15.1 (clause not verified) has
        /// the edge asked first.
        accepts_first: bool = [false],
        /// Whether what the edges hold is told to the tracker (TR 23.844 6.2.2).
        announces: bool = [true],
        /// How many holders are asked for one piece at a time (TR 23.844 6.2.2 step 5).
        asked_at_a_time: usize = [1],
        /// Whether edges are asked for the octets after those that a UE asked for.
        reads_ahead: bool = [false],
        /// Whether an edge is told the Controller's own address for the client's.
        tells_own_address: bool = [false],
        /// Whether pieces that no edge holds any more are taken back at the tracker.
        withdraws: bool = [true],
        /// Whether pieces are taken back that edges turn out not to hold when they are asked.
        withdraws_refused: bool = [true],
        /// Whether pieces are taken back that one edge lost and another still holds.
        withdraws_early: bool = [false],
        /// Whether another holder is asked when one fails.
        tries_alternates: bool = [true],
        /// Whether another holder is asked when one stays silent.
        tries_after_silence: bool = [true],
        /// Whether an edge's session is ended with the call.
        deletes_sessions: bool = [true],
        /// Whether what an edge sent is compared to what was asked.
        checks_length: bool = [true],
        /// How many octets further than asked the range begins that an edge is asked for.
        range_shifted: u64 = [0],
        /// The status for a piece that nobody in the CDN holds.
        unknown_status: u16 = [488],
        /// The status when all holders are busy.
        busy_status: u16 = [486],
        /// The status when holders are down.
        down_status: u16 = [480],
        /// The status when a holder stayed silent.
        silent_status: u16 = [504],
        /// The status beyond the Controller's own limit.
        overloaded_status: u16 = [503],
        /// Seconds after which a refused request may be tried again (RFC 3261 20.33).
        retry_after: u64 = [5, 30],
        /// Calls carried at a time.
        most_calls: usize = [256],
        /// The status that sends a direct request on to an edge.
        redirect_status: u16 = [302],
        /// Seconds a data token lives.
        token_lifetime: u64 = [30, 60],
        /// Seconds between reports to the tracker.
        report_interval: u64 = [30, 20],
    }
}

/// Which requests an S-CSCF knows if they come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loops {
    OfAnything,
    /// Unlawful.
    OfInvites,
    /// Unlawful.
    OfNothing,
}

/// When a tracker takes a certificate for who it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    Always,
    /// Unlawful: in CONNECT; of anything else the address says whose it is.
    WhenJoining,
    /// Unlawful: the address says it.
    Never,
}

/// Of whom a tracker demands TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsDemand {
    OfEverybody,
    /// Unlawful: not of who has credentials.
    OfStrangers,
    /// Unlawful.
    OfNobody,
}

/// Of which publications a tracker takes what is valid, and leaves the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    OfNone,
    /// Unlawful: of those that change one.
    OfChanges,
    /// Unlawful.
    OfAll,
}

/// How an S-CSCF looks at the answer to a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Examination {
    /// Response, nonce and nonce count.
    Whole,
    /// Unlawful: whoever is registered is believed.
    FirstTime,
    /// Unlawful: any response will do.
    None,
    /// Unlawful: the same nonce count will do again and again, with a nonce of any age.
    ResponseOnly,
}

/// What an S-CSCF does with a service identifier the user is not subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcsiPolicy {
    /// Goes on without a service identifier.
    Proceed,
    /// Answers 403.
    Reject,
}

/// The decisions of all roles; a node looks at its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    pub ua: UaPolicy,
    pub ue: UePolicy,
    pub serving: ServingPolicy,
    pub p_cscf: PCscfPolicy,
    pub i_cscf: ICscfPolicy,
    pub s_cscf: SCscfPolicy,
    pub hss: HssPolicy,
    pub tracker: TrackerPolicy,
    pub cdn_server: CdnServerPolicy,
    pub controller: ControllerPolicy,
}

impl Policy {
    /// The decisions of a role's own that are not canonical, by name.
    pub fn differing(&self, role: Role) -> Vec<&'static str> {
        match role {
            Role::Ue | Role::UserPeer => [
                self.ua.differing(),
                self.ue.differing(),
                self.serving.differing(),
            ]
            .concat(),
            Role::PCscf => self.p_cscf.differing(),
            Role::ICscf => self.i_cscf.differing(),
            Role::SCscf => self.s_cscf.differing(),
            Role::Hss => self.hss.differing(),
            Role::Tracker => self.tracker.differing(),
            Role::EdgeServer | Role::OriginServer => [
                self.ua.differing(),
                self.serving.differing(),
                self.cdn_server.differing(),
            ]
            .concat(),
            Role::Controller => [self.ua.differing(), self.controller.differing()].concat(),
        }
    }

    /// One lawful value for every decision of every role.
    pub fn draw(random: &mut Random) -> Policy {
        Policy {
            ua: UaPolicy::draw(random),
            ue: UePolicy::draw(random),
            serving: ServingPolicy::draw(random),
            p_cscf: PCscfPolicy::draw(random),
            i_cscf: ICscfPolicy::draw(random),
            s_cscf: SCscfPolicy::draw(random),
            hss: HssPolicy::draw(random),
            tracker: TrackerPolicy::draw(random),
            cdn_server: CdnServerPolicy::draw(random),
            controller: ControllerPolicy::draw(random),
        }
    }
}
