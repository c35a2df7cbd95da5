// SPDX-License-Identifier: GPL-2.0

/* See direct_share_noise.h. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/perf_event.h>

#include "kselftest.h"
#include "direct_share_noise.h"
#include "direct_share_party.h"
#include "direct_share_util.h"
#include "direct_share_faults.skel.h"

#define ONE		"klp_share_target_one"
#define OTHER		"klp_share_target_other"
#define OTHER_PATCH	"test_klp_share_other"
#define TWINS		"test_klp_share_twins"
#define NOISE		TRACEFS "/instances/direct_share_noise"
#define FREEZER		"/sys/fs/cgroup/direct_share_noise"
#define CPU1		"/sys/devices/system/cpu/cpu1/online"

static pid_t caller, noise;

static int lock = -1;

void lock_transitions(void)
{
	if (lock >= 0 && lockf(lock, F_LOCK, 0))
		ksft_exit_fail_perror("lockf");
}

static bool trylock_transitions(void)
{
	return !lockf(lock, F_TLOCK, 0);
}

void unlock_transitions(void)
{
	if (lock >= 0)
		lockf(lock, F_ULOCK, 0);
}

/* Programs of its own, beside those that are looked at */
static struct party parties[6];
static const char *const party_names[ARRAY_SIZE(parties)] = {
	"run_fentry", "run_fexit", "run_fmod_ret", "run_fsession", "run_fentry", "run_fexit",
};

static void load_parties(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(parties); i++)
		load_party(&parties[i], party_names[i], i < 4 ? ONE : OTHER);
}

static int toggle_program(void)
{
	struct party *p = &parties[random() % ARRAY_SIZE(parties)];

	return p->link ? detach_party(p) : attach_party(p);
}

/* Half of a call that makes sense, with the other half at random */
static int nonsense_to_bpf(void)
{
	static const int commands[] = {
		BPF_LINK_CREATE, BPF_LINK_UPDATE, BPF_LINK_DETACH, BPF_RAW_TRACEPOINT_OPEN,
		BPF_LINK_GET_FD_BY_ID, BPF_PROG_ATTACH,
	};
	static const int types[] = {
		BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_MODIFY_RETURN, BPF_TRACE_ITER, BPF_LSM_MAC,
	};
	int command = commands[random() % ARRAY_SIZE(commands)], fd;
	struct party *p = &parties[random() % ARRAY_SIZE(parties)];
	unsigned char bytes[sizeof(union bpf_attr)];
	union bpf_attr attr;
	unsigned int i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = random() % 4 ? 0 : random();
	memcpy(&attr, bytes, sizeof(attr));
	if (command == BPF_LINK_CREATE && random() % 4) {
		attr.link_create.prog_fd = bpf_program__fd(p->prog);
		attr.link_create.attach_type = types[random() % ARRAY_SIZE(types)];
	} else if (p->link && random() % 4) {
		attr.link_update.link_fd = bpf_link__fd(p->link);
	}
	fd = syscall(SYS_bpf, command, &attr, sizeof(attr));
	if (fd > 2)
		close(fd);
	return 0;
}

static int perf_fds[2] = { -1, -1 };

static void close_perf_kprobe(int i)
{
	if (perf_fds[i] >= 0)
		close(perf_fds[i]);
	perf_fds[i] = -1;
}

static int perf_kprobe(void)
{
	struct perf_event_attr attr = {};
	int i = random() % ARRAY_SIZE(perf_fds);
	static int type;
	char *text;

	if (perf_fds[i] >= 0) {
		close_perf_kprobe(i);
		return 0;
	}
	/* As a rule nobody is there, or the site would always be listed. */
	if (random() % 3)
		return 0;
	if (!type) {
		text = read_file("/sys/bus/event_source/devices/kprobe/type");
		type = text ? atoi(text) : -1;
	}
	attr.size = sizeof(attr);
	attr.type = type;
	attr.config = random() % 2;	/* a return probe */
	attr.kprobe_func = (unsigned long)(random() % 4 ? ONE : OTHER);
	attr.probe_offset = random() % 4 ? 0 : random() % 32;
	perf_fds[i] = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	return perf_fds[i] < 0 ? -errno : 0;
}

static bool tracefs_kprobe_there;

static int remove_tracefs_kprobe(void)
{
	int err;

	write_file(TRACEFS "/events/kprobes/share_noise/enable", "0");
	/* The file is opened with O_TRUNC, which removes all. */
	err = write_file(TRACEFS "/kprobe_events", "\n");
	tracefs_kprobe_there = err;
	return err;
}

static int tracefs_kprobe(void)
{
	bool there = tracefs_kprobe_there;
	int err;

	if (!there && random() % 3)
		return 0;
	if (!there) {
		err = write_file(TRACEFS "/kprobe_events", "p:share_noise " ONE "\n");
		tracefs_kprobe_there = !err;
		return err;
	}
	if (random() % 2)
		return write_file(TRACEFS "/events/kprobes/share_noise/enable",
				  random() % 2 ? "1" : "0");
	return remove_tracefs_kprobe();
}

/*
 * Can each function be traced? With lockdep and sanitizers, emulated, each change takes
 * more than a minute then: who waits for two of them is a hung task.
 */
static bool is_quick(void)
{
	return access("/proc/lockdep_stats", F_OK);
}

static int tracer(void)
{
	/* The last two are none: each function is traced. */
	static const char *const filters[] = {
		ONE, OTHER, "klp_share_*", "*:mod:test_klp_share_target", "no_such_function", "!*",
	};
	static const char *const tracers[] = {
		"nop", "nop", "nop", "nop", "function", "function_graph", "nonsense",
	};
	unsigned int nr = ARRAY_SIZE(filters) - (is_quick() ? 0 : 2);

	if (random() % 2)
		write_file(NOISE "/set_ftrace_filter", filters[random() % nr]);
	return write_file(NOISE "/current_tracer", tracers[random() % ARRAY_SIZE(tracers)]);
}

/*
 * The beginning of a list. Each page is looked for from the first record on, with
 * ftrace's lock: once each function has been traced, all else would wait for the rest.
 */
static void glance_at(const char *path)
{
	char page[4096];
	int i, fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	for (i = 0; i < 16; i++)
		if (read(fd, page, sizeof(page)) <= 0)
			break;
	if (fd >= 0)
		close(fd);
}

static int turn_switch(void)
{
	static const char *const words[] = { "paired", "fused", "fused", "listed", "", "p" };

	glance_at(TRACEFS "/enabled_functions");
	glance_at(TRACEFS "/touched_functions");
	write_file(TRACEFS "/direct_share", words[random() % ARRAY_SIZE(words)]);
	return read_file(TRACEFS "/direct_share") ? 0 : -errno;
}

/* Nothing that a livepatch would obey */
static int nonsense_to_livepatch(void)
{
	static const char *const names[] = {
		"test_klp_share_patch", "test_klp_share_patch2", "test_klp_share_replace",
	};
	static const char *const files[] = { "enabled", "transition", "force", "replace" };
	char path[256];

	snprintf(path, sizeof(path), KLP "/%s/%s", names[random() % ARRAY_SIZE(names)],
		 files[random() % ARRAY_SIZE(files)]);
	write_file(path, random() % 2 ? "x" : "7 1");
	read_file(path);
	return 0;
}

/* That of the other function: it may have been replaced by others. */
static int change_livepatch(void)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/module/%s", OTHER_PATCH);
	if (access(path, F_OK))
		return load_module(OTHER_PATCH, "");
	snprintf(path, sizeof(path), KLP "/%s", OTHER_PATCH);
	if (!access(path, F_OK))
		return disable_livepatch(OTHER_PATCH);
	return try_unload_module(OTHER_PATCH);
}

static int livepatch_other(void)
{
	int err;

	if (!trylock_transitions())
		return -EBUSY;
	err = change_livepatch();
	wait_until(!in_transition(OTHER_PATCH));
	unlock_transitions();
	return err;
}

static int module_of_functions(void)
{
	if (!access("/sys/module/" TWINS, F_OK)) {
		read_file("/sys/module/" TWINS "/parameters/call");
		return try_unload_module(TWINS);
	}
	return load_module(TWINS, "");
}

/* Half of the memory, for a moment; the first to go if that was too much */
static int eat_memory(void)
{
	long pages = sysconf(_SC_AVPHYS_PAGES) / 2;
	size_t size = pages * sysconf(_SC_PAGESIZE);
	pid_t child = fork();
	char *memory;
	size_t i;

	if (child < 0)
		return -errno;
	if (child) {
		waitpid(child, NULL, 0);
		write_file("/proc/sys/vm/drop_caches", "3");
		return 0;
	}
	write_file("/proc/self/oom_score_adj", "1000");
	/*
	 * With each function traced this takes minutes. Not in one system call, for the
	 * end of which RCU tasks, and so each change of ftrace's, would wait.
	 */
	alarm(10);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		_exit(1);
	for (i = 0; i < size; i += sysconf(_SC_PAGESIZE))
		memory[i] = 1;
	usleep(20000);
	_exit(0);
}

static int unplug(void)
{
	int err = write_file(CPU1, "0");

	usleep(random() % 50000);
	return write_file(CPU1, "1") ?: err;
}

static int stop_caller(void)
{
	if (kill(caller, SIGSTOP))
		return -errno;
	usleep(random() % 50000);
	kill(caller, SIGCONT);
	return 0;
}

static int freeze_caller(void)
{
	int err;

	err = write_file(FREEZER "/cgroup.freeze", "1");
	usleep(random() % 50000);
	return write_file(FREEZER "/cgroup.freeze", "0") ?: err;
}

/* All of its own go, and the switch is where it was. Returns an error if some stay. */
static int leave_all(void)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(parties); i++)
		err = detach_party(&parties[i]) ?: err;
	for (i = 0; i < ARRAY_SIZE(perf_fds); i++)
		close_perf_kprobe(i);
	err = remove_tracefs_kprobe() ?: err;
	/* Cannot be written where nothing settles */
	write_file(TRACEFS "/direct_share", "fused");
	return write_file(NOISE "/current_tracer", "nop") ?: err;
}

/*
 * For those modes in which nobody else may be at the function, until the other task has
 * done some dozens of things to it
 */
static int be_silent(void)
{
	int err = leave_all();

	usleep(random() % 3000000);
	return err;
}

/**
 * struct kind - a kind of noise
 * @name:	for messages
 * @make:	makes it; an error is no fault
 * @weight:	how often, among the others
 */
static const struct kind {
	const char *name;
	int (*make)(void);
	unsigned int weight;
} kinds[] = {
	{ "attach or detach a program", toggle_program, 20 },
	{ "nonsense to bpf(2)", nonsense_to_bpf, 40 },
	{ "kprobe of perf", perf_kprobe, 10 },
	{ "kprobe of tracefs", tracefs_kprobe, 10 },
	{ "tracer", tracer, 6 },
	{ "switch, and all files of sites", turn_switch, 4 },
	{ "nonsense to livepatch", nonsense_to_livepatch, 10 },
	{ "livepatch of another function", livepatch_other, 5 },
	{ "module that comes and goes", module_of_functions, 5 },
	{ "no memory", eat_memory, 1 },
	{ "processor that goes and comes", unplug, 1 },
	{ "stopped caller", stop_caller, 2 },
	{ "frozen caller", freeze_caller, 2 },
	{ "silence", be_silent, 2 },
};

#define KINDS	ARRAY_SIZE(kinds)

static struct {
	volatile bool stop;
	volatile unsigned long tried[KINDS], done[KINDS];
} *shared;

static const struct kind *throw_dice(void)
{
	unsigned int i, sum = 0;
	int dice;

	for (i = 0; i < KINDS; i++)
		sum += kinds[i].weight;
	dice = random() % sum;
	for (i = 0; dice >= (int)kinds[i].weight; i++)
		dice -= kinds[i].weight;
	return &kinds[i];
}

static void undo(void)
{
	unsigned int i;

	leave_all();
	for (i = 0; i < ARRAY_SIZE(parties); i++)
		free_party(&parties[i]);
	rmdir(NOISE);
	wait_until(access("/sys/module/" OTHER_PATCH, F_OK) || (livepatch_other(), false));
	wait_until(access("/sys/module/" TWINS, F_OK) || !try_unload_module(TWINS));
	write_file(CPU1, "1");
}

static void make_noise_of(const struct kind *kind)
{
	shared->tried[kind - kinds]++;
	if (!kind->make())
		shared->done[kind - kinds]++;
	usleep(random() % 2000);
}

/* Each kind until it is heard, then as the dice fall. */
static void make_noise(void)
{
	unsigned int i;

	load_parties();
	mkdir(NOISE, 0700);
	if (!is_quick())
		write_file(NOISE "/set_ftrace_filter", ONE);
	for (i = 0; i < KINDS; i++)
		wait_until((make_noise_of(&kinds[i]), shared->done[i]));
	while (!shared->stop)
		make_noise_of(throw_dice());
	undo();
}

void start_noise(unsigned int seed, pid_t pid)
{
	char text[16];

	caller = pid;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	lock = memfd_create("direct_share_noise", MFD_CLOEXEC);
	if (shared == MAP_FAILED || lock < 0)
		ksft_exit_fail_perror("memory for the noise");
	mkdir(FREEZER, 0700);
	snprintf(text, sizeof(text), "%d", caller);
	if (write_file(FREEZER "/cgroup.procs", text))
		ksft_exit_fail_perror(FREEZER);
	fflush(stdout);
	noise = fork();
	if (noise < 0)
		ksft_exit_fail_perror("fork");
	if (noise)
		return;
	srandom(seed);
	make_noise();
	_exit(0);
}

bool stop_noise(void)
{
	bool all = true;
	unsigned int i;
	int status;

	shared->stop = true;
	if (waitpid(noise, &status, 0) != noise || status) {
		ksft_print_msg("the noise ended with status %#x\n", status);
		all = false;
	}
	for (i = 0; i < KINDS; i++) {
		ksft_print_msg("%6lu times of %6lu: %s\n", shared->done[i], shared->tried[i],
			       kinds[i].name);
		all = all && shared->done[i];
	}
	return all;
}

void end_noise(void)
{
	if (rmdir(FREEZER))
		ksft_print_msg("%s stays: %s\n", FREEZER, strerror(errno));
}
