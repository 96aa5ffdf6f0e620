//! The chat template of a model: messages to one prompt.
//!
//! A template is a program from a file of unknown origin, so it runs with no file access, a bounded number of steps,
//! bounded recursion and bounded output, and it sees nothing but the messages and two token names. The settings are
//! those of transformers' `apply_chat_template` (Jinja with trimmed blocks, Python's methods, `raise_exception`), so
//! that a template renders the same text there and here. `strftime_now` is left out: a prompt must not depend on the day.

use std::io::{self, Write};
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, State, Value, context};
use serde::Serialize;

use super::error::{TokenizerError, reason};
use super::origin::{self, Part, Rendered};
use crate::model_file::quoted;

/// Most bytes of a template's source.
pub const MAX_TEMPLATE_BYTES: usize = 256 << 10;
/// Most bytes of a rendered prompt.
pub const MAX_PROMPT_BYTES: usize = 4 << 20;
/// Steps (and, at 64 bytes each, data) that one rendering may use.
const FUEL: u64 = 1_000_000;
/// JSON that one step of fuel pays for: writing it costs more than copying text does.
const BYTES_PER_FUEL: u64 = 16;
/// How much longer a prompt may become by the marks in its messages (three bytes on each side of a character), and how
/// much more fuel that takes.
const MARKS_BYTES: usize = 9;
const MARKS_FUEL: u64 = 8;
/// Nested macros, loops and blocks.
const RECURSION: usize = 64;
/// Name under which the one template is registered.
const NAME: &str = "chat";
/// Marks an error that `raise_exception` made, so that it can be told from all others.
const REFUSED: &str = "refused by the template: ";

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// "system", "user", "assistant" or what else the template knows.
    pub role: String,
    /// The text of the turn.
    pub content: String,
}

impl Message {
    /// A message of the given role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }

    /// The message as templates see it.
    fn to_value(&self) -> Value {
        Value::from_pairs([("role", self.role.as_str()), ("content", self.content.as_str())])
    }
}

/// A parsed chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: Arc<str>,
    /// The strings in its source.
    literals: Arc<[String]>,
}

impl ChatTemplate {
    /// Parses a Jinja template.
    ///
    /// # Errors
    /// [`TokenizerError::TemplateTooLarge`] beyond [`MAX_TEMPLATE_BYTES`], else [`TokenizerError::TemplateSyntax`].
    pub fn new(source: &str) -> Result<Self, TokenizerError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TokenizerError::TemplateTooLarge { what: "template", limit: MAX_TEMPLATE_BYTES });
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| syntax_error(&error))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| syntax_error(&error))?;
        Ok(Self { environment, literals: origin::literals(source).into(), source: source.into() })
    }

    /// The source.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Renders the prompt for `messages`; `add_generation_prompt` opens the turn of the assistant at its end.
    ///
    /// The token names are what the template knows as `bos_token` and `eos_token`; `None` leaves them undefined.
    ///
    /// # Errors
    /// [`TokenizerError::TemplateRefused`] where the template raised an exception, [`TokenizerError::TemplateTooLarge`]
    /// beyond [`MAX_PROMPT_BYTES`], else [`TokenizerError::TemplateRun`] with the kind of failure.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        bos_token: Option<&str>,
        eos_token: Option<&str>,
    ) -> Result<String, TokenizerError> {
        self.run(messages, add_generation_prompt, [bos_token, eos_token], &self.environment, MAX_PROMPT_BYTES)
    }

    /// [`ChatTemplate::render`], and which bytes of the prompt came from the contents of messages; `controls` are the
    /// spellings that matter.
    pub(super) fn trace(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        bos_token: Option<&str>,
        eos_token: Option<&str>,
        controls: &[String],
    ) -> Result<Rendered, TokenizerError> {
        let plain = self.render(messages, add_generation_prompt, bos_token, eos_token)?;
        if controls.is_empty() {
            return Ok(Part::inside(&plain).behind(""));
        }
        // Marks make a message longer, which is no fault of whoever wrote it.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL.saturating_mul(MARKS_FUEL)));
        let render = |messages: &[Message]| {
            let limit = MAX_PROMPT_BYTES.saturating_mul(MARKS_BYTES);
            self.run(messages, add_generation_prompt, [bos_token, eos_token], &environment, limit)
        };
        origin::trace(&render, plain, messages, &self.literals, controls)
    }

    fn run(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        [bos_token, eos_token]: [Option<&str>; 2],
        environment: &Environment<'_>,
        limit: usize,
    ) -> Result<String, TokenizerError> {
        let token = |name: Option<&str>| name.map_or(Value::UNDEFINED, Value::from);
        let context = context! {
            messages => messages.iter().map(Message::to_value).collect::<Value>(),
            add_generation_prompt => add_generation_prompt,
            bos_token => token(bos_token),
            eos_token => token(eos_token),
            tools => Value::from(()),
            documents => Value::from(()),
        };
        let mut prompt = Bounded::new(limit);
        let result = environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(context, &mut prompt).map(drop));
        if prompt.overflow {
            return Err(TokenizerError::TemplateTooLarge { what: "output", limit: MAX_PROMPT_BYTES });
        }
        result.map_err(|error| run_error(&error))?;
        String::from_utf8(prompt.bytes)
            .map_err(|error| TokenizerError::TemplateRun { line: 0, reason: reason(&error) })
    }
}

/// The error of a template that does not parse.
fn syntax_error(error: &Error) -> TokenizerError {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    TokenizerError::TemplateSyntax { line: error.line().unwrap_or(0), reason: reason(&detail) }
}

/// The error of a failed rendering. Only its kind is kept, because the rest may repeat what the user wrote.
fn run_error(error: &Error) -> TokenizerError {
    match error.detail().and_then(|detail| detail.strip_prefix(REFUSED)) {
        Some(message) => TokenizerError::TemplateRefused { message: quoted(message) },
        None => {
            TokenizerError::TemplateRun { line: error.line().unwrap_or(0), reason: error.kind().to_string() }
        }
    }
}

/// Jinja function `raise_exception(message)`.
fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{REFUSED}{message}")))
}

/// Jinja filter `tojson` as Python's `json.dumps(value, ensure_ascii=False)` writes it.
fn to_json(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut out = Bounded::new(MAX_PROMPT_BYTES);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, PythonJson);
    let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, error.to_string());
    value.serialize(&mut serializer).map_err(|error| failed(&error))?;
    state.consume_fuel(u64::try_from(out.bytes.len()).unwrap_or(u64::MAX) / BYTES_PER_FUEL)?;
    String::from_utf8(out.bytes).map_err(|error| failed(&error))
}

/// JSON with a space after commas and colons.
struct PythonJson;

impl serde_json::ser::Formatter for PythonJson {
    fn begin_array_value<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// A buffer that refuses to grow beyond its limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    overflow: bool,
}

impl Bounded {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, overflow: false }
    }
}

impl Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(part.len()) > self.limit {
            self.overflow = true;
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
