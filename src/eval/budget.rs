//! A policy's bounds made to fit a number of entries, so that policies can be compared at equal memory.

use crate::kv::{Policy, Preset};

/// `policy` with its bounds set so that a long text leaves at most `budget` entries live; `None` where no bound can do that: for
/// `full`, and for a budget that the pinned tokens and the window leave nothing of.
///
/// Without anchors the window takes what the S pinned tokens leave. With segments (`anchor`) S and the window stay as they are and
/// the rest are anchors; the open segment comes on top, for it is not a matter of choice. With anchors but no segments (`sepllm`)
/// window and anchors have half of the rest each. Anchors inside the window are among the newest A and need no entry of their own,
/// so a few entries may stay unused.
pub fn with_budget(policy: &Policy, budget: u32) -> Option<Policy> {
    if policy.preset == Preset::Full {
        return None;
    }
    let mut fit = policy.clone();
    let rest = budget.checked_sub(policy.sinks)?;
    // The query itself is one of the W, and no entry is needed for it.
    if !policy.has_anchors() {
        fit.window = rest + 1;
    } else if policy.seg_rule {
        fit.max_anchors = rest.checked_sub(policy.window - 1).filter(|anchors| *anchors > 0)?;
    } else {
        fit.window = rest / 2 + 1;
        fit.max_anchors = (rest - rest / 2).max(1).min(rest);
    }
    if rest == 0 && policy.has_anchors() {
        return None;
    }
    // StreamingLLM's positions are those inside the cache.
    if policy.preset == Preset::Streaming && policy.max_distance == policy.sinks + policy.window {
        fit.max_distance = fit.sinks + fit.window;
    }
    fit.validate().is_ok().then_some(fit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{PolicySpec, Ring};

    fn policy(preset: Preset) -> Policy {
        let anchors = matches!(preset, Preset::Anchor | Preset::SepLlm).then(|| vec![0]);
        PolicySpec { anchors, ..PolicySpec::new(preset) }.resolve(4096).unwrap()
    }

    /// Live entries after a long text in which every fourth token is an anchor.
    fn live(policy: &Policy) -> u32 {
        let mut ring = Ring::new(policy, 1).unwrap();
        for pos in 0..2000 {
            ring.step(u32::from(pos % 4 != 3)).unwrap();
        }
        ring.stats().live
    }

    #[test]
    fn a_long_text_leaves_as_many_entries_as_the_budget_has() {
        for budget in [8, 16, 33, 100] {
            for preset in [Preset::Window, Preset::Streaming, Preset::SepLlm, Preset::Anchor] {
                let fit = with_budget(&policy(preset), budget).unwrap();
                // Every fourth token of the window is an anchor, the last among them.
                let twice = if preset == Preset::SepLlm { (fit.window - 1).div_ceil(4) } else { 0 };
                assert_eq!(live(&fit), budget - twice, "{preset} {budget}");
            }
        }
        let pinned = Policy { sinks: 4, window: 9, ..policy(Preset::Anchor) };
        // Two of the anchors lie inside the window.
        assert_eq!(with_budget(&pinned, 32).unwrap().max_anchors, 32 - 4 - 8);
        assert_eq!(with_budget(&policy(Preset::Streaming), 20).unwrap().max_distance, 4 + 17);
    }

    #[test]
    fn a_budget_that_cannot_be_kept_gives_no_policy() {
        assert_eq!(with_budget(&policy(Preset::Full), 64), None);
        assert_eq!(with_budget(&policy(Preset::Streaming), 3), None);
        assert_eq!(with_budget(&policy(Preset::SepLlm), 3), None);
        assert_eq!(with_budget(&Policy { window: 9, ..policy(Preset::Anchor) }, 8), None);
        assert!(with_budget(&Policy { window: 9, ..policy(Preset::Anchor) }, 9).is_some());
    }
}
