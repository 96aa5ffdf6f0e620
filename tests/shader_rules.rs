//! Rules of the shaders that the drivers of this machine would let pass, and others would not; checked on naga's own form of
//! every variant. Each rule is shown to see a breach. `make test-portability` asks the other compilers themselves.
//!
//! That no barrier stands in varying control flow is not judged here: naga knows too little of uniformity. Tint does it.

use std::collections::BTreeSet;

use killick::kernels::IMPLEMENTATIONS;
use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{
    AddressSpace, Binding, Block, BuiltIn, Expression, Function, Handle, Module, Statement, TypeInner,
};

#[path = "support/shader.rs"]
mod shader;

/// What a rule says of one module: nothing, or what breaks it.
type Rule = fn(&Module, &ModuleInfo) -> Option<String>;

/// Asserts that no variant breaks the rule, and that the rule sees the breach.
fn hold(rule: Rule, breach: &str) {
    let breach = shader::validate(breach, true).unwrap();
    assert!(rule(&breach.0, &breach.1).is_some(), "the rule does not see its breach");
    for one in IMPLEMENTATIONS {
        let kernel = one.kernel;
        for variant in one.variants() {
            let (module, info) = shader::module(kernel, &variant);
            assert_eq!(rule(&module, &info), None, "{}", shader::name(kernel, &variant));
        }
    }
}

fn functions<'a>(module: &'a Module, info: &'a ModuleInfo) -> Vec<(&'a Function, &'a FunctionInfo)> {
    let own = module.functions.iter().map(|(handle, function)| (function, &info[handle]));
    let entries = module.entry_points.iter().enumerate();
    own.chain(entries.map(|(i, entry)| (&entry.function, info.get_entry_point(i)))).collect()
}

/// Calls `see` with every statement, in the order of the text.
fn walk<'a>(block: &'a Block, see: &mut dyn FnMut(&'a Statement)) {
    for statement in block {
        see(statement);
        match statement {
            Statement::Block(block) => walk(block, see),
            Statement::If { accept, reject, .. } => {
                walk(accept, see);
                walk(reject, see);
            }
            Statement::Switch { cases, .. } => cases.iter().for_each(|case| walk(&case.body, see)),
            Statement::Loop { body, continuing, .. } => {
                walk(body, see);
                walk(continuing, see);
            }
            _ => {}
        }
    }
}

/// A store to a component of a vector that is chosen while the shader runs. FXC has to unroll the loop around it, and gives up.
fn chosen_component(module: &Module, info: &ModuleInfo) -> Option<String> {
    let mut found = None;
    for (function, of) in functions(module, info) {
        let is_vector = |pointer: Handle<Expression>| {
            let pointer = of[pointer].ty.inner_with(&module.types).pointer_base_type();
            let inner = pointer.as_ref().map(|ty| ty.inner_with(&module.types));
            matches!(inner, Some(TypeInner::Vector { .. } | TypeInner::Matrix { .. }))
        };
        walk(&function.body, &mut |statement| {
            let Statement::Store { mut pointer, .. } = *statement else { return };
            loop {
                pointer = match function.expressions[pointer] {
                    Expression::Access { base, .. } if is_vector(base) => {
                        found = Some(format!("{:?} stores to a chosen component", function.name));
                        break;
                    }
                    Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => base,
                    _ => break,
                };
            }
        });
    }
    found
}

/// Subgroup built-ins of which none is an argument of its own. naga 30 gives HLSL no value for them then.
fn hidden_subgroup(module: &Module, _: &ModuleInfo) -> Option<String> {
    let is_subgroup = |binding: &Option<Binding>| {
        let Some(Binding::BuiltIn(built_in)) = binding else { return false };
        let of_subgroups = [
            BuiltIn::SubgroupId,
            BuiltIn::SubgroupSize,
            BuiltIn::SubgroupInvocationId,
            BuiltIn::NumSubgroups,
        ];
        of_subgroups.contains(built_in)
    };
    module.entry_points.iter().find_map(|entry| {
        let arguments = &entry.function.arguments;
        let in_struct = arguments.iter().any(|argument| match &module.types[argument.ty].inner {
            TypeInner::Struct { members, .. } => members.iter().any(|member| is_subgroup(&member.binding)),
            _ => false,
        });
        let direct = arguments.iter().any(|argument| is_subgroup(&argument.binding));
        (in_struct && !direct).then(|| format!("{} has subgroup built-ins in a struct alone", entry.name))
    })
}

/// Workgroup memory whose first use, in the order of the text, is not a store: it would hold what another kernel has left, for
/// pipelines are made without zeroing. That all which is read was stored to, and a barrier lies between, is the reader's work.
fn read_before_written(module: &Module, _: &ModuleInfo) -> Option<String> {
    fn root(function: &Function, mut pointer: Handle<Expression>) -> Option<usize> {
        loop {
            pointer = match function.expressions[pointer] {
                Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => base,
                Expression::GlobalVariable(global) => return Some(global.index()),
                _ => return None,
            };
        }
    }
    fn visit(module: &Module, function: &Function, written: &mut BTreeSet<usize>, found: &mut Option<usize>) {
        let shared: BTreeSet<usize> = module
            .global_variables
            .iter()
            .filter(|(_, global)| global.space == AddressSpace::WorkGroup)
            .map(|(handle, _)| handle.index())
            .collect();
        walk(&function.body, &mut |statement| {
            let mut read = |pointer, written: &BTreeSet<usize>| {
                let global = root(function, pointer);
                *found =
                    found.or(global.filter(|global| shared.contains(global) && !written.contains(global)));
            };
            match statement {
                Statement::Emit(range) => {
                    for expression in range.clone() {
                        if let Expression::Load { pointer } = function.expressions[expression] {
                            read(pointer, written);
                        }
                    }
                }
                Statement::Atomic { pointer, .. } | Statement::WorkGroupUniformLoad { pointer, .. } => {
                    read(*pointer, written);
                }
                Statement::Store { pointer, .. } => written.extend(root(function, *pointer)),
                Statement::Call { function, .. } => {
                    visit(module, &module.functions[*function], written, found);
                }
                _ => {}
            }
        });
    }
    let mut found = None;
    for entry in &module.entry_points {
        visit(module, &entry.function, &mut BTreeSet::new(), &mut found);
    }
    found.map(|global| format!("workgroup variable {global} is read before it is written"))
}

#[test]
fn no_shader_stores_to_a_component_chosen_while_it_runs() {
    let breach = "struct S { values: vec4<f32> }
        @group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
        @compute @workgroup_size(1) fn f() {
            var s = S();
            for (var c = 0u; c < 4u; c++) { s.values[c] += 1.0; }
            out[0] = s.values;
        }";
    hold(chosen_component, breach);
    // Neither a component by name nor an element of an array is one.
    let allowed = "@group(0) @binding(0) var<storage, read_write> out: array<vec4<f32>>;
        @compute @workgroup_size(4) fn f(@builtin(local_invocation_index) i: u32) {
            var v = out[i];
            v.y = v[i];
            out[i] = v;
            out[i].x = 1.0;
        }";
    let (module, info) = shader::validate(allowed, false).unwrap();
    assert_eq!(chosen_component(&module, &info), None);
}

#[test]
fn a_subgroup_built_in_is_an_argument_of_its_own() {
    let breach = "struct Lanes { @builtin(subgroup_invocation_id) lane: u32 }
        @group(0) @binding(0) var<storage, read_write> out: array<u32>;
        @compute @workgroup_size(1) fn f(lanes: Lanes) { out[0] = subgroupAdd(lanes.lane); }";
    hold(hidden_subgroup, breach);
}

#[test]
fn workgroup_memory_is_written_before_it_is_read() {
    let breach = "var<workgroup> largest: atomic<u32>;
        @group(0) @binding(0) var<storage, read_write> out: array<u32>;
        fn raise(key: u32) { atomicMax(&largest, key); }
        @compute @workgroup_size(64) fn f(@builtin(local_invocation_index) i: u32) {
            raise(out[i]);
            workgroupBarrier();
            out[i] = atomicLoad(&largest);
        }";
    hold(read_before_written, breach);
}
