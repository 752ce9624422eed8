# make help lists the targets. Everything happens in .venv, build/ and artifacts/, which git ignores.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# The first Python of 3.10 to 3.12 on this machine; name another with PYTHON=...
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
# torch comes beside the lock (CONTRIBUTING.md, Dependencies). TORCH_FLAGS="--index-url ..." chooses its build.
export TORCH_FLAGS ?=
# Arguments of `make export`, `serve`, `doctor`, `loadtest`, `recommend`, `bench`: make serve ARGS="--grpc-port 9001"
ARGS ?=
# Of `make gpu-check`, for its second part: LATENCY_ARGS="--backbone bert-base"
LATENCY_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test lint types unit export serve doctor recommend loadtest evaluate fit bench bench-peers perf-analyzer gpu-check lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## Make .venv and install the locked dependencies

$(VENV)/.ready: requirements.lock pyproject.toml client/pyproject.toml deploy/install.sh
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10, 3.11 or 3.12 found: install one, or make setup PYTHON=/path/to/python"; exit 1; }
	@echo "==> $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@deploy/install.sh dependencies $(BIN)/python requirements.lock
	@deploy/install.sh packages $(BIN)/python
	@touch $@

demo: setup ## The main job end to end: export, a real Triton server, recommendations, latencies
	@$(BIN)/python -m examples.demo $(ARGS)

test: lint types unit ## Lint, types, tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# What starts servers, or needs quiet for what it measures, has the machine to itself; the rest goes side by side.
ALONE := $(addprefix tests/,demo loadtest server serving) \
	$(addprefix tests/bench/test_,case_study.py cross_check_run.py latency_device.py latency_run.py load.py)

unit: setup
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	@status=0; \
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(addprefix --ignore=,$(ALONE)) || status=$$?; \
	$(BIN)/python -m pytest $(ALONE) || status=$$?; \
	exit $$status
endif

SAMPLE := build/sample/ecommerce
SAMPLE_ARGS := --catalog $(SAMPLE)/items.jsonl.gz --events $(SAMPLE)/events.csv.gz --segments examples/ecommerce/segments.toml

export: setup ## Rebuild build/model_repository, of a sample or of make export ARGS="--catalog items.jsonl.gz --events ..."
	@$(if $(ARGS),,$(BIN)/python -m examples.sample_data --scenario ecommerce --out $(SAMPLE))
	@$(BIN)/tesserank export $(or $(ARGS),$(SAMPLE_ARGS))

serve: setup ## Serve build/model_repository on loopback until Ctrl-C
	@$(BIN)/tesserank serve $(ARGS)

doctor: setup ## Tell which stage of a running server is broken, and the remedy
	@$(BIN)/tesserank doctor $(ARGS)

recommend: setup ## Ask a running server: make recommend ARGS="--history a,b --text '...'"
	@$(BIN)/tesserank recommend $(ARGS)

loadtest: setup ## Locust against the running server, or one it starts (UI=1: with the web UI)
	@$(BIN)/tesserank loadtest $(if $(UI),--ui) $(ARGS)

fit: setup ## Learn spaces and weights of the history, and export: the sample or make fit ARGS="--catalog items.jsonl.gz --events ..."
	@$(if $(ARGS),,$(BIN)/python -m examples.sample_data --scenario ecommerce --out $(SAMPLE))
	@$(BIN)/tesserank fit $(or $(ARGS),$(SAMPLE_ARGS))

evaluate: setup ## Quality beside baselines, of the sample or of make evaluate ARGS="--catalog items.jsonl.gz --events ..."
	@$(if $(ARGS),,$(BIN)/python -m examples.sample_data --scenario ecommerce --out $(SAMPLE))
	@$(BIN)/tesserank evaluate $(or $(ARGS),$(SAMPLE_ARGS))

bench: setup ## Measure latency beside the cross-encoder's: make bench ARGS="--quick" (others: tesserank bench --help)
	@$(BIN)/tesserank bench latency $(ARGS)

# In an environment of its own: its torch, transformers and others are not those of the lock. torch first, for TORCH_FLAGS.
PEERS := build/bench/peers
PEERS_TORCH := torch==2.11.0

bench-peers: setup ## Install what `tesserank bench kernels` compares with, into build/bench/peers (gigabytes)
	@test -x $(PEERS)/bin/python || $(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet $(TORCH_FLAGS) $(PEERS_TORCH)
	@$(PEERS)/bin/python -m pip install --quiet -e '.[bench-peers]'

# In a folder of its own, which nothing imports from: the program lies in another version of a package that the lock has.
perf-analyzer: setup ## Fetch NVIDIA's perf_analyzer, for `tesserank bench loadtest-cross-check`, into build/perf_analyzer
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes --ignore-installed --prefix build/perf_analyzer \
		-r benchmarks/perf-analyzer.txt

# On a machine that downloads nothing: whichever Python finds a GPU, that of the machine first; no make setup.
GPU_PYTHON ?= $(shell for p in python3 $(BIN)/python; do \
	$$p -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null && echo $$p && exit; done; \
	test -x $(BIN)/python && echo $(BIN)/python || echo python3)

# The second needs make setup too: a server runs what is installed. Status 2: there is no GPU, or something is missing.
gpu-check: ## On a machine with an NVIDIA GPU: test, and measure kernels and requests there, into benchmarks/results/gpu-*.json
	@export PYTHONPATH=.:benchmarks:evaluation:export:client; status=0; \
	$(GPU_PYTHON) -m tesserank_bench gpu --tests $(ARGS) || status=$$?; \
	test $$status -ne 2 || exit 2; \
	$(GPU_PYTHON) -m tesserank_bench latency --device cuda $(filter --quick,$(ARGS)) $(LATENCY_ARGS) || status=$$?; \
	exit $$status

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --override requirements.override \
	--no-emit-package tesserank-client --no-header

# deploy/requirements.lock, the image's: a part of the other, less the wheel of Triton.
lock: setup ## Resolve requirements.lock anew, and deploy/requirements.lock
	rm -f requirements.lock deploy/requirements.lock
	$(COMPILE) --extra export --extra evaluate --extra serve --extra loadtest --extra bench \
		--extra tracking --extra dev --extra sample requirements.in pyproject.toml -o requirements.lock
	$(COMPILE) --override deploy/requirements.override --constraint requirements.lock --no-annotate \
		--extra serve --extra torch requirements.in pyproject.toml -o deploy/requirements.lock

clean: ## Remove build/ and artifacts/
	rm -rf build artifacts
