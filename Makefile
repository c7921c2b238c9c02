# SPDX-License-Identifier: GPL-3.0-or-later
# ginnel. `make help` lists what can be made; everything lands in build/.
#
# Sources are found by folder: a .c file in crypto/, tun/, gateway/ or a layer of gateway/ joins
# that folder's archive, a .c file in tests/unit/, tests/thread/ or tests/fuzz/ is a program.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all

VERSION := 0.1.0-dev
PREFIX ?= /usr
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system

# Variants: CC=gcc|clang, SAN=address,undefined|thread, PORTABLE=1 (no assembly, no cipher
# library of the processor's), NO_CRYPTO=1 (for benchmarks alone: records are not encrypted; cannot be
# installed), FILTER=trap (a forbidden system call is named before it ends the process), each with a
# build directory of its own.
ifeq ($(origin CC),default)
CC := gcc
endif
AR := ar
comma := ,
IS_CLANG := $(findstring clang,$(CC))
B := build$(if $(IS_CLANG),/clang)$(if $(filter 1,$(PORTABLE)),/portable)
B := $(B)$(if $(filter 1,$(NO_CRYPTO)),/no-crypto)
B := $(B)$(if $(filter trap,$(FILTER)),/trap)
B := $(B)$(if $(SAN),/san-$(firstword $(subst $(comma), ,$(SAN))))

# What needs neither packages nor wolfSSL must not wait for them. For the rest deps.sh answers
# in a few milliseconds if all is there, and else installs it first.
NO_DEPS := help clean layers format uninstall
ifneq ($(filter-out $(NO_DEPS),$(or $(MAKECMDGOALS),all)),)
WOLFSSL := $(shell PORTABLE=$(PORTABLE) deploy/deps/deps.sh)
ifneq ($(.SHELLSTATUS),0)
$(error dependencies are missing: see the lines that begin with "deps:" above)
endif
endif

# Flags

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wimplicit-fallthrough
ifeq ($(IS_CLANG),)
WARN += -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wformat-signedness
endif
ifeq ($(WERROR),1)
WARN += -Werror
endif
WARN_STRICT := -Wconversion -Wsign-conversion

# clang 14 has no FORTIFY 3.
HARDEN := -O2 -D_FORTIFY_SOURCE=$(if $(IS_CLANG),2,3) -fstack-protector-strong \
	-fstack-clash-protection
X86_64 := $(filter x86_64-%,$(shell $(CC) -dumpmachine 2>/dev/null))
ifneq ($(X86_64),)
HARDEN += -fcf-protection=full
# wolfSSL's assembly does not say that it keeps to the shadow stack, though it does: no ret in
# it is without its call. Without the mark the linker would take it off the whole program.
HARDEN_LINK := -Wl,-z,shstk
endif
# Sanitizers make frames larger, and FORTIFY hides from them what it catches itself.
ifeq ($(SAN),)
MODE := $(HARDEN) -Wframe-larger-than=8192
else
MODE := -O1 -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
endif

CFLAGS_ALL = -std=gnu11 -g -fPIE -fno-strict-aliasing -pthread $(MODE) $(WARN) $(CFLAGS)
CPPFLAGS_ALL = -iquote . -D_GNU_SOURCE= $(if $(filter 1,$(PORTABLE)),-DGINNEL_PORTABLE) \
	$(if $(filter 1,$(NO_CRYPTO)),-DGINNEL_NO_CRYPTO) $(if $(SAN),-DGINNEL_SANITIZER) \
	$(if $(filter trap,$(FILTER)),-DGINNEL_FILTER_TRAP) -I $B/include $(CPPFLAGS)
LDFLAGS_ALL = -pie -pthread -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed \
	$(if $(SAN),-fsanitize=$(SAN),$(HARDEN_LINK)) $(LDFLAGS)
USE_WOLFSSL := -DWOLFSSL_USER_SETTINGS -isystem $(WOLFSSL)/include

# Folders. An archive may call those to its right and no other: the linker reads each once, so
# that a call upward does not link. The same order is in tests/layers.awk for includes.

FOLDERS := crypto tun gateway gateway/tables gateway/engine gateway/control gateway/manager \
	gateway/privsep
USES_crypto := crypto
USES_tun := tun
USES_gateway := gateway tun crypto
USES_gateway/tables := gateway/tables $(USES_gateway)
USES_gateway/engine := gateway/engine $(USES_gateway/tables)
USES_gateway/control := gateway/control $(USES_gateway/engine)
USES_gateway/manager := gateway/manager $(USES_gateway/tables)
USES_gateway/privsep := gateway/privsep $(USES_gateway)
USES_gateway/programs := gateway/control gateway/engine gateway/manager gateway/privsep \
	$(USES_gateway/tables)

LIBS_crypto = $(WOLFSSL)/lib/libwolfssl.a -lm \
	$(if $(X86_64),$(if $(filter 1,$(PORTABLE)),,-lIPSec_MB))
LIBS_tun := -lmnl
LIBS_gateway := -lnghttp2 -lyaml -ljansson
LIBS_gateway/tables := -llz4
# liburing's shared library exports no restrictions and no enabling in Debian 12.
LIBS_gateway/engine := -lurcu-qsbr -l:liburing.a
LIBS_gateway/control := -levent_extra -levent_core -lurcu-qsbr
LIBS_gateway/manager := -lsqlite3 -levent_extra -levent_core
LIBS_gateway/privsep := -lnftables -lcap-ng -lseccomp -lsqlite3

HAVE := $(foreach d,$(FOLDERS),$(if $(wildcard $d/*.c),$d))
archive = $B/lib/$(subst /,-,$1).a
archives = $(foreach d,$(filter $(HAVE),$(USES_$1)),$(call archive,$d))
libs = $(foreach d,$(filter $(HAVE),$(USES_$1)),$(LIBS_$d))
objects = $(patsubst %.c,$B/obj/%.o,$1)

SOURCES := $(foreach d,$(HAVE),$(wildcard $d/*.c))
PROGRAM_SOURCES := $(wildcard gateway/programs/*.c)
UNITS := $(wildcard tests/unit/*.c)
THREADS := $(wildcard tests/thread/*.c)
FUZZERS := $(wildcard tests/fuzz/*.c)
TOOLS := $(wildcard tests/tools/*.c)
BENCHES := $(wildcard tests/bench/*.c)
PROGRAMS :=

# Built files

.PHONY: all
all:

# Rebuild when flags or the set of sources change: this file is touched only then.
SETUP := $(CC) $(CFLAGS_ALL) $(CPPFLAGS_ALL) $(LDFLAGS_ALL) $(WOLFSSL) $(VERSION)
shell_quote = '$(subst ','\'',$1)'
define write_if_changed
$(shell mkdir -p $(dir $1); printf '%s\n' $(call shell_quote,$2) | cmp -s - $1 || \
	printf '%s\n' $(call shell_quote,$2) >$1)
endef
ifneq ($(WOLFSSL),)
$(call write_if_changed,$B/flags,$(SETUP))
$(call write_if_changed,$B/sources,$(SOURCES) $(PROGRAM_SOURCES))
endif
# For `make clean all`, where they have gone since.
$B/flags $B/sources build/fuzz/flags:
	@mkdir -p $(@D); touch $@

quiet = $(if $(V),,@printf '  %-6s %s\n' '$1' '$@';)

$B/obj/crypto/%.o: CPP_HERE := $(USE_WOLFSSL)
$B/obj/crypto/%.o $B/obj/tun/%.o: WARN_HERE := $(WARN_STRICT)
$B/obj/gateway/%.o: CPP_HERE := -DGINNEL_VERSION='"$(VERSION)"'
# Tests may speak to wolfSSL itself, to play a hostile peer, and hold whole messages on the stack.
$B/obj/tests/%.o: CPP_HERE := $(USE_WOLFSSL)
$B/obj/tests/%.o: WARN_HERE := -Wno-frame-larger-than
$B/obj/%.o: %.c $B/flags
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(CPPFLAGS_ALL) $(CPP_HERE) $(CFLAGS_ALL) $(WARN_HERE) -MMD -MP -c $< -o $@

# The assembler includes the rules, so that the compiler's dependency file does not name them.
$B/obj/gateway/privsep/rules.o build/fuzz/obj/gateway/privsep/rules.o: gateway/privsep/guard.nft

# The filters' lists, which lie beside the calls. Touched only if one changes.
CALLS := $B/include/ginnel/syscalls.h
$(CALLS): gateway/privsep/syscalls.awk $(SOURCES)
	@mkdir -p $(@D)
	@awk -f $< $(SOURCES) >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(foreach d,obj tidy analyzer,$B/$d/gateway/privsep/filter.$(if $(filter tidy,$d),c,o)): $(CALLS)
build/fuzz/obj/gateway/privsep/filter.o: $(CALLS)

define archive_rule
$(call archive,$1): $(call objects,$(wildcard $1/*.c)) $B/sources
	@mkdir -p $$(@D); rm -f $$@
	$$(call quiet,AR)$(AR) crs $$@ $$(filter %.o,$$^)
endef
$(foreach d,$(HAVE),$(eval $(call archive_rule,$d)))

# program_rule NAME SOURCES
define program_rule
PROGRAMS += $1
$B/bin/$1: $(call objects,$2) $(call archives,gateway/programs) $B/sources
	@mkdir -p $$(@D)
	$$(call quiet,LD)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $$@ $$(filter %.o,$$^) $$(filter %.a,$$^) \
		$(call libs,gateway/programs)
endef
program = $(if $(wildcard gateway/programs/$2),$(eval $(call program_rule,$1,$(or $3,gateway/programs/$2))))
$(call program,ginneld,ginneld.c)
$(call program,ginnel-cni,cni.c)
$(call program,ginnel-docker,docker.c)
# The rest of the folder is the ginnel command's.
$(call program,ginnel,ginnel.c,$(filter-out %/ginneld.c %/cni.c %/docker.c,$(PROGRAM_SOURCES)))

all: $(PROGRAMS:%=$B/bin/%) $(foreach d,$(HAVE),$(call archive,$d)) $B/compile_commands.json

# A test links the folder of the header it includes first, and what lies below that.
FIRST := $(if $(UNITS)$(THREADS)$(FUZZERS)$(TOOLS)$(BENCHES),$(shell awk 'FNR == 1 { found = 0 } \
	!found && match($$0, /^\#include "(crypto|tun|gateway)\/[^"]*\//) || \
	!found && match($$0, /^\#include "(crypto|tun|gateway)\//) { \
		found = 1; d = substr($$0, 11, RLENGTH - 11); print FILENAME "=" d }' \
	$(UNITS) $(THREADS) $(FUZZERS) $(TOOLS) $(BENCHES)))
layer_of = $(or $(patsubst $1=%,%,$(filter $1=%,$(FIRST))),gateway/programs)

# test_rule SOURCE OUTPUT LIBS
define test_rule
$2: $(call objects,$1) $(call archives,$(call layer_of,$1)) $B/sources
	@mkdir -p $$(@D)
	$$(call quiet,LD)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $$@ $$(filter %.o,$$^) $$(filter %.a,$$^) \
		$(call libs,$(call layer_of,$1)) $3
endef
$(foreach t,$(UNITS),$(eval $(call test_rule,$t,$B/$(t:.c=),-lcriterion)))
$(foreach t,$(THREADS),$(eval $(call test_rule,$t,$B/$(t:.c=))))

# What the namespace tests and the benchmarks call besides the programs themselves.
$(foreach t,$(TOOLS) $(BENCHES),$(eval $(call test_rule,$t,$B/$(t:.c=))))
.PHONY: tools
tools: $(patsubst %.c,$B/%,$(TOOLS) $(BENCHES))

# Fuzz targets are whole programs of clang's, apart from all else: build/fuzz/NAME.
FUZZ_FLAGS = -std=gnu11 -g -O1 -fno-strict-aliasing -fno-omit-frame-pointer -pthread \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -DGINNEL_VERSION='"$(VERSION)"'
ifneq ($(WOLFSSL),)
$(call write_if_changed,build/fuzz/flags,$(FUZZ_FLAGS) $(CPPFLAGS_ALL) $(WOLFSSL))
endif
fuzz_archives = $(foreach d,$(filter $(HAVE),$(USES_$1)),build/fuzz/lib/$(subst /,-,$d).a)
build/fuzz/obj/%.o: %.c build/fuzz/flags
	@mkdir -p $(@D)
	$(call quiet,FUZZ)clang $(CPPFLAGS_ALL) $(USE_WOLFSSL) $(FUZZ_FLAGS) -MMD -MP -c $< -o $@
define fuzz_archive_rule
build/fuzz/lib/$(subst /,-,$1).a: $(patsubst %.c,build/fuzz/obj/%.o,$(wildcard $1/*.c)) $B/sources
	@mkdir -p $$(@D); rm -f $$@
	$$(call quiet,AR)$(AR) crs $$@ $$(filter %.o,$$^)
endef
define fuzz_rule
build/fuzz/$(1:tests/fuzz/%.c=%): $(1:%.c=build/fuzz/obj/%.o) $(call fuzz_archives,$(call layer_of,$1))
	$$(call quiet,FUZZ)clang $(FUZZ_FLAGS) -o $$@ $$^ -Wl,--as-needed $(call libs,$(call layer_of,$1))
endef
$(foreach d,$(HAVE),$(eval $(call fuzz_archive_rule,$d)))
$(foreach t,$(FUZZERS),$(eval $(call fuzz_rule,$t)))

-include $(shell find $B/obj build/fuzz/obj -name '*.d' 2>/dev/null)

COMMAND := $(subst ",\",$(CC) $(CPPFLAGS_ALL) -DGINNEL_VERSION='"$(VERSION)"' $(USE_WOLFSSL) \
	$(CFLAGS_ALL) -Wno-unknown-warning-option -c)
$B/compile_commands.json: $B/flags $B/sources
	@{ echo '['; comma=; for f in $(SOURCES) $(PROGRAM_SOURCES) $(UNITS) $(THREADS) $(TOOLS) $(BENCHES); do \
		printf '%s{"directory": "%s", "file": "%s", "command": "%s %s"}' \
			"$$comma" '$(CURDIR)' "$$f" $(call shell_quote,$(COMMAND)) "$$f"; \
		comma=$$',\n'; \
	done; echo ']'; } >$@
	@ln -sf $@ compile_commands.json

# Tests. tests/run.sh runs the parts, builds what each needs, and ends with one line of totals.
# A single one: make unit T=replay, make netns F=leak, make fuzz F=record T=60.

RUN := MAKE='$(MAKE)' CC='$(CC)' B='$B' tests/run.sh
PARTS ?= $(if $(SAN),$(if $(filter thread,$(SAN)),thread,build unit netns),\
	build layers unit unit-san thread fuzz netns netns-san)
.PHONY: check unit thread fuzz netns layers soak demo golden lint format install uninstall clean \
	deps help bench bench-micro docker-plugin
check:
	@$(RUN) $(PARTS)
unit:
	@ONLY='$(T)' $(RUN) unit
thread:
	@ONLY='$(T)' $(RUN) thread
netns:
	@ONLY='$(F)' $(RUN) netns
fuzz:
	@ONLY='$(F)' FUZZ_SECONDS='$(or $(T),60)' $(RUN) fuzz
LAYERED := $(sort $(wildcard $(addsuffix /*.[ch],crypto tun gateway gateway/*)))
layers:
	@$(if $(LAYERED),awk -f tests/layers.awk $(LAYERED))
soak:
	@$(RUN) soak
golden:
	@GOLDEN_WRITE=1 $(RUN) unit
	@git status --short tests/golden
demo: all tools
	@GINNEL_BIN=$(CURDIR)/$B/bin tests/demo.sh
# A script that is there is run with what is built; one that is not comes with a later release.
bench: all tools
	@$(call later,tests/bench/run.sh)
bench-micro: $B/tests/bench/micro
	@$<
docker-plugin: all
	@$(call later,deploy/docker/plugin.sh)
later = $(if $(wildcard $1),GINNEL_BIN=$(CURDIR)/$B/bin $1,echo '$@: not in this release' >&2; exit 1)

deps:
	@echo "deps: all is there; wolfSSL is in $(WOLFSSL)"

# Form

FORMATTED := $(wildcard $(addsuffix /*.[ch],crypto crypto/wolfssl tun gateway gateway/* tests/unit \
	tests/thread tests/fuzz tests/tools tests/bench))
SCRIPTS := $(wildcard .ci/run deploy/*/*.sh crypto/wolfssl/*.sh tests/*.sh tests/*/*.sh \
	tests/*/*.bash tests/*/*.bats)
.PHONY: lint-format lint-shell lint-tidy lint-analyzer
lint:
	@$(RUN) lint
format:
	$(if $(FORMATTED),clang-format -i $(FORMATTED))
lint-format:
	$(if $(FORMATTED),clang-format --dry-run -Werror $(FORMATTED))
lint-shell:
	shellcheck $(SCRIPTS)
lint-tidy: $(patsubst %,$B/tidy/%,$(SOURCES) $(PROGRAM_SOURCES))
lint-analyzer: $(patsubst %.c,$B/analyzer/%.o,$(SOURCES) $(PROGRAM_SOURCES))

$B/tidy/%: % $B/compile_commands.json .clang-tidy
	clang-tidy --quiet --warnings-as-errors='*' -p $B $< 2>&1 | grep -v 'warnings generated' ; \
		exit $${PIPESTATUS[0]}
	@mkdir -p $(@D) && touch $@
$B/analyzer/crypto/%.o: CPP_HERE := $(USE_WOLFSSL)
$B/analyzer/gateway/%.o: CPP_HERE := -DGINNEL_VERSION='"$(VERSION)"'
$B/analyzer/%.o: %.c $B/flags
	@mkdir -p $(@D)
	gcc $(CPPFLAGS_ALL) $(CPP_HERE) -std=gnu11 -O0 -g -fanalyzer -Werror -MMD -MP -c $< -o $@
-include $(shell find $B/analyzer -name '*.d' 2>/dev/null)

# Installation. PREFIX=/usr, SYSCONFDIR=/etc, DESTDIR for packagers. Each line of INSTALLED is
# MODE:SOURCE:TARGET, so that uninstall removes what install put there and no more.

MANUALS := $(patsubst deploy/man/%.scd,$B/man/%,$(wildcard deploy/man/*.scd))
$B/man/%: deploy/man/%.scd
	@mkdir -p $(@D)
	$(call quiet,MAN)scdoc <$< >$@
all: $(MANUALS)

PLACE_ginneld := sbin
PLACE_ginnel := bin
PLACE_ginnel-cni := lib/cni
PLACE_ginnel-docker := sbin
files = $(foreach f,$(wildcard $1),0644:$f:$2/$(or $3,$(notdir $f)))
INSTALLED = $(foreach p,$(PROGRAMS),0755:$B/bin/$p:$(PREFIX)/$(PLACE_$p)/$p) \
	$(foreach m,$(MANUALS),0644:$m:$(PREFIX)/share/man/man$(subst .,,$(suffix $m))/$(notdir $m)) \
	$(call files,deploy/systemd/*.service deploy/systemd/*.socket deploy/systemd/*.target,$(UNITDIR)) \
	$(call files,deploy/systemd/sysusers.conf,$(PREFIX)/lib/sysusers.d,ginnel.conf) \
	$(call files,deploy/systemd/tmpfiles.conf,$(PREFIX)/lib/tmpfiles.d,ginnel.conf) \
	$(call files,deploy/completion/ginnel.bash,$(PREFIX)/share/bash-completion/completions,ginnel)

install: all
	$(if $(filter 1,$(NO_CRYPTO)),$(error a build that encrypts nothing is not installed))
	@set -e; for each in $(INSTALLED); do IFS=: read -r mode from to <<<"$$each"; \
		install -D -m "$$mode" "$$from" "$(DESTDIR)$$to"; echo "  $(DESTDIR)$$to"; \
		case $$to in *.service) \
			sed -i 's|/usr/sbin/|$(PREFIX)/sbin/|' "$(DESTDIR)$$to" ;; \
		esac; done
uninstall:
	@set -e; for each in $(INSTALLED); do IFS=: read -r mode from to <<<"$$each"; \
		rm -f "$(DESTDIR)$$to"; done

clean:
	rm -rf build compile_commands.json

help:
	@echo 'make           programs, in $B/bin; what is missing for it is installed first'
	@echo 'make deps      only that: the Debian packages, and wolfSSL built from its source'
	@echo 'make check     all tests; PARTS="unit layers" some of them; one line of totals'
	@echo 'make unit T=x, thread T=x, netns F=x, fuzz F=x T=60    one test, or all of its kind'
	@echo 'make golden    tests/golden rewritten: look at the diff'
	$(if $(wildcard tests/soak/*.bats),@echo 'make soak      the long tests at full length')
	$(if $(wildcard tests/demo.sh),@echo 'make demo      three nodes in namespaces that talk and are attacked')
	$(if $(wildcard tests/bench/run.sh),@echo 'make bench     the same work on ginnel and on its peers')
	$(if $(wildcard tests/bench/micro.c),@echo 'make bench-micro   the cost of single steps of a packet')
	$(if $(wildcard deploy/docker/plugin.sh),@echo 'make docker-plugin   build/docker-plugin for docker plugin create')
	@echo 'make lint      layers, format, clang-tidy, gcc -fanalyzer, shellcheck'
	@echo 'make format    what clang-format says, done'
	@echo 'make layers    who includes whom'
	@echo 'make install   DESTDIR= PREFIX=/usr; uninstall takes the same'
	@echo 'make clean     build/ removed; the cache of wolfSSL stays'
	@echo 'Variants: CC=clang, SAN=address,undefined, SAN=thread, PORTABLE=1, NO_CRYPTO=1 (bench), FILTER=trap, WERROR=1, V=1'
	@echo 'wolfSSL: WOLFSSL_TARBALL=FILE or WOLFSSL_PREFIX=DIR instead of Debian'"'"'s source'
