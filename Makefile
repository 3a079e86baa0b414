# Each target sets up .venv by itself; a second run reuses it.
PYTHON ?= python3
OUT ?= benchmarks/results
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test slow check bench gpu clean

demo: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" ./demo/run.sh

test: $(INSTALLED)
	$(BIN)/pytest -m "not slow"

# Every variant's graph, whole trainings, long streams: what takes minutes.
slow: $(INSTALLED)
	$(BIN)/pytest -m slow

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" ./benchmarks/run.sh $(OUT)/cpu.json

# On an x86-64 machine with an NVIDIA GPU: the tests marked gpu, then, whatever they say, the benchmark;
# records and page in OUT/gpu.
gpu: $(INSTALLED)
	tests=0; $(BIN)/pytest -m gpu || tests=$$?; \
	PATH="$(CURDIR)/$(BIN):$$PATH" ./benchmarks/run_gpu.sh $(OUT)/gpu && exit $$tests

clean:
	rm -rf $(VENV) demo/output

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,bench,rtx,cuda13]'
	touch $@
