//! The rules of the house that a program can check. Each is a function of text, so that it can be shown to complain.

#![allow(clippy::print_stdout, reason = "the graph of rooms is part of a test's report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use killick::kernels::IMPLEMENTATIONS;

/// WGSL's reserved words: browsers reject them as names, naga does not reject all.
const RESERVED: &str = "NULL Self abstract active alignas alignof as asm asm_fragment async attribute auto await become cast catch class co_await co_return co_yield coherent column_major common compile compile_fragment concept const_cast consteval constexpr constinit crate debugger decltype delete demote demote_to_helper do dynamic_cast enum explicit export extends extern external fallthrough filter final finally friend from fxgroup get goto groupshared highp impl implements import inline instanceof interface layout lowp macro macro_rules match mediump meta mod module move mut mutable namespace new nil noexcept noinline nointerpolation non_coherent noncoherent noperspective null nullptr of operator package packoffset partial pass patch pixelfragment precise precision premerge priv protected pub public readonly ref regardless register reinterpret_cast require resource restrict self set shared sizeof smooth snorm static static_assert static_cast std subroutine super target template this thread_local throw trait try type typedef typeid typename typeof union unless unorm unsafe unsized use using varying virtual volatile wgsl where with writeonly yield";

/// Bytes and lines a source file may have.
const MOST_BYTES: usize = 40 << 10;
const MOST_RUST_LINES: usize = 500;
const MOST_WGSL_LINES: usize = 300;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Folders that tools fill and git ignores (.gitignore), and git's own.
const NOT_OURS: [&str; 5] = ["target", "node_modules", "pkg", "__pycache__", ".git"];

/// All files below `folder`, as paths from the root.
fn paths(folder: &str) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let ours = path.file_name().is_some_and(|name| !NOT_OURS.iter().any(|other| name == *other));
            if path.is_dir() && ours {
                walk(&path, found);
            } else if path.is_file() && ours {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found.iter().map(|path| path.strip_prefix(root()).unwrap().display().to_string()).collect()
}

/// All files below `folder` with one of the endings, with their text.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let keep =
        |name: &String| endings.iter().any(|end| Path::new(name).extension().is_some_and(|e| e == *end));
    let text = |name: String| {
        let text = std::fs::read_to_string(root().join(&name)).unwrap();
        (name, text)
    };
    paths(folder).into_iter().filter(keep).map(text).collect()
}

/// Every file of the tree that is text and written by hand.
fn tree() -> Vec<(String, String)> {
    let made = ["tests/data/", "fuzz/corpus/", "fuzz/found/", "models/"];
    let by_hand =
        |name: &String| !made.iter().any(|folder| name.starts_with(folder)) || name.ends_with(".md");
    let text = |name: String| std::fs::read_to_string(root().join(&name)).ok().map(|text| (name, text));
    let tree: Vec<_> = paths("").into_iter().filter(by_hand).filter_map(text).collect();
    assert!(tree.iter().any(|(name, _)| name == "Makefile") && tree.len() > 100, "{} files", tree.len());
    tree
}

fn sources() -> Vec<(String, String)> {
    ["src", "tests", "benches", "examples", "fuzz", "wasm/src", "tools/glue/src"]
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
    let programs = ["src", "wasm/src", "examples"].iter().flat_map(|folder| files(folder, &["rs"])).collect();
    let others = but(programs, &["src/gpu/"]);
    hold("names wgpu", &others, |text| words(&code(text)).contains("wgpu"), "fn f(device: &wgpu::Device) {}");
}

#[test]
fn an_op_has_its_files_and_an_implementation_its_shader() {
    let stems = |folder: &str, ending: &str, not: &[&str]| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        entries
            .filter(|path| path.extension().is_some_and(|e| e == ending))
            .map(stem)
            .filter(|s| !not.contains(&s.as_str()))
            .collect()
    };
    let table: BTreeSet<String> = IMPLEMENTATIONS.iter().map(|one| one.kernel.op.to_owned()).collect();
    let kernels: BTreeSet<String> = IMPLEMENTATIONS.iter().map(|one| one.kernel.name.to_owned()).collect();
    let listed: BTreeSet<_> = IMPLEMENTATIONS.iter().map(|one| (one.kernel.op, one.kernel.name)).collect();
    assert_eq!(listed.len(), IMPLEMENTATIONS.len(), "an implementation is listed twice");
    assert_eq!(stems("shaders", "wgsl", &[]), kernels, "shaders/");
    assert_eq!(
        stems("src/kernels", "rs", &["mod", "cache_layout", "choose", "implementation", "product"]),
        table,
        "src/kernels/"
    );
    assert_eq!(stems("src/reference", "rs", &["mod"]), table, "src/reference/");
    assert_eq!(stems("tests/kernels", "rs", &[]), table, "tests/kernels/");
    // A test file that no program declares is not compiled, and so never fails.
    let program = std::fs::read_to_string(root().join("tests/gpu_kernels.rs")).unwrap();
    let silent: Vec<_> = table.iter().filter(|stem| !program.contains(&format!("mod {stem};"))).collect();
    assert!(silent.is_empty(), "tests/gpu_kernels.rs does not declare {silent:?}");
}

/// The rooms in the order of ARCHITECTURE.md.
const ROOMS: [&str; 19] = [
    "model_file",
    "kv",
    "tokenizer",
    "policy_options",
    "sampling",
    "gpu",
    "kernels",
    "reference",
    "model",
    "convert",
    "session",
    "generate",
    "score",
    "eval",
    "bench",
    "error",
    "chat",
    "engine",
    "cli",
];

/// What the code of `text` names of the library's root: rooms, or what is none; the empty name for an import of several at once.
fn named(text: &str) -> Vec<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    code(text).split("crate::").skip(1).map(name).collect()
}

/// What `text`, a file of `room`, names although it is no room, or one that lies below.
fn reaches_down(room: &str, text: &str) -> Option<String> {
    let place = |room: &str| ROOMS.iter().position(|r| *r == room);
    named(text).into_iter().find(|named| place(named).is_none_or(|other| Some(other) > place(room)))
}

#[test]
fn a_room_uses_only_the_rooms_above_it() {
    assert_eq!(reaches_down("kv", "use crate::gpu::Gpu;").as_deref(), Some("gpu"));
    assert_eq!(reaches_down("gpu", "use crate::{kv, model};").as_deref(), Some(""));
    assert_eq!(reaches_down("sampling", "use crate::error::Error;").as_deref(), Some("error"));
    assert_eq!(reaches_down("session", "fn f() -> crate::Error {").as_deref(), Some("Error"));
    assert_eq!(reaches_down("model", "use crate::kernels::rope; // crate::cli"), None);
    let mut files_of = ROOMS.map(|room| (room, 0));
    let mut graph: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for (name, text) in files("src", &["rs"]) {
        let room = name.split(['/', '.']).nth(1).unwrap();
        let Some((_, count)) = files_of.iter_mut().find(|(r, _)| *r == room) else { continue };
        *count += 1;
        assert_eq!(reaches_down(room, &text), None, "{name}");
        let used = graph.entry(ROOMS.iter().position(|r| *r == room).unwrap_or_default()).or_default();
        used.extend(named(&text).into_iter().filter(|other| other != room));
    }
    for (room, used) in graph {
        println!("{:<14} uses {}", ROOMS[room], used.into_iter().collect::<Vec<_>>().join(", "));
    }
    assert!(files_of.iter().all(|(_, count)| *count > 0), "a room is missing: {files_of:?}");
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
    let (rust, wgsl) = (sources(), shaders());
    let long = |text: &str, lines: usize| text.len() > MOST_BYTES || text.lines().count() > lines;
    hold("too long", &rust, |text| long(text, MOST_RUST_LINES), &"\n".repeat(MOST_RUST_LINES + 1));
    hold("too long", &rust, |text| long(text, MOST_RUST_LINES), &" ".repeat(MOST_BYTES + 1));
    hold("too long", &wgsl, |text| long(text, MOST_WGSL_LINES), &"\n".repeat(MOST_WGSL_LINES + 1));
    hold("does not say what it is", &rust, |text| !text.starts_with("//! "), "// A note.\nfn f() {}\n");
    hold("does not say what it computes", &wgsl, |text| !text.trim_start().starts_with("// "), "fn f() {}\n");
}

#[test]
fn nothing_is_ignored_or_left_to_do() {
    // Written in two halves, or this file would break its own rule.
    let attributes = [["#[", "ignore"].concat(), ["#[", "should_panic"].concat()];
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let breaks = |text: &str| {
        attributes.iter().any(|attribute| text.contains(attribute.as_str()))
            || marks.iter().any(|mark| words(text).contains(mark.as_str()))
    };
    for mark in &marks {
        hold("ignored tests or things to do", &sources(), breaks, &format!("// {mark}: later"));
        hold("things to do", &shaders(), breaks, &format!("// {mark}: later"));
    }
    for attribute in &attributes {
        hold("ignored tests", &sources(), breaks, &format!("#[test]\n{attribute}]"));
    }
}

#[test]
fn text_is_clean() {
    let all = tree();
    hold("trailing spaces", &all, |text| text.lines().any(|line| line != line.trim_end()), "a \nb\n");
    hold("no newline at the end", &all, |text| !text.ends_with('\n'), "a");
    // Written in two halves, or this file would break its own rule.
    let places = [["/ro", "ot/"].concat(), ["/wo", "rk/"].concat()];
    let hosts =
        [["py", "pi.org"], ["python", "hosted.org"], ["registry.", "npmjs.org"], ["static.", "crates.io"]];
    let hosts = hosts.map(|halves| halves.concat());
    for (what, names) in
        [("a path of somebody's machine", &places[..]), ("the host of a registry", &hosts[..])]
    {
        for name in names {
            hold(what, &all, |text| text.contains(name.as_str()), &format!("see {name}simple"));
        }
    }
}

#[test]
fn shaders_use_no_reserved_word_as_a_name() {
    let reserved: BTreeSet<&str> = RESERVED.split_whitespace().collect();
    assert!(reserved.len() > 100, "the list is not whole");
    hold("reserved words", &shaders(), |text| !words(&code(text)).is_disjoint(&reserved), "let from = 1u;");
}

/// Whether the code compares with a number below 1 that it types itself, or gives one that is smaller yet a name.
fn types_a_tolerance(text: &str) -> bool {
    let code = code(text);
    let is_small = |rest: &str, most: f64| {
        let number = rest.trim_start().chars().take_while(|c| c.is_ascii_digit() || ".e-".contains(*c));
        number.collect::<String>().parse::<f64>().is_ok_and(|number| 0.0 < number && number < most)
    };
    let compares = code.match_indices(['<', '>']).any(|(at, _)| {
        // The arrows of types and of matches end in the same character.
        let is_arrow = code[..at].ends_with(['-', '=']);
        let rest = &code[at + 1..];
        !is_arrow && is_small(rest.strip_prefix('=').unwrap_or(rest), 1.0)
    });
    // Inputs of kernels are f32; what they are compared with is f64.
    let mut constants =
        code.lines().filter(|line| line.contains("const ")).filter_map(|line| line.split_once(": f64 = "));
    compares || constants.any(|(_, value)| is_small(value, 0.1))
}

#[test]
fn tolerances_stand_in_one_table() {
    // Written in halves, or this file would break its own rule.
    let halves = [
        ["assert!((a - b).abs() <", " 1e-4);"],
        ["off > 10.0 && off >= ", "0.1 "],
        ["const NATS: f64 =", " 2e-3;"],
    ];
    for breach in halves.map(|halves| halves.concat()) {
        hold("a tolerance outside docs/numerics.md", &files("tests", &["rs"]), types_a_tolerance, &breach);
    }
    let sound = "const EPS: f32 = 1e-5; x < bound(TOKEN) && y > 0.0 && z > 100.0 * bound(TOKEN) // < 0.1";
    assert!(!types_a_tolerance(sound), "the rule sees a breach where there is none");
}

/// Whether an entry of the list stands for the file: its name, its folder, or all files of an ending in a folder.
fn stands_for(entry: &str, file: &str) -> bool {
    match entry.split_once('*') {
        Some((folder, ending)) => file.starts_with(folder) && file.ends_with(ending),
        None => entry == file || (entry.ends_with('/') && file.starts_with(entry)),
    }
}

#[test]
fn every_file_of_test_data_has_a_line() {
    let list = std::fs::read_to_string(root().join("tests/data/README.md")).unwrap();
    // The first column names files between backticks.
    let rows =
        list.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| row.split('|').next().unwrap());
    let entries: Vec<&str> =
        rows.flat_map(|names| names.split('`').step_by(2)).filter(|e| !e.trim().is_empty()).collect();
    let listed = |file: &str| entries.iter().any(|entry| stands_for(entry, file));
    assert!(
        !listed("tiny/nobody-knows.json") && !listed("dequant/notes.txt"),
        "the rule does not see a missing line"
    );
    let files = paths("tests/data");
    let files: Vec<&str> = files.iter().map(|name| name.strip_prefix("tests/data/").unwrap()).collect();
    for file in files.iter().filter(|file| **file != "README.md") {
        assert!(listed(file), "tests/data/README.md has no line for {file}");
        let bytes = std::fs::metadata(root().join("tests/data").join(file)).unwrap().len();
        assert!(bytes <= 1 << 20, "{file} is larger than 1 MiB");
    }
    for entry in &entries {
        assert!(files.iter().any(|file| stands_for(entry, file)), "tests/data has nothing like {entry}");
    }
}
