// SPDX-License-Identifier: GPL-2.0

/*
 * A livepatch, BPF programs and everyone else at one function, in every order.
 *
 *	direct_share [--full] [--part=N/M] [--match=TEXT] [--except=TEXT] [--modules=DIR]
 *		     [--hold] [--list] [SECTION...]
 *
 * Attaches and detaches what can be at a function's fentry site, and looks after
 * each step at what a call returns, how often each program ran and what it was
 * given, and at the line of the function in tracefs/direct_share if the kernel
 * has that file. When all is gone the site has to be a nop and nothing may be
 * left of it. Needs root, the modules of ../livepatch/test_modules, and tracefs.
 *
 * The sections, without an argument all of them, each with its time on one
 * emulated processor:
 *
 *	pairs	 every two parties, in both orders of attach and of detach
 *	triples	 every three parties with a livepatch and a BPF program among
 *		 them, in all six orders of attach and all six of detach; --full
 *		 combines each of the former with each of the latter
 *	shapes	 functions with many arguments, a struct or two registers as an
 *		 argument or a result, a recursion
 *	syscall	 a system call
 *	reload	 a function of a module that goes and comes back
 *	stalled	 a livepatch transition that lasts, with tasks of either state
 *	ip	 every program that calls the function, and every way in which a
 *		 redirect owner moves the ip, or leaves it alone
 *	switch	 the switch in tracefs/direct_share, turned under way
 *
 * --hold runs them with that switch at "paired", where each call is asked about.
 * --part=N/M runs the Nth of M parts of pairs, triples and ip, --match=TEXT those
 * of them with TEXT in their names, --except=TEXT those without. One processor is
 * best: there a livepatch transition is over at once, with more of them it takes a
 * second or two.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "kselftest.h"
#include "direct_share.h"
#include "direct_share_util.h"
#include "direct_share.skel.h"

#define SYSCALL		"__x64_sys_sched_get_priority_max"

/*
 * Who can be at the site
 */

enum party_kind {
	LIVEPATCH,
	PROGRAM,	/* of the trampoline, a direct owner */
	BPF_KPROBE,
	KPROBE,		/* with a post_handler, a redirect owner */
	TRACER,
	DIRECT,		/* a module's own trampoline */
};

enum party {
	PATCH, PATCH2, REPLACE, REPLACE_OTHER,
	FENTRY, FEXIT, FMOD_RET, FSESSION, FENTRY_MULTI, FEXIT_MULTI, FSESSION_MULTI,
	BPF_KP, KPROBE_POST, FUNCTION_TRACER, GRAPH_TRACER,
	DIRECT_CALLER, DIRECT_FOLLOWS,
	PARTIES,
};

/*
 * The modules of a livepatch and of a direct caller are loaded to attach them.
 * @other:	a livepatch of another function than those that are looked at
 */
static const struct party_type {
	const char *name;
	enum party_kind kind;
	const char *module;
	const char *tracer;
	bool replace, other, follows, multi, entry, exit;
	enum direct_share_prog prog;
} parties[PARTIES] = {
	[PATCH]		  = { "livepatch", LIVEPATCH, "test_klp_share_patch" },
	[PATCH2]	  = { "second livepatch", LIVEPATCH, "test_klp_share_patch2" },
	[REPLACE]	  = { "atomic replace", LIVEPATCH, "test_klp_share_replace",
			      .replace = true },
	[REPLACE_OTHER]	  = { "atomic replace elsewhere", LIVEPATCH,
			      "test_klp_share_replace_other", .replace = true, .other = true },
	[FENTRY]	  = { "fentry", PROGRAM, .prog = DIRECT_SHARE_FENTRY, .entry = true },
	[FEXIT]		  = { "fexit", PROGRAM, .prog = DIRECT_SHARE_FEXIT, .exit = true },
	[FMOD_RET]	  = { "fmod_ret", PROGRAM, .prog = DIRECT_SHARE_FMOD_RET, .entry = true },
	[FSESSION]	  = { "fsession", PROGRAM, .prog = DIRECT_SHARE_FSESSION,
			      .entry = true, .exit = true },
	[FENTRY_MULTI]	  = { "fentry.multi", PROGRAM, .prog = DIRECT_SHARE_FENTRY_MULTI,
			      .entry = true, .multi = true },
	[FEXIT_MULTI]	  = { "fexit.multi", PROGRAM, .prog = DIRECT_SHARE_FEXIT_MULTI,
			      .exit = true, .multi = true },
	[FSESSION_MULTI]  = { "fsession.multi", PROGRAM, .prog = DIRECT_SHARE_FSESSION_MULTI,
			      .entry = true, .exit = true, .multi = true },
	[BPF_KP]	  = { "BPF kprobe", BPF_KPROBE, .prog = DIRECT_SHARE_KPROBE,
			      .entry = true },
	[KPROBE_POST]	  = { "kprobe with post_handler", KPROBE, "test_klp_share_kprobe" },
	[FUNCTION_TRACER] = { "function tracer", TRACER, .tracer = "function" },
	[GRAPH_TRACER]	  = { "graph tracer", TRACER, .tracer = "function_graph" },
	[DIRECT_CALLER]	  = { "direct caller", DIRECT, "test_klp_share_direct" },
	[DIRECT_FOLLOWS]  = { "direct caller that follows", DIRECT, "test_klp_share_direct",
			      .follows = true },
};

/* The PATCH of the functions that the section looks at */
static const char *patch_module;

static const char *party_module(enum party p)
{
	return p == PATCH ? patch_module : parties[p].module;
}

/*
 * What is looked at: a function, and the programs that were loaded for it
 */

struct target {
	const char *function;
	const char *other;	/* is in the set of a *.multi program, too */
	bool in_module;
	int id;			/* enum klp_share_function */
	bool fmod_ret;		/* may be modified */
	bool no_fexit;		/* returns more than BPF can keep */
	bool no_bpf;		/* returns what BPF knows nothing of */
	struct direct_share *skel;
	struct bpf_link *links[PARTIES];
};

static struct target *targets[KLP_SHARE_FUNCTIONS];
static int nr_targets;

/*
 * In which state they are, by what was attached and detached so far
 *
 * @replaced:	a livepatch that is there and not in force
 * @stack:	livepatches in force, the last one on top
 * @height:	number of them
 * @probed:	kprobes are at the site: all of them have one ftrace_ops, which is
 *		that of the first one as long as there are any
 * @redirected:	and that is one that redirects
 */
static struct {
	bool attached[PARTIES];
	bool replaced[PARTIES];
	enum party stack[PARTIES];
	int height;
	bool probed, redirected;
} now;

static bool have_direct_share;
/*
 * Can a redirect of this kernel be settled, and is that held by direct_share in
 * tracefs? Its being writable tells the one, and what was written the other.
 */
static bool can_settle, held;
static struct btf *vmlinux_btf, *module_btf;

/*
 * Complaints: what was done up to here, and what is wrong now
 */

#define MAX_COMPLAINTS	3

static char steps[1024];
static int complaints;

static void step(const char *fmt, ...)
{
	size_t len = strlen(steps);
	va_list args;

	va_start(args, fmt);
	vsnprintf(steps + len, sizeof(steps) - len, fmt, args);
	va_end(args);
}

static void complain(const char *fmt, ...)
{
	char text[1024];
	va_list args;

	if (complaints++ >= MAX_COMPLAINTS)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_print_msg("%s: %s\n", steps, text);
}

static void result(const char *fmt, ...)
{
	char name[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(name, sizeof(name), fmt, args);
	va_end(args);
	ksft_test_result(!complaints, "%s\n", name);
	complaints = 0;
	steps[0] = 0;
}

/*
 * Modules
 */

static bool exists(const char *fmt, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), fmt, name);
	return access(path, F_OK) == 0;
}

static bool module_loaded(const char *name)
{
	return exists("/sys/module/%s", name);
}

/* The first number of a module's parameter, and of the second one if asked for */
static int module_number(const char *module, const char *parameter, int *second)
{
	char path[256], *text;
	int first = -1;

	snprintf(path, sizeof(path), "/sys/module/%s/%s", module, parameter);
	text = read_file(path);
	if (!text || sscanf(text, "%d %d", &first, second ?: &(int){ 0 }) < (second ? 2 : 1))
		ksft_exit_fail_msg("cannot read %s\n", path);
	return first;
}

/*
 * Attach and detach
 */

static int detach_livepatch(enum party p)
{
	const char *module = party_module(p);
	int err;

	if (!now.replaced[p]) {
		err = disable_livepatch(module);
		if (err)
			return err;
	}
	return unload_livepatch(module);
}

static struct bpf_program *program(struct target *t, enum party p)
{
	struct direct_share *s = t->skel;

	switch (p) {
	case FENTRY:
		return s->progs.run_fentry;
	case FEXIT:
		return s->progs.run_fexit;
	case FMOD_RET:
		return s->progs.run_fmod_ret;
	case FSESSION:
		return s->progs.run_fsession;
	case FENTRY_MULTI:
		return t->in_module ? s->progs.run_fentry_multi_module : s->progs.run_fentry_multi;
	case FEXIT_MULTI:
		return t->in_module ? s->progs.run_fexit_multi_module : s->progs.run_fexit_multi;
	case FSESSION_MULTI:
		return t->in_module ? s->progs.run_fsession_multi_module :
				      s->progs.run_fsession_multi;
	case BPF_KP:
		return s->progs.run_kprobe;
	default:
		return NULL;
	}
}

/* May a program of this type be at this function? */
static bool admitted(struct target *t, enum party p)
{
	if (parties[p].kind != PROGRAM)
		return true;
	if (t->no_bpf || (p == FMOD_RET && !t->fmod_ret))
		return false;
	return !t->no_fexit || p == FENTRY || p == FENTRY_MULTI;
}

static struct bpf_link *attach_multi(struct target *t, enum party p)
{
	LIBBPF_OPTS(bpf_tracing_multi_opts, opts);
	struct btf *btf = t->in_module ? module_btf : vmlinux_btf;
	__u32 ids[2];
	int id;

	id = btf__find_by_name_kind(btf, t->function, BTF_KIND_FUNC);
	if (id < 0)
		ksft_exit_fail_msg("no BTF of %s\n", t->function);
	ids[0] = id;
	id = btf__find_by_name_kind(btf, t->other, BTF_KIND_FUNC);
	if (id < 0)
		ksft_exit_fail_msg("no BTF of %s\n", t->other);
	ids[1] = id;
	opts.ids = ids;
	opts.cnt = 2;
	return bpf_program__attach_tracing_multi(program(t, p), NULL, &opts);
}

static int attach_program_to(struct target *t, enum party p)
{
	struct bpf_link *link;

	if (parties[p].multi)
		link = attach_multi(t, p);
	else if (p == BPF_KP)
		link = bpf_program__attach_kprobe(program(t, p), false, t->function);
	else
		link = bpf_program__attach(program(t, p));
	if (!link)
		return -errno;
	t->links[p] = link;
	return 0;
}

static int detach_program(enum party p)
{
	int i, err = 0;

	for (i = 0; i < nr_targets; i++) {
		if (targets[i]->links[p])
			err = bpf_link__destroy(targets[i]->links[p]) ?: err;
		targets[i]->links[p] = NULL;
	}
	return err;
}

static int attach_program(enum party p)
{
	int i, err;

	for (i = 0; i < nr_targets; i++) {
		if (!admitted(targets[i], p))
			continue;
		err = attach_program_to(targets[i], p);
		if (err) {
			detach_program(p);
			return err;
		}
	}
	return 0;
}

static int attach_module(enum party p)
{
	char params[1024];
	int i, len;

	len = snprintf(params, sizeof(params), "%ssymbols=%s",
		       parties[p].follows ? "follows=1 " : "", targets[0]->function);
	for (i = 1; i < nr_targets; i++)
		len += snprintf(params + len, sizeof(params) - len, ",%s", targets[i]->function);
	return load_module(parties[p].module, params);
}

/* Each tracer has an instance of its own, so that both can run at the same time. */
static void instance_file(char *path, size_t size, enum party p, const char *file)
{
	snprintf(path, size, TRACEFS "/instances/direct_share_%s%s%s", parties[p].tracer,
		 file ? "/" : "", file ?: "");
}

static void make_instance(enum party p)
{
	char path[256];

	instance_file(path, sizeof(path), p, NULL);
	if (mkdir(path, 0700) && errno != EEXIST)
		ksft_exit_fail_perror(path);
	instance_file(path, sizeof(path), p, "buffer_size_kb");
	write_file(path, "64");
}

static void remove_instance(enum party p)
{
	char path[256];

	instance_file(path, sizeof(path), p, NULL);
	if (rmdir(path))
		ksft_print_msg("cannot remove %s: %s\n", path, strerror(errno));
}

static int set_tracer(enum party p, const char *tracer)
{
	char path[256];

	instance_file(path, sizeof(path), p, "current_tracer");
	return write_file(path, tracer);
}

static int filter_tracer(enum party p)
{
	char path[256], functions[1024];
	int i, len = 0;

	instance_file(path, sizeof(path), p, "set_ftrace_filter");
	functions[0] = 0;
	for (i = 0; i < nr_targets; i++)
		len += snprintf(functions + len, sizeof(functions) - len, "%s\n",
				targets[i]->function);
	return write_file(path, functions);
}

/*
 * How often the tracer has seen the function since the last time: trace_pipe
 * takes what it shows out of the buffer. Open, it would keep the tracer in place.
 */
static int tracer_hits(enum party p, const char *function)
{
	static char text[65536];
	ssize_t n, len = 0;
	char path[256], *at;
	int fd, hits = 0;

	instance_file(path, sizeof(path), p, "trace_pipe");
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += n;
	close(fd);
	text[len] = 0;
	for (at = text; (at = strstr(at, function)); at += strlen(function)) {
		/* The graph tracer may name it in a comment when it returns. */
		if (at < text + 3 || strncmp(at - 3, "/* ", 3))
			hits++;
	}
	return hits;
}

static int attach(enum party p)
{
	switch (parties[p].kind) {
	case LIVEPATCH:
		return load_livepatch(party_module(p));
	case PROGRAM:
	case BPF_KPROBE:
		return attach_program(p);
	case TRACER:
		return set_tracer(p, parties[p].tracer);
	default:
		return attach_module(p);
	}
}

static int detach(enum party p)
{
	switch (parties[p].kind) {
	case LIVEPATCH:
		return detach_livepatch(p);
	case PROGRAM:
	case BPF_KPROBE:
		return detach_program(p);
	case TRACER:
		return set_tracer(p, "nop");
	default:
		return unload_module(parties[p].module);
	}
}

/*
 * The model: what has to come out of it
 */

static bool any_attached(enum party_kind kind)
{
	int p;

	for (p = 0; p < PARTIES; p++)
		if (now.attached[p] && parties[p].kind == kind)
			return true;
	return false;
}

static bool redirected(void)
{
	return now.height || now.redirected;
}

static int expected_error(enum party p)
{
	switch (parties[p].kind) {
	case LIVEPATCH:
		/* Only the first livepatch of a function registers for it. */
		if (parties[p].other || now.height)
			return 0;
		return now.redirected || now.attached[DIRECT_CALLER] ? -EBUSY : 0;
	case KPROBE:
		/* One that joins another one does not redirect. */
		if (now.probed)
			return 0;
		return now.height || now.attached[DIRECT_CALLER] ? -EBUSY : 0;
	case PROGRAM:
		return any_attached(DIRECT) ? -EBUSY : 0;
	case DIRECT:
		if (any_attached(PROGRAM) || any_attached(DIRECT))
			return -EBUSY;
		return redirected() && !parties[p].follows ? -EBUSY : 0;
	default:
		return 0;
	}
}

static void now_attached(enum party p)
{
	int i;

	now.attached[p] = true;
	if ((p == KPROBE_POST || p == BPF_KP) && !now.probed) {
		now.probed = true;
		now.redirected = p == KPROBE_POST;
	}
	if (parties[p].kind != LIVEPATCH)
		return;
	if (parties[p].replace) {
		for (i = 0; i < PARTIES; i++)
			if (i != p && parties[i].kind == LIVEPATCH && now.attached[i])
				now.replaced[i] = true;
		now.height = 0;
	}
	if (!parties[p].other)
		now.stack[now.height++] = p;
}

static void now_detached(enum party p)
{
	int i;

	now.attached[p] = false;
	now.replaced[p] = false;
	if (!now.attached[KPROBE_POST] && !now.attached[BPF_KP]) {
		now.probed = false;
		now.redirected = false;
	}
	for (i = 0; i < now.height; i++) {
		if (now.stack[i] != p)
			continue;
		memmove(&now.stack[i], &now.stack[i + 1],
			(now.height - i - 1) * sizeof(now.stack[0]));
		now.height--;
		return;
	}
}

/* What the livepatch on top adds to the function's result */
static int now_added(void)
{
	if (!now.height)
		return 0;
	switch (now.stack[now.height - 1]) {
	case PATCH:
		return 100;
	case PATCH2:
		return 200;
	default:
		return 300;
	}
}

/* What a call with this argument returns */
static void expected_return(struct target *t, int arg, int add, long *ret)
{
	int i;

	ret[1] = 0;
	switch (t->id) {
	case KLP_SHARE_MANY:
		ret[0] = add;
		for (i = 0; i < DIRECT_SHARE_ARGS; i++)
			ret[0] += (i + 1) * (arg + i);
		break;
	case KLP_SHARE_PAIR:
	case KLP_SHARE_WIDE:
		ret[0] = arg + add;
		ret[1] = arg + 1 + add;
		break;
	case KLP_SHARE_BY_VALUE:
		ret[0] = arg + 2 * (arg + 1) + 3 * (arg + 2) + add;
		break;
	case KLP_SHARE_RECURSE:
		ret[0] = (arg + 1) * (1 + add);
		break;
	case KLP_SHARE_FUNCTIONS:	/* the system call */
		ret[0] = add ? 1000 + arg : arg == SCHED_OTHER ? 0 : 99;
		break;
	default:
		ret[0] = arg + add;
	}
}

static struct direct_share_want expected_in_program(struct target *t, int arg, int add)
{
	long ret[2];

	if (t->id == KLP_SHARE_ONE)
		return (struct direct_share_want){ 1, add };
	if (t->id == KLP_SHARE_RECURSE)
		return (struct direct_share_want){ 1 + add, 1 + add };
	expected_return(t, arg, add, ret);
	return (struct direct_share_want){ 0, ret[0] };
}

static int expected_runs(struct target *t, int arg)
{
	return t->id == KLP_SHARE_RECURSE ? arg + 1 : 1;
}

static void expect_in_programs(struct target *t, int arg, int add, int odd_add)
{
	int i, nr = 0;

	switch (t->id) {
	case KLP_SHARE_ONE:
		nr = 1;
		break;
	case KLP_SHARE_PAIR:
	case KLP_SHARE_WIDE:
		nr = 2;
		break;
	case KLP_SHARE_BY_VALUE:
		nr = 3;
		break;
	case KLP_SHARE_MANY:
		nr = DIRECT_SHARE_ARGS;
		break;
	}
	t->skel->bss->nr_args = nr;
	for (i = 0; i < nr; i++)
		t->skel->bss->args[i] = arg + i;
	t->skel->bss->want[0] = expected_in_program(t, arg, add);
	t->skel->bss->want[1] = expected_in_program(t, arg, odd_add);
}

/*
 * Calls and checks
 */

static int call_target(struct target *t, int arg, unsigned long how, long *ret)
{
	struct klp_share_call c = { .function = t->id, .arg = arg };

	if (t->id == KLP_SHARE_FUNCTIONS) {
		/* Past the C library, which may know the answer. */
		ret[0] = syscall(SYS_sched_get_priority_max, arg);
		ret[1] = 0;
		return 0;
	}
	if (ioctl(share_fd, how, &c))
		return -errno;
	ret[0] = c.ret[0];
	ret[1] = c.ret[1];
	return 0;
}

/* Not the same ones all the time */
static int next_arg(struct target *t)
{
	static int n;

	n++;
	if (t->id == KLP_SHARE_FUNCTIONS)
		return n % 3;	/* a scheduling policy */
	return t->id == KLP_SHARE_RECURSE ? n % 5 : n % 90;
}

/* Runs that BPF left out, for one of another task was not over on that processor */
static int missed_runs(struct target *t, enum party p)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (!admitted(t, p) ||
	    bpf_prog_get_info_by_fd(bpf_program__fd(program(t, p)), &info, &len))
		return 0;
	return info.recursion_misses;
}

static void check_program(struct target *t, enum party p, int runs)
{
	struct direct_share_runs *seen = &t->skel->bss->runs[parties[p].prog];

	if (!now.attached[p] || !admitted(t, p))
		runs = 0;
	if (seen->entry != (parties[p].entry ? runs : 0) ||
	    seen->exit != (parties[p].exit ? runs : 0))
		complain("%s: %s ran %llu times before and %llu after %d calls", t->function,
			 parties[p].name, seen->entry, seen->exit, runs);
	if (seen->wrong)
		complain("%s: %s was given wrong values in %llu runs", t->function,
			 parties[p].name, seen->wrong);
}

struct hits {
	int pre, post, direct;
};

static struct hits module_hits(void)
{
	struct hits h = {};

	if (now.attached[KPROBE_POST])
		h.pre = module_number(parties[KPROBE_POST].module, "parameters/hits", &h.post);
	if (any_attached(DIRECT))
		h.direct = module_number(parties[DIRECT_CALLER].module, "parameters/hits", NULL);
	return h;
}

static void check_hits(struct target *t, struct hits before, int runs)
{
	struct hits h = module_hits();
	int p, hits;

	h.pre -= before.pre;
	h.post -= before.post;
	h.direct -= before.direct;
	if (now.attached[KPROBE_POST] && (h.pre != runs || h.post != runs))
		complain("%s: %s hit %d, %d times in %d calls", t->function,
			 parties[KPROBE_POST].name, h.pre, h.post, runs);
	if (any_attached(DIRECT) && h.direct != runs)
		complain("%s: direct caller hit %d times in %d calls", t->function, h.direct, runs);
	for (p = FUNCTION_TRACER; p <= GRAPH_TRACER; p++) {
		if (!now.attached[p])
			continue;
		hits = tracer_hits(p, t->function);
		if (hits != runs)
			complain("%s: %s saw %d of %d calls", t->function, parties[p].name, hits,
				 runs);
	}
}

static bool direct_owner(struct target *t)
{
	int p;

	for (p = FENTRY; p <= FSESSION_MULTI; p++)
		if (now.attached[p] && admitted(t, p))
			return true;
	return any_attached(DIRECT);
}

/* A module's own trampoline cannot be rebuilt, so it is asked on each call */
static const char *expected_mode(struct target *t, bool settled, int others)
{
	bool direct = direct_owner(t);

	if (others)
		return "listed";
	if (!settled || held)
		return direct ? "paired" : "solo";
	if (any_attached(DIRECT))
		return "paired";
	return direct ? "fused" : "settled";
}

/* function [module] mode redirect target direct others */
static void check_direct_share(struct target *t, bool in_transition)
{
	int others = now.attached[FUNCTION_TRACER] + now.attached[GRAPH_TRACER] +
		     (now.probed && !now.redirected);
	bool settled = can_settle && now.height && !in_transition;
	bool direct = direct_owner(t);
	char mode[16], redirect[80], where[80], call[80];
	char *text, *line, *at, want[80];
	unsigned int nr;

	if (!have_direct_share)
		return;
	text = read_file(TRACEFS "/direct_share");
	if (!text || text[0] != '#') {
		complain("direct_share has no header");
		return;
	}
	line = line_of(text, t->function);
	if (!redirected()) {
		if (line)
			complain("direct_share: %.*s", (int)strcspn(line, "\n"), line);
		return;
	}
	if (!line) {
		complain("%s is not in direct_share", t->function);
		return;
	}

	at = line + strlen(t->function);
	at += strspn(at, " ");
	if (*at == '[')
		at += strcspn(at, "]") + 1;
	if (sscanf(at, "%15s %79s %79s %79s %u", mode, redirect, where, call, &nr) != 5) {
		complain("direct_share: %.*s", (int)strcspn(line, "\n"), line);
		return;
	}
	if (now.height)
		snprintf(want, sizeof(want), "livepatch:%s",
			 party_module(now.stack[now.height - 1]));
	else
		snprintf(want, sizeof(want), "kprobe");
	if (strcmp(mode, expected_mode(t, settled, others)) ||
	    strcmp(redirect, want) ||
	    (!strcmp(call, "-")) == direct || nr != others ||
	    ((in_transition || settled) && !strcmp(where, "dynamic") == settled))
		complain("direct_share, %s wanted: %.*s", expected_mode(t, settled, others),
			 (int)strcspn(line, "\n"), line);
}

static void check_target(struct target *t)
{
	int add = now_added(), arg = next_arg(t), runs = expected_runs(t, arg);
	struct hits before = module_hits();
	long ret[2], want[2];
	int p, err;

	memset(t->skel->bss->runs, 0, sizeof(t->skel->bss->runs));
	expected_return(t, arg, add, want);
	expect_in_programs(t, arg, add, add);

	err = call_target(t, arg, KLP_SHARE_CALL, ret);
	if (err)
		complain("%s: the call failed: %s", t->function, strerror(-err));
	else if (ret[0] != want[0] || ret[1] != want[1])
		complain("%s(%d) returned %ld, %ld and not %ld, %ld", t->function, arg,
			 ret[0], ret[1], want[0], want[1]);

	for (p = FENTRY; p <= BPF_KP; p++)
		check_program(t, p, runs);
	check_hits(t, before, runs);
	check_direct_share(t, false);
}

static void check(void)
{
	int i;

	for (i = 0; i < nr_targets; i++)
		check_target(targets[i]);
}

static bool nop_at_site(struct target *t)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	static const __u8 nop[] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };

	if (!t->skel->bss->function)
		return true;	/* fentry has not been there to tell where it is */
	if (bpf_prog_test_run_opts(bpf_program__fd(t->skel->progs.read_text), &opts) || opts.retval)
		return false;
	return memmem(t->skel->bss->text, sizeof(t->skel->bss->text), nop, sizeof(nop));
}

static int base_refcount, base_taint;

#define TAINT_WARN	512

static int taint(void)
{
	char *text = read_file("/proc/sys/kernel/tainted");

	return text ? atoi(text) & TAINT_WARN : 0;
}

/* Nothing is left of all that was attached. */
static void check_gone(void)
{
	char *text;
	int i, n;

	for (i = 0; i < PARTIES; i++)
		if (parties[i].module && module_loaded(party_module(i)))
			complain("%s is still loaded", party_module(i));
	n = module_number(TARGET_MODULE, "refcnt", NULL);
	if (n != base_refcount)
		complain("%s has %d references, not %d", TARGET_MODULE, n, base_refcount);
	text = read_file(TRACEFS "/enabled_functions");
	for (i = 0; i < nr_targets; i++) {
		if (!text || line_of(text, targets[i]->function))
			complain("%s is still in enabled_functions", targets[i]->function);
		if (!nop_at_site(targets[i]))
			complain("%s does not start with a nop", targets[i]->function);
	}
	text = have_direct_share ? read_file(TRACEFS "/direct_share") : NULL;
	for (i = 0; i < nr_targets; i++)
		if (text && line_of(text, targets[i]->function))
			complain("%s is still in direct_share", targets[i]->function);
	if (!base_taint && taint()) {
		base_taint = TAINT_WARN;
		complain("the kernel warned, see its log");
	}
}

/*
 * One case: attach in one order, detach in another one
 */

static void do_attach(enum party p)
{
	int err, want = expected_error(p);

	step("%s+%s", steps[0] ? " " : "", parties[p].name);
	err = attach(p);
	if (!err)
		now_attached(p);
	if (err != want)
		complain("attaching it gave %d (%s) and not %d", err, strerror(-err), want);
	else if (want)
		step("(refused)");
}

static void do_detach(enum party p)
{
	int err;

	if (!now.attached[p])
		return;
	step(" -%s", parties[p].name);
	err = detach(p);
	if (err)
		complain("detaching it gave %d (%s)", err, strerror(-err));
	now_detached(p);
}

static void detach_all(void)
{
	int p;

	for (p = PARTIES - 1; p >= 0; p--)
		do_detach(p);
}

static void run_case(const enum party *in, const enum party *out, int n)
{
	int i, old = complaints;

	steps[0] = 0;
	for (i = 0; i < n && complaints == old; i++) {
		do_attach(in[i]);
		if (complaints == old)
			check();
	}
	for (i = 0; i < n && complaints == old; i++) {
		do_detach(out[i]);
		if (complaints == old)
			check();
	}
	detach_all();
	check_gone();
}

/*
 * Sections
 */

static struct target *new_target(const char *function, int id)
{
	struct target *t = calloc(1, sizeof(*t));

	if (!t)
		ksft_exit_fail_msg("out of memory\n");
	t->function = function;
	t->id = id;
	t->in_module = id != KLP_SHARE_FUNCTIONS;
	t->other = t->in_module ? "klp_share_target_other" : "bpf_fentry_test1";
	t->fmod_ret = id == KLP_SHARE_ONE || id == KLP_SHARE_FUNCTIONS;
	t->no_bpf = id == KLP_SHARE_PAIR;
	t->no_fexit = id == KLP_SHARE_WIDE;
	targets[nr_targets++] = t;
	return t;
}

static struct direct_share *load_programs(struct target *t)
{
	struct direct_share *skel = direct_share__open();
	struct bpf_program *prog;
	int p, err;

	if (!skel)
		ksft_exit_fail_perror("cannot open the BPF programs");
	bpf_object__for_each_program(prog, skel->obj)
		bpf_program__set_autoload(prog, false);
	bpf_program__set_autoload(skel->progs.read_text, true);
	t->skel = skel;
	for (p = FENTRY; p <= BPF_KP; p++) {
		if (!admitted(t, p))
			continue;
		prog = program(t, p);
		bpf_program__set_autoload(prog, true);
		if (parties[p].kind != PROGRAM || parties[p].multi)
			continue;
		err = bpf_program__set_attach_target(prog, 0, t->function);
		if (err)
			ksft_exit_fail_msg("no BTF of %s: %s\n", t->function, strerror(-err));
	}
	err = direct_share__load(skel);
	if (err)
		ksft_exit_fail_msg("cannot load the BPF programs of %s: %s\n", t->function,
				   strerror(-err));
	/* The functions of the module are called by nobody else. */
	skel->bss->pid = t->in_module ? 0 : getpid();
	return skel;
}

static void module_comes(void)
{
	target_comes();
	module_btf = btf__load_module_btf(TARGET_MODULE, vmlinux_btf);
	if (!module_btf)
		ksft_exit_fail_perror("no BTF of " TARGET_MODULE);
}

static void programs_come(void)
{
	int i;

	for (i = 0; i < nr_targets; i++)
		load_programs(targets[i]);
	if (filter_tracer(FUNCTION_TRACER) || filter_tracer(GRAPH_TRACER))
		ksft_exit_fail_perror("cannot set the tracers' filters");
	base_refcount = module_number(TARGET_MODULE, "refcnt", NULL);
}

static void programs_go(void)
{
	int i;

	for (i = 0; i < nr_targets; i++) {
		direct_share__destroy(targets[i]->skel);
		targets[i]->skel = NULL;
	}
}

static int module_goes(void)
{
	close(share_fd);
	btf__free(module_btf);
	return unload_module(TARGET_MODULE);
}

static void begin_section(const char *livepatch)
{
	patch_module = livepatch;
	module_comes();
	programs_come();
}

/* The last result of each section */
static void end_section(void)
{
	int err;

	programs_go();
	err = module_goes();
	if (err)
		complain("%s does not unload: %s", TARGET_MODULE, strerror(-err));
	while (nr_targets)
		free(targets[--nr_targets]);
	result("%s unloads when all is done", TARGET_MODULE);
}

static bool full;
static const char *match = "", *except;
static int part = 1, nr_parts = 1;
static unsigned int cases;

/* Is it among those that were asked for, by number and by name? */
static bool wanted(int n, const char *fmt, ...)
{
	char name[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(name, sizeof(name), fmt, args);
	va_end(args);
	if (n % nr_parts != part - 1 || !strstr(name, match) ||
	    (except && strstr(name, except)))
		return false;
	cases++;
	return true;
}

/* These two are one module. */
static bool together(enum party a, enum party b)
{
	return parties[a].kind != DIRECT || parties[b].kind != DIRECT;
}

static int walk_pairs(bool run)
{
	int a, b, nr = 0, results = 0;

	for (a = 0; a < PARTIES; a++) {
		for (b = a + 1; b < PARTIES; b++) {
			enum party ab[] = { a, b }, ba[] = { b, a };

			if (!together(a, b) ||
			    !wanted(nr++, "%s, %s", parties[a].name, parties[b].name))
				continue;
			results++;
			if (!run)
				continue;
			run_case(ab, ab, 2);
			run_case(ab, ba, 2);
			run_case(ba, ab, 2);
			run_case(ba, ba, 2);
			result("pair: %s, %s", parties[a].name, parties[b].name);
		}
	}
	return results;
}

static int pairs(bool run)
{
	if (!run)
		return walk_pairs(false) + 1;

	new_target("klp_share_target_one", KLP_SHARE_ONE);
	begin_section("test_klp_share_patch");
	walk_pairs(true);
	end_section();
	return 0;
}

static const int orders[6][3] = {
	{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
};

static void run_triple(const enum party *abc, int rotation)
{
	enum party in[3], out[3];
	int i, j, k, last;

	for (i = 0; i < 6; i++) {
		last = full ? 6 : 1;
		for (j = 0; j < last; j++) {
			for (k = 0; k < 3; k++) {
				in[k] = abc[orders[i][k]];
				out[k] = abc[orders[(i + j + rotation) % 6][k]];
			}
			run_case(in, out, 3);
		}
	}
}

static bool is_bpf(enum party p)
{
	return parties[p].kind == PROGRAM || parties[p].kind == BPF_KPROBE;
}

static int walk_triples(bool run)
{
	int a, b, c, nr = 0, results = 0;

	/* Livepatches are first in the list. */
	for (a = 0; a < PARTIES && parties[a].kind == LIVEPATCH; a++) {
		for (b = a + 1; b < PARTIES; b++) {
			for (c = b + 1; c < PARTIES; c++) {
				if ((!is_bpf(b) && !is_bpf(c)) || !together(b, c))
					continue;
				/* Without a first one it is like the first one. */
				if (a == PATCH2 && parties[b].kind != LIVEPATCH)
					continue;
				if (!wanted(nr++, "%s, %s, %s", parties[a].name, parties[b].name,
					    parties[c].name))
					continue;
				results++;
				if (!run)
					continue;
				run_triple((enum party[]){ a, b, c }, nr);
				result("triple: %s, %s, %s", parties[a].name, parties[b].name,
				       parties[c].name);
			}
		}
	}
	return results;
}

static int triples(bool run)
{
	if (!run)
		return walk_triples(false) + 1;

	new_target("klp_share_target_one", KLP_SHARE_ONE);
	begin_section("test_klp_share_patch");
	walk_triples(true);
	end_section();
	return 0;
}

/*
 * A livepatch with each of the others, in both orders of attach and of detach but
 * not all combinations of them, for functions that are not as simple. BPF lets
 * fmod_ret programs have some functions only, not always one of these.
 */
static int with_livepatch(bool run, const char *what, bool fmod_ret)
{
	int p, results = 0;

	for (p = FENTRY; p < PARTIES; p++) {
		enum party ab[] = { PATCH, p }, ba[] = { p, PATCH };

		if (p == FMOD_RET && !fmod_ret)
			continue;
		results++;
		if (!run)
			continue;
		run_case(ab, ba, 2);
		run_case(ba, ab, 2);
		result("%s: livepatch, %s", what, parties[p].name);
	}
	return results;
}

/* Is a program of this type refused, whether there is a livepatch or not? */
static void check_refused(struct target *t, enum party p, int want)
{
	struct direct_share *skel = direct_share__open(), *old = t->skel;
	struct bpf_program *prog;
	struct bpf_link *link;
	int err;

	if (!skel)
		ksft_exit_fail_perror("cannot open the BPF programs");
	bpf_object__for_each_program(prog, skel->obj)
		bpf_program__set_autoload(prog, false);
	t->skel = skel;
	prog = program(t, p);
	bpf_program__set_autoload(prog, true);
	err = parties[p].multi ? 0 : bpf_program__set_attach_target(prog, 0, t->function);
	if (!err)
		err = direct_share__load(skel);
	if (!err && parties[p].multi) {
		link = attach_multi(t, p);
		err = link ? 0 : -errno;
		bpf_link__destroy(link);
	}
	if (err != want)
		complain("%s: %s gave %d (%s) and not %d", t->function, parties[p].name, err,
			 strerror(-err), want);
	direct_share__destroy(skel);
	t->skel = old;
}

static void check_all_refused(void)
{
	int i, p;

	for (i = 0; i < nr_targets; i++)
		for (p = FENTRY; p <= FSESSION_MULTI; p++)
			if (p != FMOD_RET && !admitted(targets[i], p))
				check_refused(targets[i], p,
					      targets[i]->no_bpf ? -EINVAL : -EOPNOTSUPP);
}

static int shapes(bool run)
{
	if (!run)
		return with_livepatch(false, NULL, false) + 3;

	new_target("klp_share_target_many", KLP_SHARE_MANY);
	new_target("klp_share_target_pair", KLP_SHARE_PAIR);
	new_target("klp_share_target_wide", KLP_SHARE_WIDE);
	new_target("klp_share_target_by_value", KLP_SHARE_BY_VALUE);
	new_target("klp_share_target_recurse", KLP_SHARE_RECURSE);
	begin_section("test_klp_share_all");
	with_livepatch(true, "functions of every shape", false);
	check_all_refused();
	result("what BPF refuses without a livepatch");
	do_attach(PATCH);
	check_all_refused();
	detach_all();
	result("what BPF refuses with a livepatch is the same");
	end_section();
	return 0;
}

static int system_call(bool run)
{
	if (!run)
		return with_livepatch(false, NULL, true) + 1;

	new_target(SYSCALL, KLP_SHARE_FUNCTIONS);
	begin_section("test_klp_share_syscall");
	with_livepatch(true, "system call", true);
	end_section();
	return 0;
}

/* The livepatch stays while the module of the function goes and comes back. */
static int reload(bool run)
{
	int p, round, err, results = 0;

	if (!run) {
		for (round = 0; round < 2; round++)
			for (p = FENTRY; p < PARTIES; p++)
				results++;
		return results + 2 * 2 + 1;
	}

	patch_module = "test_klp_share_patch";
	do_attach(PATCH);
	for (round = 0; round < 2; round++) {
		new_target("klp_share_target_one", KLP_SHARE_ONE);
		module_comes();
		programs_come();
		for (p = FENTRY; p < PARTIES; p++) {
			steps[0] = 0;
			step("%s, module loaded", parties[PATCH].name);
			do_attach(p);
			check();
			do_detach(p);
			check();
			result("module that %s: livepatch, %s", round ? "came back" : "came later",
			       parties[p].name);
		}
		do_attach(FENTRY);
		close(share_fd);
		err = try_unload_module(TARGET_MODULE);
		if (err != -EWOULDBLOCK)
			complain("unloading it gave %d (%s)", err, strerror(-err));
		share_fd = open("/dev/klp_share", O_RDWR | O_CLOEXEC);
		check();
		do_detach(FENTRY);
		result("module stays while a program is attached to it");
		programs_go();
		err = module_goes();
		if (err)
			complain("unloading it gave %d (%s)", err, strerror(-err));
		free(targets[--nr_targets]);
		result("module unloads while the livepatch stays");
	}
	new_target("klp_share_target_one", KLP_SHARE_ONE);
	module_comes();
	programs_come();
	check();
	do_detach(PATCH);
	check();
	check_gone();
	end_section();
	return 0;
}

/*
 * A transition that lasts. A child sleeps in a function that the livepatch
 * replaces, so the livepatch waits for it; all others change at once.
 */

#define BURST	20

/* Many calls by several tasks, and none of them by the sleeper if it is 0 */
static void burst(struct target *t, int add, pid_t sleeper, int odd_add)
{
	pid_t children[2];
	long ret[2];
	int i, j, wrong = 0, status;

	for (i = 0; i < 2; i++) {
		children[i] = fork();
		if (children[i] < 0)
			ksft_exit_fail_perror("fork");
		if (children[i])
			continue;
		for (j = 0; j < BURST; j++) {
			if (call_target(t, j, KLP_SHARE_CALL, ret) || ret[0] != j + add)
				wrong++;
			if (!(j % 4))
				sched_yield();
		}
		_exit(wrong);
	}
	for (j = 0; j < BURST; j++)
		if (call_target(t, j, KLP_SHARE_CALL_ASLEEP, ret) || ret[0] != j + odd_add)
			wrong++;
	if (wrong)
		complain("%d of %d calls by the task that waits ran the wrong version", wrong,
			 BURST);
	for (i = 0; i < 2; i++) {
		status = 0;
		waitpid(children[i], &status, 0);
		if (status)
			complain("%d of %d calls by another task ran the wrong version",
				 WEXITSTATUS(status), BURST);
	}
}

/* As check_program(), but some of the runs may be missed. */
static void check_many_runs(struct target *t, enum party p, int runs, int missed)
{
	struct direct_share_runs *seen = &t->skel->bss->runs[parties[p].prog];

	if (!now.attached[p])
		runs = 0;
	if (seen->entry + seen->exit + missed != runs * (parties[p].entry + parties[p].exit))
		complain("%s ran %llu times before and %llu after %d calls, %d were missed",
			 parties[p].name, seen->entry, seen->exit, runs, missed);
	if (seen->wrong)
		complain("%s was given wrong values in %llu runs", parties[p].name, seen->wrong);
}

/* Two states at the same time: all get @add but the sleeper, who gets @odd_add. */
static void check_both(struct target *t, int add, pid_t sleeper, int odd_add)
{
	struct hits before = module_hits();
	int p, missed[PARTIES];

	for (p = FENTRY; p <= BPF_KP; p++)
		missed[p] = missed_runs(t, p);
	memset(t->skel->bss->runs, 0, sizeof(t->skel->bss->runs));
	expect_in_programs(t, 0, add, odd_add);
	/* They differ from task to task here. */
	t->skel->bss->nr_args = 0;
	t->skel->bss->odd_task = sleeper;
	burst(t, add, sleeper, odd_add);
	for (p = FENTRY; p <= BPF_KP; p++)
		check_many_runs(t, p, 3 * BURST, missed_runs(t, p) - missed[p]);
	check_hits(t, before, 3 * BURST);
	check_direct_share(t, true);
	t->skel->bss->odd_task = 0;
}

static void expect_woken(pid_t sleeper, int want)
{
	int is = wake_up(sleeper);

	if (is != want)
		complain("the sleeper's call returned %d and not %d", is, want);
}

static void expect_transition(const char *patch)
{
	if (!in_transition(patch))
		complain("the transition of %s does not wait", patch);
}

static void expect_no_transition(const char *patch)
{
	if (!wait_until(!in_transition(patch)))
		complain("the transition of %s does not end", patch);
}

/* The livepatch is loaded, or disabled, and cannot get any further. */
static void stall_loading(enum party p)
{
	int err;

	step(" +%s(waits)", parties[p].name);
	err = load_module(party_module(p), "");
	if (err)
		complain("loading it gave %d (%s)", err, strerror(-err));
	else
		expect_transition(party_module(p));
}

static void stall_disabling(enum party p)
{
	int err;

	step(" -%s(waits)", parties[p].name);
	err = disable_livepatch(party_module(p));
	if (err)
		complain("disabling it gave %d (%s)", err, strerror(-err));
	else
		expect_transition(party_module(p));
}

static void end_disabling(enum party p)
{
	int err;

	if (!wait_until(!exists(KLP "/%s", party_module(p))))
		complain("the transition does not end");
	err = unload_module(party_module(p));
	if (err)
		complain("unloading it gave %d (%s)", err, strerror(-err));
	now_detached(p);
}

static void attach_company(const enum party *company, int n)
{
	int i;

	for (i = 0; i < n; i++)
		do_attach(company[i]);
}

static void detach_company(const enum party *company, int n)
{
	int i;

	for (i = 0; i < n; i++)
		do_detach(company[i]);
}

/* The programs are there all the time, the livepatch comes and goes slowly. */
static void stalled_after(const enum party *company, int n)
{
	struct target *t = targets[0];
	pid_t sleeper;

	attach_company(company, n);
	check();

	sleeper = fall_asleep();
	stall_loading(PATCH);
	now_attached(PATCH);
	check_both(t, 100, sleeper, 0);
	expect_woken(sleeper, 1);
	expect_no_transition(party_module(PATCH));
	step(" (patched)");
	check();

	sleeper = fall_asleep();
	stall_disabling(PATCH);
	check_both(t, 0, sleeper, 100);
	expect_woken(sleeper, 101);
	end_disabling(PATCH);
	step(" (gone)");
	check();
	detach_company(company, n);
}

/*
 * The programs come and go while a livepatch waits, and while it waits to be
 * replaced by one that leaves the function alone.
 */
static void stalled_meanwhile(const enum party *company, int n)
{
	struct target *t = targets[0];
	pid_t sleeper;

	sleeper = fall_asleep();
	stall_loading(PATCH);
	now_attached(PATCH);
	attach_company(company, n);
	check_both(t, 100, sleeper, 0);
	detach_company(company, n);
	check_both(t, 100, sleeper, 0);
	expect_woken(sleeper, 1);
	expect_no_transition(party_module(PATCH));
	step(" (patched)");
	attach_company(company, n);
	check();

	sleeper = fall_asleep();
	stall_loading(REPLACE_OTHER);
	check_both(t, 0, sleeper, 100);
	detach_company(company, n);
	check_both(t, 0, sleeper, 100);
	attach_company(company, n);
	check_both(t, 0, sleeper, 100);
	expect_woken(sleeper, 101);
	expect_no_transition(party_module(REPLACE_OTHER));
	now_attached(REPLACE_OTHER);
	step(" (replaced)");
	check();
	detach_company(company, n);
	check();
	do_detach(PATCH);
	do_detach(REPLACE_OTHER);
}

static const struct company {
	const char *name;
	int n;
	enum party who[10];
} companies[] = {
	{ "fentry", 1, { FENTRY } },
	{ "fexit", 1, { FEXIT } },
	{ "fmod_ret", 1, { FMOD_RET } },
	{ "fsession", 1, { FSESSION } },
	{ "fentry.multi", 1, { FENTRY_MULTI } },
	{ "fexit.multi", 1, { FEXIT_MULTI } },
	{ "fsession.multi", 1, { FSESSION_MULTI } },
	{ "direct caller that follows", 1, { DIRECT_FOLLOWS } },
	{ "every type of program", 8, { FENTRY, FEXIT, FMOD_RET, FSESSION, FENTRY_MULTI,
					FEXIT_MULTI, FSESSION_MULTI, BPF_KP } },
	{ "fexit and tracers", 3, { FEXIT, FUNCTION_TRACER, GRAPH_TRACER } },
};

static int stalled(bool run)
{
	const struct company *c;
	unsigned int i;

	if (!run)
		return 2 * ARRAY_SIZE(companies) + 1;

	new_target("klp_share_target_one", KLP_SHARE_ONE);
	begin_section("test_klp_share_all");
	for (i = 0; i < ARRAY_SIZE(companies); i++) {
		c = &companies[i];
		stalled_after(c->who, c->n);
		detach_all();
		check_gone();
		result("transition that waits: %s, then the livepatch", c->name);
		stalled_meanwhile(c->who, c->n);
		detach_all();
		check_gone();
		result("transition that waits: livepatch, then %s", c->name);
	}
	end_section();
	return 0;
}

/*
 * Who moves the ip, and who leaves it alone: an unpatched task in a transition, the
 * nop of an atomic replace, a kprobe. A trampoline that goes on to where the ip points
 * enters the function behind its ENDBR then, which only a processor with IBT minds.
 */

static void ip_livepatch(enum party p)
{
	do_attach(PATCH);
	do_attach(p);
	check();
	do_detach(p);
	do_detach(PATCH);
}

static void ip_kprobe(enum party p)
{
	do_attach(KPROBE_POST);
	do_attach(p);
	check();
	do_detach(p);
	do_detach(KPROBE_POST);
}

static void ip_transition(enum party p)
{
	pid_t sleeper = fall_asleep();

	do_attach(p);
	stall_loading(PATCH);
	now_attached(PATCH);
	check_both(targets[0], 100, sleeper, 0);
	expect_woken(sleeper, 1);
	expect_no_transition(party_module(PATCH));
	check();
	do_detach(p);
	do_detach(PATCH);
}

static void ip_nop(enum party p)
{
	pid_t sleeper;

	do_attach(PATCH);
	sleeper = fall_asleep();
	stall_loading(REPLACE_OTHER);
	do_attach(p);
	check_both(targets[0], 0, sleeper, 100);
	expect_woken(sleeper, 101);
	expect_no_transition(party_module(REPLACE_OTHER));
	now_attached(REPLACE_OTHER);
	check();
	do_detach(p);
	do_detach(PATCH);
	do_detach(REPLACE_OTHER);
}

static const struct {
	const char *name;
	void (*run)(enum party p);
} ip_ways[] = {
	{ "livepatch", ip_livepatch },
	{ "kprobe with post_handler", ip_kprobe },
	{ "task that is not patched yet", ip_transition },
	{ "nop of an atomic replace", ip_nop },
};

static int who_moves_the_ip(bool run)
{
	static const enum party programs[] = { FENTRY, FEXIT, FMOD_RET, FSESSION };
	unsigned int i, way, prog;
	int results = 0;

	if (run) {
		new_target("klp_share_target_one", KLP_SHARE_ONE);
		begin_section("test_klp_share_all");
	}
	for (i = 0; i < ARRAY_SIZE(programs) * ARRAY_SIZE(ip_ways); i++) {
		prog = programs[i / ARRAY_SIZE(ip_ways)];
		way = i % ARRAY_SIZE(ip_ways);
		if (!wanted(i, "%s, %s", parties[prog].name, ip_ways[way].name))
			continue;
		results++;
		if (!run)
			continue;
		ip_ways[way].run(prog);
		detach_all();
		check_gone();
		result("ip: %s, %s", parties[prog].name, ip_ways[way].name);
	}
	if (run)
		end_section();
	return results + 1;
}

/*
 * The switch in tracefs: all sites are asked on each call, or none that need not
 */

static void hold(bool on)
{
	int err = write_file(TRACEFS "/direct_share", on ? "paired" : "fused");

	if (err)
		complain("writing to direct_share gave %d (%s)", err, strerror(-err));
	else
		held = on;
}

#define SWITCHES	10

/* Calls without pause while another task turns the switch */
static void call_while_switched(struct target *t)
{
	int p, i, calls = 0, wrong = 0, status = 0, missed[PARTIES];
	struct hits before = module_hits();
	pid_t child;
	long ret[2];

	for (p = FENTRY; p <= BPF_KP; p++)
		missed[p] = missed_runs(t, p);
	memset(t->skel->bss->runs, 0, sizeof(t->skel->bss->runs));
	t->skel->bss->nr_args = 0;
	t->skel->bss->want[0] = expected_in_program(t, 0, now_added());

	child = fork();
	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (!child) {
		for (i = 0; i < SWITCHES; i++)
			hold(!held);
		_exit(complaints);
	}
	while (!waitpid(child, &status, WNOHANG)) {
		if (call_target(t, calls % 90, KLP_SHARE_CALL, ret) ||
		    ret[0] != calls % 90 + now_added())
			wrong++;
		calls++;
	}
	if (status)
		complain("the switch does not turn");
	if (wrong)
		complain("%d of %d calls ran the wrong version", wrong, calls);
	for (p = FENTRY; p <= BPF_KP; p++)
		check_many_runs(t, p, calls, missed_runs(t, p) - missed[p]);
	if (any_attached(DIRECT) && module_hits().direct - before.direct != calls)
		complain("direct caller hit %d times in %d calls",
			 module_hits().direct - before.direct, calls);
	/* More than their buffers hold; the next to look is check_hits(). */
	for (p = FUNCTION_TRACER; p <= GRAPH_TRACER; p++)
		while (now.attached[p] && tracer_hits(p, t->function) > 0)
			;
}

static void switched(enum party p)
{
	do_attach(PATCH);
	do_attach(p);
	call_while_switched(targets[0]);
	hold(true);
	step(" (held)");
	check();
	do_detach(p);
	check();
	do_attach(p);
	check();
	hold(false);
	step(" (let go)");
	check();
	detach_all();
	check_gone();
}

static int switch_modes(bool run)
{
	enum party p;
	int err;

	if (!run)
		return PARTIES - FENTRY + 3;

	new_target("klp_share_target_one", KLP_SHARE_ONE);
	begin_section("test_klp_share_patch");
	if (!can_settle) {
		for (p = FENTRY; p < PARTIES; p++)
			ksft_test_result_skip("this kernel has no switch\n");
		ksft_test_result_skip("this kernel has no switch\n");
		ksft_test_result_skip("this kernel has no switch\n");
		end_section();
		return 0;
	}
	for (p = FENTRY; p < PARTIES; p++) {
		switched(p);
		result("switch: livepatch, %s", parties[p].name);
	}

	err = write_file(TRACEFS "/direct_share", "solo");
	if (err != -EINVAL)
		complain("a mode that is none of the switch's gave %d (%s)", err, strerror(-err));
	err = write_file(TRACEFS "/direct_share", "paired, or something as long as this");
	if (err != -EINVAL)
		complain("too many words gave %d (%s)", err, strerror(-err));
	result("switch: other words are refused");

	hold(true);
	do_attach(PATCH);
	check();
	detach_all();
	hold(false);
	do_attach(PATCH);
	check();
	detach_all();
	check_gone();
	result("switch: it holds for what comes later");
	end_section();
	return 0;
}

static const struct section {
	const char *name;
	int (*run)(bool run);	/* false: how many results will there be? */
} sections[] = {
	{ "pairs", pairs },
	{ "triples", triples },
	{ "shapes", shapes },
	{ "syscall", system_call },
	{ "reload", reload },
	{ "stalled", stalled },
	{ "ip", who_moves_the_ip },
	{ "switch", switch_modes },
};

static void print_usage(FILE *out)
{
	unsigned int i;

	fprintf(out,
		"usage: %s [--full] [--part=N/M] [--match=TEXT] [--except=TEXT] [--modules=DIR]\n"
		"       [--hold] [--list] [SECTION...]\n"
		"sections:", program_invocation_short_name);
	for (i = 0; i < ARRAY_SIZE(sections); i++)
		fprintf(out, " %s", sections[i].name);
	fprintf(out, "\n");
}

static const struct section *find_section(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sections); i++)
		if (!strcmp(sections[i].name, name))
			return &sections[i];
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "full", no_argument, NULL, 'f' },
		{ "part", required_argument, NULL, 'p' },
		{ "match", required_argument, NULL, 't' },
		{ "except", required_argument, NULL, 'e' },
		{ "modules", required_argument, NULL, 'm' },
		{ "hold", no_argument, NULL, 'H' },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	const struct section *chosen[ARRAY_SIZE(sections)];
	int option, nr = 0, plan = 0, i;
	bool list = false, hold_all = false;
	double start;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'f':
			full = true;
			break;
		case 'p':
			if (sscanf(optarg, "%d/%d", &part, &nr_parts) != 2 || part < 1 ||
			    part > nr_parts) {
				print_usage(stderr);
				return 2;
			}
			break;
		case 't':
			match = optarg;
			break;
		case 'e':
			except = optarg;
			break;
		case 'm':
			snprintf(module_dir, PATH_MAX, "%s", optarg);
			break;
		case 'H':
			hold_all = true;
			break;
		case 'l':
			list = true;
			break;
		case 'h':
			print_usage(stdout);
			return 0;
		default:
			print_usage(stderr);
			return 2;
		}
	}
	for (; optind < argc && nr < (int)ARRAY_SIZE(chosen); optind++) {
		chosen[nr] = find_section(argv[optind]);
		if (!chosen[nr++]) {
			print_usage(stderr);
			return 2;
		}
	}
	if (!nr)
		for (; nr < (int)ARRAY_SIZE(sections); nr++)
			chosen[nr] = &sections[nr];

	for (i = 0; i < nr; i++)
		plan += chosen[i]->run(false);
	if (!cases && (*match || except || nr_parts > 1)) {
		fprintf(stderr, "%s: there is no such case\n", argv[0]);
		return 2;
	}
	if (list) {
		printf("%d results\n", plan);
		return 0;
	}
	begin();
	have_direct_share = !access(TRACEFS "/direct_share", F_OK);
	if (!have_direct_share)
		ksft_print_msg("this kernel has no " TRACEFS "/direct_share\n");
	can_settle = is_writable(TRACEFS "/direct_share");
	ksft_print_msg("redirects of this kernel %s\n", can_settle ? "settle" : "stay dynamic");
	if (hold_all && !can_settle)
		ksft_exit_skip("and have no switch to hold them\n");
	if (hold_all)
		hold(true);
	base_taint = taint();
	vmlinux_btf = btf__load_vmlinux_btf();
	if (!vmlinux_btf)
		ksft_exit_fail_perror("no BTF of the kernel");
	make_instance(FUNCTION_TRACER);
	make_instance(GRAPH_TRACER);

	yield_rcu_tasks(SCHED_IDLE);
	ksft_set_plan(plan);
	for (i = 0; i < nr; i++) {
		start = seconds();
		chosen[i]->run(true);
		ksft_print_msg("%s took %.1f s\n", chosen[i]->name, seconds() - start);
	}

	if (hold_all)
		hold(false);
	yield_rcu_tasks(SCHED_OTHER);
	remove_instance(FUNCTION_TRACER);
	remove_instance(GRAPH_TRACER);
	btf__free(vmlinux_btf);
	ksft_finished();
}
