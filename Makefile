# Each target sets up .venv by itself; a second run reuses it.
PYTHON ?= python3
OUT ?= benchmarks/results
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
SERVING := .venv-serving
RAY := .venv-ray

.PHONY: demo test slow serving check bench gpu clean

demo: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" ./demo/run.sh

test: $(INSTALLED)
	$(BIN)/pytest -m "not slow and not serving"

# Every variant's graph, whole trainings, long streams: what takes minutes.
slow: $(INSTALLED)
	$(BIN)/pytest -m slow

# A Triton server and Ray, each in an environment of its own: the server's python backend needs numpy 1,
# Ray's pyarrow numpy 2.
serving: $(INSTALLED) $(SERVING)/installed $(RAY)/installed
	$(BIN)/pytest -m serving

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
	rm -rf $(VENV) $(SERVING) $(RAY) demo/output

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,bench,rtx,cuda13,triton]'
	touch $@

# nvidia-pytriton brings tritonserver 2.51 with the python backend. The backend finds its libraries beside
# the stub, which therefore has to lie in the backend's folder.
$(SERVING)/installed: setup.py
	$(PYTHON) -m venv $(SERVING)
	$(SERVING)/bin/pip install --quiet nvidia-pytriton==0.7.0 'numpy<2' 'opencv-python-headless<4.12' onnxruntime==1.31.1 tqdm
	$(SERVING)/bin/pip install --quiet --no-deps --editable .
	version=$$($(SERVING)/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	cd $(SERVING)/lib/python$$version/site-packages/pytriton/tritonserver && \
	cp python_backend_stubs/$$version/triton_python_backend_stub backends/python/
	touch $@

$(RAY)/installed: setup.py constraints.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/pip install --quiet --constraint constraints.txt 'ray[data]==2.60.0' onnxruntime==1.31.1 numpy opencv-python-headless tqdm
	$(RAY)/bin/pip install --quiet --no-deps --editable .
	touch $@
