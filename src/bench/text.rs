//! The synthetic text that is read: random tokens, and an anchor at the end of every segment.
//!
//! What the tokens are does not change what they cost, but where the anchors are does. So no random token is an anchor, and under a policy
//! that has anchors one stands after every so many tokens, as full stops do in prose.

use super::random::Random;
use crate::kv::Policy;

/// Ids of a text of `length` tokens. The same seed makes the same text, of which a shorter one is the beginning, and under another policy
/// only the anchors differ.
pub(super) fn synthetic(vocab: u32, policy: &Policy, segment: u32, seed: u64, length: u32) -> Vec<u32> {
    let mut random = Random(seed);
    let anchor = policy.insert.map(|insert| insert.id).or(policy.anchors.ids().first().copied());
    let ids = (0..length).map(|position| {
        let drawn = random.below(vocab);
        match anchor {
            Some(anchor) if (position + 1).is_multiple_of(segment.max(1)) => anchor,
            _ => plain(drawn, vocab, policy),
        }
    });
    ids.collect()
}

/// The next token that is no anchor; `drawn` itself where all are.
fn plain(drawn: u32, vocab: u32, policy: &Policy) -> u32 {
    let others = (0..vocab).map(|step| (drawn + step) % vocab.max(1));
    others.into_iter().find(|id| !policy.anchors.contains(*id)).unwrap_or(drawn)
}

#[cfg(test)]
mod tests {
    use super::synthetic;
    use crate::kv::{PolicySpec, Preset};

    #[test]
    fn anchors_stand_at_the_end_of_segments_and_nowhere_else() {
        let spec = PolicySpec { anchors: Some(vec![3, 4]), ..PolicySpec::new(Preset::Anchor) };
        let anchored = spec.resolve(64).unwrap();
        let full = PolicySpec::new(Preset::Full).resolve(64).unwrap();
        let ids = synthetic(8, &anchored, 5, 1, 100);
        for (position, id) in ids.iter().enumerate() {
            assert_eq!([3, 4].contains(id), position % 5 == 4, "{position}");
            assert!(*id < 8);
        }
        assert_eq!(synthetic(8, &anchored, 5, 1, 40), ids[..40]);
        let plain = synthetic(8, &full, 5, 1, 100);
        let same = plain.iter().zip(&ids).filter(|(a, b)| a == b).count();
        assert!(same > 50 && plain != ids, "{same} of 100 tokens are the same under both policies");
        assert_ne!(synthetic(8, &full, 5, 2, 100), plain);
    }
}
