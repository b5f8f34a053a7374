# Two commands on a fresh machine with Python 3.11: `make reproduce` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: reproduce test notebooks lab clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[test]' -c constraints.txt
	touch $@

reproduce: $(STAMP)
	$(BIN)/sst reproduce

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout=120 --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks

notebooks: $(STAMP)
	$(BIN)/sst reproduce --in-place

lab: $(STAMP)
	$(BIN)/jupyter lab --notebook-dir notebooks

clean:
	rm -rf $(VENV) results/executed results/report
