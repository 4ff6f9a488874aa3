# Two commands, each of which sets everything up by itself:
#   make skills   demonstrations, HeLMS skills, a report      RUN=folder of the run, DATA=other demonstrations (any entries)
#   make test     the fast tests                              ARGS=anything pytest takes, WORKERS=processes
# On a machine with an NVIDIA GPU: make benchmark EXTRAS=dev,cuda,warp ARGS="--suite=gpu --minutes=5"
# PYTHON chooses the interpreter (3.11 to 3.13), EXTRAS what to install: EXTRAS=dev,cuda on a machine with a GPU.

PYTHON ?= python3
EXTRAS ?= dev
PRESET ?= quickstart
RUN ?= runs/skills
DATA ?=
ARGS ?=
# Processes that tests run in: tracing and compiling are mostly the work of one core each. A few GiB of memory each.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))

bin := .venv/bin
comma := ,
parallel = -n $(WORKERS) --dist loadfile
# A stamp for each choice of extras. It is older than what it was made from when that changes, and only then is
# anything installed again.
stamp := .venv/installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: skills test test-slow test-all benchmark lint install clean

skills: $(stamp)
	$(bin)/python -m experiments.skills --config=experiments/configs/skills.py:$(PRESET) --workdir="$(RUN)" \
	  $(if $(DATA),--config.data="$(DATA)") $(ARGS)

test: $(stamp)
	$(bin)/python -m pytest -m "not slow" $(parallel) $(ARGS)

test-slow: $(stamp)
	$(bin)/python -m pytest -m slow $(ARGS)

test-all: $(stamp)
	$(bin)/python -m pytest $(parallel) $(ARGS)

benchmark: $(stamp)
	$(bin)/python -m experiments.benchmark $(ARGS)

lint: $(stamp)
	$(bin)/ruff check .
	$(bin)/ruff format --check .

install: $(stamp)

$(stamp): pyproject.toml setup.cfg $(wildcard constraints/*.txt)
	@version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])') || \
	  { echo "$(PYTHON) does not run; choose another with PYTHON=python3.12" >&2; exit 1; }; \
	test -f "constraints/python$$version.txt" || \
	  { echo "$(PYTHON) is Python $$version; this needs 3.11, 3.12 or 3.13: choose one with PYTHON=python3.12" >&2; exit 1; }
	@test -x $(bin)/pip || $(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "$(PYTHON) cannot make an environment; Debian and Ubuntu need: apt install python3-venv" >&2; exit 1; }
	@echo "installing into .venv: some minutes the first time"
	@version=$$($(bin)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	$(bin)/python -m pip install -qq --disable-pip-version-check --constraint "constraints/python$$version.txt" \
	  --editable ".[$(EXTRAS)]"
	@touch $@

clean:
	rm -rf .venv build *.egg-info
