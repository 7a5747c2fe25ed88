//! Reading JSON from the first byte to the last, once, without making anything of what is not wanted.

use std::borrow::Cow;
use std::fmt;

use super::{DEPTH_MAX, ELEMENTS_MAX};

/// How much of an unexpected value is shown.
const EXCERPT_CHARACTERS_MAX: usize = 40;

/// What is wrong with a body, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadError {
    /// What kind of mistake it is.
    pub(crate) kind: ReadErrorKind,
    line: usize,
    column: usize,
    what: String,
}

/// The kinds of mistakes that have an error of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadErrorKind {
    /// Anything.
    Body,
    /// An order or a target of sorting that there is not.
    SortOption,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

impl ReadError {
    /// An error at a place in the body. Columns are counted in bytes.
    pub(crate) fn at(body: &[u8], at: usize, what: String) -> Self {
        let before = &body[..at.min(body.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let column = 1 + before.len() - begin;
        Self { kind: ReadErrorKind::Body, line, column, what }
    }
}

/// A place in a body that is being read.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    elements: usize,
}

impl<'a> Reader<'a> {
    /// Begins with a body.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, elements: 0 }
    }

    /// Whether nothing but white space is left.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// An error here.
    pub(crate) fn error(&self, what: String) -> ReadError {
        ReadError::at(self.text.as_bytes(), self.at, what)
    }

    /// The error for a field that was given before.
    pub(crate) fn twice(&self, name: &str) -> ReadError {
        self.error(format!("`{name}` is given twice"))
    }

    /// The error for several members of a `oneof`.
    pub(crate) fn too_many_of(&self, members: &[&str]) -> ReadError {
        self.error(format!("only one of {} may be given", members.join(", ")))
    }

    /// The next byte behind white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// The error for something else than what is expected here.
    pub(crate) fn expected(&mut self, what: &str) -> ReadError {
        let Some(_) = self.peek() else {
            return self.error(format!("the body ends where {what} is expected"));
        };
        let rest = &self.text[self.at..];
        let found: String = rest.chars().take(EXCERPT_CHARACTERS_MAX).collect();
        self.error(format!("{what} is expected, not `{}`", found.escape_default()))
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes a word such as `true` that begins here.
    fn word(&mut self, word: &str) -> bool {
        let found = self.text[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Takes `null`, if it is there.
    pub(crate) fn null(&mut self) -> Result<bool, ReadError> {
        match self.peek() {
            Some(b'n') if self.word("null") => Ok(true),
            Some(b'n') => Err(self.expected("a value")),
            _ => Ok(false),
        }
    }

    /// Reads `true` or `false`.
    pub(crate) fn boolean(&mut self) -> Result<bool, ReadError> {
        match self.peek() {
            Some(b't') if self.word("true") => Ok(true),
            Some(b'f') if self.word("false") => Ok(false),
            _ => Err(self.expected("true or false")),
        }
    }

    /// Reads an object: calls `field` at each value, which it must read.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        if self.peek() != Some(b'{') {
            return Err(self.expected("an object"));
        }
        self.enter()?;
        if self.take(b'}') {
            self.depth -= 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("the name of a field in quotes"));
            }
            let name = self.string()?;
            if !self.take(b':') {
                return Err(self.expected("a colon"));
            }
            field(self, &name)?;
            if self.take(b',') {
                continue;
            }
            if self.take(b'}') {
                self.depth -= 1;
                return Ok(());
            }
            return Err(self.expected("a comma or the end of the object"));
        }
    }

    /// Reads a list: calls `element` at each value, which it must read.
    pub(crate) fn list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        if self.peek() != Some(b'[') {
            return Err(self.expected("a list"));
        }
        self.enter()?;
        if self.take(b']') {
            self.depth -= 1;
            return Ok(());
        }
        loop {
            self.elements += 1;
            if self.elements > ELEMENTS_MAX {
                return Err(self.error(format!("lists have at most {ELEMENTS_MAX} elements here")));
            }
            element(self)?;
            if self.take(b',') {
                continue;
            }
            if self.take(b']') {
                self.depth -= 1;
                return Ok(());
            }
            return Err(self.expected("a comma or the end of the list"));
        }
    }

    /// Passes an opening bracket.
    fn enter(&mut self) -> Result<(), ReadError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(format!("at most {DEPTH_MAX} levels may be nested")));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads any value, for nothing.
    pub(crate) fn skip(&mut self) -> Result<(), ReadError> {
        match self.peek() {
            Some(b'{') => self.object(|reader, _| reader.skip()),
            Some(b'[') => self.list(Self::skip),
            Some(b'"') => self.string().map(|_| ()),
            Some(b'n') if self.word("null") => Ok(()),
            Some(b't' | b'f') => self.boolean().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            _ => Err(self.expected("a value")),
        }
    }

    /// Reads a value of an enumeration, by name or number, and gives its number.
    pub(crate) fn choice(
        &mut self,
        names: &[&str],
        kind: ReadErrorKind,
    ) -> Result<usize, ReadError> {
        let begin = self.place();
        let found = if self.peek() == Some(b'"') {
            let name = self.string()?;
            names.iter().position(|known| *known == name)
        } else {
            let number: Option<usize> = self.number()?.parse().ok();
            number.filter(|number| *number < names.len())
        };
        found.ok_or_else(|| {
            self.return_to(begin);
            let what = format!("one of {} or its number", names.join(", "));
            ReadError { kind, ..self.expected(&what) }
        })
    }

    /// Where the next value begins.
    pub(crate) fn place(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// Goes back to a place, to tell an error there.
    pub(crate) fn return_to(&mut self, place: usize) {
        self.at = place;
    }

    /// Whether a string begins here.
    pub(crate) fn is_string(&mut self) -> bool {
        self.peek() == Some(b'"')
    }

    /// Reads a number and gives it as it is written.
    pub(crate) fn number(&mut self) -> Result<&'a str, ReadError> {
        self.peek();
        let rest = &self.text[self.at..];
        match number_length(rest) {
            Some(length) => {
                self.at += length;
                Ok(&rest[..length])
            }
            None => Err(self.expected("a number")),
        }
    }

    /// Reads a string.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, ReadError> {
        if !self.take(b'"') {
            return Err(self.expected("a string"));
        }
        let mut text: Option<String> = None;
        loop {
            let rest = &self.text[self.at..];
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
            let Some(length) = rest.as_bytes().iter().position(special) else {
                self.at = self.text.len();
                return Err(self.error("the body ends within a string".to_owned()));
            };
            let (plain, rest) = rest.split_at(length);
            self.at += length;
            match rest.as_bytes()[0] {
                b'"' => {
                    self.at += 1;
                    return Ok(match text {
                        None => Cow::Borrowed(plain),
                        Some(text) => Cow::Owned(text + plain),
                    });
                }
                b'\\' => {
                    let text = text.get_or_insert_default();
                    text.push_str(plain);
                    text.push(self.escape()?);
                }
                _ => {
                    let what = "a control character in a string must be escaped";
                    return Err(self.error(what.to_owned()));
                }
            }
        }
    }

    /// Reads an escape sequence.
    fn escape(&mut self) -> Result<char, ReadError> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        let character = match letter {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.error("there is no such escape sequence".to_owned())),
        };
        self.at += 2;
        Ok(character)
    }

    /// Reads `\uXXXX`, or two of them that are one character.
    fn unicode(&mut self) -> Result<char, ReadError> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
        };
        let units = [unit(self.at), unit(self.at + 6)];
        let decoded = units[0].and_then(|first| {
            let units = [first, units[1].unwrap_or(0)];
            char::decode_utf16(units).next()?.ok()
        });
        let Some(character) = decoded else {
            return Err(self.error("`\\u` is followed by no character in hexadecimal".to_owned()));
        };
        self.at += 6 * character.len_utf16();
        Ok(character)
    }
}

/// The length of the JSON number that a text begins with.
pub(super) fn number_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    at += match bytes.get(at)? {
        b'0' => 1,
        b'1'..=b'9' => digits(at),
        _ => return None,
    };
    if bytes.get(at) == Some(&b'.') {
        at += 1 + Some(digits(at + 1)).filter(|count| *count > 0)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at += Some(digits(at)).filter(|count| *count > 0)?;
    }
    // What follows must not make another number of it, such as `01`.
    (!bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.')).then_some(at)
}
