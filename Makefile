# Every target sets up what it needs in .venv; nothing is installed by hand.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: setup demo test lint sim campaign soak performance bitstream no-board clean

setup: $(VENV)/.dev             ## everything: torch, simulator, tests (demo and test need no call of this)

demo: $(VENV)/.sim              ## stream the bundled clips through the virtual board
	$(BIN)/tidegate demo

test: $(VENV)/.dev              ## all tests but the slow campaigns (10 to 20 minutes on 2 cores)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/pyright

sim: $(VENV)/.dev               ## all RTL benches, waveforms in build/waves
	$(BIN)/python -m tidegate_sim.runner --waves build/waves

campaign: $(VENV)/.dev          ## the long campaigns: 10,000 frames for each design, network and threshold; boards' netlists; a bitstream built again
	$(BIN)/python -m pytest -m slow

soak: $(VENV)/.dev              ## 10 hours of made sound through the virtual board, every frame checked (20 minutes at best)
	$(BIN)/python -m tidegate_sim.soak --hours 10

performance: $(VENV)/.dev       ## measure all of docs/performance.md (leave the machine alone meanwhile)
	$(BIN)/tidegate bench --json --plot docs/speedup.svg > docs/performance.json
	OMP_NUM_THREADS=$$(nproc) $(BIN)/tidegate bench --tools --json > docs/tools.json
	$(BIN)/python -m tidegate_sim.performance

bitstream: $(if $(BOARD),$(VENV)/.build,no-board)       ## of a board: make bitstream BOARD=icebreaker
	$(BIN)/tidegate build --board $(BOARD)

no-board:
	@echo "which board? make bitstream BOARD=icebreaker, or ulx3s" >&2; exit 1

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tidegate needs Python 3.11 or newer")'
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "venv is missing: sudo apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.sim: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[sim]'
	touch $@

$(VENV)/.build: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[build]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.sim $(VENV)/.build

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache
