"""Ids of a byte-level vocabulary under every split that GGUF has a name for, by a second implementation: the `regex`
package for the splits, and byte-pair encoding as one loop.

    python tools/golden/splits.py

splits.json        a vocabulary trained without any split, so that its merges cross every bound a split could draw
splits.golden.json for each name what parts.py stores of the ids of 10,000 texts, and the first texts with their ids
"""

import json
import os

import regex
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from parts import OUT, digest, texts, write

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CJK = r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
# DeepSeek's list of letters, as ranges of code points.
LETTERS = """41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376 377 37b-37d 37f 386 388-38a 38c 38e-3a1 3a3-3f5 3f7-481
48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba 1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45
1f48-1f4d 1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3 1fd6-1fdb 1fe0-1fec 1ff2-1ff4
1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 212a-212d 212f-2134 2139 213c-213f 2145-2149 214e 2183 2184 2c00-2c7b
2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d a680-a69b a722-a76f a771-a787 a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a ff41-ff5a
10400-1044f 104b0-104d3 104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943"""
SIGNS = r"\s?[!-/:-~！-／：-～‘-‟　-。]+"
V3 = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


def letters() -> str:
    """The list as a class of a regular expression."""
    def one(entry: str) -> str:
        return "-".join(f"\\U{int(code, 16):08x}" for code in entry.split("-"))
    return r"\s?[" + "".join(map(one, LETTERS.split())) + "]+"


SPLITS = {
    "gpt-2": [GPT2],
    "llama-bpe": [LLAMA3],
    "qwen2": [QWEN2],
    "smollm": [r"\p{N}", GPT2],
    "deepseek-llm": [r"[\r\n]", letters(), SIGNS, r"\s+$", CJK, r"\p{N}+"],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", V3],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
}
SPECIALS = {"<|end|>": 0, "<AC>": 1}


def split(words: list[str], pattern: str) -> list[str]:
    """Cuts every word into the matches of the pattern and the gaps between them."""
    # White space is what Unicode says it is; Python counts four control characters in.
    pattern = pattern.replace(r"\s", r"\p{White_Space}").replace(r"\S", r"\P{White_Space}").replace(r"+$", r"+\Z")
    cut = []
    for word in words:
        at = 0
        for match in regex.finditer(pattern, word, flags=regex.V0):
            cut += [word[at:match.start()], match.group()]
            at = match.end()
        cut.append(word[at:])
    return [word for word in cut if word]


def byte_alphabet() -> dict[int, str]:
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def merge(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding: the best pair first, the left one among equals."""
    symbols = list(word)
    while True:
        pairs = [(ranks[pair], i) for i, pair in enumerate(zip(symbols, symbols[1:])) if pair in ranks]
        if not pairs:
            return symbols
        _, i = min(pairs)
        symbols[i:i + 2] = ["".join(symbols[i:i + 2])]


def encode(text: str, vocab: dict[str, int], ranks, patterns: list[str], whole_words: bool) -> list[int]:
    alphabet = byte_alphabet()
    ids = []
    for piece in regex.split("(" + "|".join(map(regex.escape, SPECIALS)) + ")", text):
        if piece in SPECIALS:
            ids.append(SPECIALS[piece])
            continue
        words = [piece] if piece else []
        for pattern in patterns:
            words = split(words, pattern)
        for word in words:
            spelled = "".join(alphabet[byte] for byte in word.encode())
            whole = whole_words and spelled in vocab
            ids += [vocab[symbol] for symbol in ([spelled] if whole else merge(spelled, ranks))]
    return ids


def train() -> dict:
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tok.train_from_iterator(texts(1, 4000), trainers.BpeTrainer(
        vocab_size=1400, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
        special_tokens=list(SPECIALS), max_token_length=16))
    model = json.loads(tok.to_str())["model"]
    vocab = sorted(model["vocab"], key=model["vocab"].get)
    # Words that no merge makes: only "a whole word first" finds them.
    vocab += [word for word in ["Ġunbelievable", "internationalization", "Ġsegmentation", "ĠKraken", "Ġthe"] if word not in vocab]
    return {"tokens": vocab, "merges": [" ".join(pair) for pair in model["merges"]]}


def main() -> None:
    data = train()
    write("splits.json", data)
    vocab = {token: number for number, token in enumerate(data["tokens"])}
    ranks = {tuple(line.split(" ")): rank for rank, line in enumerate(data["merges"])}
    golden = {}
    for name, patterns in SPLITS.items():
        rows = [encode(text, vocab, ranks, patterns, name == "llama-bpe") for text in texts(2)]
        golden[name] = {**digest(rows), "first": list(zip(texts(2, 12), rows))}
    write("splits.golden.json", golden)


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    main()
