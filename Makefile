# Two commands do everything on a fresh machine that has Python 3.10 to 3.13 with venv:
#   make demo    the whole learngene chain on handwritten digits, with a table and pictures under work_dirs/demo
#   make test    the tests
# Both set up .venv first (make env); a second call reuses it, a change of the requirements rebuilds it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: env demo test lint clean-env

env: $(STAMP)

$(STAMP): requirements.txt setup.py mmlearngene/version.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else f"Python 3.10 to 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}; name another one: make PYTHON=python3.13 ...")'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	MMCV_WITH_OPS=0 $(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	touch $(STAMP)

demo: env
	$(BIN)/python tools/demo.py

test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q

lint: env
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

clean-env:
	rm -rf $(VENV)
