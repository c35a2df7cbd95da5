// SPDX-License-Identifier: GPL-2.0

/*
 * Both sides at the same time: one loads and unloads a livepatch of a function,
 * and kprobes with a post_handler at another one, the other attaches and detaches
 * fentry and fexit programs at both. Neither may ever fail because of the other.
 *
 *	direct_share_locks [--modules=DIR] [--seconds=N]
 *
 * Runs N seconds, 20 by default, for each line of the table of phases below. On a
 * kernel with lockdep it tells whether the two sides agree about the order of
 * locks. Needs root, two processors, tracefs, and the modules of
 * ../livepatch/test_modules.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest.h"
#include "direct_share_party.h"
#include "direct_share_util.h"
#include "direct_share_faults.skel.h"

#define X		"klp_share_target_one"
#define Y		"klp_share_target_other"
#define PATCH_X		"test_klp_share_patch"
#define KPROBE		"test_klp_share_kprobe"

static const struct phase {
	const char *name;
	bool same_processor;
	bool redirect_fifo;
	bool direct_fifo;
} phases[] = {
	{ .name = "two processors" },
	{ "livepatch side at SCHED_FIFO", .redirect_fifo = true },
	{ "BPF side at SCHED_FIFO", .direct_fifo = true },
	{ "livepatch side at SCHED_FIFO, one processor", .redirect_fifo = true,
	  .same_processor = true },
};

/* What a side did, and with how many errors of which kind */
struct step {
	int done;
	int failed;
	int err;
};

enum {
	/* of the livepatch side */
	LOAD, DISABLE, UNLOAD, PROBE, UNPROBE,
	/* of the BPF side */
	FENTRY, FEXIT, MULTI, DETACH, CALL, COUNT,
	STEPS,
};

static const char *const step_names[STEPS] = {
	[LOAD]	  = "load a livepatch",
	[DISABLE] = "disable it",
	[UNLOAD]  = "unload it",
	[PROBE]	  = "register a kprobe",
	[UNPROBE] = "unregister it",
	[FENTRY]  = "attach fentry",
	[FEXIT]	  = "attach fexit",
	[MULTI]	  = "attach fexit.multi",
	[DETACH]  = "detach",
	[CALL]	  = "call",
	[COUNT]	  = "find all programs run once for a call",
};

static struct shared {
	bool stop;
	struct step steps[STEPS];
} *shared;

static int phase_seconds = 20;

static int did(int step, int err)
{
	struct step *s = &shared->steps[step];

	s->done++;
	if (err) {
		s->failed++;
		s->err = err;
	}
	return err;
}

static void be_fifo(void)
{
	struct sched_param param = { .sched_priority = 10 };

	if (sched_setscheduler(0, SCHED_FIFO, &param))
		ksft_exit_fail_perror("SCHED_FIFO");
}

/*
 * The livepatch side. A transition takes a second or so: time for kprobes.
 */

static void probe_until(double end, bool (*over)(void))
{
	do {
		if (!did(PROBE, load_module(KPROBE, "symbols=" Y)))
			did(UNPROBE, unload_module(KPROBE));
	} while (!over() && seconds() < end);
}

static bool enabled(void)
{
	return !in_transition(PATCH_X);
}

static bool disabled(void)
{
	return access(KLP "/" PATCH_X, F_OK);
}

static void redirect_round(void)
{
	if (did(LOAD, load_module(PATCH_X, "")))
		return;
	probe_until(seconds() + PATIENCE, enabled);
	if (did(DISABLE, disable_livepatch(PATCH_X)))
		return;
	probe_until(seconds() + PATIENCE, disabled);
	did(UNLOAD, unload_module(PATCH_X));
}

/*
 * The BPF side. One process only calls the functions, so counts are exact.
 */

static struct party fentry_x, fexit_x, fentry_y, fexit_y, both;

static void call_and_count(struct party *const *at_x, struct party *const *at_y)
{
	struct party *const *sets[] = { at_x, at_y };
	struct klp_share_call c = { .arg = 7 };
	int before[8], i, j, err;

	for (i = 0; i < 2; i++) {
		for (j = 0; sets[i][j]; j++)
			before[j] = sets[i][j]->skel->bss->runs;
		c.function = i ? KLP_SHARE_OTHER : KLP_SHARE_ONE;
		err = ioctl(share_fd, KLP_SHARE_CALL, &c) ? -errno : 0;
		if (!err && c.ret[0] != 7 && (i || c.ret[0] != 107))
			err = -ERANGE;
		did(CALL, err);
		for (j = 0, err = 0; sets[i][j]; j++)
			if (sets[i][j]->link && sets[i][j]->skel->bss->runs != before[j] + 1)
				err = -ERANGE;
		did(COUNT, err);
	}
}

static void detach(struct party *p)
{
	if (p->link)
		did(DETACH, detach_party(p));
}

static void direct_round(void)
{
	static const char *const names[] = { X, Y };
	static struct party *const at_x[] = { &fentry_x, &fexit_x, &both, NULL };
	static struct party *const at_y[] = { &fentry_y, &fexit_y, &both, NULL };

	did(FENTRY, attach_party(&fentry_x));
	call_and_count(at_x, at_y);
	/* The second one at a function changes its trampoline. */
	did(FEXIT, attach_party(&fexit_x));
	did(FEXIT, attach_party(&fexit_y));
	call_and_count(at_x, at_y);
	did(MULTI, attach_party_to(&both, TARGET_MODULE, names, ARRAY_SIZE(names)));
	call_and_count(at_x, at_y);
	detach(&fexit_x);
	detach(&fentry_x);
	detach(&fexit_y);
	did(FENTRY, attach_party(&fentry_y));
	call_and_count(at_x, at_y);
	detach(&both);
	detach(&fentry_y);
	did(MULTI, attach_party_to(&both, TARGET_MODULE, names, ARRAY_SIZE(names)));
	call_and_count(at_x, at_y);
	detach(&both);
}

static pid_t start_direct_side(const struct phase *phase)
{
	pid_t child = fork();

	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (child)
		return child;
	load_party(&fentry_x, "run_fentry", X);
	load_party(&fexit_x, "run_fexit", X);
	load_party(&fentry_y, "run_fentry", Y);
	load_party(&fexit_y, "run_fexit", Y);
	load_party(&both, "run_fexit_multi_module", NULL);
	pin(phase->same_processor ? 0 : processors() - 1);
	if (phase->direct_fifo)
		be_fifo();
	while (!shared->stop)
		direct_round();
	_exit(0);
}

static pid_t start_redirect_side(const struct phase *phase)
{
	pid_t child = fork();

	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (child)
		return child;
	pin(0);
	if (phase->redirect_fifo)
		be_fifo();
	while (!shared->stop)
		redirect_round();
	_exit(0);
}

static void report(const struct phase *phase, int first, int last)
{
	bool failed = false, idle = false;
	struct step *s;
	int i;

	for (i = first; i <= last; i++) {
		s = &shared->steps[i];
		if (s->failed) {
			failed = true;
			ksft_print_msg("%s: %d of %d times it could not %s: %d (%s)\n", phase->name,
				       s->failed, s->done, step_names[i], s->err,
				       strerror(-s->err));
		} else {
			ksft_print_msg("%s: %d times: %s\n", phase->name, s->done, step_names[i]);
		}
		if (!s->done)
			idle = true;
	}
	ksft_test_result(!failed && !idle, "%s: %s side\n", phase->name,
			 first == LOAD ? "livepatch" : "BPF");
}

static void wait_for(pid_t child)
{
	int status = 0;

	if (!wait_until(waitpid(child, &status, WNOHANG)))
		ksft_exit_fail_msg("a side does not come to an end\n");
	if (status)
		ksft_exit_fail_msg("a side died: status %x\n", status);
}

static void run_phase(const struct phase *phase)
{
	pid_t direct_side, redirect_side;
	const char *text;
	int complaints = 0;

	memset(shared, 0, sizeof(*shared));
	listen_to_kernel();
	target_comes();
	direct_side = start_direct_side(phase);
	redirect_side = start_redirect_side(phase);
	sleep(phase_seconds);
	shared->stop = true;
	wait_for(direct_side);
	wait_for(redirect_side);
	target_goes();

	report(phase, LOAD, UNPROBE);
	report(phase, FENTRY, COUNT);
	for (; (text = kernel_complaint()); complaints++)
		ksft_print_msg("the kernel says: %s\n", text);
	ksft_test_result(!complaints, "%s: nothing to complain about for the kernel\n",
			 phase->name);
	fflush(stdout);
}

static void usage(FILE *to)
{
	fprintf(to, "usage: direct_share_locks [--modules=DIR] [--seconds=N]\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "modules", required_argument, NULL, 'm' },
		{ "seconds", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	unsigned int i;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'm':
			snprintf(module_dir, PATH_MAX, "%s", optarg);
			break;
		case 's':
			phase_seconds = atoi(optarg);
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	begin();
	if (processors() < 2)
		ksft_exit_skip("needs two processors\n");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	ksft_set_plan(3 * ARRAY_SIZE(phases));
	for (i = 0; i < ARRAY_SIZE(phases); i++)
		run_phase(&phases[i]);
	ksft_finished();
}
