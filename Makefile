# Orris. `make demo` runs the main job, `make test` the tests; both set up what they need on a fresh machine (python3 >= 3.11 with venv).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
STORE ?= ./artifacts
# uv where it is installed, pip otherwise (make UV= takes pip); both show their progress.
UV ?= $(shell command -v uv)
PIP := $(if $(UV),$(UV) pip,$(BIN)/python -m pip --disable-pip-version-check)
# uv leaves compiling to the first import; where that may not write, every start would compile all libraries anew.
INSTALL := $(PIP) install $(if $(UV),--python $(BIN)/python --compile-bytecode)

# Targets with ## are shown by `make help`, those with #- by `make help-all`.
.PHONY: help help-all
help: ## List the targets that most people need
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {title = substr($$0, 5)} /^[a-z0-9-]+:.*## / {if (title) {print "\n" title; title = ""} printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "More: make help-all. Generators of files are programs: python -m tools.NAME, see tools/README.md."

help-all: ## List all targets
	@awk 'BEGIN {FS = ":.*#[#-] "} /^##@/ {print "\n" substr($$0, 5)} /^[a-z0-9-]+:.*#[#-] / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Set up, train, serve
.PHONY: setup
setup: $(VENV)/.runtime ## Install Orris with training and serving into .venv

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Orris needs Python 3.11 or newer; say which with  make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.python requirements/runtime.txt pyproject.toml
	@echo "Installing Orris into $(VENV) …"
	@$(INSTALL) --require-hashes -r requirements/runtime.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@echo "Installing the development tools into $(VENV) …"
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: demo
demo: setup ## Train on iris, prove, publish, serve on PORT (default 8000); Ctrl-C ends it
	@$(BIN)/orris train --store $(STORE)
	@exec $(BIN)/orris serve iris --store $(STORE) --port $(PORT)

.PHONY: train training
train: training
training: setup ## Train as params.yaml says, and publish
	@$(BIN)/orris train --store $(STORE)

.PHONY: run
run: setup ## Serve the newest version on PORT
	@exec $(BIN)/orris serve --store $(STORE) --port $(PORT)

##@ Develop
.PHONY: test
test: $(VENV)/.dev ## Run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

.PHONY: test-bdd
test-bdd: $(VENV)/.dev #- Run the scenarios of tests/bdd, which say in sentences what the API does
	@$(BIN)/python -m pytest tests/bdd $(ARGS)

.PHONY: faults
faults: $(VENV)/.dev #- Run the long forms of the fault tests: kills, hostile clients, 100,000 bodies, 2,000,000 requests
	@ORRIS_TEST_FAULTS=long $(BIN)/python -m pytest tests/faults tests/clients/test_schemathesis.py tests/serving/processes/test_workers.py tests/serving/http tests/server/test_trial.py tests/trust --timeout 3600 $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## Lint, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: docs
docs: $(VENV)/.dev ## Build the documentation as a site in build/site/site, with every link checked
	@$(BIN)/python -m tools.docs_site

.PHONY: format
format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

##@ Measure
.PHONY: bench
bench: $(VENV)/.dev ## Measure start-up times and requests a second beside nginx (needs wrk and nginx)
	@$(BIN)/python benchmarks/start.py
	@$(BIN)/python benchmarks/throughput.py
	@$(BIN)/python benchmarks/request_profile.py

.PHONY: bench-grpc
bench-grpc: $(VENV)/.dev #- Measure gRPC calls a second beside the floor (needs h2load and wrk)
	@$(BIN)/python benchmarks/rpc.py

.PHONY: bench-latency
bench-latency: $(VENV)/.dev #- Measure the time to answer at half rate, and beside long requests (needs wrk)
	@$(BIN)/python benchmarks/latency.py

.PHONY: bench-bodies
bench-bodies: $(VENV)/.dev #- Measure the probe's longest wait and memory beside bodies of the largest size
	@$(BIN)/python benchmarks/bodies.py

.PHONY: bench-price
bench-price: $(VENV)/.dev #- Measure what metrics, logs, drift and tracing cost
	@$(BIN)/python benchmarks/price.py

.PHONY: bench-peers
bench-peers: $(VENV)/.dev #- Measure Orris beside other model servers, about 15 minutes (needs wrk and h2load)
	@$(BIN)/python benchmarks/peers.py $(ARGS)

.PHONY: bench-autoscaling
bench-autoscaling: $(VENV)/.dev #- Run the autoscaling experiment here and write its table and plot, about 10 minutes (needs haproxy and wrk)
	@$(BIN)/orris train --store build/autoscaling/store --name iris
	@$(BIN)/orris experiment autoscaling --local iris --store build/autoscaling/store --output build/autoscaling \
	  --max-replicas 3 --connections 1000 --max-replicas 1 --connections 2000 --max-replicas 1 --connections 100
	@$(BIN)/orris experiment autoscaling --simulate --output build/autoscaling
	@$(BIN)/python -m tools.autoscaling_docs build/autoscaling

##@ Dependencies
.PHONY: lock
lock: $(VENV)/.dev #- Resolve the locked requirements anew
	@for lock in dev runtime serve cloud build checkov clients; do $(BIN)/python requirements/lock.py $$lock $(LOCK_FLAGS); done

.PHONY: tools
tools: $(VENV)/.dev #- Install the development tools, DVC and the buckets' libraries as well, into .venv

##@ Images
.PHONY: build
build: ## Build the image with docker, podman or buildah (MODEL=iris:latest puts a model in it; see scripts/image.sh)
	@scripts/image.sh build

.PHONY: build-run
build-run: ## Run the image on port 9000 (PORT=…), with the store mounted
	@scripts/image.sh run

.PHONY: push
push: #- Push the image to IMAGE=registry/name, and print its digest
	@scripts/image.sh push

##@ Watch
PROMETHEUS_PORT ?= 9090
TARGETS ?= localhost:$(PORT)
.PHONY: observability
observability: setup ## Start Prometheus beside Orris (TARGETS=localhost:8000), with the alerts and a console of the dashboards; Ctrl-C ends it
	@exec $(BIN)/python tools/observability.py --targets $(TARGETS) --port $(PROMETHEUS_PORT)

##@ Kubernetes
.PHONY: chart-lint
chart-lint: $(VENV)/.dev #- Lint, render and validate the chart, without a cluster
	@$(BIN)/python -m pytest tests/chart tests/deploy $(ARGS)

CLUSTER ?= local
.PHONY: test-cluster
test-cluster: $(VENV)/.dev #- Test the chart on a real control plane, built once (needs Go and npm); CLUSTER=kind takes the current context
	@$(BIN)/python -m tests.cluster.programs $(if $(filter kind,$(CLUSTER)),helm helm3)
	@ORRIS_TEST_CLUSTER=$(CLUSTER) $(BIN)/python -m pytest tests/cluster --timeout 900 $(ARGS)

RELEASE ?= orris
NAMESPACE ?= orris
VALUES ?= k8s/local/values.yaml
.PHONY: install
install: ## Install the chart, or upgrade it, in the current kubectl context (VALUES="a.yaml b.yaml", HELM_FLAGS="…"); deletes nothing
	@echo "$(RELEASE) in the namespace $(NAMESPACE) of $$(kubectl config current-context), with $(VALUES)"
	@scripts/chart_install.sh $(RELEASE) charts/orris $(NAMESPACE) $(addprefix --values ,$(VALUES)) $(HELM_FLAGS)

.PHONY: uninstall
uninstall: #- Uninstall the release; the namespace and what else is in it stay
	@helm uninstall $(RELEASE) --namespace $(NAMESPACE) --ignore-not-found --wait

.PHONY: reset
reset: #- Uninstall the release, then install it anew
	@$(MAKE) --no-print-directory uninstall
	@$(MAKE) --no-print-directory install

.PHONY: delete-namespace
delete-namespace: #- Delete the namespace, and everything that is in it
	@kubectl delete namespace $(NAMESPACE) --ignore-not-found

##@ Clean up
.PHONY: clean
clean: ## Remove what was built (not the published models in STORE)
	@rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -path ./.bench -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
