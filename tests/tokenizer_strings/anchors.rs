//! Anchors in vocabularies of pieces: the exact bytes of a full stop, and AnLLM-AC's added token with its white space.

use killick::kv::{Insert, Place};
use killick::model_file::TokenizerSource;
use killick::tokenizer::Tokenizer;

use super::load;
use super::pieces::{alone, piece_keys};

/// `<AC>` after the trained pieces and `[PAD]`, as AnLLM has 32,001 after 32,000.
const AC: u32 = 1001;

fn merged() -> Tokenizer {
    load(TokenizerSource::Gguf(piece_keys("merged", "llama")))
}

fn spellings(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let spelling =
        |id: &u32| String::from_utf8(tokenizer.token_bytes(*id).unwrap()).unwrap().replace(' ', "\u{2581}");
    ids.iter().map(spelling).collect()
}

#[test]
fn a_full_stop_is_found_by_its_exact_bytes() {
    let tokenizer = merged();
    let ids = |bytes: &str| tokenizer.ids_of_bytes(bytes.as_bytes());
    let (bare, spaced) = (ids("."), ids(" ."));
    // The byte piece <0x2E> decodes to a full stop as well, but no text becomes it.
    assert_eq!(spellings(&tokenizer, &bare), [".", "."]);
    assert!(spaced.iter().all(|id| !bare.contains(id)));
    let text = tokenizer.encode("One sentence. Another.", false).unwrap();
    assert_eq!(text.iter().filter(|id| bare.contains(id)).count(), 2);
    assert_eq!(ids("<AC>"), [AC]);
}

#[test]
fn an_anchor_written_into_the_text_leaves_no_piece_of_space_behind() {
    let trained = |tokenizer: &Tokenizer| {
        let around =
            [tokenizer.encode("is.", false).unwrap(), vec![AC], tokenizer.encode("The", false).unwrap()];
        around.concat()
    };
    let tokenizer = alone("merged");
    let ids = trained(&tokenizer);
    let shown = spellings(&tokenizer, &ids);
    assert_eq!(shown, ["\u{2581}is", ".", "<AC>", "\u{2581}The"]);
    // From the files that the model was trained with, white space around the anchor belongs to it.
    for text in ["is. <AC> The", "is.<AC>The", "is. \n<AC>  The"] {
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{text:?}");
    }
    // A GGUF file does not say so, but whoever inserts anchors takes written ones for what they are.
    let tokenizer = merged();
    assert_ne!(tokenizer.encode("is. <AC> The", false).unwrap(), ids, "the trap is there");
    assert_eq!(trained(&tokenizer), ids);
    let insert = |place| Insert { id: AC, place };
    for text in ["is. <AC> The", "is.<AC>The", "is. \n<AC>  The", "is. The"] {
        let between = tokenizer.encode_with_anchors(text, false, Some(&insert(Place::Between))).unwrap();
        assert_eq!(between, ids, "{text:?}");
        let after = tokenizer.encode_with_anchors(text, false, Some(&insert(Place::After))).unwrap();
        assert_eq!(after, [&ids[..], &[AC]].concat(), "{text:?}");
    }
    let only = tokenizer.encode_with_anchors("<AC>", true, Some(&insert(Place::Between))).unwrap();
    assert_eq!(only, [AC]);
    let twice =
        tokenizer.encode_with_anchors(" <AC> <AC> The", false, Some(&insert(Place::Between))).unwrap();
    assert_eq!(twice.iter().filter(|id| **id == AC).count(), 2);
    assert!(twice.ends_with(&tokenizer.encode("The", false).unwrap()));
}

#[test]
fn a_full_stop_as_the_inserted_anchor_is_not_taken_for_a_written_one() {
    let tokenizer = merged();
    let id = tokenizer.encode("a.", false).unwrap().pop().unwrap();
    let insert = Insert { id, place: Place::Between };
    let ids = tokenizer.encode_with_anchors("v1.2 and 3.4", false, Some(&insert)).unwrap();
    assert_eq!(ids, tokenizer.encode("v1.2 and 3.4", false).unwrap());
}
