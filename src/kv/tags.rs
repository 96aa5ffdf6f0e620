//! Tags of a whole text: which tokens are anchors, and where the segment of each starts.
//!
//! The ring decides the same things one token at a time and forgets them; the mask oracle and the brute-force
//! kernel of the masked path need them for every token at once. Both ask [`Policy::anchor_test`], so a token
//! has one tag everywhere.

use bytemuck::{Pod, Zeroable};

use super::{AtMaxSegment, KvError, Policy};

/// The tags of one token, in the layout that the masked attention kernel reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Tag {
    /// 1 if the token closes its segment.
    pub is_anchor: u32,
    /// 1 if it does so only because the segment has M tokens, or where the policy inserts an anchor then.
    pub forced: u32,
    /// Position of the first token of its segment; equal for two tokens exactly if they share a segment.
    pub seg_start: u32,
    /// Anchors up to and including this token, pinned ones counted.
    pub anchors_upto: u32,
}

/// What the tag of the next token depends on: the only memory that the anchor test has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tagger {
    /// Tokens of the open segment.
    pub open_len: u32,
    /// Whether the last token is one of [`Policy::not_after`].
    pub barred: bool,
}

impl Tagger {
    /// Takes the next token: `(is_anchor, forced)`, as [`Policy::anchor_test`].
    pub fn take(&mut self, policy: &Policy, id: u32) -> (bool, bool) {
        self.open_len += 1;
        let (is_anchor, forced) = policy.anchor_test(id, self.open_len, self.barred);
        if is_anchor {
            self.open_len = 0;
        }
        self.barred = policy.not_after.contains(id);
        (is_anchor, forced)
    }

    /// Whether `id` would be the M-th token of its segment and yet no anchor by itself.
    pub fn overflows(&self, policy: &Policy, id: u32) -> bool {
        policy.seg_rule && self.open_len + 1 == policy.max_segment && !policy.is_member(id, self.barred)
    }

    /// `ids` with the policy's inserted anchor as the last token of every segment that would grow too long; as they are, where
    /// the policy inserts nothing there.
    pub fn close_segments(mut self, policy: &Policy, ids: &[u32]) -> Vec<u32> {
        let insert = policy.insert.filter(|_| policy.at_max_segment == AtMaxSegment::Insert);
        let Some(insert) = insert else { return ids.to_vec() };
        let mut closed = Vec::with_capacity(ids.len());
        for &id in ids {
            if self.overflows(policy, id) {
                self.take(policy, insert.id);
                closed.push(insert.id);
            }
            self.take(policy, id);
            closed.push(id);
        }
        closed
    }

    /// Refuses `ids`, the first of which is at `pos`, where they would make a segment too long and the policy asks for an error.
    ///
    /// # Errors
    /// [`KvError::SegmentTooLong`].
    pub fn check_segments(mut self, policy: &Policy, pos: u32, ids: &[u32]) -> Result<(), KvError> {
        if policy.at_max_segment != AtMaxSegment::Error {
            return Ok(());
        }
        for (pos, &id) in (pos..).zip(ids) {
            if self.overflows(policy, id) {
                return Err(KvError::SegmentTooLong { pos, max_segment: policy.max_segment });
            }
            self.take(policy, id);
        }
        Ok(())
    }
}

/// The tags of a text, by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// Tags `ids`, the token at index `i` being at position `i`.
    pub fn of(policy: &Policy, ids: &[u32]) -> Self {
        let (mut tagger, mut seg_start, mut anchors_upto) = (Tagger::default(), 0, 0);
        let tag = |(pos, &id): (u32, &u32)| {
            let (is_anchor, forced) = tagger.take(policy, id);
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
