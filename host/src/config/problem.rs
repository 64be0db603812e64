//! What is wrong with a configuration: file, line, column, and what to do about it.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    pub place: Place,
    pub message: String,
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        let (file, message) = (self.file.display(), &self.message);
        write!(f, "{file}:{line}:{column}: {message}")?;
        match self.help.as_str() {
            "" => Ok(()),
            help => write!(f, "\n    {help}"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {error}", file.display())]
    Unreadable {
        file: PathBuf,
        error: std::io::Error,
    },
    #[error("{}", list(.0))]
    Wrong(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Tables, keys and types. Where tables are wrong, nothing is concluded from what is in them.
    Form,
    /// What is written in them.
    Content,
}

/// Collects problems while a configuration is read and checked.
#[derive(Debug)]
pub struct Problems<'a> {
    pub file: &'a Path,
    pub text: &'a str,
    found: RefCell<Vec<(About, Problem)>>,
}

impl<'a> Problems<'a> {
    pub fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            found: RefCell::default(),
        }
    }

    /// Adds one that concerns the content of these bytes of the text.
    pub fn add(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.add_about(About::Content, span, message, help);
    }

    pub fn add_about(
        &self,
        about: About,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Problem {
            file: self.file.to_owned(),
            place: self.place(&span),
            message: message.into(),
            help: help.into(),
        };
        self.found.borrow_mut().push((about, problem));
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

    pub fn of_form(&self) -> usize {
        let found = self.found.borrow();
        found.iter().filter(|it| it.0 == About::Form).count()
    }

    /// Whether something was found already that a table of this name was meant in.
    pub fn concerns(&self, table: &str) -> bool {
        let meant = format!("[[{table}]]?");
        let found = self.found.borrow();
        found.iter().any(|(_, it)| it.help.ends_with(&meant))
    }

    /// The value, unless something was wrong: then everything found, in the order of the file. Without a value, only what
    /// is about the form counts.
    pub fn conclude<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        let mut found = self.found.into_inner();
        match value {
            Some(value) if found.is_empty() => return Ok(value),
            Some(_) => {}
            None => found.retain(|it| it.0 == About::Form),
        }
        found.sort_by_key(|(about, problem)| (problem.place, *about));
        let found = found.into_iter().map(|(_, problem)| problem);
        Err(ConfigError::Wrong(found.collect()))
    }
}

/// The word that was probably meant, if one is near.
pub fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let distance = |other: &&&str| strsim::damerau_levenshtein(&word.to_lowercase(), other);
    let near = words.iter().min_by_key(distance)?;
    let allowed = (near.len() / 3).max(1);
    (!word.is_empty() && distance(&near) <= allowed).then_some(near)
}
