// SPDX-License-Identifier: GPL-2.0

/*
 * Functions to be livepatched and traced at the same time. A read of the
 * module parameter of the same name calls the first one and prints what it
 * returned:
 *
 *	/sys/module/test_klp_share_target/parameters/one
 *
 * /dev/klp_share calls all of them, from any number of tasks, see
 * test_klp_share.h.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/error-injection.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "test_klp_share.h"

/*
 * Each has something that the compiler cannot see through, lest it should know
 * what a call returns.
 */

/* Returns its argument; test_klp_share_patch adds 100. fmod_ret may attach. */
noinline __noclone int klp_share_target_one(int a)
{
	OPTIMIZER_HIDE_VAR(a);
	return a;
}
ALLOW_ERROR_INJECTION(klp_share_target_one, ERRNO);
/* For who wants to look at its text */
EXPORT_SYMBOL_GPL(klp_share_target_one);

noinline __noclone int klp_share_target_other(int a)
{
	OPTIMIZER_HIDE_VAR(a);
	return a;
}

/*
 * As many arguments as a trampoline can have. No two can be exchanged without a
 * change of the sum.
 */
noinline __noclone long klp_share_target_many(int a, int b, int c, int d, int e, int f,
					      int g, int h, int i, int j, int k, int l)
{
	OPTIMIZER_HIDE_VAR(a);
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f +
	       7 * g + 8 * h + 9 * i + 10 * j + 11 * k + 12 * l;
}

noinline __noclone struct klp_share_pair klp_share_target_pair(long a, long b)
{
	OPTIMIZER_HIDE_VAR(a);
	return (struct klp_share_pair){ .a = a, .b = b };
}

noinline __noclone __int128 klp_share_target_wide(long a, long b)
{
	OPTIMIZER_HIDE_VAR(a);
	return ((__int128)b << 64) | (u64)a;
}

noinline __noclone long klp_share_target_by_value(struct klp_share_pair p, int c)
{
	OPTIMIZER_HIDE_VAR(c);
	return p.a + 2 * p.b + 3 * c;
}

noinline __noclone int klp_share_target_recurse(int n, void *self)
{
	klp_share_fn fn = self;
	int ret = 0;

	if (n)
		ret = fn(n - 1, self);
	/* Not a tail call. */
	OPTIMIZER_HIDE_VAR(ret);
	return ret + 1;
}

noinline __noclone int klp_share_target_sleep(int a, void *serve)
{
	klp_share_fn fn = serve;
	int ret = fn(a, NULL);

	OPTIMIZER_HIDE_VAR(ret);
	return ret;
}

static int serve(int a, void *unused);

static int call(struct klp_share_call *c)
{
	struct klp_share_pair pair;
	int a = c->arg;
	__int128 wide;

	c->ret[1] = 0;
	switch (c->function) {
	case KLP_SHARE_ONE:
		c->ret[0] = klp_share_target_one(a);
		return 0;
	case KLP_SHARE_OTHER:
		c->ret[0] = klp_share_target_other(a);
		return 0;
	case KLP_SHARE_MANY:
		c->ret[0] = klp_share_target_many(a, a + 1, a + 2, a + 3, a + 4,
						  a + 5, a + 6, a + 7, a + 8, a + 9,
						  a + 10, a + 11);
		return 0;
	case KLP_SHARE_PAIR:
		pair = klp_share_target_pair(a, a + 1);
		c->ret[0] = pair.a;
		c->ret[1] = pair.b;
		return 0;
	case KLP_SHARE_WIDE:
		wide = klp_share_target_wide(a, a + 1);
		c->ret[0] = wide;
		c->ret[1] = wide >> 64;
		return 0;
	case KLP_SHARE_BY_VALUE:
		pair = (struct klp_share_pair){ .a = a, .b = a + 1 };
		c->ret[0] = klp_share_target_by_value(pair, a + 2);
		return 0;
	case KLP_SHARE_RECURSE:
		c->ret[0] = klp_share_target_recurse(a, klp_share_target_recurse);
		return 0;
	case KLP_SHARE_SLEEP:
		c->ret[0] = klp_share_target_sleep(a, serve);
		return 0;
	default:
		return -EINVAL;
	}
}

u64 klp_share_hammer_calls;
EXPORT_SYMBOL_GPL(klp_share_hammer_calls);

static void hammer(struct klp_share_hammer *h)
{
	u32 i;

	guard(preempt)();

	h->strays = 0;
	h->state[0] = READ_ONCE(current->patch_state);
	h->version = klp_share_target_one(0);
	for (i = 1; i < h->calls; i++) {
		if (klp_share_target_one(i) - (int)i != h->version)
			h->strays++;
		WRITE_ONCE(klp_share_hammer_calls, klp_share_hammer_calls + 1);
	}
	h->state[1] = READ_ONCE(current->patch_state);
}

static long ioctl_hammer(void __user *argp)
{
	struct klp_share_hammer h;

	if (copy_from_user(&h, argp, sizeof(h)))
		return -EFAULT;
	/* What a processor can well do without being preempted */
	if (!h.calls || h.calls > 10000)
		return -EINVAL;
	hammer(&h);
	return copy_to_user(argp, &h, sizeof(h)) ? -EFAULT : 0;
}

/*
 * The task in KLP_SHARE_SLEEP. While it is there a livepatch of that function
 * cannot come or go, and the task stays in the state in which it fell asleep. So
 * it is the one to ask for calls by a task that is not patched yet.
 */
static struct {
	wait_queue_head_t wait;
	spinlock_t lock;		/* guards the fields below */
	bool asleep;
	bool wake;
	struct klp_share_call *request;	/* NULL once it is done */
	int err;			/* what call() of it returned */
} sleeper = {
	.wait = __WAIT_QUEUE_HEAD_INITIALIZER(sleeper.wait),
	.lock = __SPIN_LOCK_UNLOCKED(sleeper.lock),
};

/* One sleeper, and one at a time who asks it. */
static DEFINE_MUTEX(sleep_mutex);
static DEFINE_MUTEX(request_mutex);

static struct klp_share_call *sleeper_request(void)
{
	guard(spinlock)(&sleeper.lock);
	return sleeper.request;
}

static bool sleeper_asleep(void)
{
	guard(spinlock)(&sleeper.lock);
	return sleeper.asleep;
}

static bool sleeper_called(void)
{
	guard(spinlock)(&sleeper.lock);
	return sleeper.wake || sleeper.request;
}

static void sleeper_answer(int err)
{
	scoped_guard(spinlock, &sleeper.lock) {
		sleeper.request = NULL;
		sleeper.err = err;
	}
	wake_up_all(&sleeper.wait);
}

static void sleeper_set(bool asleep)
{
	guard(spinlock)(&sleeper.lock);
	sleeper.asleep = asleep;
	sleeper.wake = false;
}

static int serve(int a, void *unused)
{
	struct klp_share_call *c;
	int killed;

	guard(mutex)(&sleep_mutex);

	sleeper_set(true);
	for (;;) {
		/* A livepatch sends signals to who sleeps interruptibly. */
		killed = wait_event_killable(sleeper.wait, sleeper_called());
		c = sleeper_request();
		if (killed || !c)
			break;
		sleeper_answer(call(c));
	}
	sleeper_set(false);
	/* Nobody is left waiting for an answer. */
	if (sleeper_request())
		sleeper_answer(-EINTR);
	return a;
}

static int call_asleep(struct klp_share_call *c)
{
	guard(mutex)(&request_mutex);

	if (c->function == KLP_SHARE_SLEEP)
		return -EINVAL;
	scoped_guard(spinlock, &sleeper.lock) {
		if (!sleeper.asleep)
			return -ESRCH;
		sleeper.request = c;
	}
	wake_up_all(&sleeper.wait);
	/* @c is on our stack: wait for the answer, whatever happens. */
	wait_event(sleeper.wait, !sleeper_request());
	return sleeper.err;
}

static long ioctl_call(void __user *argp, int (*how)(struct klp_share_call *c))
{
	struct klp_share_call c;
	int err;

	if (copy_from_user(&c, argp, sizeof(c)))
		return -EFAULT;
	err = how(&c);
	if (err)
		return err;
	return copy_to_user(argp, &c, sizeof(c)) ? -EFAULT : 0;
}

static long share_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case KLP_SHARE_CALL:
		return ioctl_call(argp, call);
	case KLP_SHARE_CALL_ASLEEP:
		return ioctl_call(argp, call_asleep);
	case KLP_SHARE_WAKE:
		scoped_guard(spinlock, &sleeper.lock)
			sleeper.wake = true;
		wake_up_all(&sleeper.wait);
		return 0;
	case KLP_SHARE_ASLEEP:
		return sleeper_asleep();
	case KLP_SHARE_HAMMER:
		return ioctl_hammer(argp);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations share_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= share_ioctl,
};

static struct miscdevice share_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "klp_share",
	.fops	= &share_fops,
};

static int call_one(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", klp_share_target_one(1));
}

static const struct kernel_param_ops one_ops = {
	.get = call_one,
};

module_param_cb(one, &one_ops, NULL, 0444);

static int test_klp_share_target_init(void)
{
	return misc_register(&share_device);
}

static void test_klp_share_target_exit(void)
{
	misc_deregister(&share_device);
}

module_init(test_klp_share_target_init);
module_exit(test_klp_share_target_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: functions that a livepatch and BPF programs share");
