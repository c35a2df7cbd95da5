// SPDX-License-Identifier: GPL-2.0

/*
 * A livepatch of all functions of test_klp_share_target: each returns 100 more
 * than it did, in both halves of a struct, and on each level of a recursion.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compiler.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "test_klp_share.h"

static int livepatch_share_one(int a)
{
	return a + 100;
}

static long livepatch_share_many(int a, int b, int c, int d, int e, int f,
				 int g, int h, int i, int j, int k, int l)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f +
	       7 * g + 8 * h + 9 * i + 10 * j + 11 * k + 12 * l + 100;
}

static struct klp_share_pair livepatch_share_pair(long a, long b)
{
	return (struct klp_share_pair){ .a = a + 100, .b = b + 100 };
}

static __int128 livepatch_share_wide(long a, long b)
{
	return ((__int128)(b + 100) << 64) | (u64)(a + 100);
}

static long livepatch_share_by_value(struct klp_share_pair p, int c)
{
	return p.a + 2 * p.b + 3 * c + 100;
}

static int livepatch_share_recurse(int n, void *self)
{
	klp_share_fn fn = self;
	int ret = 0;

	if (n)
		ret = fn(n - 1, self);
	/* Not a tail call. */
	OPTIMIZER_HIDE_VAR(ret);
	return ret + 101;
}

/* Sleeps as the old one does, so that the removal of this can be held up, too. */
static int livepatch_share_sleep(int a, void *serve)
{
	klp_share_fn fn = serve;
	int ret = fn(a, NULL);

	OPTIMIZER_HIDE_VAR(ret);
	return ret + 100;
}

static struct klp_func funcs[] = {
	{
		.old_name = "klp_share_target_one",
		.new_func = livepatch_share_one,
	}, {
		.old_name = "klp_share_target_many",
		.new_func = livepatch_share_many,
	}, {
		.old_name = "klp_share_target_pair",
		.new_func = livepatch_share_pair,
	}, {
		.old_name = "klp_share_target_wide",
		.new_func = livepatch_share_wide,
	}, {
		.old_name = "klp_share_target_by_value",
		.new_func = livepatch_share_by_value,
	}, {
		.old_name = "klp_share_target_recurse",
		.new_func = livepatch_share_recurse,
	}, {
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

static int test_klp_share_all_init(void)
{
	return klp_enable_patch(&patch);
}

static void test_klp_share_all_exit(void)
{
}

module_init(test_klp_share_all_init);
module_exit(test_klp_share_all_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("Livepatch test: patch of every function that BPF programs share");
