# One environment for everything, made by the Python that is there. `make demo` runs the main job, `make test` the quick tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0

.PHONY: demo test test-all lint format docs graphs clean

demo: $(VENV)/.run
	$(BIN)/locara-label prelabel fixtures/pictures --model mini --out demo --sheet demo/sheet.png
	@echo "COCO file: demo/coco.json   contact sheet: demo/sheet.png"

# Quick tests: under 5 minutes, without torch.
test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow and not parity" -p no:cacheprovider

# Everything: style, types, documentation, parity with PyTorch, kills, the built wheel.
test-all: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

graphs: $(VENV)/.dev
	$(BIN)/python -m tools.build_graphs

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml
	$(BIN)/pip install --quiet -e ".[cpu]"
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/pip install --quiet -e ".[cpu,test]"
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet -e ".[dev,docs]"
	touch $@

clean:
	rm -rf $(VENV) dist demo site
