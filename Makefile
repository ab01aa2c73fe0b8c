# Sublet: what a person types. `make help` lists it; everything else is in tools/ and `cargo xtask`.
#
# Variables: YES=1 installs missing packages without asking · SETUP=skip never installs anything
#            FORCE=1 builds images again, with whatever versions of packages there are now
#            PROFILE=release builds optimised · SUBLET_CACHE=DIR keeps images, kernel and tools elsewhere

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PROFILE ?= dev
SETUP ?= auto
CARGO ?= cargo
cache := $(or $(SUBLET_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sublet)
target := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
built := $(target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
xtask := $(built)/xtask
# cargo-deny is built once; its version is part of the folder's name.
deny_version := 0.20.2
deny := $(cache)/tools/cargo-deny-$(deny_version)/bin/cargo-deny

# Machines have disks, and /tmp may be memory.
export TMPDIR ?= /var/tmp
# What tests and the demo run. Everything else finds the rest from here.
export SUBLET_BIN := $(built)/sublet
# Asked of the shell: make remembers that a folder was empty, and `npm` fills this one.
export SUBLET_ANVIL = $(shell ls -d $(CURDIR)/node_modules/@foundry-rs/anvil-linux-*/bin/anvil 2>/dev/null)
export SUBLET_GUEST_INIT := $(cache)/images/kernel/init

.PHONY: help
help: ## List what there is to make
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: packages npm build images ## Install what is missing, build, and cache the machine images

.PHONY: packages
packages: ## Install missing Debian packages (tools/packages.txt); asks first on a terminal
	@[ "$(SETUP)" = skip ] || tools/setup packages

.PHONY: npm
npm: ## Install the pinned Solidity compiler, forge and anvil
	@[ "$(SETUP)" = skip ] || tools/setup npm

.PHONY: build
build: packages npm ## Build everything; the binary is bin/sublet, the local chain's bin/anvil
	$(CARGO) build --workspace --profile $(PROFILE)
	@mkdir -p bin && ln -sfn "$(SUBLET_BIN)" bin/sublet
	@[ -z "$(SUBLET_ANVIL)" ] || ln -sfn "$(SUBLET_ANVIL)" bin/anvil

.PHONY: images
images: build ## Build what is missing of the images, the kernel and the initrd into the cache
	@$(xtask) images $(if $(FORCE),--force)
	@$(xtask) guest

.PHONY: images-twice
images-twice: build ## Build every image twice and compare the digests
	@$(xtask) images --twice

.PHONY: demo
demo: build images ## Start a whole local network, run a job on it, rent a machine, and stop it
	@tools/demo

.PHONY: check
check: build $(deny) ## Formatting, lints, layers, licences, contracts: everything that needs no run
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(xtask) tidy
	$(xtask) layers
	@tools/deny "$(deny)"
	tools/contracts check

$(deny):
	@echo "building cargo-deny $(deny_version) once (some minutes)"
	CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=false CARGO_TARGET_DIR="$(target)/cargo-deny" \
	  $(CARGO) install cargo-deny --version $(deny_version) --locked --quiet --root "$(cache)/tools/cargo-deny-$(deny_version)"
	@rm -rf "$(target)/cargo-deny"

.PHONY: test
test: images ## All tests: contracts, unit, property, and end to end on a real chain, containers and a virtual machine
	tools/contracts test
	@tools/test $(CARGO) $(PROFILE)

.PHONY: bench
bench: ## Measure, as ratios in one run
	@$(MAKE) images PROFILE=release
	@PROFILE=release bench/run

.PHONY: contracts-check
contracts-check: npm ## Formatting, abi freshness and gas of the contracts
	tools/contracts check

.PHONY: contracts-test
contracts-test: npm ## The contracts' own tests
	tools/contracts test

.PHONY: invariants
invariants: npm ## The contracts' invariants for longer than `make test`, from a new seed (RUNS=2000 DEPTH=200)
	RUNS="$(RUNS)" DEPTH="$(DEPTH)" tools/contracts invariants

.PHONY: mutants
mutants: npm ## Seed each fault of contracts/mutants.toml and see the tests catch it; renews its table
	tools/mutants

.PHONY: format
format: npm ## Format Rust and Solidity
	$(CARGO) fmt --all
	cd contracts && ../node_modules/.bin/forge fmt

.PHONY: clean
clean: ## Remove what was built here; the cache of images and tools stays
	$(CARGO) clean
	rm -rf bin contracts/out contracts/cache node_modules

.PHONY: clean-cache
clean-cache: ## Remove the cached images, kernel and tools
	rm -rf "$(cache)/images" "$(cache)/tools"
