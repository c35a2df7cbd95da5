// SPDX-License-Identifier: GPL-2.0
/*
 * Nobody calls these functions. They are here to be livepatched, so that it
 * shows whether a call of one patched function has to pay for all the others.
 * The generated file is one FUNCTION(n) for each n from 000 to 399.
 */

#include <linux/compiler.h>

#define FUNCTION(n)						\
static noinline __used int klp_share_bench_##n(int a, int b)	\
{								\
	barrier();						\
	return 0;						\
}

#include "share_bench_functions.inc"
