# These commands do everything on a fresh machine that has Python 3.10 to 3.13 with venv:
#   make demo    the whole learngene chain on handwritten digits, with a table and pictures under work_dirs/demo
#   make test    the tests
#   make study   CIFAR-10 and CamVid, hours; STUDY=quick shows in minutes that it works. DATA names their folder
# All set up .venv first (make env); a second call reuses it, a change of the requirements rebuilds it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
LOG := $(VENV).log

# $(call quietly,WHAT,COMMAND): says what is done and how long it took; all else goes to the log, whose end a failure shows
quietly = @printf '%s ... ' '$(1)'; start=$$(date +%s); { $(2); } >> $(LOG) 2>&1 || { \
	echo 'failed; $(LOG) ends with:'; tail -n 20 $(LOG); exit 1; }; echo "$$(($$(date +%s) - start)) s"
# $(call timed,WHAT,COMMAND): the same for what has something to show itself
timed = @echo '$(1)'; start=$$(date +%s); $(2); status=$$?; echo "$(1): $$(($$(date +%s) - start)) s"; exit $$status

.PHONY: env demo test study lint clean-env

env: $(STAMP)

$(STAMP): requirements.txt setup.py mmlearngene/version.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else f"Python 3.10 to 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}; name another one: make PYTHON=python3.13 ...")'
	@rm -rf $(VENV) $(LOG)
	$(call quietly,creating $(VENV) with $(PYTHON),$(PYTHON) -m venv $(VENV))
	$(call quietly,upgrading pip,$(BIN)/python -m pip install --upgrade pip setuptools wheel)
	$(call quietly,installing the versions of requirements.txt (PyTorch and OpenMMLab; some minutes),MMCV_WITH_OPS=0 $(BIN)/python -m pip install -r requirements.txt)
	$(call quietly,installing mmlearngene,$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .)
	@touch $(STAMP)

demo: env
	$(call timed,the learngene chain on handwritten digits,$(BIN)/python tools/demo.py)

test: env
	$(call timed,the tests,OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q)

DATA ?= ../shared/data
study: env
	$(call timed,the study on CIFAR-10,OMP_NUM_THREADS=1 $(BIN)/python tools/studies/cifar10.py --data $(DATA) \
		$(if $(filter quick,$(STUDY)),--quick --seeds 1 --work-dir work_dirs/cifar10_quick --figures work_dirs/cifar10_quick))

lint: env
	$(call timed,lint,$(BIN)/ruff check . && $(BIN)/ruff format --check .)

clean-env:
	rm -rf $(VENV) $(LOG)
