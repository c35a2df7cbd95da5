// SPDX-License-Identifier: GPL-2.0

/*
 * A task that sleeps in the trampoline of a function while a livepatch of that
 * function comes or goes.
 *
 *	direct_share_parked [--modules=DIR] [succession]
 *
 * A sleepable program before the function reads a page that userfaultfd guards,
 * so its task sleeps in the trampoline until the test provides the page: it has
 * entered the function, and has not reached any version of it. Until it has left,
 * the livepatch may not change the task's state, and so may not complete; every
 * other task changes at once. Nothing but the trampoline need be on its stack to
 * tell, see klp_check_stack().
 *
 * The other way round, a task that merely sleeps in a traced function must not be
 * waited for if no livepatch changes the function, or if the one that goes is below
 * the one of the task: its trampoline has made its choice.
 *
 * And the trampoline must be there until the task has left it, whatever has taken its
 * place at the site, and wherever in it the task has slept meanwhile: "succession" runs
 * the tests of that alone.
 *
 * Needs root, tracefs, and the modules of ../livepatch/test_modules.
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest.h"
#include "direct_share_party.h"
#include "direct_share_util.h"
#include "direct_share_faults.skel.h"

#define ONE		"klp_share_target_one"
#define SLEEP		"klp_share_target_sleep"
#define PATCH		"test_klp_share_patch"		/* ONE: adds 100 */
#define PATCH_ALL	"test_klp_share_all"		/* SLEEP, too: adds 100 */
#define PATCH_SLEEP	"test_klp_share_sleep"		/* SLEEP: adds 1000 */
#define REPLACE		"test_klp_share_replace"	/* ONE: adds 300, replaces all */
#define REPLACE_OTHER	"test_klp_share_replace_other"	/* replaces all, not ONE */

/* Livepatch looks at the tasks once a second. */
#define STAYS		4

/* As in /proc/PID/patch_state */
enum { IDLE = -1, UNPATCHED, PATCHED };

/**
 * struct image_kind - the programs at the function, which decide on the image
 * @name:	for the results
 * @park:	the one whose task sleeps, before the function
 * @with:	another one, or NULL
 */
static const struct image_kind {
	const char *name;
	const char *park;
	const char *with;
} kinds[] = {
	/* Goes on to the function, which does not come back to it */
	{ "fentry", "park_fentry" },
	/* Call the function */
	{ "fentry and fexit", "park_fentry", "run_fexit" },
	{ "fmod_ret", "park_fmod_ret" },
	{ "fsession", "park_fentry", "run_fsession" },
};

static int complaints;

static void complain(const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_print_msg("%s\n", text);
	complaints++;
}

static void expect(const char *what, long is, long should)
{
	if (is != should)
		complain("%s: %ld and not %ld", what, is, should);
}

/*
 * The guarded pages: one for each program that a task may sleep in
 */

#define PAGES		2

static struct {
	int uffd;
	void *page;
	long size;	/* of one */
} guarded;

static unsigned long page_address(unsigned int i)
{
	return (unsigned long)guarded.page + i * guarded.size;
}

static void guard_pages(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {};

	guarded.size = sysconf(_SC_PAGESIZE);
	guarded.page = mmap(NULL, PAGES * guarded.size, PROT_READ,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	guarded.uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (guarded.page == MAP_FAILED || guarded.uffd < 0 ||
	    ioctl(guarded.uffd, UFFDIO_API, &api))
		ksft_exit_fail_perror("userfaultfd");
	reg.range.start = (unsigned long)guarded.page;
	reg.range.len = PAGES * guarded.size;
	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	if (ioctl(guarded.uffd, UFFDIO_REGISTER, &reg))
		ksft_exit_fail_perror("userfaultfd");
}

/* Has somebody touched a page since the last time? He waits for @page then. */
static bool page_missed(unsigned int *page)
{
	struct uffd_msg msg;

	if (read(guarded.uffd, &msg, sizeof(msg)) != sizeof(msg) ||
	    msg.event != UFFD_EVENT_PAGEFAULT)
		return false;
	*page = (msg.arg.pagefault.address - page_address(0)) / guarded.size;
	return true;
}

static void provide_page(unsigned int i)
{
	struct uffdio_zeropage zero = {
		.range = { .start = page_address(i), .len = guarded.size },
	};

	if (ioctl(guarded.uffd, UFFDIO_ZEROPAGE, &zero))
		ksft_exit_fail_perror("cannot provide the page");
}

/* To be missed by the next one */
static void forget_pages(void)
{
	if (madvise(guarded.page, PAGES * guarded.size, MADV_DONTNEED))
		ksft_exit_fail_perror("madvise");
}

/*
 * The task that is parked: a thread, since the program reads its memory
 */

static struct {
	pthread_t thread;
	volatile pid_t tid;
	volatile bool go;
	long ret;
} parked;

static void *call_one(void *unused)
{
	struct klp_share_call c = { .function = KLP_SHARE_ONE, .arg = 1 };

	parked.tid = gettid();
	while (!parked.go)
		usleep(100);
	parked.ret = ioctl(share_fd, KLP_SHARE_CALL, &c) ? -errno : c.ret[0];
	return NULL;
}

/* What the site's mode has to be while the task is parked, NULL if nobody can say */
static const char *want_mode;

static void check_mode(void)
{
	char *text = read_file(TRACEFS "/direct_share"), *line, mode[16] = "absent";

	line = text ? line_of(text, ONE) : NULL;
	if (line && sscanf(line, "%*s %*s %15s", mode) != 1)
		complain("direct_share: %.*s", (int)strcspn(line, "\n"), line);
	if (want_mode && strcmp(mode, want_mode))
		complain("the site is %s and not %s", mode, want_mode);
}

/* In one of @n programs, each with a page of its own; returns the page. */
static unsigned int park_in(struct party *p, unsigned int n)
{
	unsigned int i, page;

	forget_pages();
	parked.tid = 0;
	parked.go = false;
	if (pthread_create(&parked.thread, NULL, call_one, NULL))
		ksft_exit_fail_msg("cannot create a thread\n");
	wait_until(parked.tid);
	for (i = 0; i < n; i++) {
		p[i].skel->bss->park_addr = page_address(i);
		p[i].skel->bss->park_task = parked.tid;
	}
	parked.go = true;
	if (!wait_until(page_missed(&page)))
		ksft_exit_fail_msg("the program does not read the page\n");
	check_mode();
	return page;
}

static void park(struct party *p)
{
	park_in(p, 1);
}

/* Returns what the parked call returned, once it has this page. */
static long release_from(unsigned int page)
{
	provide_page(page);
	pthread_join(parked.thread, NULL);
	return parked.ret;
}

static long release(struct party *p)
{
	long ret = release_from(0);

	p->skel->bss->park_task = 0;
	return ret;
}

static int patch_state(const char *pid, const char *tid)
{
	char path[600], *text;

	snprintf(path, sizeof(path), "/proc/%s/task/%s/patch_state", pid, tid);
	text = read_file(path);
	return text ? atoi(text) : INT_MIN;
}

/* How many tasks are in this state, the parked one left out? Others come and go. */
static int others_in_state(int state)
{
	char path[300], tid[16];
	struct dirent *p, *t;
	DIR *proc, *tasks;
	int n = 0;

	snprintf(tid, sizeof(tid), "%d", parked.tid);
	proc = opendir("/proc");
	while (proc && (p = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%s/task", p->d_name);
		tasks = isdigit(p->d_name[0]) ? opendir(path) : NULL;
		if (!tasks)
			continue;
		while ((t = readdir(tasks)))
			n += isdigit(t->d_name[0]) && strcmp(t->d_name, tid) &&
			     patch_state(p->d_name, t->d_name) == state;
		closedir(tasks);
	}
	if (proc)
		closedir(proc);
	return n;
}

static int parked_state(void)
{
	char pid[16], tid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	snprintf(tid, sizeof(tid), "%d", parked.tid);
	return patch_state(pid, tid);
}

/*
 * The transition of @patch waits, for the parked task and nobody else. It would
 * have looked at that one several times by the end of this.
 */
static void check_waits(const char *patch, int old)
{
	double end = seconds() + STAYS;

	if (!wait_until(!in_transition(patch) || !others_in_state(old)))
		complain("%d other tasks do not change", others_in_state(old));
	while (seconds() < end && in_transition(patch))
		usleep(10000);
	if (!in_transition(patch)) {
		complain("the transition of %s does not wait", patch);
		return;
	}
	expect("state of the parked task", parked_state(), old);
	expect("tasks that do not change", others_in_state(old), 0);
}

static void check_completes(const char *patch)
{
	if (!wait_until(!in_transition(patch)))
		complain("the transition of %s does not end", patch);
}

static void check_calls(const char *when, struct party *p, int want)
{
	int before = p->skel->bss->runs;
	long ret = 0;

	expect(when, call_function(KLP_SHARE_ONE, 1, KLP_SHARE_CALL, &ret), 0);
	expect(when, ret, want);
	expect("runs of the program for one call", p->skel->bss->runs - before, 1);
}

/*
 * Cases. The programs are there all the time.
 */

static void patch_comes(struct party *p)
{
	park(p);
	expect("loading the livepatch", load_module(PATCH, ""), 0);
	check_waits(PATCH, UNPATCHED);
	expect("the parked call", release(p), 1);
	check_completes(PATCH);
	check_calls("patched", p, 101);
	expect("disabling it", disable_livepatch(PATCH), 0);
	expect("unloading it", unload_livepatch(PATCH), 0);
	check_calls("livepatch gone", p, 1);
}

/* What the parked task is about to call may not go before it is back. */
static void patch_goes(struct party *p)
{
	expect("loading the livepatch", load_livepatch(PATCH), 0);
	check_calls("patched", p, 101);
	park(p);
	expect("disabling it", disable_livepatch(PATCH), 0);
	check_waits(PATCH, PATCHED);
	expect("unloading it too early", try_unload_module(PATCH), -EWOULDBLOCK);
	expect("the parked call", release(p), 101);
	expect("unloading it", unload_livepatch(PATCH), 0);
	check_calls("livepatch gone", p, 1);
}

static void patch_is_replaced_by(struct party *p, const char *by, int want)
{
	expect("loading the livepatch", load_livepatch(PATCH), 0);
	check_calls("patched", p, 101);
	park(p);
	expect("loading the next one", load_module(by, ""), 0);
	check_waits(by, UNPATCHED);
	expect("unloading the first one too early", try_unload_module(PATCH), -EWOULDBLOCK);
	expect("the parked call", release(p), 101);
	check_completes(by);
	expect("unloading the first one", unload_livepatch(PATCH), 0);
	check_calls("replaced", p, want);
	expect("disabling the second one", disable_livepatch(by), 0);
	expect("unloading it", unload_livepatch(by), 0);
	check_calls("livepatch gone", p, 1);
}

static void patch_is_replaced(struct party *p)
{
	patch_is_replaced_by(p, REPLACE, 301);
}

static void patch_is_reverted(struct party *p)
{
	patch_is_replaced_by(p, REPLACE_OTHER, 1);
}

/* Disabled, and enabled again before it could complete */
static void patch_is_reversed(struct party *p)
{
	char path[128];
	long ret = 0;

	expect("loading the livepatch", load_livepatch(PATCH), 0);
	park(p);
	expect("disabling it", disable_livepatch(PATCH), 0);
	check_waits(PATCH, PATCHED);
	snprintf(path, sizeof(path), KLP "/%s/enabled", PATCH);
	expect("enabling it again", write_file(path, "1"), 0);
	check_completes(PATCH);
	/* BPF leaves the program out on the processor where it sleeps. */
	expect("a call meanwhile", call_function(KLP_SHARE_ONE, 1, KLP_SHARE_CALL, &ret), 0);
	expect("a call meanwhile", ret, 101);
	expect("the parked call", release(p), 101);
	check_calls("patched still", p, 101);
	expect("disabling it at last", disable_livepatch(PATCH), 0);
	expect("unloading it", unload_livepatch(PATCH), 0);
	check_calls("livepatch gone", p, 1);
}

/* The program was detached meanwhile: nothing at the site leads to the image. */
static void programs_go_meanwhile(struct party *p)
{
	expect("loading the livepatch", load_livepatch(PATCH), 0);
	park(p);
	expect("detaching", detach_party(p), 0);
	expect("disabling it", disable_livepatch(PATCH), 0);
	check_waits(PATCH, PATCHED);
	expect("unloading it too early", try_unload_module(PATCH), -EWOULDBLOCK);
	expect("the parked call", release(p), 101);
	expect("unloading it", unload_livepatch(PATCH), 0);
	expect("attaching again", attach_party(p), 0);
	check_calls("livepatch gone", p, 1);
}

static const struct story {
	const char *name;
	void (*run)(struct party *p);
	bool livepatched;	/* when the task is parked */
} stories[] = {
	{ "enabled", patch_comes },
	{ "disabled", patch_goes, true },
	{ "replaced", patch_is_replaced, true },
	{ "replaced by one without the function", patch_is_reverted, true },
	{ "disabled and reversed", patch_is_reversed, true },
	{ "disabled, programs gone", programs_go_meanwhile, true },
};

static bool have_direct_share;

static void run_story(const struct story *story, const struct image_kind *kind,
		      const char *mode)
{
	bool livepatched = story->livepatched;
	struct party p, with;

	complaints = 0;
	target_comes();
	write_file(TRACEFS "/direct_share", mode);
	want_mode = !have_direct_share ? NULL : livepatched ? mode : "absent";
	load_party(&p, kind->park, ONE);
	expect("attaching", attach_party(&p), 0);
	if (kind->with) {
		load_party(&with, kind->with, ONE);
		expect("attaching", attach_party(&with), 0);
	}
	story->run(&p);
	if (kind->with)
		free_party(&with);
	free_party(&p);
	target_goes();
	ksft_test_result(!complaints, "%s, %s: livepatch %s\n", kind->name,
			 livepatched ? mode : "solo", story->name);
}

/* The task sleeps in a function that is traced, and not livepatched. */
static void run_elsewhere(const char *name)
{
	struct party p;
	pid_t child;

	complaints = 0;
	target_comes();
	load_party(&p, name, SLEEP);
	expect("attaching", attach_party(&p), 0);
	child = fall_asleep();
	expect("loading a livepatch of another function", load_livepatch(PATCH), 0);
	expect("disabling it", disable_livepatch(PATCH), 0);
	expect("unloading it", unload_livepatch(PATCH), 0);
	wake_up(child);
	free_party(&p);
	target_goes();
	ksft_test_result(!complaints, "%s: asleep in a function that the livepatch leaves alone\n",
			 name);
}

/* The task sleeps in the version of the livepatch on top; the one below goes. */
static void run_above(const char *name, const char *mode)
{
	struct party p;
	pid_t child;

	complaints = 0;
	target_comes();
	write_file(TRACEFS "/direct_share", mode);
	load_party(&p, name, SLEEP);
	expect("attaching", attach_party(&p), 0);
	expect("loading the livepatch below", load_livepatch(PATCH_SLEEP), 0);
	expect("loading the one on top", load_livepatch(PATCH_ALL), 0);
	child = fall_asleep();
	expect("disabling the one below", disable_livepatch(PATCH_SLEEP), 0);
	expect("unloading it", unload_livepatch(PATCH_SLEEP), 0);
	expect("the sleeper's call", wake_up(child), 101);
	expect("runs of the program", p.skel->bss->runs, 1);
	expect("disabling the one on top", disable_livepatch(PATCH_ALL), 0);
	expect("unloading it", unload_livepatch(PATCH_ALL), 0);
	free_party(&p);
	target_goes();
	ksft_test_result(!complaints, "%s, %s: asleep above the livepatch that goes\n", name, mode);
}

/*
 * Who leads to another image while the task is in this one. Each is undone, too, which
 * leads to a third one.
 */

static struct party another;

static void attach_another(bool first)
{
	if (first)
		expect("attaching another program", attach_party(&another), 0);
	else
		expect("detaching it", detach_party(&another), 0);
}

static void patch_moves(bool first)
{
	expect("the switch", write_file(TRACEFS "/direct_share", first ? "paired" : "fused"), 0);
}

static void patch_settles(bool first)
{
	patch_moves(!first);
}

static const struct successor {
	const char *name;
	void (*change)(bool first);
	const char *mode;	/* of the livepatched site before */
} successors[] = {
	{ "another program is attached", attach_another, "fused" },
	{ "the livepatch moves again", patch_moves, "fused" },
	{ "the livepatch settles", patch_settles, "paired" },
};

/*
 * The task sleeps in two programs, one after the other, of an image that has lost its
 * site while it slept in the first one. Whoever frees that image waits for those who
 * sleep, but the second program was entered later.
 */
static void run_succession(const struct successor *to)
{
	unsigned int first, second, i;
	struct party p[PAGES];
	double end;

	complaints = 0;
	target_comes();
	write_file(TRACEFS "/direct_share", to->mode);
	want_mode = have_direct_share ? to->mode : NULL;
	expect("loading the livepatch", load_livepatch(PATCH), 0);
	for (i = 0; i < PAGES; i++) {
		load_party(&p[i], "park_fentry", ONE);
		expect("attaching", attach_party(&p[i]), 0);
	}

	/* To load a program begins a grace period, too. */
	load_party(&another, "run_fentry", ONE);
	if (!wait_until(images_of(&p[0]) == 1))
		complain("%d images before", images_of(&p[0]));
	sleep(1);
	first = park_in(p, PAGES);
	to->change(true);
	/* A grace period begins, and waits. Who enters a program from now on is too late. */
	sleep(1);
	provide_page(first);
	if (!wait_until(page_missed(&second)))
		ksft_exit_fail_msg("the second program does not read its page\n");
	for (end = seconds() + STAYS; seconds() < end; usleep(10000))
		if (images_of(&p[0]) != 2)
			ksft_exit_fail_msg("%s: the image is freed, who is in it will crash\n",
					   to->name);
	expect("the parked call", release_from(second), 101);
	for (i = 0; i < PAGES; i++)
		p[i].skel->bss->park_task = 0;
	if (!wait_until(images_of(&p[0]) == 1))
		complain("the image stays for ever");

	to->change(false);
	check_calls("later", &p[0], 101);
	free_party(&another);
	for (i = 0; i < PAGES; i++)
		free_party(&p[i]);
	expect("disabling the livepatch", disable_livepatch(PATCH), 0);
	expect("unloading it", unload_livepatch(PATCH), 0);
	target_goes();
	ksft_test_result(!complaints, "asleep in two programs: %s\n", to->name);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "modules", required_argument, NULL, 'm' },
		{ }
	};
	/* What a livepatched site with programs may be. */
	static const char *const modes[] = { "paired", "fused" };
	static const char *const sleeping[] = { "run_fexit", "run_fsession" };
	unsigned int nr_stories = ARRAY_SIZE(stories), nr_sleeping = ARRAY_SIZE(sleeping);
	unsigned int i, j, k, nr_modes, nr_successors, plan = 0;

	while (getopt_long(argc, argv, "", options, NULL) == 'm')
		snprintf(module_dir, PATH_MAX, "%s", optarg);

	begin();
	have_direct_share = !access(TRACEFS "/direct_share", F_OK);
	nr_modes = write_file(TRACEFS "/direct_share", "fused") ? 1 : ARRAY_SIZE(modes);
	/* Only a site that can be fused has its image replaced for a livepatch. */
	nr_successors = nr_modes > 1 ? ARRAY_SIZE(successors) : 1;
	ksft_print_msg("%s\n", nr_modes > 1 ? "a settled site is fused" :
			       "sites of this kernel are not fused");
	if (optind < argc && !strcmp(argv[optind], "succession")) {
		nr_stories = 0;
		nr_sleeping = 0;
	}
	for (i = 0; i < nr_stories; i++)
		plan += ARRAY_SIZE(kinds) * (stories[i].livepatched ? nr_modes : 1);
	ksft_set_plan(plan + nr_sleeping * (1 + nr_modes) + nr_successors);
	guard_pages();

	for (i = 0; i < nr_sleeping; i++) {
		run_elsewhere(sleeping[i]);
		for (j = 0; j < nr_modes; j++)
			run_above(sleeping[i], modes[j]);
	}
	for (i = 0; i < nr_stories; i++)
		for (j = stories[i].livepatched ? 0 : nr_modes - 1; j < nr_modes; j++)
			for (k = 0; k < ARRAY_SIZE(kinds); k++)
				run_story(&stories[i], &kinds[k], modes[j]);
	for (i = 0; i < nr_successors; i++)
		run_succession(&successors[i]);
	if (nr_modes > 1 && write_file(TRACEFS "/direct_share", "fused"))
		ksft_exit_fail_perror("back to the default");
	ksft_finished();
}
