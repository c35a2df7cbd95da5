# SPDX-License-Identifier: GPL-2.0
#
# From a clone to a running kernel. Each target does all that it needs first.

# The user's tree instead of Debian's source; the unpatched kernel; the kernel
# with lock debugging; KVM where a guest boots with it; tests by name.
export KSRC STOCK DEBUG KVM TESTS

.PHONY: help packages kernel demo test shell bench clean

help:
	@echo "make demo      boot the kernel, show a livepatch and BPF programs at one function"
	@echo "make test      run all tests in the virtual machine (TESTS=REGEX: only these)"
	@echo "make shell     an interactive shell in the virtual machine"
	@echo "make bench     measure the cost of a call, ours beside the unpatched kernel"
	@echo "make kernel    build the kernel and all that goes into the virtual machine"
	@echo "make packages  install the Debian packages that all of this needs"
	@echo "make clean     remove what was built (the compiler cache and downloads stay)"
	@echo
	@echo "KSRC=DIR  a Linux 7.3 source tree of yours (only read), not Debian's"
	@echo "STOCK=1   the same on the unpatched kernel"
	@echo "DEBUG=1   the same with lockdep and its friends"
	@echo "KVM=1     use KVM, if a guest boots with it"

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

clean:
	rm -rf build
