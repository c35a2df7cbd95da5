// SPDX-License-Identifier: GPL-2.0

/*
 * An ops of ftrace at a function, as a tracer has one, and nothing else of a tracer:
 * there while the parameter traced is 1. Who reads deep calls klp_share_target_one(1)
 * as a callback would that a traced function of another callback has called, and gets
 * what that returned.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/trace_recursion.h>

#include "test_klp_share.h"

static char *function = "klp_share_target_one";
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "name of the function");

static bool traced;
static unsigned long hits;
module_param(hits, ulong, 0444);
MODULE_PARM_DESC(hits, "calls seen");

static void share_trace(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *op,
			struct ftrace_regs *fregs)
{
	hits++;
}

static struct ftrace_ops tracer = {
	.func = share_trace,
	.flags = FTRACE_OPS_FL_RECURSION,
};

/* The lock of this module's parameters is held. */
static int set_traced(const char *val, const struct kernel_param *kp)
{
	bool on;
	int err;

	err = kstrtobool(val, &on);
	if (err || on == traced)
		return err;
	err = on ? register_ftrace_function(&tracer) : unregister_ftrace_function(&tracer);
	if (!err)
		traced = on;
	return err;
}

static const struct kernel_param_ops traced_ops = {
	.set = set_traced,
	.get = param_get_bool,
};

module_param_cb(traced, &traced_ops, &traced, 0644);
MODULE_PARM_DESC(traced, "is it there?");

static int get_deep(char *buffer, const struct kernel_param *kp)
{
	int outer, inner, ret = -EBUSY;

	outer = ftrace_test_recursion_trylock(_THIS_IP_, _RET_IP_);
	if (outer < 0)
		return ret;
	inner = ftrace_test_recursion_trylock(_THIS_IP_, _RET_IP_);
	if (inner >= 0) {
		ret = sysfs_emit(buffer, "%d\n", klp_share_target_one(1));
		ftrace_test_recursion_unlock(inner);
	}
	ftrace_test_recursion_unlock(outer);
	return ret;
}

static const struct kernel_param_ops deep_ops = {
	.get = get_deep,
};

module_param_cb(deep, &deep_ops, NULL, 0444);
MODULE_PARM_DESC(deep, "what klp_share_target_one(1) returns to a callback of a callback");

static int test_klp_share_tracer_init(void)
{
	return ftrace_set_filter(&tracer, function, strlen(function), 1);
}

static void test_klp_share_tracer_exit(void)
{
	if (traced)
		unregister_ftrace_function(&tracer);
	ftrace_free_filter(&tracer);
}

module_init(test_klp_share_tracer_init);
module_exit(test_klp_share_tracer_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: a tracer of functions that BPF programs share");
