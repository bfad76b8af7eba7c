//! What is wrong in a data file, and where. All mistakes of all files are gathered before anyone is
//! told, each with file, line, column, what was expected and the nearest name.

use std::{fmt, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};

/// A data file while it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As the reader names it: `suites/registered/step-3-piece-request.toml`.
    pub path: Arc<str>,
    pub text: Arc<str>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.into(),
        }
    }

    /// Line and column (in characters) of an octet offset, both from 1.
    pub fn place(&self, at: usize) -> (usize, usize) {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line, before[start..].chars().count() + 1)
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub source: Source,
    pub span: Range<usize>,
    /// What was found and what was expected, lower case, no full stop.
    pub message: String,
    /// The nearest name, or what to do; empty if nothing helps.
    pub hint: String,
}

impl Diagnostic {
    /// Line and column, both from 1.
    pub fn place(&self) -> (usize, usize) {
        self.source.place(self.span.start)
    }

    /// One line: `file:line:column: message (hint)`.
    pub fn line(&self) -> String {
        let (line, column) = self.place();
        let hint = match self.hint.is_empty() {
            true => String::new(),
            false => format!(" ({})", self.hint),
        };
        format!(
            "{}:{line}:{column}: {}{hint}",
            self.source.path, self.message
        )
    }

    /// The line with the caret under it, as a compiler would draw it.
    pub fn draw(&self, renderer: &Renderer) -> String {
        let end = self.span.end.clamp(self.span.start, self.source.text.len());
        let start = self.span.start.min(end);
        let annotation = AnnotationKind::Primary
            .span(start..end)
            .label(self.hint.as_str());
        let snippet = Snippet::source(&*self.source.text)
            .path(&*self.source.path)
            .annotation(annotation);
        renderer.render(&[Level::ERROR
            .primary_title(self.message.as_str())
            .element(snippet)])
    }
}

/// All mistakes of all files read together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    pub fn items(&self) -> &[Diagnostic] {
        &self.items
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Drawn with colours for a terminal.
    pub fn styled(&self) -> String {
        self.drawn(&Renderer::styled().decor_style(DecorStyle::Unicode))
    }

    pub(crate) fn push(
        &mut self,
        source: &Source,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.items.push(Diagnostic {
            source: source.clone(),
            span,
            message: message.into(),
            hint: hint.into(),
        });
    }

    pub(crate) fn append(&mut self, mut other: Diagnostics) {
        self.items.append(&mut other.items);
    }

    fn drawn(&self, renderer: &Renderer) -> String {
        let drawings: Vec<_> = self.items.iter().map(|d| d.draw(renderer)).collect();
        let count = self.items.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        format!("{}\n{count} {noun}\n", drawings.join("\n\n"))
    }
}

impl fmt::Display for Diagnostics {
    /// Drawn in plain text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.drawn(&Renderer::plain()))
    }
}

impl std::error::Error for Diagnostics {}

/// The name among `known` that `found` most likely stands for, if one is near enough.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (found.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// The three that are spelt least unlike what was found, each as it is spelt and what it means.
pub(crate) fn least_far<'a>(
    found: &str,
    known: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<&'a str> {
    let known = known.into_iter();
    let mut ranked: Vec<(usize, &str)> = known
        .map(|(spelt, meant)| (strsim::damerau_levenshtein(found, spelt), meant))
        .collect();
    ranked.sort_unstable();
    let mut least: Vec<&str> = Vec::new();
    for (_, meant) in ranked {
        if least.len() < 3 && !least.contains(&meant) {
            least.push(meant);
        }
    }
    least
}

/// `did you mean "…"?`, or nothing.
pub(crate) fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(found, known) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_drawn_with_line_and_caret() {
        let source = Source::new("suites/a.toml", "x = 1\non = \"Gn\"\n");
        let mut all = Diagnostics::default();
        all.push(
            &source,
            11..15,
            "unknown reference point \"Gn\"",
            did_you_mean("Gn", ["Gm", "Mw"]),
        );

        assert_eq!(
            "suites/a.toml:2:6: unknown reference point \"Gn\" (did you mean \"Gm\"?)",
            all.items()[0].line()
        );
        let drawn = all.to_string();
        assert!(drawn.contains("suites/a.toml:2:6"), "{drawn}");
        assert!(drawn.contains("^^^^ did you mean \"Gm\"?"), "{drawn}");
        assert!(drawn.ends_with("1 mistake\n"), "{drawn}");
    }

    #[test]
    fn a_far_name_is_not_suggested() {
        assert_eq!(None, nearest("tracker", ["es-1", "ue-a"]));
        assert_eq!(Some("tracker"), nearest("traker", ["es-1", "tracker"]));
    }
}
