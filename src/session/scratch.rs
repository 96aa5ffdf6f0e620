//! Scratch memory, which the sessions of a model share.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::SessionError;
use crate::model::{Model, SessionPlan, SharedScratch, handed_out};

/// The scratch for sessions of the plan's shape: that of a session which is there, or new.
pub(super) async fn shared(
    model: &Model,
    plan: &SessionPlan<'_>,
) -> Result<Arc<SharedScratch>, SessionError> {
    if let Some(scratch) = model.scratch_of(plan.scratch_shape()) {
        return Ok(scratch);
    }
    let made = model.gpu.allocate(&plan.scratch_requests).await?;
    let scratch = plan.scratch(&mut handed_out(made))?;
    Ok(model.share(plan.shared(scratch)))
}

/// Held while a pass is uploaded and submitted: between the two nobody else may touch the scratch. Never across a wait.
pub(crate) fn alone(scratch: &SharedScratch) -> MutexGuard<'_, ()> {
    scratch.in_use.lock().unwrap_or_else(PoisonError::into_inner)
}
