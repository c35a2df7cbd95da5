// SPDX-License-Identifier: GPL-2.0

/*
 * Faults that a kernel can have where a livepatch, or a kprobe with a
 * post_handler, and a BPF trampoline are at one function; a test for each, which
 * fails on a kernel that has the fault.
 *
 *	direct_share_faults [--modules=DIR] [--seconds=N] [--list] [TEST...]
 *
 * Without a TEST all are run; f1 is short for all that begin with "f1_". A test
 * that stresses does so for N seconds, 15 by default. Needs root, the modules of
 * ../livepatch/test_modules, tracefs, and for some tests two processors.
 *
 * What such a kernel does:
 *
 * f1	With IBT, a fexit program kills the caller of the function if the redirect
 *	owner leaves the ip alone: the trampoline jumps behind the function's
 *	ENDBR. Only a processor with IBT shows that. Elsewhere these tests look at
 *	values and counts.
 * f2	The trampoline does a bare indirect call, Spectre v2 or not.
 * f3	fexit.multi fails on a set with a livepatched function.
 * f4	A livepatch fails to load, with EAGAIN, as long as BPF programs are
 *	attached to or detached from other functions.
 * f5	A trampoline that is not BPF's and would follow a livepatch cannot say so.
 * f6	Nothing shows who shares a function.
 * r1	After a redirect that failed, or ended while BPF was busy, the trampoline
 *	stays as the redirect needed it.
 * r2	As f4, with programs that are attached one by one.
 * r3	A change at one function runs into the trampoline of another one, without
 *	its lock: a splat with lockdep, a program that cannot be attached.
 * r4	A change of a trampoline reads records of functions that a module's
 *	unloading frees at the same time.
 * r5	A function that BTF has twice gets two trampolines, and one of them is
 *	still called when it has been freed.
 * r6	A kprobe that could not be armed is disarmed all the same: others stop with it.
 * r7	A set that cannot be attached, and then not be taken out again, leaves
 *	trampolines that are freed.
 * r8	A livepatch below another one that goes, and then shall stay, waits for tasks
 *	to leave whatever lies in front of its ops. KASAN shows that, or a transition
 *	that does not end.
 * r9	A livepatch is left out, with a WARN, by who is called from a callback that a
 *	traced function of another callback has called.
 * r10	The last kprobe with a post_handler goes without memory, and keeps its function
 *	from being livepatched.
 * r11	As r9, while a tracer comes and goes.
 * r12	The last direct call of all goes while somebody is on the way through ftrace's
 *	list of callbacks, and finds one without a function there. That is the end of
 *	ftrace.
 * r13	A kprobe with a post_handler joins an armed one without, and both are disarmed
 *	through an ftrace_ops that neither is armed by. The function stays traced.
 *
 * And what only a kernel can do in which redirects settle:
 *
 * s1	A kprobe that has the function fail is not heard, since the trampoline goes on
 *	by itself.
 * s2	When ftrace has died, a livepatch is replaced and unloaded, although its
 *	functions still jump to it, or ask it; and each program that cannot be
 *	attached then leaves an image behind. Only run by name: there is no ftrace
 *	after it.
 * s3	When ftrace dies in a change, a site goes on to what is freed then. By name, each
 *	of them.
 * s4	A livepatch cannot be disabled, since the image that its going takes is longer
 *	than the one that is there, and does not fit. Only run by name: with all the
 *	programs that there can be at a function, no image is that long unless calls
 *	are accounted for (retbleed=stuff).
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/btf.h>

#include "kselftest.h"
#include "direct_share_party.h"
#include "direct_share_util.h"
#include "direct_share_faults.skel.h"

static int stress_seconds = 15;

/*
 * Complaints
 */

static int complaints;
static char skipped[256];
static bool kernel_hurt;	/* a task died in it: no more tests */

static void complain(const char *fmt, ...)
{
	char text[1024];
	va_list args;

	complaints++;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_print_msg("%s\n", text);
	fflush(stdout);
}

static void skip(const char *why)
{
	snprintf(skipped, sizeof(skipped), "%s", why);
}

static void expect(const char *what, int is, int should)
{
	if (is != should)
		complain("%s: %d (%s) and not %d", what, is, is < 0 ? strerror(-is) : "", should);
}

static void hear_kernel(void)
{
	const char *text;

	while ((text = kernel_complaint()))
		complain("the kernel says: %s", text);
}

/*
 * Small steps that must work
 */

#define ONE	"klp_share_target_one"
#define OTHER	"klp_share_target_other"

/* One of ONE, all that are in the list, and an atomic replace of ALL by one of OTHER */
#define PATCH_ONE	"test_klp_share_patch"
#define PATCH_ALL	"test_klp_share_all"
#define PATCH_OTHER	"test_klp_share_replace_other"

#define KPROBE		"test_klp_share_kprobe"
#define DIRECT		"test_klp_share_direct"
#define IPMODIFY	"test_klp_share_ipmodify"

static const char *const all_patched[] = {
	ONE, "klp_share_target_many", "klp_share_target_by_value", "klp_share_target_recurse",
	"klp_share_target_sleep",
};

static void add_livepatch(const char *name)
{
	expect(name, load_livepatch(name), 0);
}

static void remove_livepatch(const char *name)
{
	char path[256], what[256];

	snprintf(path, sizeof(path), KLP "/%s", name);
	if (access(path, F_OK))
		return;
	snprintf(what, sizeof(what), "disabling %s", name);
	expect(what, disable_livepatch(name), 0);
	snprintf(what, sizeof(what), "unloading %s", name);
	expect(what, unload_livepatch(name), 0);
}

static void remove_module(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/module/%s", name);
	if (!access(path, F_OK))
		expect(name, unload_module(name), 0);
}

/* A program at one function, or of a set at two */
static int add_party(struct party *p, const char *name)
{
	static const char *const set[] = { ONE, OTHER };

	if (strstr(name, "multi")) {
		load_party(p, name, NULL);
		return attach_party_to(p, TARGET_MODULE, set, ARRAY_SIZE(set));
	}
	load_party(p, name, ONE);
	return attach_party(p);
}

/* Does a call return this, and does the program run once for it? */
static void check_call_how(const char *state, struct party *p, enum klp_share_function function,
			   unsigned int how, int want_added)
{
	int err, before = p->skel->bss->runs;
	const int arg = 7;
	long ret = 0;

	if (kernel_hurt)
		return;
	err = call_function(function, arg, how, &ret);
	if (err == -EFAULT || err == -ETIMEDOUT) {
		kernel_hurt = true;
		complain("%s, %s: the caller %s", state, bpf_program__name(p->prog),
			 err == -EFAULT ? "died" : "did not come back");
		return;
	}
	if (err || ret != arg + want_added)
		complain("%s, %s: the call gave %d and returned %ld, not %d", state,
			 bpf_program__name(p->prog), err, ret, arg + want_added);
	if (!p->link)
		return;
	if (p->skel->bss->runs != before + 1)
		complain("%s, %s: %d runs for one call", state, bpf_program__name(p->prog),
			 p->skel->bss->runs - before);
	if (!strstr(bpf_program__name(p->prog), "fentry") &&
	    !strstr(bpf_program__name(p->prog), "fmod_ret") && p->skel->bss->last_ret != ret)
		complain("%s, %s: it saw %ld returned, not %ld", state,
			 bpf_program__name(p->prog), (long)p->skel->bss->last_ret, ret);
}

static void check_call(const char *state, struct party *p, int want_added)
{
	check_call_how(state, p, KLP_SHARE_ONE, KLP_SHARE_CALL, want_added);
}

/*
 * f1: who leaves the ip alone
 */

static const char *const calling_types[] = {
	"run_fexit", "run_fmod_ret", "run_fsession", "run_fexit_multi_module",
};

static void f1_each(void (*run)(struct party *p, bool program_first))
{
	struct party p;
	unsigned int i;
	int first;

	target_comes();
	for (i = 0; i < ARRAY_SIZE(calling_types) && !kernel_hurt; i++) {
		for (first = 1; first >= 0 && !kernel_hurt; first--) {
			/* That a set cannot come later is another fault, f3. */
			if (!first && strstr(calling_types[i], "multi"))
				continue;
			load_party(&p, calling_types[i],
				   strstr(calling_types[i], "multi") ? NULL : ONE);
			run(&p, first);
			if (!kernel_hurt)
				free_party(&p);
		}
	}
	if (!kernel_hurt)
		target_goes();
}

static void f1_attach(struct party *p)
{
	static const char *const set[] = { ONE, OTHER };

	if (strstr(bpf_program__name(p->prog), "multi"))
		expect("attaching a set", attach_party_to(p, TARGET_MODULE, set, 2), 0);
	else
		expect("attaching", attach_party(p), 0);
}

static void f1_kprobe_run(struct party *p, bool program_first)
{
	if (program_first)
		f1_attach(p);
	expect(KPROBE, load_module(KPROBE, ""), 0);
	if (!program_first)
		f1_attach(p);
	check_call("kprobe", p, 0);
	if (kernel_hurt)
		return;
	remove_module(KPROBE);
	check_call("kprobe gone", p, 0);
}

static void f1_kprobe(void)
{
	f1_each(f1_kprobe_run);
}

static void f1_transition_run(struct party *p, bool program_first)
{
	pid_t sleeper = fall_asleep();

	if (program_first)
		f1_attach(p);
	expect(PATCH_ALL, load_module(PATCH_ALL, ""), 0);
	if (!program_first)
		f1_attach(p);
	expect("is the livepatch in transition", in_transition(PATCH_ALL), true);
	check_call("patched task", p, 100);
	check_call_how("unpatched task", p, KLP_SHARE_ONE, KLP_SHARE_CALL_ASLEEP, 0);
	if (kernel_hurt)
		return;
	wake_up(sleeper);
	if (!wait_until(!in_transition(PATCH_ALL)))
		complain("the transition does not end");
	check_call("transition over", p, 100);
	remove_livepatch(PATCH_ALL);
	check_call("livepatch gone", p, 0);
}

static void f1_transition(void)
{
	f1_each(f1_transition_run);
}

static void f1_nop_run(struct party *p, bool program_first)
{
	pid_t sleeper;

	if (program_first)
		f1_attach(p);
	add_livepatch(PATCH_ALL);
	sleeper = fall_asleep();
	expect(PATCH_OTHER, load_module(PATCH_OTHER, ""), 0);
	if (!program_first)
		f1_attach(p);
	expect("is the livepatch in transition", in_transition(PATCH_OTHER), true);
	check_call_how("task with the old livepatch", p, KLP_SHARE_ONE, KLP_SHARE_CALL_ASLEEP, 100);
	check_call("task with the nop", p, 0);
	if (kernel_hurt)
		return;
	wake_up(sleeper);
	expect("unloading the old one", unload_livepatch(PATCH_ALL), 0);
	if (!wait_until(!in_transition(PATCH_OTHER)))
		complain("the transition does not end");
	check_call("transition over", p, 0);
	remove_livepatch(PATCH_OTHER);
	check_call("livepatch gone", p, 0);
}

static void f1_nop(void)
{
	f1_each(f1_nop_run);
}

static void f1_livepatch_run(struct party *p, bool program_first)
{
	if (program_first)
		f1_attach(p);
	add_livepatch(PATCH_ONE);
	if (!program_first)
		f1_attach(p);
	check_call("livepatch", p, 100);
	remove_livepatch(PATCH_ONE);
	check_call("livepatch gone", p, 0);
}

static void f1_livepatch(void)
{
	f1_each(f1_livepatch_run);
}

/*
 * Reading a trampoline. What the JIT emits is a small part of the instruction
 * set; whatever is not in it stops the reader, with a complaint.
 */

struct insn {
	int len;
	bool indirect;		/* a call or jump by way of a register or memory */
	bool ends;		/* what follows is not reached from here */
	bool branch;		/* goes to the offset target */
	bool call;
	int target;
};

static int read_s32(const unsigned char *s)
{
	return s[0] | s[1] << 8 | s[2] << 16 | (unsigned int)s[3] << 24;
}

/* The ModRM byte, with SIB and displacement */
static int modrm_len(const unsigned char *s)
{
	int mod = s[0] >> 6, rm = s[0] & 7, len = 1;

	if (mod == 3)
		return len;
	if (rm == 4) {
		if (mod == 0 && (s[1] & 7) == 5)
			len += 4;
		len++;
	}
	if (mod == 1)
		return len + 1;
	if (mod == 2 || rm == 5)
		return len + 4;
	return len;
}

static int opcode_0f(const unsigned char *s, struct insn *insn)
{
	if (s[0] >= 0x80 && s[0] <= 0x8f) {	/* jcc rel32 */
		insn->branch = true;
		insn->target = read_s32(s + 1);
		return 5;
	}
	if (s[0] == 0x0b) {			/* ud2 */
		insn->ends = true;
		return 1;
	}
	if (s[0] == 0xae || (s[0] >= 0x1e && s[0] <= 0x1f) || (s[0] >= 0x40 && s[0] <= 0x4f) ||
	    (s[0] >= 0x90 && s[0] <= 0x9f) || s[0] == 0xaf || (s[0] & 0xf6) == 0xb6)
		return 1 + modrm_len(s + 1);
	if (s[0] == 0xba || s[0] == 0xa4 || s[0] == 0xac)
		return 2 + modrm_len(s + 1);
	return -1;
}

/* Length of the opcode at @s and all that follows it, -1 if it is not known */
static int opcode(const unsigned char *s, bool wide, bool word, struct insn *insn)
{
	int imm = word ? 2 : 4, reg = s[1] >> 3 & 7;
	unsigned char op = s[0];

	if (op < 0x40) {
		if ((op & 7) < 4)		/* add, or, and, sub, xor, cmp */
			return 1 + modrm_len(s + 1);
		return (op & 7) == 4 ? 2 : (op & 7) == 5 ? 1 + imm : -1;
	}
	if (op >= 0x50 && op <= 0x5f)		/* push, pop */
		return 1;
	if (op >= 0x70 && op <= 0x7f) {		/* jcc rel8 */
		insn->branch = true;
		insn->target = (signed char)s[1];
		return 2;
	}
	if (op >= 0xb8 && op <= 0xbf)		/* mov imm */
		return wide ? 9 : 1 + imm;

	switch (op) {
	case 0x63: case 0x84 ... 0x8b: case 0x8d: case 0x8f: case 0xd1: case 0xd3:
		return 1 + modrm_len(s + 1);
	case 0x68: case 0xa9:
		return 1 + imm;
	case 0x6a: case 0xa8:
		return 2;
	case 0x69: case 0x81: case 0xc7:
		return 1 + modrm_len(s + 1) + imm;
	case 0x6b: case 0x80: case 0x83: case 0xc0: case 0xc1: case 0xc6:
		return 1 + modrm_len(s + 1) + 1;
	case 0x90: case 0xc9:			/* nop, leave */
		return 1;
	case 0xc3: case 0xcc:			/* ret, int3 */
		insn->ends = true;
		return 1;
	case 0xe8: case 0xe9:			/* call, jmp rel32 */
		insn->branch = true;
		insn->call = op == 0xe8;
		insn->ends = op == 0xe9;
		insn->target = read_s32(s + 1);
		return 5;
	case 0xeb:				/* jmp rel8 */
		insn->branch = true;
		insn->ends = true;
		insn->target = (signed char)s[1];
		return 2;
	case 0xf6: case 0xf7:
		return 1 + modrm_len(s + 1) + (reg > 1 ? 0 : op == 0xf6 ? 1 : imm);
	case 0xff:
		insn->indirect = reg >= 2 && reg <= 5;
		insn->call = reg == 2 || reg == 3;
		insn->ends = reg == 4 || reg == 5;
		return 1 + modrm_len(s + 1);
	default:
		return -1;
	}
}

static bool decode(const unsigned char *text, int at, struct insn *insn)
{
	bool word = false, wide = false;
	int i = at, len;

	memset(insn, 0, sizeof(*insn));
	/* Prefixes: operand size, segments, rep, lock; REX is the last one. */
	while (text[i] == 0x66 || text[i] == 0xf0 || text[i] == 0xf2 || text[i] == 0xf3 ||
	       text[i] == 0x2e || text[i] == 0x3e || text[i] == 0x64 || text[i] == 0x65)
		word |= text[i++] == 0x66;
	if ((text[i] & 0xf0) == 0x40)
		wide = text[i++] & 8;
	if (text[i] == 0x0f) {
		i++;
		len = opcode_0f(text + i, insn);
	} else {
		len = opcode(text + i, wide, word, insn);
	}
	if (len < 0)
		return false;
	insn->len = i + len - at;
	if (insn->branch)
		insn->target += at + insn->len;
	return true;
}

/*
 * Calls @see for each instruction, until the end: nothing further on is jumped
 * to, and nothing goes on. Returns false if the trampoline cannot be read.
 */
static bool for_each_insn(const struct image *image, void *data,
			  void (*see)(const struct image *image, int at, struct insn *insn,
				      void *data))
{
	int at, furthest = 0, i;
	char hex[64] = "";
	struct insn insn;

	for (at = 0; at < DIRECT_SHARE_TEXT - 16; at += insn.len) {
		if (!decode(image->text, at, &insn)) {
			for (i = 0; i < 16; i++)
				sprintf(hex + 3 * i, " %02x", image->text[at + i]);
			complain("cannot read the trampoline at %d:%s", at, hex);
			return false;
		}
		see(image, at, &insn, data);
		/* A call comes back, and what it calls may lie right behind */
		if (insn.branch && !insn.call && insn.target > furthest &&
		    insn.target < DIRECT_SHARE_TEXT)
			furthest = insn.target;
		if (insn.ends && at + insn.len > furthest)
			return true;
	}
	complain("the trampoline has no end");
	return false;
}

static void see_indirect(const struct image *image, int at, struct insn *insn, void *data)
{
	const unsigned char *s = image->text + at;

	if (insn->indirect)
		complain("%s: bare indirect %s at %d of the trampoline: %02x %02x", (char *)data,
			 insn->call ? "call" : "jump", at, s[0], s[1]);
}

struct call_of {
	unsigned long function;
	bool seen;
};

static void see_call_of(const struct image *image, int at, struct insn *insn, void *data)
{
	struct call_of *call = data;
	unsigned long to = image->addr + insn->target;

	/* Behind the fentry site, which may have an ENDBR before it */
	if (insn->call && insn->branch && to > call->function && to <= call->function + 16)
		call->seen = true;
}

/* Does the trampoline call the function by its address, as it does if alone? */
static bool calls_function(struct party *p, const char *function)
{
	struct call_of call = { .function = symbol_address(function) };
	struct image image;

	if (!find_image(p, &image)) {
		complain("no image of the trampoline at %s", function);
		return false;
	}
	for_each_insn(&image, &call, see_call_of);
	return call.seen;
}

static void f2_each(const char *type)
{
	struct image image;
	struct party p;

	if (strstr(type, "multi"))
		return;
	expect(type, add_party(&p, type), 0);
	if (find_image(&p, &image))
		for_each_insn(&image, (void *)type, see_indirect);
	else
		complain("no image of the trampoline");
	free_party(&p);
}

/* Both kinds of trampoline: one that is told where to go on, and one that knows */
static void f2_indirect_call(void)
{
	static const char *const limits[] = { "paired", "fused" };
	unsigned int i, j;

	target_comes();
	add_livepatch(PATCH_ONE);
	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		/* Where there is no such switch all are of the first kind. */
		write_file(TRACEFS "/direct_share", limits[i]);
		for (j = 0; j < ARRAY_SIZE(calling_types); j++)
			f2_each(calling_types[j]);
	}
	remove_livepatch(PATCH_ONE);
	target_goes();
}

static void f3_multi(void)
{
	struct party p;

	target_comes();
	add_livepatch(PATCH_ONE);
	expect("attaching fexit.multi beside a livepatch",
	       add_party(&p, "run_fexit_multi_module"), 0);
	if (p.link) {
		check_call("livepatch", &p, 100);
		check_call_how("its neighbour", &p, KLP_SHARE_OTHER, KLP_SHARE_CALL, 0);
	}
	free_party(&p);
	remove_livepatch(PATCH_ONE);

	expect("attaching fexit.multi", add_party(&p, "run_fexit_multi_module"), 0);
	add_livepatch(PATCH_ONE);
	check_call("livepatch came later", &p, 100);
	remove_livepatch(PATCH_ONE);
	check_call("livepatch gone", &p, 0);
	free_party(&p);
	target_goes();
}

/*
 * Others, who attach and detach all the time, on another processor
 */

#define MAX_BUSY	8

static struct {
	bool stop;
	int rounds[MAX_BUSY];
	int failures;
	int err;
} *busy;

static pid_t busy_children[MAX_BUSY];
static int nr_busy, busy_self;

static int busy_rounds(void)
{
	int i, sum = 0;

	for (i = 0; i < nr_busy; i++)
		sum += busy->rounds[i];
	return sum;
}

static bool all_busy(void)
{
	int i;

	for (i = 0; i < nr_busy; i++)
		if (!busy->rounds[i])
			return false;
	return true;
}

static void start_busy(void (*round)(void), int n)
{
	busy = mmap(NULL, sizeof(*busy), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (busy == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	for (nr_busy = 0; nr_busy < n; nr_busy++) {
		busy_children[nr_busy] = fork();
		if (busy_children[nr_busy] < 0)
			ksft_exit_fail_perror("fork");
		if (busy_children[nr_busy])
			continue;
		busy_self = nr_busy;
		pin(processors() - 1);
		while (!busy->stop) {
			round();
			busy->rounds[busy_self]++;
		}
		_exit(0);
	}
	if (!wait_until(all_busy()))
		ksft_exit_fail_msg("one of the other processes does not get anywhere\n");
}

static void stop_busy(void)
{
	int i, status = 0;

	busy->stop = true;
	for (i = 0; i < nr_busy && !kernel_hurt; i++) {
		if (wait_until(waitpid(busy_children[i], &status, WNOHANG))) {
			expect("another process", status, 0);
			continue;
		}
		complain("another process does not come to an end");
		kernel_hurt = true;
	}
	if (busy->failures)
		complain("%d times another process failed to attach, with %d (%s)",
			 busy->failures, busy->err, strerror(-busy->err));
	ksft_print_msg("others attached and detached %d times\n", busy_rounds());
	munmap(busy, sizeof(*busy));
}

static void busy_attached(int err)
{
	if (err) {
		busy->failures++;
		busy->err = err;
	}
}

static void busy_multi(void)
{
	static const char *names[64];
	static struct party p;
	static int n;

	if (!n) {
		n = quiet_functions(names, ARRAY_SIZE(names));
		load_party(&p, "run_fexit_multi", NULL);
	}
	busy_attached(attach_party_to(&p, NULL, names, n));
	detach_party(&p);
}

/* Each has a trampoline of its own, and so has most often another lock. */
static void busy_single(void)
{
	const char *names[MAX_BUSY];
	static struct party p;

	if (!p.skel) {
		quiet_functions(names, MAX_BUSY);
		load_party(&p, "run_fexit", names[busy_self]);
	}
	busy_attached(attach_party(&p));
	detach_party(&p);
}

/*
 * Loads a livepatch for half the time. To load it properly takes seconds, so for
 * the other half its last function has a kprobe, with which it is refused when
 * all the others are done.
 */
static void load_often(bool refused)
{
	double end = seconds() + stress_seconds / 2.0;
	int err, loads = 0, failures = 0, last = 0;

	for (; seconds() < end && failures < 10; loads++) {
		err = refused ? load_module(PATCH_ALL, "") : load_livepatch(PATCH_ALL);
		if (err != (refused ? -EBUSY : 0)) {
			failures++;
			last = err;
		}
		if (!err)
			remove_livepatch(PATCH_ALL);
	}
	if (failures)
		complain("%d of %d times %s a livepatch gave %d (%s)", failures, loads,
			 refused ? "refusing" : "loading", last, strerror(-last));
	else
		ksft_print_msg("a livepatch was %s %d times\n", refused ? "refused" : "loaded", loads);
}

static void redirect_while_busy(void (*round)(void), int n)
{
	struct party p;

	target_comes();
	load_party(&p, "run_fexit_multi_module", NULL);
	expect("attaching", attach_party_to(&p, TARGET_MODULE, all_patched,
					    ARRAY_SIZE(all_patched)), 0);
	start_busy(round, n);
	pin(0);
	load_often(false);
	while (load_module(KPROBE, "symbols=klp_share_target_sleep") == -EAGAIN)
		;
	load_often(true);
	remove_module(KPROBE);
	stop_busy();
	free_party(&p);
	target_goes();
}

static void f4_enable(void)
{
	redirect_while_busy(busy_multi, 1);
}

static void r2_unrelated_lock(void)
{
	redirect_while_busy(busy_single, MAX_BUSY);
}

/*
 * f5, f6
 */

static void f5_direct_follows(void)
{
	struct party none;

	target_comes();
	load_party(&none, "run_fexit", ONE);
	add_livepatch(PATCH_ONE);
	expect("a direct caller beside a livepatch", load_module(DIRECT, ""), -EBUSY);
	remove_module(DIRECT);
	expect("one that follows beside a livepatch", load_module(DIRECT, "follows=1"), 0);
	check_call("livepatch and direct caller", &none, 100);
	remove_module(DIRECT);
	remove_livepatch(PATCH_ONE);

	expect("a direct caller that follows", load_module(DIRECT, "follows=1"), 0);
	expect("a livepatch beside it", load_livepatch(PATCH_ONE), 0);
	check_call("direct caller and livepatch", &none, 100);
	remove_livepatch(PATCH_ONE);
	remove_module(DIRECT);
	free_party(&none);
	target_goes();
}

static void expect_mode(const char *should)
{
	char *text, *line, mode[32] = "absent", module[64];

	text = read_file(TRACEFS "/direct_share");
	if (!text) {
		complain("no " TRACEFS "/direct_share");
		return;
	}
	line = line_of(text, ONE);
	/* The name of the module in brackets, if any, then the mode */
	if (line && sscanf(line, "%*s [%63[^]]] %31s", module, mode) != 2)
		sscanf(line, "%*s %31s", mode);
	if (strcmp(mode, should))
		complain("the mode is %s and not %s", mode, should);
}

static void f6_who_shares(void)
{
	struct stat st;
	struct party p;
	char *text;

	text = read_file(TRACEFS "/direct_share");
	if (!text) {
		complain("no " TRACEFS "/direct_share");
		return;
	}
	if (text[0] != '#')
		complain("it has no header");
	if (stat(TRACEFS "/direct_share", &st) || (st.st_mode & 0777) != 0640)
		complain("its permissions are %o", st.st_mode & 0777);

	target_comes();
	expect_mode("absent");
	add_livepatch(PATCH_ONE);
	expect_mode("settled");
	expect("attaching fexit", add_party(&p, "run_fexit"), 0);
	expect_mode("fused");
	detach_party(&p);
	expect_mode("settled");
	remove_livepatch(PATCH_ONE);
	expect_mode("absent");
	free_party(&p);
	target_goes();
}

/*
 * r1: a trampoline that stays as a redirect needed it, without one
 */

/* An ftrace_ops that may change the ip of two functions. The second one refuses. */
static void r1_refused(void)
{
	struct party p;

	target_comes();
	expect("attaching fexit", add_party(&p, "run_fexit"), 0);
	if (!calls_function(&p, ONE))
		complain("alone it does not call the function by its address");

	expect(KPROBE, load_module(KPROBE, "symbols=" OTHER), 0);
	expect("an ftrace_ops for two, of which one has a kprobe",
	       load_module(IPMODIFY, "symbols=" ONE "," OTHER), -EBUSY);
	if (!calls_function(&p, ONE))
		complain("after it was refused the trampoline does not, either");
	check_call("refused", &p, 0);
	remove_module(IPMODIFY);
	remove_module(KPROBE);
	free_party(&p);
	target_goes();
}

/* The sample module has a kprobe with a post_handler, too. */
#define SAMPLE	"kprobe_example"

static void r1_second_kprobe(void)
{
	struct party p;

	if (system("modprobe -n " SAMPLE " 2>/dev/null")) {
		skip("no module " SAMPLE);
		return;
	}
	target_comes();
	expect("attaching fexit", add_party(&p, "run_fexit"), 0);
	expect(KPROBE, load_module(KPROBE, "symbols=" ONE), 0);
	expect("a second kprobe elsewhere", system("modprobe " SAMPLE " symbol=" OTHER), 0);
	check_call("kprobe", &p, 0);
	remove_module(KPROBE);
	if (!calls_function(&p, ONE))
		complain("after the kprobe it does not call the function by its address");
	check_call("kprobe gone", &p, 0);
	remove_module(SAMPLE);
	free_party(&p);
	target_goes();
}

static void r1_disable(void)
{
	int rounds = 0, stale = 0;
	struct party p;
	double end;

	target_comes();
	expect("attaching fexit", add_party(&p, "run_fexit"), 0);
	add_livepatch(PATCH_ONE);
	remove_livepatch(PATCH_ONE);
	if (!calls_function(&p, ONE))
		complain("after a livepatch it does not call the function by its address");

	start_busy(busy_multi, 1);
	pin(0);
	for (end = seconds() + stress_seconds; seconds() < end && stale < 3; rounds++) {
		/* That this may fail is another fault, f4. */
		while (load_livepatch(PATCH_ONE) && seconds() < end)
			usleep(1000);
		remove_livepatch(PATCH_ONE);
		if (!calls_function(&p, ONE))
			stale++;
	}
	stop_busy();
	if (stale)
		complain("%d of %d times it did not with others at work", stale, rounds);
	ksft_print_msg("the livepatch came and went %d times\n", rounds);
	check_call("livepatch gone", &p, 0);
	free_party(&p);
	target_goes();
}

/*
 * r3: a change elsewhere. A second program is a change of a trampoline, the
 * first one is not.
 */

#define ELSEWHERE	"bpf_fentry_test1"

static void change_elsewhere(const char *state)
{
	struct party first, second;

	load_party(&first, "run_fentry", ELSEWHERE);
	load_party(&second, "run_fexit", ELSEWHERE);
	expect("attaching elsewhere", attach_party(&first), 0);
	expect(state, attach_party(&second), 0);
	free_party(&second);
	free_party(&first);
}

static void r3_livepatch(void)
{
	struct party p;

	target_comes();
	add_livepatch(PATCH_ONE);
	expect("attaching fexit", add_party(&p, "run_fexit"), 0);
	change_elsewhere("attaching elsewhere, beside a livepatch");
	check_call("livepatch", &p, 100);
	free_party(&p);
	remove_livepatch(PATCH_ONE);
	target_goes();
}

static void r3_kprobe(void)
{
	struct party p;

	target_comes();
	expect("attaching fexit", add_party(&p, "run_fexit"), 0);
	/* It is the second one that the trampoline has to be told of. */
	expect(KPROBE, load_module(KPROBE, "symbols=" OTHER "," ONE), 0);
	change_elsewhere("attaching elsewhere, beside a kprobe");
	check_call("kprobe", &p, 0);
	remove_module(KPROBE);
	check_call("kprobe gone", &p, 0);
	free_party(&p);
	target_goes();
}

/*
 * r4: a module with many functions comes and goes while trampolines change. Who
 * reads the records, in the changes, should be slow and preempted while he does:
 * a kprobe at each look-up makes him so, and somebody else on his processor. To
 * see what happens then takes a kernel with CONFIG_DEBUG_PAGEALLOC, booted with
 * debug_pagealloc=on.
 */

#define CROWD	"test_klp_share_crowd"
#define SLOW	"ftrace_lookup_ip"

static void busy_change(void)
{
	static struct party first, second;

	if (!first.skel) {
		load_party(&first, "run_fentry", ELSEWHERE);
		load_party(&second, "run_fexit", ELSEWHERE);
		busy_attached(attach_party(&first));
	}
	busy_attached(attach_party(&second));
	detach_party(&second);
}

static pid_t start_hog(int cpu)
{
	pid_t child = fork();

	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (child)
		return child;
	pin(cpu);
	for (;;)
		;
}

static void r4_module_unload(void)
{
	double end = seconds() + 2 * stress_seconds;
	bool slow = !load_module(KPROBE, "symbols=" SLOW);
	int err = 0, loads = 0;
	pid_t hog;

	if (processors() < 2 || !slow)
		ksft_print_msg("with one processor, or no " SLOW ", this will not show much\n");
	start_busy(busy_change, 1);
	setpriority(PRIO_PROCESS, busy_children[0], 10);
	hog = start_hog(processors() - 1);
	pin(0);
	for (; seconds() < end && !err && !complaints; loads++) {
		err = load_module(CROWD, "");
		if (!err)
			err = unload_module(CROWD);
		hear_kernel();
	}
	kill(hog, SIGKILL);
	waitpid(hog, NULL, 0);
	expect("loading and unloading", err, 0);
	ksft_print_msg("the module came and went %d times\n", loads);
	/* Who dies with a lock of ftrace takes it along. */
	if (complaints) {
		kernel_hurt = true;
		return;
	}
	stop_busy();
	if (slow)
		remove_module(KPROBE);
}

/*
 * r5: one function, twice in BTF
 */

#define TWINS	"test_klp_share_twins"

static void check_twins(const char *const *names, const __u32 *ids)
{
	struct party single, p;
	__u32 set[3];
	int i;

	load_party(&p, "run_fentry_multi_twins", NULL);
	for (i = 0; i < 2; i++) {
		expect("attaching to one of them", attach_party_to_ids(&p, &ids[i], 1), 0);
		detach_party(&p);
	}

	/* All of a set, or nothing of it */
	set[0] = ids[2];
	set[1] = ids[0];
	set[2] = ids[1];
	expect("attaching to both and a third one", attach_party_to_ids(&p, set, 3), -EBUSY);
	if (p.link) {
		/* Who calls the function after this goes to a freed trampoline. */
		detach_party(&p);
		complain("there were two trampolines at one function");
		kernel_hurt = true;
		return;
	}
	read_file("/sys/module/" TWINS "/parameters/call");
	if (p.skel->bss->runs)
		complain("the program is called, although it is not attached");
	if (line_of(read_file(TRACEFS "/enabled_functions"), names[2]))
		complain("the third one is not left alone");

	/* The same for one after the other, without a set */
	load_party(&single, "run_fentry", names[0]);
	expect("attaching fentry", attach_party(&single), 0);
	expect("attaching to the same one", attach_party_to_ids(&p, &ids[0], 1), 0);
	detach_party(&p);
	expect("attaching to the other one", attach_party_to_ids(&p, &ids[1], 1), -EBUSY);
	detach_party(&p);
	free_party(&single);
	free_party(&p);
}

static void r5_two_ids(void)
{
	static const char *const names[] = {
		"klp_share_twin", "klp_share_twin_again", "klp_share_twins_sibling",
	};
	struct btf *base, *btf;
	unsigned int i;
	__u32 ids[3];
	int id;

	expect(TWINS, load_module(TWINS, ""), 0);
	base = btf__load_vmlinux_btf();
	btf = btf__load_module_btf(TWINS, base);
	if (!btf)
		ksft_exit_fail_perror("no BTF of " TWINS);
	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		id = btf__find_by_name_kind(btf, names[i], BTF_KIND_FUNC);
		if (id < 0)
			skip("this pahole knows no function twice");
		ids[i] = id;
	}
	btf__free(btf);
	btf__free(base);
	if (!skipped[0])
		check_twins(names, ids);
	if (!kernel_hurt)
		remove_module(TWINS);
}

/*
 * r6, r7: what is left of something that failed
 */

#define FAIL		"test_klp_share_fail"
#define FAIL_NTH	"/sys/module/" FAIL "/parameters/nth"
#define KPROBE_HITS	"/sys/module/" KPROBE "/parameters/hits"
#define EVENT		"share_plain"

/* By this task, which is the one that fails. */
static long call_one(int arg)
{
	struct klp_share_call c = { .function = KLP_SHARE_ONE, .arg = arg };

	return ioctl(share_fd, KLP_SHARE_CALL, &c) ? -errno : c.ret[0];
}

static void call_other(const char *when)
{
	long ret = 0;

	expect(when, call_function(KLP_SHARE_OTHER, 7, KLP_SHARE_CALL, &ret), 0);
	expect(when, ret, 7);
}

/* How often was the event hit, -1 if there is none? */
static int event_hits(void)
{
	char *text = read_file(TRACEFS "/kprobe_profile"), *line;
	int hits = -1;

	line = text ? strstr(text, EVENT) : NULL;
	if (line)
		sscanf(line, "%*s %d", &hits);
	return hits;
}

static void r6_unarmed_kprobe(void)
{
	static const char enabled[] = "/sys/kernel/debug/kprobes/enabled";
	char *hits;
	long ret;

	target_comes();
	expect("an event", write_file(TRACEFS "/kprobe_events", "p:" EVENT " " OTHER), 0);
	expect("enabling it", write_file(TRACEFS "/events/kprobes/" EVENT "/enable", "1"), 0);
	expect("disarming all", write_file(enabled, "0"), 0);
	expect(KPROBE, load_module(KPROBE, ""), 0);
	add_livepatch(PATCH_ONE);
	/* There can only be one: this fails for the kprobe with a post_handler. */
	write_file(enabled, "1");
	call_other("armed");
	expect("hits of the other kprobe", event_hits(), 1);
	remove_module(KPROBE);
	call_other("one gone");
	expect("hits after one has gone that was not armed", event_hits(), 2);

	remove_livepatch(PATCH_ONE);
	expect(KPROBE, load_module(KPROBE, ""), 0);
	expect("a call", call_function(KLP_SHARE_ONE, 7, KLP_SHARE_CALL, &ret), 0);
	hits = read_file(KPROBE_HITS);
	expect("hits of the next one", hits ? atoi(hits) : -1, 1);
	remove_module(KPROBE);
	expect("disabling the event",
	       write_file(TRACEFS "/events/kprobes/" EVENT "/enable", "0"), 0);
	/* To open it for writing removes all. */
	expect("removing it", write_file(TRACEFS "/kprobe_events", "\n"), 0);
	target_goes();
}

static void r7_stuck_set(void)
{
	static const char *const set[] = { ONE, OTHER };
	struct party one, both;

	target_comes();
	expect("no optimized kprobes", write_file("/proc/sys/debug/kprobes-optimization", "0"), 0);
	expect(FAIL, load_module(FAIL, "rest=1 ret=-12 "
				 "function=update_ftrace_direct_mod,update_ftrace_direct_del"), 0);
	load_party(&one, "run_fentry_multi_module", NULL);
	expect("attaching to one", attach_party_to(&one, TARGET_MODULE, set, 1), 0);
	load_party(&both, "run_fentry_multi_module", NULL);
	expect("arming", write_file(FAIL_NTH, "1"), 0);
	expect("attaching to both", attach_party_to(&both, TARGET_MODULE, set, 2), -ENOMEM);
	detach_party(&both);
	expect("disarming", write_file(FAIL_NTH, "0"), 0);
	remove_module(FAIL);

	/* Until what is not used any more has been freed */
	sleep(3);
	check_call("after the set has failed", &one, 0);
	call_other("at the function that the set would have added");
	expect("runs of the set", both.skel->bss->runs, 0);

	expect("attaching to both again", attach_party_to(&both, TARGET_MODULE, set, 2), 0);
	check_call_how("the next try", &both, KLP_SHARE_OTHER, KLP_SHARE_CALL, 0);
	free_party(&both);
	free_party(&one);
	expect("optimized kprobes", write_file("/proc/sys/debug/kprobes-optimization", "1"), 0);
	target_goes();
}

/* The lower one cannot go for the sleeper, and is told to stay. */
static void r8_below(void)
{
	pid_t sleeper;

	target_comes();
	add_livepatch(PATCH_ALL);
	sleeper = fall_asleep();
	add_livepatch(PATCH_ONE);
	expect("disabling the lower one", disable_livepatch(PATCH_ALL), 0);
	expect("is it in transition", in_transition(PATCH_ALL), true);
	expect("enabling it", write_file(KLP "/" PATCH_ALL "/enabled", "1"), 0);
	if (!wait_until(!in_transition(PATCH_ALL)))
		complain("it does not stay");
	expect("a call", call_one(1), 101);
	wake_up(sleeper);
	remove_livepatch(PATCH_ALL);
	expect("a call", call_one(1), 101);
	remove_livepatch(PATCH_ONE);
	expect("a call", call_one(1), 1);
	target_goes();
}

/*
 * r9, r11: calls from callbacks
 */

#define TRACER		"test_klp_share_tracer"
#define TRACER_PARAM	"/sys/module/" TRACER "/parameters/"

static void check_deep(const char *state, int want)
{
	const char *text = read_file(TRACER_PARAM "deep");

	expect(state, text ? atoi(text) : -errno, want);
}

static void r9_deep(void)
{
	static const char *const progs[] = { "run_fentry", "run_fexit", "run_fsession" };
	struct party p;
	unsigned int i;

	target_comes();
	expect(TRACER, load_module(TRACER, ""), 0);
	check_deep("no livepatch", 1);
	add_livepatch(PATCH_ONE);
	check_deep("settled", 101);
	expect("tracing", write_file(TRACER_PARAM "traced", "1"), 0);
	check_deep("listed", 101);
	for (i = 0; i < ARRAY_SIZE(progs); i++) {
		expect("attaching", add_party(&p, progs[i]), 0);
		check_deep("listed, with a program", 101);
		expect("runs of it", p.skel->bss->runs, 1);
		free_party(&p);
	}
	expect("tracing no more", write_file(TRACER_PARAM "traced", "0"), 0);
	remove_livepatch(PATCH_ONE);
	check_deep("livepatch gone", 1);
	remove_module(TRACER);
	target_goes();
}

/* How often the tracer comes and goes */
#define COMES	100

static void trace_and_not(void)
{
	int i, err = 0;

	for (i = 0; i < COMES && !err; i++)
		err = write_file(TRACEFS "/current_tracer", "function") ?:
		      write_file(TRACEFS "/current_tracer", "nop");
	_exit(err ? 1 : 0);
}

static void r11_deep(void)
{
	unsigned int calls = 0;
	int status;
	pid_t pid;

	target_comes();
	expect(TRACER, load_module(TRACER, ""), 0);
	add_livepatch(PATCH_ONE);
	expect("a filter", write_file(TRACEFS "/set_ftrace_filter", ONE), 0);
	pid = fork();
	if (pid < 0)
		ksft_exit_fail_perror("fork");
	if (!pid)
		trace_and_not();
	while (!waitpid(pid, &status, WNOHANG)) {
		check_deep("a tracer comes and goes", 101);
		calls++;
	}
	expect("what it did", status, 0);
	ksft_print_msg("%u calls\n", calls);
	expect("no filter", write_file(TRACEFS "/set_ftrace_filter", "\n"), 0);
	remove_livepatch(PATCH_ONE);
	remove_module(TRACER);
	target_goes();
}

/*
 * r10: a kprobe that goes without memory
 */

static void r10_last_kprobe(void)
{
	char *nth, *hits;

	target_comes();
	/* What has no site is probed by an int3, and an optimized one cannot redirect. */
	expect("no optimized kprobes", write_file("/proc/sys/debug/kprobes-optimization", "0"), 0);
	expect(FAIL, load_module(FAIL, "function=ftrace_set_filter_ip ret=-12"), 0);
	expect(KPROBE, load_module(KPROBE, ""), 0);
	expect("a call", call_one(1), 1);
	expect("arming", write_file(FAIL_NTH, "1"), 0);
	remove_module(KPROBE);
	nth = read_file(FAIL_NTH);
	expect("failures to come", nth ? atoi(nth) : -errno, 0);

	add_livepatch(PATCH_ONE);
	expect("a call", call_one(1), 101);
	remove_livepatch(PATCH_ONE);
	expect(KPROBE, load_module(KPROBE, ""), 0);
	expect("a call", call_one(1), 1);
	hits = read_file(KPROBE_HITS);
	expect("hits of the next one", hits ? atoi(hits) : -errno, 1);
	remove_module(KPROBE);
	remove_module(FAIL);
	expect("optimized kprobes", write_file("/proc/sys/debug/kprobes-optimization", "1"), 0);
	target_goes();
}

/*
 * r12: a caller in ftrace's list of callbacks, and what it goes on to
 */

/* Seconds for which the caller is held, which are enough for all that is done then */
#define HELD	10

static pid_t in_background(int cpu, int (*run)(void))
{
	pid_t child = fork();

	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (!child) {
		close_all_but_share();
		pin(cpu);
		_exit(run());
	}
	return child;
}

static int call_and_be_held(void)
{
	struct klp_share_call c = { .function = KLP_SHARE_ONE, .arg = 1 };

	return ioctl(share_fd, KLP_SHARE_CALL, &c) ? 255 : c.ret[0];
}

static int probe_goes(void)
{
	return -unload_module(KPROBE);
}

static bool is_held(void)
{
	const char *text = read_file("/sys/module/" KPROBE "/parameters/held");

	return text && *text == 'Y';
}

/* By how many callbacks a function is traced */
static int callbacks_of(const char *function)
{
	char *line = line_of(read_file(TRACEFS "/enabled_functions"), function);
	int n = 0;

	if (line && strchr(line, '('))
		sscanf(strchr(line, '('), "(%d)", &n);
	return n;
}

/* Here that of another program would keep the callback in the list. */
static bool direct_calls(void)
{
	const char *text = read_file(TRACEFS "/enabled_functions");

	return !text || strstr(text, "\n\tdirect");
}

static void expect_status(const char *what, pid_t child, int should)
{
	int status;

	waitpid(child, &status, 0);
	expect(what, WIFEXITED(status) ? WEXITSTATUS(status) : -EFAULT, should);
}

/*
 * The list is the kprobe's, that of all direct calls, the tracer's: last come, first
 * called. The kprobe's leaves it while the caller is in there, so that who is next for
 * the caller does not change when that one leaves as well.
 */
static void r12_next(void)
{
	pid_t caller, remover;
	struct party p;
	char params[64];
	double end;
	int err;

	if (processors() < 2) {
		skip("needs two processors");
		return;
	}
	if (!wait_until(!direct_calls())) {
		skip("there are other direct calls");
		return;
	}
	target_comes();
	expect("a filter", write_file(TRACEFS "/set_ftrace_filter", ONE), 0);
	expect("a tracer", write_file(TRACEFS "/current_tracer", "function"), 0);
	load_party(&p, "run_fentry", OTHER);
	expect("attaching", attach_party(&p), 0);
	snprintf(params, sizeof(params), "post=0 hold_ms=%d", HELD * 1000);
	expect(KPROBE, load_module(KPROBE, params), 0);
	expect("callbacks", callbacks_of(ONE), 2);

	end = seconds() + HELD;
	caller = in_background(1, call_and_be_held);
	if (!wait_until(is_held()))
		complain("the caller is not held");
	remover = in_background(0, probe_goes);
	if (!wait_until(callbacks_of(ONE) == 1))
		complain("the kprobe does not go");
	if (seconds() >= end)
		complain("all that took too long to prove anything");
	expect("detaching", detach_party(&p), 0);
	if (seconds() < end)
		complain("that does not wait for who is about to go on to it");
	expect_status("the call", caller, 1);
	expect_status("removing the kprobe", remover, 0);

	/* There is no ftrace for any other test then. */
	err = attach_party(&p);
	expect("attaching again", err, 0);
	kernel_hurt = err == -ENODEV;
	check_call_how("after that", &p, KLP_SHARE_OTHER, KLP_SHARE_CALL, 0);
	free_party(&p);
	if (kernel_hurt)
		return;
	expect("no tracer", write_file(TRACEFS "/current_tracer", "nop"), 0);
	expect("no filter", write_file(TRACEFS "/set_ftrace_filter", "\n"), 0);
	target_goes();
}

/*
 * r13: the first one with a post_handler among those of one function
 */

static void r13_joins(void)
{
	char *hits;

	target_comes();
	expect("an event", write_file(TRACEFS "/kprobe_events", "p:" EVENT " " ONE), 0);
	expect("enabling it", write_file(TRACEFS "/events/kprobes/" EVENT "/enable", "1"), 0);
	expect(KPROBE, load_module(KPROBE, ""), 0);
	expect("a call", call_one(1), 1);
	expect("hits of the event", event_hits(), 1);
	hits = read_file(KPROBE_HITS);
	expect("hits of the kprobe", hits ? atoi(hits) : -errno, 1);
	expect("callbacks of both", callbacks_of(ONE), 1);

	remove_module(KPROBE);
	expect("disabling the event",
	       write_file(TRACEFS "/events/kprobes/" EVENT "/enable", "0"), 0);
	expect("callbacks when both have gone", callbacks_of(ONE), 0);
	expect("removing it", write_file(TRACEFS "/kprobe_events", "\n"), 0);
	add_livepatch(PATCH_ONE);
	expect("a call", call_one(1), 101);
	remove_livepatch(PATCH_ONE);
	target_goes();
}

/*
 * s1, s2: where a redirect settles
 */

#define KILL	"test_klp_share_kill"
#define REPLACE	"test_klp_share_replace"

/* Seconds after which what nobody uses has been freed */
#define QUIET	5

static void s1_override(void)
{
	static const char *const progs[] = { "run_fentry", "run_fexit", "run_fsession" };
	struct party p;
	unsigned int i;

	target_comes();
	/* First, so that ftrace asks it after the livepatch. */
	expect(FAIL, load_module(FAIL, "function=" ONE " ret=-77"), 0);
	add_livepatch(PATCH_ONE);
	for (i = 0; i < ARRAY_SIZE(progs); i++) {
		expect("attaching", add_party(&p, progs[i]), 0);
		expect("a call", call_one(1), 101);
		expect("arming", write_file(FAIL_NTH, "1"), 0);
		expect("the call that fails", call_one(1), -77);
		expect("the next call", call_one(1), 101);
		free_party(&p);
	}
	remove_livepatch(PATCH_ONE);
	remove_module(FAIL);
	target_goes();
}

/* @at: of which function the next call is the end of ftrace; "" for now */
static void kill_ftrace(const char *at)
{
	char param[128];

	snprintf(param, sizeof(param), "ftrace_kill=%lu%s%s", symbol_address("ftrace_kill"),
		 *at ? " at=" : "", at);
	expect(KILL, load_module(KILL, param), 0);
}

/* Attaches to functions that nobody traces, which fails: the images are not kept. */
static void dead_attach(void)
{
	static const char *const set[] = { ONE, OTHER };
	int before = all_images(false);
	struct party p;

	load_party(&p, "run_fentry", OTHER);
	expect("attaching", attach_party(&p), -ENODEV);
	free_party(&p);
	load_party(&p, "run_fentry_multi_module", NULL);
	expect("attaching to a set", attach_party_to(&p, TARGET_MODULE, set, 2), -ENODEV);
	free_party(&p);
	wait_until(all_images(false) <= before);
	expect("images", all_images(true), before);
}

static void s2_run(const char *mode)
{
	target_comes();
	expect(mode, write_file(TRACEFS "/direct_share", mode), 0);
	add_livepatch(PATCH_ONE);
	kill_ftrace("");
	expect("replacing it", load_module(REPLACE, ""), -ENODEV);
	expect("disabling it", disable_livepatch(PATCH_ONE), -ENODEV);
	expect("its transition", in_transition(PATCH_ONE), 0);
	dead_attach();
	expect("a call", call_one(1), 101);
}

static void s2_dead(void)
{
	s2_run("fused");
}

static void s2_held(void)
{
	s2_run("paired");
}

/* Called by ftrace when all is known of a change, and no text is changed yet */
#define MIDDLE	"arch_ftrace_update_code"
/* Called by it before, when a change of text can still be left out */
#define EARLY	"ftrace_share_publish"

static void dies_attaching(struct party *p)
{
	kill_ftrace(MIDDLE);
	expect("attaching", attach_party(p), -ENODEV);
	sleep(QUIET);
	expect("a call", call_one(1), 101);
	expect("runs of the program", p->skel->bss->runs, 0);
}

/* An image whose attaching failed, and the site was told of it already. */
static void s3_attach(void)
{
	struct party p;

	target_comes();
	add_livepatch(PATCH_ONE);
	/* Listed, so that an image needs no other text to be called. */
	expect("a filter", write_file(TRACEFS "/set_ftrace_filter", ONE), 0);
	expect("a tracer", write_file(TRACEFS "/current_tracer", "function"), 0);
	load_party(&p, "run_fentry", ONE);
	expect("a call", call_one(1), 101);
	dies_attaching(&p);
}

/* Settled: the site jumps to the image of what fails to attach. */
static void s3_settled(void)
{
	struct party p;

	target_comes();
	add_livepatch(PATCH_ONE);
	load_party(&p, "run_fentry", ONE);
	dies_attaching(&p);
}

/* The site goes on jumping to the image of what has been detached. */
static void s3_detach(void)
{
	static const char *const set[] = { ONE };
	const char *text;
	struct party p;

	target_comes();
	add_livepatch(PATCH_ONE);
	/* A set: to detach a single one would be a WARN of Linux. */
	load_party(&p, "run_fentry_multi_module", NULL);
	expect("attaching", attach_party_to(&p, TARGET_MODULE, set, 1), 0);
	text = read_file(TRACEFS "/direct_share");
	expect("a fused site", text && strstr(text, " fused "), true);
	expect("a call", call_one(1), 101);
	kill_ftrace(EARLY);
	detach_party(&p);
	sleep(QUIET);
	expect("a call", call_one(1), 101);
	expect("runs of the program", p.skel->bss->runs, 1);
}

/* The livepatch is disabled, and ftrace dies when its ops leaves the site. */
static void s3_disable(void)
{
	struct party p;

	target_comes();
	expect("paired", write_file(TRACEFS "/direct_share", "paired"), 0);
	add_livepatch(PATCH_ONE);
	expect("attaching", add_party(&p, "run_fentry"), 0);
	/* To detach it, at the end of this, would be a WARN of Linux. */
	expect("pinning", bpf_link__pin(p.link, "/sys/fs/bpf/direct_share_dies"), 0);
	expect("a call", call_one(1), 101);
	kill_ftrace(EARLY);
	expect("disabling it", disable_livepatch(PATCH_ONE), 0);
	expect("unloading it", unload_livepatch(PATCH_ONE), 0);
	expect("a call", call_one(1), 1);
	expect("runs of the program", p.skel->bss->runs, 2);
}

/*
 * s4: images as long as they can be
 */

/* BPF_MAX_TRAMP_LINKS of x86 */
#define MOST	36

/*
 * Cookies: one that takes more text in an image for a livepatch that may move than in
 * one for a livepatch that does not, and one that takes as much, and more, in both.
 */
#define SHORT_COOKIE	(-1ULL)
#define LONG_COOKIE	(1ULL << 40)

/* Images that were refused */
static int too_long;

/* Attaches as many as fit, the first @longs with long cookies; returns how many. */
static int fill(struct party *crowd, int longs)
{
	LIBBPF_OPTS(bpf_trace_opts, opts);
	int i;

	for (i = 0; i < MOST; i++) {
		opts.cookie = i < longs ? LONG_COOKIE : SHORT_COOKIE;
		crowd[i].link = bpf_program__attach_trace_opts(crowd[i].prog, &opts);
		if (!crowd[i].link) {
			expect("attaching one more", -errno, -E2BIG);
			too_long++;
			return i;
		}
	}
	return i;
}

static void empty(struct party *crowd)
{
	int i;

	for (i = 0; i < MOST; i++)
		detach_party(&crowd[i]);
}

/* Does a call return this, and does it run each of the first @n, and no other? */
static void check_crowd(const char *state, struct party *crowd, int n, long want)
{
	int i, before[MOST];
	long ret = 0;

	for (i = 0; i < MOST; i++)
		before[i] = crowd[i].skel->bss->runs;
	expect(state, call_function(KLP_SHARE_ONE, 0, KLP_SHARE_CALL, &ret), 0);
	if (ret != want)
		complain("%s: the call returned %ld, not %ld", state, ret, want);
	for (i = 0; i < MOST; i++)
		if (crowd[i].skel->bss->runs - before[i] != (i < n ? 1 : 0))
			complain("%s: program %d of %d ran %d times", state, i, n,
				 crowd[i].skel->bss->runs - before[i]);
}

/* As many as fit beside a livepatch do not keep it from going. */
static void s4_goes(struct party *crowd, int longs)
{
	int n;

	add_livepatch(PATCH_ONE);
	n = fill(crowd, longs);
	check_crowd("livepatch", crowd, n, 100);
	remove_livepatch(PATCH_ONE);
	if (complaints) {
		/* Without them it can. */
		empty(crowd);
		remove_livepatch(PATCH_ONE);
		return;
	}
	check_crowd("livepatch gone", crowd, n, 0);
	empty(crowd);
}

/* As many as fit without one keep it out, or do not, and all are as before. */
static int s4_comes(struct party *crowd, int longs)
{
	int n, err;

	n = fill(crowd, longs);
	check_crowd("no livepatch", crowd, n, 0);
	err = load_livepatch(PATCH_ONE);
	if (err) {
		expect(PATCH_ONE, err, -E2BIG);
		check_crowd("livepatch refused", crowd, n, 0);
	} else {
		check_crowd("livepatch", crowd, n, 100);
		remove_livepatch(PATCH_ONE);
		check_crowd("livepatch gone", crowd, n, 0);
	}
	empty(crowd);
	return err;
}

/* Programs of the type that takes the most text. */
static void s4_long(void)
{
	struct party crowd[MOST];
	int i, longs, refused = 0;

	target_comes();
	too_long = 0;
	for (i = 0; i < MOST; i++)
		load_party(&crowd[i], "run_fmod_ret", ONE);
	/* A few bytes more each time, until it is as many as another program takes */
	for (longs = 0; longs < MOST && !complaints; longs++) {
		s4_goes(crowd, longs);
		refused += !!s4_comes(crowd, longs);
	}
	ksft_print_msg("%d images and %d of %d livepatches refused\n", too_long, refused, longs);
	if (!too_long)
		complain("%d programs fit, long cookies or not: boot with retbleed=stuff", MOST);
	for (i = 0; i < MOST; i++)
		free_party(&crowd[i]);
	target_goes();
}

/**
 * struct test - a test
 * @name:	by which it is called
 * @what:	what it proves
 * @run:	runs it
 * @named:	only if it is called by its name
 */
static const struct test {
	const char *name;
	const char *what;
	void (*run)(void);
	bool named;
} tests[] = {
	{ "f1_kprobe", "fexit with a kprobe that leaves the ip alone", f1_kprobe },
	{ "f1_transition", "fexit called by a task that is not patched yet", f1_transition },
	{ "f1_nop", "fexit at a function that an atomic replace gives up", f1_nop },
	{ "f1_livepatch", "fexit with a livepatch", f1_livepatch },
	{ "f2_indirect_call", "no bare indirect call in a trampoline", f2_indirect_call },
	{ "f3_multi", "fexit.multi on a set with a livepatched function", f3_multi },
	{ "f4_enable", "a livepatch loads while sets are attached elsewhere", f4_enable },
	{ "f5_direct_follows", "a module's trampoline that follows", f5_direct_follows },
	{ "f6_who_shares", "tracefs shows who shares a function", f6_who_shares },
	{ "r1_refused", "a refused redirect leaves the trampoline as it was", r1_refused },
	{ "r1_second_kprobe", "so does a kprobe that goes while another one stays", r1_second_kprobe },
	{ "r1_disable", "so does a livepatch that goes while sets are attached", r1_disable },
	{ "r2_unrelated_lock", "a livepatch loads while programs are attached elsewhere",
	  r2_unrelated_lock },
	{ "r3_livepatch", "a change elsewhere beside a livepatch", r3_livepatch },
	{ "r3_kprobe", "a change elsewhere beside two kprobes", r3_kprobe },
	{ "r4_module_unload", "changes while a module unloads", r4_module_unload },
	{ "r5_two_ids", "one function with two ids", r5_two_ids },
	{ "r6_unarmed_kprobe", "a kprobe that was not armed goes alone", r6_unarmed_kprobe },
	{ "r7_stuck_set", "a set that is stuck after it failed is not called", r7_stuck_set },
	{ "r8_below", "a livepatch below another one goes, and then stays", r8_below },
	{ "r9_deep", "a callback of a callback calls the livepatch", r9_deep },
	{ "r10_last_kprobe", "the last kprobe goes without memory", r10_last_kprobe },
	{ "r11_deep", "so it does while a tracer comes and goes", r11_deep },
	{ "r12_next", "the last direct call goes under a caller of others", r12_next },
	{ "r13_joins", "a kprobe with a post_handler joins one without", r13_joins },
	{ "s1_override", "a kprobe that has the function fail is heard", s1_override },
	{ "s2_dead", "no livepatch is replaced or disabled when ftrace is dead", s2_dead, true },
	{ "s2_held", "nor one whose functions are held at paired", s2_held, true },
	{ "s3_attach", "ftrace dies while a program is attached", s3_attach, true },
	{ "s3_settled", "ftrace dies while one is attached to a settled function", s3_settled,
	  true },
	{ "s3_detach", "ftrace dies while a program is detached", s3_detach, true },
	{ "s3_disable", "ftrace dies while a livepatch leaves", s3_disable, true },
	{ "s4_long", "a livepatch goes whatever images there are", s4_long, true },
};

static void usage(FILE *to)
{
	fprintf(to, "usage: direct_share_faults [--modules=DIR] [--seconds=N] [--list] [TEST...]\n");
}

static bool chosen(const struct test *test, char **names)
{
	size_t len;

	if (!*names)
		return !test->named;
	for (; *names; names++) {
		len = strlen(*names);
		if (!strncmp(test->name, *names, len) &&
		    (!test->name[len] || test->name[len] == '_'))
			return true;
	}
	return false;
}

static void run_test(const struct test *test)
{
	complaints = 0;
	skipped[0] = 0;
	listen_to_kernel();
	test->run();
	hear_kernel();
	if (skipped[0])
		ksft_test_result_skip("%s: %s: %s\n", test->name, test->what, skipped);
	else
		ksft_test_result(!complaints, "%s: %s\n", test->name, test->what);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "modules", required_argument, NULL, 'm' },
		{ "seconds", required_argument, NULL, 's' },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	unsigned int i, plan = 0;
	bool list = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'm':
			snprintf(module_dir, PATH_MAX, "%s", optarg);
			break;
		case 's':
			stress_seconds = atoi(optarg);
			break;
		case 'l':
			list = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	argv += optind;
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (!chosen(&tests[i], argv))
			continue;
		plan++;
		if (list)
			printf("%-20s %s\n", tests[i].name, tests[i].what);
	}
	if (!plan) {
		fprintf(stderr, "direct_share_faults: no such test\n");
		return 2;
	}
	if (list)
		return 0;

	begin();
	ksft_set_plan(plan);
	for (i = 0; i < ARRAY_SIZE(tests) && !kernel_hurt; i++)
		if (chosen(&tests[i], argv))
			run_test(&tests[i]);
	ksft_finished();
}
