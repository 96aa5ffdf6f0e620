//! Tags of a whole text: which tokens are anchors, and where the segment of each starts.
//!
//! The ring decides the same things one token at a time and forgets them; the mask oracle and the brute-force
//! kernel of `--path masked` need them for every token at once. Both ask [`Policy::anchor_test`], so a token
//! has one tag everywhere.

use bytemuck::{Pod, Zeroable};

use super::Policy;

/// The tags of one token, in the layout that the masked attention kernel reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Tag {
    /// 1 if the token closes its segment.
    pub is_anchor: u32,
    /// 1 if it does so only because the segment has M tokens.
    pub forced: u32,
    /// Position of the first token of its segment; equal for two tokens exactly if they share a segment.
    pub seg_start: u32,
    /// Anchors up to and including this token, pinned ones counted.
    pub anchors_upto: u32,
}

/// The tags of a text, by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// Tags `ids`, the token at index `i` being at position `i`.
    pub fn of(policy: &Policy, ids: &[u32]) -> Self {
        let (mut seg_start, mut anchors_upto) = (0, 0);
        let tag = |(pos, &id): (u32, &u32)| {
            let (is_anchor, forced) = policy.anchor_test(id, pos - seg_start + 1);
            anchors_upto += u32::from(is_anchor);
            let tag = Tag { is_anchor: is_anchor.into(), forced: forced.into(), seg_start, anchors_upto };
            if is_anchor {
                seg_start = pos + 1;
            }
            tag
        };
        Self((0..).zip(ids).map(tag).collect())
    }

    /// All tags, ready for upload.
    pub fn as_slice(&self) -> &[Tag] {
        &self.0
    }

    /// The tag at `pos`, if the text is that long.
    pub fn get(&self, pos: u32) -> Option<&Tag> {
        self.0.get(pos as usize)
    }
}
