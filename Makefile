# Two commands do everything: `make demo` and `make test`. Each makes .venv on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint accuracy clean

# The main job: measure the example shop (Django and a real Postgres) for a 4 GiB machine.
demo: $(VENV)/.examples
	$(BIN)/tune examples.shop.wsgi --ram 4G

# Style, types and the whole test suite; most of a test's time is waiting, so two run at once.
# What fails beside another is asked once more, alone; what fails alone fails the suite.
test: $(VENV)/.dev lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile || \
	    $(BIN)/pytest --last-failed --last-failed-no-failures none

# The rooms are imported as pretune.*; the type checker sees them so through links.
lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/typing/pretune
	for room in advisor server loadtests reports; do ln -sfn ../../../$$room build/typing/pretune/$$room; done
	MYPYPATH=build/typing $(BIN)/mypy -p pretune.advisor -p pretune.server -p pretune.loadtests -p pretune.reports

# Predicts the stored sweeps again and rewrites docs/ACCURACY.md; RERUN="orm heavy" measures those anew.
accuracy: $(VENV)/.dev
	$(if $(RERUN),$(BIN)/python -m bench.accuracy measure --again $(addprefix --app ,$(RERUN)))
	$(BIN)/python -m bench.accuracy report

$(VENV)/.examples: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[examples]'
	touch $@

$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[examples,dev]'
	touch $@

# mod_wsgi is compiled against Apache and this Python: a wheel from the cache may be linked with another.
# Its daemons need an interpreter that others can read.
build/apache/.done:
	/usr/bin/python3 -m venv build/apache
	build/apache/bin/pip install --quiet --no-cache-dir mod_wsgi flask django
	touch $@

clean:
	rm -rf $(VENV) build capacity .mypy_cache .ruff_cache .pytest_cache
