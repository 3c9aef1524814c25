# Thin verbs; the work is in tools/ and CMake. `make up` is the first thing to try.
SHELL := /bin/bash
PRESET ?= release
BUILD := build/$(PRESET)
PORTABLE ?= 0
export PORTABLE

.DEFAULT_GOAL := help
.PHONY: help setup build up down test test-vllm lint bench bench-system fuzz docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s  %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing: Debian packages, llama.cpp, the model, test clients
	@tools/deps.sh all

build: ## build build/release/bin/sluice (PRESET=dev|asan|tsan for others, PORTABLE=1 for any x86-64-v3 machine)
	@tools/build.sh $(PRESET)

up: ## build if needed, then start the platform with the packaged model (ARGS="--replicas 3 --detach")
	@tools/build.sh $(PRESET) sluice
	@exec $(BUILD)/bin/sluice up $(ARGS)

down: ## stop what `make up ARGS=--detach` left running
	@$(BUILD)/bin/sluice down

test: setup ## build everything and run every test (ONLY=net for a part, PRESET=asan|tsan with sanitizers)
	@tools/build.sh $(PRESET)
	@build/venv/bin/python tools/run_tests.py --build $(BUILD) --only "$(ONLY)"

test-vllm: setup ## a real vLLM (CPU build; 6 GB, minutes) beside our worker: are its caches predicted exactly?
	@tools/build.sh $(PRESET) sluice
	@SLUICE_REAL_VLLM=1 build/venv/bin/python tools/run_tests.py --build $(BUILD) --only real_vllm

lint: build ## formatting, the rules of test/hygiene, clang-tidy over what changed (ALL=1: over everything)
	@tools/deps.sh test-packages && tools/deps.sh python
	@build/venv/bin/python tools/run_tests.py --build $(BUILD) --only hygiene
	@tools/lint.sh $(if $(ALL),--all)

bench: build ## run the benchmarks and write docs/perf/ (NAMES="gateway worker" for some)
	@bench/run.py $(NAMES)

bench-system: build ## measure beside other routers, which bench/peers.sh installs from the network (ARGS="--only sluice,nginx")
	@bench/peers.sh || true
	@bench/run.py system $(ARGS)

fuzz: ## fuzz each parser of foreign bytes (SECONDS_EACH=30)
	@tools/build.sh asan
	@tools/fuzz.sh build/asan $(or $(SECONDS_EACH),30)

docs: build ## generate docs/reference
	@tools/docs.sh $(BUILD)

clean: ## remove build folders (the cache of sources, model and native archives stays)
	@rm -rf build
