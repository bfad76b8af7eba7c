//! What a UE still needs of one content, from whom it may come, and what it already has. Pure
//! bookkeeping: it asks nobody itself and knows neither SIP nor HTTP. Start at [`Journey::next`].

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::{
    time::At,
    wire::ppstp::{Manifest, Pieces, Shared},
};

/// A peer of the list, as far as it can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    pub peer_id: String,
    pub sip_uri: Option<String>,
    pub url: Option<String>,
    pub pieces: Pieces,
    /// Larger is preferred (RFC 7846 3.2.4).
    pub priority: i64,
}

/// What is to be asked of whom: a piece, or the tail that is missing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    pub n: u32,
    pub peer_id: String,
    /// 0-based offset in the content, in octets.
    pub first: u64,
    pub len: u64,
}

/// Why a piece did not come. The later word wins when a journey is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setback {
    Unavailable,
    Timeout,
    Rejected,
    Corrupt,
}

impl Setback {
    pub fn word(self) -> &'static str {
        match self {
            Setback::Unavailable => "unavailable",
            Setback::Timeout => "timeout",
            Setback::Rejected => "rejected",
            Setback::Corrupt => "corrupt",
        }
    }
}

/// What became of delivered octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    Verified,
    /// The digest differs: discarded, and its source is not asked again.
    Corrupt,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Who has been asked and has not answered.
    asked: Option<String>,
    verified: Option<Bytes>,
    /// The head of the piece, and who sent it, if a transfer broke off.
    partial: Option<(String, Vec<u8>)>,
    /// Who has refused or failed since the list was learned.
    refused: BTreeSet<String>,
    last: Option<Setback>,
}

/// One content being gathered.
#[derive(Clone, Debug)]
pub struct Journey {
    me: String,
    manifest: Shared<Manifest>,
    holders: Vec<Holder>,
    /// Sources of polluted pieces: avoided for good.
    avoided: BTreeSet<String>,
    /// Who asked for patience, and until when (Retry-After).
    patience: BTreeMap<String, At>,
    states: BTreeMap<u32, State>,
    verifies: bool,
}

impl Journey {
    /// A journey of the peer `me`, who already holds `held`.
    pub fn new(me: &str, manifest: Shared<Manifest>, held: &BTreeMap<u32, Bytes>) -> Journey {
        let states = manifest.pieces.iter().map(|piece| {
            let state = State {
                verified: held.get(&piece.n).cloned(),
                ..State::default()
            };
            (piece.n, state)
        });
        Journey {
            me: me.to_owned(),
            states: states.collect(),
            manifest,
            holders: Vec::new(),
            avoided: BTreeSet::new(),
            patience: BTreeMap::new(),
            verifies: true,
        }
    }

    /// The same journey, but it believes what it is given.
    pub fn credulous(mut self) -> Journey {
        self.verifies = false;
        self
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Takes a peer list in place of the last one. The peer itself is passed over, an entry that
    /// repeats a peer is merged with the first (RFC 7846 4.1.1: the requester may be listed); who is
    /// no longer listed is no longer asked.
    pub fn learn(&mut self, list: Vec<Holder>) {
        self.holders.clear();
        for holder in list {
            if holder.peer_id == self.me {
                continue;
            }
            let known = self
                .holders
                .iter_mut()
                .find(|known| known.peer_id == holder.peer_id);
            match known {
                Some(known) => {
                    for n in holder.pieces.iter() {
                        known.pieces.insert(n);
                    }
                    known.priority = known.priority.max(holder.priority);
                    known.sip_uri = known.sip_uri.take().or(holder.sip_uri);
                    known.url = known.url.take().or(holder.url);
                }
                None => self.holders.push(holder),
            }
        }
        self.holders
            .sort_by_key(|holder| std::cmp::Reverse(holder.priority));
    }

    /// Forgets refusals: a new list gives everybody on it another chance, save who polluted.
    pub fn forgive(&mut self) {
        for state in self.states.values_mut() {
            state.refused.clear();
        }
    }

    pub fn holder(&self, peer_id: &str) -> Option<&Holder> {
        self.holders.iter().find(|h| h.peer_id == peer_id)
    }

    /// For each piece that is missing and not asked for: the listed holder with the largest priority
    /// that may be asked at `at`. At most `most` are out at once. What it gives counts as asked.
    pub fn next(&mut self, at: At, most: usize) -> Vec<Want> {
        let mut wants = Vec::new();
        let mut out = self.in_flight();
        for piece in &self.manifest.pieces {
            let Some(state) = self.states.get_mut(&piece.n) else {
                continue;
            };
            if out >= most || state.verified.is_some() || state.asked.is_some() {
                continue;
            }
            let willing = self.holders.iter().find(|holder| {
                may_ask(holder, piece.n, state, &self.avoided)
                    && self
                        .patience
                        .get(&holder.peer_id)
                        .is_none_or(|&until| until <= at)
            });
            let Some(holder) = willing else { continue };
            let have = match &state.partial {
                Some((from, octets)) if *from == holder.peer_id => octets.len() as u64,
                _ => {
                    state.partial = None;
                    0
                }
            };
            state.asked = Some(holder.peer_id.clone());
            out += 1;
            wants.push(Want {
                n: piece.n,
                peer_id: holder.peer_id.clone(),
                first: piece.first + have,
                len: piece.len - have,
            });
        }
        wants
    }

    /// When somebody who asked for patience may be asked again, if a piece waits for that.
    pub fn patient_until(&self) -> Option<At> {
        let waiting = |n: &u32, state: &State| {
            state.verified.is_none()
                && state.asked.is_none()
                && self
                    .holders
                    .iter()
                    .any(|holder| may_ask(holder, *n, state, &self.avoided))
        };
        if !self.states.iter().any(|(n, state)| waiting(n, state)) {
            return None;
        }
        let listed = |peer_id: &String| self.holders.iter().any(|h| h.peer_id == *peer_id);
        let until = self.patience.iter().filter(|(peer, _)| listed(peer));
        until.map(|(_, &until)| until).min()
    }

    pub fn in_flight(&self) -> usize {
        self.states
            .values()
            .filter(|state| state.asked.is_some())
            .count()
    }

    /// Takes the octets asked for with the last [`Want`] of piece `n`; verifies the whole piece.
    pub fn delivered(&mut self, n: u32, from: &str, octets: &[u8]) -> Verification {
        let piece = self.manifest.pieces.iter().find(|piece| piece.n == n);
        let (Some(piece), Some(state)) = (piece, self.states.get_mut(&n)) else {
            return Verification::Corrupt;
        };
        state.asked = None;
        let mut whole = match state.partial.take() {
            Some((source, head)) if source == from => head,
            _ => Vec::new(),
        };
        whole.extend_from_slice(octets);
        let digest: [u8; 32] = Sha256::digest(&whole).into();
        let right = whole.len() as u64 == piece.len && digest == piece.sha256;
        if right || !self.verifies {
            state.verified = Some(whole.into());
            return Verification::Verified;
        }
        state.last = Some(Setback::Corrupt);
        self.avoided.insert(from.to_owned());
        Verification::Corrupt
    }

    /// A transfer of `n` broke off after `octets`: the tail may be asked of the same holder.
    pub fn broken_off(&mut self, n: u32, from: &str, octets: &[u8]) {
        let Some(state) = self.states.get_mut(&n) else {
            return;
        };
        state.asked = None;
        let piece = self.manifest.pieces.iter().find(|piece| piece.n == n);
        let had_partial = state.partial.is_some();
        match &mut state.partial {
            Some((source, head)) if source == from => head.extend_from_slice(octets),
            place => *place = Some((from.to_owned(), octets.to_vec())),
        }
        // One resumption a holder: a second break sends us elsewhere.
        let all = piece.is_none_or(|piece| octets.len() as u64 >= piece.len);
        if had_partial || octets.is_empty() || all {
            state.partial = None;
            state.refused.insert(from.to_owned());
        }
        state.last = Some(Setback::Timeout);
    }

    /// `from` will not deliver `n`, or not before `until`.
    pub fn refused(&mut self, n: u32, from: &str, why: Setback, until: Option<At>) {
        let Some(state) = self.states.get_mut(&n) else {
            return;
        };
        state.asked = None;
        state.partial = None;
        state.last = Some(why);
        state.refused.insert(from.to_owned());
        if let Some(until) = until {
            self.patience.insert(from.to_owned(), until);
        }
    }

    /// The pieces that are not.
    pub fn missing(&self) -> Vec<u32> {
        let missing = self.states.iter().filter(|(_, s)| s.verified.is_none());
        missing.map(|(&n, _)| n).collect()
    }

    /// A verified piece.
    pub fn octets(&self, n: u32) -> Option<&Bytes> {
        self.states.get(&n)?.verified.as_ref()
    }

    pub fn is_complete(&self) -> bool {
        self.states.values().all(|state| state.verified.is_some())
    }

    /// Whether some request came to nothing so far.
    pub fn has_failed(&self) -> bool {
        let missing = self.states.values().filter(|s| s.verified.is_none());
        missing.filter(|state| state.last.is_some()).count() > 0
    }

    /// The gravest reason why a piece is still missing.
    pub fn setback(&self) -> Setback {
        let missing = self.states.values().filter(|s| s.verified.is_none());
        missing
            .filter_map(|state| state.last)
            .max()
            .unwrap_or(Setback::Unavailable)
    }

    /// Joins the pieces in order and checks the whole (RFC 5547 8.2.2: the SHA-1 names the file).
    pub fn assemble(&self) -> Result<Bytes, String> {
        let mut whole = Vec::with_capacity(self.manifest.size as usize);
        for piece in &self.manifest.pieces {
            let octets = self
                .octets(piece.n)
                .ok_or_else(|| format!("piece {} is missing", piece.n))?;
            if whole.len() as u64 != piece.first {
                return Err(format!("piece {} does not follow", piece.n));
            }
            whole.extend_from_slice(octets);
        }
        let sha1: [u8; 20] = Sha1::digest(&whole).into();
        let sha256: [u8; 32] = Sha256::digest(&whole).into();
        if self.manifest.sha1.is_some_and(|expected| expected != sha1) {
            return Err("the SHA-1 of the whole differs".to_owned());
        }
        if self.manifest.sha256 != sha256 {
            return Err("the SHA-256 of the whole differs".to_owned());
        }
        Ok(whole.into())
    }
}

fn may_ask(holder: &Holder, n: u32, state: &State, avoided: &BTreeSet<String>) -> bool {
    holder.pieces.contains(n)
        && !state.refused.contains(&holder.peer_id)
        && !avoided.contains(&holder.peer_id)
}

/// The largest content a UE takes on, in octets.
pub const MOST_OCTETS: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::ppstp::ManifestPiece;

    const WHOLE: &[u8] = b"abcdefg";

    fn manifest() -> Manifest {
        let piece = |n, first: u64, len: u64| ManifestPiece {
            n,
            first,
            len,
            sha256: Sha256::digest(&WHOLE[first as usize..(first + len) as usize]).into(),
        };
        Manifest {
            size: 7,
            sha1: Some(Sha1::digest(WHOLE).into()),
            sha256: Sha256::digest(WHOLE).into(),
            pieces: vec![piece(1, 0, 2), piece(2, 2, 2), piece(3, 4, 3)],
        }
    }

    fn holder(peer_id: &str, pieces: &[u32], priority: i64) -> Holder {
        Holder {
            peer_id: peer_id.to_owned(),
            pieces: pieces.iter().copied().collect(),
            priority,
            ..Holder::default()
        }
    }

    fn journey(list: Vec<Holder>) -> Journey {
        let mut journey = Journey::new("me", manifest().into(), &BTreeMap::new());
        journey.learn(list);
        journey
    }

    fn whom(wants: &[Want]) -> Vec<(u32, &str)> {
        wants.iter().map(|w| (w.n, w.peer_id.as_str())).collect()
    }

    #[test]
    fn each_piece_goes_to_the_preferred_holder() {
        let mut journey = journey(vec![
            holder("low", &[1, 2, 3], 1),
            holder("high", &[2], 20),
            holder("me", &[1, 2, 3], 99),
        ]);
        let wants = journey.next(At::ZERO, 10);
        assert_eq!(vec![(1, "low"), (2, "high"), (3, "low")], whom(&wants));
        assert!(journey.next(At::ZERO, 10).is_empty());
    }

    #[test]
    fn a_polluter_is_never_asked_again() {
        let mut journey = journey(vec![
            holder("bad", &[1, 2], 9),
            holder("good", &[1, 2, 3], 1),
        ]);
        journey.next(At::ZERO, 10);
        assert_eq!(Verification::Corrupt, journey.delivered(1, "bad", b"xx"));
        assert_eq!(Verification::Verified, journey.delivered(2, "bad", b"cd"));
        assert_eq!(vec![(1, "good")], whom(&journey.next(At::ZERO, 10)));
        journey.refused(1, "good", Setback::Unavailable, None);
        journey.forgive();
        assert_eq!(vec![(1, "good")], whom(&journey.next(At::ZERO, 10)));
    }

    #[test]
    fn pieces_are_joined_in_order_and_the_whole_is_checked() {
        let mut journey = journey(vec![holder("a", &[1, 2, 3], 1)]);
        journey.next(At::ZERO, 10);
        for (n, octets) in [(3, &b"efg"[..]), (1, b"ab"), (2, b"cd")] {
            assert_eq!(Verification::Verified, journey.delivered(n, "a", octets));
        }
        assert!(journey.is_complete());
        assert_eq!(Ok(Bytes::from_static(WHOLE)), journey.assemble());
    }

    #[test]
    fn a_whole_with_another_digest_is_refused() {
        let mut manifest = manifest();
        manifest.sha1 = Some([0; 20]);
        let held = [(1, "ab"), (2, "cd"), (3, "efg")];
        let held = held.map(|(n, octets)| (n, Bytes::from(octets)));
        let journey = Journey::new("me", manifest.into(), &BTreeMap::from(held));
        assert!(journey.assemble().is_err());
    }

    #[test]
    fn the_tail_of_a_broken_transfer_is_asked_of_the_same_holder_once() {
        let mut journey = journey(vec![holder("a", &[3], 2), holder("b", &[1, 2, 3], 1)]);
        journey.next(At::ZERO, 10);
        journey.broken_off(3, "a", b"e");
        let again = journey.next(At::ZERO, 10);
        assert_eq!(vec![(3, "a")], whom(&again));
        assert_eq!((5, 2), (again[0].first, again[0].len));
        journey.broken_off(3, "a", b"f");
        let elsewhere = journey.next(At::ZERO, 10);
        assert_eq!((3, "b", 4, 3), {
            let want = &elsewhere[0];
            (want.n, want.peer_id.as_str(), want.first, want.len)
        });
    }

    #[test]
    fn who_asks_for_patience_is_not_asked_before() {
        let mut journey = journey(vec![holder("a", &[1, 2, 3], 1)]);
        journey.next(At::ZERO, 10);
        let later = At::ZERO + Duration::from_secs(30);
        for n in 1..=3 {
            journey.refused(n, "a", Setback::Unavailable, Some(later));
        }
        journey.forgive();
        assert!(journey.next(At::ZERO, 10).is_empty());
        assert_eq!(Some(later), journey.patient_until());
        assert_eq!(3, journey.next(later, 10).len());
    }

    #[test]
    fn a_list_without_a_holder_leaves_the_piece_unasked() {
        let mut journey = journey(vec![holder("a", &[1, 2], 1)]);
        assert_eq!(2, journey.next(At::ZERO, 10).len());
        assert_eq!(vec![1, 2, 3], journey.missing());
        assert_eq!(None, journey.patient_until());
        assert_eq!(Setback::Unavailable, journey.setback());
    }

    #[test]
    fn who_is_no_longer_listed_is_not_asked() {
        let mut journey = journey(vec![holder("a", &[1, 2, 3], 1), holder("b", &[1], 5)]);
        journey.learn(vec![holder("a", &[1, 2, 3], 1)]);
        let wants = journey.next(At::ZERO, 10);
        assert_eq!(vec![(1, "a"), (2, "a"), (3, "a")], whom(&wants));
    }
}
