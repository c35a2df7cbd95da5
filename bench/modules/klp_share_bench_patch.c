// SPDX-License-Identifier: GPL-2.0
/* The livepatch of the function that is measured. */

#include <linux/livepatch.h>
#include <linux/module.h>

#include "share_bench.h"

/* An instruction longer than the original: that belongs to the patch's cost. */
noinline int klp_share_bench_target2(int a, int b)
{
	barrier();
	return a - b;
}

static struct klp_func funcs[] = {
	{
		.old_name = "klp_share_bench_target",
		.new_func = klp_share_bench_target2,
	}, { }
};

static struct klp_object objs[] = {
	{
		.name = "klp_share_bench",
		.funcs = funcs,
	}, { }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int __init share_bench_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit share_bench_patch_exit(void)
{
}

module_init(share_bench_patch_init);
module_exit(share_bench_patch_exit);
MODULE_DESCRIPTION("ftrace direct share: livepatch of the measured function");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
