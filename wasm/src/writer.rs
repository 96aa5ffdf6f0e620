//! Writing: one text on one model, gone on with token by token.
//!
//! What a page will use is built on this; here are the steps themselves, so that they can be tested under Node.js.

use std::error::Error;

use js_sys::Object;
use killick::gpu::Family;
use killick::tokenizer::StopStrings;
use killick::{
    Engine, GenerateOptions, Generation, GpuOptions, Loaded, ModelFile, Opened, PolicyOptions, PolicySpec,
    SamplerOptions, Session, SessionOptions, StopReason, TextGeneration, Tokenizer,
};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use crate::{Dtype, file_set, js_error};

/// How to open a model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenOptions {
    /// By default the one recorded with the model, else `full`.
    #[serde(default)]
    policy: Option<PolicySpec>,
    #[serde(default)]
    dtype: Dtype,
    /// No optional feature and WebGPU's default limits, whatever the adapter offers.
    #[serde(default)]
    baseline: bool,
    /// `gpu` or `software`: the kernels to run; those that suit the adapter where it is not given.
    #[serde(default)]
    family: Option<Family>,
}

/// How to go on with a text.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WriteOptions {
    max_tokens: u32,
    ignore_eos: bool,
    /// Texts that end it wherever they occur; only with a tokenizer.
    stop: Vec<String>,
    /// 0 takes the likeliest token.
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    seed: u64,
}

impl Default for WriteOptions {
    fn default() -> Self {
        let GenerateOptions { max_tokens, ignore_eos, sampler, .. } = GenerateOptions::default();
        let SamplerOptions { temperature, top_k, top_p, min_p, seed, .. } = sampler;
        Self { max_tokens, ignore_eos, stop: Vec::new(), temperature, top_k, top_p, min_p, seed }
    }
}

/// What [`Writer::next`] gives out.
#[derive(Serialize)]
struct Written {
    /// Absent for text that was held back and comes out at the end.
    id: Option<u32>,
    /// Empty without a tokenizer.
    text: String,
}

/// What goes on with the text: with a tokenizer in pieces of text, else in ids.
enum Going {
    Ids(Generation),
    Text(TextGeneration),
}

/// A text on a model. While a promise of one of its methods is pending, no other may be called: a page stops between two pieces.
#[wasm_bindgen]
pub struct Writer {
    tokenizer: Option<Tokenizer>,
    session: Session,
    going: Option<Going>,
}

#[wasm_bindgen]
impl Writer {
    /// Opens a model for a text of its own. `files` are as in `score`; `options` is the JSON of [`OpenOptions`].
    ///
    /// # Errors
    /// Files or options of the wrong form, and all that loading can meet.
    pub async fn open(files: Object, options: String) -> Result<Writer, JsError> {
        let files = file_set(&files)?;
        let opened = async {
            let options: OpenOptions = serde_json::from_str(&options)?;
            let model = Opened::new(ModelFile::open(files).await?);
            let policy = match options.policy {
                Some(spec) => spec.resolve(&model.file.config)?,
                None => model.policy(&PolicyOptions::default())?.policy,
            };
            let tokenizer = model.optional_tokenizer()?;
            let (baseline, family) = (options.baseline, options.family);
            let engine = Engine::open(&GpuOptions { baseline, family, ..GpuOptions::default() }).await?;
            let Loaded { model, .. } =
                engine.load_opened(model, options.dtype.into(), &mut |_, _| {}).await?;
            let session = Session::new(&model, &policy, SessionOptions::default()).await?;
            Ok(Writer { tokenizer, session, going: None })
        };
        opened.await.map_err(|error: Box<dyn Error>| js_error(error.as_ref()))
    }

    /// Reads text: the prompt, or what comes next. At the beginning the special tokens are added that the tokenizer asks for.
    ///
    /// # Errors
    /// A model without a tokenizer, more than the policy has room for, the device.
    pub async fn append(&mut self, text: String) -> Result<(), JsError> {
        let Some(tokenizer) = &self.tokenizer else {
            return Err(JsError::new("the model has no tokenizer; use appendIds"));
        };
        let first = self.session.length() == 0;
        let ids = tokenizer.encode_for(&text, first, self.session.policy());
        let ids = ids.map_err(|error| js_error(&error))?;
        self.append_ids(ids).await
    }

    /// Reads token ids.
    ///
    /// # Errors
    /// An id outside the vocabulary, more of them than the policy has room for, the device.
    #[wasm_bindgen(js_name = appendIds)]
    pub async fn append_ids(&mut self, ids: Vec<u32>) -> Result<(), JsError> {
        self.going = None;
        let ids = self.session.close_segments(&ids);
        self.session.append(&ids).await.map_err(|error| js_error(&error))
    }

    /// Begins to go on with the text. `options` is the JSON of [`WriteOptions`].
    ///
    /// # Errors
    /// Options of the wrong form or out of range, no text to go on with, the device.
    pub fn start(&mut self, options: &str) -> Result<(), JsError> {
        let options: WriteOptions = serde_json::from_str(options)?;
        let WriteOptions { max_tokens, ignore_eos, stop, temperature, top_k, top_p, min_p, seed } = options;
        let sampler = SamplerOptions { temperature, top_k, top_p, min_p, seed, ..SamplerOptions::default() };
        let wanted = GenerateOptions { max_tokens, ignore_eos, sampler, ..GenerateOptions::default() };
        let going = match &self.tokenizer {
            Some(tokenizer) => {
                let stops = StopStrings::new(stop).map_err(|error| js_error(&error))?;
                self.session.start_text(tokenizer, wanted, stops).map(Going::Text)
            }
            None if stop.is_empty() => self.session.start(wanted).map(Going::Ids),
            None => return Err(JsError::new("the model has no tokenizer, so no text can stop it")),
        };
        self.going = Some(going.map_err(|error| js_error(&error))?);
        Ok(())
    }

    /// The next token and the text that it completes, as JSON; nothing when the text has ended.
    ///
    /// # Errors
    /// [`Writer::start`] was not called, or the text was gone on with since; the device.
    pub async fn next(&mut self) -> Result<Option<String>, JsError> {
        let written = match &mut self.going {
            None => return Err(JsError::new("nothing was started")),
            Some(Going::Ids(generation)) => {
                let token = generation.next_token(&mut self.session).await;
                token.map(|token| token.map(|token| Written { id: Some(token.id), text: String::new() }))
            }
            Some(Going::Text(generation)) => {
                let piece = generation.next_piece(&mut self.session).await;
                piece.map(|piece| {
                    piece.map(|piece| Written { id: piece.token.map(|token| token.id), text: piece.text })
                })
            }
        };
        let written = written.map_err(|error| js_error(&error))?;
        Ok(written.map(|written| serde_json::to_string(&written)).transpose()?)
    }

    /// Submits nothing more; what is under way is still given out.
    pub fn cancel(&mut self) {
        match &mut self.going {
            Some(Going::Ids(generation)) => generation.cancel(),
            Some(Going::Text(generation)) => generation.cancel(),
            None => {}
        }
    }

    /// Waits until the device has done all that it was given. A program that ends under its work may crash in the driver.
    ///
    /// # Errors
    /// The device.
    pub async fn settle(&self) -> Result<(), JsError> {
        self.session.model().gpu().idle().await.map_err(|error| js_error(&error))
    }

    /// Why the text ended, as JSON; nothing while it goes on.
    ///
    /// # Errors
    /// Never; a reason is always JSON.
    #[wasm_bindgen(js_name = stopReason)]
    pub fn stop_reason(&self) -> Result<Option<String>, JsError> {
        let reason: Option<StopReason> = match &self.going {
            Some(Going::Ids(generation)) => generation.stop_reason(),
            Some(Going::Text(generation)) => generation.stop_reason(),
            None => None,
        };
        Ok(reason.map(|reason| serde_json::to_string(&reason)).transpose()?)
    }

    /// What the cache holds, as JSON.
    ///
    /// # Errors
    /// Never; a report is always JSON.
    pub fn kv(&self) -> Result<String, JsError> {
        Ok(serde_json::to_string(&self.session.kv())?)
    }
}
