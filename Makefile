# Two commands of the README: `make demo` and `make test`. Both set up everything they need.
PYTHON ?= $(shell for p in python3 python3.11 python3.12; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# most tests wait for a stream or a broker, so more workers than cores
WORKERS ?= 4

# make demo: options of camagent demo; or a model of yours, an input, and how the bundle is to be made
DEMO ?=
MODEL ?=
INPUT ?=
OPTIONS ?= --head yolov8 --labels coco80 --scale 0.00392157

# make deb: for these architectures; both where none is named
ARCH ?=

# make test-camera: only the smoke tests
SMOKE ?=

# make bench: options of bench.peers
PEERS ?=

# what decodes and calculates: PyAV and numpy are not the same on Python 3.11 and 3.12
PIXEL_TESTS := tests/heads tests/test_config.py tests/test_first_use.py tests/test_frame_time.py tests/test_infer.py \
  tests/test_preprocess.py tests/test_rtsp.py tests/test_sources_corrupt.py tests/test_sources_files.py \
  tests/test_sources_masks.py tests/test_topics_agent.py

.PHONY: help demo test test-again test-full test-pixels lint format bench deb docs clean

help:
	@echo "make demo        camera, model, broker and page at once; DEMO='--break scale-missing' with a fault to find"
	@echo "make demo MODEL=m.onnx INPUT=clip.mp4 OPTIONS='--head ..'   build a bundle, run it, draw what it sees"
	@echo "make test        every test, long ones at reduced counts"
	@echo "make test-full   the long tests at their full counts"
	@echo "make test-pixels what decodes and calculates, on another Python: PYTHON=python3.12 VENV=.venv-3.12"
	@echo "make test-camera the camera in a box: an arm64 Debian with systemd under QEMU, as root (25 minutes); the first time makes"
	@echo "                 what it needs. SMOKE=1 for the first start alone, CAMAGENT_BOX_ARCH=amd64 without emulation"
	@echo "make lint        ruff and mypy"
	@echo "make bench       what frames, heads and a verification cost, beside what they must cost and beside others (an hour);"
	@echo "                 PEERS='--write docs/performance.md' writes the page anew"
	@echo "make deb         dist/camagent_*.deb for arm64 and amd64: everything but Python itself, for cameras without a network;"
	@echo "                 ARCH=arm64 for one of them"
	@echo "make docs        write the JSON Schemas of docs/schemas and the Chinese table of causes anew"

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "camagent needs Python 3.11 or 3.12: name one with make PYTHON=.."; exit 1; }
	@.ci/make-venv "$(PYTHON)" "$(VENV)"
	@echo "installing what camagent and its tests need into $(VENV), this once" >&2
	@$(BIN)/pip install $$(test -t 1 || echo --quiet) --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Ctrl-C reaches both make and the demo, which then puts everything away and ends with 130
demo: $(VENV)/.installed
ifeq ($(MODEL),)
	@$(BIN)/camagent demo $(DEMO) || test $$? = 130
else
	@test -n "$(INPUT)" || { \
	  echo "name something to look at, for example:"; \
	  echo "  make demo MODEL=yolov8n.onnx INPUT=street.jpg OPTIONS='--head yolov8 --labels coco80 --scale 0.00392157'"; exit 2; }
	@mkdir -p camagent-out
	$(BIN)/camagent bundle create "$(MODEL)" --name demo --version 1.0.0 $(OPTIONS) -o camagent-out/demo.cambundle
	$(BIN)/camagent infer camagent-out/demo.cambundle "$(INPUT)" --out camagent-out
endif

test: $(VENV)/.installed
	@.ci/debian-packages
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not full and not box"

# what has just failed, one after the other; more than a few is no matter of time
test-again: $(VENV)/.installed
	@$(BIN)/python -c "import json, sys; n = len(json.load(open('.pytest_cache/v/cache/lastfailed'))); \
	  sys.exit(f'{n} tests failed: too many to blame the machine') if n > 5 else print(f'{n} failed beside others; again, alone')"
	$(PYTEST) --last-failed --last-failed-no-failures none -m "not full and not box"

test-full: $(VENV)/.installed
	@.ci/debian-packages
	$(PYTEST) -n 2 --dist worksteal -m full --timeout 3600 $(if $(BUDGET),--full-budget $(BUDGET))

test-pixels: $(VENV)/.installed
	@.ci/debian-packages
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not full and not box" $(PIXEL_TESTS)

test-camera: $(VENV)/.installed
	@.ci/debian-packages
	@.ci/debian-packages box
	@$(BIN)/python -m tests.camera.prepare $(if $(SMOKE),--bare)
	$(PYTEST) tests/camera$(if $(SMOKE),/test_smoke.py) -m box --timeout 3600 -v

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.installed
	$(BIN)/python -m bench.frame_cost
	$(BIN)/python -m bench.health_cost
	$(BIN)/python -m bench.verify
	$(BIN)/python -m bench.heads
	$(BIN)/python -m bench.tracking
	$(BIN)/python -m bench.peers $(PEERS)

deb: $(VENV)/.installed
	@.ci/debian-packages debhelper
	@$(BIN)/pip install --quiet --disable-pip-version-check '.[deb]'
	UV=$(abspath $(BIN))/uv PYTHON=$(abspath $(BIN))/python debian/build $(ARCH)

docs: $(VENV)/.installed
	$(BIN)/python .ci/write-schemas docs/schemas
	$(BIN)/python .ci/write-causes docs/self-test-causes.zh-CN.md

clean:
	rm -rf $(VENV) .venv-* build dist *.egg-info camagent-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
