//! Whose peers are tracked: each owner once, its peers chained in the order in which they were registered.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::{Peer, Seeded, Slots};

/// No peer: the end of a chain.
pub(super) const NOBODY: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Owners {
    hasher: Seeded,
    owners: Slots<Owner>,
    /// Keys of owners under their names.
    owner_of: HashTable<u32>,
}

#[derive(Debug)]
struct Owner {
    name: Box<str>,
    first: u32,
    count: u32,
}

impl Owners {
    pub fn new(hasher: Seeded) -> Owners {
        Owners {
            hasher,
            owners: Slots::default(),
            owner_of: HashTable::new(),
        }
    }

    pub fn name(&self, owner: u32) -> &str {
        &self.owners[owner].name
    }

    /// How many peers an owner has.
    pub fn count(&self, name: &str) -> usize {
        self.owner(name)
            .map_or(0, |owner| self.owners[owner].count as usize)
    }

    /// An owner's peers.
    pub fn peers<'a>(
        &'a self,
        name: &str,
        peers: &'a Slots<Peer>,
    ) -> impl Iterator<Item = u32> + use<'a> {
        let first = self.owner(name).map(|owner| self.owners[owner].first);
        std::iter::successors(first, |key| {
            let next = peers[*key].next;
            (next != NOBODY).then_some(next)
        })
    }

    /// The key of an owner; a new one has no peers yet.
    pub fn open(&mut self, name: &str) -> u32 {
        if let Some(owner) = self.owner(name) {
            return owner;
        }
        let owner = self.owners.insert(Owner {
            name: name.into(),
            first: NOBODY,
            count: 0,
        });
        let (hasher, owners) = (self.hasher, &self.owners);
        let hash = |owner: &u32| hasher.hash_one(&*owners[*owner].name);
        self.owner_of.insert_unique(hash(&owner), owner, hash);
        owner
    }

    /// Puts a peer at the end of its owner's chain.
    pub fn add(&mut self, owner: u32, peer: u32, peers: &mut Slots<Peer>) {
        let owner = &mut self.owners[owner];
        owner.count += 1;
        if owner.first == NOBODY {
            owner.first = peer;
            return;
        }
        let mut last = owner.first;
        while peers[last].next != NOBODY {
            last = peers[last].next;
        }
        peers[last].next = peer;
    }

    /// Takes a peer out of its owner's chain, and gives the owner's name; an owner of nothing is forgotten.
    pub fn take(&mut self, peer: u32, peers: &mut Slots<Peer>) -> Box<str> {
        let (key, next) = (peers[peer].owner, peers[peer].next);
        let owner = &mut self.owners[key];
        owner.count -= 1;
        if owner.first == peer {
            owner.first = next;
        } else {
            let mut before = owner.first;
            while peers[before].next != peer {
                before = peers[before].next;
            }
            peers[before].next = next;
        }
        if owner.first != NOBODY {
            return owner.name.clone();
        }
        let hash = self.hasher.hash_one(&*owner.name);
        if let Ok(entry) = self.owner_of.find_entry(hash, |other| *other == key) {
            entry.remove();
        }
        self.owners.remove(key).name
    }

    fn owner(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        let is_it = |owner: &u32| &*self.owners[*owner].name == name;
        self.owner_of.find(hash, is_it).copied()
    }
}
