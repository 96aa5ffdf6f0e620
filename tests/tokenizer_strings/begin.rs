//! The token that begins a text, in conversations: the template writes it, or the file asks the engine to.

use killick::kv::{PolicySpec, Preset};
use killick::model_file::TokenizerSource;
use killick::tokenizer::{ChatTemplate, Turns};

use super::pieces::piece_keys;
use super::{data, load};

#[test]
fn a_conversation_from_a_gguf_file_begins_with_one_begin_token() {
    let policy = PolicySpec::new(Preset::Full).resolve(1024).unwrap();
    let template = |begin: &str| {
        let source = format!("{begin}{{% for m in messages %}}{{{{ m.content }}}}\n{{% endfor %}}");
        Turns::new(ChatTemplate::new(&source).unwrap(), Some("<s>".to_owned()), None)
    };
    let past = [("one".to_owned(), "two".to_owned())];
    for add_bos in [true, false] {
        let mut keys = piece_keys("merged", "llama");
        keys.add_bos = add_bos;
        let bos = keys.bos.unwrap();
        let tokenizer = load(TokenizerSource::Gguf(keys));
        for (begin, written) in [("", 0), ("{{ bos_token }}", 1), ("<s>", 1)] {
            let turns = template(begin);
            let first = turns.first_ids(&tokenizer, None, "Hi", &policy).unwrap();
            let whole = turns.whole_ids(&tokenizer, None, &past, "Hi", &policy).unwrap();
            for ids in [first, whole] {
                let found = ids.iter().filter(|id| **id == bos).count();
                assert_eq!(found, usize::from(add_bos).max(written), "{add_bos} {begin:?}: {ids:?}");
                assert_eq!(ids.first() == Some(&bos), found == 1);
            }
            let next = turns.next_ids(&tokenizer, None, "Hi", &policy).unwrap();
            assert!(!next.contains(&bos), "what goes on has begun");
        }
    }
    // In a folder the template alone says so, whatever is put before a text.
    let (model, added_tokens, tokenizer_config) = (data("pieces/merged.model"), None, None);
    let tokenizer = load(TokenizerSource::SentencePiece { model, added_tokens, tokenizer_config });
    assert_eq!(tokenizer.encode("Hi", true).unwrap().first(), tokenizer.bos().as_ref());
    let ids = template("").first_ids(&tokenizer, None, "Hi", &policy).unwrap();
    assert!(!ids.contains(&tokenizer.bos().unwrap()), "{ids:?}");
}
