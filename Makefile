# rollback: build, test, release. `make help` lists the targets.
# Works with GNU Make 3.81 and later, on Linux and macOS; needs Go and, for the race detector, a C compiler.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build test unit groovy lint check-go check-cc modules e2e soak bench release clean

STATICCHECK_VERSION := v0.8.2
STATICCHECK := .cache/bin/staticcheck-$(STATICCHECK_VERSION)

# The largest binary we ship, in bytes.
MAX_BINARY := 25000000
PLATFORMS  := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

# What --version prints. The date is the commit's, so that the same commit gives the same bytes anywhere.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
DATE    ?= $(shell TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || echo unknown)

# The tag leaves out what writes man pages of a urfave/cli program, which we have none of: 0.3 MB. Without inlining, the two
# large SDKs and the demo's fakes take 1.4 MB less and no measurable time more: they wait for the network. Functions start
# at 16 bytes, as on arm64, instead of 32: 0.3 MB.
GOBUILD = CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags urfave_cli_no_docs \
	-gcflags=github.com/aws/...=-l -gcflags=k8s.io/...=-l -gcflags=github.com/rollback-tools/rollback/internal/fake/...=-l \
	-ldflags "-s -w -funcalign=16 -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)"

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: check-go ## ./rollback for this machine, static, at most 25 MB
	@$(GOBUILD) -o rollback .
	@size=$$(wc -c < rollback | tr -d ' '); \
	if [ "$$size" -gt $(MAX_BINARY) ]; then echo "rollback has $$size bytes; the limit is $(MAX_BINARY)" >&2; exit 1; fi; \
	echo "./rollback $(VERSION), $$size bytes"

test: lint unit groovy ## everything in-process: lint, all Go tests with the race detector, the Jenkins steps; no network beyond modules and jars

unit: check-go check-cc modules ## the Go tests alone
	@set -o pipefail; CGO_ENABLED=1 go test -race -timeout 30m -json ./... | go run ./scripts/testsummary

groovy: check-go ## the tests of the Jenkins steps in vars/ alone; need a JDK 17 or later and Maven
	@test/groovy/run.sh

lint: check-go modules $(STATICCHECK) ## gofmt, go vet, staticcheck
	@bad=$$(find . -name '*.go' -not -path './.*' -not -path './dist/*' -print0 | xargs -0 gofmt -l) || exit 1; \
	if [ -n "$$bad" ]; then printf 'not formatted, run gofmt -w on:\n%s\n' "$$bad" >&2; exit 1; fi
	go vet ./...
	$(STATICCHECK) ./...

e2e: ## the same scenarios on real parts (test/e2e)
	@$(MAKE) --no-print-directory -C test/e2e

# SOAK is how long, SEED repeats the choices of an earlier run. What it counts goes into docs/soak.md, if nothing was found.
SOAK ?= 4m30s
SEED ?= $(shell date +%s)
soak: check-go modules ## rollbacks, undos and reverts with random faults and kills, for 5 minutes; writes docs/soak.md
	@$(MAKE) --no-print-directory -C test/e2e rollback
	@rm -rf .cache/soak && mkdir -p .cache/soak && kubeworld=$$(test/e2e/kubeworld.sh) && seed=$(SEED) && \
	export CGO_ENABLED=0 E2E_ROLLBACK=$(CURDIR)/.cache/e2e/rollback E2E_KUBEWORLD=$$kubeworld E2E_SOAK=$(SOAK) E2E_SEED=$$seed && \
	{ E2E_SOAK_PAGE=$(CURDIR)/.cache/soak/inside.md go test -count=1 -v -timeout 30m -run '^TestInsideNothingIsLeft$$' ./test/bench & inside=$$!; \
	(cd test/e2e && E2E_SOAK_PAGE=$(CURDIR)/.cache/soak/worlds.md go test -trimpath -count=1 -v -timeout 30m -run '^TestSoak$$' .); worlds=$$?; \
	wait $$inside && [ $$worlds -eq 0 ]; } || { echo "to repeat the choices: make soak SEED=$$seed SOAK=$(SOAK)" >&2; exit 1; }
	@cat .cache/soak/worlds.md .cache/soak/inside.md > docs/soak.md && echo "wrote docs/soak.md"

bench: check-go modules ## measure against what people use today
	go run ./test/bench

release: check-go ## dist/: linux and darwin, amd64 and arm64, with SHA256SUMS; reproducible
	@rm -rf dist && mkdir -p dist
	@set -e; for p in $(PLATFORMS); do \
		os=$${p%/*}; arch=$${p#*/}; out=dist/rollback_$${os}_$${arch}; \
		GOOS=$$os GOARCH=$$arch $(GOBUILD) -o $$out .; \
		size=$$(wc -c < $$out | tr -d ' '); \
		if [ "$$size" -gt $(MAX_BINARY) ]; then echo "$$out has $$size bytes; the limit is $(MAX_BINARY)" >&2; exit 1; fi; \
		echo "$$out, $$size bytes"; \
	done
	@cd dist && { if command -v sha256sum >/dev/null; then sha256sum rollback_*; else shasum -a 256 rollback_*; fi; } > SHA256SUMS
	@cat dist/SHA256SUMS

clean: ## remove what the other targets made
	rm -rf rollback dist .cache

check-go:
	@command -v go >/dev/null || { echo "Go is missing: https://go.dev/dl/" >&2; exit 1; }
	@want=$$(awk '$$1 == "go" { print $$2; exit }' go.mod); have=$$(go env GOVERSION) || exit 1; have=$${have#go}; have=$${have%% *}; \
	awk -v want="$$want" -v have="$$have" 'BEGIN { split(want, w, "."); split(have, h, "."); \
		for (i = 1; i <= 3; i++) { if (h[i] + 0 > w[i] + 0) exit 0; if (h[i] + 0 < w[i] + 0) exit 1 } }' || \
	{ echo "Go $$have is too old: go.mod wants $$want or later (https://go.dev/dl/)" >&2; exit 1; }

check-cc:
	@cc=$$(CGO_ENABLED=1 go env CC); command -v $${cc%% *} >/dev/null || { \
		echo "the race detector needs a C compiler, and $$cc is not there: install gcc" >&2; \
		echo "(apt-get install gcc libc6-dev; apk add build-base; dnf install gcc; xcode-select --install)" >&2; exit 1; }

modules:
	@go mod download

# GOFLAGS may hold what only fits this module.
$(STATICCHECK):
	@mkdir -p .cache/bin
	GOFLAGS= GOBIN=$(CURDIR)/.cache/bin go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	@mv .cache/bin/staticcheck $@
