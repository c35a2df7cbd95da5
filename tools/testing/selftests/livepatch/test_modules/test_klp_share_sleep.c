// SPDX-License-Identifier: GPL-2.0

/*
 * A livepatch of klp_share_target_sleep() alone, to be below another one.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compiler.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "test_klp_share.h"

static int livepatch_share_sleep(int a, void *serve)
{
	klp_share_fn fn = serve;
	int ret = fn(a, NULL);

	OPTIMIZER_HIDE_VAR(ret);
	return ret + 1000;
}

static struct klp_func funcs[] = {
	{
		.old_name = "klp_share_target_sleep",
		.new_func = livepatch_share_sleep,
	}, { }
};

static struct klp_object objs[] = {
	{
		.name = "test_klp_share_target",
		.funcs = funcs,
	}, { }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objs,
};

static int test_klp_share_sleep_init(void)
{
	return klp_enable_patch(&patch);
}

static void test_klp_share_sleep_exit(void)
{
}

module_init(test_klp_share_sleep_init);
module_exit(test_klp_share_sleep_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("Livepatch test: patch of the function that sleeps");
