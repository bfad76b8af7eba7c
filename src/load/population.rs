//! Who there is under load: users, the swarms they are members of, what each holds. All of it is a function
//! of a number and the seed, so that a server can be filled with it and a generator knows what is right
//! without keeping any of it.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::wire::ppstp::{Manifest, ManifestPiece, PeerAddr, Pieces};

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Population {
    /// Residents: users that are members of a swarm from the beginning, and stay.
    pub peers: u32,
    /// Swarms the residents are spread over, the same number in each (one more or less).
    pub swarms: u32,
    /// Everything is drawn from it.
    pub seed: u64,
}

/// The pieces of every content.
pub const PIECES: u32 = 8;

/// Octets of a piece.
pub const PIECE: u64 = 64 << 10;

impl Population {
    /// The swarm a resident is a member of.
    pub fn swarm_of(&self, resident: u32) -> u32 {
        resident % self.swarms.max(1)
    }

    /// The residents of a swarm.
    pub fn residents(&self, swarm: u32) -> u32 {
        let swarms = self.swarms.max(1);
        self.peers / swarms + u32::from(swarm < self.peers % swarms)
    }

    /// The pieces a resident holds: one at least.
    pub fn pieces(&self, resident: u32) -> Pieces {
        let drawn = mixed(self.seed ^ u64::from(resident));
        let first = 1 + (drawn % u64::from(PIECES)) as u32;
        (1..=PIECES)
            .filter(|n| *n == first || drawn >> (8 + n) & 1 == 1)
            .collect()
    }

    /// The swarm a visitor joins.
    pub fn swarm_of_visitor(&self, visitor: u64) -> u32 {
        (mixed(self.seed ^ !visitor) % u64::from(self.swarms.max(1))) as u32
    }

    /// The manifest of a swarm's content. Its digests are made up: nobody fetches it.
    pub fn manifest(&self, swarm: u32) -> Manifest {
        let digest = |n: u32| -> [u8; 32] {
            let words = [self.seed, u64::from(swarm), u64::from(n)];
            let octets: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            Sha256::digest(octets).into()
        };
        Manifest {
            size: u64::from(PIECES) * PIECE,
            sha1: None,
            sha256: digest(0),
            pieces: (1..=PIECES)
                .map(|n| ManifestPiece {
                    n,
                    first: u64::from(n - 1) * PIECE,
                    len: PIECE,
                    sha256: digest(n),
                })
                .collect(),
        }
    }
}

/// Who somebody is, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    Resident(u32),
    /// Somebody who joins while load runs, and leaves or goes silent; numbered through the schedule.
    Visitor(u64),
}

impl Person {
    /// `u0000042`, `v0000007`.
    pub fn peer_id(self) -> String {
        match self {
            Person::Resident(number) => format!("u{number:07}"),
            Person::Visitor(number) => format!("v{number:07}"),
        }
    }

    /// Whose peer id that is.
    pub fn of(peer_id: &str) -> Option<Person> {
        let number = peer_id.get(1..)?;
        let is_number = number.len() >= 7 && number.bytes().all(|octet| octet.is_ascii_digit());
        let person = match peer_id.as_bytes().first()? {
            b'u' => Person::Resident(number.parse().ok()?),
            b'v' => Person::Visitor(number.parse().ok()?),
            _ => return None,
        };
        is_number.then_some(person)
    }

    /// The public identity: `sip:u0000042@ims.example`.
    pub fn identity(self) -> String {
        format!("sip:{}@ims.example", self.peer_id())
    }

    /// Where it takes pieces: an address of the network that is reserved for benchmarks (RFC 2544), or of
    /// 10.0.0.0/8 where that is too small.
    pub fn addr(self) -> PeerAddr {
        let (network, number) = match self {
            Person::Resident(number) => (10 << 24, u64::from(number) % (1 << 24)),
            Person::Visitor(number) => (198 << 24 | 18 << 16, number % (1 << 17)),
        };
        let ip = IpAddr::V4(Ipv4Addr::from(network | number as u32));
        PeerAddr::host((ip, 2855).into(), 1)
    }
}

/// `s00042`.
pub fn swarm_id(swarm: u32) -> String {
    format!("s{swarm:05}")
}

/// Spreads a number over 64 bits, each number to another (the finaliser of SplitMix64).
pub fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_known_by_name() {
        for person in [
            Person::Resident(0),
            Person::Resident(12_345_678),
            Person::Visitor(7),
        ] {
            assert_eq!(Some(person), Person::of(&person.peer_id()));
        }
        for stranger in ["", "u", "u12", "x0000001", "u00000a1", "ué000000"] {
            assert_eq!(None, Person::of(stranger));
        }
    }

    #[test]
    fn residents_fill_the_swarms_evenly_and_each_holds_something() {
        let population = Population {
            peers: 1003,
            swarms: 5,
            seed: 7,
        };
        let mut counted = [0; 5];
        for resident in 0..population.peers {
            counted[population.swarm_of(resident) as usize] += 1;
            let pieces = population.pieces(resident);
            assert!(!pieces.is_empty() && pieces.is_within(&Pieces::first(PIECES)));
        }
        let told: Vec<u32> = (0..5).map(|swarm| population.residents(swarm)).collect();
        assert_eq!(told, counted);
        assert_eq!(Ok(()), population.manifest(3).check());
    }
}
