# The commands a person needs. Everything lands in .venv and node_modules; `make clean` removes what was built.
#
#   PYTHON=python3.12 make demo        another interpreter (3.11 or newer)
#   PYTEST_ARGS="-k topk" make test    pass options to pytest
#   BROWSER=0 make test                leave the browser tests out
#   RAY=0 make test                    leave out the tests that start a Ray cluster
#   WORKERS=0 make test                tests in one process (as many as cores otherwise, at most four)
#
# pip and npm are used as they are configured (PIP_*, npm_config_*, their configuration files).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMPS := $(VENV)/stamps
NPM := $(PY) hatch_build.py npm
BROWSER ?= 1
RAY ?= 1
KILLS ?= 20
FLOORS := .venvs/floors
FLOORS_TESTS := $(addprefix tests/,test_public_surface.py cli/test_help.py config catalog render demo widgets)
WORKERS ?= auto
JS_SOURCES := $(wildcard package.json package-lock.json tsconfig*.json js/*.mjs) $(shell find js/src -type f 2>/dev/null)
NOT_BROWSER := $(if $(filter 0,$(BROWSER)),and not browser)
PYTEST := $(PY) -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile

.PHONY: help demo lab test test-all lint types js pytest ray long browser-ready postgresql-ready kernels peers faults floors bench bench-all clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------- for everyone

demo: $(STAMPS)/package ## train the demo SAE and read ten of its features
	$(BIN)/saewidgets demo

lab: $(STAMPS)/package ## open JupyterLab on the first tutorial
	$(BIN)/saewidgets lab notebooks/01-train.ipynb

# ------------------------------------------------------------------------------------------- for developers

test: browser-ready postgresql-ready js lint types pytest ray ## set up what is missing, then run every check and every test that is not long

js: node_modules/.package-lock.json ## build, type-check, lint and test the frontends
	$(PY) tools/wire.py
	$(PY) hatch_build.py bundle
	$(NPM) run check
	$(NPM) run lint
	$(NPM) test

lint: $(STAMPS)/dev ## ruff
	$(BIN)/ruff check .

types: $(STAMPS)/dev ## mypy, strict
	$(BIN)/mypy

pytest: $(STAMPS)/dev
	$(PYTEST) -m "not long and not ray $(NOT_BROWSER)" $(PYTEST_ARGS)

ray: $(STAMPS)/dev ## jobs on a Ray cluster of this machine, by themselves
	@if [ "$(RAY)" = 0 ]; then echo "No tests on a Ray cluster: RAY=0"; \
	elif ! $(PY) -c "import ray" 2> /dev/null; then echo "No tests on a Ray cluster: Ray is not installed"; \
	else $(PY) -m pytest -m ray tests/workspace/test_ray.py; fi

long: $(STAMPS)/dev browser-ready postgresql-ready ## the long tests: every journey, kernel and tutorial, hypothesis at depth
	$(PYTEST) -m "(long or hypothesis) and not faults $(NOT_BROWSER)" --hypothesis-profile long $(PYTEST_ARGS)

browser-ready:
	@$(if $(filter 0,$(BROWSER)),true,.ci/chromium)

postgresql-ready:
	@.ci/postgresql

kernels: $(STAMPS)/dev ## the main browser test on ipykernel 6.31, 7.3 and 7.4
	$(PY) -m pytest -m "" tests/browser/test_training.py $(PYTEST_ARGS)

faults: $(STAMPS)/dev ## kill trainings and extractions at random moments, KILLS=20 times
	$(PY) -m pytest -m faults --kills $(KILLS) $(PYTEST_ARGS)

floors: $(FLOORS)/stamp ## what uses other packages most, on the lowest versions that pyproject.toml allows
	$(FLOORS)/bin/python -m pytest $(FLOORS_TESTS) $(PYTEST_ARGS)

test-all: test long faults floors ## every test there is: hours

peers: $(STAMPS)/dev ## build the environments of the packages we compare with
	$(PY) tools/make_peers.py

bench: $(STAMPS)/dev ## training beside other packages: some 35 minutes on two cores, after `make peers`
	$(PY) benchmarks/bench_train_step.py
	$(PY) benchmarks/bench_train_step.py --scaling
	$(PY) benchmarks/bench_end_to_end.py
	$(PY) benchmarks/report.py

bench-all: bench ## every benchmark; each prints ratios measured in one run
	@for file in $(filter-out %_train_step.py %_end_to_end.py,$(wildcard benchmarks/bench_*.py)); do \
	  echo "== $$file"; $(PY) "$$file"; done

clean: ## remove build products and caches
	rm -rf build dist saewidgets/widgets/static .pytest_cache .ruff_cache .mypy_cache .hypothesis test-results .coverage
	find saewidgets tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv and node_modules
	rm -rf $(VENV) node_modules

# ------------------------------------------------------------------------------------------- environments

$(STAMPS)/venv:
	@python=$$(.ci/find-python); echo "Python: $$python"; "$$python" -m venv $(VENV) || { \
	  echo "Could not make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/package: $(STAMPS)/venv pyproject.toml constraints.txt hatch_build.py $(JS_SOURCES)
	@echo "Installing saewidgets and what it stands on (PyTorch is large: minutes the first time)"
	$(PY) -m pip install --constraint constraints.txt --editable '.[lab]'
	@touch $@

# All floors at once, as Colab has had them for years, with its IPython and ipykernel. Not PyTorch's, which is that of the
# other tests: the index has older ones with gigabytes of CUDA only. Nothing is timed: old packages may be slower.
$(FLOORS)/stamp: $(STAMPS)/dev
	rm -rf $(FLOORS) && $(PY) -m venv $(FLOORS)
	sed -n '/^dependencies/,/^]/{/torch/d;s/^  "\([^>]*\)>=\([^,"]*\).*/\1==\2/p;}' pyproject.toml > $(FLOORS)/floors.txt
	grep -E '^(torch|pytest|pytest-timeout|hypothesis)==' constraints.txt >> $(FLOORS)/floors.txt
	$(FLOORS)/bin/python -m pip install --requirement $(FLOORS)/floors.txt ipython==7.34.0 ipykernel==6.17.1 --editable .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/venv pyproject.toml constraints.txt hatch_build.py $(JS_SOURCES)
	$(PY) -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMPS)/package $@

node_modules/.package-lock.json: package.json package-lock.json | $(STAMPS)/dev
	@requirement=$$($(PY) hatch_build.py requirement); \
	  if [ -n "$$requirement" ]; then $(PY) -m pip install --quiet "$$requirement"; fi
	$(NPM) ci
	@touch $@
