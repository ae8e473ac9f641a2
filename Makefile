# The whole developer interface. Every target sets up what it needs; `python3`, `pip` and `make` suffice.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run test lint format bench build invoke lock clean

run: $(READY)
	$(BIN)/emerge serve --port $(PORT)

test: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python tests/bench/overhead.py

# Where the interpreter has no ensurepip (Debian without python3-venv), virtualenv makes the environment.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "emerge needs Python 3.11, 3.12 or 3.13: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || { rm -rf .venv; $(PYTHON) -m venv .venv >/dev/null 2>&1; } || { rm -rf .venv; \
	  $(PYTHON) -m pip install --quiet --target .tools virtualenv && PYTHONPATH=.tools $(PYTHON) -m virtualenv --quiet .venv; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

# Rewrites the lock from pyproject.toml, with hashes, for every supported Python.
lock: $(READY)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra aws --extra eval --group dev --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet -o requirements.lock

	$(BIN)/uv pip compile pyproject.toml --extra aws --constraint requirements.lock --no-emit-package uvicorn --no-emit-package click \
	  --universal --python-version 3.13 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet \
	  -o functions/proxy/requirements.txt

clean:
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis
