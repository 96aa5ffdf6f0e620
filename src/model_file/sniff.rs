//! What a file really is, told by its first bytes.
//!
//! A file that is not what its name says is mostly one of a few dozen things: a pointer that stands for a file not yet
//! fetched, a page that a server sent in its place, an archive, an older format, a program's own notes. Every reader of the
//! room asks here before it complains of a number that makes no sense, so that the message says what the file is and what to do.

use super::error::{ModelFileError, quoted};
use super::gguf;
use super::reader::{at_most, len_u64, read_exact, to_usize};
use super::source::Source;

/// Bytes from a file's start that are enough to tell; a tar archive names itself at 257.
pub(super) const HEAD_BYTES: usize = 512;
/// The UTF-8 byte-order mark, which some editors put before a text.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// Bytes at the start of an unknown file that must all be text for it to count as one.
const TEXT_BYTES: usize = 200;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A GGUF file of any version.
    Gguf,
    /// What begins as a safetensors file does.
    Safetensors,
    /// A pickle, plain or in a zip archive as PyTorch writes it.
    Pickled,
    /// Something else, and what to do about it.
    Other(String, &'static str),
    /// No sign of anything known.
    Unknown,
}

const AGAIN: &str = "download it again; the server may ask for a login, or for its terms to be accepted";
const UNPACK: &str = "unpack it, and name what comes out";
const CONVERTED: &str = "get the model as GGUF or safetensors";

/// Tells what a file of `len` bytes is by its `head`, the first [`HEAD_BYTES`] of it or all there are.
pub(super) fn sniff(head: &[u8], len: u64) -> Kind {
    let other = |what: &str, advice| Kind::Other(what.to_owned(), advice);
    if head.is_empty() {
        return other("an empty file", "download it again");
    }
    if head.starts_with(&gguf::MAGIC) {
        return Kind::Gguf;
    }
    if is_safetensors(head, len) {
        return Kind::Safetensors;
    }
    // Pickles of the protocols 2 to 5 begin with their number.
    if matches!(head, [0x80, 2..=5, ..]) {
        return Kind::Pickled;
    }
    if head.starts_with(b"PK\x03\x04") {
        return zip(head);
    }
    if let Some((_, what, advice)) = MAGICS.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return other(what, advice);
    }
    if head.get(257..262) == Some(b"ustar") {
        return other("a tar archive", UNPACK);
    }
    if head.len() >= 64 && head.iter().all(|byte| *byte == 0) {
        return other(
            "a file that begins with zeros, as a download that was broken off leaves it",
            "download it again",
        );
    }
    text(head, len)
}

/// Signs at the very start, what they mean, and what to do. The first formats of ggml are numbers, lowest byte first.
const MAGICS: [(&[u8], &str, &str); 20] = [
    (b"lmgg", "a GGML file of the first form (ggml), which GGUF replaced in 2023", CONVERTED),
    (b"fmgg", "a GGML file of the second form (ggmf), which GGUF replaced in 2023", CONVERTED),
    (b"tjgg", "a GGML file of the third form (ggjt), which GGUF replaced in 2023", CONVERTED),
    (
        b"algg",
        "a LoRA adapter in the form ggla, which GGUF replaced in 2023",
        "get the adapter as PEFT writes it, or as GGUF",
    ),
    (b"nsgg", "a saved session of llama.cpp, which holds no model", "name the model's own file"),
    (
        b"FUGG",
        "a GGUF file in big-endian byte order",
        "turn it round with gguf_convert_endian.py of the gguf package, or get the little-endian file",
    ),
    (b"\x1f\x8b", "a file packed by gzip", "unpack it with gunzip, and name what comes out"),
    (b"\x28\xb5\x2f\xfd", "a file packed by zstd", UNPACK),
    (b"\xfd7zXZ\0", "a file packed by xz", UNPACK),
    (b"BZh", "a file packed by bzip2", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a rar archive", UNPACK),
    (
        b"\0\x05\x16\x07",
        "a sidecar that macOS writes beside a file (its name begins with ._)",
        "name the file that it lies beside",
    ),
    (b"\x89HDF", "an HDF5 file, as Keras and TensorFlow write weights", CONVERTED),
    (b"\x93NUMPY", "an array of NumPy", CONVERTED),
    (b"MZ", "a program, perhaps a llamafile with a model inside", "get the model itself as GGUF"),
    (b"\x7fELF", "a program", "name the model's own file"),
    (b"\xff\xfe", "a text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "a text in UTF-16", "save it as UTF-8"),
    (b"%PDF", "a PDF document", "name the model's own file"),
];

/// Whether a file begins with a length that fits it and the JSON of a safetensors header.
fn is_safetensors(head: &[u8], len: u64) -> bool {
    let Some((prefix, rest)) = head.split_first_chunk::<8>() else { return false };
    let header = u64::from_le_bytes(*prefix);
    rest.starts_with(b"{") && header >= 2 && header.saturating_add(8) <= len
}

/// A zip archive: PyTorch's own, whose entries are pickles and numbers, or any other.
fn zip(head: &[u8]) -> Kind {
    let name = (|| {
        let len = usize::from(u16::from_le_bytes(*head.get(26..)?.first_chunk()?));
        let name = std::str::from_utf8(head.get(30..)?.get(..len)?).ok()?;
        (!name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
    })();
    let Some(name) = name else { return Kind::Pickled };
    let ours =
        name.ends_with(".pkl") || ["/data/", "version", "byteorder"].iter().any(|part| name.contains(part));
    if ours {
        return Kind::Pickled;
    }
    let advice = if name.ends_with(".npy") { CONVERTED } else { UNPACK };
    Kind::Other(format!("a zip archive, whose first file is {}", quoted(name)), advice)
}

/// Texts that stand where a model's file should be.
fn text(head: &[u8], len: u64) -> Kind {
    let start = without_bom(head).trim_ascii_start();
    let begins =
        |sign: &str| start.get(..sign.len()).is_some_and(|head| head.eq_ignore_ascii_case(sign.as_bytes()));
    if begins("version https://git-lfs.github.com/spec/") || begins("version https://hawser.github.com/spec/")
    {
        let lines = String::from_utf8_lossy(start);
        let size = lines.lines().find_map(|line| line.strip_prefix("size ")?.trim().parse::<u64>().ok());
        let size = size.map_or_else(String::new, |size| format!(" of {size} bytes"));
        let what = format!("a Git LFS pointer, which stands for a file{size} that was not fetched");
        return Kind::Other(what, "run git lfs pull in its folder, or download the file itself");
    }
    if begins("/annex/objects/") {
        let what = "a git-annex pointer, which stands for a file that was not fetched".to_owned();
        return Kind::Other(what, "run git annex get in its folder, or download the file itself");
    }
    if begins("<!doctype html") || begins("<html") {
        return Kind::Other("a web page in the place of the file".to_owned(), AGAIN);
    }
    if begins("<?xml") || begins("<error") {
        return Kind::Other("a message of a server (XML) in the place of the file".to_owned(), AGAIN);
    }
    if let Some(target) = link(start).filter(|_| len_u64(head.len()) == len) {
        let what = format!(
            "a text that holds only the path {}, as a link becomes where links are not kept",
            quoted(target)
        );
        return Kind::Other(what, "put the file that it names in its place, or download it again");
    }
    Kind::Unknown
}

/// The path that a text is, if it is one line that can be nothing else.
fn link(text: &[u8]) -> Option<&str> {
    let path = std::str::from_utf8(text).ok()?.trim();
    let begins = ["./", "../", "/"].iter().any(|start| path.starts_with(start));
    (begins && !path.chars().any(|c| c.is_whitespace() || c.is_control() || "{}<>%\"".contains(c)))
        .then_some(path)
}

/// How a text that should be something else begins, if `head` is all text.
fn first_words(head: &[u8]) -> Option<String> {
    let start = head.get(..head.len().min(TEXT_BYTES))?;
    // The cut may go through a character.
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(start.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let is_text = !text.trim().is_empty() && text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace());
    is_text.then(|| quoted(text.trim()))
}

/// `bytes` without a byte-order mark at their start.
pub(crate) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM).unwrap_or(bytes)
}

/// The formats of weights that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    Gguf,
    Safetensors,
}

/// The error for a file that is `what`.
pub(super) fn other(file: &str, what: impl Into<String>, advice: impl Into<String>) -> ModelFileError {
    ModelFileError::Other { file: file.to_owned(), what: what.into(), advice: advice.into() }
}

/// The start of a file.
pub(super) async fn head(source: &dyn Source, file: &str) -> Result<Vec<u8>, ModelFileError> {
    let len = usize::try_from(source.len()).unwrap_or(usize::MAX).min(HEAD_BYTES);
    read_exact(source, file, "its first bytes", 0, len).await
}

/// Which format of weights `file` has; its name decides only where its content does not.
///
/// # Errors
/// What it is instead.
pub(super) async fn weights(source: &dyn Source, file: &str) -> Result<Weights, ModelFileError> {
    let head = head(source, file).await?;
    match sniff(&head, source.len()) {
        Kind::Gguf => Ok(Weights::Gguf),
        Kind::Safetensors => Ok(Weights::Safetensors),
        Kind::Pickled => Err(ModelFileError::Pickled { file: file.to_owned() }),
        Kind::Other(what, advice) => Err(other(file, what, advice)),
        Kind::Unknown => match (by_name(file), first_words(&head)) {
            (Some((what, advice)), _) => Err(other(file, what, advice)),
            (None, Some(words)) => {
                let what = format!("a text that begins with {words}, and no weights");
                Err(other(file, what, "name the file that holds the weights, or download it again"))
            }
            (None, None) if file.ends_with(".safetensors") => Ok(Weights::Safetensors),
            (None, None) => Ok(Weights::Gguf),
        },
    }
}

/// What the name says of a file that is not whole: a part of one that was cut as plain bytes (`model.gguf-split-b`,
/// `model.gguf.part2of3`), or a download under way.
fn by_name(file: &str) -> Option<(&'static str, &'static str)> {
    let lower = file.to_ascii_lowercase();
    if [".part", ".crdownload", ".incomplete", ".download", ".aria2", ".tmp"]
        .iter()
        .any(|end| lower.ends_with(end))
    {
        return Some(("by its name a download that is not finished", "finish it"));
    }
    let rest =
        [".gguf", ".safetensors"].iter().find_map(|mark| lower.split_once(mark)).map(|(_, rest)| rest)?;
    let rest = rest.trim_start_matches(['.', '-', '_']);
    let piece = rest.strip_prefix("split").or_else(|| rest.strip_prefix("part"))?;
    let piece = piece.trim_start_matches(['.', '-', '_']);
    // A number, or a single letter.
    let is_piece = piece.starts_with(|c: char| c.is_ascii_digit()) || (1..=2).contains(&piece.len());
    let advice = "join the pieces in their order (cat FIRST SECOND > WHOLE), and name the whole";
    is_piece.then_some(("by its name a piece of a file that was cut as plain bytes", advice))
}

/// What the name says of the file of `error`, if that ends too early.
pub(super) fn cut_short(error: ModelFileError) -> ModelFileError {
    match &error {
        ModelFileError::Truncated { file, .. } => match by_name(file) {
            Some((what, advice)) => other(file, what, advice),
            None => error,
        },
        _ => error,
    }
}

/// All of a small file that is a text, at most `cap` bytes.
///
/// # Errors
/// What it is instead; one that is too long.
pub(super) async fn read_text(source: &dyn Source, file: &str, cap: u64) -> Result<Vec<u8>, ModelFileError> {
    // An empty text is one.
    if source.is_empty() { Ok(Vec::new()) } else { read(source, file, cap).await }
}

/// [`read_text`] for JSON, without a byte-order mark.
pub(super) async fn read_json(source: &dyn Source, file: &str, cap: u64) -> Result<Vec<u8>, ModelFileError> {
    let bytes = read(source, file, cap).await?;
    Ok(if bytes.starts_with(BOM) { without_bom(&bytes).to_vec() } else { bytes })
}

/// All of a small file of any other format, at most `cap` bytes.
pub(super) async fn read(source: &dyn Source, file: &str, cap: u64) -> Result<Vec<u8>, ModelFileError> {
    // Before the length is judged: that of something else says nothing.
    let len = source.len();
    let bytes = if len > cap {
        head(source, file).await?
    } else {
        read_exact(source, file, "the file", 0, to_usize(file, "the file's length", len)?).await?
    };
    let (what, advice) = match sniff(bytes.get(..bytes.len().min(HEAD_BYTES)).unwrap_or_default(), len) {
        Kind::Other(what, advice) => (what, advice),
        Kind::Gguf => ("a GGUF file under a wrong name".to_owned(), "put the file of that name in its place"),
        Kind::Safetensors => {
            ("a safetensors file under a wrong name".to_owned(), "put the file of that name in its place")
        }
        Kind::Pickled => ("a pickle under a wrong name".to_owned(), "put the file of that name in its place"),
        Kind::Unknown => return at_most(file, "the file's length", len, cap).map(|_| bytes),
    };
    Err(other(file, what, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_told_whatever_is_cut_off_it() {
        // No start of any sign panics or is taken for another.
        for (magic, what, _) in MAGICS {
            assert!(matches!(sniff(magic, 512), Kind::Other(found, _) if found == what), "{what}");
            for end in 1..magic.len() {
                let found = sniff(magic.get(..end).unwrap_or_default(), 512);
                assert!(
                    !matches!(&found, Kind::Other(found, _) if found == what),
                    "{what} from {end} bytes: {found:?}"
                );
            }
        }
        for pointer in [
            "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
            "/annex/objects/SHA256E-s1--ab",
        ] {
            for end in 1..pointer.len() {
                let _ = sniff(pointer.as_bytes().get(..end).unwrap_or_default(), 512);
            }
        }
    }

    #[test]
    fn a_name_tells_a_piece_and_an_unfinished_download() {
        for name in [
            "m.gguf-split-b",
            "m.Q4_0.gguf.part2of3",
            "m.safetensors.part1",
            "m.gguf.incomplete",
            "m.gguf.crdownload",
        ] {
            assert!(by_name(name).is_some(), "{name}");
        }
        for name in [
            "m.gguf",
            "split.gguf",
            "part-of-me.safetensors",
            "m-00001-of-00002.gguf",
            "sha256-1234",
            ".m.gguf.partial-22",
        ] {
            assert!(by_name(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_text_is_quoted_even_where_the_cut_goes_through_a_character() {
        assert_eq!(first_words(b"Entry not found").as_deref(), Some("\"Entry not found\""));
        let long = "\u{e9}".repeat(150);
        assert!(first_words(&[b"x", long.as_bytes()].concat()).is_some());
        assert!(first_words(b"\x01\x02abc").is_none());
        assert!(first_words(b" \n ").is_none());
        assert!(first_words(b"\xff\xfeabc").is_none());
    }
}
