// SPDX-License-Identifier: GPL-2.0
/*
 * The arbiter: lets a redirect owner and a direct owner have one fentry site.
 *
 * include/linux/ftrace_direct_share.h is the manual. This file decides; ftrace.c
 * pokes the text, the BPF trampoline code builds images, livepatch says when a
 * redirect is stable.
 *
 * What is known of a site, and who may change it:
 *
 *   redirects[]       struct ftrace_redirect, by ip: between begin and end.
 *                     Written under redirect_mutex and share_lock.
 *   direct_owners[]   struct ftrace_direct_owner, by ip: between claim and
 *                     release. Written under share_lock.
 *   r->aim            where every call goes on, once that is settled. Written
 *                     under redirect_mutex, ftrace_lock and share_lock.
 *   r->owner, count,  which ops are at the site. Written under ftrace_lock,
 *   has_direct, now   by the hooks in ftrace.c; share_mode() derives the mode
 *                     from them and r->aim, nothing stores it.
 *   r->handler,       the same for the callers of the site, who hold no lock:
 *   direct, ops       they look at a site with preemption disabled only, see
 *                     ftrace_share_publish() for the order of the changes.
 *
 * A site goes from one mode to the next by one poke of its instruction. Before
 * it everything that the new mode reads is published; after it nothing that the
 * old mode reads is freed until callers who entered by the old instruction have
 * left (RCU tasks). So both instructions are correct for every task while both
 * can be met, and so is the int3 between them, which emulates one of the two.
 *
 * Where a trampoline goes on is part of its address: one that is entered by a
 * jmp knows it by itself (the aim, if the site has a redirect), one that is
 * called finds it on its stack. Both fit every mode of a site that is settled.
 * So a site is fused or not by what its trampoline is, a tracer that comes or
 * goes changes the site alone, and only whoever ends a settled time, or begins
 * one, has trampolines rebuilt:
 *
 *   settle     aim set, text poked        -> trampolines aimed   (may fail)
 *   unsettle   aim cleared, text poked    -> trampolines follow  (or undone)
 */
#define pr_fmt(fmt) "direct_share: " fmt

#include <linux/ftrace.h>
#include <linux/ftrace_direct_share.h>
#include <linux/hash.h>
#include <linux/kallsyms.h>
#include <linux/kmsan-checks.h>
#include <linux/kprobes.h>
#include <linux/mutex.h>
#include <linux/rculist.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/trace_recursion.h>
#include <linux/uaccess.h>

#include "ftrace_internal.h"
#include "trace.h"

/*
 * One entry for each redirected function. 16 KiB keep the chains short with
 * thousands of them: every call of a shared site walks one.
 */
#define REDIRECT_HASH_BITS	11
#define DIRECT_OWNER_HASH_BITS	10

static struct hlist_head redirects[1 << REDIRECT_HASH_BITS];
static struct hlist_head direct_owners[1 << DIRECT_OWNER_HASH_BITS];

/* Serializes redirect owners; outside the trampoline lock, so never taken by a direct owner */
static DEFINE_MUTEX(redirect_mutex);

/* Leaf: guards both tables. Taken under any lock of the list in the header */
static DEFINE_SPINLOCK(share_lock);

/* Sites whose set of ops changed and was not published yet, under ftrace_lock */
static LIST_HEAD(share_dirty);

/**
 * struct share_ops - the ops of one site, what mode `listed` visits
 * @rcu:	to free it after the callers that may be in it
 * @count:	the record's count of ops when this was made, stubs included
 * @nr:		number of @ops
 * @ops:	who is called, in the order of ftrace_ops_list; without stubs and
 *		without the direct ops, whose address is in the site
 */
struct share_ops {
	struct rcu_head		rcu;
	unsigned int		count;
	unsigned int		nr;
	struct ftrace_ops	*ops[] __counted_by(nr);
};

enum share_mode {
	SHARE_NONE,
	SHARE_SOLO,
	SHARE_SETTLED,
	SHARE_FUSED,
	SHARE_PAIRED,
	SHARE_LISTED,
};

static const char * const share_mode_names[] = {
	[SHARE_NONE]	= "none",
	[SHARE_SOLO]	= "solo",
	[SHARE_SETTLED]	= "settled",
	[SHARE_FUSED]	= "fused",
	[SHARE_PAIRED]	= "paired",
	[SHARE_LISTED]	= "listed",
};

/* No site is settled or fused: ftrace_share=paired. Under redirect_mutex */
static bool share_held;

static struct hlist_head *redirect_bucket(unsigned long ip)
{
	return &redirects[hash_long(ip, REDIRECT_HASH_BITS)];
}

static struct hlist_head *direct_owner_bucket(unsigned long ip)
{
	return &direct_owners[hash_long(ip, DIRECT_OWNER_HASH_BITS)];
}

/* For the callers of a site: preemption is disabled, RCU may not be watching */
static __always_inline struct ftrace_redirect *redirect_find_notrace(unsigned long ip)
{
	struct hlist_head *head = &redirects[hash_long(ip, REDIRECT_HASH_BITS)];
	struct ftrace_redirect *r;

	hlist_for_each_entry_rcu_notrace(r, head, node)
		if (likely(r->ip == ip))
			return r;
	return NULL;
}

static struct ftrace_redirect *redirect_find_locked(unsigned long ip)
{
	struct ftrace_redirect *r;

	lockdep_assert_held(&share_lock);

	hlist_for_each_entry(r, redirect_bucket(ip), node)
		if (r->ip == ip)
			return r;
	return NULL;
}

/*
 * The redirect of a record, for ftrace.c. It stays after share_lock is dropped:
 * redirects_del(), which alone takes one out of the table, holds ftrace_lock.
 */
static struct ftrace_redirect *redirect_of(struct dyn_ftrace *rec)
{
	lockdep_assert_held(&ftrace_lock);

	guard(spinlock)(&share_lock);
	return redirect_find_locked(rec->ip);
}

static struct ftrace_direct_owner *direct_owner_find_locked(unsigned long ip)
{
	struct ftrace_direct_owner *owner;

	lockdep_assert_held(&share_lock);

	hlist_for_each_entry(owner, direct_owner_bucket(ip), node)
		if (owner->ip == ip)
			return owner;
	return NULL;
}

/* Has the site an owner who builds what ftrace_direct_target() asks for? */
static bool direct_claimed(unsigned long ip)
{
	guard(spinlock)(&share_lock);
	return direct_owner_find_locked(ip);
}

/*
 * The truth table of the header. A redirect whose owner has not registered its
 * ops yet, or has unregistered it, has no say: ftrace's own rules hold.
 */
static enum share_mode share_mode(const struct ftrace_redirect *r)
{
	if (!r->owner)
		return SHARE_NONE;
	if (r->count == 1)
		return r->aim ? SHARE_SETTLED : SHARE_SOLO;
	if (IS_ENABLED(CONFIG_HAVE_FTRACE_SHARE_CALLER) && r->count == 2 && r->has_direct)
		return ftrace_is_jmp(r->direct) ? SHARE_FUSED : SHARE_PAIRED;
	return SHARE_LISTED;
}

/* What the site shall call, or 0 if that is ftrace's to say */
static unsigned long share_addr(const struct ftrace_redirect *r)
{
	if (!IS_ENABLED(CONFIG_HAVE_FTRACE_SHARE_CALLER))
		return 0;

	switch (share_mode(r)) {
	case SHARE_SETTLED:
		return ftrace_jmp_set(r->aim);
	case SHARE_FUSED:
		return r->direct;
	case SHARE_PAIRED:
		/* The short entry saves no more than a livepatch asks for */
		if (!(r->owner->flags & FTRACE_OPS_FL_SAVE_REGS))
			return (unsigned long)ftrace_share_caller;
		fallthrough;
	case SHARE_LISTED:
		return (unsigned long)ftrace_share_regs_caller;
	default:
		return 0;
	}
}

/* Is this the entry that visits a site's list? Where there is none nothing may name it. */
static bool is_listed(unsigned long addr)
{
	return IS_ENABLED(CONFIG_HAVE_FTRACE_SHARE_CALLER) &&
	       addr == (unsigned long)ftrace_share_regs_caller;
}

static void share_ops_free_rcu(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct share_ops, rcu));
}

static void redirect_free_rcu(struct rcu_head *rcu)
{
	struct ftrace_redirect *r = container_of(rcu, struct ftrace_redirect, rcu);

	kfree(rcu_access_pointer(r->ops));
	kfree(r);
}

/**
 * ftrace_redirect_alloc - allocate a redirect owner's hold on a site
 * @ip: address of the fentry site, as ftrace_location() returns it
 * @kind: what kind of owner it is, "livepatch" for example; not copied
 * @name: which one, the patch for example; copied
 *
 * Context: may sleep.
 * Return: the redirect, to be put into a set for ftrace_redirect_begin(), or
 * ERR_PTR(-ENOMEM). NULL if the kernel has no CONFIG_FTRACE_DIRECT_SHARE.
 */
struct ftrace_redirect *ftrace_redirect_alloc(unsigned long ip, const char *kind,
					      const char *name)
{
	struct ftrace_redirect *r = kzalloc_obj(*r);

	if (!r)
		return ERR_PTR(-ENOMEM);

	r->ip = ip;
	r->kind = kind;
	strscpy(r->name, name);
	INIT_LIST_HEAD(&r->set);
	INIT_LIST_HEAD(&r->work);
	INIT_LIST_HEAD(&r->dirty);
	INIT_HLIST_NODE(&r->node);
	return r;
}

/**
 * ftrace_redirect_free_set - free redirects that are not, or not yet, in force
 * @set: redirects for which ftrace_redirect_begin() was not called or failed;
 *	 empty afterwards
 *
 * Context: any that may take a spinlock.
 */
void ftrace_redirect_free_set(struct list_head *set)
{
	struct ftrace_redirect *r, *tmp;

	list_for_each_entry_safe(r, tmp, set, set) {
		list_del_init(&r->set);
		call_rcu_tasks(&r->rcu, redirect_free_rcu);
	}
}

/*
 * One whose site still has an owner, or an address of ours in its text, stays for
 * good: ftrace died before that could change, the ops could not be taken from there,
 * or somebody who announced nothing has registered one where another one did.
 */
static void redirects_del(struct list_head *set)
{
	struct ftrace_redirect *r, *tmp;

	lockdep_assert_held(&redirect_mutex);

	guard(mutex)(&ftrace_lock);
	guard(spinlock)(&share_lock);
	list_for_each_entry_safe(r, tmp, set, set) {
		if (hlist_unhashed(&r->node))
			continue;
		if (r->owner || r->now) {
			pr_warn("%ps: a redirect stays, its ops is still there\n", (void *)r->ip);
			list_del_init(&r->set);
			continue;
		}
		hlist_del_init_rcu(&r->node);
	}
}

static int redirects_add(struct list_head *set)
{
	struct ftrace_redirect *r, *other = NULL;

	lockdep_assert_held(&redirect_mutex);

	scoped_guard(spinlock, &share_lock) {
		list_for_each_entry(r, set, set) {
			other = redirect_find_locked(r->ip);
			if (other)
				break;
			hlist_add_head_rcu(&r->node, redirect_bucket(r->ip));
		}
	}
	if (!other)
		return 0;

	pr_warn("%ps: refused %s, %s redirects it already\n",
		(void *)r->ip, r->kind, other->kind);
	redirects_del(set);
	list_move(&r->set, set);
	return -EBUSY;
}

static void owner_get_locked(const struct ftrace_redirect *r, struct list_head *owners)
{
	struct ftrace_direct_owner *owner = direct_owner_find_locked(r->ip);

	if (!owner)
		return;
	owner->ops->get(owner);
	list_add_tail(&owner->retarget, owners);
}

/*
 * Pin the direct owners of the sites of @set and put them into @owners. One that
 * claims its site after this finds the redirect when it reads, see
 * ftrace_direct_target().
 */
static void owners_get(struct list_head *set, struct list_head *owners)
{
	struct ftrace_redirect *r;

	lockdep_assert_held(&redirect_mutex);

	guard(spinlock)(&share_lock);
	list_for_each_entry(r, set, set)
		owner_get_locked(r, owners);
}

static void owners_put(struct list_head *owners)
{
	struct ftrace_direct_owner *owner, *tmp;

	list_for_each_entry_safe(owner, tmp, owners, retarget) {
		list_del_init(&owner->retarget);
		owner->ops->put(owner);
	}
}

/* One call for all owners of one kind: they poke their sites in one go */
static int owners_retarget(struct list_head *owners)
{
	struct ftrace_direct_owner *owner, *tmp;
	const struct ftrace_direct_owner_ops *ops;
	LIST_HEAD(done);
	LIST_HEAD(kind);
	int err = 0;

	lockdep_assert_held(&redirect_mutex);

	while (!err && !list_empty(owners)) {
		ops = list_first_entry(owners, struct ftrace_direct_owner, retarget)->ops;
		list_for_each_entry_safe(owner, tmp, owners, retarget)
			if (owner->ops == ops)
				list_move_tail(&owner->retarget, &kind);
		err = ops->retarget(&kind);
		list_splice_tail_init(&kind, &done);
	}
	list_splice(&done, owners);
	return err;
}

/**
 * ftrace_redirect_begin - the calls of a set of sites may be redirected from now
 * @set: redirects, linked by their @set; they belong to the arbiter until
 *	 ftrace_redirect_end()
 *
 * On return every direct trampoline at these sites goes on to the ip that it is
 * handed, so the caller may register its ftrace_ops. The redirect is dynamic
 * until ftrace_redirect_settle().
 *
 * Context: may sleep, takes the trampoline lock; the caller holds no lock of
 * ftrace.
 * Return: 0, or with nothing changed -EBUSY if one of the sites has a redirect
 * owner already, the redirect of @set that was refused is its first then; or an
 * errno of a direct owner that could not rebuild its trampoline, -ENOMEM as a rule.
 */
int ftrace_redirect_begin(struct list_head *set)
{
	LIST_HEAD(owners);
	int err;

	if (list_empty(set))
		return 0;

	guard(mutex)(&redirect_mutex);

	err = redirects_add(set);
	if (err)
		return err;

	owners_get(set, &owners);
	err = owners_retarget(&owners);
	if (err) {
		pr_warn("%s: the direct trampolines of its functions cannot be rebuilt (%d)\n",
			list_first_entry(set, struct ftrace_redirect, set)->kind, err);
		redirects_del(set);
		owners_retarget(&owners);
	}
	owners_put(&owners);
	return err;
}

/**
 * ftrace_redirect_end - the calls of a set of sites are not redirected any more
 * @set: redirects that ftrace_redirect_begin() took, whose owner has
 *	 unregistered its ftrace_ops; freed, and the list is empty afterwards
 *
 * Direct trampolines call the traced function by its address again. One that
 * cannot be rebuilt stays as it is: it goes on to the ip that it is handed, which
 * is slower and just as correct. One that goes on to the target is not there any
 * more: where a direct owner has claimed a site, ftrace_redirect_unsettle() has
 * been called before.
 *
 * Context: as ftrace_redirect_begin().
 */
void ftrace_redirect_end(struct list_head *set)
{
	struct ftrace_redirect *r;
	LIST_HEAD(owners);
	int err;

	if (list_empty(set))
		return;

	guard(mutex)(&redirect_mutex);

	list_for_each_entry(r, set, set)
		WARN_ON_ONCE(r->aim && direct_claimed(r->ip));

	redirects_del(set);
	owners_get(set, &owners);
	err = owners_retarget(&owners);
	if (err)
		pr_warn("direct trampolines stay prepared for a redirect that ended (%d)\n", err);
	owners_put(&owners);

	ftrace_redirect_free_set(set);
}

#ifdef CONFIG_FTRACE_DIRECT_SHARE_AIM
/*
 * The target is entered at its own fentry slot: whoever traces the target itself
 * loses no call, now or later, and a nop costs nothing. 0: nothing to gain (the
 * original, which is on top of livepatch's stack while it replaces a patch), or
 * the address has no room for the mark of a jmp.
 */
static unsigned long redirect_aim(const struct ftrace_redirect *r)
{
	unsigned long slot;

	lockdep_assert_held(&redirect_mutex);

	if (!r->settled || share_held)
		return 0;
	slot = ftrace_location(r->target);
	/* Behind more than an endbr it is somebody else's: the target has none */
	if (!slot || slot - r->target >= MCOUNT_INSN_SIZE)
		slot = r->target;
	return slot == r->ip || ftrace_is_jmp(slot) ? 0 : slot;
}

/* Returns whether the site's text follows from another aim now */
static bool redirect_take_aim(struct ftrace_redirect *r)
{
	lockdep_assert_held(&ftrace_lock);

	/* ftrace_direct_target() reads it with share_lock only */
	scoped_guard(spinlock, &share_lock)
		WRITE_ONCE(r->aim, redirect_aim(r));

	return r->now != share_addr(r);
}

/*
 * First step: the aims, and the text. If it fails ftrace is dead, and as a rule the
 * text of all is as before: the caller takes back what it has marked and calls this
 * again, to have the aims so, too.
 */
static int redirects_poke(struct list_head *work)
{
	struct ftrace_redirect *r;
	bool poke = false;

	guard(mutex)(&ftrace_lock);
	list_for_each_entry(r, work, work)
		poke |= redirect_take_aim(r);
	return poke ? ftrace_share_poke() : 0;
}

/*
 * Second step: the direct trampolines. In this order an owner that claims meanwhile
 * reads the new aim, and one that claimed earlier is among those that are rebuilt.
 * Between the two steps, and if the second one fails, the trampolines of before are
 * there, which fit both: no task is redirected otherwise before unsettle has
 * returned.
 */
static int redirects_retarget(struct list_head *work)
{
	struct ftrace_redirect *r;
	LIST_HEAD(owners);
	int err;

	lockdep_assert_held(&redirect_mutex);

	scoped_guard(spinlock, &share_lock)
		list_for_each_entry(r, work, work)
			owner_get_locked(r, &owners);
	err = owners_retarget(&owners);
	owners_put(&owners);
	return err;
}
#else
static int redirects_poke(struct list_head *work)
{
	return 0;
}

static int redirects_retarget(struct list_head *work)
{
	return 0;
}
#endif /* CONFIG_FTRACE_DIRECT_SHARE_AIM */

/* Bring the sites of @work in line with what is settled, and whether that is held */
static int redirects_apply(struct list_head *work)
{
	int err = redirects_poke(work);

	return err ?: redirects_retarget(work);
}

static void work_clear(struct list_head *work)
{
	struct ftrace_redirect *r, *tmp;

	list_for_each_entry_safe(r, tmp, work, work)
		list_del_init(&r->work);
}

/* Those of @set that are not @settled yet, and are from now on, go to @work */
static void redirects_mark(struct list_head *set, bool settled, struct list_head *work)
{
	struct ftrace_redirect *r;

	list_for_each_entry(r, set, set) {
		if (r->settled == settled)
			continue;
		r->settled = settled;
		list_add_tail(&r->work, work);
	}
}

/**
 * ftrace_redirect_settle - the redirects of a set of sites are constant now
 * @set: redirects in force, each with its @target: the address with which every
 *	 call goes on, the traced function itself for "not redirected"
 *
 * Sites that only the owner has, or only it and a direct owner, stop calling its
 * handler. One whose direct trampoline cannot be rebuilt stays `paired`, which
 * is slower and just as correct.
 *
 * Context: as ftrace_redirect_begin(). Cannot fail.
 */
void ftrace_redirect_settle(struct list_head *set)
{
	struct ftrace_redirect *r;
	LIST_HEAD(work);
	int err;

	guard(mutex)(&redirect_mutex);

	redirects_mark(set, true, &work);
	if (list_empty(&work))
		return;

	err = redirects_poke(&work);
	if (err) {
		/* ftrace may have died behind the poke: what the text says holds */
		list_for_each_entry(r, &work, work)
			r->settled = r->aim && r->now == ftrace_jmp_set(r->aim);
		redirects_poke(&work);
	} else {
		err = redirects_retarget(&work);
	}
	if (err)
		pr_warn("%s: its functions stay paired with their direct calls (%d)\n",
			list_first_entry(&work, struct ftrace_redirect, work)->kind, err);
	work_clear(&work);
}

/**
 * ftrace_redirect_unsettle - the redirects of a set of sites may change again
 * @set: redirects in force
 *
 * To be called before the first task may be redirected otherwise. When it
 * returns 0, every call that enters one of the sites asks the owner's handler.
 * A task that entered earlier may still be in a direct trampoline that goes on
 * to the target: see bpf_image_site().
 *
 * Context: as ftrace_redirect_begin().
 * Return: 0, or with nothing changed an errno of a direct owner that could not
 * rebuild its trampoline, -ENOMEM as a rule; -ENODEV if ftrace is dead, so that
 * the sites go on as they do for good.
 */
int ftrace_redirect_unsettle(struct list_head *set)
{
	struct ftrace_redirect *r;
	LIST_HEAD(work);
	int err;

	guard(mutex)(&redirect_mutex);

	redirects_mark(set, false, &work);
	if (list_empty(&work))
		return 0;

	err = redirects_apply(&work);
	/* Though nothing was to be changed: the owner's ops will not come out any more */
	if (!err && ftrace_is_dead())
		err = -ENODEV;
	if (err) {
		pr_warn("%s: its functions stay settled, %s (%d)\n",
			list_first_entry(&work, struct ftrace_redirect, work)->kind,
			ftrace_is_dead() ? "ftrace is dead" :
					   "their direct trampolines cannot be rebuilt", err);
		list_for_each_entry(r, &work, work)
			r->settled = true;
		redirects_apply(&work);
	}
	work_clear(&work);
	return err;
}

/*
 * Hold all sites at `paired`, or let them go again. Where a call goes on does not
 * depend on it, so both ways are those of settle and unsettle.
 */
static int share_hold(bool hold)
{
	struct ftrace_redirect *r;
	LIST_HEAD(work);
	int i, err;

	guard(mutex)(&redirect_mutex);

	if (share_held == hold)
		return 0;

	/* The table is written under redirect_mutex only */
	for (i = 0; i < ARRAY_SIZE(redirects); i++)
		hlist_for_each_entry(r, &redirects[i], node)
			if (r->settled)
				list_add_tail(&r->work, &work);

	share_held = hold;
	err = redirects_apply(&work);
	/* Whoever came meanwhile goes back, too; those that fit already take no memory */
	if (err) {
		share_held = !hold;
		redirects_apply(&work);
	}
	work_clear(&work);
	return err;
}

/**
 * ftrace_redirect_rename - the owner of a redirect has another name
 * @r: a redirect in force
 * @name: who it is now, the patch on top of the stack for example; copied
 *
 * Context: may sleep; the caller holds no lock of ftrace.
 */
void ftrace_redirect_rename(struct ftrace_redirect *r, const char *name)
{
	guard(mutex)(&redirect_mutex);
	strscpy(r->name, name);
}

/**
 * ftrace_redirect_begin_ip - ftrace_redirect_begin() for one site
 * @ip: address of the fentry site
 * @kind: what kind of owner it is; not copied
 *
 * An owner that has one of this @kind at the site already, since its ops could not
 * be taken from there, takes it again.
 *
 * Context and return value: as ftrace_redirect_begin(), and -ENOMEM.
 */
int ftrace_redirect_begin_ip(unsigned long ip, const char *kind)
{
	struct ftrace_redirect *r;
	LIST_HEAD(set);
	int err;

	scoped_guard(spinlock, &share_lock) {
		r = redirect_find_locked(ip);
		if (r && r->kind == kind)
			return 0;
	}

	r = ftrace_redirect_alloc(ip, kind, "");
	if (IS_ERR(r))
		return PTR_ERR(r);

	list_add(&r->set, &set);
	err = ftrace_redirect_begin(&set);
	if (err)
		ftrace_redirect_free_set(&set);
	else
		list_del_init(&r->set);
	return err;
}

/**
 * ftrace_redirect_end_ip - ftrace_redirect_end() for one site
 * @ip: the address that ftrace_redirect_begin_ip() was given
 *
 * Context: as ftrace_redirect_end().
 */
void ftrace_redirect_end_ip(unsigned long ip)
{
	struct ftrace_redirect *r;
	LIST_HEAD(set);

	/* Only its owner ends a redirect, so it stays without the lock */
	scoped_guard(spinlock, &share_lock)
		r = redirect_find_locked(ip);
	if (WARN_ON_ONCE(!r))
		return;

	list_add(&r->set, &set);
	ftrace_redirect_end(&set);
}

/**
 * ftrace_direct_claim - become the direct owner of a site
 * @owner: its @ip and @ops are set; must stay until ftrace_direct_release()
 *
 * Context: any that may take a spinlock; the caller holds the lock that its
 * &ftrace_direct_owner_ops.retarget takes.
 * Return: 0, or -EBUSY if another one has claimed the site.
 */
int ftrace_direct_claim(struct ftrace_direct_owner *owner)
{
	char name[64], other_name[64];
	struct ftrace_direct_owner *other;

	scoped_guard(spinlock, &share_lock) {
		other = direct_owner_find_locked(owner->ip);
		if (!other) {
			hlist_add_head(&owner->node, direct_owner_bucket(owner->ip));
			return 0;
		}
		other->ops->name(other, other_name, sizeof(other_name));
	}

	owner->ops->name(owner, name, sizeof(name));
	pr_warn_ratelimited("%ps: refused %s, %s has its direct call\n",
			    (void *)owner->ip, name, other_name);
	return -EBUSY;
}

/**
 * ftrace_direct_release - the site has no direct owner any more
 * @owner: what ftrace_direct_claim() was given; nothing happens if it did not
 *	   claim or was released
 *
 * Context: as ftrace_direct_claim(). A retarget of this owner may be waiting for
 * the caller's lock and must cope with an owner without a trampoline.
 */
void ftrace_direct_release(struct ftrace_direct_owner *owner)
{
	guard(spinlock)(&share_lock);
	if (!hlist_unhashed(&owner->node))
		hlist_del_init(&owner->node);
}

/**
 * ftrace_direct_target - where shall the trampoline go on?
 * @owner: has claimed its site
 *
 * Context: as ftrace_direct_claim(). The answer holds as long as the caller
 * keeps the lock: a redirect that begins, settles or ends meanwhile finds the
 * claim and waits in &ftrace_direct_owner_ops.retarget.
 * Return: %FTRACE_DIRECT_SELF if the site has no redirect; %FTRACE_DIRECT_HANDED
 * if it has, from before the redirect owner's ops is registered until after it
 * is unregistered; or the address at which every call goes on. Only a trampoline
 * that is entered by a jmp may go on to an address, it is marked so by
 * ftrace_jmp_set().
 */
unsigned long ftrace_direct_target(const struct ftrace_direct_owner *owner)
{
	struct ftrace_redirect *r;

	guard(spinlock)(&share_lock);
	r = redirect_find_locked(owner->ip);
	if (!r)
		return FTRACE_DIRECT_SELF;
	return r->aim ?: FTRACE_DIRECT_HANDED;
}

static struct ftrace_ops *find_direct_ops(unsigned long ip)
{
	struct ftrace_ops *op;

	guard(preempt_notrace)();
	do_for_each_ftrace_op(op, ftrace_ops_list) {
		if (op->flags & FTRACE_OPS_FL_DIRECT && ftrace_ops_test(op, ip, op))
			return op;
	} while_for_each_ftrace_op(op);

	return NULL;
}

/**
 * ftrace_share_may_pair - may a redirect owner and a direct owner meet here?
 * @rec: the site, which one of them has and the other one asks for
 * @ops: the ops that asks
 *
 * A redirect owner has to have said so by ftrace_redirect_begin(), and the
 * direct trampoline has to follow the ip on its stack; one that is entered by a
 * jmp finds none there, unless its owner asked ftrace_direct_target().
 *
 * Context: ftrace_lock is held, and direct_mutex if a direct owner asks.
 * Return: true, or false after one line in the log that names both.
 */
bool ftrace_share_may_pair(struct dyn_ftrace *rec, struct ftrace_ops *ops)
{
	unsigned long direct = ftrace_find_rec_direct(rec->ip);
	struct ftrace_redirect *r = redirect_of(rec);
	struct ftrace_ops *direct_ops;

	direct_ops = ops->flags & FTRACE_OPS_FL_DIRECT ? ops : find_direct_ops(rec->ip);
	if (r && direct_ops && direct_ops->flags & FTRACE_OPS_FL_DIRECT_FOLLOWS &&
	    (!ftrace_is_jmp(direct) || direct_claimed(rec->ip)))
		return true;

	pr_warn_ratelimited("%ps: %s and the direct call of %ps cannot share it, %s\n",
			    (void *)rec->ip, r ? r->kind : "a redirect owner",
			    (void *)ftrace_jmp_get(direct),
			    r ? "its trampoline does not follow a redirect" :
				"no redirect was announced");
	return false;
}

/**
 * ftrace_share_update - the ops of a site changed
 * @rec: the site, with its new count of ops
 * @ops: the ops that came or went
 * @inc: it came
 *
 * For records with FTRACE_FL_SHARED or FTRACE_FL_IPMODIFY, and for ops with
 * FTRACE_OPS_FL_IPMODIFY.
 * Nothing is visible to callers of the site before ftrace_share_publish().
 *
 * Context: ftrace_lock is held.
 */
void ftrace_share_update(struct dyn_ftrace *rec, struct ftrace_ops *ops, bool inc)
{
	struct ftrace_redirect *r = redirect_of(rec);

	if (!r)
		return;

	if (ops->flags & FTRACE_OPS_FL_IPMODIFY)
		r->owner = inc ? ops : NULL;
	r->count = ftrace_rec_count(rec);
	r->has_direct = rec->flags & FTRACE_FL_DIRECT;

	/* Where an address of ours is or may be at the site, ftrace has to ask for it */
	if (IS_ENABLED(CONFIG_HAVE_FTRACE_SHARE_CALLER) && (r->owner || r->now))
		rec->flags |= FTRACE_FL_SHARED;
	else
		rec->flags &= ~FTRACE_FL_SHARED;

	if (list_empty(&r->dirty))
		list_add_tail(&r->dirty, &share_dirty);
}

/* Returns how many ops there are, of which the first @max are put into @ops */
static unsigned int share_ops_collect(unsigned long ip, struct ftrace_ops **ops, unsigned int max)
{
	struct ftrace_ops *op;
	unsigned int nr = 0;

	guard(preempt_notrace)();
	do_for_each_ftrace_op(op, ftrace_ops_list) {
		if (op->flags & (FTRACE_OPS_FL_STUB | FTRACE_OPS_FL_DIRECT) ||
		    !ftrace_ops_test(op, ip, op))
			continue;
		if (nr < max)
			ops[nr] = op;
		nr++;
	} while_for_each_ftrace_op(op);

	return nr;
}

/* Returns NULL if there is no memory: the site's callers then walk all ops */
static struct share_ops *share_ops_make(const struct ftrace_redirect *r)
{
	struct share_ops *so;
	unsigned int nr;

	so = kzalloc_flex(*so, ops, r->count);
	if (!so)
		return NULL;
	so->nr = r->count;
	so->count = r->count;

	nr = share_ops_collect(r->ip, so->ops, so->nr);
	/* More than the record counts? Then walk all rather than lose one */
	if (WARN_ON_ONCE(nr > so->nr)) {
		kfree(so);
		return NULL;
	}
	so->nr = nr;
	return so;
}

/*
 * An update of ftrace moves one ops, or several that share a filter, and all in
 * one direction. So the set of ops at a site is another one if and only if
 * their number is: an ops that leaves and comes back while its filter is
 * exchanged costs nothing here, and none of its calls is lost.
 */
static void share_ops_publish(struct ftrace_redirect *r)
{
	struct share_ops *old, *new;
	bool listed;

	old = rcu_dereference_protected(r->ops, lockdep_is_held(&ftrace_lock));
	if (old && r->owner && old->count == r->count)
		return;

	/* Not only where it will be listed: until the poke, and later, callers come by */
	listed = is_listed(share_addr(r)) || (r->owner && is_listed(r->now));
	new = listed ? share_ops_make(r) : NULL;
	rcu_assign_pointer(r->ops, new);
	if (old)
		call_rcu_tasks(&old->rcu, share_ops_free_rcu);
}

/**
 * ftrace_share_publish - let callers of the changed sites see their new ops
 *
 * Called between the change of the ops and the poke of the text. What leaves is
 * not called any more, which its owner asked for, and what comes is called as
 * soon as a caller gets here.
 *
 * Only @handler outlives its ops' leaving, until the poke: a caller in
 * ftrace_share_caller goes on to be redirected as long as the site says so. The
 * ops itself is freed no earlier than a period of RCU tasks after the poke.
 *
 * Context: ftrace_lock is held; may sleep. Cannot fail.
 */
void ftrace_share_publish(void)
{
	struct ftrace_redirect *r, *tmp;

	lockdep_assert_held(&ftrace_lock);

	list_for_each_entry_safe(r, tmp, &share_dirty, dirty) {
		list_del_init(&r->dirty);
		WRITE_ONCE(r->direct, r->has_direct ? ftrace_find_rec_direct(r->ip) : 0);
		if (r->owner || !r->now) {
			/*
			 * Pairs with share_visit_owners(), where a caller may be that an earlier
			 * redirect of this ip left behind: who finds the handler finds r->direct.
			 */
			smp_store_release(&r->handler, r->owner);
		}
		share_ops_publish(r);
	}
}

/*
 * Stores are enough. A caller that has read the old value is still on the site's path,
 * and ftrace_startup() and ftrace_shutdown() wait for it (RCU tasks) where the ops can be
 * freed, before its owner frees it. That owner may still free it under the text that
 * ftrace_startup() changed before ftrace died.
 */
static void share_forget_at(struct ftrace_redirect *r, struct ftrace_ops *ops)
{
	struct share_ops *old;

	if (r->owner == ops)
		r->owner = NULL;
	if (r->handler == ops)
		WRITE_ONCE(r->handler, NULL);
	if (r->has_direct && ops->flags & FTRACE_OPS_FL_DIRECT &&
	    ftrace_ops_test(ops, r->ip, ops)) {
		r->has_direct = false;
		WRITE_ONCE(r->direct, 0);
	}
	/* Callers walk ftrace's list then, where @ops is not any more. */
	old = rcu_replace_pointer(r->ops, NULL, lockdep_is_held(&ftrace_lock));
	if (old)
		call_rcu_tasks(&old->rcu, share_ops_free_rcu);
}

/**
 * ftrace_share_forget - ftrace died while an ops came or went
 * @ops: the ops, which ftrace has taken out of its list
 *
 * Whoever owns it, or its direct trampoline, is about to free it, and nothing is
 * published any more: no caller of a site may find it from now on.
 *
 * Context: ftrace_lock is held, ftrace is dead. Cannot fail.
 */
void ftrace_share_forget(struct ftrace_ops *ops)
{
	struct ftrace_redirect *r;
	unsigned int i;

	lockdep_assert_held(&ftrace_lock);

	guard(spinlock)(&share_lock);
	for (i = 0; i < ARRAY_SIZE(redirects); i++)
		hlist_for_each_entry(r, &redirects[i], node)
			share_forget_at(r, ops);
}

/**
 * ftrace_share_set_direct - a site's direct address changed
 * @ip: address of the fentry site
 * @addr: the new direct address
 *
 * Context: ftrace_lock and direct_mutex are held.
 */
void ftrace_share_set_direct(unsigned long ip, unsigned long addr)
{
	struct ftrace_redirect *r;

	lockdep_assert_held(&ftrace_lock);

	guard(spinlock)(&share_lock);
	r = redirect_find_locked(ip);
	if (r && r->has_direct)
		WRITE_ONCE(r->direct, addr);
}

/**
 * ftrace_share_addr_new - what a site with FTRACE_FL_SHARED shall call
 * @rec: the site
 *
 * Context: ftrace_lock is held.
 * Return: an address, or 0 if that is ftrace's to say.
 */
unsigned long ftrace_share_addr_new(struct dyn_ftrace *rec)
{
	struct ftrace_redirect *r = redirect_of(rec);

	return r ? share_addr(r) : 0;
}

/**
 * ftrace_share_addr_curr - what a site with FTRACE_FL_SHARED calls now
 * @rec: the site
 *
 * Context: ftrace_lock is held.
 * Return: an address, or 0 if that is ftrace's to say.
 */
unsigned long ftrace_share_addr_curr(struct dyn_ftrace *rec)
{
	struct ftrace_redirect *r = redirect_of(rec);

	return r ? r->now : 0;
}

/**
 * ftrace_share_changed - must a site with FTRACE_FL_SHARED be poked?
 * @rec: the site
 * @enable: it shall call something, as opposed to a nop
 *
 * Context: ftrace_lock is held.
 * Return: true if what it calls differs from what it shall call.
 */
bool ftrace_share_changed(struct dyn_ftrace *rec, bool enable)
{
	struct ftrace_redirect *r = redirect_of(rec);

	return r && r->now != (enable ? share_addr(r) : 0);
}

/**
 * ftrace_share_commit - a site with FTRACE_FL_SHARED is being poked
 * @rec: the site
 * @enable: to call what ftrace_share_addr_new() says, or a nop
 *
 * Context: ftrace_lock is held.
 */
void ftrace_share_commit(struct dyn_ftrace *rec, bool enable)
{
	struct ftrace_redirect *r = redirect_of(rec);

	if (!r)
		return;

	r->now = enable ? share_addr(r) : 0;
	if (!r->owner && !r->now) {
		/*
		 * Nobody tells of the direct owner from now on: who finds no
		 * handler asks ftrace. Who has found one is about to read @direct,
		 * which stays: that image outlives all callers that are here.
		 */
		WRITE_ONCE(r->handler, NULL);
		rec->flags &= ~FTRACE_FL_SHARED;
	}
}

/**
 * ftrace_share_handler - the redirect owner's ops, for messages
 * @rec: the site
 *
 * Context: ftrace_lock is held.
 */
struct ftrace_ops *ftrace_share_handler(struct dyn_ftrace *rec)
{
	struct ftrace_redirect *r = redirect_of(rec);

	return r ? r->owner : NULL;
}

#ifdef CONFIG_HAVE_FTRACE_SHARE_CALLER
/* What a site asks of an op, without ftrace_lock */
static __always_inline bool share_op_has(struct ftrace_ops *op, unsigned long flag)
{
	/* Those that change while it is registered are others */
	return data_race(op->flags) & flag;
}

static __always_inline ftrace_func_t share_op_func(struct ftrace_ops *op)
{
	/* Whichever this finds was right a moment ago, or is from now on */
	return data_race(READ_ONCE(op->func));
}

/*
 * Where all calls go on alike the owner is not asked: it refuses to be entered too
 * deep, by callbacks that call traced functions, whether or not that is a recursion
 * which leaves the other ops out. Where they do not it is asked, unless it would
 * refuse; then the call goes on unredirected, as ftrace's list has it.
 *
 * An aim that is cleared meanwhile is still what the handler says to every task: none
 * may differ before ftrace_redirect_unsettle() has returned, and then livepatch takes
 * this call, which is on the stack, for one of the function (klp_check_stack()).
 */
static noinline_for_stack void share_ask_owner(struct ftrace_redirect *r, struct ftrace_ops *op,
					       unsigned long ip, unsigned long parent_ip,
					       struct ftrace_regs *fregs)
{
	unsigned long aim = READ_ONCE(r->aim);
	int bit;

	if (aim) {
		ftrace_regs_set_instruction_pointer(fregs, aim);
		return;
	}
	bit = ftrace_test_recursion_trylock(ip, parent_ip);
	if (bit < 0)
		return;
	/* It takes that bit itself */
	ftrace_test_recursion_unlock(bit);
	share_op_func(op)(ip, parent_ip, op, fregs);
}
NOKPROBE_SYMBOL(share_ask_owner);

/* A late caller, the redirect is gone: the direct call is ftrace's to say, as in `solo` */
static __always_inline void share_visit_direct(unsigned long ip, struct ftrace_regs *fregs)
{
	unsigned long direct = ftrace_find_rec_direct(ip);

	if (direct)
		arch_ftrace_set_direct_caller(fregs, direct);
}

/* The redirect owner alone, then the direct call */
static __always_inline void share_visit_owners(struct ftrace_redirect *r, unsigned long ip,
					       unsigned long parent_ip, struct ftrace_regs *fregs,
					       bool again)
{
	/* Pairs with ftrace_share_publish() */
	struct ftrace_ops *op = smp_load_acquire(&r->handler);
	unsigned long direct;

	if (unlikely(!op)) {
		share_visit_direct(ip, fregs);
		return;
	}
	if (again)
		share_ask_owner(r, op, ip, parent_ip, fregs);
	else
		share_op_func(op)(ip, parent_ip, op, fregs);
	direct = READ_ONCE(r->direct);
	if (likely(direct))
		arch_ftrace_set_direct_caller(fregs, direct);
}

/*
 * Mode `paired`, called by ftrace_share_caller on every call of the site.
 *
 * A caller may get here after the site was poked to something else: it entered
 * before that and was preempted. If the redirect is gone it goes on unredirected,
 * which is what the owner wants of every task by then; if it was the direct call
 * that went, there is nothing to call.
 */
void ftrace_share_paired_func(unsigned long ip, unsigned long parent_ip,
			      struct ftrace_ops *op, struct ftrace_regs *fregs)
{
	struct ftrace_redirect *r;

	kmsan_unpoison_memory(fregs, ftrace_regs_size());
	preempt_disable_notrace();
	r = redirect_find_notrace(ip);
	if (likely(r))
		share_visit_owners(r, ip, parent_ip, fregs, false);
	else
		share_visit_direct(ip, fregs);
	preempt_enable_notrace();
}
NOKPROBE_SYMBOL(ftrace_share_paired_func);

/*
 * There is no memory for the list of a site's ops, or its redirect has ended: all ops
 * there are, but if that is not possible in this recursion, the owners that are left.
 */
static noinline_for_stack void share_visit_all(struct ftrace_redirect *r, unsigned long ip,
					       unsigned long parent_ip, struct ftrace_regs *fregs)
{
	int bit = trace_test_and_set_recursion(ip, parent_ip, TRACE_LIST_START);

	if (bit < 0) {
		if (r)
			share_visit_owners(r, ip, parent_ip, fregs, true);
		else
			share_visit_direct(ip, fregs);
		return;
	}
	/* It takes that bit itself */
	trace_clear_recursion(bit);
	arch_ftrace_ops_list_func(ip, parent_ip, NULL, fregs);
}
NOKPROBE_SYMBOL(share_visit_all);

/*
 * Mode `listed`, and `paired` with an owner that wants all registers: called by
 * ftrace_share_regs_caller on every call of the site.
 *
 * The recursion that ftrace's own list guards against, a callback that calls a
 * traced function, drops the callbacks that may not be entered again. It must not
 * drop the direct call, which guards itself, nor the redirect: see share_ask_owner().
 *
 * Who changes the ip after the redirect owner has (a kprobe that has the function
 * fail) is right about it: a trampoline that goes on by itself is left out.
 */
void ftrace_share_listed_func(unsigned long ip, unsigned long parent_ip,
			      struct ftrace_ops *op, struct ftrace_regs *fregs)
{
	unsigned long direct, redirected = 0;
	struct ftrace_redirect *r;
	struct share_ops *so;
	unsigned int i;
	bool owner;
	int bit;

	kmsan_unpoison_memory(fregs, ftrace_regs_size());
	preempt_disable_notrace();
	r = redirect_find_notrace(ip);
	so = r ? rcu_dereference_raw_check(r->ops) : NULL;
	if (unlikely(!so)) {
		share_visit_all(r, ip, parent_ip, fregs);
		goto out;
	}

	bit = trace_test_and_set_recursion(ip, parent_ip, TRACE_LIST_START);
	for (i = 0; i < so->nr; i++) {
		op = so->ops[i];
		owner = share_op_has(op, FTRACE_OPS_FL_IPMODIFY);
		if (owner && (bit < 0 || READ_ONCE(r->aim))) {
			share_ask_owner(r, op, ip, parent_ip, fregs);
		} else if (likely(bit >= 0)) {
			if (!share_op_has(op, FTRACE_OPS_FL_RCU) || rcu_is_watching())
				share_op_func(op)(ip, parent_ip, op, fregs);
		}
		if (owner)
			redirected = ftrace_regs_get_instruction_pointer(fregs);
	}
	direct = READ_ONCE(r->direct);
	if (direct && (!ftrace_is_jmp(direct) ||
		       redirected == ftrace_regs_get_instruction_pointer(fregs)))
		arch_ftrace_set_direct_caller(fregs, direct);
	if (likely(bit >= 0))
		trace_clear_recursion(bit);
out:
	preempt_enable_notrace();
}
NOKPROBE_SYMBOL(ftrace_share_listed_func);
#endif /* CONFIG_HAVE_FTRACE_SHARE_CALLER */

/* tracefs: direct_share */

/* The name alone: a module's would bring a blank into the column */
static void show_symbol(struct seq_file *m, unsigned long addr)
{
	static char name[KSYM_SYMBOL_LEN];

	lockdep_assert_held(&redirect_mutex);

	if (addr)
		sprint_symbol_no_offset(name, addr);
	else
		strscpy(name, "-");
	seq_printf(m, " %-30.*s", (int)strcspn(name, " "), name);
}

static void show_redirect(struct seq_file *m, struct ftrace_redirect *r)
{
	char owner[sizeof("livepatch:") + FTRACE_REDIRECT_NAME_LEN];

	if (!r->owner)
		return;

	snprintf(owner, sizeof(owner), "%s%s%s", r->kind, *r->name ? ":" : "", r->name);
	seq_printf(m, "%ps %-7s %-30s", (void *)r->ip, share_mode_names[share_mode(r)], owner);
	if (r->settled)
		show_symbol(m, r->target);
	else
		seq_printf(m, " %-30s", "dynamic");
	show_symbol(m, r->has_direct ? ftrace_jmp_get(ftrace_find_rec_direct(r->ip)) : 0);
	seq_printf(m, " %u\n", r->count - 1 - r->has_direct);
}

/* redirect_mutex keeps the table, ftrace_lock the sites' ops and their text */
static void *share_seq_start(struct seq_file *m, loff_t *pos)
{
	mutex_lock(&redirect_mutex);
	mutex_lock(&ftrace_lock);
	if (*pos == 0)
		return SEQ_START_TOKEN;
	return *pos <= ARRAY_SIZE(redirects) ? &redirects[*pos - 1] : NULL;
}

static void *share_seq_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return *pos <= ARRAY_SIZE(redirects) ? &redirects[*pos - 1] : NULL;
}

static void share_seq_stop(struct seq_file *m, void *v)
{
	mutex_unlock(&ftrace_lock);
	mutex_unlock(&redirect_mutex);
}

static int share_seq_show(struct seq_file *m, void *v)
{
	struct ftrace_redirect *r;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "# function [module] mode redirect target direct others\n");
		return 0;
	}

	hlist_for_each_entry(r, (struct hlist_head *)v, node)
		show_redirect(m, r);
	return 0;
}

static const struct seq_operations share_seq_ops = {
	.start	= share_seq_start,
	.next	= share_seq_next,
	.stop	= share_seq_stop,
	.show	= share_seq_show,
};

static int share_open(struct inode *inode, struct file *file)
{
	int err = security_locked_down(LOCKDOWN_TRACEFS);

	return err ?: seq_open(file, &share_seq_ops);
}

/* The fastest mode that sites with two owners may take */
static const char * const share_limits[] = { "fused", "paired" };

static ssize_t share_write(struct file *file, const char __user *ubuf, size_t count, loff_t *pos)
{
	char buf[16];
	int limit;

	if (!IS_ENABLED(CONFIG_FTRACE_DIRECT_SHARE_AIM))
		return -EOPNOTSUPP;
	if (count >= sizeof(buf))
		return -EINVAL;
	if (copy_from_user(buf, ubuf, count))
		return -EFAULT;
	buf[count] = '\0';

	limit = sysfs_match_string(share_limits, buf);
	if (limit < 0)
		return limit;
	return share_hold(limit == 1) ?: count;
}

static const struct file_operations share_fops = {
	.open		= share_open,
	.read		= seq_read,
	.write		= share_write,
	.llseek		= seq_lseek,
	.release	= seq_release,
};

/* Before there is a redirect, so nothing has to be changed */
static __init int share_setup(char *str)
{
	int limit = match_string(share_limits, ARRAY_SIZE(share_limits), str);

	if (limit < 0)
		return 0;
	share_held = limit == 1;
	return 1;
}
__setup("ftrace_share=", share_setup);

static __init int share_init_tracefs(void)
{
	umode_t mode = IS_ENABLED(CONFIG_FTRACE_DIRECT_SHARE_AIM) ?
		       TRACE_MODE_WRITE : TRACE_MODE_READ;

	if (tracing_init_dentry())
		return 0;

	trace_create_file("direct_share", mode, NULL, NULL, &share_fops);
	return 0;
}
fs_initcall(share_init_tracefs);
