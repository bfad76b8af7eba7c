//! Seeded randomness: the only kind there is below the sockets. The same seed gives the same words for
//! ever, on every machine.

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A stream of random values from one seed.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; zero if `bound` is zero. Biased by less than 2⁻³².
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.next_u64() % bound
        }
    }

    /// True with probability `share`, from 0 to 1.
    pub fn chance(&mut self, share: f64) -> bool {
        ((self.next_u64() >> 11) as f64) < share * (1u64 << 53) as f64
    }

    /// `length` lower-case letters and digits: fit for tags, branches, MSRP session ids.
    pub fn token(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        (0..length)
            .map(|_| char::from(ALPHABET[self.below(32) as usize]))
            .collect()
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        items.shuffle(&mut self.0);
    }
}

/// A seed for one purpose, derived from another and a list of words; unrelated for different words.
pub fn derive(seed: u64, words: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    for word in words {
        hash.update((word.len() as u64).to_be_bytes());
        hash.update(word.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_be_bytes(digest[..8].try_into().expect("a digest has eight octets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_apart() {
        assert_ne!(derive(1, &["ab", "c"]), derive(1, &["a", "bc"]));
        assert_ne!(derive(1, &["a"]), derive(2, &["a"]));
    }

    #[test]
    fn the_same_seed_gives_the_same_token() {
        assert_eq!(Random::new(7).token(12), Random::new(7).token(12));
        assert_ne!(Random::new(7).token(12), Random::new(8).token(12));
    }
}
