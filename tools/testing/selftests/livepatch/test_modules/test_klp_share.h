/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _TEST_KLP_SHARE_H
#define _TEST_KLP_SHARE_H

/*
 * /dev/klp_share of test_klp_share_target, by which a test calls the functions
 * that livepatches and BPF programs share. For the modules and for user space.
 */

#include <linux/ioctl.h>
#include <linux/types.h>

/* Two registers in a call and in a return */
struct klp_share_pair {
	long a;
	long b;
};

enum klp_share_function {
	KLP_SHARE_ONE,		/* int klp_share_target_one(int) */
	KLP_SHARE_OTHER,	/* the same, for a livepatch of another function */
	KLP_SHARE_MANY,		/* twelve arguments, six of them on the stack */
	KLP_SHARE_PAIR,		/* returns a struct klp_share_pair */
	KLP_SHARE_WIDE,		/* returns an __int128 */
	KLP_SHARE_BY_VALUE,	/* takes a struct klp_share_pair */
	KLP_SHARE_RECURSE,	/* calls itself arg times */
	KLP_SHARE_SLEEP,	/* sleeps until KLP_SHARE_WAKE */
	KLP_SHARE_FUNCTIONS,
};

/**
 * struct klp_share_call - argument of KLP_SHARE_CALL and KLP_SHARE_CALL_ASLEEP
 * @function:	which one, enum klp_share_function
 * @arg:	what its arguments are made of
 * @ret:	out: what it returned; two of them for KLP_SHARE_PAIR and KLP_SHARE_WIDE
 */
struct klp_share_call {
	__u32 function;
	__s32 arg;
	__s64 ret[2];
};

/**
 * struct klp_share_hammer - argument of KLP_SHARE_HAMMER
 * @calls:	how often to call klp_share_target_one()
 * @version:	out: what the first call added to its argument
 * @strays:	out: how many of the others added something else
 * @state:	out: the task's patch_state before and after
 */
struct klp_share_hammer {
	__u32 calls;
	__s32 version;
	__u32 strays;
	__s32 state[2];
};

/* Call a function */
#define KLP_SHARE_CALL		_IOWR('K', 1, struct klp_share_call)
/* Have the task that sleeps in KLP_SHARE_SLEEP call one, without waking it up */
#define KLP_SHARE_CALL_ASLEEP	_IOWR('K', 2, struct klp_share_call)
/* The function in which a task sleeps returns */
#define KLP_SHARE_WAKE		_IO('K', 3)
/* Is a task asleep in the function? Returns 0 or 1 */
#define KLP_SHARE_ASLEEP	_IO('K', 4)
/*
 * Many calls without preemption. Livepatch does not change the state of a task
 * that runs in the kernel, so all of them have to be of one version.
 */
#define KLP_SHARE_HAMMER	_IOWR('K', 5, struct klp_share_hammer)

#ifdef __KERNEL__
/*
 * A livepatch cannot link to a function that it replaces, so it is handed a
 * pointer to what it calls.
 */
typedef int (*klp_share_fn)(int a, void *fn);

int klp_share_target_one(int a);
int klp_share_target_other(int a);
long klp_share_target_many(int a, int b, int c, int d, int e, int f, int g, int h,
			   int i, int j, int k, int l);
struct klp_share_pair klp_share_target_pair(long a, long b);
__int128 klp_share_target_wide(long a, long b);
long klp_share_target_by_value(struct klp_share_pair p, int c);
int klp_share_target_recurse(int n, void *self);
int klp_share_target_sleep(int a, void *serve);

/* How many calls KLP_SHARE_HAMMER has made */
extern u64 klp_share_hammer_calls;

/* In assembly, of test_klp_share_direct */
extern unsigned int share_direct_hits;
void share_direct_tramp(void);
#endif

#endif /* _TEST_KLP_SHARE_H */
