# make protect PHOTO=me.jpg   cloaks a photo (without PHOTO: a portrait that comes with scikit-image)
# make test                   format check, lint, types, tests, doctests
# make bench-quick            every published experiment in its quick version, on DATA=../shared/data/lfw unless given
# make results                docs/results.md, of the finished reports in out/bench/
.PHONY: protect test format docs bench-quick results clean

PYTHON ?= python3
PHOTO ?= out/astronaut.png
DATA ?= ../shared/data/lfw
BIN = .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

protect: .venv/installed $(filter out/astronaut.png,$(PHOTO))
	@$(BIN)/faceveil protect "$(PHOTO)" --picture --force

test: .venv/developer
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest

out/astronaut.png: | .venv/installed
	@mkdir -p out
	@$(BIN)/python -c 'from skimage import data, io; io.imsave("$@", data.astronaut())'

format: .venv/developer
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: .venv/developer
	$(BIN)/python -m typer faceveil.cli utils docs --name faceveil --output docs/cli.md

bench-quick: .venv/developer
	@for name in $$($(BIN)/python -c 'from faceveil.bench import EXPERIMENTS; print(*EXPERIMENTS)'); do \
	  $(BIN)/faceveil bench $$name --data $(DATA) --quick --output out/bench-quick/$$name || exit; done

results: .venv/developer
	$(BIN)/python experiments/results.py $(dir $(wildcard out/bench/*/cells.json))

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("faceveil needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "Setting up .venv (PyTorch and the recognizer's weights: about 1.5 GB; once)"
	$(INSTALL) --editable ".[heif]"
	@touch $@

.venv/developer: .venv/installed
	$(INSTALL) --group dev
	@touch $@
