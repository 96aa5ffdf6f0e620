"""SentencePiece vocabularies, trained on Python's own documentation and the texts of parts.py, and the ids that the
`sentencepiece` package gives.

    python tools/golden/pieces.py

pieces/NAME.model    what the trainer writes
pieces/NAME.json     the same pieces, scores and kinds as GGUF would hold them, tokens added
pieces.golden.json   for each vocabulary and way of reading it what parts.py stores of the ids of 10,000 texts

`merged` and `likeliest` are made as Llama's is: byte fallback, every space kept, one put in front; `<AC>` and `[PAD]`
are added after the trained pieces as AnLLM has them. `plain_merged` and `plain_likeliest` have no byte fallback,
collapse spaces, and know user defined pieces; every ninth of their pieces is marked unused and scores are rounded, so
that many are equal.
"""

import json
import os
import pydoc_data.topics

import regex
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from parts import OUT, digest, texts, write

FOLDER = os.path.join(OUT, "pieces")
COMMON = {"vocab_size": 1000, "character_coverage": 0.995, "normalization_rule_name": "identity", "max_sentence_length": 1 << 16,
          "hard_vocab_limit": False, "num_threads": 1, "minloglevel": 2, "train_extremely_large_corpus": False}
LLAMA = {"byte_fallback": True, "remove_extra_whitespaces": False, "split_digits": True, "allow_whitespace_only_pieces": True,
         "add_dummy_prefix": True}
PLAIN = {"byte_fallback": False, "remove_extra_whitespaces": True, "user_defined_symbols": ["<sep>", "the", "\u2581\u2581"],
         "control_symbols": ["[PAD]"]}
VOCABULARIES = {"merged": {"model_type": "bpe", **LLAMA}, "likeliest": {"model_type": "unigram", **LLAMA},
                "plain_merged": {"model_type": "bpe", **PLAIN}, "plain_likeliest": {"model_type": "unigram", **PLAIN}}


def corpus() -> list[str]:
    documentation = "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    return documentation.splitlines()[:6000] + texts(11, 3000)


def read(path: str):
    proto = sentencepiece_model_pb2.ModelProto()
    with open(path, "rb") as f:
        proto.ParseFromString(f.read())
    return proto


def worsen(path: str) -> None:
    """Makes pieces that are used only to be taken apart, and scores that are equal."""
    proto = read(path)
    normal = [piece for piece in proto.pieces if piece.type == piece.NORMAL and len(piece.piece) > 1]
    step = 16.0 if proto.trainer_spec.model_type == proto.trainer_spec.BPE else 0.5
    for i, piece in enumerate(normal):
        piece.score = round(piece.score / step) * step
        if i % 9 == 4:
            piece.type = piece.UNUSED
    with open(path, "wb") as f:
        f.write(proto.SerializeToString())


def encode(model, text: str, tokens: dict[str, int]) -> list[int]:
    """Cuts the added tokens out, the longest first, and encodes what lies between as texts of their own."""
    ids = []
    for part in regex.split("(" + "|".join(map(regex.escape, sorted(tokens, key=len, reverse=True))) + ")", text):
        ids += [tokens[part]] if part in tokens else model.encode(part) if part else []
    return ids


def strip(text: str, tokens: list[str]) -> str:
    """The text without white space around added tokens, as transformers' first Llama tokenizer took it."""
    either = "|".join(map(regex.escape, tokens))
    return regex.sub(rf"\p{{White_Space}}*({either})\p{{White_Space}}*", r"\1", text)


def main() -> None:
    os.makedirs(FOLDER, exist_ok=True)
    golden = {}
    for name, options in VOCABULARIES.items():
        path = os.path.join(FOLDER, name)
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_prefix=path, **COMMON, **options)
        os.remove(path + ".vocab")
        if not options["byte_fallback"]:
            worsen(path + ".model")
        model = sentencepiece.SentencePieceProcessor(model_file=path + ".model")
        trained = read(path + ".model").pieces
        count, kinds = len(trained), [piece.type for piece in trained]
        pieces, scores = [piece.piece for piece in trained], [piece.score for piece in trained]
        appended = ["[PAD]", "<AC>"] if options["byte_fallback"] else []
        data = {"tokens": pieces + appended, "scores": scores + [-1000.0] * len(appended), "types": kinds + [4] * len(appended),
                "unk": model.unk_id(), "bos": model.bos_id(), "eos": model.eos_id(),
                "add_space_prefix": True, "remove_extra_whitespaces": options["remove_extra_whitespaces"]}
        write(f"pieces/{name}.json", data)
        added = {text: i for i, (text, kind) in enumerate(zip(data["tokens"], data["types"])) if kind in (2, 3, 4)}
        special = {text: i for text, i in added.items() if data["types"][i] in (2, 3)}
        outside = {text: count + i for i, text in enumerate(appended)}
        # In a GGUF file user defined pieces are added tokens; SentencePiece itself finds them inside a text.
        gguf = [encode(model, text, added) for text in texts(3)]
        alone = [encode(model, strip(text, appended) if appended else text, special | outside) for text in texts(3)]
        golden[name] = {"gguf": digest(gguf), "alone": digest(alone), "first": list(zip(texts(3, 12), gguf))}
        whole = sum(model.decode(model.encode(text)) == text for text in texts(3, 1000))
        unknown = sum(model.unk_id() in ids for ids in alone)
        print(name, count, "pieces,", sum(a != b for a, b in zip(gguf, alone)), "texts differ alone,", whole, "of 1000 decode,", unknown, "with unknown")
    write("pieces.golden.json", golden)


if __name__ == "__main__":
    main()
