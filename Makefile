# `make up` runs a registry on this machine, `make test` runs everything that CI runs. `make help` lists the rest.

# The system's own Python where it is new enough: distributions build theirs with what profiles tell, others often do not.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo /usr/bin/python3 || echo python3)
INVENTORY ?= inventories/local
comma := ,
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# Python compiles a module when it is first used: of those that Ansible brings, few ever are.
PIP = $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
# How many files of tests run side by side, twice as many as two processors: those of the rehearsal mostly wait, one after another, and the
# others a third of their time. Those of one file share hosts and run in order.
WORKERS ?= 4
CREDENTIALS := $(INVENTORY)/.credentials
COLLECTION := $(VENV)/collections/ansible_collections/drydock/registry
# Ansible asks for sudo's password only where sudo would.
BECOME := $(shell [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null || echo --ask-become-pass)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# TIMES=1 says what each task and role took.
PLAYBOOK := $(if $(TIMES),ANSIBLE_CALLBACKS_ENABLED=ansible.posix.profile_tasks$(comma)ansible.posix.profile_roles )$(BIN)/ansible-playbook \
  -i $(INVENTORY) $(BECOME)

# With it, as images for CI often set it, Python reads a module byte by byte: a task on this machine takes twice the CPU.
unexport PYTHONUNBUFFERED
# With it, Python compiles anew at each start what it would keep otherwise.
unexport PYTHONDONTWRITEBYTECODE

# One `make` at a time works on .venv.
.NOTPARALLEL:
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.runtime: requirements.txt
	@echo "$(VENV): installing Ansible and its collections, a minute or two"
	@# Debian packs venv apart from Python.
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV) || \
	  { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv && $(PYTHON) -m venv --clear $(VENV); }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 up" >&2; rm -rf $(VENV); exit 1; }
	$(PIP) -r requirements.txt
	@mkdir -p $(dir $(COLLECTION)) && ln -sfn ../../../.. $(COLLECTION)
	@touch $@

$(VENV)/.rehearsal: $(VENV)/.runtime requirements-rehearsal.txt
	@echo "$(VENV): installing the stand-ins for AWS, half a minute"
	$(PIP) -r requirements-rehearsal.txt
	@touch $@

$(VENV)/.unit: $(VENV)/.runtime requirements-rehearsal.txt requirements-unit.txt
	$(PIP) -r requirements-unit.txt
	@touch $@

$(VENV)/.test: $(VENV)/.runtime requirements-rehearsal.txt requirements-unit.txt requirements-test.txt
	$(PIP) -r requirements-test.txt
	@# It asks for a cryptography below 47, where ansible-lint takes 46 and newer and community.crypto finds no curves in 46. It works with newer ones.
	$(PIP) --no-deps 'sslyze>=6.3,<7'
	@touch $(VENV)/.unit $@

.PHONY: venv
venv: $(VENV)/.runtime ## Make the virtual environment with Ansible and all collections

.PHONY: up
up: $(VENV)/.runtime ## Run a registry on this machine, at https://localhost:5443
	$(PLAYBOOK) playbooks/site.yml

.PHONY: down
down: $(VENV)/.runtime ## Take it down; DESTROY=data,users,tls also destroys what it names
	$(PLAYBOOK) playbooks/teardown.yml $(if $(DESTROY),-e '{"drydock_teardown_destroy": ["$(subst $(comma),"$(comma)",$(DESTROY))"]}')

.PHONY: status
status: $(VENV)/.runtime ## Say how it is: certificates with the days left, users, containers, storage
	@$(PLAYBOOK) playbooks/status.yml

.PHONY: rehearsal
rehearsal: $(VENV)/.rehearsal ## Rehearse production on AWS here, against stand-ins, before it costs anything; FLEET=1 a fleet of hosts
	@echo "rehearsal, 1 of 2: start the stand-ins for AWS. The first time, the image of their machines is built, which takes minutes"
	@# The inventory of one host asks the stand-ins, which do not run yet.
	$(BIN)/ansible-playbook -i $(if $(FLEET),inventories/rehearsal-fleet,localhost$(comma)) $(BECOME) rehearsal/start.yml
	@echo "rehearsal, 2 of 2: deploy as on AWS, some minutes: $(if $(FLEET),hosts boot and set themselves up,a host boots and is set up)"
	$(BIN)/ansible-playbook -i inventories/rehearsal$(if $(FLEET),-fleet) playbooks/site.yml
	@echo "rehearsal: https://registry.rehearsal.test serves; make rehearsal-down ends it"

.PHONY: rehearsal-down
rehearsal-down: $(VENV)/.rehearsal ## End the rehearsal: the stand-ins and all that was made in them
	$(BIN)/ansible-playbook -i localhost, $(BECOME) rehearsal/stop.yml

.PHONY: credentials
credentials: ## Print shell assignments to log in with, for eval (make -s credentials)
	@cat $(CREDENTIALS)/registry.env 2>/dev/null || { echo "No registry was deployed with $(INVENTORY): run make up first." >&2; exit 1; }

.PHONY: lint
lint: $(VENV)/.test ## Check style: YAML, Ansible, Python, shell, changelog
	$(BIN)/yamllint --strict .
	PATH="$(BIN):$$PATH" $(BIN)/ansible-lint -q
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy
	@# Every shell script, by its first line.
	$(BIN)/shellcheck $$(git grep --files-with-matches --extended-regexp -e '^#!.*[/ ](ba)?sh$$' -- . ':!*.j2' ':!*.py' ':!*.yml' ':!*.md')
	$(BIN)/antsibull-changelog lint

.PHONY: gates
gates: $(VENV)/.test ## Check the collection as a user gets it: ansible-test sanity, antsibull-docs, galaxy-importer
	@PATH="$(BIN):$$PATH" tests/gates

.PHONY: docs
docs: $(VENV)/.test ## Build the pages as a site into .cache/site/html; a link that leads nowhere fails it
	@PATH="$(BIN):$$PATH" tests/site

.PHONY: unit
unit: $(VENV)/.unit ## Test the plugins and the rules of the repository; needs no Docker
	$(BIN)/python -m pytest --quiet tests/unit

.PHONY: newest
newest: $(VENV)/.unit ## Test the plugins and one deployment with the newest Ansible that this machine's Pythons allow
	@python=$$(tests/newest/python $(BIN)/python); \
	if [ -z "$$python" ]; then \
	  echo "There is no newer Python here than $$($(BIN)/python --version): all tests run the newest Ansible that it allows."; \
	else \
	  $(MAKE) --no-print-directory VENV=.venv-newest PYTHON=$$python .venv-newest/.unit && \
	  PATH="$(CURDIR)/.venv-newest/bin:$$PATH" .venv-newest/bin/python -m pytest --quiet --numprocesses 2 --dist loadfile \
	    --no-loadscope-reorder tests/newest tests/unit/plugins tests/unit/repo; \
	fi

.PHONY: bench
bench: $(VENV)/.test ## Measure against a bare registry, into docs/benchmarks; PARTS, ROUNDS and HOSTS choose what
	@tests/hosts/build debian12 debian12-ready
	@PYTHONPATH=tests/integration:tests/hosts:roles/registry_maintenance/files PATH="$(BIN):$$PATH" $(BIN)/python -m tests.bench \
	  $(if $(PARTS),--parts $(PARTS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(HOSTS),--hosts $(HOSTS))

.PHONY: test
test: $(VENV)/.test ## Run everything that CI runs
	@tests/parts \
	  prepare "$(BIN)/ansible-playbook -i localhost, $(BECOME) tests/prepare.yml" \
	  'gates&' "$(MAKE) --no-print-directory gates" \
	  'lint&' "$(MAKE) --no-print-directory lint" \
	  'docs&' "$(MAKE) --no-print-directory docs" \
	  hosts "tests/hosts/build" \
	  'newest&' "$(MAKE) --no-print-directory newest" \
	  tests "PATH='$(BIN):$$PATH' $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder"

.PHONY: version
version: $(VENV)/.test ## Give what is not out yet its VERSION: galaxy.yml, version_added, CHANGELOG.md
	@PATH="$(BIN):$$PATH" .ci/version "$(VERSION)"

.PHONY: release
release: $(VENV)/.test ## Make the tarball, check it, install it into an empty environment and deploy from it
	@PATH="$(BIN):$$PATH" PYTHON=$(PYTHON) .ci/release
