# The commands of the project. All of the work is in scripts/dev.py.
PYTHON ?= python3
ONLY ?=

.PHONY: lab demo test docs bench clean

lab:    ## JupyterLab with the quickstart notebook
	$(PYTHON) scripts/dev.py lab

demo:   ## the quickstart notebook without a browser
	$(PYTHON) scripts/dev.py demo

test:   ## every test (ONLY=python,notebooks: some)
	@$(PYTHON) scripts/dev.py test --only "$(ONLY)"

docs:   ## the documentation site, into docs/build
	$(PYTHON) scripts/dev.py docs

bench:  ## measure beside the peers that are installed
	$(PYTHON) scripts/dev.py bench

clean:  ## remove the environments and reports
	$(PYTHON) scripts/dev.py clean
