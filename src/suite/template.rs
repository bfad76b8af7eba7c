//! Text with places to fill: `${ask.call-id}`, `${es-1.data}`, `${content.swarm}`. Scenario files hold no
//! address; this is how they name one.

use std::fmt;

/// A text in which `${…}` stands for a value known only in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// What stands between the braces: `ask.call-id`.
    Place(String),
}

/// Where the values come from.
pub trait Lookup {
    /// The value of `owner.field`; `None` if it is not known (yet).
    fn value(&self, place: &str) -> Option<String>;
}

impl Template {
    /// The error says what is wrong with the braces.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let after = &rest[start + 2..];
            let end = after
                .find('}')
                .ok_or_else(|| "\"${\" without \"}\"".to_owned())?;
            let place = &after[..end];
            if !place.contains('.') {
                return Err(format!(
                    "\"${{{place}}}\" names no field, expected for example ${{ask.call-id}}"
                ));
            }
            parts.push(Part::Place(place.to_owned()));
            rest = &after[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Template { parts })
    }

    /// The text with every place filled; the error is the first place without a value.
    pub fn fill(&self, lookup: &dyn Lookup) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Place(place) => {
                    text.push_str(&lookup.value(place).ok_or_else(|| place.clone())?);
                }
            }
        }
        Ok(text)
    }

    /// Every place, in order.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Place(place) => Some(place.as_str()),
            Part::Text(_) => None,
        })
    }
}

impl fmt::Display for Template {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Place(place) => write!(f, "${{{place}}}")?,
            }
        }
        Ok(())
    }
}

/// A text with every place filled whose value is known; the others stay as they are written.
pub fn fill_known(text: &str, lookup: &dyn Lookup) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}') else {
            break;
        };
        let (before, place) = (&rest[..start], &rest[start + 2..start + end]);
        filled.push_str(before);
        match lookup.value(place) {
            Some(value) => filled.push_str(&value),
            None => filled.push_str(&rest[start..=start + end]),
        }
        rest = &rest[start + end + 1..];
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    impl Lookup for One {
        fn value(&self, place: &str) -> Option<String> {
            (place == "es-1.data").then(|| "198.51.100.21:7777".to_owned())
        }
    }

    #[test]
    fn places_are_filled_and_unknown_ones_named() {
        let template = Template::parse("to ${es-1.data}, via ${ask.call-id}").unwrap();
        assert_eq!(Err("ask.call-id".to_owned()), template.fill(&One));
        let template = Template::parse("msrp://${es-1.data}/").unwrap();
        assert_eq!(
            Ok("msrp://198.51.100.21:7777/".to_owned()),
            template.fill(&One)
        );
        assert_eq!("msrp://${es-1.data}/", template.to_string());
    }

    #[test]
    fn what_is_not_known_stays_as_it_is_written() {
        assert_eq!(
            "198.51.100.21:7777, ${ask.uri}, ${",
            fill_known("${es-1.data}, ${ask.uri}, ${", &One)
        );
    }

    #[test]
    fn open_braces_are_refused() {
        assert!(Template::parse("${ask.call-id").is_err());
        assert!(Template::parse("${ask}").is_err());
    }
}
