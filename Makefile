# Two commands for a newcomer: `make demo` and `make test`. Both install what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests; each computes with one thread, since threads of several would wait for each other.
JOBS ?= 2
ALONE := OMP_NUM_THREADS=1
export PYTHONSAFEPATH := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test test-all check format bench soak clean

demo: $(STAMP)
	$(BIN)/quiver demo

test: $(STAMP)
	$(ALONE) $(BIN)/pytest -q -n $(JOBS) --dist loadfile -m "not slow"
	$(BIN)/pytest -q --doctest-modules src/quiver --ignore=src/quiver/cli

# What takes minutes too, and properties on many more examples and kills.
test-all: $(STAMP)
	$(ALONE) QUIVER_EXAMPLES=2000 QUIVER_KILLS=20 $(BIN)/pytest -q -n $(JOBS) --dist loadfile

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p quiver
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m quiver.benchmarks.speed.ingest

soak: $(STAMP)
	PYTHONPATH=tests $(BIN)/python -m campaign.soak --minutes 60

clean:
	rm -rf $(VENV) out

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[all,dev]'
	touch $(STAMP)
