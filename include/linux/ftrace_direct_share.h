/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_FTRACE_DIRECT_SHARE_H
#define _LINUX_FTRACE_DIRECT_SHARE_H

/*
 * Two owners of one fentry site.
 *
 * A redirect owner (a livepatch, a kprobe with a post_handler) changes the ip
 * with which the traced function goes on: FTRACE_OPS_FL_IPMODIFY. A direct
 * owner (a BPF trampoline, a module's own trampoline) is called by the site
 * itself: FTRACE_OPS_FL_DIRECT. A site has one of each at most. The arbiter in
 * kernel/trace/ftrace_direct_share.c knows both, and from that alone it derives
 * what stands at the site:
 *
 *   mode     who is at the site                what the site does
 *   none     -                                 nop
 *   solo     one kind of user                  what ftrace does without us
 *   settled  redirect owner alone, its         jmp kernel_func2
 *            redirect is a constant
 *   fused    the same + direct owner           jmp direct trampoline, which goes
 *                                              on to kernel_func2 by itself
 *   paired   redirect owner + direct owner     call ftrace_share_caller
 *   listed   redirect owner + other ops,       call ftrace_share_regs_caller,
 *            direct owner or not               visits this site's ops only
 *
 * A redirect is dynamic (in a livepatch transition, or a kprobe's) or settled.
 * Dynamic, in `paired`:
 *
 *          caller                    kernel_func2 (livepatch module)
 *            | call kernel_func          ^
 *            v                           | 3. ip that was handed over
 *   kernel_func: call ftrace_share_caller|
 *                  | 1. redirect owner's handler: regs->ip = kernel_func2
 *                  | 2. arbiter:          orig_ax = direct trampoline
 *                  +--------------------> direct trampoline (BPF programs)
 *
 * Settled, in `fused`: nobody is asked, the call costs what it would without a
 * redirect.
 *
 *          caller
 *            | call kernel_func
 *            v
 *   kernel_func: jmp direct trampoline ---> BPF programs, call or jmp kernel_func2
 *
 * HOW A REDIRECT OWNER USES IT
 *
 * Before it takes any lock of ftrace:
 *
 *	r = ftrace_redirect_alloc(ftrace_ip, "livepatch", "foo");
 *	list_add(&r->set, &set);	// a patch is one set of many sites
 *	err = ftrace_redirect_begin(&set);
 *
 * From here on no trampoline of these sites calls the traced function by its
 * address; each goes on to the ip that it finds on its stack. Then the owner
 * registers its ftrace_ops. Once its choice is a constant it tells so with
 * ftrace_redirect_settle(), and takes that back with ftrace_redirect_unsettle()
 * before any task may choose differently. A task may sleep in a trampoline that
 * was built before that: who needs to know finds it by bpf_image_site().
 * After the owner unregistered its ops:
 *
 *	ftrace_redirect_end(&set);
 *
 * HOW A DIRECT OWNER USES IT
 *
 * Under the lock that serializes updates of its trampoline (the trampoline
 * lock), a direct owner that builds its trampolines itself does
 *
 *	err = ftrace_direct_claim(&owner);		// publish, then
 *	switch (ftrace_direct_target(&owner)) {		// read
 *	case FTRACE_DIRECT_SELF:
 *		build a trampoline that calls the traced function
 *	case FTRACE_DIRECT_HANDED:
 *		build one that goes on to the ip on its stack
 *	default:
 *		build one that is entered by a jmp and goes on to this address
 *	}
 *
 * in this order. So either it reads the redirect as it is, or the redirect owner
 * finds it claimed, calls its ->retarget(), and that waits for the trampoline lock.
 * Nobody polls, tries a lock or sleeps.
 *
 * A direct owner with a fixed trampoline that returns to the address on its
 * stack sets FTRACE_OPS_FL_DIRECT_FOLLOWS before register_ftrace_direct().
 *
 * Locks, outermost first:
 *
 *   klp_mutex, kprobe_mutex -> redirect_mutex -> trampoline lock ->
 *   direct_mutex -> ftrace_lock -> text_mutex, share_lock
 *
 * share_lock is a leaf: held for a look-up or an update of a table, and across
 * no callback but ->get() and ->name(), which take no lock.
 */

#include <linux/list.h>
#include <linux/types.h>

struct dyn_ftrace;
struct ftrace_ops;
struct ftrace_regs;
struct share_ops;

/* Room for a module's name, the longest name of an owner */
#define FTRACE_REDIRECT_NAME_LEN	64

/**
 * struct ftrace_redirect - a redirect owner's hold on one site
 * @ip:		address of the fentry site
 * @set:	links the sites that one call of begin, settle or end is about
 * @target:	for ftrace_redirect_settle(): where every call goes on from now on,
 *		a function; must not change before ftrace_redirect_unsettle()
 * @kind:	what kind of owner it is, for messages
 * @name:	which one, for tracefs; empty if there is one only
 *
 * The fields above are the owner's to fill in, those below are the arbiter's.
 *
 * @node:	entry in the table of redirects
 * @work:	links the sites that are brought from one mode to another
 * @settled:	the value of @target is in force
 * @aim:	the address in @target at which calls go on without asking @owner,
 *		or 0: not settled, or held at `paired`
 * @owner:	the registered ops with FTRACE_OPS_FL_IPMODIFY, or NULL
 * @count:	number of ops at the site, as in the dyn_ftrace record
 * @has_direct:	one of them has FTRACE_OPS_FL_DIRECT
 * @now:	what the site calls: an address of ours, or 0 if ftrace's flags say
 * @dirty:	entry in the list of sites whose ops changed
 * @handler:	what the site's callers use: the ops to ask for the ip, or NULL
 * @direct:	what the site's callers use: the direct address, or 0
 * @ops:	what the site's callers use: the ops to visit, NULL for "walk all"
 * @rcu:	to free it once no caller can be looking at it
 */
struct ftrace_redirect {
	unsigned long		ip;
	struct list_head	set;
	unsigned long		target;
	const char		*kind;
	char			name[FTRACE_REDIRECT_NAME_LEN];

	struct hlist_node	node;
	struct list_head	work;
	bool			settled;
	bool			has_direct;
	unsigned long		aim;
	unsigned int		count;
	struct ftrace_ops	*owner;
	unsigned long		now;
	struct list_head	dirty;
	struct ftrace_ops	*handler;
	unsigned long		direct;
	struct share_ops __rcu	*ops;
	struct rcu_head		rcu;
};

struct ftrace_direct_owner;

/**
 * struct ftrace_direct_owner_ops - how the arbiter speaks to a direct owner
 * @get:	pin the owner; called with share_lock held, must not fail or sleep
 * @put:	undo @get; may sleep, called with redirect_mutex held
 * @retarget:	rebuild the trampolines of these owners, linked by
 *		&struct ftrace_direct_owner.retarget, according to
 *		ftrace_direct_target(). May sleep and take the trampoline lock;
 *		called with redirect_mutex held. Returns 0, or an errno with all
 *		trampolines as they were.
 * @name:	write the owner's name to @buf; may be called with share_lock held,
 *		must not sleep
 */
struct ftrace_direct_owner_ops {
	void (*get)(struct ftrace_direct_owner *owner);
	void (*put)(struct ftrace_direct_owner *owner);
	int (*retarget)(struct list_head *owners);
	void (*name)(struct ftrace_direct_owner *owner, char *buf, size_t size);
};

/**
 * struct ftrace_direct_owner - a direct owner's hold on one site
 * @ip:		address of the fentry site
 * @ops:	how to speak to it
 * @node:	internal, entry in the table of direct owners
 * @retarget:	internal, links owners for &ftrace_direct_owner_ops.retarget
 */
struct ftrace_direct_owner {
	unsigned long				ip;
	const struct ftrace_direct_owner_ops	*ops;
	struct hlist_node			node;
	struct list_head			retarget;
};

/* What ftrace_direct_target() says if it is no address */
#define FTRACE_DIRECT_SELF	0UL	/* call the traced function */
#define FTRACE_DIRECT_HANDED	1UL	/* go on to the ip on the stack */

#ifdef CONFIG_FTRACE_DIRECT_SHARE

struct ftrace_redirect *ftrace_redirect_alloc(unsigned long ip, const char *kind,
					      const char *name);
void ftrace_redirect_free_set(struct list_head *set);
int ftrace_redirect_begin(struct list_head *set);
void ftrace_redirect_settle(struct list_head *set);
int ftrace_redirect_unsettle(struct list_head *set);
void ftrace_redirect_end(struct list_head *set);
void ftrace_redirect_rename(struct ftrace_redirect *r, const char *name);

int ftrace_redirect_begin_ip(unsigned long ip, const char *kind);
void ftrace_redirect_end_ip(unsigned long ip);

int ftrace_direct_claim(struct ftrace_direct_owner *owner);
void ftrace_direct_release(struct ftrace_direct_owner *owner);
unsigned long ftrace_direct_target(const struct ftrace_direct_owner *owner);

/* For kernel/trace/ftrace.c, all under ftrace_lock */
bool ftrace_share_may_pair(struct dyn_ftrace *rec, struct ftrace_ops *ops);
void ftrace_share_update(struct dyn_ftrace *rec, struct ftrace_ops *ops, bool inc);
void ftrace_share_publish(void);
void ftrace_share_forget(struct ftrace_ops *ops);
void ftrace_share_set_direct(unsigned long ip, unsigned long addr);
int ftrace_share_poke(void);
unsigned long ftrace_share_addr_new(struct dyn_ftrace *rec);
unsigned long ftrace_share_addr_curr(struct dyn_ftrace *rec);
bool ftrace_share_changed(struct dyn_ftrace *rec, bool enable);
void ftrace_share_commit(struct dyn_ftrace *rec, bool enable);
struct ftrace_ops *ftrace_share_handler(struct dyn_ftrace *rec);

/* Entry points, arch/.../ftrace*.S, and what they call */
void ftrace_share_caller(void);
void ftrace_share_regs_caller(void);
void ftrace_share_paired_func(unsigned long ip, unsigned long parent_ip,
			      struct ftrace_ops *op, struct ftrace_regs *fregs);
void ftrace_share_listed_func(unsigned long ip, unsigned long parent_ip,
			      struct ftrace_ops *op, struct ftrace_regs *fregs);

#else /* !CONFIG_FTRACE_DIRECT_SHARE */

/*
 * Without the arbiter nothing is shared: an owner of one kind is refused at a
 * site that has one of the other.
 */
static inline struct ftrace_redirect *
ftrace_redirect_alloc(unsigned long ip, const char *kind, const char *name)
{
	return NULL;
}

static inline void ftrace_redirect_free_set(struct list_head *set) { }

static inline int ftrace_redirect_begin(struct list_head *set)
{
	return 0;
}

static inline void ftrace_redirect_settle(struct list_head *set) { }

static inline int ftrace_redirect_unsettle(struct list_head *set)
{
	return 0;
}

static inline void ftrace_redirect_end(struct list_head *set) { }
static inline void ftrace_redirect_rename(struct ftrace_redirect *r, const char *name) { }

static inline int ftrace_redirect_begin_ip(unsigned long ip, const char *kind)
{
	return 0;
}

static inline void ftrace_redirect_end_ip(unsigned long ip) { }

static inline int ftrace_direct_claim(struct ftrace_direct_owner *owner)
{
	return 0;
}

static inline void ftrace_direct_release(struct ftrace_direct_owner *owner) { }

static inline unsigned long ftrace_direct_target(const struct ftrace_direct_owner *owner)
{
	return FTRACE_DIRECT_SELF;
}

static inline bool ftrace_share_may_pair(struct dyn_ftrace *rec, struct ftrace_ops *ops)
{
	return false;
}

static inline void ftrace_share_update(struct dyn_ftrace *rec, struct ftrace_ops *ops, bool inc) { }
static inline void ftrace_share_publish(void) { }
static inline void ftrace_share_forget(struct ftrace_ops *ops) { }
static inline void ftrace_share_set_direct(unsigned long ip, unsigned long addr) { }

static inline unsigned long ftrace_share_addr_new(struct dyn_ftrace *rec)
{
	return 0;
}

static inline unsigned long ftrace_share_addr_curr(struct dyn_ftrace *rec)
{
	return 0;
}

static inline bool ftrace_share_changed(struct dyn_ftrace *rec, bool enable)
{
	return false;
}

static inline void ftrace_share_commit(struct dyn_ftrace *rec, bool enable) { }

static inline struct ftrace_ops *ftrace_share_handler(struct dyn_ftrace *rec)
{
	return NULL;
}

#endif /* CONFIG_FTRACE_DIRECT_SHARE */

#endif /* _LINUX_FTRACE_DIRECT_SHARE_H */
