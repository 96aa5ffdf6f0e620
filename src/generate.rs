//! The loop: a prompt is in the session, tokens come out one by one.

use serde::Serialize;

use crate::error::Error;
use crate::sampling::{Sampler, SamplerOptions};
use crate::session::Session;

/// When and how to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens to generate.
    pub max_tokens: u32,
    /// 0 is greedy.
    pub temperature: f32,
    /// Seed of the draws.
    pub seed: u64,
    /// Go on after an end-of-text token.
    pub ignore_eos: bool,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: 256, temperature: 0.0, seed: 0, ignore_eos: false }
    }
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended it.
    Eos,
    /// The token budget is used up.
    MaxTokens,
    /// `full` has reached its planned capacity.
    ContextFull,
    /// The last position the engine can count.
    PositionLimit,
}

/// A text being generated. Each token is given out before it is consumed, so the last one never costs a forward pass.
#[derive(Debug)]
pub struct Generation<'s> {
    session: &'s mut Session,
    sampler: Sampler,
    options: GenerateOptions,
    generated: u32,
    /// Given out, not yet consumed by the model.
    pending: Option<u32>,
    stopped: Option<StopReason>,
}

impl Session {
    /// Starts to generate after what was consumed so far.
    ///
    /// # Errors
    /// [`Error::Sampler`] for a setting out of range.
    pub fn generate(&mut self, options: GenerateOptions) -> Result<Generation<'_>, Error> {
        let settings = SamplerOptions {
            temperature: options.temperature,
            seed: options.seed,
            ..SamplerOptions::default()
        };
        let sampler = Sampler::new(settings, self.model().config().vocab_size, &self.policy().anchors)?;
        Ok(Generation { session: self, sampler, options, generated: 0, pending: None, stopped: None })
    }
}

impl Generation<'_> {
    /// The next token; `None` when the text has ended. An end-of-text token is given out as the last one.
    ///
    /// # Errors
    /// Nothing was consumed before, the logits are not finite, or the device.
    pub async fn next_token(&mut self) -> Result<Option<u32>, Error> {
        if self.stopped.is_some() {
            return Ok(None);
        }
        if self.generated == self.options.max_tokens {
            return Ok(self.stop(StopReason::MaxTokens));
        }
        let greedy = self.sampler.is_greedy();
        let id = match self.pending {
            Some(_) if self.session.remaining() == 0 => {
                let full = self.session.policy().limit.is_some();
                return Ok(self.stop(if full { StopReason::ContextFull } else { StopReason::PositionLimit }));
            }
            Some(last) if greedy => self.session.step_greedy(last).await?,
            Some(last) => {
                let logits = self.session.step_logits(last).await?;
                self.draw(&logits)
            }
            None if greedy => self.session.next_greedy().await?,
            None => {
                let logits = self.session.next_logits().await?;
                self.draw(&logits)
            }
        };
        self.pending = Some(id);
        self.generated += 1;
        if !self.options.ignore_eos && self.session.model().config().eos_tokens.contains(&id) {
            self.stopped = Some(StopReason::Eos);
        }
        Ok(Some(id))
    }

    /// The token that follows what was consumed so far.
    fn draw(&self, logits: &[f32]) -> u32 {
        self.sampler.sample(logits, &[], self.session.kv().seen).id
    }

    /// Why it ended; `None` while it goes on.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.stopped
    }

    /// The session, for its statistics.
    pub fn session(&self) -> &Session {
        self.session
    }

    fn stop(&mut self, reason: StopReason) -> Option<u32> {
        self.stopped = Some(reason);
        None
    }
}

/// Blocks on each token. In the browser, await [`Generation::next_token`] instead.
#[cfg(not(target_arch = "wasm32"))]
impl Iterator for Generation<'_> {
    type Item = Result<u32, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        pollster::block_on(self.next_token()).transpose()
    }
}
