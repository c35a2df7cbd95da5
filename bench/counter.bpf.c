// SPDX-License-Identifier: GPL-2.0
/*
 * The program of the bench: it counts its calls, three instructions, so that
 * what a call costs with it is hardly more than getting there. One object is
 * built for each SECTION that is measured.
 */

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

unsigned long count;

SEC(SECTION)
int counter(void *ctx)
{
	__sync_fetch_and_add(&count, 1);
	return 0;
}

char _license[] SEC("license") = "GPL";
