# Two commands are enough: 'make demo' shows a pair of directors at work, 'make
# test' passes every test. Both install the Debian packages they need.

SHELL := /bin/bash
export PATH := $(CURDIR)/.cache/go/bin:$(PATH):/usr/local/go/bin:/usr/sbin:/sbin

# The version comes from git, where the checkout is one that git will read.
VCS := $(shell git status >/dev/null 2>&1 && echo true || echo false)

FUZZTIME ?= 100000x
SIMHOURS ?= 5000
PURE     := ./vrrp/... ./health/... ./director/... ./garp/... ./configs/... ./cmd/...

.PHONY: all build demo test unit race fuzz simulate kernel kernel-tcg bench lint setup clean

all: build

build: ## bin/understudy: static, without C, version from build info
	CGO_ENABLED=0 go build -trimpath -buildvcs=$(VCS) -o bin/understudy ./cmd/understudy

setup:
	@integration/setup.sh

demo: setup build ## a pair of directors that fails over before your eyes
	CGO_ENABLED=0 go build -trimpath -o bin/demo ./integration/demo
	@UNDERSTUDY_BIN=$(CURDIR)/bin/understudy bin/demo

test: setup build lint race fuzz simulate kernel ## everything, as CI does

unit: ## seconds, without root
	go test $(PURE)

race:
	CGO_ENABLED=1 go test -race $(PURE)

FUZZ := vrrp/FuzzParse vrrp/speaker/FuzzParseIPv4 vrrp/speaker/FuzzParseIPv6 vrrp/track/FuzzNetlink vrrp/track/FuzzInotify vrrp/track/FuzzProc garp/FuzzParse \
	configs/FuzzParse configs/FuzzBulk configs/FuzzSections director/ipvs/genl/FuzzParse director/ipvs/genl/FuzzAnswers \
	director/connsync/FuzzBeacon director/oracle/FuzzScan cmd/understudy/ipvsadm/FuzzParse cmd/understudy/ipvsadm/FuzzReadRules
fuzz: ## FUZZTIME (so many inputs, or so long) for each target
	@for f in $(FUZZ); do echo "$$f"; \
	go test ./$${f%/*} -run '^$$' -fuzz "^$${f##*/}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x || exit 1; done

simulate: ## SIMHOURS of elections on a virtual clock, random seeds
	go test ./vrrp/vrrptest -count=1 -run '^TestSimulator$$' -v -args -vrrptest.hours=$(SIMHOURS)

# Election and addresses run on this machine's kernel for root, all else on one
# with IPVS: this one if it has it and we are root, or the user-mode kernel.
kernel: setup build
	UNDERSTUDY_BIN=$(CURDIR)/bin/understudy go test ./integration/failover ./integration -p 1 -count=1 -timeout 40m

kernel-tcg: setup build ## the protocol, the tables and a large table on Debian's kernel for servers, emulated
	dir=$$(integration/setup.sh qemu | tail -n 1); UNDERSTUDY_KERNEL=$$dir UNDERSTUDY_BIN=$(CURDIR)/bin/understudy \
	go test ./integration -count=1 -v -run 'TestPackages/director/(ipvs|accept)|TestAcceptFalse' -bench Fill -benchtime 1x -timeout 60m

bench: setup build ## beside keepalived, medians of 5
	UNDERSTUDY_BIN=$(CURDIR)/bin/understudy go test ./integration/failover ./integration -p 1 -count=1 -run '^$$' -bench . -benchtime 1x -timeout 180m

lint:
	@out=$$(gofmt -l cmd vrrp health director garp configs integration); [ -z "$$out" ] || { echo "gofmt: $$out"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	@out=$$(go fix -diff ./... 2>&1); [ -z "$$out" ] || { echo "$$out"; exit 1; }
	go mod tidy -diff

clean:
	rm -rf bin
