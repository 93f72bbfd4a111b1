# `make help` lists what there is. Everything runs in a virtual environment that make creates itself.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVE := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo serve || echo serve-cpu)
DEMO := $(VENV)/.demo-$(SERVE)
READY := $(VENV)/.tests-$(SERVE)
INSTALL := $(shell command -v uv >/dev/null 2>&1 && echo uv pip install --python $(BIN)/python || echo $(BIN)/python -m pip install --no-compile) --quiet --constraint requirements.lock

export HF_HUB_DISABLE_TELEMETRY := 1
export VLLM_NO_USAGE_STATS := 1
export DO_NOT_TRACK := 1

.PHONY: help setup lock demo demo-real model ui ui-stop test test-slow test-unit lint doctor clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## create the environment with all test tools (GPU or CPU serving is chosen automatically)

# The CPU build of vLLM requires packages that it does not need to serve text: torch add-ons whose wheels break
# `import transformers` beside a CPU torch, and triton and OpenCV, which are 1.1 GB together.
UNUSED := torchvision torchaudio torchcodec triton opencv-python-headless
define drop_unused
	if [ $(SERVE) = serve-cpu ]; then $(BIN)/python -m pip uninstall --quiet --yes $(UNUSED); fi
	touch $@
endef

$(DEMO): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Charter needs Python 3.11 or later: make PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[$(SERVE)]'
	$(drop_unused)

$(READY): $(DEMO)
	$(INSTALL) --editable '.[$(SERVE),dev]'
	$(drop_unused)

lock: $(READY)  ## write the versions of this environment to requirements.lock
	grep '^#' requirements.lock > requirements.lock.new
	$(BIN)/python -m pip freeze --exclude-editable | grep -vE '^(torchvision|torchaudio|torchcodec|triton|setuptools)==|@' | sed 's/+cpu//' >> requirements.lock.new
	mv requirements.lock.new requirements.lock

demo: $(DEMO)  ## the main job, end to end, on the sandbox
	$(BIN)/charter align configs/demo.yaml

demo-real: $(READY)  ## the same on a small real model, which learns a style in under an hour
	$(BIN)/charter models get smollm2-135m
	$(BIN)/charter align configs/demo-real.yaml

model: $(READY)  ## download SmolLM2-135M-Instruct, a small real model
	$(BIN)/charter models get smollm2-135m

ui: $(DEMO)  ## Prefect on this machine: server, worker, every deployment (PORT=4200)
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

doctor: $(DEMO)  ## what is installed, what is missing, and what to do about it
	$(BIN)/charter doctor

clean:  ## remove the environment and caches; runs in outputs/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
