# One entry point for everything. `make check` is what CI runs (.ci/run).
#
#   make build   bin/callsign
#   make test    all tests, with the real peers that they talk to (installed when root) and the race detector
#   make lint    golangci-lint, formatting, tidiness of go.mod
#   make fmt     formats all files
#   make fuzz    every fuzz target for FUZZTIME (5s)
#   make differential  our verdicts on WORLDS (100000) random PKIs against crypto/x509 and openssl verify
#   make bench   every benchmark; BENCH=REGEXP BENCHTIME=1s PKG=./... narrow it
#   make cover   coverage by function
#   make check   lint, test, and 3s of each fuzz target

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
GO          ?= go
PKG         ?= ./...
FUZZTIME    ?= 5s
BENCH       ?= .
BENCHTIME   ?= 1s
TESTFLAGS   ?=
WORLDS      ?= 100000

# Go wants a home for its caches; a bare container or a service may have none.
ifeq ($(strip $(HOME)),)
export HOME    := $(abspath $(or $(TMPDIR),/tmp))/callsign-home
endif

.PHONY: build test lint fmt fuzz differential bench cover check clean peers

build:
	$(GO) build -trimpath -o bin/ ./cmd/callsign

peers:
	@scripts/peers

test: peers
	@scripts/test $(TESTFLAGS) $(PKG)

# The formatters of .golangci.yml (gofumpt, goimports) report here as well.
lint: bin/golangci-lint
	bin/golangci-lint run $(PKG)
	$(GO) mod tidy -diff

fmt: bin/golangci-lint
	bin/golangci-lint fmt

bin/golangci-lint: tools/go.mod tools/go.sum
	$(GO) -C tools build -o ../bin/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

fuzz:
	@FUZZTIME=$(FUZZTIME) scripts/fuzz $(PKG)

# The test makes -rapid.checks worlds in each of four shards.
differential: peers
	$(GO) test -run '^TestDifferential$$' -timeout 120m -v ./chain -rapid.checks=$$(( ($(WORLDS) + 3) / 4 )) -rapid.nofailfile

bench:
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) $(PKG)

cover:
	$(GO) test -coverprofile=cover.out $(PKG)
	$(GO) tool cover -func=cover.out | tail -n 40

check:
	$(MAKE) lint
	$(MAKE) test
	$(MAKE) fuzz FUZZTIME=3s

clean:
	rm -rf bin cover.out
