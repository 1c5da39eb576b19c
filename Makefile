# Two commands on a fresh clone do everything: `make quickstart` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STORAGE ?= experiments

.PHONY: setup quickstart test test-slow test-exhaustive check format bench bench-trials bench-query docs docs-peft docs-onnx wheel clean

setup: $(VENV)/.dev

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "adaptertune needs Python 3.11 to 3.13; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps trackio  # it asks for Pillow below 13
	touch $@

quickstart: $(VENV)/.base
	$(BIN)/adaptertune launch quickstart --storage $(STORAGE) --name "quickstart-$$(date +%Y%m%d-%H%M%S)" --then-ablate freezing

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not slow and not exhaustive" -n 3 --dist loadfile  # Ray's starts are mostly waiting

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "slow and not exhaustive" -n 2 --dist loadfile

test-exhaustive: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m exhaustive

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.sixteen_trials

bench-trials: $(VENV)/.dev
	$(BIN)/python -m benchmarks.ten_thousand_trials

bench-query: $(VENV)/.dev
	$(BIN)/python -m benchmarks.hundred_thousand_trials --peers

docs: $(VENV)/.dev
	$(BIN)/python -m docs.generate_commands
	$(BIN)/python -m docs.generate_models

docs-peft: $(VENV)/.dev  # a quarter of an hour: it runs every PEFT method
	$(BIN)/python -m docs.generate_peft_methods

docs-onnx: $(VENV)/.dev  # twenty minutes: it exports every kind of model and every adapter
	$(BIN)/python -m docs.generate_onnx

wheel: $(VENV)/.dev
	rm -rf build
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info
