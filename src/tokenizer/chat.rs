//! The chat template of a model: messages to one prompt.
//!
//! A template is a program from a file of unknown origin, so it runs with no file access, a bounded number of steps,
//! bounded recursion and bounded output, and it sees nothing but the messages, two token names, the date and what the
//! user tells it. The settings are those of transformers' `apply_chat_template` (`jinja`), so that a template renders
//! the same text there and here.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use minijinja::{Environment, Error, ErrorKind, Value};

use super::error::{TokenizerError, reason};
use super::jinja::{self, Date, FUEL, REFUSED};
use super::origin::{self, Part, Rendered};
use crate::model_file::quoted;

/// Most bytes of a template's source.
pub const MAX_TEMPLATE_BYTES: usize = 256 << 10;
/// Most bytes of a rendered prompt.
pub const MAX_PROMPT_BYTES: usize = 4 << 20;
/// How much longer a prompt may become by the marks in its messages (three bytes on each side of a character), and how
/// much more fuel that takes.
const MARKS_BYTES: usize = 9;
const MARKS_FUEL: u64 = 8;
/// Bytes of messages from which on they, and not the template, decide what a rendering costs.
const LONG: usize = 64 << 10;
/// Name under which the one template is registered.
const NAME: &str = "chat";
/// How to go on where a template needs what there is not.
const WITHOUT: &str = "; to go on without the template, write the whole prompt, control tokens included, and continue it as a text (generate without --chat)";
/// Names of the conversation itself, which no argument may take.
const OWN: [&str; 2] = ["messages", "add_generation_prompt"];

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
    /// Further names that the template knows.
    arguments: Vec<(String, Value)>,
}

/// What a template is told beside the conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TemplateArguments {
    /// Names and values, such as `enable_thinking` and `false`; the later of two with one name counts.
    pub values: Vec<(String, serde_json::Value)>,
    /// The date that `strftime_now` tells; by default that of the rendering, in UTC.
    pub date: Option<Date>,
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
        let mut environment = jinja::environment().map_err(|error| syntax_error(&error))?;
        let source = jinja::prepare(source);
        environment.add_template_owned(NAME, source.clone()).map_err(|error| syntax_error(&error))?;
        let literals = origin::literals(&source).into();
        Ok(Self { environment, literals, source: source.into(), arguments: Vec::new() })
    }

    /// The same with values that the template knows by name, as transformers' `apply_chat_template` takes them, and
    /// with the date that it is told where it asks (by default now, in UTC).
    ///
    /// # Errors
    /// [`TokenizerError::TemplateArgument`] for a name that the conversation has, or that is none.
    pub fn with(mut self, arguments: &TemplateArguments) -> Result<Self, TokenizerError> {
        for (name, value) in &arguments.values {
            let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
            let reason = if OWN.contains(&name.as_str()) {
                "the conversation has that name"
            } else if name.is_empty()
                || !name.chars().all(word)
                || name.starts_with(|c: char| c.is_ascii_digit())
            {
                "it must be a name of letters, digits and underscores"
            } else {
                self.arguments.push((name.clone(), jinja::value(value)));
                continue;
            };
            return Err(TokenizerError::TemplateArgument { name: quoted(name), reason });
        }
        if arguments.date.is_some() {
            jinja::set_date(&mut self.environment, arguments.date);
        }
        Ok(self)
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
        let long = messages.iter().map(|message| message.content.len()).sum::<usize>() > LONG;
        environment.set_fuel(Some(FUEL.saturating_mul(if long { MARKS_FUEL } else { 2 })));
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
        let own = [
            ("messages", messages.iter().map(Message::to_value).collect::<Value>()),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("bos_token", token(bos_token)),
            ("eos_token", token(eos_token)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        let further = self.arguments.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let context: BTreeMap<&str, Value> = own.into_iter().chain(further).collect();
        let context = Value::from_pairs(context);
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
    let without = if detail.contains("unknown statement") { WITHOUT } else { "" };
    let reason = format!("{}{without}", reason(&detail));
    TokenizerError::TemplateSyntax { line: error.line().unwrap_or(0), reason }
}

/// The error of a failed rendering. Of most failures only the kind is kept, because the rest may repeat what the user
/// wrote; what is missing has its name in the template.
fn run_error(error: &Error) -> TokenizerError {
    let line = error.line().unwrap_or(0);
    let kind = error.kind();
    let missing = matches!(
        kind,
        ErrorKind::UnknownFilter
            | ErrorKind::UnknownFunction
            | ErrorKind::UnknownMethod
            | ErrorKind::UnknownTest
    );
    match error.detail() {
        Some(detail) if detail.starts_with(REFUSED) => {
            let message = detail.strip_prefix(REFUSED).unwrap_or_default();
            TokenizerError::TemplateRefused { message: quoted(message) }
        }
        Some(detail) if missing => {
            TokenizerError::TemplateRun { line, reason: format!("{kind}: {}{WITHOUT}", reason(&detail)) }
        }
        _ => TokenizerError::TemplateRun { line, reason: kind.to_string() },
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
