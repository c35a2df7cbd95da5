// SPDX-License-Identifier: GPL-2.0

/*
 * A function that BTF has twice, under two names. The kernel finds the address
 * of an id by its name, and here both names have the same one. The kernel's own
 * BTF has such pairs if pahole ran with several threads: then under one name.
 *
 * A read of the parameter "call" calls all functions of this module.
 */

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysfs.h>

static noinline __noclone __used int klp_share_twin(int a)
{
	OPTIMIZER_HIDE_VAR(a);
	return a;
}

/*
 * The debug information, and so BTF, calls a function as C does. In assembly
 * this one is called something else, and its name is that of the one above.
 */
static int klp_share_twin_again(int a) __asm__("klp_share_nobodys_twin");

static noinline __noclone __used int klp_share_twin_again(int a)
{
	OPTIMIZER_HIDE_VAR(a);
	return a;
}

asm("	.type	klp_share_twin_again, @function\n"
"	.set	klp_share_twin_again, klp_share_twin\n");

static noinline __noclone __used int klp_share_twins_sibling(int a)
{
	OPTIMIZER_HIDE_VAR(a);
	return a;
}

static int call(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d %d %d\n", klp_share_twin(1), klp_share_twin_again(2),
			  klp_share_twins_sibling(3));
}

static const struct kernel_param_ops call_ops = {
	.get = call,
};

module_param_cb(call, &call_ops, NULL, 0444);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: one function that BTF has twice");
