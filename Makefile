# Hayloft. `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One set of build flags for everything but what needs cgo (the engine, the
# race detector), so that packages are compiled once.
export CGO_ENABLED := 0

BIN := $(CURDIR)/bin
LOCAL := $(BIN)/local
TOOLS := $(BIN)/tools
CLUSTER := $(BIN)/cluster
LONGHORN := $(CLUSTER)/longhorn
STATE ?= $(CURDIR)/run
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Exact versions: others of these modules have no checksum-database entry or
# do not resolve together.
CONTROLLER_GEN := sigs.k8s.io/controller-tools/cmd/controller-gen@v0.19.0
GOFUMPT := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.8.0
KUBERNETES := v1.34.4
KUBE_LDFLAGS := -s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ what a user runs

.PHONY: demo
demo: deps build local ## back up a VM, lose it, restore it: the main job on this machine
	$(LOCAL)/demo --bin $(BIN)

.PHONY: up
up: deps build local ## start the local stack and keep it running until ctrl-c or `make down`
	$(LOCAL)/hayloft-local up --dir $(STATE) --bin $(BIN)

.PHONY: down
down: ## end the local stack
	$(LOCAL)/hayloft-local down --dir $(STATE)

.PHONY: cluster-up
cluster-up: cluster ## start a real Kubernetes cluster of two nodes and keep it running until ctrl-c or `make cluster-down`
	$(CLUSTER)/hayloft-cluster up --dir $(STATE)/cluster --crds $(LOCAL)/crds

.PHONY: cluster-down
cluster-down: ## end the cluster
	$(CLUSTER)/hayloft-cluster down --dir $(STATE)/cluster

# One part after the other, and each on its own lanes: two cores have no more to give. go vet is part of `make lint`.
.PHONY: test
test: deps build race local $(LOCAL)/kubectl ## every package with the race detector, the local stack, Hayloft on whole stacks: on real parts
	@$(MAKE) --no-print-directory --keep-going test-units test-local test-stacks

# A program with the race detector sleeps for a second before it ends, unless it is told not to. With GOGC the API servers
# work less for more memory.
TEST := CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 GOGC=200 go test -race -vet=off

# pkg/schedule reckons for minutes with the detector, and has nothing that runs beside anything. A target worker with it has
# no limit of its memory, which is tested without.
.PHONY: test-units
test-units: ## of them: every package by itself
	$(TEST) -timeout 25m -parallel 4 $$(go list ./... | grep -v -e '/test/e2e$$' -e '/test/bench' -e '/test/cluster$$' -e '/pkg/schedule$$')
	go test -vet=off ./pkg/schedule
	go test -vet=off -run Memory ./coordinator/targetio
	cd deploy/tools && go test -vet=off -timeout 15m ./...

.PHONY: test-local
test-local: ## of them: the local stack
	cd deploy/local && $(TEST) -timeout 15m $$(go list ./... | grep -v '/kube$$')

# Those of the tests on whole stacks in which something is killed, or moves or starts in the middle of something.
FAULTS := Faults|Killed|DuringBackup|StoppedVM|^TestStress$$

.PHONY: test-stacks
test-stacks: ## of them: Hayloft's programs on whole stacks
	GOGC=200 go test -vet=off -timeout 40m -parallel 4 -skip '$(FAULTS)' ./test/e2e

# The programs have the detector, the test itself, which mostly polls, has not.
.PHONY: test-faults
test-faults: deps build race local ## whole stacks in which everything is killed, moved or started meanwhile, with the race detector
	HAYLOFT_RACE=1 GOGC=200 go test -vet=off -timeout 40m -parallel 4 -run '$(FAULTS)' ./test/e2e

# With GOGC the API servers work less for more memory, as with `make test`.
.PHONY: e2e
e2e: cluster longhorn $(LOCAL)/kubectl ## images and chart on a real cluster of two nodes, as root
	@$(MAKE) --no-print-directory -j 2 build local images VERSION=e2e
	cd deploy/cluster && go test $$(go list ./... | grep -v '/node$$')
	GOGC=500 go test -vet=off -count 1 -v -timeout 60m -parallel 24 ./test/cluster

# What .ci/run has time for: without the real Longhorn, and with one fault of those that befall Hayloft's own programs.
.PHONY: e2e-short
e2e-short: e2e-parts ## of it: what .ci/run has time for
	GOGC=300 go test -count 1 -v -short -skip '^TestClusterLeavesNothing$$' -timeout 15m -parallel 8 ./test/cluster

# It builds nothing (make e2e-parts), so that what it says is about this machine.
.PHONY: e2e-able
e2e-able: ## of it: whether this machine can run a cluster at all, when its parts are built
	go test -count 1 -v -run '^TestClusterLeavesNothing$$' -timeout 10m ./test/cluster

# Images of the programs that the other tests run: for those of `make images` every package is built once more.
.PHONY: e2e-parts
e2e-parts: cluster $(LOCAL)/kubectl
	@$(MAKE) --no-print-directory build local VERSION=e2e
	cd deploy/tools && go run ./images -programs $(BIN) -out $(BIN)/images -version e2e
	cd deploy/cluster && go test $$(go list ./... | grep -v '/node$$')

# `make test-faults` runs two minutes of one seed. HAYLOFT_STRESS_SEED runs one again; MINUTES,
# VMS and RUNNING make it smaller, ONCE_FAILED=1 runs the seeds that once failed.
.PHONY: stress
stress: deps build local ## 50 VMs used at random for ten minutes, while agents and leaders are killed
	HAYLOFT_STRESS_SEED=$${HAYLOFT_STRESS_SEED:-$$(od -An -N6 -tu8 /dev/urandom | tr -d ' ')} HAYLOFT_STRESS_MINUTES=$${HAYLOFT_STRESS_MINUTES:-10} HAYLOFT_STRESS_VMS=$${HAYLOFT_STRESS_VMS:-50} HAYLOFT_STRESS_RUNNING=$${HAYLOFT_STRESS_RUNNING:-12} \
	  go test -count 1 -v -run '^TestStress$$' -parallel 4 -timeout 120m ./test/e2e

# `make test` takes a few.
.PHONY: pauses
pauses: deps build local ## 200 points of a VM whose container is paused for each, all restored and compared
	HAYLOFT_PAUSES=$${HAYLOFT_PAUSES:-200} go test -count 1 -v -run '^TestQuiesce$$/paused' -timeout 90m ./test/e2e

# `make test` shows that nothing is missing; this, that nothing is too much.
.PHONY: rights
rights: deps build local ## compare the accounts' rights with what the programs ask of the API server in test/e2e
	rm -rf $(BIN)/audit && mkdir -p $(BIN)/audit
	HAYLOFT_AUDIT=$(BIN)/audit go test -count 1 -vet=off -timeout 60m -parallel 4 ./test/e2e
	HAYLOFT_AUDIT=$(BIN)/audit go test -count 1 -v -run '^TestRightsAreUsed$$' ./test/rights

# Kernels that tests run on may know no NFS, so this boots one that does, without KVM.
GUEST := $(LOCAL)/guest
.PHONY: nfs
nfs: deps build $(LOCAL)/longhorn $(GUEST)/kernel ## back a volume up to NFS for real, in a guest
	HAYLOFT_NFS_KERNEL=$(GUEST)/kernel HAYLOFT_NFS_TOOLS=$(GUEST)/tools go test -count 1 -v -run '^TestGuest$$' -timeout 30m ./test/nfs

.PHONY: bench
bench: deps build local ## the figures, side by side with the bare engine
	go test -run '^$$' -bench . -benchtime 1x -timeout 60m ./test/bench/... ./coordinator/control

##@ building

.PHONY: build
build: ## the programs: bin/agent, bin/pauser, bin/coordinator, bin/targetio, bin/hayloft
	go build -ldflags "-s -w -X hayloft.dev/pkg/version.Version=$(VERSION)" -o $(BIN)/agent ./agent
	go build -ldflags "-s -w -X hayloft.dev/pkg/version.Version=$(VERSION)" -o $(BIN)/pauser ./agent/pauser
	go build -ldflags "-s -w -X hayloft.dev/pkg/version.Version=$(VERSION)" -o $(BIN)/coordinator ./coordinator
	go build -ldflags "-s -w -X hayloft.dev/pkg/version.Version=$(VERSION)" -o $(BIN)/targetio ./coordinator/targetio
	go build -ldflags "-s -w -X hayloft.dev/pkg/version.Version=$(VERSION)" -o $(BIN)/hayloft ./cli
	ln -sf hayloft $(BIN)/kubectl-hayloft
	ln -sf hayloft $(BIN)/kubectl_complete-hayloft

.PHONY: race
race: ## the programs with the race detector, for tests: bin/race
	CGO_ENABLED=1 go build -race -o $(BIN)/race/agent ./agent
	CGO_ENABLED=1 go build -race -o $(BIN)/race/pauser ./agent/pauser
	CGO_ENABLED=1 go build -race -o $(BIN)/race/coordinator ./coordinator
	CGO_ENABLED=1 go build -race -o $(BIN)/race/targetio ./coordinator/targetio

.PHONY: local
local: $(LOCAL)/longhorn $(LOCAL)/versitygw $(LOCAL)/kube $(LOCAL)/crds ## what the local stack is made of: bin/local
	cd deploy/local && go build -o $(LOCAL)/hayloft-local ./hayloft-local
	go build -o $(LOCAL)/demo ./test/demo

.PHONY: cluster
cluster: cluster-deps $(LOCAL)/kube $(LOCAL)/crds $(CLUSTER)/kube-node $(CLUSTER)/helm ## what the cluster of two nodes is made of: bin/cluster
	cd deploy/cluster && go build -o $(CLUSTER)/hayloft-cluster ./hayloft-cluster
	cd deploy/cluster && go build -trimpath -buildvcs=false -ldflags "-s -w" -o $(CLUSTER)/programs/pause ./pause
	cd deploy/tools && go run ./images -programs $(CLUSTER)/programs -out $(CLUSTER)/images -version cluster -others pause

.PHONY: longhorn
longhorn: $(LONGHORN)/image.tar ## the real Longhorn, for the cluster of two nodes

# Programs without paths and commit of this machine in them, and an image date that
# is the commit's: who builds the same commit gets the same digests.
ARCH ?= amd64
.PHONY: images
images: ## OCI images without a daemon, with what is in them: bin/images
	for p in agent agent/pauser coordinator coordinator/targetio cli; do \
	  name=$$(basename $$p); [ $$name != cli ] || name=hayloft; \
	  GOARCH=$(ARCH) go build -trimpath -buildvcs=false -ldflags "-s -w -X hayloft.dev/pkg/version.Version=$(VERSION)" -o $(BIN)/images.$(ARCH)/$$name ./$$p; \
	done
	cd deploy/tools && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) go run ./images -programs $(BIN)/images.$(ARCH) -out $(BIN)/images -version $(VERSION)

# VALUES names a file of values over the chart's own.
.PHONY: manifests
manifests: ## the Helm chart as plain YAML with a kustomization: bin/manifests
	cd deploy/tools && go run ./manifests -out $(BIN)/manifests $(if $(VALUES),-values $(abspath $(VALUES)))

$(LOCAL)/longhorn: deploy/local/engine/go.mod deploy/local/engine/go.sum | deps
	cd deploy/local/engine && CGO_ENABLED=1 go build -o $@ github.com/longhorn/longhorn-engine

# Debian's kernel and what mounts NFS, unpacked and not installed.
$(GUEST)/kernel: | deps
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; [ -e /usr/bin/qemu-system-x86_64 -a -e /usr/lib/x86_64-linux-gnu/libtirpc.so.3 ] || \
	  DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends qemu-system-x86 libtirpc3
	rm -rf $(GUEST) && mkdir -p $(GUEST)/debs
	cd $(GUEST)/debs && apt-get download -qq nfs-common $$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -1)
	dpkg -x $(GUEST)/debs/nfs-common_*.deb $(GUEST)/tools
	dpkg -x $(GUEST)/debs/linux-image-*.deb $(GUEST)/unpacked
	rm -r $(GUEST)/debs && mv $(GUEST)/unpacked $@

$(LOCAL)/versitygw: Makefile
	GOBIN=$(LOCAL) go install $(VERSITYGW)
	touch $@

# Upstream's CRDs are read from their modules, at the versions in go.mod.
$(LOCAL)/crds: deploy/local/go.mod $(wildcard deploy/local/crds/gather/*.go)
	cd deploy/local && go run ./crds/gather -out $@
	touch $@

$(LOCAL)/kube: deploy/local/go.mod deploy/local/go.sum $(wildcard deploy/local/kube/*.go deploy/local/crds/*.go)
	cd deploy/local && go build -ldflags "$(KUBE_LDFLAGS)" -o $@ ./kube

$(LOCAL)/kubectl: deploy/tools/go.mod deploy/tools/go.sum deploy/tools/kubectl/main.go
	cd deploy/tools && go build -ldflags "-s -w" -o $@ ./kubectl

$(CLUSTER)/kube-node: deploy/cluster/go.mod deploy/cluster/go.sum $(wildcard deploy/cluster/node/*.go)
	cd deploy/cluster && go build -ldflags "$(KUBE_LDFLAGS)" -o $@ ./node

$(CLUSTER)/helm: deploy/tools/go.mod deploy/tools/go.sum
	cd deploy/tools && go build -ldflags "-s -w" -o $@ helm.sh/helm/v3/cmd/helm

# Each of Longhorn's programs is built with the versions that its own module asks for. The one image has the names of all.
LONGHORN_NAMES := docker.io/longhornio/longhorn-manager:v1.8.1,docker.io/longhornio/longhorn-engine:v1.8.0,docker.io/longhornio/longhorn-instance-manager:v1.8.0,docker.io/longhornio/backing-image-manager:v1.8.0

$(LONGHORN)/longhorn-manager: deploy/longhorn/manager/go.mod deploy/longhorn/manager/go.sum
	cd deploy/longhorn/manager && go mod tidy -diff && go build -ldflags "-s -w -X github.com/longhorn/longhorn-manager/meta.Version=v1.8.1" -o $@ github.com/longhorn/longhorn-manager

$(LONGHORN)/longhorn-instance-manager: deploy/longhorn/instancemanager/go.mod deploy/longhorn/instancemanager/go.sum $(wildcard deploy/longhorn/spdk/pkg/*/*.go) | deps
	cd deploy/longhorn/instancemanager && go mod tidy -diff && CGO_ENABLED=1 go build -ldflags "-s -w -X main.Version=v1.8.0" -o $@ github.com/longhorn/longhorn-instance-manager

$(LONGHORN)/backing-image-manager: deploy/longhorn/backingimagemanager/go.mod deploy/longhorn/backingimagemanager/go.sum
	cd deploy/longhorn/backingimagemanager && go mod tidy -diff && go build -ldflags "-s -w -X main.Version=v1.8.0" -o $@ github.com/longhorn/backing-image-manager

$(LONGHORN)/probe: go.mod deploy/longhorn/probe/main.go
	go build -trimpath -ldflags "-s -w" -o $@ ./deploy/longhorn/probe

$(LONGHORN)/image.tar: $(LONGHORN)/longhorn-manager $(LONGHORN)/longhorn-instance-manager $(LONGHORN)/backing-image-manager $(LONGHORN)/probe $(LOCAL)/longhorn deploy/longhorn/root.sh deploy/longhorn/image/tgtadm deploy/tools/rootimage/main.go
	scripts=$$(cd deploy/longhorn/instancemanager && go list -m -f '{{.Dir}}' github.com/longhorn/longhorn-instance-manager)/package; \
	  deploy/longhorn/root.sh $(LONGHORN)/root $(LONGHORN) $(LOCAL)/longhorn $$scripts
	cd deploy/tools && go run ./rootimage -root $(LONGHORN)/root -names $(LONGHORN_NAMES) -out $@
	rm -r $(LONGHORN)/root

# System packages: name and the file that shows that it is there.
DEPS := curl:/usr/bin/curl jq:/usr/bin/jq libqcow-dev:/usr/include/libqcow.h qemu-utils:/usr/bin/qemu-img e2fsprogs:/sbin/mke2fs gcc:/usr/bin/gcc libc6-dev:/usr/include/stdlib.h prometheus:/usr/bin/promtool containerd:/usr/bin/containerd runc:/usr/sbin/runc
CLUSTER_DEPS := containernetworking-plugins:/usr/lib/cni/ptp iproute2:/usr/sbin/ip

.PHONY: deps
deps: ## the few system packages that are needed, if they are missing
	@missing=; for d in $(DEPS); do [ -e "$${d#*:}" ] || missing="$$missing $${d%%:*}"; done; \
	if [ -n "$$missing" ]; then \
	  echo "Installing with apt-get:$$missing"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing; \
	fi

.PHONY: cluster-deps
cluster-deps: ## those and what the cluster of two nodes needs
	@$(MAKE) --no-print-directory deps DEPS="$(DEPS) $(CLUSTER_DEPS)"

##@ keeping it in order

$(TOOLS)/controller-gen: Makefile
	GOBIN=$(TOOLS) go install $(CONTROLLER_GEN)
	touch $@
$(TOOLS)/gofumpt: Makefile
	GOBIN=$(TOOLS) go install $(GOFUMPT)
	touch $@
$(TOOLS)/staticcheck: Makefile
	GOBIN=$(TOOLS) go install $(STATICCHECK)
	touch $@

.PHONY: generate
generate: $(TOOLS)/controller-gen ## deepcopy functions and CRDs from pkg/api, docs of metrics and dashboards from metrics
	$(TOOLS)/controller-gen object paths=./pkg/api/v1alpha1
	$(TOOLS)/controller-gen crd paths=./pkg/api/v1alpha1 output:crd:dir=deploy/crds
	go run ./metrics/generate

.PHONY: check-generate
check-generate: generate ## fail if generated files are not up to date
	git diff --exit-code -- pkg/api deploy/crds docs/metrics.md metrics

# Not kube and node, which are Kubernetes' own programs: the tools would go through all of them. Of the modules that only
# name Longhorn's programs there is nothing but go.mod, which `make longhorn` looks at when it builds them.
.PHONY: lint
lint: $(TOOLS)/gofumpt $(TOOLS)/staticcheck ## gofumpt, go vet, staticcheck, go mod tidy
	@out=$$($(TOOLS)/gofumpt -l agent cli coordinator deploy metrics pkg test); [ -z "$$out" ] || { echo "gofumpt would change:"; echo "$$out"; exit 1; }
	go vet ./...
	$(TOOLS)/staticcheck ./...
	cd deploy/local && go vet $$(go list ./... | grep -v '/kube$$') && $(TOOLS)/staticcheck $$(go list ./... | grep -v '/kube$$')
	go mod verify >/dev/null
	go mod tidy -diff
	cd deploy/local && go mod tidy -diff
	cd deploy/tools && go vet ./... && $(TOOLS)/staticcheck ./... && go mod tidy -diff
	cd deploy/cluster && go vet $$(go list ./... | grep -v '/node$$') && $(TOOLS)/staticcheck $$(go list ./... | grep -v '/node$$') && go mod tidy -diff
	cd deploy/longhorn/spdk && go vet ./... && $(TOOLS)/staticcheck ./... && go mod tidy -diff
	cd deploy/local/engine && go mod tidy -diff

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)
