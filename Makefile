# `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
CONFIG ?= fused
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
# where it is set, every process would compile every library again: 12 s each
unexport PYTHONDONTWRITEBYTECODE

# a file at a time, in the order of tests/conftest.py: what a file's tests share is made once
WORKERS := -n auto --dist loadfile --no-loadscope-reorder

OVERLAY ?=
# the demo's overlay, by name or by path
DEMO   := $(filter demo configs/demo.yaml,$(OVERLAY))
PATIENTS ?= $(if $(DEMO),demo/cohort/patients.csv)
OUT    ?= $(if $(DEMO),demo/results,results)

.PHONY: setup demo demo-data test test-fast lint cv study ui clean
setup: $(READY)

# again only when the lock changes
$(READY): requirements.lock
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

# a simulated cohort and its store
demo-data: $(READY)
	test -e demo/cohort || mufnet phantom demo/cohort --patients 160 --high-share 0.4 --frames 6 --clip-length 12 --pane-size 224
	mufnet prepare demo/cohort demo/store

# and on them the three arms, and their scores beside the ceilings
demo: demo-data
	for arm in bmode ceus fused; do mufnet fit --config $$arm --config demo || exit; done
	@echo
	@echo "Patient-level test AUC of each arm, beside what the truth behind the phantom reaches:"
	mufnet ceilings demo/cohort --study demo
	@echo
	@echo "Compare the runs in a browser: make ui, or"
	@python -c "from mufnet_lightning.tracking.views import link_line; print(link_line('demo'))"

# types are checked while the tests run; tests/test_rooms.py runs lint-imports
test: $(READY)
	ruff check .
	ruff format --check .
	mypy & types=$$!; python -m pytest $(WORKERS); tests=$$?; wait $$types && exit $$tests

# while you work: what takes its time is left out
test-fast: $(READY)
	python -m pytest $(WORKERS) -m "not slow"

lint: $(READY)
	ruff check .
	ruff format --check .
	mypy
	lint-imports

# make cv CONFIG="ceus demo"
cv: $(READY)
	mufnet cv $(foreach file,$(CONFIG),--config $(file))

# the whole experiment: the arms on the same folds, Tables 1 and 2, figures
# make study PATIENTS=my_cohort/patients.csv OVERLAY=my.yaml; small: make study OVERLAY=demo
study: $(READY) $(if $(DEMO),demo-data)
	mufnet study study $(foreach file,$(OVERLAY),--config $(file)) \
		$(if $(PATIENTS),--patients $(PATIENTS)) --out $(OUT)

# the comparison in a browser; of one of several: make ui STUDY=demo
ui: $(READY)
	mufnet ui $(STUDY)

# what was built; runs and stores are somebody's work, and stay
clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
