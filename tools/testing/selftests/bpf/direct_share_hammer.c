// SPDX-License-Identifier: GPL-2.0

/*
 * One task calls a function without pause, another one does at random all that
 * can be done to its fentry site.
 *
 *	direct_share_hammer [--calls=N] [--changes=N] [--minutes=N] [--seed=N] [--noise]
 *			    [--stretch] [--force] [--lie] [--modules=DIR]
 *
 * The caller does so in the kernel, hundreds of calls at a time without being
 * preempted (KLP_SHARE_HAMMER). Livepatch does not change the state of a running
 * task, so all calls of such a burst are of one version: that from before while no
 * transition has begun, the new one when it is over, and in between the one of the
 * caller's own patch_state. And each program that is attached runs once for each
 * of them, after and before. What holds at the time is in a board that both can
 * see; a burst during which the board changed is only checked for what is true
 * anyway: one version, no program more than once for a call.
 *
 * The other task enables, disables, reverses and replaces livepatches, attaches
 * and detaches programs of each type, tracers and kprobes, and turns the switch in
 * tracefs/direct_share. Its dice are those of --seed, which is printed. It ends when
 * there were as many calls and as many changes as asked for, and when that many
 * minutes are over. Where the dice left out what has to happen, it goes on, up to ten
 * times as long. --noise adds a third task, see direct_share_noise.h.
 *
 * --stretch has each change of the site take until some calls have met its int3,
 * and asserts that they did. --force ends with a transition that is forced, after
 * which all goes on for as long again. --lie has the caller report a wrong version
 * now and then, to see that this is found.
 *
 * Needs root, two processors, tracefs, and the modules of ../livepatch/test_modules.
 */

#define _GNU_SOURCE
#include <errno.h>
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"
#include "direct_share_noise.h"
#include "direct_share_party.h"
#include "direct_share_util.h"
#include "direct_share_faults.skel.h"

#define ONE		"klp_share_target_one"
#define ALL		"test_klp_share_all"
#define KPROBE		"test_klp_share_kprobe"
#define STRETCH		"test_klp_share_stretch"
#define INSTANCE	TRACEFS "/instances/direct_share_hammer"
#define BURST		500

/* As in /proc/PID/patch_state */
enum { IDLE = -1, UNPATCHED, PATCHED };

static const char *const program_names[] = {
	"run_fentry", "run_fexit", "run_fmod_ret", "run_fsession", "run_fentry_multi_module",
	"run_fexit_multi_module",
};

#define PROGRAMS	ARRAY_SIZE(program_names)

static struct party programs[PROGRAMS];

/**
 * struct board - what the caller may rely on
 * @seq:	even, and the same before and after a burst: nothing changed in it
 * @lower:	version without the livepatch in transition, or for good
 * @upper:	version with it; the same as @lower without a transition
 * @attached:	programs whose link is there, and that nobody is detaching
 * @maybe:	programs that may be there
 * @doing:	what the other task does, for a message; @mode: and after what mode
 * @stop:	the caller shall end
 * @calls:	made so far
 * @checked:	of those, with a board that did not change
 * @in_transition: of those, in a transition
 * @wrong:	calls or runs that were not right
 * @what:	the first of them
 */
static struct board {
	volatile unsigned int seq;
	int lower, upper;
	bool attached[PROGRAMS], maybe[PROGRAMS];
	const char *volatile doing, *volatile mode;
	volatile bool stop;
	volatile unsigned long calls, checked, in_transition, wrong;
	char what[256];
} *board;

static bool lie, noise;

/*
 * The caller
 */

static void wrong(unsigned long n, const char *fmt, ...)
{
	char what[160];
	va_list args;

	if (!board->wrong) {
		va_start(args, fmt);
		vsnprintf(what, sizeof(what), fmt, args);
		va_end(args);
		snprintf(board->what, sizeof(board->what), "%s (mode was %s, now: %s)", what,
			 board->mode, board->doing);
	}
	board->wrong += n ?: 1;
}

/* A copy of the board, for as long as the number returned is on it */
static unsigned int read_board(struct board *copy)
{
	unsigned int seq;

	do {
		seq = board->seq;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		memcpy(copy, board, sizeof(*copy));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (seq & 1 || seq != board->seq);
	return seq;
}

static bool board_changed(unsigned int seq)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return board->seq != seq;
}

static void check_version(const struct board *b, const struct klp_share_hammer *h)
{
	int state = h->state[0];

	if (b->lower != b->upper && state == h->state[1] && state != IDLE) {
		if (h->version != (state == PATCHED ? b->upper : b->lower))
			wrong(h->calls, "version %d in state %d of a transition from %d to %d",
			      h->version, state, b->lower, b->upper);
		board->in_transition += h->calls;
		return;
	}
	if (h->version != b->lower && h->version != b->upper)
		wrong(h->calls, "version %d, and not %d or %d", h->version, b->lower, b->upper);
}

static void one_burst(void)
{
	struct klp_share_hammer h = { .calls = BURST };
	unsigned int i, seq, before[PROGRAMS], runs;
	struct board copy;
	bool changed;

	seq = read_board(&copy);
	for (i = 0; i < PROGRAMS; i++)
		before[i] = *(volatile int *)&programs[i].skel->bss->runs;
	if (ioctl(share_fd, KLP_SHARE_HAMMER, &h)) {
		wrong(1, "the call failed: %s", strerror(errno));
		return;
	}
	if (lie && board->calls % 100 == 0)
		h.version++;
	for (i = 0; i < PROGRAMS; i++)
		before[i] = *(volatile int *)&programs[i].skel->bss->runs - before[i];
	changed = board_changed(seq);

	if (h.strays)
		wrong(h.strays, "%u of %u calls in a row not of version %d", h.strays, BURST,
		      h.version);
	if (!changed)
		check_version(&copy, &h);
	for (i = 0; i < PROGRAMS; i++) {
		runs = before[i];
		if (runs > BURST || (!changed && copy.attached[i] && runs != BURST) ||
		    (!changed && !copy.maybe[i] && runs))
			wrong(1, "%s ran %u times for %u calls", program_names[i], runs, BURST);
	}
	board->calls += BURST;
	if (!changed)
		board->checked += BURST;
}

static pid_t caller;

static void start_caller(void)
{
	caller = fork();
	if (caller < 0)
		ksft_exit_fail_perror("fork");
	if (caller)
		return;
	pin(0);
	/*
	 * Who leaves ftrace waits until RCU tasks has seen each task leave the processor of
	 * its own will, or a tick find it in user mode. Beside noise this one would do
	 * neither for seconds: it is preempted at the end of a burst, in the kernel.
	 */
	while (!board->stop) {
		one_burst();
		if (noise)
			sched_yield();
	}
	_exit(0);
}

static bool caller_died(void)
{
	siginfo_t info = { };

	return waitid(P_PID, caller, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

/* It has not missed a call, unless something else has killed it. */
static bool stop_caller(void)
{
	int status;

	board->stop = true;
	return waitpid(caller, &status, 0) == caller && !status;
}

/*
 * The board, and what is true of the site
 */

static void begin_change(void)
{
	board->seq++;
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void end_change(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
	board->seq++;
}

static void set_versions(int lower, int upper)
{
	begin_change();
	board->lower = lower;
	board->upper = upper;
	end_change();
}

/**
 * struct patch - a livepatch
 * @name:	its module
 * @adds:	what its version of the function adds, 0 if it has none
 * @replace:	it replaces all others
 * @loaded:	its module is there
 * @pinned:	and stays, after a forced transition
 */
struct patch {
	const char *name;
	int adds;
	bool replace, loaded, pinned;
};

static struct patch patches[] = {
	{ "test_klp_share_patch", 100 },
	{ "test_klp_share_patch2", 200 },
	{ "test_klp_share_replace", 300, true },
	{ "test_klp_share_replace_other", 0, true },
	{ ALL, 100 },
};

#define MAX_STACK	8

/* Livepatches in force, and the one that comes or goes, at the top */
static struct {
	struct patch *stack[MAX_STACK];
	int height;
	bool moving, going;
} lp;

static int version_of(int height)
{
	while (height--)
		if (lp.stack[height]->adds || lp.stack[height]->replace)
			return lp.stack[height]->adds;
	return 0;
}

static bool tracing, probed, held, can_settle;

enum { ENABLE, DISABLE, REVERSE, ATTACH, DETACH, TRACE, UNTRACE, PROBE, UNPROBE, SWITCH, OPS };

static const char *const op_names[OPS] = {
	"enable", "disable", "reverse", "attach", "detach", "trace", "stop tracing", "probe",
	"stop probing", "switch",
};

static unsigned long done[OPS];
static int failures;

static void failed(const char *what, int err)
{
	ksft_print_msg("%s failed: %s\n", what, strerror(-err));
	failures++;
}

static void did(int op, const char *what, int err)
{
	if (err)
		failed(what, err);
	done[op]++;
}

/* Modes that were seen, and how often another one than the time before */
static struct {
	const char *name;
	unsigned long seen;
} modes[] = {
	{ "absent" }, { "solo" }, { "settled" }, { "fused" }, { "paired" }, { "listed" },
};

#define MODES	ARRAY_SIZE(modes)

static unsigned long mode_changes;

/* Steps of a change of text, with an int3 at the site, and calls that met it */
struct steps {
	unsigned long steps, calls;
};

/* From one mode to another one, with --stretch */
static struct steps met[MODES][MODES];

static struct steps steps_so_far(void)
{
	char *text = read_file("/sys/module/" STRETCH "/parameters/seen");
	struct steps s = {};

	if (text)
		sscanf(text, "%lu %lu", &s.steps, &s.calls);
	return s;
}

static void look_at_mode(void)
{
	char *text = read_file(TRACEFS "/direct_share"), *line, mode[16] = "absent";
	static struct steps before;
	static unsigned int last;
	struct steps now;
	unsigned int i;

	line = text ? line_of(text, ONE) : NULL;
	if (line)
		sscanf(line, "%*s %*s %15s", mode);
	for (i = 0; i < MODES - 1 && strcmp(mode, modes[i].name); i++)
		;
	board->mode = modes[i].name;
	modes[i].seen++;
	mode_changes += i != last;
	now = steps_so_far();
	met[last][i].steps += now.steps - before.steps;
	met[last][i].calls += now.calls - before.calls;
	before = now;
	last = i;
}

/*
 * What is done
 */

static void doing(const char *what)
{
	board->doing = what;
}

static void unload_patch(struct patch *p)
{
	int err = p->pinned ? 0 : unload_livepatch(p->name);

	if (err)
		failed(p->name, err);
	p->loaded = p->pinned;
}

/* A transition is over: what is in force now? */
static void settle(void)
{
	struct patch *top = lp.stack[lp.height - 1], *gone[MAX_STACK];
	int i, n = 0;

	doing("settle");
	lp.moving = false;
	if (lp.going) {
		gone[n++] = top;
		lp.height--;
	} else if (top->replace) {
		for (i = 0; i < lp.height - 1; i++)
			gone[n++] = lp.stack[i];
		lp.stack[0] = top;
		lp.height = 1;
	}
	set_versions(version_of(lp.height), version_of(lp.height));
	for (i = 0; i < n; i++)
		unload_patch(gone[i]);
	unlock_transitions();
}

/*
 * A kprobe of the noise at the function keeps there what ours had claimed, the ip, when
 * ours has gone: the kernel gives that up with the last one. The noise's goes soon.
 */
static int load_patch(const char *name)
{
	int err;

	wait_until((err = load_module(name, "")) != -EBUSY || !noise);
	return err;
}

static void enable(struct patch *p)
{
	int err;

	lock_transitions();
	lp.stack[lp.height++] = p;
	set_versions(version_of(lp.height - 1), version_of(lp.height));
	doing(op_names[ENABLE]);
	err = load_patch(p->name);
	did(ENABLE, p->name, err);
	if (err) {
		lp.height--;
		set_versions(version_of(lp.height), version_of(lp.height));
		unlock_transitions();
		return;
	}
	p->loaded = true;
	lp.moving = true;
	lp.going = false;
}

static int write_enabled(bool on)
{
	char path[256];

	snprintf(path, sizeof(path), KLP "/%s/enabled", lp.stack[lp.height - 1]->name);
	return write_file(path, on ? "1" : "0");
}

static void disable(void)
{
	int err;

	lock_transitions();
	set_versions(version_of(lp.height - 1), version_of(lp.height));
	doing(op_names[DISABLE]);
	err = write_enabled(false);
	did(DISABLE, "disabling", err);
	if (err) {
		set_versions(version_of(lp.height), version_of(lp.height));
		unlock_transitions();
		return;
	}
	lp.moving = true;
	lp.going = true;
}

/*
 * May come too late. Then it is an error that means nothing, or the disabling of what
 * has just been enabled: the same, unless that has replaced others by then.
 */
static void reverse(void)
{
	if (!lp.going && lp.stack[lp.height - 1]->replace && lp.height > 1)
		return;
	doing(op_names[REVERSE]);
	if (write_enabled(lp.going))
		return;
	lp.going = !lp.going;
	done[REVERSE]++;
}

static bool over(void)
{
	return !in_transition(lp.stack[lp.height - 1]->name);
}

static void change_livepatch(void)
{
	struct patch *p = &patches[random() % 4];

	if (lp.moving) {
		if (over())
			settle();
		else if (random() % 3 == 0)
			reverse();
		return;
	}
	/* The last one that a forced transition has put in force stays. */
	if (lp.height && !lp.stack[lp.height - 1]->pinned && random() % 2)
		disable();
	else if (!p->loaded && lp.height < MAX_STACK && !(p->replace && patches[4].pinned))
		enable(p);
}

static void attach_program(unsigned int i)
{
	static const char *const set[] = { ONE, "klp_share_target_other" };
	int err;

	begin_change();
	board->maybe[i] = true;
	end_change();

	doing(op_names[ATTACH]);
	if (strstr(program_names[i], "multi"))
		err = attach_party_to(&programs[i], TARGET_MODULE, set, ARRAY_SIZE(set));
	else
		err = attach_party(&programs[i]);
	did(ATTACH, program_names[i], err);

	begin_change();
	board->attached[i] = !err;
	board->maybe[i] = !err;
	end_change();
}

static void detach_program(unsigned int i)
{
	begin_change();
	board->attached[i] = false;
	end_change();

	doing(op_names[DETACH]);
	did(DETACH, program_names[i], detach_party(&programs[i]));

	begin_change();
	board->maybe[i] = false;
	end_change();
}

static void change_program(void)
{
	unsigned int i = random() % PROGRAMS;

	/* Now and then there are none */
	if (programs[i].link)
		detach_program(i);
	else if (random() % 3 == 0)
		attach_program(i);
}

static void change_tracer(void)
{
	static const char *const tracers[] = { "function", "function_graph" };

	doing(op_names[tracing ? UNTRACE : TRACE]);
	if (!tracing)
		did(TRACE, "tracing", write_file(INSTANCE "/current_tracer",
						 tracers[random() % 2]));
	else
		did(UNTRACE, "stopping to trace", write_file(INSTANCE "/current_tracer", "nop"));
	tracing = !tracing;
}

/* Its post_handler makes it a redirect owner, which is refused beside a livepatch. */
static void change_kprobe(void)
{
	int err;

	doing(op_names[probed ? UNPROBE : PROBE]);
	if (probed) {
		did(UNPROBE, KPROBE, unload_module(KPROBE));
		probed = false;
		return;
	}
	if (lp.height)
		return;
	err = load_module(KPROBE, "");
	did(PROBE, KPROBE, err);
	probed = !err;
}

static void turn_switch(void)
{
	if (!can_settle)
		return;
	held = !held;
	doing(held ? "hold" : "let go");
	did(SWITCH, "turning the switch",
	    write_file(TRACEFS "/direct_share", held ? "paired" : "fused"));
}

/* So that each mode has its share: who makes others impossible does not stay long. */
static void change_something(void)
{
	int dice = random() % 100;

	if (tracing && dice < 20)
		change_tracer();
	else if (held && dice < 30)
		turn_switch();
	else if (dice < (lp.moving ? 40 : 15) && !probed)
		change_livepatch();
	else if (dice < 85)
		change_program();
	else if (dice < 90)
		change_tracer();
	else if (dice < 96)
		change_kprobe();
	else
		turn_switch();
	look_at_mode();
}

static void finish_transition(void)
{
	if (!lp.moving)
		return;
	if (!wait_until(over()))
		failed("the transition", -ETIMEDOUT);
	settle();
}

/* What the kernel was left with, so that all can be unloaded */
static void clean_up(void)
{
	unsigned int i;

	finish_transition();
	while (lp.height && !lp.stack[lp.height - 1]->pinned) {
		disable();
		finish_transition();
	}
	if (probed)
		change_kprobe();
	if (tracing)
		change_tracer();
	if (held)
		turn_switch();
	for (i = 0; i < PROGRAMS; i++)
		if (programs[i].link)
			detach_program(i);
}

static bool mode_seen(const char *name)
{
	unsigned int i;

	for (i = 0; i < MODES; i++)
		if (!strcmp(modes[i].name, name))
			return modes[i].seen;
	return false;
}

static bool enough_happened(void)
{
	return mode_changes > 20 && done[ENABLE] && done[DISABLE] && done[ATTACH] &&
	       done[DETACH] && done[TRACE] &&
	       (!can_settle || (mode_seen("settled") && mode_seen("fused")));
}

/* Returns how long it took. */
static double hammer(unsigned long calls, unsigned int changes, unsigned int minutes)
{
	double start = seconds(), last = start, end = start + 60.0 * minutes;
	unsigned long until = board->calls + calls;
	unsigned long before = board->calls;
	unsigned int i;

	for (i = 0; (board->calls < until || i < changes || seconds() < end ||
		     (!enough_happened() && i < 10 * changes)) &&
	     !board->wrong && failures < 5; i++) {
		change_something();
		if (caller_died()) {
			failed("the caller", -ECHILD);
			break;
		}
		if (seconds() > last + PATIENCE) {
			if (board->calls == before) {
				failed("the caller", -ETIMEDOUT);
				break;
			}
			before = board->calls;
			last = seconds();
		}
	}
	return seconds() - start;
}

static void result(const char *name, bool ok)
{
	if (board->wrong)
		ksft_print_msg("%lu wrong, first: %s\n", board->wrong, board->what);
	ksft_test_result(ok && !board->wrong && !failures, "%s\n", name);
}

static void print_statistics(double took)
{
	unsigned int i;

	ksft_print_msg("%lu calls in %.0f s, %lu of them with nothing changing meanwhile, %lu in a transition\n",
		       board->calls, took, board->checked, board->in_transition);
	for (i = 0; i < OPS; i++)
		ksft_print_msg("%6lu times: %s\n", done[i], op_names[i]);
	for (i = 0; i < MODES; i++)
		ksft_print_msg("%6lu times seen: %s\n", modes[i].seen, modes[i].name);
	ksft_print_msg("%6lu changes of mode seen\n", mode_changes);
	ksft_print_msg("%lu wrong\n", board->wrong);
}

/* A transition that cannot end by itself: a task sleeps in one of the functions. */
static void force_transition(void)
{
	pid_t sleeper = fall_asleep();

	enable(&patches[4]);
	usleep(100000);
	if (over())
		failed("holding up the transition", -EALREADY);
	/* States change under running tasks: nothing can be relied on until it is over. */
	begin_change();
	if (write_file(KLP "/" ALL "/force", "1"))
		failed("forcing the transition", -EINVAL);
	wait_until(over());
	patches[4].pinned = true;
	lp.moving = false;
	board->lower = 100;
	board->upper = 100;
	end_change();
	unlock_transitions();
	wake_up(sleeper);
}

/* Every change of mode that poked the site was met by calls. */
static bool print_steps(void)
{
	unsigned int i, j;
	bool ok = false;

	for (i = 0; i < MODES; i++) {
		for (j = 0; j < MODES; j++) {
			if (!met[i][j].steps)
				continue;
			ksft_print_msg("%6lu calls met an int3 in %4lu steps: %s to %s\n",
				       met[i][j].calls, met[i][j].steps, modes[i].name,
				       modes[j].name);
			if (!met[i][j].calls)
				return false;
			ok = true;
		}
	}
	return ok;
}

static void stretched(bool on)
{
	int err = on ? load_module(STRETCH, "") : unload_module(STRETCH);

	if (err)
		failed(STRETCH, err);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "calls", required_argument, NULL, 'c' },
		{ "changes", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ "minutes", required_argument, NULL, 't' },
		{ "noise", no_argument, NULL, 'N' },
		{ "stretch", no_argument, NULL, 'x' },
		{ "force", no_argument, NULL, 'f' },
		{ "lie", no_argument, NULL, 'l' },
		{ "modules", required_argument, NULL, 'm' },
		{ }
	};
	unsigned long calls = 10000000;
	unsigned int i, changes = 500, minutes = 0, seed = time(NULL);
	bool stretch = false, force = false;
	const char *complaint;
	struct stat st;
	double took;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			calls = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			changes = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoul(optarg, NULL, 0);
			break;
		case 't':
			minutes = strtoul(optarg, NULL, 0);
			break;
		case 'N':
			noise = true;
			break;
		case 'x':
			stretch = true;
			break;
		case 'f':
			force = true;
			break;
		case 'l':
			lie = true;
			break;
		case 'm':
			snprintf(module_dir, PATH_MAX, "%s", optarg);
			break;
		default:
			fprintf(stderr, "direct_share_hammer: see its beginning for how to use it\n");
			return 2;
		}
	}
	begin();
	if (processors() < 2)
		ksft_exit_skip("one processor: nothing happens at the same time\n");
	ksft_set_plan(4 + stretch + force + noise);
	ksft_print_msg("--calls=%lu --changes=%u --seed=%u\n", calls, changes, seed);
	srandom(seed);
	can_settle = !stat(TRACEFS "/direct_share", &st) && st.st_mode & 0200;
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	if (board == MAP_FAILED)
		ksft_exit_fail_perror("mmap");

	target_comes();
	for (i = 0; i < PROGRAMS; i++)
		load_party(&programs[i], program_names[i],
			   strstr(program_names[i], "multi") ? NULL : ONE);
	mkdir(INSTANCE, 0700);
	if (write_file(INSTANCE "/set_ftrace_filter", ONE))
		ksft_exit_fail_perror(INSTANCE);
	write_file(INSTANCE "/buffer_size_kb", "64");

	listen_to_kernel();
	start_caller();
	/* The second processor comes and goes with the noise. */
	if (noise)
		start_noise(seed, caller);
	else
		pin(1);
	if (stretch)
		stretched(true);
	took = hammer(calls, changes, minutes);
	clean_up();
	result("each call is of the right version, and runs each program once", board->checked);
	if (stretch) {
		result("so is each that met an int3 at the site", print_steps());
		stretched(false);
	}
	if (force) {
		force_transition();
		took += hammer(calls, changes, minutes);
		clean_up();
		result("so is each after a forced transition", true);
	}
	print_statistics(took);
	if (noise)
		ksft_test_result(stop_noise(), "there was noise of every kind\n");
	ksft_test_result(enough_happened(), "enough has happened\n");
	ksft_test_result(stop_caller(), "the caller has called all the time\n");
	if (noise)
		end_noise();

	for (i = 0; (complaint = kernel_complaint()); i++)
		ksft_print_msg("the kernel says: %s\n", complaint);
	ksft_test_result(!i, "the kernel has nothing to complain about\n");
	for (i = 0; i < PROGRAMS; i++)
		free_party(&programs[i]);
	rmdir(INSTANCE);
	if (!patches[4].pinned)
		target_goes();
	ksft_finished();
}
