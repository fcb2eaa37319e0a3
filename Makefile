# One target per chore; `make` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The Python that the virtual environment is made of (3.11 or later).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# How the tests run: `make test JOBS=4`, `make test ARGS="tests/plans -x"`.
JOBS ?= 2
ARGS ?=
# `make demo ONCE=1` ends after the send.
ONCE ?=
UV_VERSION := 0.13.8
CODE := $(wildcard newsletter workers tests bench scripts hatch_build.py)
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: help
help: ## List the chores
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.setup ## Make .venv with what the service needs

.PHONY: setup-dev
setup-dev: $(VENV)/.setup-dev ## Make .venv with what its developers need, too

$(VENV)/.setup: requirements.lock pyproject.toml scripts/venv.sh
	@PYTHON="$(PYTHON)" sh scripts/venv.sh $(VENV) requirements.lock
	@touch $@

# The development lock holds every pin of the other one.
$(VENV)/.setup-dev: requirements-dev.lock requirements.lock pyproject.toml scripts/venv.sh
	@PYTHON="$(PYTHON)" sh scripts/venv.sh $(VENV) requirements-dev.lock
	@touch $(VENV)/.setup $@

.PHONY: demo
demo: setup ## A campaign from topic to mailbox; ONCE=1 ends after the send
	@$(BIN)/newsletter demo $(if $(ONCE),--once)

.PHONY: test
test: setup-dev ## The suite on SQLite and memory, then on Postgres and Redis
	NEWSLETTER_TEST_SIZE=embedded $(BIN)/pytest -n $(JOBS) $(ARGS)
	NEWSLETTER_TEST_SIZE=distributed $(BIN)/pytest -n $(JOBS) $(ARGS)

.PHONY: check
check: setup-dev ## Format, lint, types, import rules, migrations against models
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q tests/architecture tests/packaging/test_migrations.py

.PHONY: fmt
fmt: setup-dev ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: bench
bench: setup-dev ## Measure against references and write docs/benchmarks.md; takes minutes
	@$(BIN)/python -m bench $(ARGS)

.PHONY: scale
scale: setup-dev ## Ten campaigns to a million: rate, memory, sizes; ARGS="--scale 100000 3" for less
	@$(BIN)/python -m bench --only scale $(ARGS)

# How long it takes: `make faults KILLS=500 ROWS=100000` stays under an hour on an idle machine.
KILLS ?= 500
ROWS ?= 100000
.PHONY: faults
faults: setup-dev ## Kill, stop and starve what sends, KILLS times; writes docs/reliability.md
	$(BIN)/python -m tests.faults --kills $(KILLS) --rows $(ROWS) $(ARGS)

.PHONY: fuzz
fuzz: setup-dev ## Try many calls that the API's own document allows and forbids, by two tenants
	NEWSLETTER_FUZZ=50 $(BIN)/pytest tests/api/test_fuzz.py $(ARGS)

.PHONY: mutants
mutants: setup-dev ## Break each guard once and see its test fail; writes docs/reliability.md
	PYTHONPATH=. $(BIN)/python scripts/mutants.py

.PHONY: lock
lock: setup-dev ## Write the hashed locks from pyproject.toml; UPGRADE=1 takes newer releases
	$(BIN)/pip install --quiet uv==$(UV_VERSION)
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group dev --output-file requirements-dev.lock
	$(COMPILE) --group build --constraint requirements-dev.lock --output-file requirements.lock

.PHONY: docs
docs: setup-dev ## Write docs/settings.md and docs/errors.md from the code
	@PYTHONPATH=. $(BIN)/python scripts/settings_reference.py
	@PYTHONPATH=. $(BIN)/python scripts/errors_reference.py

.PHONY: clean
clean: ## Remove what building and testing left behind; keeps data/
	rm -rf $(VENV) bench/peers/node_modules tests/clients/node_modules build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
