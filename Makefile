MODULE  := github.com/vault-connectors/vault-plugin-secrets-connectors
PLUGIN  := vault-plugin-secrets-connectors
COMMAND := connectors
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null || echo v0.0.0-dev)

# The binaries under test. The tests and the demo take them from here instead of building their own.
export PLUGIN_BIN := $(CURDIR)/bin/$(PLUGIN)
export CONNECTORS_BIN := $(CURDIR)/bin/$(COMMAND)

LDFLAGS   := -s -w -X $(MODULE)/backend.Version=$(VERSION) \
	-X $(MODULE)/cmd/$(COMMAND)/internal/commands.Version=$(VERSION)
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
TOOL      := go tool -modfile=scripts/tools/go.mod
MODULES   := . scripts/plot scripts/tools scripts/vault

TESTFLAGS ?=
FUZZTIME  ?= 1000x

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Try it

.PHONY: build
build: ## Build the plugin and the command line into bin/
	go build -trimpath -ldflags '$(LDFLAGS)' -o '$(PLUGIN_BIN)' ./cmd/$(PLUGIN)
	go build -trimpath -ldflags '$(LDFLAGS)' -o '$(CONNECTORS_BIN)' ./cmd/$(COMMAND)

.PHONY: dev
dev: build ## Start Vault with the engine mounted and services to connect; Ctrl-C ends it
	@go build -o bin/dev ./scripts/dev && exec bin/dev

.PHONY: demo
demo: build ## Do the same once, and fail unless a right credential could be read
	@go run ./scripts/dev -once

##@ Test it

.PHONY: test
test: unit fuzz acceptance demo ## Unit, fuzz and acceptance tests and the demo; installs and builds what it needs

.PHONY: unit
unit: ## Unit tests, under the race detector
	UNIT_ONLY=1 go test -race -timeout=30m $(TESTFLAGS) ./...
	go -C scripts/plot test .

.PHONY: race
race: ## Unit tests under the race detector, ten times over in random order
	UNIT_ONLY=1 go test -race -count=10 -shuffle=on -timeout=60m $(TESTFLAGS) ./...

.PHONY: model
model: ## The model of the refresh engine, over twenty thousand random runs
	go test -count=1 -timeout=60m ./backend/internal/refresh -run TestModel -seeds=20000 -seed=100000

.PHONY: fuzz
fuzz: ## Each fuzz test for FUZZTIME: inputs (1000x), or a time such as 10s
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: acceptance
acceptance: build tools ## The binary in a real Vault, against real authorization servers
	go test -count=1 -parallel 3 -timeout=30m $(TESTFLAGS) ./scripts/stack ./backend/acceptance

.PHONY: tools
tools: ## Fetch or build Vault, Node and the authorization servers, once per machine
	@for tool in node servers vault; do scripts/tool.sh $$tool >/dev/null || exit 1; done

.PHONY: bench
bench: build tools ## Compare with a constant answer and with KV, on one Vault
	go run ./scripts/bench

.PHONY: scale
scale: build tools ## What many connections cost: a table and a plot; a quarter of an hour, on Linux
	go run ./scripts/bench -scale

##@ Keep it right

.PHONY: check
check: ## Format, vet, staticcheck, tidy modules
	@unformatted=$$($(TOOL) gofumpt -l .) && test -z "$$unformatted" || { echo "run: $(TOOL) gofumpt -w $$unformatted"; exit 1; }
	go vet ./... && go -C scripts/plot vet .
	$(TOOL) staticcheck ./...
	@for m in $(MODULES); do echo "go mod tidy -diff in $$m" && (cd $$m && go mod tidy -diff) || exit 1; done

.PHONY: vuln
vuln: ## Known vulnerabilities in what the plugin calls (asks the Go vulnerability database)
	$(TOOL) govulncheck ./...

##@ Ship it

.PHONY: release
release: ## Reproducible binaries and SHA256SUMS in dist/, of VERSION
	@rm -rf dist
	@for platform in $(PLATFORMS); do \
		os=$${platform%/*} arch=$${platform#*/}; \
		for binary in $(PLUGIN) $(COMMAND); do \
			echo "$$binary $(VERSION) $$platform" && \
			CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS) -buildid=' \
				-o dist/$${binary}_$(VERSION)_$${os}_$$arch ./cmd/$$binary || exit 1; \
		done; \
	done
	@cd dist && if command -v sha256sum >/dev/null; then sha256sum *_*; else shasum -a 256 *_*; fi >SHA256SUMS
	@cat dist/SHA256SUMS

.PHONY: clean
clean: ## Remove bin/ and dist/; what tools keeps in the cache stays
	rm -rf bin dist
