//! The loop: a prompt is in the session, tokens come out one by one.
//!
//! ```text
//! mod.rs        the settings, the beginning, and what comes out
//! generation.rs the loop on the host: submits ahead, reads behind, stops
//! tokens.rs     the same as an iterator and a stream, which hold the session
//! step.rs       one decode step as the device sees it
//! batch.rs      several texts together, each with its own settings, which come and go
//! member.rs     one of these texts
//! rows.rs       their loop on the device: whose row is which
//! together.rs   the same for texts that begin at once and have the same settings
//! text.rs       tokens as text, stop strings
//! grammar.rs    texts that are held to a form: JSON
//! ```
//!
//! A decode step is the same command stream for every token: the token drawn by one step is the input of the next, on the
//! device. So several steps go into one submit, and a second submit is under way while the tokens of the first are read.
//! A stop that the device can see (an end-of-text token, the budget, the end of the ring) turns all later steps into nothing.
//! A stop that only the host can see leaves the device ahead; the session puts it back before it is used again.

mod batch;
mod error;
mod generation;
#[cfg(feature = "grammar")]
mod grammar;
mod member;
mod rows;
mod step;
mod text;
mod together;
mod tokens;

use serde::Serialize;

use crate::kv::TokenSet;
use crate::sampling::{Sampler, SamplerOptions};
use crate::session::{Session, SessionError};
use crate::tokenizer::{StopStrings, Tokenizer};
pub use batch::{Batch, BatchEvent, Refused, TextId};
pub use error::GenerateError;
pub use generation::Generation;
#[cfg(feature = "grammar")]
pub use grammar::Grammar;
pub use step::planned_step;
pub use text::{Piece, Pieces, TextGeneration};
pub use together::{Continued, generate_together};
pub use tokens::Tokens;

/// How many decode steps the device makes on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steps {
    /// As many per submit as run in a fraction of a frame, measured.
    #[default]
    Auto,
    /// This many per submit, at most half of the steps that may be in flight.
    Fixed(u32),
    /// One; the logits are read back and the host draws. Slow: for debugging, and what the loop on the device is compared with.
    OnHost,
}

/// When and how to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens to generate.
    pub max_tokens: u32,
    /// Go on after an end-of-text token.
    pub ignore_eos: bool,
    /// Tokens that end the text beside those of the model; they hold even with `ignore_eos`.
    pub stop_tokens: Vec<u32>,
    /// How a token is drawn.
    pub sampler: SamplerOptions,
    /// Who makes the steps.
    pub steps: Steps,
    /// What the text is held to; then it is made one step at a time. The grammar begins where the generation begins: what a generation
    /// before it wrote is no part of it.
    #[cfg(feature = "grammar")]
    pub grammar: Option<Grammar>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            ignore_eos: false,
            stop_tokens: Vec::new(),
            sampler: SamplerOptions::default(),
            steps: Steps::Auto,
            #[cfg(feature = "grammar")]
            grammar: None,
        }
    }
}

/// What holds a text to a form, token by token.
trait Guide: std::fmt::Debug + Send {
    /// What to add to the logits of the next token (vocabulary), [`BANNED`](crate::sampling::BANNED) for those that must not come; `None`
    /// when the text is complete and no token of the model says so.
    fn next(&mut self) -> Result<Option<Vec<f32>>, GenerateError>;

    /// The text goes on with `id`.
    fn accept(&mut self, id: u32) -> Result<(), GenerateError>;
}

impl GenerateOptions {
    /// What holds the text to its grammar, if there is one.
    fn guide(&self, session: &Session) -> Result<Option<Box<dyn Guide>>, GenerateError> {
        #[cfg(feature = "grammar")]
        if let Some(grammar) = &self.grammar {
            let bias = self.sampler.bias_vector(session.model().config().vocab_size);
            let inserted = session.policy().insert.map(|insert| insert.id);
            return Ok(Some(Box::new(grammar::Walk::new(grammar, bias, inserted, self.ignore_eos)?)));
        }
        let _ = session;
        Ok(None)
    }

    /// Refuses what texts that go on together cannot have.
    fn check_together(&self) -> Result<(), GenerateError> {
        #[cfg(feature = "grammar")]
        if self.grammar.is_some() {
            return Err(GenerateError::GrammarTogether);
        }
        Ok(())
    }

    /// Adds what a tokenizer knows of special tokens: penalties leave them alone, and one that a stop spells stops at the token, for it
    /// gives no text in which the stop could be found.
    fn add_special(&mut self, tokenizer: &Tokenizer, stops: &StopStrings) {
        self.stop_tokens.extend(stops.special_ids(tokenizer));
        self.sampler.unpenalized.extend(tokenizer.special_ids());
    }
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended it.
    Eos,
    /// A token or text that was asked to end it.
    Stop,
    /// The token budget is used up.
    MaxTokens,
    /// `full` has reached its planned capacity.
    ContextFull,
    /// The last position the engine can count.
    PositionLimit,
    /// The segment would grow too long, and the policy asks for an error then. The token that was to go into it is the pending one.
    SegmentLimit,
    /// It was called off.
    Cancelled,
}

/// A generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// How likely it was and what else might have come, if that was asked for; `None` for an anchor that was not drawn but put in at
    /// the bound of a segment.
    pub logprobs: Option<Logprobs>,
}

/// Natural logarithms of probabilities under the model itself, before penalties, bias and temperature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Logprobs {
    /// Of the token drawn.
    pub chosen: f32,
    /// The likeliest tokens with theirs, in order.
    pub top: Vec<(u32, f32)>,
}

impl Session {
    /// Starts to generate after the text so far. The generation is polled with this session; nothing else may go on with the session
    /// before it has ended.
    ///
    /// # Errors
    /// [`SessionError::EmptyPrompt`] without a text, a setting out of range, a token outside the vocabulary.
    pub fn start(&mut self, options: GenerateOptions) -> Result<Generation, GenerateError> {
        Generation::new(self, options)
    }

    /// [`Session::start`], and holds the session: the tokens are an iterator and a stream.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn generate(&mut self, options: GenerateOptions) -> Result<Tokens<'_>, GenerateError> {
        let generation = self.start(options)?;
        Ok(Tokens { session: self, generation })
    }

    /// The sampler that `options` ask for; an error for a setting out of range.
    pub(crate) fn sampler(&self, options: &GenerateOptions) -> Result<Sampler, GenerateError> {
        let vocab_size = self.model().config().vocab_size;
        if let Some(id) = options.stop_tokens.iter().find(|id| **id >= vocab_size) {
            return Err(SessionError::TokenOutsideVocab { id: *id, vocab_size }.into());
        }
        Ok(Sampler::new(options.sampler.clone(), vocab_size, &self.exempt(options))?)
    }

    /// Ids that no penalty touches: a model must be free to close its segments and to end its text, however often both occurred.
    pub(crate) fn exempt(&self, options: &GenerateOptions) -> TokenSet {
        let ends = self.model().config().eos_tokens.iter().chain(&options.stop_tokens);
        self.policy().anchors.ids().iter().chain(ends).chain(&options.sampler.unpenalized).copied().collect()
    }

    /// Ids after which a text ends.
    pub(crate) fn ends(&self, options: &GenerateOptions) -> TokenSet {
        let eos = if options.ignore_eos { &[][..] } else { &self.model().config().eos_tokens };
        eos.iter().chain(&options.stop_tokens).copied().collect()
    }

    /// Why the text ends with `id`, if it does.
    fn ending(&self, options: &GenerateOptions, id: u32) -> Option<StopReason> {
        let eos = !options.ignore_eos && self.model().config().eos_tokens.contains(&id);
        match self.ends(options).contains(id) {
            true if eos => Some(StopReason::Eos),
            true => Some(StopReason::Stop),
            false => None,
        }
    }

    /// Why it ends where no further position can be held.
    fn limit_reason(&self) -> StopReason {
        if self.policy().limit.is_some() { StopReason::ContextFull } else { StopReason::PositionLimit }
    }
}
