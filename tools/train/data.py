"""Fetches the training text, cleans it, splits it into documents and holds whole documents out.

Three public-domain works on one subject, each a Debian package: the World English Bible, Matthew Henry's Concise
Commentary and Spurgeon's Treasury of David. One subject, because a model of 4 million parameters speaks a narrow
register well and a wide one badly; these three share names, places and turns of phrase over 20 MB.

A document is a chapter of the Bible, or of the commentary on it. Everything is written below
${XDG_CACHE_HOME:-~/.cache}/killick/train: train.txt and heldout.txt (documents separated by a line of "\\f"),
tokenizer.json, train.npy and heldout.npy (ids), sources.json (versions and checksums).
"""

import hashlib
import html
import json
import os
import pathlib
import re
import struct
import subprocess
import zlib

import numpy
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from sentences import check, sentences

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "killick" / "train"
# Debian package, version, SHA-256 of the file, module.
SOURCES = [
    ("sword-text-web", "426.0-1", "930b23670b352f0829a306501de4bebb5e654a2df02cde2cbe86b802177868e1", "engWEB2015eb"),
    ("sword-comm-mhcc", "2.0-1", "06f748215de78ff48fdfdee93e3ffc5af6318b976485f7aedf22309236967e35", "MHCC"),
    ("sword-comm-tdavid", "2.1-1", "bcbfad701c5c4a061475b58309cebc42755a59e87478c8355227c5e046412b3f", "TDavid"),
]
# One document in so many is held out, by a hash of its name.
HELD_OUT_ONE_IN = 16
VOCAB = 4096
EOT, AC = "<|endoftext|>", "<AC>"
# No segment is longer, <AC> included; a longer sentence gets a further <AC> at its last comma or the like before that.
MAX_SEGMENT = 128

# Marks of the text and their plain forms: a prompt is typed with these.
PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "…": "...", "–": "—", "\xa0": " ", "`": "'"})


def fetch() -> dict[str, str]:
    """The text of each module with its mark-up, by name of the module."""
    folder = CACHE / "download"
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for package, version, checksum, module in SOURCES:
        file = folder / f"{package}_{version}_all.deb"
        if not file.exists():
            subprocess.run(["apt-get", "download", f"{package}={version}"], cwd=folder, check=True)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest != checksum:
            raise SystemExit(f"data.py: {file} has SHA-256 {digest}, expected {checksum}")
        subprocess.run(["dpkg", "-x", file, folder / module], check=True)
        found[module] = "".join(blocks(folder / module))
    return found


def blocks(folder: pathlib.Path):
    """The compressed blocks of a SWORD module, which are its text in order.

    A .?zs file lists offset, size and size unpacked of every block in the .?zz file. The index of verses beside them
    is not needed (and SWORD 1.9 cannot read that of MHCC): chapters are marked in the text itself.
    """
    for testament in ("ot", "nt"):
        for index in sorted(folder.rglob(f"{testament}.?zs")):
            packed = index.with_suffix(index.suffix[:-1] + "z").read_bytes()
            for offset, size, unpacked in struct.iter_unpack("<III", index.read_bytes()):
                text = zlib.decompress(packed[offset:offset + size])
                assert len(text) == unpacked, index
                yield text.decode("utf-8")


def clean(markup: str) -> str:
    """OSIS mark-up to paragraphs, separated by blank lines."""
    text = re.sub(r"<(note|title)\b[^>]*?(?<!/)>.*?</\1>", " ", markup, flags=re.S)
    text = re.sub(r'<hi type="bold">.*?</hi>', " ", text, flags=re.S)
    # References to verses are numbers, not language; they go, with the comma or the brackets around them.
    text = re.sub(r"[,;:]?\s*[(\[]?\s*<reference\b.*?</reference>(\s*[)\]])?", "", text, flags=re.S)
    text = re.sub(r'<div [^>]*type="(x-p|paragraph)"[^>]*>|<p\b[^>]*>|</p>', "\n\n", text)
    text = re.sub(r"<(l|lb|lg|milestone|chapter|div)\b[^>]*>", " ", text)
    text = html.unescape(re.sub(r"<[^>]+>", "", text)).translate(PLAIN)
    paragraphs = (re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text))
    return "\n\n".join(part for part in paragraphs if part)


def is_prose(paragraph: str) -> bool:
    """Sentences of English rather than headings, lists of books and Hebrew."""
    letters = sum(c.isalpha() or c == " " for c in paragraph)
    english = paragraph.replace("—", "").isascii()
    return english and len(paragraph) >= 20 and paragraph[-1] in ".?!\"')" and letters >= 0.9 * len(paragraph)


def documents(module: str, markup: str) -> list[tuple[str, str]]:
    """(name, text) of every chapter, in order; what stands before a book's first chapter is no part of it."""
    chapters: dict[str, str] = {}
    pieces = re.split(r'<chapter\b[^>]*?osisID="([^"]+)"[^>]*>|<div\b[^>]*type="(?:book|bookGroup)"[^>]*>', markup)
    for name, body in zip(pieces[1::2], pieces[2::2]):
        if name:
            chapters[name] = chapters.get(name, "") + body
    found = []
    for name, body in chapters.items():
        text = clean(body)
        if module != "engWEB2015eb":
            text = "\n\n".join(part for part in text.split("\n\n") if is_prose(part))
        if len(text) >= 200:
            found.append((f"{module} {name}", text))
    return found


def train_tokenizer(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(name, special=True, normalized=False) for name in (EOT, AC)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{EOT} $A", special_tokens=[(EOT, tokenizer.token_to_id(EOT))]
    )
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """<|endoftext|>, then every sentence and its <AC>."""
    anchor = tokenizer.token_to_id(AC)
    ids = [tokenizer.token_to_id(EOT)]
    pieces = tokenizer.encode_batch(sentences(text), add_special_tokens=False)
    pauses = {tokenizer.token_to_id(mark) for mark in (",", ";", ":", "—", '."', ',"')}
    for i, piece in enumerate(pieces):
        rest = list(piece.ids)
        # The first segment holds <|endoftext|> as well.
        room = MAX_SEGMENT - 1 - (i == 0)
        while len(rest) > room:
            cut = max((at + 1 for at in range(room // 2, room) if rest[at] in pauses), default=room)
            ids += rest[:cut] + [anchor]
            rest, room = rest[cut:], MAX_SEGMENT - 1
        ids += rest + [anchor]
    return ids


def main() -> None:
    check()
    markup = fetch()
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "heldout": []}
    for _, _, _, module in SOURCES:
        for name, text in documents(module, markup[module]):
            held = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % HELD_OUT_ONE_IN == 0
            parts["heldout" if held else "train"].append((name, text))
    tokenizer = train_tokenizer([text for _, text in parts["train"]])
    tokenizer.save(str(CACHE / "tokenizer.json"))
    report = {"sources": [dict(zip(("package", "version", "sha256", "module"), source)) for source in SOURCES]}
    for part, found in parts.items():
        (CACHE / f"{part}.txt").write_text("\n\f\n".join(text for _, text in found), encoding="utf-8")
        ids = numpy.array([id for _, text in found for id in encode(tokenizer, text)], dtype=numpy.uint16)
        numpy.save(CACHE / f"{part}.npy", ids)
        anchors = int((ids == tokenizer.token_to_id(AC)).sum())
        report[part] = {
            "documents": len(found),
            "bytes": sum(len(text.encode()) for _, text in found),
            "tokens": len(ids),
            "anchors": anchors,
            "ids_sha256": hashlib.sha256(ids.tobytes()).hexdigest(),
        }
    (CACHE / "sources.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
