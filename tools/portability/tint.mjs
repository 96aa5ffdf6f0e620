// Shows WGSL to Tint, the compiler of Chromium, through Dawn without a driver, at WebGPU's least limits: the module, its
// messages, and the pipeline. Messages count as failures: a warning of today is an error of tomorrow.
//
//   node tint.mjs DIR     what DIR/list.tsv names (file, tab, entry point); run where node_modules/webgpu is.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(`${process.cwd()}/`);
const { create, globals } = await import(pathToFileURL(require.resolve('webgpu')).href);
Object.assign(globalThis, globals);

const dir = process.argv[2];
// Held by the module for as long as it runs: Dawn's objects do not keep their instance alive.
globalThis.gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
const subgroups = adapter.features.has('subgroups');
const f16 = adapter.features.has('shader-f16');
// No limits are asked for, so the device has the least.
const device = await adapter.requestDevice({ requiredFeatures: ['subgroups', 'shader-f16'].filter((name) => adapter.features.has(name)) });

// What is wrong with a shader; an empty text if nothing is.
async function complaints(code, entryPoint) {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const info = await module.getCompilationInfo();
  const lines = info.messages.map((m) => `${m.type} ${m.lineNum}:${m.linePos} ${m.message}`);
  const ofModule = await device.popErrorScope();
  if (ofModule) return [...lines, ofModule.message].join('\n');
  try {
    await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint } });
  } catch (error) {
    lines.push(error.message);
  }
  return lines.join('\n');
}

let passed = 0, failed = 0, skipped = 0;
for (const line of readFileSync(`${dir}/list.tsv`, 'utf8').trim().split('\n')) {
  const [name, entry] = line.split('\t');
  const text = readFileSync(`${dir}/${name}`, 'utf8');
  const uses = /\bsubgroup\w+\(/.test(text);
  if ((uses && !subgroups) || (text.startsWith('enable f16;') && !f16)) {
    skipped++;
    continue;
  }
  // Browsers demand the directive, which naga 30 does not know.
  const found = await complaints(uses ? `enable subgroups;\n${text}` : text, entry);
  if (found) {
    failed++;
    console.log(`FAIL ${name}: ${found.slice(0, 1500)}`);
  } else {
    passed++;
  }
}
if (skipped) console.log(`${skipped} with subgroups or 16-bit floats were not shown: this build of Dawn offers them not without a driver`);
console.log(`tint: ${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);
