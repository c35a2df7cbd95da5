/* SPDX-License-Identifier: GPL-2.0 */

/*
 * A livepatch of one function of test_klp_share_target, all but its description.
 * Who includes this says before what it is:
 *
 *	SHARE_FUNCTION	name of an int function(int) that returns its argument
 *	SHARE_ADD	what the new one adds to it
 *	SHARE_REPLACE	is it an atomic replace?
 *	SHARE_NEW	the new function, if it is another one than that; it is
 *			defined behind the include
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/stringify.h>

#ifndef SHARE_NEW
#define SHARE_NEW	livepatch_share_function

static int livepatch_share_function(int a)
{
	return a + SHARE_ADD;
}
#endif

static struct klp_func funcs[] = {
	{
		.old_name = __stringify(SHARE_FUNCTION),
		.new_func = SHARE_NEW,
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

#ifdef CONFIG_FAULT_INJECTION
/*
 * As /proc/self/fail-nth, but for klp_enable_patch() alone: without all that has to
 * be allocated to load a module. Still there afterwards: what is left of it, 0 if
 * an allocation failed.
 */
static unsigned int fail_nth;
module_param(fail_nth, uint, 0444);
MODULE_PARM_DESC(fail_nth, "which allocation fails");

static int enable(void)
{
	int err;

	current->fail_nth = fail_nth;
	err = klp_enable_patch(&patch);
	fail_nth = current->fail_nth;
	current->fail_nth = 0;
	return err;
}
#else
static int enable(void)
{
	return klp_enable_patch(&patch);
}
#endif

static int test_klp_share_patch_init(void)
{
	return enable();
}

static void test_klp_share_patch_exit(void)
{
}

module_init(test_klp_share_patch_init);
module_exit(test_klp_share_patch_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
