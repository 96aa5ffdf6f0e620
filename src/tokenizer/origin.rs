//! Which bytes of a rendered prompt came from outside, and which the template wrote itself.
//!
//! A template is a program that joins strings, and a joined string does not say where its parts came from. So the
//! conversation is rendered a second time with two private-use characters around every character of the messages, one
//! before and one after. What still lies between them came from outside, wherever the template put it, trimmed, cut or
//! in capitals. The second rendering counts only if it gives the prompt once the marks are taken out: a template that
//! looks for `/no_think` in a message, or counts its characters, must see the message as it is. For those the marks
//! become sparser step by step, down to one in each control token that a message spells.

use std::collections::{HashMap, HashSet};

use super::{Message, TokenizerError};

/// A prompt, and for each byte of it whether it came from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rendered {
    pub text: String,
    outside: Vec<bool>,
}

impl Rendered {
    /// A text that came from outside, all of it.
    pub(super) fn outside(text: String) -> Self {
        let outside = vec![true; text.len()];
        Self { text, outside }
    }

    /// The whole.
    pub(super) fn whole(&self) -> Part<'_> {
        Part { text: &self.text, outside: &self.outside }
    }

    fn push(&mut self, c: char, outside: bool) {
        self.text.push(c);
        self.outside.resize(self.text.len(), outside);
    }
}

/// A stretch of a prompt.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub text: &'a str,
    /// What is not in it is the template's own.
    outside: &'a [bool],
}

impl<'a> Part<'a> {
    /// A text of which nothing came from outside.
    pub(super) fn inside(text: &'a str) -> Self {
        Self { text, outside: &[] }
    }

    /// Whether anything of it came from outside.
    pub(super) fn has_outside(self) -> bool {
        self.outside.contains(&true)
    }

    /// Whether any byte from `start` to before `end` came from outside.
    pub(super) fn is_outside(self, start: usize, end: usize) -> bool {
        let end = end.min(self.outside.len());
        self.outside.get(start..end).is_some_and(|bytes| bytes.contains(&true))
    }

    /// What begins at a byte of it.
    pub(super) fn from(self, at: usize) -> Self {
        Self {
            text: self.text.get(at..).unwrap_or_default(),
            outside: self.outside.get(at..).unwrap_or_default(),
        }
    }

    /// The stretches between the occurrences of a character.
    pub(super) fn split(self, at: char) -> impl Iterator<Item = Self> {
        let mut start = 0usize;
        self.text.split(at).map(move |text| {
            let outside = self.from(start).outside;
            start = start.saturating_add(text.len()).saturating_add(at.len_utf8());
            Self { text, outside: outside.get(..text.len()).unwrap_or(outside) }
        })
    }

    /// The same behind a text of the template's own.
    pub(super) fn behind(self, head: &str) -> Rendered {
        let mut rendered =
            Rendered { text: format!("{head}{}", self.text), outside: vec![false; head.len()] };
        rendered.outside.extend_from_slice(self.outside);
        rendered.outside.resize(rendered.text.len(), false);
        rendered
    }
}

/// How densely a message is marked, from the densest on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marks {
    /// Every character that is no white space, which templates trim.
    All,
    /// The same, save for what the template may look for: the strings in its source.
    AllButLiterals,
    /// Characters that a control token begins with.
    Beginnings,
    /// One in each control token that is spelled.
    Spelled,
}

/// Says what of `plain`, the prompt of `messages`, came from their contents.
///
/// `render` renders messages, `literals` are the strings of the template, `controls` the spellings of control tokens.
///
/// # Errors
/// As `render`, and a message that holds every private-use character.
pub(super) fn trace(
    render: &dyn Fn(&[Message]) -> Result<String, TokenizerError>,
    plain: String,
    messages: &[Message],
    literals: &[String],
    controls: &[String],
) -> Result<Rendered, TokenizerError> {
    let [open, close] = marks(&plain, messages, literals)?;
    let marker = Marker::new([open, close], literals, controls);
    let mut last = None;
    for marks in [Marks::All, Marks::AllButLiterals, Marks::Beginnings, Marks::Spelled] {
        let mark = |message: &Message| Message::new(&message.role, marker.mark(&message.content, marks));
        let marked: Vec<Message> = messages.iter().map(mark).collect();
        if marks == Marks::Spelled && marked == messages {
            break;
        }
        match render(&marked) {
            Ok(text) => {
                let rendered = marker.read(&text);
                if rendered.text == plain {
                    return Ok(rendered);
                }
                last = Some(rendered);
            }
            Err(error) if marks == Marks::Spelled => return Err(error),
            Err(_) => {}
        }
    }
    // Either no message spells a control token, and the prompt is right as it is; or the template would do something
    // else on account of one that a message spells, and must not.
    match last {
        Some(rendered) if messages.iter().any(|message| marker.spells(&message.content)) => Ok(rendered),
        _ => Ok(Part::inside(&plain).behind("")),
    }
}

/// Two private-use characters that occur in none of the texts.
fn marks(plain: &str, messages: &[Message], literals: &[String]) -> Result<[char; 2], TokenizerError> {
    let texts = messages.iter().map(|message| message.content.as_str()).chain([plain]);
    let used: HashSet<char> = texts
        .chain(literals.iter().map(String::as_str))
        .flat_map(str::chars)
        .filter(|c| *c >= '\u{e000}')
        .collect();
    let mut free = ('\u{e000}'..='\u{f8ff}').chain('\u{f0000}'..='\u{ffffd}').filter(|c| !used.contains(c));
    match (free.next(), free.next()) {
        (Some(open), Some(close)) => Ok([open, close]),
        _ => Err(TokenizerError::TemplateRun {
            line: 0,
            reason: "a message holds every private-use character".to_owned(),
        }),
    }
}

/// Puts marks into messages and reads them in what was rendered.
struct Marker<'a> {
    open: char,
    close: char,
    /// By their first characters.
    literals: HashMap<char, Vec<&'a str>>,
    controls: HashMap<char, Vec<&'a str>>,
}

/// Those of `list` that `text`, which begins with `c`, begins with.
fn begin<'l>(list: &'l HashMap<char, Vec<&str>>, c: char, text: &str) -> impl Iterator<Item = &'l str> {
    list.get(&c).into_iter().flatten().copied().filter(move |entry| text.starts_with(entry))
}

impl<'a> Marker<'a> {
    fn new([open, close]: [char; 2], literals: &'a [String], controls: &'a [String]) -> Self {
        let by_first = |list: &'a [String]| {
            let mut map: HashMap<char, Vec<&str>> = HashMap::new();
            for entry in list {
                if let Some(c) = entry.chars().next() {
                    map.entry(c).or_default().push(entry);
                }
            }
            map
        };
        Self { open, close, literals: by_first(literals), controls: by_first(controls) }
    }

    /// The content with its marks.
    fn mark(&self, content: &str, marks: Marks) -> String {
        let mut marked = String::new();
        let mut rest = content;
        // Bytes from here on that belong to a string of the template, and stay as they are.
        let mut kept = 0usize;
        while let Some(c) = rest.chars().next() {
            let spelled = begin(&self.controls, c, rest).next().is_some();
            if marks == Marks::AllButLiterals && kept == 0 {
                kept = begin(&self.literals, c, rest).map(str::len).max().unwrap_or(0);
            }
            let wanted = match marks {
                Marks::All => !c.is_whitespace(),
                Marks::AllButLiterals => kept == 0 && !c.is_whitespace(),
                Marks::Beginnings => self.controls.contains_key(&c),
                Marks::Spelled => false,
            };
            if wanted || spelled {
                marked.extend([self.open, c, self.close]);
            } else {
                marked.push(c);
            }
            kept = kept.saturating_sub(c.len_utf8());
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
        marked
    }

    /// Whether a content spells a control token.
    fn spells(&self, content: &str) -> bool {
        content
            .char_indices()
            .any(|(at, c)| begin(&self.controls, c, content.get(at..).unwrap_or_default()).next().is_some())
    }

    /// The text without its marks: what lies between two of them came from outside.
    ///
    /// A filter may turn one character into three at most (the capitals of a ligature). A text that was reversed has
    /// its marks the other way round; so have two messages between which the template writes something, but that is
    /// more than a character if it matters. Marks further apart have lost each other.
    fn read(&self, text: &str) -> Rendered {
        let mut rendered = Rendered::default();
        let mut last: Option<char> = None;
        let mut between: Vec<char> = Vec::new();
        for c in text.chars() {
            if c == self.open || c == self.close {
                let most = match (last, c == self.close) {
                    (Some(last), true) if last == self.open => 3,
                    (Some(last), false) if last == self.close => 1,
                    _ => 0,
                };
                // White space is never marked, so none that lies alone came with marks.
                let blank = between.iter().all(|c| c.is_whitespace());
                let outside = between.len() <= most && !blank;
                between.drain(..).for_each(|c| rendered.push(c, outside));
                last = Some(c);
            } else {
                between.push(c);
            }
        }
        between.drain(..).for_each(|c| rendered.push(c, false));
        rendered
    }
}

/// The strings that stand in the expressions and statements of a template.
pub(super) fn literals(source: &str) -> Vec<String> {
    /// More than any template has; what is beyond only makes the marks of a message denser.
    const MOST: usize = 4096;
    let mut found = HashSet::new();
    let mut chars = source.chars().peekable();
    let mut code = false;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('{', Some('{' | '%')) => code = true,
            ('}' | '%', Some('}')) => code = false,
            ('\'' | '"', _) if code => {
                let mut literal = String::new();
                while let Some(next) = chars.next().filter(|next| *next != c) {
                    match (next, next == '\\') {
                        (_, true) => match chars.next() {
                            Some('n') => literal.push('\n'),
                            Some('t') => literal.push('\t'),
                            Some('r') => literal.push('\r'),
                            Some(other) => literal.push(other),
                            None => {}
                        },
                        (plain, false) => literal.push(plain),
                    }
                }
                if !literal.trim().is_empty() && found.len() < MOST {
                    found.insert(literal);
                }
            }
            _ => {}
        }
    }
    let mut literals: Vec<String> = found.into_iter().collect();
    literals.sort_unstable();
    literals
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn marker<'a>(literals: &'a [String], controls: &'a [String]) -> Marker<'a> {
        Marker::new(['\u{e000}', '\u{e001}'], literals, controls)
    }

    fn outside(rendered: &Rendered) -> String {
        let part = rendered.whole();
        let own = |(at, _): &(usize, char)| part.is_outside(*at, at + 1);
        rendered.text.char_indices().filter(own).map(|(_, c)| c).collect()
    }

    #[test]
    fn strings_of_a_template_are_found_in_its_code_only() {
        let source = "it's {{ 'a\\'b' + \"c\\n\" }} 'no' {% if '/x' in y %}{{ ' ' }}";
        assert_eq!(literals(source), ["/x", "a'b", "c\n"]);
    }

    #[test]
    fn what_lies_between_two_marks_came_from_outside() {
        let (none, controls) = (Vec::new(), vec!["<s>".to_owned()]);
        let marker = marker(&none, &controls);
        let marked = marker.mark("a <s>", Marks::All);
        let prompt = format!("<s>{marked}</s>");
        let rendered = marker.read(&prompt);
        assert_eq!((rendered.text.as_str(), outside(&rendered).as_str()), ("<s>a <s></s>", "a<s>"));
        // Turned round, and cut in two with something of the template's own between.
        let turned: String = marked.chars().rev().collect();
        assert_eq!(outside(&marker.read(&turned)), ">s<a");
        let (head, tail) = marked.split_at(marked.len() - "\u{e001}".len());
        assert_eq!(outside(&marker.read(&format!("{head}<|end|>{tail}"))), "a<s");
        assert_eq!(marker.mark("a <s>", Marks::Spelled), "a \u{e000}<\u{e001}s>");
    }

    proptest! {
        #[test]
        fn marks_leave_no_trace(text in "(\\PC|<s>|no| |\n){0,12}") {
            let (literals, controls) = (vec!["no".to_owned()], vec!["<s>".to_owned()]);
            let marker = marker(&literals, &controls);
            for marks in [Marks::All, Marks::AllButLiterals, Marks::Beginnings, Marks::Spelled] {
                let marked = marker.mark(&text, marks);
                prop_assume!(!text.contains(['\u{e000}', '\u{e001}']));
                prop_assert_eq!(marker.read(&marked).text, text.clone());
            }
        }
    }
}
