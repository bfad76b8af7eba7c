//! What the text leaves open, as named choices. Each Editor's Note of TR 23.844 clause 6.2 is an
//! option a system under test declares; which value it takes never fails it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{UnknownWord, words};

words! {
    /// The two architectures of TR 23.844 clause 6.2.
    Architecture, "architecture", {
        /// 6.2.1: the CDN's servers are registered in IMS.
        Registered = "registered",
        /// 6.2.2: only the CDN Controller is.
        Unregistered = "unregistered",
    }
}

words! {
    /// A signalling path that an Editor's Note leaves for further study.
    Path, "path", {
        /// PPSTP over HTTP, straight to the Tracker AS.
        Ut = "ut",
        /// Through the IMS core.
        Ims = "ims",
    }
}

words! {
    /// "There is another option that P2P request does not go through IMS core."
    RequestPath, "request path", {
        /// INVITE through the core.
        Ims = "ims",
        /// HTTP, straight to the peer.
        Direct = "direct",
    }
}

words! {
    /// How the Controller brings a piece to the UE; a profile parameter of ours, `unregistered` only.
    Delivery, "delivery", {
        /// The edge serves the UE; the Controller hands out its data address.
        Delegate = "delegate",
        /// The Controller fetches from the edge and sends on.
        Relay = "relay",
        /// The Controller answers a direct request with 302 and an edge URL.
        Redirect = "redirect",
    }
}

/// One choice for each Editor's Note. Printed as `ut.ims.ims`: peer list, request, status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Options {
    /// Path of the peer list (steps 1 and 2).
    pub peer_list: Path,
    /// Path of the piece request (steps 3 and 4).
    pub request: RequestPath,
    /// Path of the status update (step 5 of 6.2.1, step 6 of 6.2.2).
    pub status: Path,
}

impl Options {
    /// The eight combinations, the default first.
    pub fn all() -> impl Iterator<Item = Options> {
        Path::ALL.iter().flat_map(|&peer_list| {
            [RequestPath::Ims, RequestPath::Direct]
                .into_iter()
                .flat_map(move |request| {
                    [Path::Ims, Path::Ut]
                        .into_iter()
                        .map(move |status| Options {
                            peer_list,
                            request,
                            status,
                        })
                })
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            peer_list: Path::Ut,
            request: RequestPath::Ims,
            status: Path::Ims,
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.peer_list, self.request, self.status)
    }
}

impl FromStr for Options {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let mut words = text.split('.');
        let mut next = || words.next().unwrap_or_default();
        let options = Options {
            peer_list: next().parse()?,
            request: next().parse()?,
            status: next().parse()?,
        };
        match words.next() {
            None => Ok(options),
            Some(_) => Err(UnknownWord {
                kind: "configuration",
                found: text.to_owned(),
                expected: vec!["peer-list.request.status, as in ut.ims.ims"],
            }),
        }
    }
}

impl Serialize for Options {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_combinations_are_distinct_and_print_as_they_parse() {
        let all: std::collections::BTreeSet<_> = Options::all().collect();
        assert_eq!(8, all.len());
        assert_eq!(Some(Options::default()), Options::all().next());
        for options in all {
            assert_eq!(Ok(options), options.to_string().parse());
        }
    }

    #[test]
    fn a_fourth_word_is_refused() {
        assert!("ut.ims.ims.ims".parse::<Options>().is_err());
    }
}
