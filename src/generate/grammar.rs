//! Answers that are held to a form: JSON, by a schema.
//!
//! `llguidance` says which tokens keep a text on the way to a complete one; the others are banned for one step, on the device as on the
//! host. The set of the next step depends on the token of this one, so a text that is held to a form is made one step at a time.

use std::fmt;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::{GenerateError, Guide};
use crate::model_file::Config;
use crate::sampling::BANNED;
use crate::tokenizer::Tokenizer;

/// What a text may be. Made once for a model and a schema; any number of texts may be held to it, and clones are cheap.
#[derive(Clone)]
pub struct Grammar(Arc<Compiled>);

struct Compiled {
    factory: ParserFactory,
    schema: Value,
    vocab_size: u32,
    /// What ends a text of the model.
    ends: Vec<u32>,
}

impl Grammar {
    /// JSON that a schema describes, for texts of the model with this tokenizer. Between values stand `", "` and `": "`, as Python writes
    /// it, and no other white space: a small model would write it without end. (`x-guidance` in the schema asks for something else, as
    /// `llguidance` documents it.)
    ///
    /// # Errors
    /// [`GenerateError::Grammar`] for a schema that is broken, too large, or uses what `llguidance` does not know.
    pub fn json_schema(
        tokenizer: &Tokenizer,
        config: &Config,
        mut schema: Value,
    ) -> Result<Self, GenerateError> {
        let options = json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
        match &mut schema {
            Value::Object(fields) => _ = fields.entry("x-guidance").or_insert(options),
            Value::Bool(true) => schema = json!({"x-guidance": options}),
            _ => return Err(refused("a schema must be a JSON object".to_owned())),
        }
        let factory = factory(tokenizer, config).map_err(|error| refused(error.to_string()))?;
        let ends = config.eos_tokens.clone();
        let vocab_size = config.vocab_size;
        let grammar = Self(Arc::new(Compiled { factory, schema, vocab_size, ends }));
        // What is wrong with it is said now, not at the first token.
        grammar.matcher()?;
        Ok(grammar)
    }

    /// Any JSON object.
    ///
    /// # Errors
    /// As [`Grammar::json_schema`].
    pub fn json_object(tokenizer: &Tokenizer, config: &Config) -> Result<Self, GenerateError> {
        Self::json_schema(tokenizer, config, json!({"type": "object"}))
    }

    fn matcher(&self) -> Result<Matcher, GenerateError> {
        let grammar = TopLevelGrammar::from_json_schema(self.0.schema.clone());
        let parser = self.0.factory.create_parser(grammar).map_err(|error| refused(one_line(&error)))?;
        let matcher = Matcher::new(Ok(parser));
        match matcher.get_error() {
            Some(error) => Err(refused(error)),
            None => Ok(matcher),
        }
    }
}

/// Two are equal if one was cloned from the other.
impl PartialEq for Grammar {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Grammar").field(&self.0.schema).finish()
    }
}

/// A text on its way through a grammar.
pub(super) struct Walk {
    matcher: Matcher,
    grammar: Grammar,
    /// What the user's settings add to the logits, without the grammar. // (vocabulary)
    bias: Vec<f32>,
    allowed: SimpleVob,
    /// The anchor that the policy puts in: no part of the text, so it is not drawn either.
    inserted: Option<u32>,
    /// Tokens that end a text do not; one that is complete ends where nothing else may follow.
    ignore_eos: bool,
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("grammar", &self.grammar).finish_non_exhaustive()
    }
}

impl Walk {
    pub(super) fn new(
        grammar: &Grammar,
        bias: Vec<f32>,
        inserted: Option<u32>,
        ignore_eos: bool,
    ) -> Result<Self, GenerateError> {
        if bias.len() != grammar.0.vocab_size as usize {
            return Err(refused("it was made for a model with another vocabulary".to_owned()));
        }
        let (matcher, grammar, allowed) = (grammar.matcher()?, grammar.clone(), SimpleVob::new());
        Ok(Self { matcher, grammar, bias, allowed, inserted, ignore_eos })
    }

    fn allows(&self, id: u32) -> bool {
        if self.grammar.0.ends.contains(&id) {
            return self.is_complete() && !self.ignore_eos;
        }
        self.inserted != Some(id) && self.allowed.is_allowed(id)
    }

    /// Whether the text may end here.
    fn is_complete(&self) -> bool {
        self.allowed.is_allowed(self.end())
    }

    /// What stands for the end in the grammar: a token that the model does not have, for it may have several that end a text, or none.
    fn end(&self) -> u32 {
        self.bias.len() as u32
    }
}

impl Guide for Walk {
    fn next(&mut self) -> Result<Option<Vec<f32>>, GenerateError> {
        self.allowed = self.matcher.compute_mask_or_eos().map_err(|error| refused(one_line(&error)))?;
        let mut bias = self.bias.clone();
        let mut any = false;
        for (id, bias) in (0..).zip(&mut bias) {
            if self.allows(id) && *bias != BANNED {
                any = true;
            } else {
                *bias = BANNED;
            }
        }
        match any {
            true => Ok(Some(bias)),
            false if self.is_complete() => Ok(None),
            false => Err(refused(
                "no token may follow: what it allows is banned, or no token writes it".to_owned(),
            )),
        }
    }

    fn accept(&mut self, id: u32) -> Result<(), GenerateError> {
        // An inserted anchor is no part of the text.
        if self.inserted == Some(id) || self.grammar.0.ends.contains(&id) {
            return Ok(());
        }
        self.matcher.consume_token(id).map_err(|error| refused(one_line(&error)))
    }
}

/// The vocabulary as `llguidance` sees it: the bytes of each token; special ones, which are no text, have none.
fn factory(tokenizer: &Tokenizer, config: &Config) -> anyhow::Result<ParserFactory> {
    let special = tokenizer.special_ids();
    let is_text = |id: &u32| special.binary_search(id).is_err() && !config.eos_tokens.contains(id);
    // A byte that no text has would be read as the beginning of a special token.
    let has_place = |bytes: &Vec<u8>| !bytes.starts_with(&[TokTrie::SPECIAL_TOKEN_MARKER]);
    let bytes = |id: u32| {
        let known = Some(id).filter(is_text).and_then(|id| tokenizer.token_bytes(id));
        known.filter(has_place).unwrap_or_default()
    };
    let mut words: Vec<Vec<u8>> = (0..config.vocab_size).map(bytes).collect();
    words.push(Vec::new());
    let info = TokRxInfo::new(config.vocab_size + 1, config.vocab_size);
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)));
    let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &[])?;
    factory.quiet().limits_mut().verbose_errors = false;
    Ok(factory)
}

/// A message of several lines on one, cut where it is long: it may repeat the schema.
fn one_line(error: &anyhow::Error) -> String {
    let words = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(200).collect()
}

fn refused(reason: String) -> GenerateError {
    GenerateError::Grammar { reason }
}
