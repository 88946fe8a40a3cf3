# `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
CONFIG ?= configs/fused.yaml
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

OVERLAY ?=
PATIENTS ?= $(if $(findstring configs/demo.yaml,$(OVERLAY)),demo/cohort/patients.csv)
OUT    ?= $(if $(findstring configs/demo.yaml,$(OVERLAY)),demo/results,results)

.PHONY: setup demo demo-data test lint cv study ui clean
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
	for arm in bmode ceus fused; do \
		mufnet fit --config configs/$$arm.yaml --config configs/demo.yaml || exit; \
	done
	@echo
	@echo "Patient-level test AUC of each arm, beside what the truth behind the phantom reaches:"
	python -m mufnet_lightning.study.ceilings demo/cohort --study demo
	@echo
	@echo "Compare the runs: make ui, then open http://127.0.0.1:5000 and choose the experiment demo."

test: lint
	python -m pytest -n auto --dist worksteal

lint: $(READY)
	ruff check .
	ruff format --check .
	mypy

# make cv CONFIG="configs/ceus.yaml configs/demo.yaml"
cv: $(READY)
	mufnet cv $(foreach file,$(CONFIG),--config $(file))

# the whole experiment: the arms on the same folds, Tables 1 and 2, figures
# make study PATIENTS=my_cohort/patients.csv OVERLAY=my.yaml; small: make study OVERLAY=configs/demo.yaml
study: $(READY) $(if $(findstring configs/demo.yaml,$(OVERLAY)),demo-data)
	python -m mufnet_lightning.commands.study $(foreach file,$(OVERLAY),--config $(file)) \
		$(if $(PATIENTS),--patients $(PATIENTS)) --out $(OUT)

ui: $(READY)
	mkdir -p mlruns
	mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlruns/mlflow.db}" --host 127.0.0.1

# what was built; runs and stores are somebody's work, and stay
clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
