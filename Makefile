# `make help` lists what there is. Everything runs in a virtual environment that make creates itself.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVE := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo serve || echo serve-cpu)
READY := $(VENV)/.ready-$(SERVE)

export HF_HUB_DISABLE_TELEMETRY := 1
export VLLM_NO_USAGE_STATS := 1
export DO_NOT_TRACK := 1

.PHONY: help setup demo ui ui-stop test test-slow test-unit lint doctor clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## create the environment (GPU or CPU serving is picked by itself)

# The CPU build of vLLM asks for torch add-ons whose wheels break `import transformers` beside a CPU torch.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Charter needs Python 3.11 or later: make PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(SERVE),dev]'
	if [ $(SERVE) = serve-cpu ]; then $(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec; fi
	touch $@

demo: $(READY)  ## the main job, end to end, on the sandbox
	$(BIN)/python -m flows.align configs/demo.yaml

ui: $(READY)  ## Prefect on this machine: server, worker, every deployment (PORT=4200)
	@$(BIN)/charter ui start $(if $(PORT),--port $(PORT))

ui-stop:  ## end what `make ui` started
	@$(BIN)/charter ui stop

# What starts servers waits as much as it computes: two workers share it, whatever the number of cores.
test: $(READY)  ## the tests, except those that take many minutes
	@status=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit --numprocesses auto || status=$$?; \
	$(BIN)/python -m pytest tests/browser tests/flows tests/system --numprocesses 2 --dist loadfile --no-loadscope-reorder || status=$$?; \
	exit $$status

test-slow: $(READY)  ## the tests that take many minutes
	$(BIN)/python -m pytest -m slow

test-unit: $(READY)  ## the tests that need neither server nor network
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit --numprocesses auto

lint: $(READY)  ## style, types, scripts and manifests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck .ci/* deploy/slurm/*
	$(BIN)/kubernetes-validate --quiet --strict deploy/kubernetes/*.yaml

doctor: $(READY)  ## what is installed, what is missing, and what to do about it
	$(BIN)/charter doctor

clean:  ## remove the environment and caches; runs in outputs/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
