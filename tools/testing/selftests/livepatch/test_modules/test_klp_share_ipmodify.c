// SPDX-License-Identifier: GPL-2.0

/*
 * An ftrace_ops of a module's own that may change the ip of several functions at
 * once, and does not. It has told nobody before that it would come.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

static char *symbols[8] = { "klp_share_target_one" };
static int nr_symbols = 1;
module_param_array(symbols, charp, &nr_symbols, 0444);
MODULE_PARM_DESC(symbols, "functions whose ip it may change");

static void share_ipmodify_func(unsigned long ip, unsigned long parent_ip,
				struct ftrace_ops *op, struct ftrace_regs *fregs)
{
}

static struct ftrace_ops ipmodify = {
	.func	= share_ipmodify_func,
	.flags	= FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY,
};

static int test_klp_share_ipmodify_init(void)
{
	int i, err;

	for (i = 0; i < nr_symbols; i++) {
		err = ftrace_set_filter(&ipmodify, symbols[i], strlen(symbols[i]), 0);
		if (err)
			goto free;
	}

	err = register_ftrace_function(&ipmodify);
	if (err)
		goto free;
	return 0;
free:
	ftrace_free_filter(&ipmodify);
	return err;
}

static void test_klp_share_ipmodify_exit(void)
{
	unregister_ftrace_function(&ipmodify);
	ftrace_free_filter(&ipmodify);
}

module_init(test_klp_share_ipmodify_init);
module_exit(test_klp_share_ipmodify_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: ftrace_ops that may change the ip");
