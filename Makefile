# amdgpu.fleet: `make demo` shows it, `make test` proves it. Both set up all they need.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
BED := molecule/shared/bed
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Unit tests on all processors; a worker that has nothing left takes over tests of another.
UNIT := --numprocesses=auto --dist=worksteal
# Files of tests side by side, in this order: scenarios with an engine, which take longest, begin.
LANES := --numprocesses=2 --dist=loadscope --no-loadscope-reorder
export PATH := $(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

CERTIFY := .cache/certify/venv

.PHONY: help setup browser demo demo-down test test-vm test-matrix lint certify sanity site changelog unit scenario scenarios interruptions bench docs build build-llama clean catalog-refresh lock

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: $(VENV)/.done $(VENV)/.path .collections/ansible_collections/amdgpu/fleet ## Make .venv and link the collection into it

$(VENV)/.done: requirements-dev.txt
	@echo "==> setting up $(VENV) (about a minute)"
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# `.venv/bin/molecule` finds Ansible's programs beside it, whatever PATH says.
$(VENV)/.path: tools/molecule_path.pth $(VENV)/.done
	@cp tools/molecule_path.pth "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $@

.collections/ansible_collections/amdgpu/fleet:
	@mkdir -p $(@D)
	@ln -sfn ../../.. $@

# What draws the report for the tests of its page.
browser: setup
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| { echo "==> installing Chromium"; $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends chromium; }

demo: setup ## Bring up four emulated hosts and ask a real model on each a question
	@molecule/shared/with-bed inventories/demo/bed.yml \
		$(BIN)/ansible-playbook playbooks/demo.yml -i inventories/demo/hosts.yml

demo-down: setup ## Remove the hosts of the demo
	@$(BED) down --all

test: setup browser ## Everything but what takes too long: test-vm, and the scenarios accept, build, llama_packages, mirror, monitor, several
	@echo "==> linters, what Galaxy checks, and ansible-test sanity, two at a time: each prints when it ends"
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target sanity lint certify
	@echo "==> Molecule scenarios, vLLM's own parser and unit tests, in two lanes: scenarios with an engine, and everything else"
	@molecule/shared/with-bed - $(BIN)/pytest $(LANES) --durations=12 -m "not vm" tests/integration tests/unit

test-vm: setup ## What only a real boot shows, in a virtual machine (QEMU): boot loaders, reboots, DKMS, udev; up to half an hour without KVM
	@echo "==> the virtual machine: its image, then two scenarios, whose output is in .cache/logs/molecule-vm.log and molecule-vm-efi.log"
	@trap 'molecule/shared/vm down' EXIT; $(BIN)/pytest -v -rs -m vm tests/integration

lint: setup ## ruff, mypy, yamllint, ansible-lint
	@echo "==> ruff, mypy, yamllint, ansible-lint"
	@$(BIN)/ruff check .
	@$(BIN)/mypy -p ansible_collections.amdgpu.fleet.plugins
	@$(BIN)/yamllint --strict .
	@$(BIN)/ansible-lint --strict

$(CERTIFY)/.done: tests/certify/requirements.txt
	@echo "==> setting up $(CERTIFY) (half a minute)"
	@$(PYTHON) -m venv $(CERTIFY)
	@$(CERTIFY)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

certify: setup $(CERTIFY)/.done ## What Galaxy and Automation Hub check: importer, documentation, changelog, licences, workflows
	@tests/certify/run

sanity: setup ## ansible-test sanity, on the checkout and on the built collection
	@tests/sanity/run checkout
	@tests/sanity/run built

test-matrix: setup ## Unit tests on every ansible-core and Python that is supported and found here; half an hour
	@tests/matrix/run

site: certify ## The documentation site, in .cache/site/html
	@echo "==> .cache/site/html/index.html"

changelog: $(CERTIFY)/.done ## Write CHANGELOG.md from changelogs/fragments
	@PATH=$(CURDIR)/$(CERTIFY)/bin:$$PATH tools/changelog

unit: setup ## Unit tests, on all processors (under three minutes on two)
	@$(BIN)/pytest $(UNIT) --durations=12 tests/unit

scenario: setup ## One Molecule scenario whole: make scenario S=devices
	@[ -f "molecule/$(S)/molecule.yml" ] || { echo "make scenario S=NAME, one of:" molecule/*/molecule.yml | sed -E 's#molecule/([^/]+)/molecule.yml#\1#g'; exit 2; }
	@molecule/shared/with-bed - $(BIN)/molecule test --scenario-name $(S)

scenarios: setup browser ## All Molecule scenarios
	@molecule/shared/with-bed - $(BIN)/pytest $(LANES) -m "not vm" tests/integration

interruptions: setup ## Kill a bring-up at random moments and hold the end state to that of an unbroken one; two minutes a kill (KILLS=30)
	@molecule/shared/with-bed - $(BIN)/python tests/interruption/run --kills $(or $(KILLS),30)

bench: setup ## What detection, the plan and runs over 1, 8 and 32 hosts cost; the table goes into docs/cost.md
	@command -v rocm_agent_enumerator >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq rocminfo; }
	@echo "==> detection"
	@$(BIN)/python tests/bench/facts
	@molecule/shared/with-bed tests/bench/bed.yml tests/bench/all

docs: setup ## Write the generated pages of docs/ and the README of each role
	@$(BIN)/python tools/render_gpu_table.py
	@$(BIN)/python tools/render_facts.py
	@PYTHONPATH=.collections $(BIN)/python tools/render_docs.py
	@PYTHONPATH=.collections $(BIN)/python tools/render_role_readmes.py

lock: setup ## Write the hashes of uv and of the client of the Hub, for the versions of the catalog
	@$(BIN)/python tools/lock

catalog-refresh: setup ## Compute from vLLM's source distributions what of the catalog is mechanical, and say what is newer
	@PYTHONPATH=tools $(BIN)/python -m catalog_refresh $(ARGUMENTS)

build: setup ## Build the collection into build/
	@$(BIN)/ansible-galaxy collection build --force --output-path build

build-llama: setup ## Compile llama.cpp with the role build and ask its server; a quarter of an hour on two processors
	@molecule/shared/bed prepare --engine
	@$(BIN)/python tests/builds/llama

clean: ## Remove everything that was made here, the emulated hosts included
	@[ ! -d .cache/bed ] || $(BED) down --all
	@[ ! -d .cache/vm ] || molecule/shared/vm down
	@rm -rf .cache .collections .venv build reports
