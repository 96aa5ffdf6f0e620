//! A model in several GGUF files is the model in one, from whichever part it is named; what is missing or out of place is said.

use std::collections::BTreeMap;
use std::path::Path;

use killick::model_file::{FileSet, ModelFile, ModelFileError, TokenizerSource, WeightName};
use pollster::block_on;

use super::{bigger, read, write};
use crate::support::gguf_writer::{Gguf, Value};
use crate::support::tiny_model::TinyModel;

/// `whole` in as many parts as `sizes`, each with so many tensors, as `llama-gguf-split` writes them.
pub(crate) fn parts(whole: &Gguf, sizes: &[usize]) -> Vec<(String, Gguf)> {
    let (count, mut from) = (sizes.len(), 0);
    let part = |(number, size): (usize, &usize)| {
        let mut part = if number == 0 { whole.clone() } else { Gguf::new(3) };
        part.tensors = whole.tensors[from..from + size].to_vec();
        from += size;
        part.set("split.no", Value(2, (number as u16).to_le_bytes().to_vec()));
        part.set("split.count", Value(2, (count as u16).to_le_bytes().to_vec()));
        part.set("split.tensors.count", Value::i32(whole.tensors.len() as i32));
        (format!("tiny-{:05}-of-{count:05}.gguf", number + 1), part)
    };
    sizes.iter().enumerate().map(part).collect()
}

fn bytes(parts: Vec<(String, Gguf)>) -> BTreeMap<String, Vec<u8>> {
    parts.into_iter().map(|(name, part)| (name, part.bytes())).collect()
}

fn assert_same(one: &ModelFile, other: &ModelFile) {
    assert_eq!(one.config, other.config);
    for name in WeightName::all(&one.config) {
        let rows = 0..name.shape(&one.config).0;
        let bits = |file: &ModelFile| {
            read(file, name, rows.clone()).into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(bits(one), bits(other), "{name:?}");
    }
    let keys = |file: &ModelFile| match file.tokenizer() {
        TokenizerSource::Gguf(keys) => format!("{keys:?}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(one), keys(other));
    assert_eq!((one.chat_template(), one.policy()), (other.chat_template(), other.policy()));
}

#[test]
fn all_parts_are_the_whole_from_any_of_them_and_from_their_folder() {
    for model in [TinyModel::new(), bigger()] {
        let mut whole = model.gguf();
        whole.set("tokenizer.chat_template", Value::string("{{ x }}"));
        let n = whole.tensors.len();
        let plain = super::open_gguf(whole.bytes());
        for sizes in [vec![1, n - 1], vec![n - 1, 1], vec![0, n], vec![2, n - 4, 0, 2]] {
            let files = bytes(parts(&whole, &sizes));
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &files).unwrap();
            assert_same(&plain, &ModelFile::open_path(folder.path()).expect("a folder of parts"));
            for name in files.keys() {
                let opened = ModelFile::open_path(&folder.path().join(name)).expect("any part");
                assert_same(&plain, &opened);
                assert_eq!(opened.tensors().len(), n);
            }
            assert_same(&plain, &super::open(files));
        }
    }
}

#[test]
fn a_split_file_read_in_blocks_is_the_same_bytes() {
    let plain = super::open_gguf(bigger().gguf().bytes());
    let split = super::open(bytes(parts(&bigger().gguf(), &[7, 9, bigger().gguf().tensors.len() - 16])));
    for name in WeightName::all(&plain.config) {
        let rows = 0..name.shape(&plain.config).0;
        let stored = |file: &ModelFile| block_on(file.read_stored(name, rows.clone())).unwrap();
        assert_eq!(stored(&plain), stored(&split), "{name:?}");
    }
}

fn fails(files: BTreeMap<String, Vec<u8>>) -> ModelFileError {
    block_on(ModelFile::open(FileSet::from_bytes(files))).err().expect("not a whole model")
}

#[test]
fn a_missing_part_is_named_whichever_one_it_is() {
    let n = TinyModel::new().gguf().tensors.len();
    let files = bytes(parts(&TinyModel::new().gguf(), &[2, 3, n - 5]));
    for lost in files.keys() {
        let mut left = files.clone();
        left.remove(lost);
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &left).unwrap();
        let places = left.keys().map(|name| folder.path().join(name)).chain([folder.path().to_owned()]);
        for place in places {
            let error = ModelFile::open_path(&place).err().expect("a part is missing").to_string();
            assert!(
                error.contains(lost) && error.contains("3 parts") && error.contains("llama-gguf-split"),
                "{error}"
            );
        }
        assert!(fails(left).to_string().contains(lost));
    }
    // A part of a link that leads nowhere is missing, too, and said to be a link.
    #[cfg(unix)]
    {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &files).unwrap();
        let second = folder.path().join("tiny-00002-of-00003.gguf");
        std::fs::remove_file(&second).unwrap();
        std::os::unix::fs::symlink("gone", &second).unwrap();
        let error = ModelFile::open_path(folder.path()).err().expect("a dangling part").to_string();
        assert!(
            error.contains("tiny-00002-of-00003.gguf") && error.contains("a link to \"gone\""),
            "{error}"
        );
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let whole = TinyModel::new().gguf();
    let n = whole.tensors.len();
    type Change = fn(&mut Vec<(String, Gguf)>);
    let cases: [(&str, Change); 9] = [
        ("split.no", |parts| parts[1].1.set("split.no", Value::u32(0))),
        ("split.no", |parts| parts[0].1.remove("split.no")),
        ("split.count", |parts| parts[1].1.set("split.count", Value::u32(7))),
        ("split.count", |parts| parts[0].1.remove("split.count")),
        ("split.tensors.count", |parts| parts[1].1.set("split.tensors.count", Value::u32(3))),
        ("split.tensors.count", |parts| {
            parts[1].1.tensors.pop();
        }),
        ("occurs twice", |parts| {
            let twice = parts[0].1.tensors[0].clone();
            parts[1].1.tensors[0] = twice;
        }),
        ("data type", |parts| parts[1].1.tensors[0].dtype = 255),
        ("tokenizer.ggml.model", |parts| parts[0].1.remove("tokenizer.ggml.model")),
    ];
    for (says, change) in cases {
        let mut changed = parts(&whole, &[3, n - 3]);
        change(&mut changed);
        let error = fails(bytes(changed)).to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    // Cut short, a part says where; a page in its place is called one.
    let mut files = bytes(parts(&whole, &[3, n - 3]));
    let second = "tiny-00002-of-00002.gguf";
    let len = files[second].len();
    files.get_mut(second).unwrap().truncate(len - 1);
    assert!(matches!(fails(files.clone()), ModelFileError::Truncated { file, .. } if file == second));
    files.insert(second.to_owned(), b"<!DOCTYPE html><title>Login</title>".to_vec());
    assert!(fails(files).to_string().contains("a web page"));
}

#[test]
fn a_part_under_another_name_says_which_it_is() {
    let n = TinyModel::new().gguf().tensors.len();
    let [_, (_, second)] = <[_; 2]>::try_from(parts(&TinyModel::new().gguf(), &[3, n - 3])).ok().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renamed.gguf");
    std::fs::write(&path, second.bytes()).unwrap();
    let error = ModelFile::open_path(&path).err().expect("one part of two").to_string();
    for says in ["part 2", "2 parts", "NAME-00002-of-00002.gguf", "--merge"] {
        assert!(error.contains(says), "{says}: {error}");
    }
    // One that is a whole is one, whatever the numbers in its name and in its keys.
    let mut whole = TinyModel::new().gguf();
    whole.set("split.count", Value::u32(1));
    for name in ["m-00001-of-00001.gguf", "m-1-of-2.gguf", "m-00003-of-00002.gguf"] {
        std::fs::write(folder.path().join(name), whole.bytes()).unwrap();
        assert!(ModelFile::open_path(&folder.path().join(name)).is_ok(), "{name}");
    }
}

#[test]
fn a_name_does_not_make_the_reader_look_for_parts_without_end() {
    let files = BTreeMap::from([("m-00001-of-99999.gguf".to_owned(), TinyModel::new().gguf().bytes())]);
    assert!(matches!(fails(files), ModelFileError::OverCap { value: 99_999, .. }));
}

#[test]
fn two_split_models_in_one_folder_are_two_models() {
    let n = TinyModel::new().gguf().tensors.len();
    let mut files = bytes(parts(&TinyModel::new().gguf(), &[3, n - 3]));
    let others: Vec<_> =
        files.iter().map(|(name, part)| (name.replace("tiny", "other"), part.clone())).collect();
    files.extend(others);
    let error = fails(files.clone()).to_string();
    assert!(error.contains("name the file"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &files).unwrap();
    assert!(ModelFile::open_path(&folder.path().join("other-00002-of-00002.gguf")).is_ok());
    assert!(
        ModelFile::open_path(Path::new("/").join(folder.path()).join("tiny-00001-of-00002.gguf").as_path())
            .is_ok()
    );
}
