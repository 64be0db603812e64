//! What is wrong with a configuration: file, line, column, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A place in the configuration file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The configuration file.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            place: Place { line, column },
            message,
            help,
        } = self;
        write!(f, "{}:{line}:{column}: {message}", file.display())?;
        if help.is_empty() {
            return Ok(());
        }
        write!(f, "\n    {help}")
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It can be read, but not be used.
    #[error("{}", list(.0))]
    Wrong(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// Collects problems while a configuration is checked.
#[derive(Debug)]
pub struct Problems<'a> {
    file: &'a Path,
    text: &'a str,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    /// None yet.
    pub fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            found: Vec::new(),
        }
    }

    /// Adds one that concerns these bytes of the text.
    pub fn add(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let place = self.place(&span);
        self.found.push(Problem {
            file: self.file.to_owned(),
            place,
            message: message.into(),
            help: help.into(),
        });
    }

    /// Where these bytes of the text are.
    pub fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.found.len()
    }

    /// The text that is looked at.
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// Whether something was found already that a table of this name was meant in.
    pub fn concerns(&self, table: &str) -> bool {
        let meant = format!("[[{table}]]?");
        self.found
            .iter()
            .any(|problem| problem.help.ends_with(&meant))
    }

    /// The value, unless something was wrong.
    pub fn conclude<T>(self, value: T) -> Result<T, ConfigError> {
        if self.found.is_empty() {
            Ok(value)
        } else {
            Err(self.failed())
        }
    }

    /// Everything found, in the order of the file.
    pub fn failed(mut self) -> ConfigError {
        self.found.sort_by_key(|problem| problem.place);
        ConfigError::Wrong(self.found)
    }
}

/// The word that was probably meant, if one is near.
pub fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let distance = |other: &&&str| strsim::damerau_levenshtein(&word.to_lowercase(), other);
    let near = words.iter().min_by_key(distance)?;
    let allowed = (near.len() / 3).max(1);
    (!word.is_empty() && distance(&near) <= allowed).then_some(near)
}
