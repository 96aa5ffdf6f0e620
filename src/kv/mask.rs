//! The visibility rule itself, one pair of positions at a time: the oracle.
//!
//! It is the definition of what the engine computes, bounds and all, and is kept as close to its formula as
//! code can be. The ring, the prompt chunks and the kernels are faster ways to the same sets, and are tested
//! against this file.

use super::{Policy, Tags};

/// Whether the query at `i` sees the key at `j`:
///
/// ```text
/// j <= i and ( j == i
///              or (seg_rule and seg[j] == seg[i])      the same segment
///              or (i - j < W)                          recent tokens, the query counted
///              or (j < S)                              pinned prefix
///              or (anc[j] and not (isolated and anc[i])
///                  and j is among the newest A anchors up to i and i - j < D) )
/// ```
///
/// Positions outside the tagged text see nothing and are not seen.
pub fn visible(policy: &Policy, tags: &Tags, i: u32, j: u32) -> bool {
    let (Some(query), Some(key)) = (tags.get(i), tags.get(j)) else { return false };
    if j > i {
        return false;
    }
    let same_segment = policy.seg_rule && key.seg_start == query.seg_start;
    let recent = i - j < policy.window;
    let pinned = j < policy.sinks;
    let hidden = policy.isolated && query.is_anchor == 1;
    let newest = query.anchors_upto - key.anchors_upto < policy.max_anchors;
    let anchor = key.is_anchor == 1 && !hidden && newest && i - j < policy.max_distance;
    j == i || same_segment || recent || pinned || anchor
}

/// The same in a layer that has a window of its own: of what the policy lets a token see, what lies inside the window. Everywhere else
/// [`Policy::layer_window`] is none, and this is [`visible`].
pub fn visible_near(policy: &Policy, tags: &Tags, i: u32, j: u32) -> bool {
    visible(policy, tags, i, j) && policy.layer_window.is_none_or(|window| i - j < window)
}

/// The keys that the query at `i` sees, ascending.
pub fn row<'a>(policy: &'a Policy, tags: &'a Tags, i: u32) -> impl Iterator<Item = u32> + 'a {
    (0..=i).filter(move |&j| visible(policy, tags, i, j))
}

/// The position at which the query at `i` is rotated to read the pinned prefix: `min(i, D - 1)`, so that no
/// distance leaves the range the model was trained for. Every other key is read with the query rotated at
/// `i`.
pub fn pinned_query_position(policy: &Policy, i: u32) -> u32 {
    i.min(policy.max_distance.saturating_sub(1))
}
