# `make run` and `make test` set up what they need; scripts/ does the work.
SHELL := /bin/bash
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup tools run query test coverage test-crashes test-soak fuzz lint fix proto lock migrate check-migrations bench bench-full image clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## Install what is missing: PostgreSQL with PostGIS, the virtual environment
	@scripts/system-packages
	@scripts/virtual-environment

tools:  ## Install grpcurl, kustomize, buf, Prometheus, PgBouncer into .local; fetch what examples need
	@scripts/tools

run: setup  ## Serve the demo on :50051; SPATIAL_DATABASE_URL names another database than the private one
	@scripts/tools grpcurl
	@exec $(BIN)/spatial serve --embedded .local --demo

query:  ## Ask the running service one question
	@scripts/query

# Many of them start `spatial`: its modules are compiled once, whatever the environment says of that.
test: setup tools  ## Run the tests; ARGS="-k radius" goes to pytest
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 3 --dist worksteal $(ARGS)

coverage: setup tools  ## Run the tests, and show which lines of service/ none of them runs
	@scripts/coverage $(ARGS)

test-crashes: setup  ## Kill the service and PostgreSQL amid writes, ROUNDS=300 times; SEED=7 repeats a run
	CRASH_ROUNDS=$(or $(ROUNDS),300) SEED=$(SEED) $(BIN)/pytest -rP tests/faults/test_*_crashes.py $(ARGS)

test-soak: setup  ## Everything at once for twenty minutes: nothing may grow; SECONDS=3600 takes longer
	SOAK_SECONDS=$(or $(SECONDS),1200) SEED=$(SEED) $(BIN)/pytest -rP tests/faults/test_soak.py $(ARGS)

fuzz: setup  ## Call every RPC with what nobody should send it, for MINUTES=60; SEED=7 repeats a run
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED)) $(ARGS)

lint: setup  ## Check style, format and types
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy

fix: setup  ## Mend style and format where that can be done safely
	$(BIN)/ruff check --fix && $(BIN)/ruff format

proto: setup  ## Generate generated/ and docs/api.md from protos/
	scripts/proto && $(BIN)/python scripts/api-reference

lock: setup  ## Resolve the dependencies in pyproject.toml anew into the lock files
	scripts/lock

migrate: setup  ## Bring the database at SPATIAL_DATABASE_URL to the newest schema
	$(BIN)/spatial migrate

check-migrations: setup  ## Check that the migrations make what the models say
	$(BIN)/python -m service.embedded $(SHELL) -c '$(BIN)/alembic upgrade head && $(BIN)/alembic check'

bench: setup  ## Run the short benchmarks; ONLY=unary runs one, SECONDS=1 hurries, SAVE=1 renders the docs
	BENCH_SECONDS=$(SECONDS) $(BIN)/python -m benchmarks $(if $(ONLY),--only "$(ONLY)") $(if $(SAVE),--save)

bench-full: setup  ## The same with peers and with tables of up to ten million rows, in about forty minutes
	BENCH_SECONDS=$(SECONDS) $(BIN)/python -m benchmarks --full $(if $(SAVE),--save)

image:  ## Build the container image with Docker
	docker build --tag spatial-service .

clean:  ## Delete what was made here: virtual environment, tools, the private database, caches
	scripts/clean
