//! The model on the device: its weights, what it needs in memory, and the forward pass.
//!
//! ```text
//! plan.rs          every buffer of the weights, with its size, before any of them is made; what all takes together
//! session_plan.rs  the same for texts
//! session_buffers.rs its buffers, by lifetime
//! named.rs         how a plan and its buffers are one list
//! rope_tables.rs   what each layer turns by
//! weights.rs       from a model file to the device, in pieces of bounded size
//! llama.rs         the forward pass, from top to bottom
//! ```

pub(crate) mod llama;
mod named;
mod plan;
mod rope_tables;
mod session_buffers;
mod session_plan;
mod weights;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::gpu::{Buffer, BufferRequest, Capabilities, Gpu};
use crate::kernels::WeightFormat;
use crate::kernels::rope;
use crate::model_file::{Config, ModelFile};

pub(crate) use named::handed_out;
use named::requests_of;
pub use plan::{MemoryPlan, PlanError, PlanLine, PlannedProduct, PrecisionLine, Precisions};
pub(crate) use plan::{WeightsPlan, entry_bytes};
use rope_tables::RopeTables;
pub(crate) use session_buffers::{Control, Memory, Scratch, ScratchShape, SharedScratch, Texts};
pub use session_plan::SessionShape;
pub(crate) use session_plan::{LOGPROB_WORDS, RECENT, SUBMITS, SessionPlan, outbox_bytes, recent_cap};
pub use weights::LoadError;
pub(crate) use weights::Weights;

/// What a forward pass is recorded from: sizes, and the names of the buffers with weights. No device.
#[derive(Debug)]
pub struct Network {
    pub(crate) config: Config,
    pub(crate) weights: Weights,
    pub(crate) rope_tables: RopeTables,
}

impl Network {
    /// The network as it would lie on `device`, without memory.
    ///
    /// # Errors
    /// A weight does not fit the format or the device's bindings.
    pub(crate) fn planned(
        config: &Config,
        precisions: Precisions<'_>,
        device: &Capabilities,
    ) -> Result<Self, PlanError> {
        let plan = WeightsPlan::new(config, precisions, device)?;
        let weights = Weights::planned(&plan);
        let rope_tables = RopeTables::new(config, &mut |request| Buffer::planned(&request));
        Ok(Self { config: config.clone(), weights, rope_tables })
    }
}

/// A model whose weights lie on a device. Sessions share it; it is freed with the last of them.
#[derive(Debug)]
pub struct Model {
    pub(crate) gpu: Gpu,
    network: Network,
    label: String,
    allocated_bytes: u64,
    /// Every matrix is kept in 32-bit floats.
    is_exact: bool,
    /// What sessions share, one for each shape; it is freed with the last of them.
    scratches: Mutex<Vec<Weak<SharedScratch>>>,
}

impl std::ops::Deref for Model {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.network
    }
}

impl Model {
    /// Puts the weights of `file` on the device in `format`. `progress` is told bytes done and bytes in all.
    ///
    /// # Errors
    /// The file is broken, a weight does not fit the format or the device's bindings, or the device has no room.
    pub async fn load(
        gpu: &Gpu,
        file: &ModelFile,
        format: WeightFormat,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, LoadError> {
        let config = file.config.clone();
        let precisions = Precisions::of(file, format);
        let is_exact = precisions.is_exact(&config);
        let plan = WeightsPlan::new(&config, precisions, gpu.capabilities())?;
        let allocated_bytes = plan.total_bytes();
        let weights = weights::load(gpu, file, &plan, progress).await?;
        let made = gpu.allocate(&rope_table_requests(&config)).await?;
        let rope_tables = RopeTables::new(&config, &mut handed_out(made));
        let divisors = file.rope_divisors().await?;
        for (table, rotation) in rope_tables.rotations(&config, divisors.as_ref()) {
            gpu.upload(table, 0, bytemuck::cast_slice(&rope::table(&rotation)))?;
        }
        Ok(Self {
            gpu: gpu.clone(),
            network: Network { config, weights, rope_tables },
            label: file.label().to_owned(),
            allocated_bytes,
            is_exact,
            scratches: Mutex::default(),
        })
    }

    /// Sizes and constants of the architecture.
    pub fn config(&self) -> &Config {
        &self.network.config
    }

    /// The device it lies on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Whether every matrix is kept in 32-bit floats.
    pub(crate) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Name of the file or folder it came from.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Bytes of device memory that weights and tables take, as planned, and the scratch that its sessions share.
    pub fn allocated_bytes(&self) -> u64 {
        let shared =
            self.scratches().iter().filter_map(Weak::upgrade).map(|scratch| scratch.bytes).sum::<u64>();
        self.allocated_bytes + shared
    }

    /// The scratch for sessions of this shape, if there is a session that has it.
    pub(crate) fn scratch_of(&self, shape: ScratchShape) -> Option<Arc<SharedScratch>> {
        self.scratches().iter().filter_map(Weak::upgrade).find(|scratch| scratch.shape.serves(shape))
    }

    /// Keeps a scratch for the sessions to come. If another of its shape came first meanwhile, that is the one.
    pub(crate) fn share(&self, scratch: SharedScratch) -> Arc<SharedScratch> {
        let mut scratches = self.scratches();
        scratches.retain(|scratch| scratch.strong_count() > 0);
        let first =
            scratches.iter().filter_map(Weak::upgrade).find(|other| other.shape.serves(scratch.shape));
        first.unwrap_or_else(|| {
            let scratch = Arc::new(scratch);
            scratches.push(Arc::downgrade(&scratch));
            scratch
        })
    }

    fn scratches(&self) -> MutexGuard<'_, Vec<Weak<SharedScratch>>> {
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rope_table_requests(config: &Config) -> Vec<BufferRequest> {
    requests_of(|make| _ = RopeTables::new(config, make))
}
