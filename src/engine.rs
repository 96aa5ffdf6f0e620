//! The front door: models, opened without a device and then loaded onto one.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::bench::{BenchError, TunedProduct, tune};
use crate::error::Error;
use crate::gpu::{Gpu, GpuOptions, Tuning};
use crate::kernels::WeightFormat;
use crate::kv::{MAX_POSITIONS, Policy, PolicySpec, Tagger};
use crate::model::{Model, PlannedProduct};
use crate::model_file::{FileSet, ModelFile, TokenizerSource};
use crate::policy_options::{ChosenPolicy, PolicyOptions, recorded_policy};
use crate::sampling::SamplerOptions;
use crate::session::{SessionError, check_ids};
use crate::tokenizer::{Tokenizer, Turns};

/// How to put a model on the device.
#[derive(Clone)]
pub struct LoadOptions {
    /// How weights are kept; by default as the file has them, blocks as blocks and all else in 16 bits.
    pub format: WeightFormat,
    /// LoRA adapters merged into the weights, each with its scale (1 for what it was trained with); none by default.
    /// [`FileSet::adapter_from_path`] opens a folder.
    pub adapters: Vec<(FileSet, f32)>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { format: WeightFormat::File, adapters: Vec::new() }
    }
}

/// One device, ready to load models.
///
/// [`Engine::load`] does all at once. A program that is to say what is wrong with a setting before it waits for a device takes the steps
/// one by one:
///
/// ```no_run
/// use std::io::Write;
/// use std::path::Path;
///
/// use killick::kernels::WeightFormat;
/// use killick::{
///     Engine, GenerateOptions, GpuOptions, ModelFile, Opened, PolicyOptions, Session, SessionOptions, block_on,
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // What the model is: no weight is read yet, and there is no device.
/// let model = Opened::new(ModelFile::open_path(Path::new("model.gguf"))?);
/// let tokenizer = model.tokenizer()?;
/// // The policy recorded with the model, or one that suits it, with a window of its own.
/// let chosen = model.policy(&PolicyOptions { window: Some(128), ..PolicyOptions::default() })?;
/// for note in &chosen.notes {
///     eprintln!("{note}");
/// }
/// let prompt = tokenizer.encode_for("The capital of France is", true, &chosen.policy)?;
/// model.check(&chosen.policy, &prompt)?;
///
/// // The weights reach the device.
/// let engine = Engine::new(&GpuOptions::default())?;
/// let mut progress = |done, total| eprint!("\r{done} of {total} bytes");
/// let loaded = block_on(engine.load_opened(model, WeightFormat::File, &mut progress))?;
///
/// let mut session = block_on(Session::new(&loaded.model, &chosen.policy, SessionOptions::default()))?;
/// block_on(session.append(&prompt))?;
/// let mut text = tokenizer.decode_stream();
/// for token in session.generate(GenerateOptions::default())? {
///     print!("{}", text.push(token?.id));
///     std::io::stdout().flush()?;
/// }
/// println!("{}", text.finish());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    gpu: Gpu,
}

/// A model whose files are read but for the weights: what it is, how it is spoken to and what it remembers by. There is no device yet.
pub struct Opened {
    /// The description.
    pub file: ModelFile,
    /// Made when it is first asked for.
    tokenizer: OnceLock<Tokenizer>,
}

/// A model on the device, with all that [`Opened`] says of it.
pub struct Loaded {
    /// The weights.
    pub model: Arc<Model>,
    /// What was known before they were loaded.
    pub opened: Opened,
}

impl Engine {
    /// Opens a device; see [`Gpu::open`].
    ///
    /// # Errors
    /// No adapter, none of that name, or one that gives no device.
    pub async fn open(options: &GpuOptions) -> Result<Self, Error> {
        Ok(Self { gpu: Gpu::open(options).await? })
    }

    /// [`Engine::open`], waiting for it.
    ///
    /// # Errors
    /// As [`Engine::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(options: &GpuOptions) -> Result<Self, Error> {
        pollster::block_on(Self::open(options))
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Measures which kernels are fastest here for the products of a model whose weights are kept in `format`: those of `products`, which
    /// [`PlannedProduct::of`] lists, for about as long as `budget`. Each candidate is checked first. Needs up to 256 MiB of device memory
    /// for that time. What comes of it may be kept and given to [`Engine::tuned`] at each start; a real GPU gains by it, and on a software
    /// device there is nothing to choose.
    ///
    /// # Errors
    /// The device, or memory that it has not.
    pub async fn tune(
        &self,
        products: &[PlannedProduct],
        budget: Duration,
    ) -> Result<Vec<TunedProduct>, BenchError> {
        tune(&self.gpu, products, budget).await
    }

    /// The same device, on which models that are loaded from now on run the kernels that were measured to be fastest.
    pub fn tuned(&self, products: &[TunedProduct]) -> Self {
        let entries = products.iter().map(|product| (product.of.clone(), product.chosen.clone()));
        Self { gpu: self.gpu.tuned(Tuning::new(entries)) }
    }

    /// Reads a model and puts its weights on the device. [`FileSet::embedded`] is the model that the library brings.
    ///
    /// # Errors
    /// Files that are broken or not supported, adapters of another model, weights that do not fit.
    pub async fn load_files(&self, files: FileSet, options: LoadOptions) -> Result<Loaded, Error> {
        let mut file = ModelFile::open(files).await?;
        for (adapter, scale) in options.adapters {
            file.add_adapter(adapter, scale).await?;
        }
        self.load_opened(Opened::new(file), options.format, &mut |_, _| {}).await
    }

    /// Puts the weights of an opened model on the device in `format`. `progress` is told bytes done and bytes in all.
    ///
    /// # Errors
    /// Weights that are broken, or that do not fit the format or the device.
    pub async fn load_opened(
        &self,
        opened: Opened,
        format: WeightFormat,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Loaded, Error> {
        let model = Model::load(&self.gpu, &opened.file, format, progress).await?;
        Ok(Loaded { model: Arc::new(model), opened })
    }

    /// [`Engine::load_files`] on a file or folder of this machine, waiting for it.
    ///
    /// # Errors
    /// As [`Engine::load_files`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load(&self, path: impl AsRef<std::path::Path>, options: LoadOptions) -> Result<Loaded, Error> {
        pollster::block_on(self.load_files(FileSet::from_path(path.as_ref())?, options))
    }

    /// [`Engine::load_files`] on the model that the library brings, waiting for it.
    ///
    /// # Errors
    /// Adapters of another model, a device without room.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load_embedded(&self, options: LoadOptions) -> Result<Loaded, Error> {
        pollster::block_on(self.load_files(FileSet::embedded(), options))
    }
}

/// An engine on a device that is open.
impl From<Gpu> for Engine {
    fn from(gpu: Gpu) -> Self {
        Self { gpu }
    }
}

impl Opened {
    /// The model in `file`.
    pub fn new(file: ModelFile) -> Self {
        Self { file, tokenizer: OnceLock::new() }
    }

    /// The tokenizer the model brings.
    ///
    /// # Errors
    /// It brings none, or one that is broken or not supported.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        if let Some(tokenizer) = self.tokenizer.get() {
            return Ok(tokenizer.clone());
        }
        let tokenizer = Tokenizer::from_source(self.file.tokenizer(), self.file.label())?;
        Ok(self.tokenizer.get_or_init(|| tokenizer).clone())
    }

    /// The tokenizer the model brings; `None` if it brings none, which is fine as long as only ids are used.
    ///
    /// # Errors
    /// It is broken or not supported.
    pub fn optional_tokenizer(&self) -> Result<Option<Tokenizer>, Error> {
        match self.file.tokenizer() {
            TokenizerSource::None => Ok(None),
            _ => self.tokenizer().map(Some),
        }
    }

    /// The turns of a conversation, by the chat template the model brings.
    ///
    /// # Errors
    /// It brings no template or no tokenizer, or one that is broken or not supported.
    pub fn turns(&self) -> Result<Turns, Error> {
        Ok(Turns::of(&self.file, &self.tokenizer()?)?)
    }

    /// The policy recorded with the model or its adapters, if there is one.
    ///
    /// # Errors
    /// What is recorded is no policy.
    pub fn recorded_policy(&self) -> Result<Option<PolicySpec>, Error> {
        Ok(recorded_policy(&self.file)?)
    }

    /// The policy that `options` ask for; by default the recorded one, and `full` where none is.
    ///
    /// # Errors
    /// As [`PolicyOptions::choose`], and a tokenizer that is broken or not supported.
    pub fn policy(&self, options: &PolicyOptions) -> Result<ChosenPolicy, Error> {
        Ok(options.choose(&self.file, self.optional_tokenizer()?.as_ref())?)
    }

    /// `base` with the settings that the makers of the model recommend in its stead.
    pub fn sampler(&self, base: SamplerOptions) -> SamplerOptions {
        let hints = self.file.sampling();
        SamplerOptions {
            temperature: hints.temperature.unwrap_or(base.temperature),
            top_k: hints.top_k.unwrap_or(base.top_k),
            // Who names a temperature names all that is to be cut off beside it.
            top_p: hints.top_p.unwrap_or(if hints.temperature.is_some() { 1.0 } else { base.top_p }),
            min_p: hints.min_p.unwrap_or(base.min_p),
            repetition_penalty: hints.repetition_penalty.unwrap_or(base.repetition_penalty),
            penalty_last_n: hints.penalty_last_n.unwrap_or(base.penalty_last_n),
            ..base
        }
    }

    /// Refuses a text that the model or `policy` cannot take, before the model is loaded for it.
    ///
    /// # Errors
    /// No token, one outside the vocabulary, more than the policy has room for, or a segment that it does not bear.
    pub fn check(&self, policy: &Policy, ids: &[u32]) -> Result<(), Error> {
        if ids.is_empty() {
            return Err(SessionError::EmptyPrompt.into());
        }
        check_ids(ids, self.file.config.vocab_size, 0, policy.limit.unwrap_or(MAX_POSITIONS))?;
        Ok(Tagger::default().check_segments(policy, 0, ids)?)
    }
}

impl Deref for Loaded {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.opened
    }
}
