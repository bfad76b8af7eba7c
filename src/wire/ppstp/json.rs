//! One JSON text, read into a tree that refuses what makes two readers disagree: a member named twice.
//! Nesting is bounded, numbers keep whether they are integers, and every error knows its path.

use std::{borrow::Cow, cell::Cell, collections::BTreeSet, fmt};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Debug)]
pub enum Value<'a> {
    Null,
    Boolean(bool),
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    /// Not an integer, or beyond 64 bits.
    Other(f64),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl Value<'_> {
    /// What it is, shortened for a message.
    pub fn describe(&self) -> String {
        match self {
            Value::Null => "null".to_owned(),
            Value::Boolean(value) => value.to_string(),
            Value::Unsigned(value) => value.to_string(),
            Value::Negative(value) => value.to_string(),
            Value::Other(value) => format!("the number {value}"),
            Value::Text(text) if text.chars().count() > 40 => {
                format!("{:?}…", text.chars().take(40).collect::<String>())
            }
            Value::Text(text) => format!("{text:?}"),
            Value::List(items) => format!("an array of {}", items.len()),
            Value::Object(_) => "an object".to_owned(),
        }
    }
}

/// Why a text is not read.
#[derive(Debug)]
pub struct Unreadable {
    /// A path into the tree, or line and column.
    pub place: String,
    pub found: String,
    pub expected: &'static str,
}

/// Objects and arrays inside each other.
const DEPTH: usize = 32;

/// Reads a text that is one JSON value and nothing more.
pub fn read(bytes: &[u8]) -> Result<Value<'_>, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|error| Unreadable {
        place: format!("octet {}", error.valid_up_to()),
        found: format!("0x{:02x}", bytes[error.valid_up_to()]),
        expected: "UTF-8",
    })?;
    let problem = Cell::new(None);
    let seed = Seed {
        place: &Place::Root,
        depth: DEPTH,
        problem: &problem,
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = seed
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        problem.take().unwrap_or_else(|| Unreadable {
            place: format!("line {} column {}", error.line(), error.column()),
            found: words_of(&error),
            expected: "one JSON text",
        })
    })
}

/// The reader's own words, without its line and column.
fn words_of(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match words.rfind(" at line ") {
        Some(end) => words[..end].to_owned(),
        None => words,
    }
}

/// Where in the tree the reader is; lives on the stack.
enum Place<'p> {
    Root,
    Member(&'p Place<'p>, &'p str),
    Index(&'p Place<'p>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Member(Place::Root, name) => f.write_str(name),
            Place::Member(above, name) => write!(f, "{above}.{name}"),
            Place::Index(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

struct Seed<'p> {
    place: &'p Place<'p>,
    depth: usize,
    problem: &'p Cell<Option<Unreadable>>,
}

impl Seed<'_> {
    fn fail<E: de::Error>(&self, found: String, expected: &'static str) -> E {
        let place = match self.place {
            Place::Root => "the message".to_owned(),
            below => below.to_string(),
        };
        self.problem.set(Some(Unreadable {
            place,
            found,
            expected,
        }));
        E::custom(expected)
    }

    fn check_depth<E: de::Error>(&self) -> Result<(), E> {
        match self.depth {
            0 => Err(self.fail("deeper nesting".to_owned(), "at most 32 levels")),
            _ => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: de::Deserializer<'de>>(self, reader: D) -> Result<Value<'de>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Negative(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Other(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        self.check_depth()?;
        let mut list = Vec::new();
        loop {
            let place = Place::Index(self.place, list.len());
            let seed = Seed {
                place: &place,
                depth: self.depth - 1,
                problem: self.problem,
            };
            match items.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(Value::List(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value<'de>, A::Error> {
        self.check_depth()?;
        let mut members: Vec<(Cow<'de, str>, Value<'de>)> = Vec::new();
        let mut names = BTreeSet::new();
        while let Some(Name(name)) = entries.next_key()? {
            let is_known = match members.len() {
                0..FEW => members.iter().any(|(known, _)| *known == name),
                FEW => {
                    names.extend(members.iter().map(|(known, _)| known.clone()));
                    !names.insert(name.clone())
                }
                _ => !names.insert(name.clone()),
            };
            if is_known {
                return Err(self.fail(format!("{name:?} twice"), "each member once"));
            }
            let place = Place::Member(self.place, &name);
            let seed = Seed {
                place: &place,
                depth: self.depth - 1,
                problem: self.problem,
            };
            let value = entries.next_value_seed(seed)?;
            members.push((name, value));
        }
        Ok(Value::Object(members))
    }
}

/// Members that are searched one by one; above, a set of names is kept.
const FEW: usize = 16;

/// A member's name, borrowed where it holds no escape.
struct Name<'a>(Cow<'a, str>);

impl<'de> de::Deserialize<'de> for Name<'de> {
    fn deserialize<D: de::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        reader.deserialize_str(Borrow)
    }
}
