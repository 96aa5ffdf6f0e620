//! Where a model lies: a folder with other things in it, links into a store, the cache of the Hugging Face hub.

use std::fs;
use std::path::{Path, PathBuf};

use killick::model_file::{FileSet, ModelFile};
use tempfile::TempDir;

use super::{assert_reads_as, bigger, sharded, write};
use crate::support::tiny_model::{CONFIG, GGUF, TinyModel, WEIGHTS};

fn model_in(folder: &Path) {
    assert_reads_as(&ModelFile::open_path(folder).expect("a model"), &TinyModel::new());
}

fn fails(path: &Path) -> String {
    ModelFile::open_path(path).err().expect("no model").to_string()
}

/// A folder with the tiny checkpoint.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &TinyModel::new().files()).unwrap();
    folder
}

#[test]
fn what_lies_beside_a_model_does_not_matter() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("old.safetensors")).unwrap();
    fs::create_dir(path("older.gguf")).unwrap();
    fs::create_dir(path("checkpoint-100")).unwrap();
    for hidden in ["._model.safetensors", "._model.gguf", ".hidden.safetensors", ".config.json"] {
        fs::write(path(hidden), b"\0\x05\x16\x07").unwrap();
    }
    fs::write(path("adapter_model.safetensors"), b"not read").unwrap();
    fs::write(path("adapter_config.json"), b"not read").unwrap();
    fs::write(path("pytorch_model.bin"), b"PK\x03\x04").unwrap();
    fs::write(path("extra.safetensors"), b"not read").unwrap();
    #[cfg(unix)]
    for link in ["gone.safetensors", "gone.gguf", "pytorch_model-2.bin"] {
        std::os::unix::fs::symlink("nowhere", path(link)).unwrap();
    }
    model_in(folder.path());
    model_in(&path(WEIGHTS));
    // Beside a GGUF nothing else is needed at all, not even what it could not read.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path(GGUF), TinyModel::new().gguf().bytes()).unwrap();
    fs::write(path("mmproj-model-f16.gguf"), b"not read").unwrap();
    fs::write(path("tiny.imatrix.gguf"), b"not read").unwrap();
    fs::create_dir(path("config.json")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere", path("tokenizer.json")).unwrap();
    model_in(folder.path());
    model_in(&path(GGUF));
}

#[test]
fn a_file_that_is_needed_and_cannot_be_read_is_named() {
    let folder = folder();
    fs::create_dir(folder.path().join("tokenizer.json")).unwrap();
    let error = fails(folder.path());
    assert!(error.contains("tokenizer.json") && error.contains("a folder"), "{error}");
    fs::remove_dir(folder.path().join("tokenizer.json")).unwrap();
    fs::remove_file(folder.path().join(WEIGHTS)).unwrap();
    fs::create_dir(folder.path().join(WEIGHTS)).unwrap();
    let error = fails(folder.path());
    assert!(error.contains(WEIGHTS) && error.contains("a folder"), "{error}");
}

#[test]
fn a_part_of_a_model_leads_to_the_whole_or_says_what_to_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &sharded(&bigger())).unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ] {
        assert_reads_as(&ModelFile::open_path(&path(name)).expect("the checkpoint"), &bigger());
    }
    let error = fails(&path(CONFIG));
    assert!(error.contains("name the folder"), "{error}");
    // Another model beside the shards is not the one whose shard was named.
    fs::write(path("other.gguf"), TinyModel::new().gguf().bytes()).unwrap();
    fs::write(path(WEIGHTS), TinyModel::new().safetensors().bytes()).unwrap();
    for name in ["model-00001-of-00002.safetensors", "model.safetensors.index.json"] {
        assert_reads_as(&ModelFile::open_path(&path(name)).expect("the checkpoint"), &bigger());
    }
    fs::remove_file(path("other.gguf")).unwrap();
    fs::remove_file(path(WEIGHTS)).unwrap();
    fs::rename(path("model.safetensors.index.json"), path("index")).unwrap();
    for place in [folder.path().to_owned(), path("model-00001-of-00002.safetensors")] {
        let error = fails(&place);
        assert!(
            error.contains("one of 2 shards") && error.contains("model.safetensors.index.json is missing"),
            "{error}"
        );
    }
    // An index of another name is one, if there is only one.
    fs::rename(path("index"), path("model.bf16.safetensors.index.json")).unwrap();
    assert_reads_as(&ModelFile::open_path(folder.path()).expect("the checkpoint"), &bigger());
    fs::remove_file(path("model-00002-of-00002.safetensors")).unwrap();
    let error = fails(folder.path());
    assert!(error.contains("the shard \"model-00002-of-00002.safetensors\" is missing"), "{error}");
}

#[test]
fn a_folder_without_a_model_says_what_it_holds() {
    let root = tempfile::tempdir().unwrap();
    assert!(fails(root.path()).contains("a model file"), "empty");
    for name in ["one", "two"] {
        fs::create_dir(root.path().join(name)).unwrap();
        write(&root.path().join(name), &TinyModel::new().files()).unwrap();
    }
    let error = fails(root.path());
    assert!(error.contains("models inside: \"one, two\""), "{error}");
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("tf_model.h5"), b"x").unwrap();
    assert!(fails(other.path()).contains("another format: \"tf_model.h5\""));
    // A pickle that was not fetched is a pointer first.
    fs::write(
        other.path().join("pytorch_model.bin"),
        b"version https://git-lfs.github.com/spec/v1\nsize 5\n",
    )
    .unwrap();
    assert!(fails(other.path()).contains("git lfs pull"));
    fs::write(other.path().join("pytorch_model.bin"), b"PK\x03\x04").unwrap();
    assert!(fails(other.path()).contains("pickled.py"));
}

#[test]
fn a_shard_leads_to_the_index_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files = sharded(&bigger());
    write(folder.path(), &files).unwrap();
    // Another checkpoint, whose shards the usual index does not name.
    let renamed =
        |text: &[u8]| String::from_utf8(text.to_vec()).unwrap().replace("\"model-", "\"model.fp16-");
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("model-")) {
        fs::write(path(&name.replace("model-", "model.fp16-")), bytes).unwrap();
    }
    let shard = path("model.fp16-00001-of-00002.safetensors");
    let error = fails(&shard);
    assert!(error.contains("no index here names") && error.contains("model.fp16-00001"), "{error}");
    let index = renamed(&files["model.safetensors.index.json"]);
    fs::write(path("model.fp16.safetensors.index.json"), index).unwrap();
    fs::write(path("model-00001-of-00002.safetensors"), b"not read").unwrap();
    assert_reads_as(&ModelFile::open_path(&shard).expect("the checkpoint"), &bigger());
}

#[test]
fn numbers_of_shards_may_have_more_digits() {
    let folder = tempfile::tempdir().unwrap();
    let renamed = |text: &str| text.replace("-of-00002", "-of-000002");
    for (name, bytes) in sharded(&bigger()) {
        let bytes = if name.ends_with(".index.json") {
            renamed(&String::from_utf8(bytes).unwrap()).into_bytes()
        } else {
            bytes
        };
        fs::write(folder.path().join(renamed(&name)), bytes).unwrap();
    }
    let shard = folder.path().join("model-00001-of-000002.safetensors");
    assert_reads_as(&ModelFile::open_path(&shard).expect("the checkpoint"), &bigger());
    fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    assert!(fails(folder.path()).contains("one of 2 shards"));
}

#[test]
fn a_model_that_was_quantised_with_statistics_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = TinyModel::new().gguf().bytes();
    fs::write(folder.path().join("X-Q4_K_M-imatrix.gguf"), gguf).unwrap();
    fs::write(folder.path().join("imatrix.gguf"), b"not read").unwrap();
    model_in(folder.path());
    fs::write(folder.path().join("Y.gguf"), b"not read").unwrap();
    assert!(fails(folder.path()).contains("name the file"));
}

#[test]
fn a_folder_called_snapshots_makes_no_cache() {
    let root = tempfile::tempdir().unwrap();
    let snapshots = root.path().join("run/snapshots/step-1");
    fs::create_dir_all(&snapshots).unwrap();
    write(&snapshots, &TinyModel::new().files()).unwrap();
    assert!(fails(&root.path().join("run")).contains("a model file"));
    fs::write(root.path().join("run").join(GGUF), TinyModel::new().gguf().bytes()).unwrap();
    fs::create_dir(root.path().join("run/refs")).unwrap();
    model_in(&root.path().join("run"));
    assert_eq!(ModelFile::open_path(&root.path().join("run")).unwrap().label(), "run");
}

/// The cache's folder for a model with these snapshots of the tiny checkpoint.
fn cache(root: &Path, snapshots: &[&str], main: Option<&str>) -> PathBuf {
    let repo = root.join("models--an-org--a-model");
    let files = TinyModel::new().files();
    fs::create_dir_all(repo.join("blobs")).unwrap();
    for (name, bytes) in &files {
        fs::write(repo.join("blobs").join(format!("blob-of-{name}")), bytes).unwrap();
    }
    for snapshot in snapshots {
        let folder = repo.join("snapshots").join(snapshot);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in &files {
            #[cfg(unix)]
            {
                let _ = bytes;
                let target = Path::new("../../blobs").join(format!("blob-of-{name}"));
                std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
            }
            #[cfg(not(unix))]
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    if let Some(main) = main {
        fs::create_dir_all(repo.join("refs")).unwrap();
        fs::write(repo.join("refs/main"), main).unwrap();
    }
    repo
}

#[test]
fn the_cache_of_the_hub_gives_its_current_snapshot() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = ("1f0c3f7a", "2e9d");
    for (i, (snapshots, main)) in
        [(vec![one], None), (vec![one], Some("1f0c3f7a\n")), (vec![one, two], Some(two))]
            .into_iter()
            .enumerate()
    {
        let repo = cache(&root.path().join(i.to_string()), &snapshots, main);
        for place in [
            repo.clone(),
            repo.join("snapshots"),
            repo.join("snapshots").join(one),
            repo.join("snapshots").join(one).join(WEIGHTS),
        ] {
            if place.ends_with("snapshots") || place.ends_with(one) || place == repo {
                let file = ModelFile::open_path(&place).expect("a snapshot");
                assert_reads_as(&file, &TinyModel::new());
                assert_eq!(file.label(), "an-org/a-model");
            } else {
                model_in(&place);
            }
        }
    }
    // Which of two is current must decide: the other one is broken here.
    let repo = cache(&root.path().join("broken"), &[one, two], Some(two));
    fs::remove_file(repo.join("snapshots").join(one).join(WEIGHTS)).unwrap();
    model_in(&repo);
    fs::write(repo.join("refs/main"), one).unwrap();
    assert!(fails(&repo).contains("a model file"));
}

#[test]
fn a_cache_that_names_no_snapshot_lists_those_that_there_are() {
    let root = tempfile::tempdir().unwrap();
    let repo = cache(&root.path().join("a"), &["one", "two"], None);
    let error = fails(&repo);
    assert!(error.contains("one, two") && error.contains("no refs/main"), "{error}");
    let repo = cache(&root.path().join("b"), &["one"], Some("gone"));
    let error = fails(&repo);
    assert!(error.contains("\"gone\", which is not there (there are: one)"), "{error}");
    for hostile in ["../../../etc", "", "a\u{1b}[2J", &"x".repeat(1000)] {
        let repo = cache(&root.path().join(format!("c{}", hostile.len())), &["one"], Some(hostile));
        let error = fails(&repo);
        assert!(error.contains("refs/main") && !error.chars().any(char::is_control), "{error}");
    }
    let repo = cache(&root.path().join("d"), &[], None);
    fs::create_dir(repo.join("snapshots")).unwrap();
    assert!(fails(&repo).contains("without a snapshot"));
}

#[cfg(unix)]
mod links {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_of_links_into_a_store_is_the_folder_they_lead_to() {
        let root = tempfile::tempdir().unwrap();
        let (store, linked) = (root.path().join("store"), root.path().join("linked"));
        fs::create_dir(&store).unwrap();
        fs::create_dir(&linked).unwrap();
        write(&store, &TinyModel::new().files()).unwrap();
        for (i, name) in TinyModel::new().files().into_keys().enumerate() {
            // Relative ones, absolute ones, and links to links.
            match i {
                0 => symlink(Path::new("../store").join(&name), linked.join(&name)).unwrap(),
                _ => {
                    symlink(store.join(&name), root.path().join(format!("hop-{name}"))).unwrap();
                    symlink(Path::new("..").join(format!("hop-{name}")), linked.join(&name)).unwrap();
                }
            }
        }
        model_in(&linked);
        model_in(&linked.join(WEIGHTS));
        symlink(&linked, root.path().join("link-to-the-folder")).unwrap();
        model_in(&root.path().join("link-to-the-folder"));
        let gguf = root.path().join("sha256-77");
        fs::write(&gguf, TinyModel::new().gguf().bytes()).unwrap();
        symlink(&gguf, root.path().join("m.gguf")).unwrap();
        model_in(&root.path().join("m.gguf"));
    }

    #[test]
    fn a_link_to_anything_but_a_regular_file_is_named_and_not_opened() {
        let folder = folder();
        let link = folder.path().join("tokenizer.json");
        let set = |target: &str| {
            let _ = fs::remove_file(&link);
            symlink(target, &link).unwrap();
        };
        for (target, says) in [
            ("/dev/zero", "no regular file"),
            ("/dev/stdin", "tokenizer.json"),
            ("/proc/self/environ", "a file of the system"),
            ("..", "a folder"),
            ("nowhere", "not there"),
            ("tokenizer.json", "tokenizer.json"),
        ] {
            set(target);
            let start = std::time::Instant::now();
            let error = fails(folder.path());
            assert!(error.contains(says) && error.contains("tokenizer.json"), "{target}: {error}");
            assert!(start.elapsed().as_secs() < 5, "{target}");
        }
        // A pipe would wait for ever.
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        set("pipe");
        assert!(fails(folder.path()).contains("no regular file"));
        fs::remove_file(&link).unwrap();
        fs::rename(&pipe, folder.path().join("chat_template.jinja")).unwrap();
        assert!(fails(folder.path()).contains("chat_template.jinja"));
        let dangling = folder.path().join("m.gguf");
        symlink("nowhere", &dangling).unwrap();
        let error = fails(&dangling);
        assert!(error.contains("a link to \"nowhere\", which is not there"), "{error}");
    }

    #[test]
    fn a_named_link_to_a_file_of_the_system_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["m.gguf", "m.safetensors", "adapter_model.safetensors"] {
            let link = folder.path().join(name);
            symlink("/proc/self/environ", &link).unwrap();
            let error = match name {
                "adapter_model.safetensors" => FileSet::adapter_from_path(&link).err().unwrap().to_string(),
                _ => fails(&link),
            };
            assert!(error.contains("a file of the system") && error.contains(name), "{error}");
        }
    }

    #[test]
    fn another_model_is_not_taken_for_one_that_cannot_be_read() {
        for name in [WEIGHTS, "model.safetensors.index.json"] {
            let folder = folder();
            fs::rename(folder.path().join(WEIGHTS), folder.path().join("old.safetensors")).unwrap();
            model_in(folder.path());
            symlink("nowhere", folder.path().join(name)).unwrap();
            let error = fails(folder.path());
            assert!(error.contains(name) && error.contains("not there"), "{error}");
        }
    }

    #[test]
    fn a_cache_leads_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let repo = cache(root.path(), &["one"], Some("one"));
        // The text of one must not get into a message, and the other has no end.
        for target in ["/proc/self/environ", "/proc/self/pagemap", "/dev/zero"] {
            fs::remove_file(repo.join("refs/main")).unwrap();
            symlink(target, repo.join("refs/main")).unwrap();
            let error = fails(&repo);
            assert!(error.contains("refs/main") && error.contains(target), "{error}");
            assert!(!error.contains("PATH="), "{error}");
        }
        fs::remove_file(repo.join("refs/main")).unwrap();
        fs::remove_dir_all(repo.join("snapshots/one")).unwrap();
        let elsewhere = folder();
        symlink(elsewhere.path(), repo.join("snapshots/one")).unwrap();
        assert!(fails(&repo).contains("without a snapshot"));
    }
}

#[test]
fn a_label_is_that_of_the_folder_or_file() {
    let folder = folder();
    let file = ModelFile::open_path(folder.path()).unwrap();
    assert_eq!(Some(file.label()), folder.path().file_name().and_then(|name| name.to_str()));
    assert_eq!(ModelFile::open_path(&folder.path().join(WEIGHTS)).unwrap().label(), WEIGHTS);
}
