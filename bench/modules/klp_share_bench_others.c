// SPDX-License-Identifier: GPL-2.0
/* The livepatch of the first "count" functions that nobody calls. */

#include <linux/livepatch.h>
#include <linux/module.h>

#include "share_bench.h"

static unsigned int count = SHARE_BENCH_OTHERS;
module_param(count, uint, 0444);
MODULE_PARM_DESC(count, "how many functions to patch, 400 at most");

static noinline int klp_share_bench_other2(int a, int b)
{
	barrier();
	return 1;
}

/* The last one, all zero, ends the list. */
static struct klp_func funcs[SHARE_BENCH_OTHERS + 1];
static char names[SHARE_BENCH_OTHERS][sizeof("klp_share_bench_000")];

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

static int __init share_bench_others_init(void)
{
	unsigned int i;

	if (!count || count > SHARE_BENCH_OTHERS)
		return -EINVAL;
	for (i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "klp_share_bench_%03u", i);
		funcs[i].old_name = names[i];
		funcs[i].new_func = klp_share_bench_other2;
	}
	return klp_enable_patch(&patch);
}

static void __exit share_bench_others_exit(void)
{
}

module_init(share_bench_others_init);
module_exit(share_bench_others_exit);
MODULE_DESCRIPTION("ftrace direct share: livepatch of functions that nobody calls");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
