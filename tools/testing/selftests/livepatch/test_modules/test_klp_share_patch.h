/* SPDX-License-Identifier: GPL-2.0 */

/*
 * A livepatch of one function of test_klp_share_target, all but its description.
 * Who includes this says before what it is:
 *
 *	SHARE_FUNCTION	name of an int function(int) that returns its argument
 *	SHARE_ADD	what the new one adds to it
 *	SHARE_REPLACE	is it an atomic replace?
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/stringify.h>

static int livepatch_share_function(int a)
{
	return a + SHARE_ADD;
}

static struct klp_func funcs[] = {
	{
		.old_name = __stringify(SHARE_FUNCTION),
		.new_func = livepatch_share_function,
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
	.replace = SHARE_REPLACE,
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
