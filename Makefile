# Two commands do everything on a fresh clone: `make demo` and `make test`. Needs Python 3.11, 3.12 or 3.13 and a C
# compiler; takes the first of these that is there, or the one that is named: `make demo PYTHON=python3.13`.

FOUND := $(foreach version,3.11 3.12 3.13,$(shell command -v python$(version) 2>/dev/null))
PYTHON ?= $(or $(firstword $(FOUND)),python3.11)
BIN := .venv/bin
RUN := runs/demo
DATA := experiments/data_configs/simulated.yaml

.PHONY: install demo benchmark recipe test check format clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Simulate, train, evaluate, and write a report to open in a browser.
demo: install
	$(BIN)/visioncore train --model experiments/model_configs/vivit_best.yaml --data $(DATA) \
		--training experiments/training_configs/best.yaml --out $(RUN) --max-minutes 8
	$(BIN)/visioncore evaluate $(RUN) --json $(RUN)/test.json --table $(RUN)/test.csv
	$(BIN)/visioncore report $(RUN)
	@echo "Open $(RUN)/report.html in a browser."

# Every comparison of docs/benchmarks.md, one after the other; many hours. Started again, it goes on where it was.
benchmark: install
	for suite in default unseen short short_120hz white_noise supervision linear_path finalists calcium data_efficiency neuron_efficiency; do \
		$(BIN)/visioncore benchmark experiments/benchmarks/$$suite.yaml --out runs/benchmark/$$suite || exit 1; \
	done

# What each choice of the recipe is worth; also resumed by the same command.
recipe: install
	$(BIN)/visioncore benchmark experiments/benchmarks/recipe.yaml --out runs/benchmark/recipe

# Everything CI checks. Types are checked beside the tests, and told after them; either fails the command.
test: install layout
	@$(call beside_types,$(BIN)/pytest $(WORKERS))

# The same without the slow tests.
check: install layout
	@$(call beside_types,$(BIN)/pytest $(WORKERS) -m "not slow")

WORKERS := -n auto --dist loadfile --no-loadscope-reorder
beside_types = told=$$(mktemp); $(BIN)/mypy >$$told 2>&1 & types=$$!; $(1); tests=$$?; \
	wait $$types; types=$$?; cat $$told; rm $$told; test $$tests -eq 0 && test $$types -eq 0

.PHONY: lint layout
lint: layout
	$(BIN)/mypy

layout: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Removes what was built and trained; recordings prepared for training (stores/) too.
clean:
	rm -rf .venv runs stores build src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
