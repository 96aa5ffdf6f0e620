//! A device, a model's headers, and a model on the device.

use std::sync::Arc;

use js_sys::{Function, Object};
use killick::gpu::{Capabilities, F16};
use killick::model::{MemoryPlan, Precisions};
use killick::model_file::{Config, FileSet};
use killick::score::Path;
use killick::{Engine, Loaded, Model as Weights, ModelFile, Opened, Policy};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::error::Fault;
use crate::files::file_set;
use crate::options::{DeviceOptions, Dtype, ScoreOptions, TextOptions, parse};
use crate::text::Text;

/// A device of this browser.
#[wasm_bindgen]
pub struct Device(Engine);

#[wasm_bindgen]
impl Device {
    /// Opens one; `options` is the JSON of `DeviceOptions`.
    ///
    /// # Errors
    /// No adapter, or one without WebGPU's default limits.
    pub async fn open(options: String) -> Result<Device, JsValue> {
        let options: DeviceOptions = parse(&options)?;
        Ok(Self(Engine::open(&options.into()).await.map_err(Fault::from)?))
    }

    /// What it is: `DeviceInfo` as JSON.
    pub fn info(&self) -> String {
        let gpu = self.0.gpu();
        let mut info = serde_json::to_value(gpu.adapter()).unwrap_or_default();
        let family = serde_json::to_value(gpu.capabilities().family).unwrap_or_default();
        if let Some(fields) = info.as_object_mut() {
            fields.insert("family".to_owned(), family);
            fields.insert("f16".to_owned(), (gpu.capabilities().f16 == F16::Always).into());
        }
        info.to_string()
    }

    /// What it was asked for so far, as JSON.
    pub fn counters(&self) -> String {
        json(&self.0.gpu().counters())
    }

    /// An error if the device is gone, or has reported one.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<(), JsValue> {
        Ok(self.0.gpu().check().map_err(Fault::from)?)
    }

    /// Waits until the device has done all that it was given. A program that ends under its work may crash in the driver.
    ///
    /// # Errors
    /// The device.
    pub async fn settle(&self) -> Result<(), JsValue> {
        Ok(self.0.gpu().idle().await.map_err(Fault::from)?)
    }

    /// Measures kernels; see `bench.rs`. `progress` is called with cases done, cases in all and the case's name.
    ///
    /// # Errors
    /// No kernel of that name; the device.
    pub async fn kernels(&self, options: String, progress: Function) -> Result<String, JsValue> {
        Ok(crate::bench::kernels(self.0.gpu(), &options, &progress).await?)
    }

    /// Ends the device at once, as a driver reset would: for tests of that path.
    pub fn destroy(&self) {
        self.0.gpu().destroy();
    }
}

/// A model whose headers are read, and no weight yet.
#[wasm_bindgen]
pub struct Header(Opened);

/// `ModelInfo` of `web/killick/index.d.ts`, less what only the worker knows.
#[derive(Serialize)]
struct Info<'a> {
    name: &'a str,
    format: String,
    config: &'a Config,
    chat: bool,
    tokenizer: bool,
    policy: &'a Policy,
    notes: Vec<String>,
    plan: &'a MemoryPlan,
}

#[wasm_bindgen]
impl Header {
    /// Reads the headers of a model. `files` maps plain names to content; `name` is what messages call the model.
    ///
    /// # Errors
    /// Files that are broken, not a model, or of a kind that is not supported.
    pub async fn open(name: Option<String>, files: Object) -> Result<Header, JsValue> {
        let files = file_set(name, &files)?;
        Ok(Self(Opened::new(ModelFile::open(files).await.map_err(Fault::from)?)))
    }

    /// Merges a LoRA adapter into what will be loaded.
    ///
    /// # Errors
    /// An adapter that is broken, or of another model.
    #[wasm_bindgen(js_name = addAdapter)]
    pub async fn add_adapter(
        &mut self,
        name: Option<String>,
        files: Object,
        scale: f32,
    ) -> Result<(), JsValue> {
        let files: FileSet = file_set(name, &files)?;
        Ok(self.0.file.add_adapter(files, scale).await.map_err(Fault::from)?)
    }

    /// What the model is and what one text on it takes, as JSON, on the smallest device there is; `options` is the JSON of
    /// [`TextOptions`], `dtype` that of [`Dtype`].
    ///
    /// # Errors
    /// A policy that the model cannot have; what does not fit the device.
    pub fn describe(&self, options: &str, dtype: &str) -> Result<String, JsValue> {
        let smallest = Capabilities::baseline(killick::gpu::Family::Gpu);
        Ok(self.info(parse(options)?, parse(dtype)?, &smallest)?)
    }

    /// [`Header::describe`] on a device.
    ///
    /// # Errors
    /// As there.
    #[wasm_bindgen(js_name = describeFor)]
    pub fn describe_for(&self, device: &Device, options: &str, dtype: &str) -> Result<String, JsValue> {
        Ok(self.info(parse(options)?, parse(dtype)?, device.0.gpu().capabilities())?)
    }

    /// Puts the weights on the device. `progress` is called with bytes done and bytes in all.
    ///
    /// # Errors
    /// Weights that are broken, or that do not fit the format or the device.
    pub async fn load(self, device: &Device, dtype: String, progress: Function) -> Result<Model, JsValue> {
        let dtype: Dtype = parse(&dtype)?;
        let engine = device.0.clone();
        let mut tell = |done: u64, total: u64| {
            // What a listener throws is its own affair.
            let _ = progress.call2(&JsValue::NULL, &(done as f64).into(), &(total as f64).into());
        };
        let loaded = engine.load_opened(self.0, dtype.into(), &mut tell).await.map_err(Fault::from)?;
        Ok(Model(loaded))
    }
}

impl Header {
    fn info(&self, options: TextOptions, dtype: Dtype, device: &Capabilities) -> Result<String, Fault> {
        let file = &self.0.file;
        let session = options.session();
        let chosen = options.policy.choose(&self.0, options.system.as_deref())?;
        let precisions = Precisions::of(file, dtype.into());
        let plan = MemoryPlan::new(&file.config, precisions, &chosen.policy, session.shape(), device)?;
        let tokenizer = self.0.optional_tokenizer()?.is_some();
        Ok(json(&Info {
            name: file.label(),
            format: file.format().to_string(),
            config: &file.config,
            // A template that cannot be continued turn by turn is one of a model that does not chat here.
            chat: self.0.turns().is_ok_and(|turns| turns.next(None, "?").is_ok()),
            tokenizer,
            policy: &chosen.policy,
            notes: chosen.notes,
            plan: &plan,
        }))
    }
}

/// A model on a device.
#[wasm_bindgen]
pub struct Model(Loaded);

#[wasm_bindgen]
impl Model {
    /// A text of its own; `options` is the JSON of [`TextOptions`].
    ///
    /// # Errors
    /// A policy that the model cannot have, a chat without a template, a device without room.
    pub async fn text(&self, options: String) -> Result<Text, JsValue> {
        let options: TextOptions = parse(&options)?;
        let weights: Arc<Weights> = self.0.model.clone();
        Ok(Text::new(&self.0.opened, &weights, options).await?)
    }

    /// Scores a text; `options` is the JSON of [`ScoreOptions`], and the promise's value is what `killick score --json` prints.
    ///
    /// # Errors
    /// A text that the model or its policy cannot take; the device.
    pub async fn score(&self, options: String) -> Result<String, JsValue> {
        Ok(self.scored(parse(&options)?).await?)
    }

    /// Measures the model; see `bench.rs`. `progress` is called with runs done, runs in all and what runs.
    ///
    /// # Errors
    /// A policy that the model cannot have, a test of nothing; the device.
    pub async fn bench(&self, options: String, progress: Function) -> Result<String, JsValue> {
        Ok(crate::bench::model(&self.0, &options, &progress).await?)
    }

    /// Bytes of device memory of the weights, and of what all texts share.
    #[wasm_bindgen(js_name = allocatedBytes)]
    pub fn allocated_bytes(&self) -> f64 {
        self.0.model.allocated_bytes() as f64
    }
}

impl Model {
    async fn scored(&self, options: ScoreOptions) -> Result<String, Fault> {
        let (opened, model) = (&self.0.opened, &self.0.model);
        let path: Path = options.path.parse().map_err(|error| Fault::option(format!("path: {error}")))?;
        let policy = options.policy.choose(opened, None)?.policy;
        let ids = match (options.ids, options.text) {
            (Some(ids), None) => ids,
            (None, Some(text)) => opened.tokenizer()?.encode_for(&text, true, &policy)?,
            _ => return Err(Fault::option("the options need either ids or text")),
        };
        opened.check(&policy, &ids)?;
        let score = killick::score::score(model, &policy, &ids, path).await?;
        Ok(json(&score.report(model, &policy, path, &ids)))
    }
}

/// Reports are plain data, so they are always JSON.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
