"""The texts that tests/tokenizer_strings.rs and the reference scripts encode, made alike by both from one list.

`python parts.py` writes tests/data/tokenizer/parts.json. A text is up to twelve parts drawn from it by a linear
congruential generator, so that ten thousand texts take no room in the repository: what is stored of their ids is one
byte for each text, by which a failing one is found, and a hash of them all.
"""

import json
import os

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "data", "tokenizer")
COUNT = 10_000

# Letters that have long been assigned: the reference and the library need not share one Unicode version.
BLOCKS = [(0xA1, 0x24F), (0x391, 0x3C9), (0x410, 0x44F), (0x531, 0x556), (0x561, 0x586), (0x5D0, 0x5EA), (0x627, 0x64A),
          (0x905, 0x939), (0xE01, 0xE2E), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9F00), (0xAC00, 0xD7A3),
          (0x1F600, 0x1F64F), (0x2190, 0x22FF), (0x2150, 0x218B), (0xFF01, 0xFF5E), (0x10400, 0x1044F), (0x1D400, 0x1D433)]


def parts() -> list[list[str]]:
    """Groups, each as likely as any other."""
    return [
        "the of and a to in is that it for was on as with by he she they anchor sea rope ship harbour wind".split(),
        "The Anchor TESTING tokenizer SentencePiece unbelievable segmentation internationalization naïve façade Über Žižek".split(),
        [" ", " ", " ", " ", " ", "  "],
        [" ", " ", "   ", "        ", " " * 17],
        ["\n", "\n\n", "\t", "\t\t", " \t ", "\r\n", "\r", " \n ", "\n  \n", "\v", "\f"],
        ["\u00a0", "\u3000", "\u2003", "\u2009", "\u200b", "\u2028", "\u2029", "\u0085", "\u1680", "\u202f", "\u205f", "\ufeff"],
        [".", ".", ",", "?", "!", ";", ":", "...", '."', " .", "-", "--", "(", ")", "[", "]", "'", '"', "/", "\\", "_", "`", "~", "|", "^", "$", "+", "<", "=", ">", "&", "@", "#", "%", "*"],
        ["0", "1", "7", "12", "123", "1234", "12345", "2018-01-22", "3.14", "1,000,000", "½", "²", "Ⅷ", "٣", "१२", "１２", "①", "𝟘", "0xFF", "1e-5"],
        "don't I'm we'll they're I've he'd it's DON'T I'M IT'S rock'n'roll 'tis ''s 's 'S 'll can’t".split(),
        "якорь корабль ветер слово άγκυρα θάλασσα λόγος Ёлка 锚 海洋 船 風 日本語 カタカナ ひらがな 한국어 닻 مرساة بحر עוגן सागर हिन्दी สมอเรือ Հայերեն ქართული".split(),
        ["⚓", "🚢", "👩‍🚀", "👨‍👩‍👧‍👦", "🏴‍☠️", "🇩🇪", "👍🏽", "❤️", "☃", "\u200d", "\ufe0f"],
        ["e\u0301", "n\u0303o", "Z\u0351\u036b", "\u1100\u1161\u11a8", "ﬁ", "Å", "\u212b", "\u0301", "ı", "İ", "ß", "ſ", "K"],
        ["∑", "≠", "→", "€", "£", "©", "™", "…", "—", "“q”", "‘s’", "«»", "\ufffd", "\u00ad", "。", "、", "！", "？", "：", "，"],
        ["fn main() {", "x += 1;", "def f(a, b=2):", "if (a && b) {", "</div>", "#include <stdio.h>", "a->b", "λx.x", "foo_bar", "CamelCase",
         "//", "/* */", "${HOME}", "@decor", "https://example.org/a?b=c&d=1#e", "C:\\temp\\x.txt"],
        [chr(c) for c in [*range(0x20), 0x7F, 0x80, 0x9F, 0xE000, 0xFFFE, 0x10FFFF, 0x40000]],
        ["<s>", "</s>", "<unk>", "<AC>", " <AC> ", "<sep>", "<AC", "AC>", "<<s>>", "</s><s>", "< s>", "<0x0A>", "<0xZZ>", "[PAD]", "<|end|>"],
        ["\u2581", "\u2581\u2581", "\u2581the", "a\u2581", " \u2581 "],
        [chr(c) for low, high in BLOCKS for c in range(low, high, max(1, (high - low) // 12))],
        list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        ["aa", "aba", "abab", "lll", "eee", "ing", "ation", "==", "====", "----------", "\u00e9" * 5, "the" * 3],
    ]


def texts(seed: int, count: int = COUNT) -> list[str]:
    """`count` texts."""
    groups, state, made = parts(), seed, []

    def draw(n: int) -> int:
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % n

    for _ in range(count):
        text = ""
        for _ in range(1 + draw(12)):
            group = groups[draw(len(groups))]
            text += group[draw(len(group))]
        made.append(text)
    return made


def hash_of(ids: list[int], start: int = 0xCBF29CE484222325) -> int:
    """FNV-1a of the ids as 32-bit numbers, lowest byte first, and of their count."""
    state = start
    for number in [*ids, len(ids)]:
        for byte in number.to_bytes(4, "little"):
            state = (state ^ byte) * 0x100000001B3 % 2**64
    return state


def digest(rows: list[list[int]]) -> dict:
    """What is stored of the ids of many texts."""
    whole = 0xCBF29CE484222325
    for ids in rows:
        whole = hash_of(ids, whole)
    return {"all": f"{whole:016x}", "each": "".join(f"{hash_of(ids) & 0xFF:02x}" for ids in rows)}


def write(name: str, value) -> None:
    path = os.path.join(OUT, name)
    with open(path, "w", encoding="ascii", newline="\n") as f:
        json.dump(value, f, separators=(",", ":"))
        f.write("\n")
    print(name, os.path.getsize(path), "bytes")


if __name__ == "__main__":
    write("parts.json", parts())
