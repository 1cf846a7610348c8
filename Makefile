# Everything is installed into .venv from the lock files; stamp files in there make a second call instant.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 3# files of tests at the same time: most of their time they wait
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install run test bench lint docs format lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/.runtime ## start the daemon with a demo channel (not with DEMO=0, or with CHANNELS_M3U set)
	@if [ "$${DEMO:-1}" = 0 ] || [ -n "$${CHANNELS_M3U:-}" ]; then exec $(BIN)/m3u-proxy; fi; \
	exec $(BIN)/m3u-proxy --demo

install: $(VENV)/.runtime ## install the daemon into .venv, as for supervisord

test: $(VENV)/.dev ## run every test; ARGS="-k relay" for some of them, JOBS=0 for one after the other
	$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

bench: $(VENV)/.dev ## measure; see benchmarks/README.md, ARGS="…" is handed on
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/.dev ## check style, types and the imports between rooms
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev ## write the papers that are made from the program
	$(BIN)/python -m m3u_proxy.settings.docs > docs/settings.md
	$(BIN)/python -m m3u_proxy --print-env > .env.example

format: $(VENV)/.dev ## put the code in form
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

clean: ## remove .venv and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The same pins hold for Python 3.11 to 3.13. Run it with 3.11: what only an older one needs must not be missing.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/lock/bin/pip-compile --quiet --generate-hashes --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --extra ffmpeg $(ARGS)
DEV_GROUP = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")

lock: $(VENV)/.made ## pin what pyproject.toml asks for; ARGS=--upgrade for the newest versions
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip --disable-pip-version-check install --quiet pip-tools
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(BIN)/python -c '$(DEV_GROUP)' | \
	$(COMPILE) --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml -

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "Python 3.11 or newer is needed, and $(PYTHON) is: $$($(PYTHON) -V 2>&1)." >&2; \
	echo "Name another one: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	echo "No virtual environment could be made. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

# pip cannot check the hash of a project in a folder, so the lock file and the project are two calls.
$(VENV)/.runtime: requirements.lock pyproject.toml $(VENV)/.made
	@echo "Installing m3u_proxy into $(VENV) ..."
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "Installing what the tests need into $(VENV) ..."
	@$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $@
