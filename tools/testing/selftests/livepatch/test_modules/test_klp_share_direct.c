// SPDX-License-Identifier: GPL-2.0

/*
 * A direct caller that is no BPF trampoline. It counts its calls and returns to
 * the address on its stack, and with the parameter follows=1 it tells so: then
 * it may share a function with a livepatch. For x86-64.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include <asm/ibt.h>
#include <asm/nospec-branch.h>

#include "test_klp_share.h"

static char *symbols[8] = { "klp_share_target_one" };
static int nr_symbols = 1;
module_param_array(symbols, charp, &nr_symbols, 0444);
MODULE_PARM_DESC(symbols, "functions to be called from");

static bool follows;
module_param(follows, bool, 0444);
MODULE_PARM_DESC(follows, "say that the trampoline follows a redirect");

unsigned int share_direct_hits;
module_param_named(hits, share_direct_hits, uint, 0444);
MODULE_PARM_DESC(hits, "calls of the trampoline");

/* Counts without a register, so that there is nothing to save. */
asm("	.pushsection	.text, \"ax\", @progbits\n"
"	.type		share_direct_tramp, @function\n"
"	.globl		share_direct_tramp\n"
"share_direct_tramp:\n"
	ASM_ENDBR
	CALL_DEPTH_ACCOUNT
"	lock incl	share_direct_hits(%rip)\n"
	ASM_RET
"	.size		share_direct_tramp, .-share_direct_tramp\n"
"	.popsection\n"
);

static struct ftrace_ops direct;

static int test_klp_share_direct_init(void)
{
	int i, err;

	if (follows) {
#if __has_include("linux/ftrace_direct_share.h")
		direct.flags |= FTRACE_OPS_FL_DIRECT_FOLLOWS;
#else
		pr_info("this kernel has no way to say that it follows\n");
#endif
	}

	for (i = 0; i < nr_symbols; i++) {
		err = ftrace_set_filter(&direct, symbols[i], strlen(symbols[i]), 0);
		if (err)
			goto free;
	}

	err = register_ftrace_direct(&direct, (unsigned long)share_direct_tramp);
	if (err)
		goto free;
	return 0;
free:
	ftrace_free_filter(&direct);
	return err;
}

static void test_klp_share_direct_exit(void)
{
	unregister_ftrace_direct(&direct, (unsigned long)share_direct_tramp, true);
}

module_init(test_klp_share_direct_init);
module_exit(test_klp_share_direct_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: direct caller that is no BPF trampoline");
