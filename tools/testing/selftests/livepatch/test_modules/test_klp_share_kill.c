// SPDX-License-Identifier: GPL-2.0

/*
 * Loading this is the end of ftrace until the next boot, as after a bug of it: at once,
 * or when the kernel comes to a certain place, e.g. in the middle of a change.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

/* No module may link to it, so who loads this looks its address up. */
static unsigned long kill_address;
module_param_named(ftrace_kill, kill_address, ulong, 0444);
MODULE_PARM_DESC(ftrace_kill, "address of the function of that name");

static char *at;
module_param(at, charp, 0444);
MODULE_PARM_DESC(at, "function whose next call it is that kills, at once without it");

static int kill_once(struct kprobe *p, struct pt_regs *regs)
{
	static bool dead;

	if (!dead)
		((void (*)(void))kill_address)();
	dead = true;
	return 0;
}

static struct kprobe place = { .pre_handler = kill_once };

static int test_klp_share_kill_init(void)
{
	if (!kill_address)
		return -EINVAL;
	if (!at)
		return kill_once(NULL, NULL);
	place.symbol_name = at;
	return register_kprobe(&place);
}

static void test_klp_share_kill_exit(void)
{
	if (at)
		unregister_kprobe(&place);
}

module_init(test_klp_share_kill_init);
module_exit(test_klp_share_kill_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: the death of ftrace");
