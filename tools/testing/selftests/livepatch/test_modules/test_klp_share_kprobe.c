// SPDX-License-Identifier: GPL-2.0

/*
 * Kprobes with a post_handler, which makes them redirect owners of functions, or
 * without (post=0). The parameter hits tells how often both handlers ran, held whether
 * one keeps its caller in ftrace, which the first one does for hold_ms milliseconds.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/processor.h>
#include <linux/sysfs.h>
#include <linux/time64.h>
#include <linux/timekeeping.h>

static char *symbols[8] = { "klp_share_target_one" };
static int nr_symbols = 1;
module_param_array(symbols, charp, &nr_symbols, 0444);
MODULE_PARM_DESC(symbols, "functions to be probed");

static bool post = true;
module_param(post, bool, 0444);
MODULE_PARM_DESC(post, "with a post_handler");

static unsigned int hold_ms;
module_param(hold_ms, uint, 0444);
MODULE_PARM_DESC(hold_ms, "for how long the first caller is held");

static bool held;
module_param(held, bool, 0444);
MODULE_PARM_DESC(held, "whether it is now");

static atomic_t pre_hits, post_hits;

static int show_hits(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d %d\n", atomic_read(&pre_hits), atomic_read(&post_hits));
}

static const struct kernel_param_ops hits_ops = {
	.get = show_hits,
};

module_param_cb(hits, &hits_ops, NULL, 0444);
MODULE_PARM_DESC(hits, "runs of the pre_handler and of the post_handler");

/* Preemption is off as it is in any callback of ftrace, interrupts are not. */
static void hold(void)
{
	u64 end = ktime_get_mono_fast_ns() + (u64)hold_ms * NSEC_PER_MSEC;

	WRITE_ONCE(held, true);
	while (ktime_get_mono_fast_ns() < end)
		cpu_relax();
	WRITE_ONCE(held, false);
}
NOKPROBE_SYMBOL(hold);

static int share_pre_handler(struct kprobe *p, struct pt_regs *regs)
{
	if (atomic_inc_return(&pre_hits) == 1 && hold_ms)
		hold();
	return 0;
}
NOKPROBE_SYMBOL(share_pre_handler);

static void share_post_handler(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{
	atomic_inc(&post_hits);
}
NOKPROBE_SYMBOL(share_post_handler);

static struct kprobe probes[ARRAY_SIZE(symbols)];

static void unregister(int nr)
{
	while (nr--)
		unregister_kprobe(&probes[nr]);
}

static int test_klp_share_kprobe_init(void)
{
	int i, err;

	for (i = 0; i < nr_symbols; i++) {
		probes[i].symbol_name = symbols[i];
		probes[i].pre_handler = share_pre_handler;
		probes[i].post_handler = post ? share_post_handler : NULL;
		err = register_kprobe(&probes[i]);
		if (err) {
			unregister(i);
			return err;
		}
	}
	return 0;
}

static void test_klp_share_kprobe_exit(void)
{
	unregister(nr_symbols);
}

module_init(test_klp_share_kprobe_init);
module_exit(test_klp_share_kprobe_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: kprobes with and without a post_handler");
