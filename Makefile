# Every target that needs something installed installs it: on a fresh Debian 12,
# as root, `make demo` and `make test` work at once. A second run finds
# everything in place and goes straight to work.

PREFIX  ?= /usr/local
DESTDIR ?=
# Where mount(8) looks for helpers, and systemd for units and the like.
SBINDIR ?= /usr/sbin
SYSDIR  ?= /usr/lib
# Where man, the shells and people look for what is to read and to complete.
MANDIR  ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR  ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
DOCDIR  ?= $(PREFIX)/share/doc/vmsync
# Where the build puts what it makes.
BIN     ?= bin
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

GO_NEEDED := $(shell sed -n 's/^go //p' go.mod)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
NFPM := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4

# What building needs, what the programs need on a host, what the lab adds, what makes the
# filesystems that tests read, what checks the metrics, and what benchmarks compare with.
BUILD_PACKAGES := gcc libc6-dev pkg-config libvirt-dev libnbd-dev dpkg-dev ca-certificates
RUN_PACKAGES   := libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils qemu-block-extra libnbd0 openssh-client fuse3
LAB_PACKAGES   := libnbd-bin python3-libnbd ovmf swtpm swtpm-tools openssl systemd systemd-container dbus openssh-server iproute2 busybox-static e2fsprogs util-linux cpio kmod psmisc procps man-db groff-base rpm
FILE_PACKAGES  := xfsprogs btrfs-progs dosfstools exfatprogs mtools ntfs-3g lvm2 mdadm cryptsetup-bin fdisk gdisk rsync attr acl
METRICS_PACKAGES := prometheus
BENCH_PACKAGES := libguestfs-tools

LDFLAGS := -X main.version=$(VERSION)
PROGRAMS := $(BIN)/vmsync $(BIN)/vmsync-nbd

.PHONY: build docs install uninstall package demo picture test lint bench soak fleet faults faultpoints fuzz clean setup setup-build setup-lab go-version

build: setup-build
	@mkdir -p $(BIN)
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/vmsync ./cmd/vmsync-nbd

# Manual pages, from the commands and from docs/, and what shells complete with.
docs: build
	rm -rf $(BIN)/docs
	$(GO) run -tags docs ./cmd/vmsync docs $(BIN)/docs/man
	$(GO) run -tags docs ./cmd/vmsync-nbd docs $(BIN)/docs/man
	gzip -9n $(BIN)/docs/man/*
	for program in vmsync vmsync-nbd; do for shell in bash zsh fish; do \
		$(BIN)/$$program completion $$shell >$(BIN)/docs/$$program.$$shell || exit 1; done; done

UNITS := $(wildcard systemd/*.service systemd/*.socket systemd/*.timer)

install: docs
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(SBINDIR) $(DESTDIR)/etc/vmsync/sync
	install -m 0755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin/
	ln -sf $(PREFIX)/bin/vmsync $(DESTDIR)$(SBINDIR)/mount.vmsync
	ln -sf $(PREFIX)/bin/vmsync $(DESTDIR)$(SBINDIR)/mount.fuse.vmsync
	for unit in $(UNITS); do install -d $(DESTDIR)$(SYSDIR)/systemd/system && \
		sed 's|/usr/local/bin/|$(PREFIX)/bin/|' $$unit >$(DESTDIR)$(SYSDIR)/systemd/system/$${unit##*/} || exit 1; done
	install -D -m 0644 -t $(DESTDIR)$(SYSDIR)/systemd/system-preset systemd/system-preset/*.preset
	install -D -m 0644 -t $(DESTDIR)$(SYSDIR)/sysusers.d systemd/sysusers.d/*.conf
	install -D -m 0644 -t $(DESTDIR)$(SYSDIR)/tmpfiles.d systemd/tmpfiles.d/*.conf
	for section in 1 5 7; do install -D -m 0644 -t $(DESTDIR)$(MANDIR)/man$$section $(BIN)/docs/man/*.$$section.gz || exit 1; done
	for program in vmsync vmsync-nbd; do \
		install -D -m 0644 $(BIN)/docs/$$program.bash $(DESTDIR)$(BASHDIR)/$$program && \
		install -D -m 0644 $(BIN)/docs/$$program.zsh $(DESTDIR)$(ZSHDIR)/_$$program && \
		install -D -m 0644 $(BIN)/docs/$$program.fish $(DESTDIR)$(FISHDIR)/$$program.fish || exit 1; done
	install -D -m 0644 -t $(DESTDIR)$(DOCDIR) README.md LICENSE docs/*.md
	install -D -m 0644 -t $(DESTDIR)$(DOCDIR)/examples systemd/vmsync.yaml systemd/sync.conf docs/samples/*.yaml
	install -D -m 0644 -t $(DESTDIR)$(DOCDIR)/source-account systemd/source-account/*
	cd contrib && find . -type f -exec install -D -m 0644 {} $(abspath $(DESTDIR)$(DOCDIR))/contrib/{} \;

# Take away the files that make install installs. Configuration and replicas stay.
uninstall:
	rm -rf $(BIN)/uninstall
	$(MAKE) --no-print-directory install DESTDIR=$(abspath $(BIN))/uninstall
	cd $(BIN)/uninstall && find . ! -type d -printf '$(DESTDIR)/%P\0' | xargs -0 rm -f
	rm -rf $(BIN)/uninstall $(DESTDIR)$(DOCDIR)

# The Debian and the RPM package, of what make install installs. The same commit makes the
# same packages.
PACKAGE_VERSION = $(shell packaging/version '$(VERSION)' $$(git rev-list --count HEAD 2>/dev/null))
package:
	rm -rf $(BIN)/package
	$(MAKE) --no-print-directory install DESTDIR=$(abspath $(BIN))/package/root PREFIX=/usr
	export ROOT=$(BIN)/package/root ARCH=$$($(GO) env GOARCH) PACKAGE_VERSION='$(PACKAGE_VERSION)' \
		SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || date +%s)}; \
	find $(BIN)/package/root -exec touch -h -d @$$SOURCE_DATE_EPOCH {} + && \
	for kind in deb rpm; do $(GO) run $(NFPM) package -f packaging/nfpm.yaml -p $$kind -t $(BIN)/package/ || exit 1; done
	rm -rf $(BIN)/package/root

# The lab's own program, and the programs with the fault points that the tests use.
bin/lab: setup-lab
	$(GO) build -o bin/lab ./tests/lab/cmd/lab

.PHONY: bin/lab

demo: build setup-lab
	$(GO) run ./tests/demo

# The picture of vmsync status --watch in the README, from a real run.
picture: build setup-lab
	$(GO) run ./tests/picture

# The programs with the points at which tests kill them.
faultpoints: setup-build
	@mkdir -p bin/faultpoints
	$(GO) build -tags faultpoints -ldflags '$(LDFLAGS)' -o bin/faultpoints/ ./cmd/vmsync ./cmd/vmsync-nbd

test: build faultpoints setup-lab
	$(GO) vet ./...
	$(GO) test -race -timeout 10m ./cmd/... ./internal/... ./nbdproxy/... ./replicator/... ./packaging
	$(GO) test -timeout 20m ./fusefs/...
	$(GO) test -race -timeout 10m ./fusefs ./fusefs/blockcache
	@$(MAKE) --no-print-directory fuzz FUZZTIME=1000x
	$(GO) test -count=1 -timeout 10m -p 1 ./tests/lab/... ./tests/bench ./tests/demo ./tests/fleet ./tests/picture ./tests/powerloss ./tests/faults
	GO="$(GO)" tests/sidebyside

# Every fuzz target, one after the other, for FUZZTIME each. Tests ask for a number of
# runs (1000x), not for a time: before 1.27 Go sometimes reports a time's end as a
# failure, "context deadline exceeded" (https://go.dev/issue/75804).
FUZZTIME ?= 5m
fuzz: setup-build
	@mkdir -p bin
	@set -e; for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' cmd fusefs internal nbdproxy replicator | xargs -n 1 dirname | sort -u); do \
		for target in $$($(GO) test -list '^Fuzz' ./$$dir | grep '^Fuzz'); do \
			echo "fuzz $$dir $$target for $(FUZZTIME)"; \
			$(GO) test ./$$dir -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) >bin/fuzz.log 2>&1 || { cat bin/fuzz.log; exit 1; }; \
		done; \
	done

lint: setup-build
	@unformatted=$$(gofmt -l cmd fusefs internal nbdproxy packaging replicator systemd tests); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags faultpoints,docs ./...
	$(GO) run $(STATICCHECK) ./...

# N faults in syncs, chosen by SEED; what is left afterwards must be right.
N    ?= 100
SEED ?= 1
faults: faultpoints setup-lab
	$(GO) run ./tests/faults -n $(N) -seed $(SEED)

# Six machines, two sources and a target, from the packages, for MINUTES, while hosts and
# links fail.
MINUTES ?= 15
fleet: package setup-lab
	$(GO) run ./tests/fleet -minutes $(MINUTES)

# N syncs and prunes below a mounted tree that is read all the time.
soak: build faultpoints setup-lab
	$(GO) test -count=1 -timeout 4h ./tests/e2e -v -run TestMountStaysRight -soak $(N)

bench: build setup-lab
	@$(call packages,$(BENCH_PACKAGES))
	$(GO) run ./tests/bench

clean:
	rm -rf bin third_party/libnbd

setup: setup-build setup-lab

setup-build: go-version
	@$(call packages,$(BUILD_PACKAGES))
	@third_party/fetch-libnbd-binding $(CURDIR)/third_party/libnbd

setup-lab: setup-build
	@$(call packages,$(RUN_PACKAGES) $(LAB_PACKAGES) $(FILE_PACKAGES) $(METRICS_PACKAGES))

# Install the packages that are missing. While that lasts a policy keeps their
# services from starting on this machine: only the lab's hosts run them.
POLICY := /usr/sbin/policy-rc.d
define packages
missing=$$(for p in $(1); do \
	dpkg-query -W -f='$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
if [ -n "$$missing" ]; then \
	echo "installing" $$missing; \
	if [ ! -e $(POLICY) ]; then \
		trap 'rm -f $(POLICY)' EXIT; \
		printf '#!/bin/sh\nexit 101\n' >$(POLICY); chmod 0755 $(POLICY); \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get -qq update && apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
fi
endef

go-version:
	@have=$$($(GO) env GOVERSION 2>/dev/null | sed 's/^go//; s/[^0-9.].*//'); \
	if [ -z "$$have" ]; then \
		echo "Go is not installed. vmsync needs Go $(GO_NEEDED) or newer: take it from https://go.dev/dl/," >&2; \
		echo "unpack it to /usr/local/go and put /usr/local/go/bin into PATH." >&2; exit 1; \
	fi; \
	if [ "$$(printf '%s\n' $(GO_NEEDED) $$have | sort -V | head -n 1)" != "$(GO_NEEDED)" ]; then \
		echo "Go $$have is too old. vmsync needs Go $(GO_NEEDED) or newer: take it from https://go.dev/dl/," >&2; \
		echo "unpack it to /usr/local/go and put /usr/local/go/bin first in PATH." >&2; exit 1; \
	fi
