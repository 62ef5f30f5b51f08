# Every target does its own set-up in .venv and installs what constraints.txt pins.
#
#   make train                     train on the digits that ship with scikit-learn
#   make test                      install what the tests need and run them
#   make test-browser              the page of `underhood serve`, in Chromium
#   make fuzz                      hostile input, 10,000 of each kind
#   make check                     ruff, mypy and the contracts on imports
#   make docs                      the site: lessons, how-to and reference, in site/index.html; without a network
#   make exercises                 every exercise of the course, wrong and right, in Chromium (half an hour)
#   make glossary                  the course's last page, from docs/glossary.md
#   make bench ROW=read            one benchmark, side by side with what it is compared to; without ROW all of them
#   make wheel                     build the wheel, install it in an empty environment elsewhere, train there
#   make serve-env                 install requirements-serve.txt elsewhere, predict there without torch
#
# INDEX=URL adds a package index, for instance CPU-only PyTorch (a smaller download on Linux):
#   make train INDEX=https://download.pytorch.org/whl/cpu
# pip's own settings (PIP_INDEX_URL, pip.conf) hold as everywhere. PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_CONSTRAINT = $(CURDIR)/constraints.txt
ifdef INDEX
export PIP_EXTRA_INDEX_URL := $(PIP_EXTRA_INDEX_URL) $(INDEX)
endif
PIP_INSTALL = .venv/bin/python -m pip install --quiet

ROW ?= all
CODE = underhood tests examples benchmarks docs/hooks

.PHONY: train test test-browser exercises fuzz check docs glossary wheel serve-env bench clean

train: .venv/installed
	.venv/bin/underhood train

test: .venv/installed-test
	.venv/bin/python -m pytest

test-browser: .venv/installed-browser
	.venv/bin/python -m pytest tests/browser

exercises: .venv/installed-browser
	.venv/bin/python -m pytest -m every_exercise tests/browser/test_lessons_page.py

fuzz: .venv/installed-test
	FUZZ=10000 .venv/bin/python -m pytest tests/test_fuzz.py

check: .venv/installed-dev
	.venv/bin/ruff check $(CODE)
	.venv/bin/ruff format --check $(CODE)
	.venv/bin/mypy
	.venv/bin/lint-imports

docs: .venv/installed-docs
	.venv/bin/python -m pytest tests/site
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --clean

glossary: .venv/bin/python
	.venv/bin/python docs/hooks/glossary.py

bench: .venv-bench/installed
	.venv-bench/bin/python benchmarks/run.py $(ROW)

wheel: .venv/installed
	.ci/wheel

serve-env: .venv/installed-test
	.ci/serve

clean:
	rm -rf .venv .venv-bench dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(f"underhood needs Python 3.11 or newer; this is {sys.version.split()[0]}: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "Installing into .venv (PyTorch is large: the first time takes minutes) …"
	$(PIP_INSTALL) --editable .
	@touch $@

# What we are measured against has an environment of its own.
.venv-bench/installed: .venv/bin/python pyproject.toml constraints.txt
	test -x .venv-bench/bin/python || .venv/bin/python -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --editable '.[bench]'
	@touch $@

.venv/installed-test: .venv/installed
	$(PIP_INSTALL) --editable '.[test]'
	@touch $@

.venv/installed-browser: .venv/installed-test
	$(PIP_INSTALL) --editable '.[browser]'
	@touch $@

.venv/installed-docs: .venv/installed-test
	$(PIP_INSTALL) --editable '.[docs]'
	@touch $@

.venv/installed-dev: .venv/installed-test
	$(PIP_INSTALL) --editable '.[test,dev]'
	@touch $@
