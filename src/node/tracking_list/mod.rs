//! The Tracking List of the Tracker AS (TR 23.844 6.2): who holds which piece of what, until when.
//!
//! Pure: it is told the time, it knows no door. One implementation serves conformance and load, so the
//! paths that every request takes search nothing, and what is kept of a peer is small: entries of lists are
//! made when they are told, not kept. Start at [`TrackingList::answer`]; [`choose`] picks the peers that are
//! listed, [`peers`] holds what is kept of each, [`owners`] whose they are.

mod answer;
mod choose;
mod owners;
mod peers;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, VecDeque},
    hash::{BuildHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hashbrown::HashTable;

use self::{
    owners::Owners,
    peers::{Addresses, Memberships, Told},
};
use super::setup::Content;
use crate::{
    random::Random,
    time::At,
    wire::ppstp::{
        AddressKind, ErrorCode, Manifest, ManifestPiece, PeerCds, PeerInfo, PeerMode, PeerRole,
        Pieces, Response, Shared, Stat,
    },
};

/// What the list does where RFC 7846 leaves it open or contradicts itself.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The track timer; RFC 7846 2.3 gives no value.
    pub track_timeout: Duration,
    pub order: Order,
    pub invalid_action: InvalidAction,
    pub excess: Excess,
    pub reuse: Reuse,
    pub empty: Empty,
    /// To a FIND or STAT_REPORT of an unregistered peer: 3 or 6 (RFC 7846 2.3.2 B).
    pub unregistered: ErrorCode,
    /// To a peer id that is bound to somebody else: 3 or 6 (RFC 7846 2.3.2 B).
    pub taken: ErrorCode,
    /// Whether the asker is told where it was seen (RFC 7846 4.1.1).
    pub reflexive: bool,
    /// Whether a LEECH may open a swarm nobody announced. Never so for the service; base RFC 7846 has
    /// no notion of an unknown swarm.
    pub leech_opens_swarm: bool,
    /// Whether a peer id is its first user's alone (RFC 7846 6.1); `binds_reports` for STAT_REPORT.
    pub binds_peer_ids: bool,
    pub binds_reports: bool,
    /// Whether peers are chosen so that together they hold what the asker lacks.
    pub covers: bool,
    pub unqualified: Unqualified,
    pub kept_alive_by: KeptAliveBy,
    /// Whether a peer that left its last swarm is forgotten.
    pub leaving_ends: bool,
    /// The longest list (RFC 7846 3.2.2: less than 30).
    pub most_listed: u64,
    /// Whether a first CONNECT registers although each of its actions is invalid.
    pub registers_whoever_errs: bool,
    /// Whether a CONNECT that comes again has its effect once (RFC 7846 4.3).
    pub remembers_transactions: bool,
    /// Peer ids one owner may have at a time (RFC 7846 6.3).
    pub peers_per_owner: usize,
    /// What may never be listed.
    pub hidden: Hidden,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            track_timeout: Duration::from_secs(180),
            order: Order::Priority,
            invalid_action: InvalidAction::Keep,
            excess: Excess::Cap,
            reuse: Reuse::Process,
            empty: Empty::EmptyArray,
            unregistered: ErrorCode::ForbiddenAction,
            taken: ErrorCode::ForbiddenAction,
            reflexive: false,
            leech_opens_swarm: false,
            binds_peer_ids: true,
            binds_reports: true,
            covers: true,
            unqualified: Unqualified::Hidden,
            kept_alive_by: KeptAliveBy::AnyRequest,
            leaving_ends: true,
            most_listed: 29,
            registers_whoever_errs: false,
            remembers_transactions: true,
            peers_per_owner: 64,
            hidden: Hidden::default(),
        }
    }
}

/// Which requests give a peer its time anew. RFC 7846 2.3.1: every one, reports without statistics too
/// (4.1.3); the others are unlawful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptAliveBy {
    AnyRequest,
    AnyButEmptyReports,
    AnyButFinds,
    Connects,
}

/// What becomes of user peers that the network's policy does not find qualified. TR 23.844: they are not told of; the
/// others are unlawful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unqualified {
    Hidden,
    /// Those that come through the IMS core are listed.
    HiddenOnUt,
    Listed,
}

/// In which order peers are preferred and listed. RFC 7846 4.1.1 leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Larger priority first, equals in random order.
    Priority,
    /// Holders of what few hold first.
    Rarest,
    /// Random.
    Shuffled,
}

/// What an invalid action does to a peer in TRACKING: Figure 5 and Table 6 of RFC 7846 disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidAction {
    Keep,
    Terminate,
}

/// What is done when 30 peers or more are asked for (RFC 7846 3.2.2: "should be less than 30").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// At most 29 are listed.
    Cap,
    /// Error 1.
    Refuse,
}

/// What is done when a transaction id comes again with other content; RFC 7846 4.3 does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    Process,
    /// Error 1.
    Refuse,
}

/// How a list of nobody is written: RFC 7846 3.2.4 and 4.1.2 cannot both be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    EmptyArray,
    NoGroup,
}

/// Addresses and host names that may not appear in a list: in 6.2.2 those of Edge and Origin Servers.
#[derive(Clone, Debug, Default)]
pub struct Hidden {
    pub ips: BTreeSet<IpAddr>,
    pub hosts: BTreeSet<String>,
}

/// Who asks, as the door that let it in knows it.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Whoever authenticated: a private identity, or a node on the dedicated interface. Peer ids belong
    /// to it.
    pub owner: Arc<str>,
    pub role: PeerRole,
    /// Whether it may be told to others: user peers as the network's policy has it (TR 23.844), CDN nodes always.
    pub is_qualified: bool,
    /// Its public identities, the default first: nobody is listed under another's.
    pub identities: Vec<String>,
    /// Where its request came from, if it came straight.
    pub seen: Option<SocketAddr>,
}

/// A peer that is no longer tracked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub peer_id: Box<str>,
    pub owner: Box<str>,
}

/// What a peer reported of one swarm; the units are those of [`Stat`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub uploaded: u64,
    pub downloaded: u64,
    pub bandwidth: u64,
    pub links: u64,
}

impl From<&Stat> for Counters {
    fn from(stat: &Stat) -> Counters {
        Counters {
            uploaded: stat.uploaded_bytes,
            downloaded: stat.downloaded_bytes,
            bandwidth: stat.available_bandwidth,
            links: stat.concurrent_links,
        }
    }
}

/// The list. See the module.
#[derive(Debug)]
pub struct TrackingList {
    rules: Rules,
    random: Random,
    hasher: Seeded,
    peers: Slots<Peer>,
    swarms: Slots<Swarm>,
    /// Keys of peers under their ids.
    peer_of: HashTable<u32>,
    swarm_of: HashMap<Box<str>, u32, Seeded>,
    owners: Owners,
    /// One entry a peer: when it may be due, and in which life. A touched peer's entry is put off when
    /// it comes up.
    deadlines: BinaryHeap<Reverse<(At, u32, u32)>>,
    recent: Recent,
    /// Found to be silent when they were about to be listed; told by the next call that expires.
    removed: Vec<Removed>,
    /// Counts registrations, and begins again after 2³² of them.
    lives: u32,
    revisions: u64,
    scratch: choose::Scratch,
}

#[derive(Debug)]
struct Peer {
    id: Box<str>,
    /// Key among the owners.
    owner: u32,
    /// The owner's peer that was registered next, or [`owners::NOBODY`].
    next: u32,
    /// Tells this registration from an earlier one in the same slot.
    life: u32,
    deadline: At,
    /// Kept at least until then, by a publication.
    keep_until: At,
    /// Those that may be listed, the largest priority first.
    addrs: Addresses,
    memberships: Memberships,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Membership {
    swarm: u32,
    /// Index among the swarm's members.
    member: u32,
}

#[derive(Debug)]
struct Swarm {
    id: Box<str>,
    manifest: Option<Shared<Manifest>>,
    /// All pieces of the manifest; empty without one.
    numbers: Pieces,
    is_provisioned: bool,
    /// Grows with every change of what may be listed.
    revision: u64,
    members: Vec<Member>,
    /// What is told of each member, at the member's index.
    told: Vec<Told>,
    /// Holders of piece n at n - 1.
    holders: Vec<Holders>,
    /// Some of those, as peers, that may be listed and are preferred to users by their role: all if they are few.
    foremost: Vec<u32>,
}

/// Who may be listed for one piece.
#[derive(Clone, Copy, Debug)]
struct Holders {
    count: u32,
    /// Some of them, as peers: all if they are few. So a rare piece is found in a large swarm without a walk.
    some: [u32; Holders::SOME],
}

impl Default for Holders {
    fn default() -> Self {
        Holders {
            count: 0,
            some: [owners::NOBODY; Holders::SOME],
        }
    }
}

impl Holders {
    const SOME: usize = 4;

    fn add(&mut self, peer: u32) {
        self.count += 1;
        self.keep(peer);
    }

    /// Keeps a holder in mind, if there is room.
    fn keep(&mut self, peer: u32) {
        if let Some(free) = self.some.iter_mut().find(|one| **one == owners::NOBODY) {
            *free = peer;
        }
    }

    /// Forgets a holder; false if there are others and none of them is known.
    fn take(&mut self, peer: u32) -> bool {
        self.count -= 1;
        for one in self.some.iter_mut().filter(|one| **one == peer) {
            *one = owners::NOBODY;
        }
        self.count == 0 || self.some().next().is_some()
    }

    fn some(&self) -> impl Iterator<Item = u32> {
        self.some
            .iter()
            .copied()
            .filter(|one| *one != owners::NOBODY)
    }
}

impl Swarm {
    /// The most that are kept in mind for their role.
    const FOREMOST: usize = 16;

    /// Keeps a member's role in mind, if it is one that is preferred and there is room.
    fn prefer(&mut self, peer: u32, role: PeerRole, is_listed: bool) {
        self.foremost.retain(|one| *one != peer);
        let is_preferred = is_listed && priority(role) > priority(PeerRole::User);
        if is_preferred && self.foremost.len() < Swarm::FOREMOST {
            self.foremost.push(peer);
        }
    }

    /// Looks for holders of a piece of whom none is known any more: after as many have gone as are known at a time.
    fn look_for_holders(&mut self, n: u32, but: u32) {
        let holds = |member: &&Member| member.is_listed && member.pieces.contains(n);
        let members = self.members.iter().filter(holds);
        let found = members
            .map(|member| member.peer)
            .filter(|peer| *peer != but);
        let found: Vec<u32> = found.take(Holders::SOME).collect();
        let holders = &mut self.holders[n as usize - 1];
        found.into_iter().for_each(|peer| holders.keep(peer));
    }
}

/// What choosing peers looks at: small, since a swarm is walked.
#[derive(Debug)]
struct Member {
    peer: u32,
    mode: PeerMode,
    role: PeerRole,
    /// It joined as SEEDER and said nothing of pieces: it holds the content (RFC 7846 3.2.3).
    holds_all: bool,
    /// Whether others may be told of it: it may be, and gave an address when it joined.
    is_listed: bool,
    pieces: Pieces,
}

/// Bounds of ours.
const MOST_MEMBERSHIPS: usize = 1024;
const MOST_SWARMS: usize = 1 << 20;

impl TrackingList {
    pub fn new(rules: Rules, seed: u64) -> TrackingList {
        let hasher = Seeded(seed);
        TrackingList {
            rules,
            random: Random::new(seed),
            hasher,
            peers: Slots::default(),
            swarms: Slots::default(),
            peer_of: HashTable::new(),
            swarm_of: HashMap::with_hasher(hasher),
            owners: Owners::new(hasher),
            deadlines: BinaryHeap::new(),
            recent: Recent::new(hasher),
            removed: Vec::new(),
            lives: 0,
            revisions: 0,
            scratch: choose::Scratch::default(),
        }
    }

    /// Tells the list of a content before anybody announces it.
    pub fn provision(&mut self, swarm_id: &str, manifest: Manifest) -> Result<(), String> {
        manifest.check()?;
        let swarm = self.open(swarm_id);
        self.swarms[swarm].is_provisioned = true;
        self.set_manifest(swarm, manifest);
        Ok(())
    }

    /// Removes every peer whose track timer has fired, from all its swarms (RFC 7846 2.3.2 D).
    pub fn expire(&mut self, at: At) -> Vec<Removed> {
        self.expire_some(at, usize::MAX)
    }

    /// The same, but looks at no more than `most` timers, so that nobody waits for it; what is left over is
    /// removed by the next call.
    pub fn expire_some(&mut self, at: At, most: usize) -> Vec<Removed> {
        let mut removed = std::mem::take(&mut self.removed);
        for _ in 0..most {
            let Some(&Reverse((due, key, life))) = self.deadlines.peek() else {
                break;
            };
            if due > at {
                break;
            }
            self.deadlines.pop();
            let Some(peer) = self.peers.get(key).filter(|peer| peer.life == life) else {
                continue;
            };
            match peer.is_silent(at) {
                true => removed.push(self.remove(key)),
                false => self.deadlines.push(Reverse((peer.lasts(), key, life))),
            }
        }
        removed
    }

    /// When `expire` may next have something to do.
    pub fn next_expiry(&self) -> Option<At> {
        match self.removed.is_empty() {
            true => self.deadlines.peek().map(|Reverse((due, ..))| *due),
            false => Some(At::ZERO),
        }
    }

    /// Removes a peer, whoever owns it.
    pub fn evict(&mut self, peer_id: &str) -> Option<Removed> {
        let key = self.peer(peer_id)?;
        Some(self.remove(key))
    }

    /// Removes every peer of an owner.
    pub fn evict_owner(&mut self, owner: &str) -> Vec<Removed> {
        let keys: Vec<u32> = self.owners.peers(owner, &self.peers).collect();
        keys.into_iter().map(|key| self.remove(key)).collect()
    }

    /// Keeps a tracked peer at least until `until`, whatever the track timer says.
    pub fn keep_until(&mut self, peer_id: &str, until: At) {
        if let Some(key) = self.peer(peer_id) {
            self.peers[key].keep_until = until;
        }
    }

    pub fn is_tracking(&self, peer_id: &str) -> bool {
        self.peer(peer_id).is_some()
    }

    /// Whose peer id this is, while it is tracked.
    pub fn owner(&self, peer_id: &str) -> Option<&str> {
        let key = self.peer(peer_id)?;
        Some(self.owners.name(self.peers[key].owner))
    }

    /// A number that grows with each change of what may be listed of a swarm; 0 if there is none.
    pub fn revision(&self, swarm_id: &str) -> u64 {
        match self.swarm_of.get(swarm_id) {
            Some(&swarm) => self.swarms[swarm].revision,
            None => 0,
        }
    }

    /// The pieces a peer is known to hold in a swarm it is in.
    pub fn pieces(&self, peer_id: &str, swarm_id: &str) -> Option<&Pieces> {
        let (swarm, member) = self.membership(peer_id, swarm_id)?;
        Some(&self.swarms[swarm].members[member as usize].pieces)
    }

    /// The last statistics a peer gave for a swarm it is in.
    pub fn counters(&self, peer_id: &str, swarm_id: &str) -> Option<Counters> {
        let (swarm, member) = self.membership(peer_id, swarm_id)?;
        Some(self.swarms[swarm].told[member as usize].counters)
    }

    /// Whether a peer is in a swarm, and how.
    pub fn mode(&self, peer_id: &str, swarm_id: &str) -> Option<PeerMode> {
        let (swarm, member) = self.membership(peer_id, swarm_id)?;
        Some(self.swarms[swarm].members[member as usize].mode)
    }

    /// How many peers are tracked.
    pub fn len(&self) -> usize {
        self.peer_of.len()
    }

    pub fn is_empty(&self) -> bool {
        self.peer_of.is_empty()
    }

    /// How many swarms there are, provisioned ones included.
    pub fn swarm_count(&self) -> usize {
        self.swarm_of.len()
    }

    /// The key of a tracked peer.
    fn peer(&self, peer_id: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(peer_id);
        let is_it = |key: &u32| &*self.peers[*key].id == peer_id;
        self.peer_of.find(hash, is_it).copied()
    }

    fn membership(&self, peer_id: &str, swarm_id: &str) -> Option<(u32, u32)> {
        let swarm = *self.swarm_of.get(swarm_id)?;
        let peer = &self.peers[self.peer(peer_id)?];
        peer.member_of(swarm).map(|member| (swarm, member))
    }

    fn register(&mut self, at: At, peer_id: &str, owner: &str) -> u32 {
        self.lives = self.lives.wrapping_add(1);
        let deadline = at + self.rules.track_timeout;
        let owner = self.owners.open(owner);
        let key = self.peers.insert(Peer {
            id: peer_id.into(),
            owner,
            next: owners::NOBODY,
            life: self.lives,
            deadline,
            keep_until: At::ZERO,
            addrs: Addresses::None,
            memberships: Memberships::default(),
        });
        self.owners.add(owner, key, &mut self.peers);
        let (hasher, peers) = (self.hasher, &self.peers);
        let hash = |key: &u32| hasher.hash_one(&*peers[*key].id);
        self.peer_of.insert_unique(hash(&key), key, hash);
        self.deadlines.push(Reverse((deadline, key, self.lives)));
        key
    }

    fn remove(&mut self, key: u32) -> Removed {
        while let Some(Membership { swarm, .. }) = self.peers[key].memberships.last() {
            self.leave(key, swarm);
        }
        let hash = self.hasher.hash_one(&*self.peers[key].id);
        if let Ok(entry) = self.peer_of.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
        let owner = self.owners.take(key, &mut self.peers);
        let peer = self.peers.remove(key);
        Removed {
            peer_id: peer.id,
            owner,
        }
    }

    fn touch(&mut self, at: At, key: u32) {
        self.peers[key].deadline = at + self.rules.track_timeout;
    }

    fn open(&mut self, swarm_id: &str) -> u32 {
        if let Some(&swarm) = self.swarm_of.get(swarm_id) {
            return swarm;
        }
        self.revisions += 1;
        let swarm = self.swarms.insert(Swarm {
            id: swarm_id.into(),
            manifest: None,
            numbers: Pieces::new(),
            is_provisioned: false,
            revision: self.revisions,
            members: Vec::new(),
            told: Vec::new(),
            holders: Vec::new(),
            foremost: Vec::new(),
        });
        self.swarm_of.insert(swarm_id.into(), swarm);
        swarm
    }

    fn set_manifest(&mut self, swarm: u32, manifest: Manifest) {
        let numbers = manifest.numbers();
        self.swarms[swarm].manifest = Some(manifest.into());
        self.swarms[swarm].numbers = numbers.clone();
        for index in 0..self.swarms[swarm].members.len() {
            if self.swarms[swarm].members[index].holds_all {
                self.set_pieces(swarm, index as u32, numbers.clone());
            }
        }
    }

    /// Puts a peer into a swarm, or changes what is known of it there.
    fn join(&mut self, key: u32, swarm: u32, joined: Joined) {
        self.revisions += 1;
        let revision = self.revisions;
        let peer = &mut self.peers[key];
        let at = &mut self.swarms[swarm];
        at.revision = revision;
        let index = match peer.member_of(swarm) {
            Some(member) => member,
            None => {
                let member = at.members.len() as u32;
                peer.memberships.push(Membership { swarm, member });
                peers::push(
                    &mut at.members,
                    Member {
                        peer: key,
                        mode: joined.mode,
                        role: joined.role,
                        holds_all: false,
                        is_listed: false,
                        pieces: Pieces::new(),
                    },
                );
                peers::push(&mut at.told, Told::default());
                member
            }
        };
        let known = at.members[index as usize].pieces.clone();
        self.set_pieces(swarm, index, Pieces::new());
        let at = &mut self.swarms[swarm];
        at.prefer(key, joined.role, joined.is_listed);
        let member = &mut at.members[index as usize];
        member.mode = joined.mode;
        member.role = joined.role;
        member.holds_all = joined.holds_all;
        member.is_listed = joined.is_listed;
        let told = &mut at.told[index as usize];
        let counters = told.counters;
        *told = Told::of(joined.cds.as_ref());
        told.counters = counters;
        self.set_pieces(swarm, index, joined.pieces.unwrap_or(known));
    }

    /// In how many entries a member is told to others: one an address, none if it may not be told.
    fn entry_count(&self, swarm: u32, index: u32) -> usize {
        let at = &self.swarms[swarm];
        let member = &at.members[index as usize];
        match member.is_listed {
            true => self.addrs(member, &at.told[index as usize]).len(),
            false => 0,
        }
    }

    /// The entry that tells of a member by its address at `place`.
    fn entry(&self, swarm: u32, index: u32, place: usize) -> PeerInfo {
        let at = &self.swarms[swarm];
        let member = &at.members[index as usize];
        let told = &at.told[index as usize];
        let priority = (priority(member.role) - place as i64).max(0);
        PeerInfo {
            peer_id: self.peers[member.peer].id.to_string(),
            peer_addr: self.addrs(member, told).listed(place, priority),
            cds: told.has_cds().then(|| PeerCds {
                sip_uri: told.sip_uri().map(str::to_owned),
                url: told.url().map(str::to_owned),
                pieces: member.pieces.clone(),
                role: Some(member.role),
            }),
        }
    }

    /// The addresses a member is listed by.
    fn addrs<'a>(&'a self, member: &Member, told: &'a Told) -> &'a Addresses {
        told.own_addrs().unwrap_or(&self.peers[member.peer].addrs)
    }

    /// Gives a peer other addresses; where it is a member already, it stays listed by those it joined with.
    fn set_addrs(&mut self, key: u32, addrs: Addresses) {
        let peer = &mut self.peers[key];
        if peer.addrs == addrs {
            return;
        }
        let before = std::mem::replace(&mut peer.addrs, addrs);
        for membership in peer.memberships.iter() {
            let at = &mut self.swarms[membership.swarm];
            let place = membership.member as usize;
            if at.members[place].is_listed {
                at.told[place].keep_addrs(&before);
            }
        }
    }

    /// Takes a peer out of a swarm; an empty swarm that nobody provisioned is forgotten.
    fn leave(&mut self, key: u32, swarm: u32) {
        let Some(index) = self.peers[key].member_of(swarm) else {
            return;
        };
        self.set_pieces(swarm, index, Pieces::new());
        self.peers[key].memberships.remove(swarm);
        let at = &mut self.swarms[swarm];
        at.members.swap_remove(index as usize);
        at.told.swap_remove(index as usize);
        at.foremost.retain(|one| *one != key);
        self.revisions += 1;
        at.revision = self.revisions;
        if at.members.len() > index as usize {
            let moved = Membership {
                swarm,
                member: index,
            };
            let peer = at.members[index as usize].peer;
            self.peers[peer].memberships.moved(moved);
        } else if at.members.is_empty() && !at.is_provisioned {
            let gone = self.swarms.remove(swarm);
            self.swarm_of.remove(&gone.id);
        }
    }

    /// Says what a member holds now, in its entry and, if it can be reached, in the count of holders.
    fn set_pieces(&mut self, swarm: u32, index: u32, pieces: Pieces) {
        let at = &mut self.swarms[swarm];
        let member = &mut at.members[index as usize];
        if member.pieces == pieces {
            return;
        }
        let (peer, is_listed) = (member.peer, member.is_listed);
        let before = std::mem::replace(&mut member.pieces, pieces.clone());
        if is_listed {
            for n in before.iter() {
                let is_known = at.holders[n as usize - 1].take(peer);
                if !is_known {
                    at.look_for_holders(n, peer);
                }
            }
            for n in pieces.iter() {
                let place = n as usize - 1;
                if at.holders.len() <= place {
                    at.holders.resize(place + 1, Holders::default());
                }
                at.holders[place].add(peer);
            }
        }
        self.revisions += 1;
        at.revision = self.revisions;
    }
}

/// What a JOIN says of a member.
struct Joined {
    mode: PeerMode,
    role: PeerRole,
    /// `None`: what was known before stays.
    pieces: Option<Pieces>,
    holds_all: bool,
    is_listed: bool,
    /// How it is reached for pieces, its pieces left out.
    cds: Option<PeerCds>,
}

impl Peer {
    /// Until when it is tracked if it says no more.
    fn lasts(&self) -> At {
        self.deadline.max(self.keep_until)
    }

    /// Whether its track timer has fired.
    fn is_silent(&self, at: At) -> bool {
        self.lasts() <= at
    }

    /// Its index among the swarm's members.
    fn member_of(&self, swarm: u32) -> Option<u32> {
        let mut memberships = self.memberships.iter();
        let membership = memberships.find(|membership| membership.swarm == swarm)?;
        Some(membership.member)
    }
}

/// The priority a peer is listed with: the network's choice by role, larger is preferred.
pub fn priority(role: PeerRole) -> i64 {
    match role {
        PeerRole::User => 10,
        PeerRole::Edge | PeerRole::Controller => 20,
        PeerRole::Origin => 5,
    }
}

/// The address type a peer is listed with, if its role decides it: a Controller stands for servers that
/// stay hidden.
fn kind(role: PeerRole) -> Option<AddressKind> {
    (role == PeerRole::Controller).then_some(AddressKind::Proxy)
}

impl From<&Content> for Manifest {
    fn from(content: &Content) -> Manifest {
        Manifest {
            size: content.bytes.len() as u64,
            sha1: Some(content.sha1),
            sha256: content.sha256,
            pieces: content
                .pieces
                .iter()
                .map(|piece| ManifestPiece {
                    n: piece.n,
                    first: piece.first,
                    len: piece.len,
                    sha256: piece.sha256,
                })
                .collect(),
        }
    }
}

/// Values under small numbers that are used again.
#[derive(Debug)]
struct Slots<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(key) => {
                self.slots[key as usize] = Some(value);
                key
            }
            None => {
                self.slots.push(Some(value));
                (self.slots.len() - 1) as u32
            }
        }
    }

    fn get(&self, key: u32) -> Option<&T> {
        self.slots.get(key as usize)?.as_ref()
    }

    fn remove(&mut self, key: u32) -> T {
        self.free.push(key);
        self.slots[key as usize].take().expect(LIVE)
    }
}

impl<T> std::ops::Index<u32> for Slots<T> {
    type Output = T;

    fn index(&self, key: u32) -> &T {
        self.slots[key as usize].as_ref().expect(LIVE)
    }
}

impl<T> std::ops::IndexMut<u32> for Slots<T> {
    fn index_mut(&mut self, key: u32) -> &mut T {
        self.slots[key as usize].as_mut().expect(LIVE)
    }
}

/// Keys live in `peer_of`, `swarm_of` and memberships, and are taken out with what they name.
const LIVE: &str = "a key names a live slot";

/// A hasher that differs by seed, so that nobody outside can choose colliding ids.
#[derive(Clone, Copy, Debug)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// CONNECTs answered lately, so that a repeated one has its effect once (RFC 7846 4.3).
#[derive(Debug)]
struct Recent {
    hasher: Seeded,
    answers: HashMap<u64, Answered, Seeded>,
    order: VecDeque<(At, u64)>,
    /// Peers listed in the answers that are kept, and one for each answer.
    weight: usize,
}

#[derive(Debug)]
struct Answered {
    /// Hash of the request.
    content: u64,
    /// The registration it left behind, if any: in another life the answer is void.
    life: Option<u32>,
    until: At,
    response: Response,
}

impl Answered {
    fn weight(&self) -> usize {
        let results = self.response.swarm_result.iter();
        let listed = results.filter_map(|result| result.peers.as_ref());
        1 + listed.map(Vec::len).sum::<usize>()
    }
}

impl Recent {
    /// The most peers in answers that are kept: bounds their memory, about 30 MB.
    const MOST: usize = 1 << 16;

    fn new(hasher: Seeded) -> Recent {
        Recent {
            hasher,
            answers: HashMap::with_hasher(hasher),
            order: VecDeque::new(),
            weight: 0,
        }
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    fn get(&self, at: At, key: u64) -> Option<&Answered> {
        self.answers
            .get(&key)
            .filter(|answered| answered.until > at)
    }

    fn put(&mut self, at: At, key: u64, answered: Answered) {
        while let Some(&(until, old)) = self.order.front() {
            if until > at && self.weight < Recent::MOST {
                break;
            }
            self.order.pop_front();
            if self.answers.get(&old).is_some_and(|a| a.until <= until) {
                let gone = self.answers.remove(&old);
                self.weight -= gone.map_or(0, |answered| answered.weight());
            }
        }
        self.order.push_back((answered.until, key));
        self.weight += answered.weight();
        let replaced = self.answers.insert(key, answered);
        self.weight -= replaced.map_or(0, |answered| answered.weight());
    }
}

#[cfg(test)]
mod tests;
