"""Where sentences end: the rule of src/tokenizer/sentences.rs, for the ASCII punctuation that the cleaned text has.

The engine puts `<AC>` between the sentences of a prompt, so the training text must be cut at the same places. `check`
holds this file to the table of tests/generation_text.rs. The lists of abbreviations are read from the Rust file, so that there is one of each; the rest restates UAX #29 (SB6 to
SB11) and the corrections made there: "Mr. Smith", "J. S. Bach", "No. 5", "3.14" and '"Stop!" he said' end nothing.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUST = ROOT / "src" / "tokenizer" / "sentences.rs"
TABLE = ROOT / "tests" / "generation_text.rs"


def _list(name: str) -> frozenset[str]:
    body = re.search(rf"const {name}: \[&str; (\d+)\] = \[(.*?)\];", RUST.read_text(encoding="utf-8"), re.S)
    words = re.findall(r'"([^"]+)"', body[2])
    assert len(words) == int(body[1]), name
    return frozenset(words)


ABBREVIATIONS = _list("ABBREVIATIONS")
BEFORE_NUMBERS = _list("BEFORE_NUMBERS")

# A blank line; or marks that can end a sentence, closing or opening marks after them, and white space. Then something.
_END = re.compile(r"""(?:[.?!]["'()\[\]{}]*(?=\s)|(?<!\s)(?=\s*\n\s*\n))(\s+)(?=\S)""")


def sentences(text: str) -> list[str]:
    """The sentences in order and without a gap; white space between two belongs to the second."""
    found, start = [], 0
    for match in _END.finditer(text):
        gap = match.start(1)
        if not text[start:gap].strip():
            continue
        if match[1].count("\n") > 1 or not _goes_on(text[start:gap], text[match.end():match.end() + 80]):
            found.append(text[start:gap])
            start = gap
    found.append(text[start:])
    return found


def _goes_on(before: str, after: str) -> bool:
    stop = before.rstrip("\"'()[]{}")
    if after[0] in ",-:;.?!–—":
        return True
    if stop.endswith(".") and (letter := re.search(r"[^\W\d_]|[.?!]", after)) and letter[0].islower():
        return True
    if not before.endswith("."):
        return before[-1] in "\"')]" and after[0].islower()
    head = before[:-1]
    match = re.search(r"[\w.]*$", head[-12:])
    word = match[0] if match else ""
    if word.lower() in ABBREVIATIONS or (word.lower() in BEFORE_NUMBERS and after[0].isnumeric()):
        return True
    parts = word.split(".")
    letters = all(len(part) == 1 and not part.isnumeric() for part in parts)
    if letters and ("." in word or word[:1].isupper()):
        return True
    line = head[:len(head) - len(word)].rstrip(" \t")
    return word.isnumeric() and (not line or line.endswith("\n"))


def check() -> None:
    """The table's texts of plain ASCII, cut here as there."""
    table = re.search(r"const SENTENCES: \[&str; \d+\] = \[(.*?)\n\];", TABLE.read_text(encoding="utf-8"), re.S)[1]
    rows = re.findall(r'^    "((?:[^"\\]|\\.)*)",$', table, re.M)
    texts = [row.encode().decode("unicode_escape") for row in rows if row.isascii()]
    assert len(texts) > 40, len(texts)
    for text in texts:
        found = "|".join(sentences(text.replace("|", "")))
        assert found == text, f"{found!r} instead of {text!r}"


if __name__ == "__main__":
    check()
