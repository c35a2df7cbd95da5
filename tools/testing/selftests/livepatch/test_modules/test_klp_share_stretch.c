// SPDX-License-Identifier: GPL-2.0

/*
 * Stretches the change of a fentry site, so that calls meet the int3 that stands
 * there meanwhile. x86 changes text in three steps, after each of which it has
 * all processors synchronize; at that point, as long as the site starts with an
 * int3, this waits until another processor has called the function.
 *
 * The site is that of klp_share_target_one(), the calls are those of
 * KLP_SHARE_HAMMER. The parameter seen tells how often the site was found to be
 * an int3, and how many calls came back from it while it was.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>

#include "test_klp_share.h"

#define INT3	0xcc

static unsigned int calls = 20;
module_param(calls, uint, 0444);
MODULE_PARM_DESC(calls, "how many calls to wait for");

static unsigned int patience = 50;
module_param(patience, uint, 0444);
MODULE_PARM_DESC(patience, "for how many milliseconds at most");

/* Written by who changes the text, with text_mutex held. */
static unsigned long windows, calls_seen;

static int show_seen(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lu %lu\n", READ_ONCE(windows), READ_ONCE(calls_seen));
}

static const struct kernel_param_ops seen_ops = {
	.get = show_seen,
};

module_param_cb(seen, &seen_ops, NULL, 0444);
MODULE_PARM_DESC(seen, "int3 found at the site, calls meanwhile");

/* The site is the first instruction, or the second one behind an ENDBR. */
static bool site_is_int3(void)
{
	unsigned char text[5] = {};

	copy_from_kernel_nofault(text, klp_share_target_one, sizeof(text));
	return text[0] == INT3 || text[4] == INT3;
}

static int stretch(struct kprobe *p, struct pt_regs *regs)
{
	u64 before = READ_ONCE(klp_share_hammer_calls);
	ktime_t end = ktime_add_ms(ktime_get(), patience);

	if (!site_is_int3())
		return 0;
	while (READ_ONCE(klp_share_hammer_calls) - before < calls &&
	       ktime_before(ktime_get(), end))
		cpu_relax();
	WRITE_ONCE(windows, windows + 1);
	WRITE_ONCE(calls_seen, calls_seen + READ_ONCE(klp_share_hammer_calls) - before);
	return 0;
}
NOKPROBE_SYMBOL(stretch);

/* What has all processors synchronize; it has other callers, who find no int3. */
static struct kprobe probe = {
	.symbol_name = "on_each_cpu_cond_mask",
	.pre_handler = stretch,
};

static int test_klp_share_stretch_init(void)
{
	return register_kprobe(&probe);
}

static void test_klp_share_stretch_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(test_klp_share_stretch_init);
module_exit(test_klp_share_stretch_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: the change of a site takes its time");
