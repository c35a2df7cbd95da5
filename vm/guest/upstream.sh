#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# In the guest of vm/upstream: runs Linux's own suites, of which the names are the
# arguments, and prints a line "result SUITE TEST pass|fail|skip" for each test. What
# the tests print goes to stdout as it comes, behind it.

result() {
	echo "result $1 $2 $3"
}

livepatch() {
	local script status verdict

	cd /selftests/livepatch || return
	for script in test-*.sh; do
		# Ours has its place in "make test".
		[ "$script" != test-direct-share.sh ] || continue
		./"$script"
		status=$?
		verdict=fail
		[ $status != 0 ] || verdict=pass
		[ $status != 4 ] || verdict=skip
		result livepatch "$script" $verdict
	done
}

# The result of a test is that of the last line with its name.
bpf() {
	local tests

	cd /test_progs || return
	tests=$(grep -v '^#' /upstream.tests | xargs | tr ' ' ,)
	# livepatch_trampoline takes the module from there.
	export KBUILD_OUTPUT=/kbuild
	mkdir -p /kbuild/samples/livepatch
	cp /usr/lib/modules/"$(uname -r)"/kernel/samples/livepatch/livepatch-sample.ko \
		/kbuild/samples/livepatch/
	./test_progs -t "$tests" 2>&1 | tee /bpf.log
	sed -nE 's/^#[0-9]+ +([^/: ]+):(OK|FAIL|SKIP).*/\1 \2/p' /bpf.log |
		sed -e 's/OK$/pass/' -e 's/FAIL$/fail/' -e 's/SKIP$/skip/' |
		sort -u | while read -r name verdict; do
			result bpf "$name" "$verdict"
		done
}

ftrace() {
	cd /selftests/ftrace || return
	./ftracetest 2>&1 | tee /ftrace.log
	sed -nE 's/^\[[0-9]+\] (.*)\t\[(PASS|FAIL|UNRESOLVED|UNTESTED|UNSUPPORTED|XFAIL)\].*/\2 \1/p' \
		/ftrace.log | while read -r verdict name; do
			case $verdict in
			PASS) verdict=pass ;;
			FAIL) verdict=fail ;;
			*) verdict=skip ;;
			esac
			result ftrace "$(tr -s ' /\t' ___ <<<"$name")" $verdict
		done
}

# One that dies takes the rest of its suite with it, not of the others. The last line
# tells that the guest has lived to the end of it.
for suite; do
	if $suite; then
		result "$suite" the-guest pass
	fi
done
