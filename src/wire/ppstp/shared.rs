//! A part of responses that several share.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

/// A value that several responses hold: cheap to clone, and written once for all of them.
pub struct Shared<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: T,
    /// As it stands in a response.
    json: OnceLock<Box<str>>,
}

impl<T> Shared<T> {
    /// Its JSON text, if it was written before.
    pub(super) fn json(&self) -> Option<&str> {
        self.0.json.get().map(|json| &**json)
    }

    /// Keeps its JSON text, if somebody else shares it.
    pub(super) fn keep_json(&self, json: &str) {
        if Arc::strong_count(&self.0) > 1 {
            // Whoever was first wrote the same.
            let _ = self.0.json.set(json.into());
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Shared<T> {
        Shared(Arc::new(Inner {
            value,
            json: OnceLock::new(),
        }))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || **self == **other
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
