# Two commands are all a newcomer needs: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: run test check lint types contracts pytest bench results soak e2e demo clean

run: $(VENV)/.app
	$(BIN)/python main.py

test: check

check: lint types contracts pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

pytest: $(VENV)/.dev
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

bench: $(VENV)/.dev
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m tests.benchmarks

results: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.results

soak: $(VENV)/.dev
	QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -q -m soak

e2e: $(VENV)/.dev
	bash packaging/system_libs.sh e2e
	$(BIN)/python -m pytest -q -m mouse

demo: $(VENV)/.dev
	$(BIN)/python resources/demo/build_demo.py

# torch first and exactly: any range pulls several GB of CUDA packages. Users on GPUs replace it by the CUDA build
# of the same version.
$(VENV)/.torch:
	bash packaging/system_libs.sh
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Mixdown needs Python 3.11 or newer.")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Try: apt-get install python3-venv"; exit 1; }
	@echo "Installing torch 2.13.0 and all else into $(VENV): some minutes, once."
	$(BIN)/python -m pip install -q torch==2.13.0
	touch $@

$(VENV)/.app: $(VENV)/.torch packaging/requirements.txt
	$(BIN)/python -m pip install -q torch==2.13.0 -r packaging/requirements.txt
	touch $@

$(VENV)/.dev: $(VENV)/.app packaging/requirements-dev.txt
	$(BIN)/python -m pip install -q torch==2.13.0 -r packaging/requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
