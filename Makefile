# One name for each check; `make` lists them. Everything runs from .venv, which `make venv` makes from the hashed lock.

# The first of these that is a Python of the lock, with its venv module. One of your own: make venv PYTHON=/path/to/python
PYTHON = python3.13 python3.12 python3.11 python3
FITS = import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
FIND = for p in $(PYTHON); do "$$p" -c '$(FITS)' 2>/dev/null && { printf '%s\n' "$$p"; exit; }; done; \
	echo 'no Python 3.11, 3.12 or 3.13 with its venv module among: $(PYTHON).' \
	'Install one (Debian, Ubuntu: apt-get install python3-venv) or name one: make venv PYTHON=/path/to/python' >&2; exit 1

PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check
PYTEST = .venv/bin/python -m pytest -rs
SIDE_BY_SIDE = -n 2 --dist worksteal

.DELETE_ON_ERROR:
.PHONY: help python venv dashboard clickhouse notebooks run test test-nojit test-resilience test-browser screenshots proof independent docker-test chaos infra-test audit audit-live dist sbom docs-test lint bench bench-env session reference clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

python:
	@$(FIND)

venv: .venv/installed ## make .venv from requirements.lock and install the package into it

# Made anew when the lock changes, so that nothing stays which the lock no longer has.
.venv/locked: requirements.lock
	@python=$$($(FIND)) && \
	echo "make venv: requirements.lock into .venv with $$("$$python" --version) (2 GB, about 2 minutes after the download)" && \
	"$$python" -m venv --clear .venv && \
	$(PIP) --require-hashes -r requirements.lock && \
	touch $@

.venv/installed: .venv/locked pyproject.toml
	@echo 'make venv: the package into .venv, editable (a few seconds)'
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

run: venv ## the main job on the bundled session, or FILE=path/to/file.dbn; OUT=folder for what it writes
	@.venv/bin/mbo run $(if $(FILE),"$(FILE)") $(if $(OUT),--out "$(OUT)")

dashboard: venv ## the ladder in the browser: of the bundled session, or MBO_FEED=tcp://host:port, MBO_STORE=URL, MBO_FILE=path
	.venv/bin/panel serve dashboard/app.py --warm --show --address 127.0.0.1 --port $(or $(PORT),5006) \
		--allow-websocket-origin=127.0.0.1:$(or $(PORT),5006) --allow-websocket-origin=localhost:$(or $(PORT),5006)

clickhouse: venv ## fetch a genuine ClickHouse for the tests into the cache, once (178 MB); without it they are skipped
	@.venv/bin/python tests/tools/fetch_libchdb.py

# PYTEST_ADDOPTS narrows or widens any of these: PYTEST_ADDOPTS='-k book -x' make test
test: venv ## the tests, the doctests of the package and of the README, the notebooks; says what it skipped
	$(PYTEST) $(SIDE_BY_SIDE) -m 'not proof and not resilience and not browser and not docker and not infra and not audit and not docs' --doctest-modules --doctest-glob=README.md README.md mbo tests
	$(MAKE) --no-print-directory notebooks

test-nojit: venv ## the book's tests as plain Python, then compiled with bounds checks
	NUMBA_DISABLE_JIT=1 $(PYTEST) $(SIDE_BY_SIDE) -m nojit tests
	NUMBA_BOUNDSCHECK=1 $(PYTEST) $(SIDE_BY_SIDE) -m nojit tests

test-resilience: venv ## live stream and store under faults: torn frames, resets, kills, silence, slow readers
	$(PYTEST) $(SIDE_BY_SIDE) -m resilience tests

test-browser: venv ## the dashboard in Debian's Chromium, against its real server
	$(PYTEST) -m browser tests/browser
	$(PYTEST) -m browser tests/view  # with a browser of its own, and there can be one at a time

screenshots: venv ## the pictures of the documentation, in docs/, from the bundled session
	@.venv/bin/python -m tests.browser.screenshots docs

notebooks: venv ## run the notebooks; what their checked cells give has to be what is committed
	$(PYTEST) -n 2 --dist loadfile --nbval-lax notebooks || [ $$? = 5 -a -n "$$PYTEST_ADDOPTS" ]  # which may leave none

proof: venv ## every short sequence of messages, every state of small books, generated histories, planted faults
	$(PYTEST) $(SIDE_BY_SIDE) -m proof tests

independent: venv ## every fill of CLX5 (MBO_DATA) and of the simulated session before the independent package mbo-queue
	@$(PIP) --target .bench --upgrade --no-deps --require-hashes -r tests/verification/requirements.txt
	PYTHONPATH="$(CURDIR)/.bench" $(PYTEST) tests/verification/test_independent.py

# Tools that are no dependencies of the package, each with a hashed list and a virtual environment of its own.
.tools/%/installed: tests/%/requirements.txt
	@echo "make $@: the tools of tests/$*"
	@python=$$($(FIND)) && "$$python" -m venv --clear .tools/$* && \
	.tools/$*/bin/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes -r $< && touch $@

docker-test: venv clickhouse .tools/docker/installed ## the image built and the whole stack run on a Docker Engine of its own; as root, on Debian
	$(PYTEST) -m docker tests/docker

chaos: venv clickhouse ## that stack under kills, freezes, cuts and full disks, by plan: MINUTES=3 SEED=1
	.venv/bin/python -m tests.docker.chaos --minutes $(or $(MINUTES),3) --seed $(or $(SEED),1)

infra-test: venv .tools/infra/installed .tools/operations/installed ## Terraform against a mocked cloud, the workflows, the generated dashboards
	@.tools/infra/bin/python tests/infra/fetch.py || true  # it says what it wants; the test that needs it skips
	$(PYTEST) -m infra tests/infra tests/operations

audit: venv .tools/audit/installed ## the supply chain: locks, advisories, licences, SBOM, provenance, secrets, the wheel
	$(PYTEST) -m audit tests/audit

audit-live: .tools/audit/installed ## the lock before today's advisories; needs a network
	.tools/audit/bin/pip-audit -r requirements.lock --require-hashes --disable-pip --strict

dist: venv ## the wheel of what is committed, in dist/
	.venv/bin/python docker/release/wheel.py dist

sbom: .tools/audit/installed ## bills of materials in dist/: of the package, and of an image (IMAGE=image.tar)
	.tools/audit/bin/python docker/release/sbom.py package dist/mbo-books.cdx.json
	$(if $(IMAGE),.tools/audit/bin/python docker/release/sbom.py image "$(IMAGE)" dist/image.cdx.json)

docs-test: venv ## every command of the README, run as it stands
	$(PYTEST) -m docs -rP tests/docs

lint: venv ## ruff's rules and format, mypy strict on the package
	.venv/bin/ruff check --no-cache .
	.venv/bin/ruff format --no-cache --check .
	.venv/bin/mypy

bench: venv ## every part's speed, what it has to reach, and ratios against what runs beside it; the end says what was left out
	PYTHONPATH="$(CURDIR)/.bench" .venv/bin/mbo bench all

bench-env: .bench/installed ## what only benches run beside, into .bench: nautilus_trader, DuckDB, mbo-queue (130 MB; 400 on disk)

.bench/installed: tests/bench-requirements.txt tests/verification/requirements.txt .venv/locked
	@echo 'make bench-env: what benches run beside into .bench (400 MB)'
	@rm -rf .bench
	@$(PIP) --target .bench --no-deps --only-binary=:all: --require-hashes \
		-r tests/bench-requirements.txt -r tests/verification/requirements.txt
	@touch $@

session: venv ## regenerate the bundled simulated session, byte for byte
	.venv/bin/python tests/golden/make.py

reference: venv ## the reference of the public names, docs/reference.md, from their docstrings
	.venv/bin/python docs/reference.py

clean: ## remove caches, builds and out/ (.venv stays: rm -r .venv)
	rm -rf .bench .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist out
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

