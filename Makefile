# These commands do everything on a fresh machine that has Python 3.10 to 3.14 with venv:
#   make demo    the whole learngene chain on handwritten digits, with a table and pictures under work_dirs/demo;
#                ALL=1 adds every method and control
#   make test    the tests
#   make study   CIFAR-10 and CamVid, hours; STUDY=quick shows in minutes that it works. DATA names their folder
# Others: make lint, make docs (the site), make test-upstream (upstream's OpenMMLab), make test-detection (mmdetection; both compile).
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

.PHONY: env demo test study lint docs test-upstream test-detection clean-env

env: $(STAMP)

$(STAMP): requirements.txt setup.py mmlearngene/version.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 14) else f"Python 3.10 to 3.14 is needed, $(PYTHON) is {v[0]}.{v[1]}; name another one: make PYTHON=python3.13 ...")'
	@rm -rf $(VENV) $(LOG)
	$(call quietly,creating $(VENV) with $(PYTHON),$(PYTHON) -m venv $(VENV))
	$(call quietly,upgrading pip,$(BIN)/python -m pip install --upgrade pip setuptools wheel)
	$(call quietly,installing the versions of requirements.txt (PyTorch and OpenMMLab; some minutes),MMCV_WITH_OPS=0 $(BIN)/python -m pip install -r requirements.txt)
	$(call quietly,installing mmlearngene,$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .)
	@touch $(STAMP)

demo: env
	$(call timed,the learngene chain on handwritten digits,$(BIN)/python tools/demo.py $(if $(ALL),--all))

test: env
	$(call timed,the tests,OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q)

DATA ?= ../shared/data
study: env
	$(call timed,the study on CIFAR-10,OMP_NUM_THREADS=1 $(BIN)/python studies/cifar10.py --data $(DATA) \
		$(if $(filter quick,$(STUDY)),--quick --seeds 1 --work-dir work_dirs/cifar10_quick --figures work_dirs/cifar10_quick))
	$(if $(filter quick,$(STUDY)),,$(call timed,the study of a wider grid,OMP_NUM_THREADS=1 $(BIN)/python studies/grid_cifar10.py --data $(DATA)))
	$(if $(filter quick,$(STUDY)),,$(call timed,the study of tokens,OMP_NUM_THREADS=1 $(BIN)/python studies/dense_cifar10.py --data $(DATA)))

lint: env
	$(call timed,lint,$(BIN)/ruff check . && $(BIN)/ruff format --check .)

docs: env
	$(call timed,the site in site/,NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict)

# The tests of what an OpenMMLab project meets, with the upstream packages in the place of the onedl builds. Upstream's
# mmsegmentation imports mmcv's operators, which are compiled.
UPSTREAM := .env-upstream
$(UPSTREAM)/installed: requirements.txt setup.py tools/build_mmcv_ops.sh
	@rm -rf $(UPSTREAM)
	$(call quietly,creating $(UPSTREAM),$(PYTHON) -m venv $(UPSTREAM) && $(UPSTREAM)/bin/python -m pip install --upgrade pip 'setuptools<81' wheel ninja)
	$(call quietly,installing what is not OpenMMLab,grep -v '^onedl-' requirements.txt | $(UPSTREAM)/bin/python -m pip install -r /dev/stdin opencv-python-headless 'model-index' einops mat4py prettytable)
	$(call quietly,compiling mmcv 2.1.0 for the CPU (many minutes),tools/build_mmcv_ops.sh $(UPSTREAM)/bin/python mmcv==2.1.0)
	$(call quietly,installing upstream packages,$(UPSTREAM)/bin/python -m pip install --no-build-isolation mmengine==0.10.7 mmpretrain==1.2.0 mmsegmentation==1.2.2)
	$(call quietly,installing mmlearngene,$(UPSTREAM)/bin/python -m pip install --no-deps --no-build-isolation --editable .)
	@touch $@

test-upstream: $(UPSTREAM)/installed
	$(call timed,the tests with upstream packages,TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 OMP_NUM_THREADS=1 $(UPSTREAM)/bin/python -m pytest -q \
		tests/runs/test_external_project.py tests/use/test_initialize.py tests/engine/test_engine.py tests/models/test_models.py)

# A tiny detector of mmdetection, whose operators of mmcv are compiled. Without transformers: where pycocotools is installed, mmpretrain
# imports its multimodal models, which do not go with transformers 5.
DETECTION := .env-detection
$(DETECTION)/installed: requirements.txt setup.py tools/build_mmcv_ops.sh
	@rm -rf $(DETECTION)
	$(call quietly,creating $(DETECTION),$(PYTHON) -m venv $(DETECTION) && $(DETECTION)/bin/python -m pip install --upgrade pip 'setuptools<82' wheel ninja)
	$(call quietly,installing requirements.txt without transformers,grep -v '^transformers' requirements.txt | MMCV_WITH_OPS=0 $(DETECTION)/bin/python -m pip install -r /dev/stdin)
	$(call quietly,compiling onedl-mmcv 2.3.6 for the CPU (many minutes),tools/build_mmcv_ops.sh $(DETECTION)/bin/python onedl-mmcv==2.3.6)
	$(call quietly,installing mmdetection,$(DETECTION)/bin/python -m pip install onedl-mmdetection==3.5.1 six)
	$(call quietly,installing mmlearngene,$(DETECTION)/bin/python -m pip install --no-deps --no-build-isolation --editable .)
	@touch $@

test-detection: $(DETECTION)/installed
	$(call timed,a tiny detector,OMP_NUM_THREADS=1 $(DETECTION)/bin/python -m pytest -q tests/runs/test_detection.py)

clean-env:
	rm -rf $(VENV) $(LOG) $(UPSTREAM) $(DETECTION)
