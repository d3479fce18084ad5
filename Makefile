# Everything runs in a virtual environment of its own; nothing else has to be set up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
INSTALLED := $(VENV)/.installed

# Containers set it, and then every process of the tests translates torch and napari anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test smoke format bench-accuracy bench-speed bench-window screenshots clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(INSTALLED): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.11 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# uv makes it quick; where it cannot be had, pip does the same.
	@if $(BIN)/python -m pip install --quiet uv; then \
	  echo 'installing with uv'; \
	  $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --editable . --group dev; \
	else \
	  echo 'installing with pip'; \
	  $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && \
	  $(BIN)/python -m pip install --quiet --editable . --group dev; \
	fi
	@touch $@

demo: $(INSTALLED)  ## tune and segment the bundled sample, into demo_output/
	$(BIN)/napari-ptsam demo --out demo_output --overwrite

test: $(INSTALLED)  ## format, lint, types and tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	@# The smoke tests repeat parts of the others, for environments that have only the plugin.
	scripts/with_display.sh $(BIN)/python -m pytest -n 2 --dist worksteal --ignore tests/smoke

smoke: $(INSTALLED)  ## both widgets and the command line with the oldest and newest napari, Qt and torch
	$(BIN)/nox -s smoke

format: $(INSTALLED)  ## put the code in order
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench-accuracy: $(INSTALLED)  ## the table of README and docs (PTSAM_DATA names the data's folder)
	$(BIN)/python benchmarks/accuracy.py

bench-speed: $(INSTALLED)  ## how fast it is, against counterparts measured in the same run
	scripts/with_display.sh $(BIN)/python benchmarks/speed.py

bench-window: $(INSTALLED)  ## how long the window is kept waiting while the widget works
	scripts/with_display.sh $(BIN)/python benchmarks/responsiveness.py

screenshots: $(INSTALLED)  ## the pictures in docs/images
	scripts/with_display.sh $(BIN)/python scripts/screenshots.py
	scripts/with_display.sh $(BIN)/python scripts/screenshots_sharing.py

clean:  ## remove everything that was made here
	rm -rf $(VENV) .nox demo_output build dist site .pytest_cache .mypy_cache .ruff_cache
