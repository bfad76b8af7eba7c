//! A place in a document: what a verdict cites.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A clause of a document, written `TR 23.844 6.2.1 step 3`: document, number, and whatever follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clause {
    /// "TR 23.844", "TS 24.229", "RFC 3261", or "peerproof" for rules of our own.
    pub document: String,
    /// "6.2.1", "5.4.3.2"; empty where only the document is known.
    pub number: String,
    /// "step 3", "row 2"; empty if none.
    pub place: String,
}

impl FromStr for Clause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let first = words
            .next()
            .ok_or("an empty clause, expected for example \"RFC 3261 17.1\"")?;
        let document = match first {
            "TR" | "TS" | "RFC" | "ETSI" => {
                let number = words
                    .next()
                    .ok_or_else(|| format!("\"{text}\" names no document number after {first}"))?;
                format!("{first} {number}")
            }
            other => other.to_owned(),
        };
        let number = words.next().unwrap_or_default().to_owned();
        let place = words.collect::<Vec<_>>().join(" ");
        Ok(Clause {
            document,
            number,
            place,
        })
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.document)?;
        for part in [&self.number, &self.place] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Clause {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Clause {
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
    fn prints_as_it_parses() {
        for text in [
            "TR 23.844 6.2.1 step 3",
            "RFC 3261 17.1.1.2",
            "peerproof",
            "TS 24.229",
        ] {
            assert_eq!(text, text.parse::<Clause>().unwrap().to_string());
        }
    }
}
