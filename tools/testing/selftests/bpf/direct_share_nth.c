// SPDX-License-Identifier: GPL-2.0

/*
 * Every allocation that fails, one after the other, in all that changes who is at a
 * fentry site: attach and detach a BPF program, enable, disable and replace a
 * livepatch, start and stop a tracer, hold all sites at paired.
 *
 *	direct_share_nth [--match=REGEX] [--stride=N] [--verbose] [--modules=DIR]
 *
 * Each operation is walked: with its first allocation failing, with its second one,
 * and so on until it needs none that fails (/proc/thread-self/fail-nth); then the
 * same with the calls of functions that can fail otherwise. For a kernel on which all
 * of that takes hours, --stride=N has the first allocation of a walk fail and then each
 * Nth, from a second one on that differs from walk to walk. After each failure
 *
 * - the error is the one that fits, and who was at the site is so as before: the
 *   function returns what it did, the program runs once for a call, the mode is
 *   the same;
 * - or it succeeded all the same, and what it was for is so;
 * - the next try, without a fault, succeeds;
 * - the kernel has not complained.
 *
 * At the end all goes, and nothing is left at the site. Whether memory leaked, only
 * kmemleak knows.
 *
 * Needs root, CONFIG_FAULT_INJECTION_DEBUG_FS, CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC,
 * and the modules of ../livepatch/test_modules. One processor, or the end of a livepatch
 * transition is the work of another task, in which nothing fails.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <regex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest.h"
#include "direct_share_party.h"
#include "direct_share_util.h"
#include "direct_share_faults.skel.h"

#define ONE		"klp_share_target_one"
#define PATCH		"test_klp_share_patch"
#define REPLACE		"test_klp_share_replace"
#define FAIL		"test_klp_share_fail"
#define FAULTS		"/sys/kernel/debug"
#define TRACER		"test_klp_share_tracer"
#define TRACED		"/sys/module/" TRACER "/parameters/traced"
#define SHARE		TRACEFS "/direct_share"

/* No operation allocates more often: a walk that gets there does not end. */
#define MAX_NTH		3000

static unsigned int stride = 1, walks_begun;
static bool verbose;

/**
 * struct state - who is at the site
 * @version:	what the livepatch in force adds, 0 without one
 * @program:	is the program attached?
 * @tracer:	is the function traced?
 * @held:	are all sites held at paired?
 */
struct state {
	int version;
	bool program, tracer, held;
};

static struct state now;
static struct party program;
/* The function's number in the BTF of its module */
static __u32 one_id;

/*
 * What fails
 */

/**
 * struct fault - a kind of failure
 * @name:	for messages
 * @function:	that fails, NULL for allocations of any kind
 * @ret:	what it returns then
 * @error:	what the operation returns then, 0 for one of those of allocations
 */
struct fault {
	const char *name, *function, *ret;
	int error;
};

static const struct fault faults[] = {
	{ "allocation" },
	{ "arch_prepare_bpf_trampoline", "arch_prepare_bpf_trampoline", "-12", -ENOMEM },
	{ "arch_alloc_bpf_trampoline", "arch_alloc_bpf_trampoline", "0", -ENOMEM },
	{ "klp_patch_object", "klp_patch_object", "-12", -ENOMEM },
};

static const struct fault *fault;
static int nth_fd = -1;

static void write_number(const char *path, unsigned int n)
{
	char text[16];
	int err;

	snprintf(text, sizeof(text), "%u", n);
	err = write_file(path, text);
	if (err)
		ksft_exit_fail_msg("%s: %s\n", path, strerror(-err));
}

static unsigned int read_number(const char *path)
{
	char *text = read_file(path);

	if (!text)
		ksft_exit_fail_perror(path);
	return strtoul(text, NULL, 10);
}

/* From here on, with no call that allocates for other reasons in between. */
static void arm(unsigned int nth)
{
	char text[16];
	int len;

	if (!nth)
		return;
	if (fault->function) {
		write_number("/sys/module/" FAIL "/parameters/nth", nth);
		return;
	}
	len = snprintf(text, sizeof(text), "%u", nth);
	if (pwrite(nth_fd, text, len, 0) != len)
		ksft_exit_fail_perror("fail-nth");
}

/* Returns whether something failed. */
static bool disarm(unsigned int nth)
{
	char text[16] = "";
	unsigned int left;

	if (!nth)
		return false;
	if (fault->function) {
		left = read_number("/sys/module/" FAIL "/parameters/nth");
		write_number("/sys/module/" FAIL "/parameters/nth", 0);
		return !left;
	}
	/* That one of these two calls is what fails tells that nothing has before. */
	if (pread(nth_fd, text, sizeof(text) - 1, 0) < 0)
		return false;
	left = strtoul(text, NULL, 10);
	if (pwrite(nth_fd, "0", 1, 0) != 1 && pwrite(nth_fd, "0", 1, 0) != 1)
		ksft_exit_fail_perror("fail-nth");
	return !left;
}

/* All allocations can fail, and none of them fills the log. */
static void prepare_faults(void)
{
	static const char *const files[][2] = {
		{ FAULTS "/failslab/ignore-gfp-wait", "N" },
		{ FAULTS "/failslab/verbose", "0" },
		{ FAULTS "/fail_page_alloc/ignore-gfp-wait", "N" },
		{ FAULTS "/fail_page_alloc/ignore-gfp-highmem", "N" },
		{ FAULTS "/fail_page_alloc/min-order", "0" },
		{ FAULTS "/fail_page_alloc/verbose", "0" },
	};
	unsigned int i;

	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth_fd < 0)
		ksft_exit_skip("no CONFIG_FAULT_INJECTION\n");
	for (i = 0; i < ARRAY_SIZE(files); i++)
		if (write_file(files[i][0], files[i][1]))
			ksft_exit_skip("no %s\n", files[i][0]);
	/* Not there in each kernel. */
	write_file(FAULTS "/fail_usercopy/verbose", "0");
	/* A page of ours that comes late is no allocation of the operation. */
	mlockall(MCL_CURRENT | MCL_FUTURE);
}

/*
 * Operations: each returns an error, and whether something failed
 */

static int attach(unsigned int nth, bool *failed)
{
	int err;

	arm(nth);
	if (strstr(bpf_program__name(program.prog), "multi"))
		err = attach_party_to_ids(&program, &one_id, 1);
	else
		err = attach_party(&program);
	*failed = disarm(nth);
	return err;
}

/* Nobody hears of an error of the kernel's: it has to go. */
static int detach(unsigned int nth, bool *failed)
{
	int err;

	arm(nth);
	err = detach_party(&program);
	*failed = disarm(nth);
	return err;
}

/*
 * Loading a module allocates a lot that is none of our business, so that it is told
 * to have one of livepatch's allocations fail.
 */
static int enable_patch(const char *name, unsigned int nth, bool *failed)
{
	char param[64] = "", path[128];
	int err;

	if (fault->function)
		arm(nth);
	else
		snprintf(param, sizeof(param), "fail_nth=%u", nth);
	err = load_module(name, param);
	if (fault->function) {
		*failed = disarm(nth);
	} else if (err) {
		*failed = nth;
	} else {
		snprintf(path, sizeof(path), "/sys/module/%s/parameters/fail_nth", name);
		*failed = nth && !read_number(path);
	}
	if (!err && !wait_until(!in_transition(name)))
		return -ETIMEDOUT;
	return err;
}

static int disable_patch(const char *name, unsigned int nth, bool *failed)
{
	char path[128];
	int fd, err = 0;

	snprintf(path, sizeof(path), KLP "/%s/enabled", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	arm(nth);
	if (write(fd, "0", 1) != 1)
		err = -errno;
	*failed = disarm(nth);
	close(fd);
	return err ?: unload_livepatch(name);
}

static int enable(unsigned int nth, bool *failed)
{
	return enable_patch(PATCH, nth, failed);
}

static int disable(unsigned int nth, bool *failed)
{
	return disable_patch(PATCH, nth, failed);
}

static int replace(unsigned int nth, bool *failed)
{
	int err = enable_patch(REPLACE, nth, failed);

	return err ?: unload_livepatch(PATCH);
}

static int undo_replace(void)
{
	bool failed;

	return disable_patch(REPLACE, 0, &failed) ?: enable_patch(PATCH, 0, &failed);
}

/* An open file, so that only the write of its text is part of the operation. */
static int put(const char *path, const char *text, unsigned int nth, bool *failed)
{
	int fd, err = 0;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	arm(nth);
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	*failed = disarm(nth);
	close(fd);
	return err;
}

static int trace(unsigned int nth, bool *failed)
{
	return put(TRACED, "1", nth, failed);
}

static int untrace(unsigned int nth, bool *failed)
{
	return put(TRACED, "0", nth, failed);
}

static int hold(unsigned int nth, bool *failed)
{
	return put(SHARE, "paired", nth, failed);
}

static int release(unsigned int nth, bool *failed)
{
	return put(SHARE, "fused", nth, failed);
}

/*
 * What is so
 */

static const char *mode_of_site(void)
{
	static char mode[16];
	char *text = read_file(SHARE), *line = text ? line_of(text, ONE) : NULL;

	/* Without the file there are no modes to get wrong. */
	if (!text)
		return NULL;
	if (!line || sscanf(line, "%*s %*s %15s", mode) != 1)
		return "none";
	return mode;
}

/* The mode in which a site with these owners is when nothing has failed */
static const char *mode_for(const struct state *s)
{
	if (!s->version)
		return "none";
	if (s->tracer)
		return "listed";
	if (!s->program)
		return s->held ? "solo" : "settled";
	return s->held ? "paired" : "fused";
}

/*
 * A livepatch whose end of a transition could not be told to all stays with what
 * it had in the transition, which is only slower.
 */
static bool mode_is_right(const struct state *s, const char *mode, bool spared)
{
	const char *want = mode_for(s);

	if (!mode || !strcmp(mode, want))
		return true;
	return spared && ((!strcmp(want, "fused") && !strcmp(mode, "paired")) ||
			  (!strcmp(want, "settled") && !strcmp(mode, "solo")));
}

/* @spared: the operation got by without what failed */
static bool is_so(const struct state *s, bool spared, const char *when)
{
	const char *complaint, *mode;
	int runs, before, err;
	long ret = -1;

	before = program.skel ? program.skel->bss->runs : 0;
	err = call_function(KLP_SHARE_ONE, 1, KLP_SHARE_CALL, &ret);
	runs = program.skel ? program.skel->bss->runs - before : 0;
	mode = mode_of_site();
	complaint = kernel_complaint();
	if (!err && ret == 1 + s->version && runs == s->program &&
	    mode_is_right(s, mode, spared) && !complaint)
		return true;
	ksft_print_msg("%s: call: %s, returned %ld for %d, program ran %d times for %d, mode %s for %s%s%s\n",
		       when, err ? strerror(-err) : "ok", ret, 1 + s->version, runs, s->program,
		       mode ?: "unknown", mode_for(s), complaint ? ", the kernel: " : "", complaint ?: "");
	return false;
}

/*
 * The walk
 */

/**
 * struct operation - something that changes who is at a site
 * @name:	for messages
 * @go:		does it
 * @back:	does its opposite
 * @undo:	as @back, where that is not one operation
 * @change:	makes the state after it of the one before
 */
struct operation {
	const char *name;
	int (*go)(unsigned int nth, bool *failed);
	int (*back)(unsigned int nth, bool *failed);
	int (*undo)(void);
	void (*change)(struct state *s);
};

static void change_attach(struct state *s)
{
	s->program = true;
}

static void change_detach(struct state *s)
{
	s->program = false;
}

static void change_enable(struct state *s)
{
	s->version = 100;
}

static void change_disable(struct state *s)
{
	s->version = 0;
}

static void change_replace(struct state *s)
{
	s->version = 300;
}

static void change_trace(struct state *s)
{
	s->tracer = true;
}

static void change_untrace(struct state *s)
{
	s->tracer = false;
}

static void change_hold(struct state *s)
{
	s->held = true;
}

static void change_release(struct state *s)
{
	s->held = false;
}

static const struct operation
	op_attach = { "attach", attach, detach, NULL, change_attach },
	op_detach = { "detach", detach, attach, NULL, change_detach },
	op_enable = { "enable", enable, disable, NULL, change_enable },
	op_disable = { "disable", disable, enable, NULL, change_disable },
	op_replace = { "replace", replace, NULL, undo_replace, change_replace },
	op_trace = { "trace", trace, untrace, NULL, change_trace },
	op_untrace = { "untrace", untrace, trace, NULL, change_untrace },
	op_hold = { "hold", hold, release, NULL, change_hold },
	op_release = { "release", release, hold, NULL, change_release };

static bool error_fits(int err)
{
	if (fault->error)
		return err == fault->error;
	/* EFAULT: what failed was a copy from or to us (fail_usercopy). */
	return err == -ENOMEM || err == -EFAULT;
}

static int go_back(const struct operation *op)
{
	bool failed;

	return op->undo ? op->undo() : op->back(0, &failed);
}

/* It was done: is it so, and is it as before when it has been undone? */
static bool done_and_undone(const struct operation *op, const struct state *after, bool spared,
			    const char *when)
{
	bool right = is_so(after, spared, when);
	int err = go_back(op);

	if (err) {
		ksft_print_msg("%s: cannot be undone: %s\n", when, strerror(-err));
		return false;
	}
	return is_so(&now, false, "undone") && right;
}

static bool walk(const struct operation *op)
{
	unsigned int nth, step = fault->function ? 1 : stride, refused = 0, spared = 0;
	unsigned int second = 2 + walks_begun++ % step;
	struct state after = now;
	bool failed, again;
	char when[64];
	int err;

	op->change(&after);
	for (nth = 1; nth < MAX_NTH; nth = nth == 1 ? second : nth + step) {
		snprintf(when, sizeof(when), "%s, %s %u fails", op->name, fault->name, nth);
		err = op->go(nth, &failed);
		if (!failed)
			break;
		if (verbose)
			ksft_print_msg("%s: %s\n", when, err ? strerror(-err) : "spared");
		if (!err) {
			spared++;
			if (!done_and_undone(op, &after, true, when))
				return false;
			continue;
		}
		refused++;
		if (!error_fits(err)) {
			ksft_print_msg("%s: %s\n", when, strerror(-err));
			return false;
		}
		if (!is_so(&now, false, when))
			return false;
		snprintf(when, sizeof(when), "%s after a failure", op->name);
		err = op->go(0, &again);
		if (err) {
			ksft_print_msg("%s: %s\n", when, strerror(-err));
			return false;
		}
		if (!done_and_undone(op, &after, false, when))
			return false;
	}
	if (err) {
		ksft_print_msg("%s without a failure: %s\n", op->name, strerror(-err));
		return false;
	}
	if (!done_and_undone(op, &after, false, op->name))
		return false;
	ksft_print_msg("%u failures: %u refused, %u spared\n", refused + spared, refused, spared);
	return nth < MAX_NTH && refused + spared;
}

/*
 * Grounds to walk on
 */

static void go_to(const struct operation *op)
{
	bool failed;
	int err = op->go(0, &failed);

	if (err)
		ksft_exit_fail_msg("%s: %s\n", op->name, strerror(-err));
	op->change(&now);
}

static void clear_ground(void)
{
	if (now.tracer)
		go_to(&op_untrace);
	if (now.program)
		go_to(&op_detach);
	if (now.version)
		go_to(&op_disable);
	if (now.held)
		go_to(&op_release);
}

static void walk_from(const struct state *ground, const char *type, const struct operation *op)
{
	char name[256];

	if (ground->version)
		go_to(&op_enable);
	if (ground->program)
		go_to(&op_attach);
	if (ground->tracer)
		go_to(&op_trace);
	if (ground->held)
		go_to(&op_hold);
	snprintf(name, sizeof(name), "%s: %s%s, at %s%s%s%s", fault->name, op->name,
		 op == &op_attach ? type : "",
		 ground->version ? "a livepatched" : "a", " function",
		 ground->program ? type : "", ground->tracer ? " with a tracer" : "");
	/* If it is not as it was, nothing that follows would say anything. */
	if (!walk(op)) {
		ksft_test_result_fail("%s\n", name);
		ksft_finished();
	}
	ksft_test_result_pass("%s\n", name);
	clear_ground();
}

/**
 * struct scene - an operation, and where
 * @op:		the operation
 * @ground:	who is at the site before it
 * @types:	with each type of program, not only one of them or none
 */
struct scene {
	const struct operation *op;
	struct state ground;
	bool types;
};

static const struct scene scenes[] = {
	{ &op_attach, { 0 }, true },
	{ &op_attach, { .version = 100 }, true },
	{ &op_attach, { .version = 100, .tracer = true } },
	{ &op_attach, { .version = 100, .held = true } },
	{ &op_detach, { .program = true }, true },
	{ &op_detach, { .version = 100, .program = true }, true },
	{ &op_detach, { .version = 100, .program = true, .tracer = true } },
	{ &op_enable, { 0 } },
	{ &op_enable, { .program = true }, true },
	{ &op_enable, { .program = true, .tracer = true } },
	{ &op_disable, { .version = 100 } },
	{ &op_disable, { .version = 100, .program = true }, true },
	{ &op_disable, { .version = 100, .program = true, .tracer = true } },
	{ &op_replace, { .version = 100 } },
	{ &op_replace, { .version = 100, .program = true }, true },
	{ &op_trace, { .version = 100, .program = true } },
	{ &op_untrace, { .version = 100, .program = true, .tracer = true } },
	{ &op_hold, { .version = 100, .program = true } },
	{ &op_release, { .version = 100, .program = true, .held = true } },
};

static const char *const types[] = {
	"run_fentry", "run_fexit", "run_fmod_ret", "run_fsession", "run_fentry_multi_module",
	"run_fexit_multi_module",
};

static bool needs_program(const struct scene *s)
{
	return s->ground.program || s->op == &op_attach;
}

/* Who can do it without an image that is not there yet? */
static bool builds_no_image(const struct operation *op)
{
	return op == &op_detach || op == &op_trace || op == &op_untrace;
}

/* What fails only in the other operations would be walked for nothing. */
static bool concerns(const struct fault *f, const struct scene *s)
{
	if ((s->op == &op_hold || s->op == &op_release || s->ground.held) &&
	    access(SHARE, W_OK))
		return false;
	if (!f->function)
		return true;
	if (!strcmp(f->function, "klp_patch_object"))
		return s->op == &op_enable || s->op == &op_replace;
	return needs_program(s) && !builds_no_image(s->op);
}

/* Returns how many walks there are, and walks them if @run. */
static unsigned int walk_scene(const struct scene *s, const regex_t *match, bool run)
{
	unsigned int i, n = !needs_program(s) ? 1 : s->types ? ARRAY_SIZE(types) : 2;
	unsigned int walks = 0;
	char type[64], what[256];

	for (i = 0; i < n; i++) {
		type[0] = 0;
		if (needs_program(s))
			snprintf(type, sizeof(type), " with %s", types[i]);
		snprintf(what, sizeof(what), "%s %s%s", fault->name, s->op->name, type);
		if (match && regexec(match, what, 0, NULL, 0))
			continue;
		walks++;
		if (!run)
			continue;
		if (needs_program(s))
			load_party(&program, types[i], strstr(types[i], "multi") ? NULL : ONE);
		walk_from(&s->ground, type, s->op);
		if (program.skel)
			free_party(&program);
	}
	return walks;
}

static unsigned int walk_all(const regex_t *match, bool run)
{
	unsigned int i, walks = 0;
	char params[128];
	int err;

	if (run && fault->function) {
		snprintf(params, sizeof(params), "function=%s ret=%s", fault->function, fault->ret);
		err = load_module(FAIL, params);
		if (err)
			ksft_exit_fail_msg("%s does not load, to have %s fail: %s\n", FAIL,
					   fault->function, strerror(-err));
	}
	for (i = 0; i < ARRAY_SIZE(scenes); i++)
		if (concerns(fault, &scenes[i]))
			walks += walk_scene(&scenes[i], match, run);
	if (run && fault->function && unload_module(FAIL))
		ksft_exit_fail_msg("%s does not unload\n", FAIL);
	return walks;
}

static void usage(void)
{
	ksft_exit_fail_msg("usage: direct_share_nth [--match=REGEX] [--stride=N] [--verbose] %s",
			   "[--modules=DIR]\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "match", required_argument, NULL, 'm' },
		{ "stride", required_argument, NULL, 's' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "modules", required_argument, NULL, 'M' },
		{ }
	};
	static const char *const set[] = { ONE };
	regex_t match, *wanted = NULL;
	unsigned int plan = 0;
	int opt, err;
	char *text;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (opt) {
		case 'm':
			if (regcomp(&match, optarg, REG_EXTENDED | REG_NOSUB))
				usage();
			wanted = &match;
			break;
		case 's':
			stride = atoi(optarg);
			if (!stride || stride > MAX_NTH)
				usage();
			break;
		case 'v':
			verbose = true;
			break;
		case 'M':
			snprintf(module_dir, PATH_MAX, "%s", optarg);
			break;
		default:
			usage();
		}
	}

	begin();
	prepare_faults();
	target_comes();
	find_ids(TARGET_MODULE, set, &one_id, 1);
	err = load_module(TRACER, "");
	if (err)
		ksft_exit_fail_msg("%s does not load: %s\n", TRACER, strerror(-err));
	listen_to_kernel();
	yield_rcu_tasks(SCHED_IDLE);

	for (fault = faults; fault < faults + ARRAY_SIZE(faults); fault++)
		plan += walk_all(wanted, false);
	if (!plan)
		ksft_exit_fail_msg("there is no such walk\n");
	ksft_set_plan(plan + 2);
	for (fault = faults; fault < faults + ARRAY_SIZE(faults); fault++)
		walk_all(wanted, true);

	yield_rcu_tasks(SCHED_OTHER);
	unload_module(TRACER);
	text = read_file(TRACEFS "/enabled_functions");
	ksft_test_result(text && !line_of(text, ONE), "the site is a nop in the end\n");
	target_goes();
	ksft_test_result(wait_until(!all_images(verbose)), "no image is left\n");
	ksft_finished();
}
