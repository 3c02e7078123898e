# Two commands on a fresh machine: `make demo` and `make test`. Before a commit: `make lint`, which .pre-commit-config.yaml
# runs as well; `make tables` after new measurements; `make release-check` before a tag.
PYTHON ?= python3
VENV ?= .venv

.PHONY: demo test lint tables docs release-check clean

demo: $(VENV)/installed
	$(VENV)/bin/python examples/01_extract.py

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest --numprocesses auto

lint: $(VENV)/installed
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/pyright
	$(VENV)/bin/clang-format --dry-run --Werror msm3d/csrc/*.h msm3d/csrc/*.cpp tests/csrc/*.cpp
	$(VENV)/bin/python docs/tables.py --check

tables: $(VENV)/installed
	$(VENV)/bin/python docs/tables.py

docs: $(VENV)/installed
	$(VENV)/bin/mkdocs build --strict

release-check: $(VENV)/installed
	$(VENV)/bin/python .github/release_check.py

$(VENV)/installed: pyproject.toml constraints.txt CMakeLists.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade pip
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build demo site
