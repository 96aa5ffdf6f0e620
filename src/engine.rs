//! The front door: a device, and models loaded onto it.

use std::sync::Arc;

use crate::error::Error;
use crate::gpu::{Gpu, GpuOptions};
use crate::kernels::WeightFormat;
use crate::kv::PolicySpec;
use crate::model::Model;
use crate::model_file::{FileSet, ModelFile};
use crate::tokenizer::Tokenizer;

/// How to put a model on the device.
#[derive(Clone)]
pub struct LoadOptions {
    /// How weights are kept; 16-bit by default.
    pub format: WeightFormat,
    /// LoRA adapters merged into the weights, each with its scale (1 for what it was trained with); none by default.
    /// [`FileSet::adapter_from_path`] opens a folder.
    pub adapters: Vec<(FileSet, f32)>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { format: WeightFormat::F16, adapters: Vec::new() }
    }
}

/// One device, ready to load models.
#[derive(Clone, Debug)]
pub struct Engine {
    gpu: Gpu,
}

/// A model on the device, and the file it came from.
pub struct Loaded {
    /// The weights.
    pub model: Arc<Model>,
    /// The description, tokenizer and chat template.
    pub file: ModelFile,
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

    /// Reads a model and puts its weights on the device. [`FileSet::embedded`] is the model that the library brings.
    ///
    /// # Errors
    /// Files that are broken or not supported, adapters of another model, weights that do not fit.
    pub async fn load_files(&self, files: FileSet, options: LoadOptions) -> Result<Loaded, Error> {
        let mut file = ModelFile::open(files).await?;
        for (adapter, scale) in options.adapters {
            file.add_adapter(adapter, scale).await?;
        }
        let model = Model::load(&self.gpu, &file, options.format, &mut |_, _| {}).await?;
        Ok(Loaded { model: Arc::new(model), file })
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

impl Loaded {
    /// The tokenizer the model brings.
    ///
    /// # Errors
    /// It brings none, or one that is broken or not supported.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        Ok(Tokenizer::from_source(self.file.tokenizer(), self.file.label())?)
    }

    /// The policy recorded with the model or its adapters, if there is one.
    ///
    /// # Errors
    /// What is recorded is no policy.
    pub fn recorded_policy(&self) -> Result<Option<PolicySpec>, Error> {
        let record = self.file.policy().map(|value| serde_json::from_value(value.clone()));
        record.transpose().map_err(|error| Error::RecordedPolicy {
            file: self.file.label().to_owned(),
            reason: error.to_string(),
        })
    }
}
