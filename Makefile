# Two commands for a newcomer: `make demo` and `make test`. Both install what they need first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PYTHONSAFEPATH := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test check format bench soak clean

demo: $(STAMP)
	$(BIN)/quiver demo

test: $(STAMP)
	$(BIN)/pytest -q
	$(BIN)/pytest -q --doctest-modules src/quiver --ignore=src/quiver/cli

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
