//! Picks the peers that are told to an asker: first so that together they hold what it lacks, then by
//! the order that the rules say. In a large swarm a random window stands for the whole, and beside it some of those
//! that are preferred to users, where the order prefers anybody, and some holders of each piece.

use super::{Membership, Order, Swarm, priority};
use crate::wire::ppstp::Pieces;

/// Memory that finding peers uses again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    candidates: Vec<Candidate>,
    chosen: Vec<Candidate>,
    /// Holders and number of each piece to be covered.
    wanted: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    member: u32,
    /// Smaller is preferred.
    rank: (i64, u64),
    /// Which of the first 64 pieces it holds, so that looking for one looks nowhere else.
    low: u64,
}

/// How many members are weighed against each other, besides those that are preferred anyway: so many, and then on
/// until a list is full, but no more than the most.
const WINDOW: usize = 64;
const WIDEST: usize = 256;

impl Scratch {
    /// At most `count` members of `swarm` for `asker`, who is one: their indexes, the preferred first. `draw`
    /// decides between equals. All that is held is covered if `covers` says so. `member_of` says where in the
    /// swarm a peer is.
    pub(super) fn choose(
        &mut self,
        swarm: &Swarm,
        asker: Membership,
        count: usize,
        (order, covers): (Order, bool),
        draw: u64,
        member_of: &dyn Fn(u32) -> Option<u32>,
    ) -> impl Iterator<Item = u32> + Clone {
        let search = Search {
            swarm,
            asker: asker.member as usize,
            order,
            draw,
        };
        self.gather(&search, count, member_of);
        self.chosen.clear();
        if covers {
            self.cover(&search, count, member_of);
        }
        self.fill(count);
        self.chosen.sort_unstable_by_key(|candidate| candidate.rank);
        self.chosen()
    }

    /// What was chosen last.
    pub(super) fn chosen(&self) -> impl Iterator<Item = u32> + Clone {
        self.chosen.iter().map(|candidate| candidate.member)
    }

    fn gather(
        &mut self,
        search: &Search<'_>,
        count: usize,
        member_of: &dyn Fn(u32) -> Option<u32>,
    ) {
        let length = search.swarm.members.len();
        let start = match length > WINDOW {
            true => (search.draw % length as u64) as usize,
            false => 0,
        };
        self.candidates.clear();
        let mut seen = 0;
        while seen < length.min(WIDEST) && (seen < WINDOW || self.candidates.len() < count) {
            let index = start + seen;
            let index = if index < length {
                index
            } else {
                index - length
            };
            self.candidates.extend(search.candidate(index));
            seen += 1;
        }
        if seen == length || search.order != Order::Priority {
            return;
        }
        let is_seen = |index: usize| (index + length - start) % length < seen;
        let foremost = search.swarm.foremost.iter();
        let foremost = foremost.filter_map(|peer| Some(member_of(*peer)? as usize));
        let outside = foremost.filter(|index| !is_seen(*index));
        self.candidates
            .extend(outside.filter_map(|index| search.candidate(index)));
    }

    /// Takes holders of what the asker lacks, the rarest piece first, until all that is held is covered.
    fn cover(&mut self, search: &Search<'_>, count: usize, member_of: &dyn Fn(u32) -> Option<u32>) {
        let swarm = search.swarm;
        let own = &swarm.members[search.asker].pieces;
        let held = swarm
            .holders
            .iter()
            .zip(1..)
            .filter(|(holders, _)| holders.count > 0);
        let wanted = held.filter(|(_, n)| !own.contains(*n));
        self.wanted.clear();
        self.wanted
            .extend(wanted.map(|(holders, n)| (holders.count, n)));
        self.wanted.sort_unstable();
        let mut covered = Pieces::new();
        for &(_, n) in &self.wanted {
            if self.chosen.len() == count {
                return;
            }
            if covered.contains(n) {
                continue;
            }
            let holds = |c: &Candidate| match n {
                1..=64 => c.low & 1 << (n - 1) != 0,
                _ => swarm.members[c.member as usize].pieces.contains(n),
            };
            let candidates = self.candidates.iter().copied().enumerate();
            let near = candidates
                .filter(|(_, c)| holds(c))
                .min_by_key(|(_, c)| c.rank);
            let found = match near {
                Some((place, _)) => Some(self.candidates.swap_remove(place)),
                None => swarm.holders[n as usize - 1]
                    .some()
                    .filter_map(|peer| search.candidate(member_of(peer)? as usize))
                    .filter(holds)
                    .min_by_key(|candidate| candidate.rank),
            };
            if let Some(found) = found {
                covered.extend(&swarm.members[found.member as usize].pieces);
                self.chosen.push(found);
            }
        }
    }

    /// Takes the preferred ones of the rest until there are `count`. Few are taken of many, so the few are kept in
    /// order while the many pass: most are turned away by one look.
    fn fill(&mut self, count: usize) {
        let first = self.chosen.len();
        for candidate in self.candidates.drain(..) {
            let is_full = self.chosen.len() >= count;
            let worst = self.chosen[first..].last();
            if is_full && worst.is_none_or(|worst| worst.rank <= candidate.rank) {
                continue;
            }
            if is_full {
                self.chosen.pop();
            }
            let place = self.chosen[first..].partition_point(|one| one.rank <= candidate.rank);
            self.chosen.insert(first + place, candidate);
        }
    }
}

/// What is sought, and for whom.
struct Search<'s> {
    swarm: &'s Swarm,
    /// Index among the members.
    asker: usize,
    order: Order,
    draw: u64,
}

impl Search<'_> {
    /// A member as a candidate, if it may be told: another one, reachable, and a holder where there is a
    /// manifest to hold.
    fn candidate(&self, index: usize) -> Option<Candidate> {
        let swarm = self.swarm;
        let member = &swarm.members[index];
        let is_useful = swarm.manifest.is_none() || !member.pieces.is_empty();
        let is_listable = index != self.asker && member.is_listed && is_useful;
        let weight = match self.order {
            Order::Priority => -priority(member.role),
            Order::Rarest => {
                let holders = member
                    .pieces
                    .iter()
                    .map(|n| Some(swarm.holders.get(n as usize - 1)?.count));
                holders.flatten().min().map_or(i64::MAX, i64::from)
            }
            Order::Shuffled => 0,
        };
        is_listable.then(|| Candidate {
            member: index as u32,
            rank: (weight, mixed(self.draw ^ u64::from(member.peer))),
            low: member.pieces.low(),
        })
    }
}

/// Spreads a number over 64 bits, each number to another (the finaliser of SplitMix64).
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
