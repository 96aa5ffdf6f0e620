# Every target is a line or two; what it does is in scripts/, where it can be run by hand as well.
# All that is built or fetched lies in ${XDG_CACHE_HOME:-~/.cache}/killick, outside the tree.

SHELL := bash
.DEFAULT_GOAL := help
# One step at a time: two cargo runs on one target folder only wait for each other.
.NOTPARALLEL:
.PHONY: help run model setup test test-full fmt lint docs unit kernels test-portability test-lavapipe test-baseline test-family test-widths test-lavapipe-system test-model test-swiftshader test-wasm test-browser web serve-web bench-host callgrind fuzz wasm node train train-check adapt clean

IN_CACHE := . scripts/env.sh && use_cargo &&
# Cheap steps first, so that a slip shows early.
STEPS := fmt clippy docs unit portability lavapipe baseline family widths lavapipe-system model swiftshader wasm browser

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

run: ## Install what is missing and let two models write: the embedded one, then SmolLM2-135M-Instruct
	@scripts/setup.sh run
	$(IN_CACHE) use_newer_lavapipe && LP_NUM_THREADS=$${LP_NUM_THREADS-0} cargo run --locked --release -- generate "The Lord is" --temperature 0.8 --top-p 0.95 --max-tokens 60 --stats
	@scripts/fetch-model.sh >/dev/null
	$(IN_CACHE) use_newer_lavapipe && cargo run --locked --release -- generate "Write one sentence about the sea." --chat --model "$$model" --max-tokens 40 --temperature 0 --stats

model: ## Fetch the model alone; prints its path
	@scripts/fetch-model.sh

setup: ## Install what the tests need
	@scripts/setup.sh test

test: setup ## The whole suite (30 to 45 minutes warm on two cores, by their speed and what runs beside)
	@scripts/fetch-model.sh >/dev/null
	@scripts/test.sh $(STEPS)

test-full: setup ## The same with the long matrices that tests run under KILLICK_FULL=1 (hours)
	@scripts/fetch-model.sh >/dev/null
	@KILLICK_FULL=1 PROPTEST_CASES=10000 scripts/test.sh $(STEPS)

fmt: ## Format the code
	cargo fmt --all

lint: ## Formatting and clippy
	@scripts/test.sh fmt clippy

docs: ## The library's documentation, warnings denied
	@scripts/test.sh docs

unit: ## All tests that need no GPU
	@scripts/test.sh unit

kernels: ## The kernels alone, on lavapipe
	@scripts/test.sh kernels

test-portability: ## Every kernel variant through the compilers of Metal, DX12, Vulkan and browsers, no GPU needed
	@scripts/test.sh portability

test-lavapipe: ## Kernels and tiny models on Mesa's lavapipe
	@scripts/test.sh lavapipe

test-baseline: ## The same with WebGPU's default limits and no optional feature
	@scripts/test.sh baseline

test-family: ## Whole models with the kernels for real GPUs, on lavapipe
	@scripts/test.sh family

test-widths: ## Kernels with subgroups of 4 and of 16 lanes
	@scripts/test.sh widths

test-lavapipe-system: ## Kernels and the decode loop on the system's lavapipe, where the other steps have a newer one
	@scripts/test.sh lavapipe-system

test-model: model ## SmolLM2 against PyTorch's figures, on lavapipe
	@scripts/test.sh model

test-swiftshader: ## Kernels and tiny models on SwiftShader
	@scripts/test.sh swiftshader

bench-host: ## Time what the host does beside the device, or one piece: make bench-host PIECE=ring
	$(IN_CACHE) { [ ! -e "$$model" ] || export KILLICK_MODEL="$$model"; } && cargo bench --locked --bench host -- $(PIECE)

callgrind: ## Count the instructions of the host's own code in a decoded token
	@scripts/setup.sh callgrind
	@scripts/callgrind.sh

fuzz: ## Run the fuzzers, or one: make fuzz TARGET=gguf SECONDS_EACH=600
	@scripts/fuzz.sh "$(or $(TARGET),all)" "$(or $(SECONDS_EACH),60)"

test-wasm: ## Build for the browser and score a tiny model with it under Node.js
	@scripts/test.sh wasm

test-browser: model ## The package and the page in Chromium and Firefox
	@scripts/test.sh browser

wasm: ## Compile the engine for the browser; prints the folder of the result
	@scripts/setup.sh web
	@scripts/build-wasm.sh

web: ## Build the page and the package; prints the folder, which any host can serve
	@scripts/setup.sh web
	@scripts/build-web.sh

serve-web: ## Build the page and serve it on this machine: make serve-web PORT=8080
	@scripts/setup.sh web
	@site=$$(scripts/build-web.sh) && node web/serve.mjs "$$site" "$(or $(PORT),8080)"

node: ## Install the Node.js packages of the tests; prints their folder
	@scripts/npm.sh

train: ## Train the anchor model and its controls, in the background's time; can be cut and goes on
	@tools/train/run.sh

train-check: ## The first 200 steps of that training again, every loss within 1 % of the recorded one
	@tools/train/run.sh check

adapt: ## Train the adapter for SmolLM2 and its opponent, an hour each time; can be cut and goes on
	@tools/adapt/run.sh

clean: ## Remove this checkout's build results (models stay)
	$(IN_CACHE) cargo clean
