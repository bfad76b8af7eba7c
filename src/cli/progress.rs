//! How far a run has come: one line on a terminal, taken away in the end.

use std::io::{self, IsTerminal, Stderr, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// A bar for so many things to do; drawn only if standard error is a terminal.
pub fn progress(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    bar.set_draw_target(match io::stderr().is_terminal() {
        true => ProgressDrawTarget::term_like_with_hz(Box::new(Terminal(io::stderr())), HERTZ),
        false => ProgressDrawTarget::hidden(),
    });
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len}  {elapsed}  {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Takes the bar's line away before the process ends at once.
pub fn clear() {
    if io::stderr().is_terminal() {
        // There is nobody left to tell.
        let _ = io::stderr().write_all(CLEARED);
    }
}

/// Standard error, a little narrower than it is. A bar fills its line to the end: what the terminal echoes of
/// Ctrl-C would begin another one, and the bar's would stay.
#[derive(Debug)]
struct Terminal(Stderr);

impl Terminal {
    fn put(&self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.lock().write_all(text.as_ref())
    }

    fn go(&self, columns: usize, way: char) -> io::Result<()> {
        match columns {
            0 => Ok(()),
            _ => self.put(format!("\x1b[{columns}{way}")),
        }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        let size = terminal_size::terminal_size_of(&self.0);
        let width = size.map_or(80, |(terminal_size::Width(width), _)| width);
        width.saturating_sub(ECHO).max(1)
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.go(lines, 'A')
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.go(lines, 'B')
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.go(columns, 'C')
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.go(columns, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(format!("{text}\r\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put(CLEARED)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.lock().flush()
    }
}

/// To the first column, and nothing on the line.
const CLEARED: &[u8] = b"\r\x1b[2K";

/// Columns of `^C^C`, and the one that would begin another line.
const ECHO: u16 = 5;

/// Drawings a second, at most.
const HERTZ: u8 = 20;
