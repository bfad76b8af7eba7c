//! A set of piece numbers, small enough to keep one with every peer of a large swarm.

use std::fmt;

/// Piece numbers from 1 to [`Pieces::LARGEST`]. The first 64 need no memory of their own.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Pieces {
    /// Pieces 1 to 64, the lowest bit first.
    low: u64,
    /// Pieces from 65 on; never ends with an empty word.
    high: High,
}

/// Words that most sets do without: one pointer then.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct High(Option<Box<Words>>);

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Words(Vec<u64>);

impl High {
    fn words(&self) -> &[u64] {
        self.0.as_ref().map_or(&[], |words| &words.0)
    }

    fn words_mut(&mut self) -> &mut [u64] {
        self.0.as_mut().map_or(&mut [], |words| &mut words.0)
    }

    fn grow(&mut self, length: usize) {
        if self.words().len() < length {
            self.0.get_or_insert_default().0.resize(length, 0);
        }
    }

    fn trim(&mut self) {
        let Some(words) = &mut self.0 else { return };
        while words.0.last() == Some(&0) {
            words.0.pop();
        }
        if words.0.is_empty() {
            self.0 = None;
        }
    }
}

impl Pieces {
    /// The largest number a piece may have: a bound of ours.
    pub const LARGEST: u32 = 1 << 16;

    pub const fn new() -> Pieces {
        Pieces {
            low: 0,
            high: High(None),
        }
    }

    /// Pieces 1 to `count`.
    pub fn first(count: u32) -> Pieces {
        (1..=count.min(Pieces::LARGEST)).collect()
    }

    /// Adds a piece; false if its number is 0 or too large.
    pub fn insert(&mut self, n: u32) -> bool {
        match n {
            1..=64 => self.low |= 1 << (n - 1),
            65..=Pieces::LARGEST => {
                let (word, bit) = place(n);
                self.high.grow(word + 1);
                self.high.words_mut()[word] |= bit;
            }
            _ => return false,
        }
        true
    }

    pub fn remove(&mut self, n: u32) {
        match n {
            1..=64 => self.low &= !(1 << (n - 1)),
            65..=Pieces::LARGEST => {
                let (word, bit) = place(n);
                if let Some(word) = self.high.words_mut().get_mut(word) {
                    *word &= !bit;
                }
                self.high.trim();
            }
            _ => {}
        }
    }

    pub fn contains(&self, n: u32) -> bool {
        match n {
            1..=64 => self.low & 1 << (n - 1) != 0,
            65..=Pieces::LARGEST => {
                let (word, bit) = place(n);
                self.high
                    .words()
                    .get(word)
                    .is_some_and(|word| word & bit != 0)
            }
            _ => false,
        }
    }

    /// Pieces 1 to 64 as bits, the lowest first.
    pub fn low(&self) -> u64 {
        self.low
    }

    pub fn is_empty(&self) -> bool {
        self.low == 0 && self.high.words().is_empty()
    }

    /// How many pieces.
    pub fn len(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether both hold some piece.
    pub fn meets(&self, other: &Pieces) -> bool {
        self.words().zip(other.words()).any(|(a, b)| a & b != 0)
    }

    /// Whether every piece is in `other`.
    pub fn is_within(&self, other: &Pieces) -> bool {
        self.high.words().len() <= other.high.words().len()
            && self.words().zip(other.words()).all(|(a, b)| a & !b == 0)
    }

    /// Takes away what `other` holds.
    pub fn subtract(&mut self, other: &Pieces) {
        self.low &= !other.low;
        for (mine, theirs) in self.high.words_mut().iter_mut().zip(other.high.words()) {
            *mine &= !theirs;
        }
        self.high.trim();
    }

    /// Adds what `other` holds.
    pub fn extend(&mut self, other: &Pieces) {
        self.low |= other.low;
        self.high.grow(other.high.words().len());
        for (mine, theirs) in self.high.words_mut().iter_mut().zip(other.high.words()) {
            *mine |= theirs;
        }
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words().zip(0u32..).flat_map(|(word, index)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(index * 64 + bit + 1)
            })
        })
    }

    fn words(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.low).chain(self.high.words().iter().copied())
    }
}

impl FromIterator<u32> for Pieces {
    /// Numbers out of range are left out.
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Pieces {
        let mut pieces = Pieces::new();
        for n in numbers {
            pieces.insert(n);
        }
        pieces
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Word of `high`, and bit in it, of a piece above 64.
fn place(n: u32) -> (usize, u64) {
    let index = n - 65;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_pieces_is_a_set_of_numbers(
            a in prop::collection::btree_set(1u32..200, 0..40),
            b in prop::collection::btree_set(1u32..200, 0..40),
        ) {
            let pa: Pieces = a.iter().copied().collect();
            let pb: Pieces = b.iter().copied().collect();
            prop_assert_eq!(&a, &pa.iter().collect::<BTreeSet<_>>());
            prop_assert_eq!(a.len(), pa.len());
            prop_assert_eq!(a.is_subset(&b), pa.is_within(&pb));
            prop_assert_eq!(!a.is_disjoint(&b), pa.meets(&pb));
            let mut less = pa.clone();
            less.subtract(&pb);
            prop_assert_eq!(&(&a - &b).into_iter().collect::<Pieces>(), &less);
            let mut more = pa.clone();
            more.extend(&pb);
            prop_assert_eq!(&(&a | &b).into_iter().collect::<Pieces>(), &more);
            let mut one_by_one = pa;
            b.iter().for_each(|&n| one_by_one.remove(n));
            prop_assert_eq!(less, one_by_one);
        }
    }

    #[test]
    fn piece_zero_and_pieces_beyond_the_largest_are_refused() {
        let mut pieces = Pieces::new();
        assert!(!pieces.insert(0));
        assert!(!pieces.insert(Pieces::LARGEST + 1));
        assert!(pieces.insert(Pieces::LARGEST));
        assert!(pieces.contains(Pieces::LARGEST));
        assert_eq!("[65536]", format!("{pieces:?}"));
    }
}
