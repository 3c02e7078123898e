# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv

.PHONY: demo test lint docs clean

demo: $(VENV)/installed
	$(VENV)/bin/python examples/01_extract.py

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest --numprocesses auto

lint: $(VENV)/installed
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/pyright
	$(VENV)/bin/clang-format --dry-run --Werror msm3d/csrc/*.h msm3d/csrc/*.cpp tests/csrc/*.cpp

docs: $(VENV)/installed
	$(VENV)/bin/mkdocs build --strict

$(VENV)/installed: pyproject.toml constraints.txt CMakeLists.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade pip
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build demo site
