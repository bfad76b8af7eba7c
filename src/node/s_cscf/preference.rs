//! Caller preferences (RFC 3841): which of a user's contacts a request may go to.

use crate::wire::sip::{Message, NameAddr, Params};

/// The contacts the request may go to, as places in `contacts`: those that `require` leaves, less those that
/// Reject-Contact names, the best match first (RFC 3841 7.2).
pub fn eligible(request: &Message, contacts: &[&Params]) -> Vec<usize> {
    let accepted = predicates(request, "Accept-Contact");
    let rejected = predicates(request, "Reject-Contact");
    let mut scored: Vec<(usize, usize)> = contacts
        .iter()
        .enumerate()
        .filter(|(_, contact)| !rejected.iter().any(|predicate| predicate.names(contact)))
        .filter_map(|(place, contact)| {
            let mut score = 0;
            for predicate in &accepted {
                score += predicate.score(contact)?;
            }
            Some((place, score))
        })
        .collect();
    scored.sort_by_key(|(_, score)| std::cmp::Reverse(*score));
    scored.into_iter().map(|(place, _)| place).collect()
}

/// One value of Accept-Contact or Reject-Contact.
struct Predicate {
    features: Vec<(String, Option<String>)>,
    explicit: bool,
    require: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Match {
    Yes,
    No,
    /// The contact says nothing of this feature.
    Unknown,
}

fn predicates(request: &Message, name: &str) -> Vec<Predicate> {
    request
        .values(name)
        .iter()
        .filter_map(|value| read(value))
        .collect()
}

/// `*;feature="a,b";require;explicit`. The star is no URI, so it is read as one would be.
fn read(value: &str) -> Option<Predicate> {
    let params = Params::parse(value.trim().strip_prefix('*')?.trim_start()).ok()?;
    Some(Predicate {
        explicit: params.has("explicit"),
        require: params.has("require"),
        features: params
            .0
            .into_iter()
            .filter(|(name, _)| is_feature(name))
            .collect(),
    })
}

impl Predicate {
    /// How many features match; `None` if the contact is out (RFC 3841 7.2.4).
    fn score(&self, contact: &Params) -> Option<usize> {
        let matches: Vec<Match> = self
            .features
            .iter()
            .map(|(name, wanted)| compare(contact, name, wanted.as_deref()))
            .collect();
        let fails = matches.iter().any(|found| match found {
            Match::Yes => false,
            Match::No => true,
            Match::Unknown => self.explicit,
        });
        match self.require && fails {
            true => None,
            false => Some(matches.iter().filter(|found| **found == Match::Yes).count()),
        }
    }

    /// Whether a Reject-Contact predicate names this contact: it has every feature (RFC 3841 7.2.3).
    fn names(&self, contact: &Params) -> bool {
        !self.features.is_empty()
            && self
                .features
                .iter()
                .all(|(name, wanted)| compare(contact, name, wanted.as_deref()) == Match::Yes)
    }
}

/// A feature without a value is TRUE; several values in quotes are alternatives, `!` negates one (RFC 3840 9).
fn compare(contact: &Params, name: &str, wanted: Option<&str>) -> Match {
    if !contact.has(name) {
        return Match::Unknown;
    }
    let offered = contact.unquoted(name).unwrap_or_else(|| TRUE.to_owned());
    let wanted = wanted.map_or(TRUE, |wanted| wanted.trim_matches('"'));
    let met = values(wanted).any(|want| match want.strip_prefix('!') {
        Some(unwanted) => !values(&offered).any(|has| same(has, unwanted)),
        None => values(&offered).any(|has| same(has, want)),
    });
    match met {
        true => Match::Yes,
        false => Match::No,
    }
}

fn values(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|v| !v.is_empty())
}

/// Strings in angle brackets compare with case, tokens without.
fn same(a: &str, b: &str) -> bool {
    match a.starts_with('<') {
        true => a == b,
        false => a.eq_ignore_ascii_case(b),
    }
}

/// Base tags of RFC 3840 9, and everything with a plus sign.
fn is_feature(name: &str) -> bool {
    name.starts_with('+') || BASE_TAGS.iter().any(|tag| tag.eq_ignore_ascii_case(name))
}

/// The feature parameters of a Contact.
pub fn features(contact: &NameAddr) -> Params {
    Params(
        contact
            .params
            .0
            .iter()
            .filter(|(name, _)| is_feature(name))
            .cloned()
            .collect(),
    )
}

const TRUE: &str = "TRUE";

const BASE_TAGS: [&str; 18] = [
    "audio",
    "automata",
    "class",
    "duplex",
    "data",
    "control",
    "mobility",
    "description",
    "events",
    "priority",
    "methods",
    "extensions",
    "schemes",
    "application",
    "video",
    "language",
    "type",
    "isfocus",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::Builder;

    const ICSI: &str = "+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.x-p2pcds\"";

    fn chosen(accept: &str, contacts: &[&str]) -> Vec<usize> {
        chosen_by("Accept-Contact", accept, contacts)
    }

    fn chosen_by(name: &str, value: &str, contacts: &[&str]) -> Vec<usize> {
        let request = Builder::request("INVITE", "sip:b@x")
            .header(name, value)
            .finish();
        let params: Vec<Params> = contacts
            .iter()
            .map(|contact| Params::parse(contact).unwrap())
            .collect();
        eligible(&request, &params.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_required_and_explicit_feature_must_be_there() {
        let accept = format!("*;{ICSI};require;explicit");
        let capable = format!(";{ICSI}");
        assert_eq!(vec![1], chosen(&accept, &["", &capable]));
        assert!(chosen(&accept, &[""]).is_empty());
        assert!(chosen(&accept, &[";+g.3gpp.icsi-ref=\"other\""]).is_empty());
    }

    #[test]
    fn without_require_it_only_orders() {
        let capable = format!(";{ICSI}");
        assert_eq!(vec![1, 0], chosen(&format!("*;{ICSI}"), &["", &capable]));
    }

    #[test]
    fn require_without_explicit_tolerates_silence_but_not_contradiction() {
        let accept = format!("*;{ICSI};require");
        let contradicting = ";+g.3gpp.icsi-ref=\"other\"";
        assert_eq!(vec![0], chosen(&accept, &["", contradicting]));
    }

    #[test]
    fn one_of_several_values_is_enough_and_a_negated_one_excludes() {
        assert_eq!(
            vec![0],
            chosen("*;+a=\"x,y\";require", &[";+a=\"y,z\"", ";+a=\"z\""])
        );
        assert_eq!(
            vec![1],
            chosen("*;+a=\"!x\";require", &[";+a=\"x\"", ";+a=\"z\""])
        );
        assert_eq!(vec![0], chosen("*;video;require;explicit", &[";video", ""]));
    }

    #[test]
    fn a_rejected_contact_is_out() {
        assert_eq!(
            vec![1],
            chosen_by("Reject-Contact", "*;automata", &[";automata", ""])
        );
    }
}
