# Each target does its own set-up, in .venv. `make help` lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-lowest test-models quick lint docs conformity bindings bench clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

demo: $(VENV)/.installed-demo  ## LeNet on real handwritten digits, from module to TensorRT plan
	@$(BIN)/trtnet demo

test: lint  ## ruff, mypy, vulture and the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile $(PYTEST_ARGS)

test-all:  ## the same on every Python from 3.11 to 3.14 that is here, each in .venv-3.N of its own
	@set -e; passed=; for version in 3.11 3.12 3.13 3.14; do \
	    for python in "python$$version" "$${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version".*/bin/python3; do \
	        if "$$python" -c '' 2>/dev/null; then \
	            echo "== Python $$version: $$python"; \
	            $(MAKE) --no-print-directory test VENV=".venv-$$version" PYTHON="$$python"; \
	            passed="$$passed $$version"; break; \
	        fi; \
	    done; \
	done; \
	[ -n "$$passed" ] || { echo "there is no Python from 3.11 to 3.14 here"; exit 1; }; \
	echo "The suite passed on Python$$passed."

test-lowest: .venv-lowest/.installed-test  ## the suite with the lowest version of each package that pyproject.toml names, in .venv-lowest
	.venv-lowest/bin/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile $(PYTEST_ARGS)

test-models: $(VENV)/.installed-test  ## every network of models/ at full size: compiled, and compared with torch (about 10 minutes)
	$(BIN)/python -m pytest tests/models/full_size.py $(PYTEST_ARGS)

QUICK := basics weights graph rewriting
quick: $(VENV)/.installed-test  ## the tests of the lower rooms alone, in under 2 minutes
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile $(addprefix tests/,$(QUICK)) $(PYTEST_ARGS)

lint: $(VENV)/.installed-test  ## ruff, mypy, and vulture for what nothing reaches
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/vulture

docs: $(VENV)/.installed-docs  ## the pages of docs/ and the reference of every folder, in site/; a warning is an error
	$(BIN)/python docs/pages.py
	$(BIN)/zensical build --config-file mkdocs.yml --strict --clean

conformity: $(VENV)/.installed-test  ## what the bindings of each TensorRT take, refuse, and get composed of other layers
	@cd tests/helpers && $(abspath $(BIN))/python conformity.py

bindings: $(VENV)/.installed-test  ## compare tests/bindings/*.json with the bindings' own wheels (Linux x86-64, Python 3.11)
	$(BIN)/python tests/bindings/make.py
	$(BIN)/python tests/bindings/plugin_module.py

bench: $(VENV)/.installed-test  ## every benchmark: a table each, and benchmarks/results/*.json
	@set -e; for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean:  ## remove .venv, .venv-3.N, .venv-lowest and everything that the other targets made
	rm -rf $(VENV) .venv-3.* .venv-lowest build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# .installed-demo, .installed-test and .installed-docs: trtnet, editable, with that extra.
$(VENV)/.installed-%: pyproject.toml constraints.txt hatch_build.py | $(BIN)/python
	@echo "Installing trtnet[$*] into $(VENV) (the first time downloads PyTorch and TensorRT-RTX, up to 3 GB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

# uv resolves to lowest versions, which pip cannot; packages that pyproject.toml does not name are the newest that fit.
.venv-lowest/.installed-test: pyproject.toml hatch_build.py
	@$(MAKE) --no-print-directory .venv-lowest/bin/python VENV=.venv-lowest
	@echo "Installing the lowest versions into .venv-lowest (downloads PyTorch with CUDA, 3 GB)"
	@.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	@.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct -e '.[test]'
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "trtnet needs Python 3.11 or newer, and there is no '$(PYTHON)' here. Try: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "trtnet needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
