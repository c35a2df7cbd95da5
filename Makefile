# SPDX-License-Identifier: GPL-2.0
#
# From a clone to a running kernel. Each target does all that it needs first.

# The user's tree instead of Debian's source; the unpatched kernel; a kernel with
# other options; KVM where a guest boots with it; tests by name.
export KSRC STOCK DEBUG FLAVOR KVM TESTS

.PHONY: help packages kernel demo test shell bench clean test-debug test-races test-faults \
	test-ibt test-upstream test-mitigations test-arch test-hammer test-all

help:
	@echo "make demo      boot the kernel, show a livepatch and BPF programs at one function"
	@echo "make test      run all tests in the virtual machine (TESTS=REGEX: only these)"
	@echo "make shell     an interactive shell in the virtual machine"
	@echo "make bench     measure the cost of a call, ours beside the unpatched kernel"
	@echo "make kernel    build the kernel and all that goes into the virtual machine"
	@echo "make packages  install the Debian packages that all of this needs"
	@echo "make clean     remove what was built (the compiler cache and downloads stay)"
	@echo
	@echo "make test-debug        all tests, with KASAN, UBSAN, lockdep and kmemleak"
	@echo "make test-races        the tests of two processors, with KCSAN"
	@echo "make test-faults       each allocation fails once, and each call that can"
	@echo "make test-ibt          a processor with IBT, the unpatched kernel beside ours"
	@echo "make test-upstream     Linux's own suites, the unpatched kernel beside ours"
	@echo "make test-mitigations  other mitigations, unwinder, preemption"
	@echo "make test-arch         compile for other architectures, boot arm64"
	@echo "make test-hammer       half an hour at one site, with noise around it"
	@echo "make test-all          all of these"
	@echo
	@echo "KSRC=DIR     a Linux 7.3 source tree of yours (only read), not Debian's"
	@echo "STOCK=1      the same on the unpatched kernel"
	@echo "FLAVOR=NAME  the same with the options of vm/config.NAME (DEBUG=1: debug)"
	@echo "KVM=1        use KVM, if a guest boots with it"

packages:
	@vm/packages

kernel: packages
	@vm/kernel

demo: kernel
	@vm/demo

test: kernel
	@vm/test

shell: kernel
	@vm/shell

bench: packages
	@STOCK= vm/kernel
	@STOCK=1 vm/kernel
	@bench/run

# Not under Bochs, where sanitizers take hours, and not what is of this kernel anyway.
test-debug: packages
	@FLAVOR=debug vm/kernel
	@FLAVOR=debug SKIP='^(splats|overlay|series|ibt-|lock-|share-nth)' vm/test vm/tests vm/tests.debug

test-races: packages
	@vm/test vm/tests.races

test-faults: kernel
	@vm/test vm/tests.faults

test-ibt: kernel
	@STOCK=1 vm/kernel
	@vm/ibt

test-upstream:
	@vm/upstream

test-mitigations: kernel
	@vm/test vm/tests.mitigations

test-arch:
	@vm/arch
	@vm/test vm/tests.arm64

test-hammer: kernel
	@vm/test vm/tests.hammer

test-all: test test-debug test-races test-faults test-ibt test-upstream test-mitigations \
	test-arch test-hammer

clean:
	rm -rf build
