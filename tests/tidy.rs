//! The rules of the house that a program can check. Each is a function of text, so that it can be shown to complain.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use killick::kernels::KERNELS;

/// WGSL's reserved words: browsers reject them as names, naga does not reject all.
const RESERVED: &str = "NULL Self abstract active alignas alignof as asm asm_fragment async attribute auto await become cast catch class co_await co_return co_yield coherent column_major common compile compile_fragment concept const_cast consteval constexpr constinit crate debugger decltype delete demote demote_to_helper do dynamic_cast enum explicit export extends extern external fallthrough filter final finally friend from fxgroup get goto groupshared highp impl implements import inline instanceof interface layout lowp macro macro_rules match mediump meta mod module move mut mutable namespace new nil noexcept noinline nointerpolation non_coherent noncoherent noperspective null nullptr of operator package packoffset partial pass patch pixelfragment precise precision premerge priv protected pub public readonly ref regardless register reinterpret_cast require resource restrict self set shared sizeof smooth snorm static static_assert static_cast std subroutine super target template this thread_local throw trait try type typedef typeid typename typeof union unless unorm unsafe unsized use using varying virtual volatile wgsl where with writeonly yield";

/// Bytes and lines a source file may have.
const MOST_BYTES: usize = 40 << 10;
const MOST_RUST_LINES: usize = 500;
const MOST_WGSL_LINES: usize = 300;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` with one of the endings, as paths from the root, with their text.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    let keep = |path: &PathBuf| endings.iter().any(|ending| path.extension().is_some_and(|e| e == *ending));
    let name = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    found
        .iter()
        .filter(|path| keep(path))
        .map(|path| (name(path), std::fs::read_to_string(path).unwrap()))
        .collect()
}

fn sources() -> Vec<(String, String)> {
    ["src", "tests", "examples", "wasm/src", "tools/glue/src"]
        .iter()
        .flat_map(|folder| files(folder, &["rs"]))
        .collect()
}

fn shaders() -> Vec<(String, String)> {
    files("shaders", &["wgsl"])
}

/// The text without comments and without its unit tests.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    body.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect()
}

/// Asserts that no file breaks the rule, and that the rule sees a breach.
fn hold(what: &str, files: &[(String, String)], breaks: impl Fn(&str) -> bool, breach: &str) {
    assert!(breaks(breach), "the rule \"{what}\" does not see {breach:?}");
    let broken: Vec<_> =
        files.iter().filter(|(_, text)| breaks(text)).map(|(name, _)| name.as_str()).collect();
    assert!(broken.is_empty(), "{what}: {broken:?}");
}

fn but(files: Vec<(String, String)>, places: &[&str]) -> Vec<(String, String)> {
    files.into_iter().filter(|(name, _)| !places.iter().any(|place| name.starts_with(place))).collect()
}

#[test]
fn only_the_gpu_room_names_wgpu() {
    let others = but(files("src", &["rs"]), &["src/gpu/"]);
    hold("names wgpu", &others, |text| words(&code(text)).contains("wgpu"), "fn f(device: &wgpu::Device) {}");
}

#[test]
fn a_kernel_is_four_files_and_a_row() {
    let stems = |folder: &str, ending: &str, not: &[&str]| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        entries
            .filter(|path| path.extension().is_some_and(|e| e == ending))
            .map(stem)
            .filter(|s| !not.contains(&s.as_str()))
            .collect()
    };
    let table: BTreeSet<String> = KERNELS.iter().map(|kernel| kernel.name.to_owned()).collect();
    assert_eq!(table.len(), KERNELS.len(), "a kernel is listed twice");
    assert_eq!(stems("shaders", "wgsl", &[]), table, "shaders/");
    assert_eq!(stems("src/kernels", "rs", &["mod", "weight"]), table, "src/kernels/");
    assert_eq!(stems("src/reference", "rs", &["mod"]), table, "src/reference/");
    assert_eq!(stems("tests/kernels", "rs", &[]), table, "tests/kernels/");
}

#[test]
fn the_ring_is_integers_and_allocates_nothing_later() {
    let room = files("src/kv", &["rs"]);
    let floats = |text: &str| !words(&code(text)).is_disjoint(&BTreeSet::from(["f32", "f64"]));
    hold("floats in kv", &room, floats, "let x: f32 = 0.0;");
    let ring: Vec<_> = room.into_iter().filter(|(name, _)| name.ends_with("ring.rs")).collect();
    let allocates = |text: &str| {
        let code = code(text);
        let body = code.split("    pub fn layout").nth(1).unwrap_or(&code).to_owned();
        ["vec!", "Vec::", ".push(", ".collect", "Box::new", "format!", ".to_vec()"]
            .iter()
            .any(|word| body.contains(word))
    };
    hold("allocation after Ring::new", &ring, allocates, "self.slots.push(1)");
}

#[test]
fn the_forward_pass_holds_no_arithmetic_of_formats() {
    let llama: Vec<_> =
        files("src/model", &["rs"]).into_iter().filter(|(name, _)| name.ends_with("llama.rs")).collect();
    assert_eq!(llama.len(), 1);
    let breaks = |text: &str| {
        ["* 4", "@group", "WeightFormat", "size_of"].iter().any(|word| code(text).contains(word))
    };
    hold("formats in llama.rs", &llama, breaks, "let bytes = n * 4;");
}

#[test]
fn the_library_prints_nothing() {
    let library = but(files("src", &["rs"]), &["src/cli/", "src/main.rs"]);
    let prints =
        |text: &str| ["println!", "eprintln!", "print!", "dbg!"].iter().any(|word| code(text).contains(word));
    hold("prints", &library, prints, "println!(\"hello\");");
}

#[test]
fn files_stay_small_and_say_what_they_are() {
    for (name, text) in sources() {
        assert!(text.len() <= MOST_BYTES && text.lines().count() <= MOST_RUST_LINES, "{name} is too long");
        assert!(text.starts_with("//!"), "{name} does not say what it is");
    }
    for (name, text) in shaders() {
        assert!(text.lines().count() <= MOST_WGSL_LINES, "{name} is too long");
        assert!(text.trim_start().starts_with("//"), "{name} does not say what it computes");
    }
}

#[test]
fn nothing_is_ignored_or_left_to_do() {
    // Written in two halves, or this file would break its own rule.
    let (ignore, panic) = (["#[", "ignore"].concat(), ["#[", "should_panic"].concat());
    let todo = ["TO", "DO"].concat();
    let breaks =
        |text: &str| text.contains(&ignore) || text.contains(&panic) || words(text).contains(todo.as_str());
    hold("ignored tests or things to do", &sources(), breaks, &format!("// {todo}: later"));
    hold("things to do", &shaders(), breaks, &format!("// {todo}: later"));
}

#[test]
fn text_is_clean() {
    let documents = files("docs", &["md"]);
    let all: Vec<_> = [sources(), shaders(), documents, files("scripts", &["sh"])].concat();
    hold("trailing spaces", &all, |text| text.lines().any(|line| line != line.trim_end()), "a \nb\n");
    hold("no newline at the end", &all, |text| !text.ends_with('\n'), "a");
    // Written in two halves, or this file would break its own rule.
    let places = [["/ro", "ot/"].concat(), ["/wo", "rk/"].concat()];
    let names = |text: &str| places.iter().any(|place| text.contains(place.as_str()));
    hold("a path of somebody's machine", &all, names, &places[0]);
}

#[test]
fn shaders_use_no_reserved_word_as_a_name() {
    let reserved: BTreeSet<&str> = RESERVED.split_whitespace().collect();
    assert!(reserved.len() > 100, "the list is not whole");
    hold("reserved words", &shaders(), |text| !words(&code(text)).is_disjoint(&reserved), "let from = 1u;");
}

#[test]
fn every_file_of_test_data_has_a_line() {
    let list = std::fs::read_to_string(root().join("tests/data/README.md")).unwrap();
    let missing = |name: &str| {
        !list.contains(name) && !list.contains(name.rsplit_once('/').map_or(name, |(folder, _)| folder))
    };
    assert!(missing("nobody/knows.json"), "the rule does not see a missing line");
    for (name, _) in files("tests/data", &["json"]) {
        let name = name.strip_prefix("tests/data/").unwrap();
        assert!(!missing(name), "tests/data/README.md has no line for {name}");
    }
}
