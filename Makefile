# Every target sets up .venv by itself the first time; `make help` lists them.

PYTHON ?= python3.12 python3.11 python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SUPPORTED := import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo demo-train test lint bench accuracy constraints clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Python 3.11 or 3.12 is found by itself; choose one with PYTHON=/path/to/python."
	@echo "The environment is $(VENV); remove that folder to set it up anew."

demo: $(INSTALLED)  ## map a synthetic specimen by the default model, into demo/ (1 to 2 minutes)
	rm -rf demo
	$(BIN)/zoneaxis phantom --out demo/scan.hspy
	$(BIN)/zoneaxis index demo/scan.hspy --out demo/network.h5
	$(BIN)/zoneaxis match demo/scan.hspy --out demo/matched.h5
	$(BIN)/zoneaxis compare demo/matched.h5 demo/scan.truth.h5 --scan demo/scan.hspy --out demo/matched.html --json demo/matched.json
	$(BIN)/zoneaxis compare demo/network.h5 demo/scan.truth.h5 --scan demo/scan.hspy --out demo/network.html --json demo/network.json
	@echo "Reports to look at: demo/network.html (the network) and demo/matched.html (template matching)"
	@echo "A point in four is off by more than 5 degrees: overlapping grains, thin edges, half turns; see docs/accuracy.md"
	@echo "Finer, with thickness, a part in some minutes: $(BIN)/zoneaxis index demo/scan.hspy --refine --crop 8 16 8 16 --out demo/refined.h5"

demo-train: demo  ## then train a network of your own and map by it (5 to 10 minutes more)
	$(BIN)/zoneaxis build --preset demo --out demo/dataset
	$(BIN)/zoneaxis train --data demo/dataset --out demo/model
	$(BIN)/zoneaxis index demo/scan.hspy --model demo/model --out demo/trained.h5
	$(BIN)/zoneaxis compare demo/trained.h5 demo/scan.truth.h5 --scan demo/scan.hspy --out demo/trained.html --json demo/trained.json
	@echo "Report to look at: demo/trained.html"

test: lint  ## lint, then all tests
	$(BIN)/python -m pytest

lint: $(INSTALLED)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(INSTALLED)  ## run benchmarks/bench_*.py, pyxem installed; results go to benchmarks/results/
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--config-settings editable_mode=compat --editable ".[bench,dev]"
	@set -e; for file in benchmarks/bench_*.py; do echo "$$file"; $(BIN)/python "$$file"; done

accuracy: $(INSTALLED)  ## tables and figure of the docs from benchmarks/results/accuracy.json
	$(BIN)/python benchmarks/accuracy_table.py docs/accuracy.md
	$(BIN)/python benchmarks/accuracy_table.py README.md --sets plain,precession --columns median_deg,within_5,patterns_per_s
	$(BIN)/python docs/make_accuracy_figure.py

constraints:  ## renew constraints.txt with the newest versions that pyproject.toml allows
	rm -rf build/constraints
	python3.11 -m venv build/constraints
	build/constraints/bin/pip install --quiet --editable ".[bench,dev]"
	grep '^#' constraints.txt > build/constraints/new.txt
	build/constraints/bin/pip freeze --all --exclude pip --exclude-editable \
		| sed -n -E 's/^([A-Za-z0-9._-]+==[^+ ]+).*/\1/p' >> build/constraints/new.txt
	mv build/constraints/new.txt constraints.txt
	rm -rf build/constraints

clean:  ## remove what demo, tests and builds left behind (not the environment)
	rm -rf demo build dist .pytest_cache .ruff_cache .hypothesis
	find zoneaxis tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@if $(BIN)/python -c '$(SUPPORTED)' 2>/dev/null; then exit 0; fi; \
	for candidate in $(PYTHON); do \
		if "$$candidate" -c '$(SUPPORTED)' 2>/dev/null; then \
			echo "Setting up $(VENV) with $$("$$candidate" --version); this takes a few minutes once."; \
			exec "$$candidate" -m venv --clear $(VENV); \
		fi; \
	done; \
	echo "No Python 3.11 or 3.12 with its venv module among: $(PYTHON)." >&2; \
	echo "Install one (Debian and Ubuntu: apt install python3.11-venv), or name it: make PYTHON=/path/to/python3.11" >&2; \
	exit 1
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--config-settings editable_mode=compat --editable ".[dev]"
	@touch $@
