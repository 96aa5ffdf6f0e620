//! The rotation tables of a model: one, or one for each kind of text.

use super::named::Make;
use crate::gpu::{Buffer, BufferRequest};
use crate::kernels::rope;
use crate::kv::Policy;
use crate::model_file::{Config, RopeDivisors, RopeScaling, Rotation};

/// What layers turn by ([`rope::table`]).
#[derive(Debug)]
pub(crate) struct RopeTables {
    plain: Buffer,
    /// Of a text that reaches beyond the original context, where that turns in another way.
    long: Option<Buffer>,
    /// Of layers with a window, where these have a base of their own.
    local: Option<Buffer>,
}

impl RopeTables {
    /// The one list of them.
    pub(super) fn new(config: &Config, make: Make<'_>) -> Self {
        let mut table = |label: &str| make(BufferRequest::storage(label, rope::table_bytes(config.rope_dim)));
        let long = matches!(config.rope_scaling, RopeScaling::LongRope { .. });
        Self {
            plain: table("rope table"),
            long: long.then(|| table("rope table of long texts")),
            local: config.local_rope_theta.map(|_| table("rope table of layers with a window")),
        }
    }

    /// Each with the rotation that goes there.
    pub(super) fn rotations(
        &self,
        config: &Config,
        divisors: Option<&RopeDivisors>,
    ) -> Vec<(&Buffer, Rotation)> {
        let short = divisors.map(|divisors| &divisors.short[..]);
        let long = divisors.and_then(|divisors| divisors.long.as_deref());
        let plain = (&self.plain, config.rotation(short));
        let local = self.local.iter().zip(config.local_rotation());
        let long = self.long.iter().map(|table| (table, config.rotation(long)));
        [plain].into_iter().chain(long).chain(local).collect()
    }

    /// The table of a layer, in a text under `policy`.
    pub(super) fn of(&self, config: &Config, layer: u32, policy: &Policy) -> &Buffer {
        if let Some(local) = self.local.as_ref().filter(|_| config.slides(layer)) {
            return local;
        }
        match (&self.long, config.rope_scaling) {
            (Some(long), RopeScaling::LongRope { original_context, .. })
                if policy.reach() > original_context =>
            {
                long
            }
            _ => &self.plain,
        }
    }
}
