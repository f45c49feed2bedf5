# siliconbench. Works with GNU make 3.81 and later; everything is installed into .venv, once.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV ?= .venv
PYTHON ?=
GIVEN_PYTHON := $(PYTHON)
ifeq ($(GIVEN_PYTHON),)
PY := $(VENV)/bin/python
READY := $(VENV)/ready
else
# A site with its own torch: nothing is installed, the package runs from src with that Python's packages.
PY := PYTHONPATH=$(CURDIR)/src:$$PYTHONPATH $(GIVEN_PYTHON)
READY :=
endif

KNOBS := USE_GPU NUM_IMAGES BATCH_SIZE IMAGE_MODEL IMAGE_PX MIN_SECONDS WORKERS INPUT REPEATS SEED MINUTES MACHINE \
	PRECISION LAYOUT COMPILE ALLOCATOR THREADS MODE TELEMETRY RESULTS GOAL FRESH
OWN := VENV PYTHON REPORT LAB NAME SHARE_OWN PAGE MAKEFLAGS MAKELEVEL
export $(KNOBS) REPORT NAME SHARE_OWN PAGE
# Containers often set it: each run, a fresh process, would then compile torch anew, 12 s instead of 4 on a slow core.
unexport PYTHONDONTWRITEBYTECODE

# What stands on make's command line must be a knob: a misspelt one would be ignored in silence.
STRAY := $(filter-out $(KNOBS) $(OWN),$(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(v)))),$(v))))
ifneq ($(strip $(STRAY)),)
$(error unknown knob: $(strip $(STRAY)). Known: $(KNOBS))
endif

UV := $(shell command -v uv || echo $(VENV)/bin/uv)

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## install everything into .venv (every other target does it by itself)

image: $(READY) ## measure this machine; knobs: IMAGE_MODEL BATCH_SIZE USE_GPU NUM_IMAGES ... (README)
	@$(PY) -m siliconbench image

suite: $(READY) ## measure the fixed protocol: two figures to quote, single and bulk
	@$(PY) -m siliconbench suite

report: $(READY) ## render the page that compares your machines with the published ones
	@$(PY) -m siliconbench report

verify: $(READY) ## make a page anew and say whether it is the same; PAGE: its path (reports/compare.html)
	@$(PY) -m siliconbench verify

trust: $(READY) ## find out whether this machine, now, can tell 1, 2, 5 or 10 % apart (about five minutes)
	@$(PY) -m siliconbench trust

mistakes: $(READY) ## find out how wrong a careless benchmark would be here: ten mistakes, done live (about five minutes)
	@$(PY) -m siliconbench mistakes

pages: $(READY) ## do what measure, mistakes and trust do, and render each as a page to show (about ten minutes)
	@$(PY) -m siliconbench pages

best: $(READY) ## find the fastest setting of one model here that still gives the right outputs
	@$(PY) -m siliconbench best

share: $(READY) ## check this machine's records, put them among the published ones, say how to send them
	@$(PY) -m siliconbench share

check: $(READY) ## check every record, yours and the published ones, and name each bad one
	@$(PY) -m siliconbench check

lab: $(READY) ## open copies of the notebooks in JupyterLab; LAB: its own options, as LAB="--no-browser --port 8890"
	@$(PY) -m siliconbench lab
	@env -u JUPYTER_PATH JUPYTER_PREFER_ENV_PATH=1 $(PY) -m jupyterlab --allow-root \
		--ServerApp.root_dir='$(CURDIR)' --LabApp.default_url=/lab/tree/lab $(LAB)

doctor: $(READY) ## say what this machine can say of itself, and whether it is fit to be measured now
	@$(PY) -m siliconbench doctor || test $$? -eq 1

test: $(READY) ## run the tests
	@$(PY) -m pytest -n 3

lint: $(READY) ## check form and types; notebooks hold no outputs
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m nbstripout --verify --keep-id notebooks/*.ipynb

bench: $(READY) ## hold our loop against one by hand, the sampler on against off, a report of 50,000 records
	@$(PY) -m pytest tests/bench/bench_*.py -s --timeout=1800

lock: $(READY) ## refresh requirements.lock from pyproject.toml
	@$(UV) pip compile --universal --generate-hashes --python-version 3.11 --all-extras --upgrade \
		--no-emit-index-url --no-header -q pyproject.toml -o requirements.lock

clean: ## remove .venv and what was rendered; records stay
	rm -rf $(VENV) reports/runs; find reports -maxdepth 1 -name '*.html' ! -name compare.html -delete

$(VENV)/ready: requirements.lock pyproject.toml
	@for p in python3 python3.14 python3.13 python3.12 python3.11; do \
		$$p -c 'import platform, sys; sys.exit(sys.version_info < (3, 11) or \
			(sys.platform, platform.machine()) == ("darwin", "x86_64"))' 2>/dev/null && found=$$p && break; done; \
	case "$$(sw_vers -productVersion 2>/dev/null)" in 1[0-3].*) \
		echo "siliconbench needs macOS 14 or later, and 15 for the GPU: update the system"; exit 2;; esac; \
	test -n "$$found" || { echo "siliconbench needs Python 3.11 or later, on a Mac one for Apple silicon: brew install python (Mac)," \
		"apt install python3 python3-venv (Debian, Ubuntu), or your system's package"; exit 2; }; \
	need=6; why=" (torch for Linux carries CUDA, and torchvision works beside no other: with USE_GPU=0, too)"; \
	test "$$(uname -s)" != Darwin || { need=1; why=; }; \
	echo "Setting up $(VENV), once: about $$need GB$$why. Ctrl-C stops, and the same command goes on."; \
	room=$$({ df -Pk "$$(dirname $(VENV))"; du -sk $(VENV) 2>/dev/null; } | \
		awk 'NR == 2 {kb = $$4} NR == 3 {kb += $$1} END {if (NR > 1) print int(kb / 1000000)}'); \
	test "$${room:-$$need}" -ge $$need || { echo "It needs $$need GB of disk, and there are $$room GB: make room," \
		"or name another place (VENV=/elsewhere/.venv)."; exit 2; }; \
	$(VENV)/bin/python -c 'import pip' 2>/dev/null || $$found -m venv $(VENV)
	@command -v uv >/dev/null || $(VENV)/bin/python -m pip -q install uv
	@$(UV) pip install -p $(VENV) --require-hashes -r requirements.lock
	@$(UV) pip install -q -p $(VENV) --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: help setup image suite report verify trust mistakes pages best share check lab doctor test lint bench lock clean
