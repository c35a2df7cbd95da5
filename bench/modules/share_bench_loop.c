// SPDX-License-Identifier: GPL-2.0
/*
 * What does a call of klp_share_bench_target() cost? Reading
 * <debugfs>/klp_share_bench/cost calls it and its twin, which nobody can
 * trace, equally often and shows how far the TSC went in either loop.
 *
 * The bench runs this on an emulator whose TSC counts executed instructions,
 * so the difference of the two, divided by the number of calls, is the number
 * of instructions that whoever is attached to the target adds to a call.
 */

#include <linux/debugfs.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include <asm/msr.h>
#include <asm/tsc.h>

#include "share_bench.h"

/* Interrupts are off for so many calls, less than a tick but on slow rows. */
#define BATCH		100

/* The rounds of the loop that checks what the TSC counts. */
#define CALIBRATION	100000

static unsigned int calls = 100000;
module_param(calls, uint, 0644);
MODULE_PARM_DESC(calls, "calls of each function per reading, a multiple of 100");

/* What <debugfs>/klp_share_bench/text shows: bytes of the kernel's text */
static unsigned long text_at;
module_param(text_at, ulong, 0600);
MODULE_PARM_DESC(text_at, "address of the text to show");

static unsigned int text_len;
module_param(text_len, uint, 0600);
MODULE_PARM_DESC(text_len, "and how many bytes of it, 4096 at most");

static struct dentry *bench_dir;
static DEFINE_MUTEX(bench_mutex);

/* The barrier keeps the compiler from leaving calls out. */
noinline int klp_share_bench_target(int a, int b)
{
	barrier();
	return a + b;
}

/* The nop is what the target has as its ftrace site while nobody is there. */
notrace noinline int klp_share_bench_twin(int a, int b)
{
	asm volatile("nop");
	barrier();
	return a + b;
}

/* Inlined for one function each, so that both are called directly. */
static __always_inline u64 loop(int (*function)(int a, int b))
{
	unsigned long flags;
	u64 insns;
	int i;

	local_irq_save(flags);
	insns = rdtsc_ordered();
	for (i = 0; i < BATCH; i++)
		function(i, i);
	insns = rdtsc_ordered() - insns;
	local_irq_restore(flags);
	return insns;
}

static notrace noinline u64 loop_target(void)
{
	return loop(klp_share_bench_target);
}

static notrace noinline u64 loop_twin(void)
{
	return loop(klp_share_bench_twin);
}

/* Two instructions for each round: the TSC has to agree. */
static notrace noinline u64 loop_calibration(unsigned long rounds)
{
	unsigned long flags;
	u64 insns;

	local_irq_save(flags);
	insns = rdtsc_ordered();
	asm volatile("1:	dec %0\n\t"
		     "jnz 1b"
		     : "+r" (rounds) : : "cc");
	insns = rdtsc_ordered() - insns;
	local_irq_restore(flags);
	return insns;
}

static int cost_show(struct seq_file *m, void *unused)
{
	u64 target = 0, twin = 0, min = U64_MAX, max = 0, insns;
	unsigned int batches, i;

	guard(mutex)(&bench_mutex);
	batches = DIV_ROUND_UP(READ_ONCE(calls), BATCH);
	for (i = 0; i < batches; i++) {
		insns = loop_target();
		target += insns;
		min = min(min, insns);
		max = max(max, insns);
		twin += loop_twin();
		cond_resched();
	}
	insns = loop_calibration(CALIBRATION + 1) - loop_calibration(1);
	seq_printf(m, "%u %llu %llu %llu %llu %llu\n", batches * BATCH, target,
		   twin, min, max, insns);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(cost);

/* One call, and what came of it: 7 from the original, 3 from the livepatch. */
static int value_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "%d\n", klp_share_bench_target(5, 2));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(value);

static int text_show(struct seq_file *m, void *unused)
{
	unsigned int i, len = min(READ_ONCE(text_len), 4096);
	unsigned long at = READ_ONCE(text_at);
	u8 byte;

	for (i = 0; i < len; i++) {
		if (copy_from_kernel_nofault(&byte, (void *)(at + i), 1))
			return -EFAULT;
		seq_printf(m, "%02x", byte);
	}
	seq_putc(m, '\n');
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(text);

static int __init share_bench_init(void)
{
	bench_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("cost", 0400, bench_dir, NULL, &cost_fops);
	debugfs_create_file("value", 0400, bench_dir, NULL, &value_fops);
	debugfs_create_file("text", 0400, bench_dir, NULL, &text_fops);
	return 0;
}

static void __exit share_bench_exit(void)
{
	debugfs_remove(bench_dir);
}

module_init(share_bench_init);
module_exit(share_bench_exit);
MODULE_DESCRIPTION("ftrace direct share: the cost of a call");
MODULE_LICENSE("GPL");
