# amdgpu.fleet: `make demo` shows it, `make test` proves it. Both set up all they need.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
BED := molecule/shared/bed
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Files of tests side by side, in this order: scenarios with an engine, which take longest, begin.
LANES := --numprocesses=2 --dist=loadscope --no-loadscope-reorder
export PATH := $(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help setup demo demo-down test test-vm lint sanity unit scenarios bench docs build clean catalog-refresh

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(VENV)/.done .collections/ansible_collections/amdgpu/fleet ## Make .venv and link the collection into it

$(VENV)/.done: requirements-dev.txt
	@echo "==> setting up $(VENV) (about a minute)"
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.collections/ansible_collections/amdgpu/fleet:
	@mkdir -p $(@D)
	@ln -sfn ../../.. $@

demo: setup ## Bring up three emulated hosts and get an answer from a model on each
	@molecule/shared/with-bed inventories/demo/bed.yml \
		$(BIN)/ansible-playbook playbooks/demo.yml -i inventories/demo/hosts.yml

demo-down: setup ## Remove the hosts of the demo
	@$(BED) down --all

test: setup lint sanity ## Everything
	@echo "==> Molecule scenarios, vLLM's own parser and unit tests, in two lanes: scenarios with an engine, and everything else"
	@molecule/shared/with-bed - $(BIN)/pytest $(LANES) --durations=12 -m "not vm" tests/integration tests/unit

test-vm: setup ## What only a real boot shows, in a virtual machine (QEMU): boot loaders, reboots, DKMS, udev; up to half an hour without KVM
	@echo "==> the virtual machine: its image, then two scenarios, whose output is in .cache/logs/molecule-vm.log and molecule-vm-efi.log"
	@trap 'molecule/shared/vm down' EXIT; $(BIN)/pytest -v -rs -m vm tests/integration

lint: setup ## ruff, mypy, yamllint, ansible-lint
	@echo "==> ruff, mypy, yamllint, ansible-lint"
	@$(BIN)/ruff check .
	@$(BIN)/mypy -p ansible_collections.amdgpu.fleet.plugins.module_utils -p ansible_collections.amdgpu.fleet.plugins.plugin_utils
	@$(BIN)/yamllint --strict .
	@$(BIN)/ansible-lint --strict

sanity: setup ## ansible-test sanity and ansible-doc on the built collection
	@tests/sanity/run

unit: setup ## Unit tests
	@$(BIN)/pytest tests/unit

scenarios: setup ## Molecule scenarios
	@molecule/shared/with-bed - $(BIN)/pytest $(LANES) -m "not vm" tests/integration

bench: setup ## What detection, the plan and a whole run cost, beside other ways
	@command -v rocm_agent_enumerator >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq rocminfo; }
	@echo "==> detection"
	@$(BIN)/python tests/bench/facts
	@molecule/shared/with-bed tests/bench/bed.yml tests/bench/all

docs: setup ## Write the generated tables of docs/
	@$(BIN)/python tools/render_gpu_table.py
	@PYTHONPATH=.collections $(BIN)/python tools/render_docs.py

catalog-refresh: setup ## Compute from vLLM's source distributions what of the catalog is mechanical, and say what is newer
	@PYTHONPATH=tools $(BIN)/python -m catalog_refresh $(ARGUMENTS)

build: setup ## Build the collection into build/
	@$(BIN)/ansible-galaxy collection build --force --output-path build

clean: ## Remove everything that was made here, the emulated hosts included
	@[ ! -d .cache/bed ] || $(BED) down --all
	@[ ! -d .cache/vm ] || molecule/shared/vm down
	@rm -rf .cache .collections .venv build reports
