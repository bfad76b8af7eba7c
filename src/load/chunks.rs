//! Load on the chunk path: ranges and whole objects over HTTP, as a UE fetches pieces from an Edge Server. Their
//! octets are generated from a seed, so that both sides know them and every piece can be held to its digest.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{
    journey::{Asked, Depth, Journey, Wrong},
    population::mixed,
    schedule::Arrival,
};
use crate::{
    node::{
        CONTENT_PATH,
        setup::{Content, PieceOf},
    },
    random::{Random, derive},
    time::At,
    wire::http::{self, ContentRange, Octets, Ranges},
};

/// Contents that are served under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Library {
    pub contents: u32,
    /// Octets of each.
    pub size: u64,
    /// Octets asked for at a time: a piece, the last of a content being shorter. As large as a content: whole
    /// objects are asked for, without a range.
    pub piece: u64,
    pub seed: u64,
}

impl Library {
    /// Every content, generated.
    pub fn contents(&self) -> impl Iterator<Item = Content> + '_ {
        (0..self.contents).map(|number| self.content(number))
    }

    /// Its name, which is its swarm id: `c00042`.
    pub fn name(number: u32) -> String {
        format!("c{number:05}")
    }

    /// Pieces of each content.
    pub fn pieces(&self) -> u32 {
        self.size
            .div_ceil(self.piece.max(1))
            .try_into()
            .unwrap_or(u32::MAX)
    }

    fn content(&self, number: u32) -> Content {
        let bytes = self.octets(number);
        let pieces = (0..self.pieces()).map(|index| {
            let octets = self.place(index);
            let part = octets.of(&bytes).unwrap_or_default();
            PieceOf {
                n: index + 1,
                first: octets.first,
                len: octets.len(),
                sha256: Sha256::digest(part).into(),
            }
        });
        Content {
            fixture: Library::name(number),
            swarm: Library::name(number),
            sha1: Sha1::digest(&bytes).into(),
            sha256: Sha256::digest(&bytes).into(),
            pieces: pieces.collect(),
            bytes,
        }
    }

    /// Where a piece stands, counted from 0.
    pub fn place(&self, index: u32) -> Octets {
        let first = u64::from(index) * self.piece;
        Octets {
            first,
            last: (first + self.piece).min(self.size) - 1,
        }
    }

    fn octets(&self, number: u32) -> Bytes {
        let mut random = Random::new(derive(self.seed, &["content", &Library::name(number)]));
        let mut octets = Vec::with_capacity(self.size as usize + 64);
        while (octets.len() as u64) < self.size {
            octets.extend_from_slice(&random.bytes::<64>());
        }
        octets.truncate(self.size as usize);
        octets.into()
    }
}

/// A piece of a content, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub content: u32,
    pub piece: u32,
}

/// What is asked for at each time: any piece of any content. Each is a journey of its own.
pub fn plan(
    times: impl Iterator<Item = At>,
    library: Library,
) -> impl Iterator<Item = (Arrival<Ask>, u64)> {
    times.zip(0u64..).map(move |(at, number)| {
        let drawn = mixed(library.seed ^ mixed(number));
        let ask = Ask {
            content: (drawn >> 32) as u32 % library.contents.max(1),
            piece: drawn as u32 % library.pieces().max(1),
        };
        (Arrival { at, number, ask }, number)
    })
}

/// Asks a server of contents, and judges what it answers.
pub struct ChunkJourney {
    library: Library,
    host: String,
    /// Digests of all pieces, content by content.
    digests: std::sync::Arc<Vec<[u8; 32]>>,
}

impl ChunkJourney {
    pub fn new(
        library: Library,
        host: &str,
        digests: std::sync::Arc<Vec<[u8; 32]>>,
    ) -> ChunkJourney {
        ChunkJourney {
            library,
            host: host.to_owned(),
            digests,
        }
    }

    /// The digests of a library's pieces, as a journey wants them.
    pub fn digests(library: &Library) -> Vec<[u8; 32]> {
        let contents = library.contents();
        contents
            .flat_map(|content| content.pieces.into_iter().map(|piece| piece.sha256))
            .collect()
    }

    fn is_whole(&self) -> bool {
        self.library.piece >= self.library.size
    }
}

impl Journey for ChunkJourney {
    type Ask = Ask;

    const KINDS: &'static [&'static str] = &["piece"];

    fn kind(_: Ask) -> usize {
        0
    }

    fn request(&mut self, ask: Ask, _number: u64) -> Bytes {
        let target = format!("{CONTENT_PATH}{}", Library::name(ask.content));
        let builder = http::Request::build("GET", &target).header("Host", &self.host);
        let builder = match self.is_whole() {
            true => builder,
            false => builder.header(
                "Range",
                &Ranges::one(self.library.place(ask.piece)).to_string(),
            ),
        };
        builder.finish().into()
    }

    fn judge(&mut self, asked: Asked<Ask>, answer: &http::Response) -> Result<(), Wrong> {
        let place = self.library.place(asked.ask.piece);
        let expected = if self.is_whole() { 200 } else { 206 };
        if answer.status() != expected {
            return Err(Wrong::status(answer.status(), &expected.to_string()));
        }
        if !self.is_whole() {
            let text = answer.header("Content-Range").unwrap_or_default();
            let range = ContentRange {
                octets: Some(place),
                size: Some(self.library.size),
            };
            if ContentRange::parse(text).ok() != Some(range) {
                return Err(Wrong::shape(format!(
                    "Content-Range {text:?}, expected {range}"
                )));
            }
        }
        let body = answer.body();
        if body.len() as u64 != place.len() {
            let (found, expected) = (body.len(), place.len());
            return Err(Wrong::shape(format!("{found} octets, expected {expected}")));
        }
        if asked.depth == Depth::Shape {
            return Ok(());
        }
        let index =
            asked.ask.content as usize * self.library.pieces() as usize + asked.ask.piece as usize;
        let digest: [u8; 32] = Sha256::digest(&body).into();
        match self.digests.get(index) == Some(&digest) {
            true => Ok(()),
            false => Err(Wrong::content(format!(
                "piece {} of {}: SHA-256 begins {:02x}{:02x}{:02x}{:02x}, which is another piece's or nobody's",
                asked.ask.piece + 1,
                Library::name(asked.ask.content),
                digest[0],
                digest[1],
                digest[2],
                digest[3]
            ))),
        }
    }
}
