// SPDX-License-Identifier: GPL-2.0

/* The livepatch of the functions in test_klp_share_target. */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/livepatch.h>

static int livepatch_share_target_one(int a)
{
	return a + 100;
}

static struct klp_func funcs[] = {
	{
		.old_name = "klp_share_target_one",
		.new_func = livepatch_share_target_one,
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

static int test_klp_share_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void test_klp_share_patch_exit(void)
{
}

module_init(test_klp_share_patch_init);
module_exit(test_klp_share_patch_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("Livepatch test: patch of functions that BPF programs share");
