# Two commands on a fresh machine with Python 3.11: `make reproduce` and `make test`. Both set up what they need,
# once: the stamp file makes the second call immediate. Another interpreter: `make test PYTHON=/path/to/python3.11`.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: reproduce test lint format notebooks docs lab clean

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "constraints.txt is made for Python 3.11, and \
	$(PYTHON) is %d.%d: install 3.11, or name it: make PYTHON=/path/to/python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[test]' -c constraints.txt
	touch $@

reproduce: $(STAMP)
	$(BIN)/sst reproduce

test: lint
	$(PYTEST) tests
	$(PYTEST) --nbval --nbval-current-env --nbval-cell-timeout=600 --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/python -m mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .

notebooks: $(STAMP)
	$(BIN)/sst reproduce --in-place

docs: $(STAMP)
	$(BIN)/python -m sstlib.reproduction.docstrings

# In a container: `make lab IP=0.0.0.0` with port 8888 published; it prints its address. A user without a home gets one.
# Notebooks are saved when one saves them: JupyterLab's own saving, every two minutes, would change tracked files
lab: $(STAMP)
	settings=$$(mktemp -d); trap 'rm -rf "$$settings"' EXIT; trap 'exit 143' INT TERM HUP; \
	[ -w "$$HOME" ] || { export HOME="$$settings/home"; mkdir "$$HOME"; }; \
	echo '{"@jupyterlab/docmanager-extension:plugin": {"autosave": false}}' > $$settings/overrides.json; \
	$(BIN)/jupyter lab --notebook-dir notebooks --LabApp.app_settings_dir=$$settings $(if $(IP),--ip $(IP)) \
	$(if $(filter 0,$(shell id -u)),--allow-root --no-browser)

clean:
	rm -rf $(VENV) results/executed results/report
