# make demo | test | ui | check | bench: each sets up what it needs in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME := $(CURDIR)/.dagster

.PHONY: help demo test test-fast stress ui check bench clean

help:
	@echo "make demo       set up, then run the shipped dataset 'loans' into a DuckDB warehouse"
	@echo "make test       set up, then run all tests (test-fast leaves out the slow ones)"
	@echo "make stress     set up, then all faults and attacks at length (an hour and more); rewrites docs/guarantees.md"
	@echo "make ui         open the Dagster UI on http://127.0.0.1:3000"
	@echo "make check      lint, types, import rules"
	@echo "make bench      measure speed and fidelity beside peers (see benchmarks/README.md)"

# pip reads constraints.txt, so everyone gets the versions that were tested.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[examples]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/aigc run loans

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

stress: $(VENV)/.installed-dev
	AIGC_STRESS=1 $(BIN)/python -m pytest tests/faults tests/attacks --guarantees docs/guarantees.md

ui: $(VENV)/.installed
	@mkdir -p $(DAGSTER_HOME) && cp dagster.yaml $(DAGSTER_HOME)/dagster.yaml
	$(BIN)/dagster dev -w workspace.yaml --host 127.0.0.1 --port 3000

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.run $(ARGS)

clean:
	rm -rf $(VENV) .dagster .pytest_cache .ruff_cache .mypy_cache *.egg-info
