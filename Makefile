# The whole developer interface. Every target sets up what it needs; `python3`, `pip` and `make` suffice.
PYTHON ?= python3
PORT ?= 8000
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := .tools/aws
# Where python3.13 is, which the functions run on: it builds them. A pyenv shim is not enough for `sam build`.
PYTHON313 := $(shell for d in "$$(pyenv prefix 3.13 2>/dev/null)/bin" "$$(dirname "$$(command -v python3.13 || echo /none/x)")"; do \
  "$$d/python3.13" -c 0 2>/dev/null && { echo "$$d"; break; }; done)
SAM := PATH="$(CURDIR)/$(TOOLS)/bin:$(PYTHON313):$$PATH" SAM_CLI_TELEMETRY=0 sam
EVENT ?= events/chat.json
RECORDINGS ?= recordings
MINUTES ?= 30
CLIENTS := .tools/conformance

.PHONY: run test lint format bench evidence soak build invoke start-api lock clean

run: $(READY)
	$(BIN)/emerge serve --port $(PORT)

# PYTHON and VENV are this makefile's: the tests run `sam build`, whose makefiles choose the function's own Python.
test: $(READY) tools
	env -u MAKEFLAGS -u PYTHON -u VENV $(BIN)/pytest -n 2 --dist loadfile $(OPTIONS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The template, by SAM and cfn-lint.
.PHONY: lint-aws
lint-aws: tools
	@test ! -x $(TOOLS)/bin/sam || AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Beside a hand-written gather, the openai SDK and LiteLLM's proxy, which is installed into .tools for it. Cold starts
# need the built artifact, and are left out where it cannot be built.
bench: $(READY)
	-@$(MAKE) --no-print-directory build
	$(BIN)/python -m tests.bench.speed
	$(BIN)/python tests/bench/streaming.py
	$(BIN)/python tests/bench/console.py

# The table of emerge_core/evals/README.md, tuned panels beside frontier models, from the recordings in RECORDINGS.
evidence: $(READY)
	$(BIN)/python tests/bench/evidence.py $(RECORDINGS)

# Mixed faults for MINUTES against a local server: nothing may crash, hang, leak or get lost. OPTIONS=--hostile: one
# hostile client among ten honest ones, of whose requests none may fail, be degraded or take long.
soak: $(READY)
	$(BIN)/python -m tests.soak.soak --minutes $(MINUTES) $(OPTIONS)

# For this machine, so that `sam local` can run it; `make deploy` builds for the deployed architecture.
ARCHITECTURE ?= $(shell uname -m | sed s/aarch64/arm64/)

build: tools
	@test -n "$(PYTHON313)" || { echo "make build needs python3.13, which the functions run on" >&2; exit 1; }
	EMERGE_ARCHITECTURE=$(ARCHITECTURE) $(SAM) build
	@$(TOOLS)/bin/python infra/pin_architecture.py .aws-sam/build

# Prints the stack's parameters and asks for them the first time; the answers are kept in samconfig.local.toml.
.PHONY: deploy
deploy: $(READY) tools
	@$(MAKE) build ARCHITECTURE=$$($(BIN)/python infra/deploy.py architecture)
	@PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" SAM_CLI_TELEMETRY=0 $(BIN)/python infra/deploy.py deploy $(OPTIONS)

# OPTIONS=--skip-pull-image uses the container image that is there.
invoke: build
	$(SAM) local invoke ProxyFunction --event $(EVENT) $(OPTIONS)

# The whole API on this machine, in containers: any key of the right form is let in.
start-api: build
	$(TOOLS)/bin/python infra/local.py .aws-sam/build/template.yaml .aws-sam/build/local.yaml
	$(SAM) local start-api --template .aws-sam/build/local.yaml --config-file $(CURDIR)/samconfig.toml --port $(PORT) --warm-containers EAGER $(OPTIONS)

# SAM, the translator, cfn-lint and Lambda's emulator, apart from the product: their pins clash with its own.
# Where they cannot be installed, the tests that need them are skipped and say so.
.PHONY: tools
tools: $(TOOLS)/.tried
$(TOOLS)/.tried: infra/tools.lock
	@echo "installing the AWS tools into $(TOOLS): once, about a minute"
	@mkdir -p $(TOOLS)
	@P="$(PYTHON313)"; P="$${P:+$$P/python3.13}"; "$${P:-$(PYTHON)}" -m venv $(TOOLS) && $(TOOLS)/bin/pip install --quiet \
	  --disable-pip-version-check --require-hashes -r infra/tools.lock || echo "WARNING: the AWS tools could not be installed" >&2
	@touch $@

# What checkov and the serverless rules find in the template, against infra/waivers.yaml.
.PHONY: scan
scan: $(READY) tools
	@test -x .tools/scanners/bin/checkov || { "$(TOOLS)/bin/python" -m venv .tools/scanners && .tools/scanners/bin/pip install --quiet \
	  --disable-pip-version-check --require-hashes -r infra/scanners.lock; }
	$(BIN)/pytest -q tests/infra/test_scanners.py

# Official clients of several makers against a real server; each in an environment where its own pins hold.
# Node comes as a wheel, since the newest clients want a newer one than systems have.
.PHONY: conformance
conformance: $(READY) $(CLIENTS)/.tried
	$(BIN)/python -m tests.conformance.run

$(CLIENTS)/.tried: $(wildcard tests/conformance/*.lock) tests/conformance/package-lock.json
	@mkdir -p $(CLIENTS)/js && cp tests/conformance/package*.json $(CLIENTS)/js
	@$(BIN)/python -m venv $(CLIENTS) && $(CLIENTS)/bin/pip install --quiet --disable-pip-version-check \
	  --require-hashes -r tests/conformance/requirements.lock \
	  && $(BIN)/python -m venv $(CLIENTS)/instructor && $(CLIENTS)/instructor/bin/pip install --quiet \
	  --disable-pip-version-check --require-hashes -r tests/conformance/instructor.lock \
	  && cd $(CLIENTS)/js && PATH="$(CURDIR)/$(CLIENTS)/bin:$$PATH" npm ci --silent --no-audit --no-fund \
	  || echo "WARNING: the clients could not be installed" >&2
	@touch $@

# Coding agents, each editing a file. They come from npm and take 1.2 GB, so they are a target of their own.
# `npm ci` refuses the lock, which holds of one agent only the platforms that the registry had.
AGENTS := .tools/agents
.PHONY: agents
agents: $(READY) $(AGENTS)/.tried
	$(BIN)/python -m tests.conformance.run agents

$(AGENTS)/.tried: tests/conformance/agents/package-lock.json
	@mkdir -p $(AGENTS) && cp tests/conformance/agents/package*.json $(AGENTS)
	@cd $(AGENTS) && npm install --silent --no-save --no-audit --no-fund || echo "WARNING: the coding agents could not be installed" >&2
	@touch $@

# The console in a real browser. Chromium comes from the system's packages if there is none, which needs root.
# Without either, the tests are skipped and say so (pytest's status 5).
.PHONY: browser
browser: $(READY) .tools/browser/.tried
	@$(BIN)/pytest -q -rs tests/console/test_page.py || test $$? -eq 5

.tools/browser/.tried: tests/console/browser.lock
	@rm -rf .tools/browser && mkdir -p .tools/browser
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --target .tools/browser -r tests/console/browser.lock \
	  || echo "WARNING: what drives the browser could not be installed" >&2
	@for name in chromium chromium-browser google-chrome chrome; do command -v $$name >/dev/null && exit; done; \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	  || echo "WARNING: Chromium could not be installed" >&2
	@touch $@

# Where the interpreter has no ensurepip (Debian without python3-venv), virtualenv makes the environment.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "emerge needs Python 3.11, 3.12 or 3.13: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV) >/dev/null 2>&1; } || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install --quiet --target .tools virtualenv && PYTHONPATH=.tools $(PYTHON) -m virtualenv --quiet $(VENV); }
	@echo "installing the Python packages into $(VENV): once, a minute or two"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

# Rewrites the lock from pyproject.toml, with hashes, for every supported Python.
lock: $(READY)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra aws --extra bedrock --extra otel --extra eval --group dev --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet -o requirements.lock

	$(BIN)/uv pip compile pyproject.toml --extra aws --extra otel --constraint requirements.lock --no-emit-package uvicorn --no-emit-package click \
	  --universal --python-version 3.13 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet \
	  -o functions/proxy/requirements.txt
	$(BIN)/uv pip compile infra/tools.in --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet -o infra/tools.lock
	$(BIN)/uv pip compile tests/bench/speed/litellm.in --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet -o tests/bench/speed/litellm.lock
	$(BIN)/uv pip compile infra/scanners.in --universal --python-version 3.13 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet -o infra/scanners.lock
	for name in requirements instructor; do $(BIN)/uv pip compile tests/conformance/$$name.in --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet -o tests/conformance/$$name.lock; done
	$(BIN)/uv pip compile tests/console/browser.in --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet -o tests/console/browser.lock
	cd tests/conformance && rm -f package-lock.json && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

clean:
	rm -rf .venv* .tools .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis
