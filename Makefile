# Each command makes .venv on first use; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt
# mod_wsgi's daemons may be other users than we: an interpreter that they can read.
APACHE_PYTHON ?= /usr/bin/python3

.PHONY: help demo check test lint coverage docs accuracy dist upgrade apache clean
.DEFAULT_GOAL := help

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## /\1@/p' $(MAKEFILE_LIST) | awk -F@ '{printf "make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/.examples ## Measure the example shop (Django and a real Postgres) for a 4 GiB machine
	$(BIN)/tune examples.shop.wsgi --ram 4G

check: lint ## Style, types and the fast tests: under two minutes
	$(BIN)/pytest --numprocesses 2 -m fast

# Most of a test's time is waiting, so two run at once. What fails beside another is asked once more,
# alone; what fails alone fails the suite, and what passes then is noted: it is a defect of its own.
test: $(VENV)/.dev lint apache ## Style, types and every test; what could not be tested is listed last
	@$(BIN)/pytest --record --numprocesses 2 --dist loadfile || \
	    $(BIN)/pytest --second-try --last-failed --last-failed-no-failures none; \
	status=$$?; $(BIN)/python .ci/summary.py; exit $$status

# The rooms are imported as pretune.*; the type checker sees them so through links.
lint: $(VENV)/.dev ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/typing/pretune
	for room in advisor server loadtests reports; do ln -sfn ../../../$$room build/typing/pretune/$$room; done
	MYPYPATH=build/typing $(BIN)/mypy -p pretune.advisor -p pretune.server -p pretune.loadtests -p pretune.reports

coverage: $(VENV)/.dev apache ## Every test, all processes counted: docs/COVERAGE.md; no room under 85%
	$(BIN)/python .ci/measure_coverage.py

docs: $(VENV)/.dev ## Pages that are made of tables: REPORT_JSON, SERVERS, ACCURACY, COMPARE
	$(BIN)/python -m pretune.reports.schema_page > docs/REPORT_JSON.md
	$(BIN)/python -m pretune.reports.server_table > docs/SERVERS.md
	$(BIN)/python -m bench.accuracy report
	$(BIN)/python -m bench.compare

# RERUN="orm heavy" measures those anew.
accuracy: $(VENV)/.dev ## Predict the stored sweeps again and write docs/ACCURACY.md
	$(if $(RERUN),$(BIN)/python -m bench.accuracy measure --again $(addprefix --app ,$(RERUN)))
	$(BIN)/python -m bench.accuracy report

dist: $(VENV)/.dev ## dist/: the source distribution, and the wheel built from it
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

upgrade: $(VENV)/.dev ## Raise every version in constraints.txt and say what moved
	$(BIN)/python .ci/upgrade.py

$(VENV)/.examples: pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) --editable '.[examples]'
	touch $@

$(VENV)/.dev: pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) --editable '.[examples,dev]'
	touch $@

# Where it cannot be built the tests that need it are skipped, and say so.
apache:
	@mkdir -p build
	@test -e build/apache/.done || $(MAKE) --silent build/apache/.done >build/apache.log 2>&1 || \
	    echo "mod_wsgi cannot be built here: build/apache.log"

# mod_wsgi is compiled against Apache and this Python: a wheel from the cache may be linked with another.
build/apache/.done: constraints.txt
	rm -rf build/apache
	$(APACHE_PYTHON) -m venv build/apache
	build/apache/bin/pip install --quiet --no-cache-dir --constraint constraints.txt mod_wsgi flask django || \
	    { rm -rf build/apache; exit 1; }
	touch $@

clean: ## Remove everything that was made here
	rm -rf $(VENV) build dist capacity .mypy_cache .ruff_cache .pytest_cache
