# Everything runs from .venv, which the first target to need it makes.
PYTHON ?= python3
# How many processes share the files of tests.
WORKERS ?= 2
# How often test-scaled kills a server of each configuration.
KILLS ?= 100
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run-installed
DEV := $(VENV)/.dev-installed
MODEL := build/botocore/.installed

.PHONY: help run test lint test-large test-clients test-conformance test-scaled test-containers bench newcomer lock model wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

run: $(RUN) ## serve on 127.0.0.1:4510, keeping state in ./data (arguments: make run ARGS="--port 5000")
	$(BIN)/ecr-emulator serve $(ARGS)

test: $(DEV) ## lint, types and the tests of the package
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

lint: $(DEV) $(MODEL) ## formatting, lint, types, import rules, generated files
	$(BIN)/python scripts/compile_model.py --botocore build/botocore/botocore --check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-large: $(DEV) ## a layer of 5 GiB (needs that much of /var/tmp, and a minute)
	$(BIN)/pytest tests/large

test-clients: $(DEV) ## Docker, containerd, podman, Helm, cosign and others against a server (as root, installs them)
	scripts/install_clients.sh
	$(BIN)/pytest tests/clients

test-conformance: $(DEV) ## the OCI distribution specification's suite (needs Go, or installs it as root)
	scripts/install_conformance.sh
	$(BIN)/pytest tests/conformance

test-scaled: $(DEV) ## everything about state, on what several servers share: PostgreSQL and S3 (as root, installs them)
	scripts/install_scaled.sh
	scripts/install_s3.sh
	scripts/install_conformance.sh
	$(BIN)/pytest --store scaled -n $(WORKERS) --dist loadfile tests/metadata tests/blobs tests/contract \
		tests/scaled tests/faults/test_servers.py tests/conformance --ignore tests/scaled/faults
	$(BIN)/pytest --store scaled --kills $(KILLS) tests/scaled/faults tests/faults/test_crash.py

test-containers: $(DEV) ## the image and the compose files with a real Docker engine, and the Helm chart (as root, installs it)
	scripts/install_containers.sh
	$(BIN)/pytest tests/containers

bench: $(RUN) ## the emulator beside other registries and mocks, into docs/performance.md (as root, installs them)
	scripts/install_bench.sh
	build/bench-venv/bin/python scripts/bench.py --report $(ARGS)

newcomer: ## the README's two commands in an empty folder, as someone new to the project runs them
	scripts/newcomer.sh

lock: $(DEV) ## move every lock file to the newest versions that pyproject.toml allows
	echo botocore | $(BIN)/uv pip compile -q - --no-deps --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --upgrade -o requirements-model.lock
	$(BIN)/uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --upgrade -o requirements.lock
	$(BIN)/uv pip compile -q pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --upgrade -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile -q pyproject.toml --extra events --extra scaled --extra strict --extra zstd --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
		-c requirements-dev.lock -o requirements-image.lock
	echo 'hatchling>=1.27' | $(BIN)/uv pip compile -q - --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --upgrade -o requirements-build.lock

model: $(DEV) $(MODEL) ## compile the ECR model of the botocore in requirements-model.lock into the package
	$(BIN)/python scripts/compile_model.py --botocore build/botocore/botocore

wheel: $(DEV) ## build dist/*.whl
	$(BIN)/python -m build --installer uv -q

clean: ## remove what the other targets made, but not ./data
	rm -rf $(VENV) build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# pip compiles what it installs, but not what stays where it is, and Python itself may be told not to.
$(RUN): requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/pip install -q --require-hashes -r requirements.lock
	$(BIN)/pip install -q --no-deps -e .
	$(BIN)/python -m compileall -q ecr_emulator
	touch $@

# The newest botocore, of which only the model is wanted: aiobotocore wants an older one.
$(MODEL): requirements-model.lock | $(BIN)/python
	rm -rf build/botocore
	$(BIN)/pip install -q --no-deps --require-hashes --target build/botocore -r requirements-model.lock
	touch $@

$(DEV): requirements-dev.lock pyproject.toml | $(BIN)/python
	$(BIN)/pip install -q --require-hashes -r requirements-dev.lock
	$(BIN)/pip install -q --no-deps -e .
	touch $@
