# Everything from a fresh clone: needs make, python3 (3.11 to 3.13) and, the first time, a network.

.DEFAULT_GOAL := help
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
BIN := .venv/bin
CORES := $(shell getconf _NPROCESSORS_ONLN)
# of the small book
PARAMETERS := -p seeds 2 -p epochs 3
OUTPUT := _build/small
SOURCE = $(OUTPUT)/_build/source

.PHONY: help env test lint format notebooks book small-book check-book clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: .venv/installed  ## install the locked environment into .venv (uv comes from the PATH or into .uv)

test: env lint  ## check style and run the tests
	$(BIN)/pytest -n 2

lint: env  ## check style, and that each layer imports only from those below it
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: env  ## bring code into style and strip notebooks of outputs
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

notebooks: env  ## run every notebook with papermill at tiny PARAMETERS, as many at a time as there are cores
	rm -rf $(SOURCE)
	mkdir -p $(SOURCE)/notebooks
	@# the largest first: they take longest
	ls -S notebooks/*.ipynb | OMP_NUM_THREADS=1 LOKY_MAX_CPU_COUNT=1 xargs -P $(CORES) -I {} \
		$(BIN)/papermill --cwd notebooks --no-progress-bar $(PARAMETERS) {} $(SOURCE)/{}

book: notebooks  ## run every page at its default parameters and build the book into _build/html
small-book: notebooks  ## build the book from the notebooks at tiny PARAMETERS into _build/small/_build/html
book: OUTPUT := .
book: PARAMETERS :=
book small-book:
	rm -rf book/api
	cp -r book _toc.yml $(SOURCE)
	awk '{ print } /execute_notebooks:/ { print "  exclude_patterns: [notebooks/*]" }' _config.yml > $(SOURCE)/_config.yml
	$(BIN)/jupyter-book build $(SOURCE) --path-output $(OUTPUT) --all --warningiserror --nitpick --keep-going
	@echo "The book is at file://$(abspath $(OUTPUT))/_build/html/index.html"

check-book: env  ## look at the small book in a browser, where there is a Chromium
	LABELREG_BOOK=_build/small/_build/html $(BIN)/pytest -rs -n 2 --dist loadfile tests/browser

clean:  ## remove what was built; the environment stays
	rm -rf _build book/api .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.venv/installed: pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --all-extras --compile-bytecode
	@touch $@

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv
