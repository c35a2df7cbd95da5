// SPDX-License-Identifier: GPL-2.0

/* See direct_share_util.h. */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "kselftest.h"
#include "direct_share_util.h"

double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int processors(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

/*
 * Everyone who unregisters from ftrace waits for RCU tasks, and that kthread
 * sleeps for a tenth of a second if it finds any task runnable. So let it look
 * when there is none: the whole test takes two thirds of the time.
 */
void yield_rcu_tasks(int policy)
{
	const struct sched_param param = {};
	struct dirent *entry;
	char path[300], *comm;
	DIR *proc;

	proc = opendir("/proc");
	while (proc && (entry = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		if (!isdigit(entry->d_name[0]))
			continue;
		comm = read_file(path);
		if (comm && !strncmp(comm, "rcu_tasks_", strlen("rcu_tasks_")))
			sched_setscheduler(atoi(entry->d_name), policy, &param);
	}
	if (proc)
		closedir(proc);
}

/*
 * What the kernel has to complain about
 */

static int kmsg = -1;

void listen_to_kernel(void)
{
	if (kmsg < 0)
		kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg < 0)
		ksft_exit_fail_perror("/dev/kmsg");
	lseek(kmsg, 0, SEEK_END);
}

/* Of Linux, see "Faults of Linux that stay" in Documentation/trace/ftrace-direct-share.rst */
#define UNWINDER	"stack going in the wrong direction? at return_to_handler+0x46/"

static bool is_complaint(const char *text)
{
	static const char *const bad[] = {
		"WARNING: ", "BUG: ", "kernel BUG at ", "Oops: ", "Missing ENDBR",
		"general protection fault", "blocked for more than", "rcu_preempt detected",
	};
	unsigned int i;

	if (strstr(text, UNWINDER))
		return false;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		if (strstr(text, bad[i]))
			return true;
	return false;
}

const char *kernel_complaint(void)
{
	static char record[8192];
	char *text;
	ssize_t n;

	/* Each read is one record; EPIPE: some have been overwritten. */
	while ((n = read(kmsg, record, sizeof(record) - 1)) > 0 || errno == EPIPE) {
		if (n <= 0)
			continue;
		record[n] = 0;
		text = strchr(record, ';');
		if (!text)
			continue;
		text[strcspn(text, "\n")] = 0;
		if (is_complaint(text))
			return text + 1;
	}
	return NULL;
}

/*
 * Files
 */

char *read_file(const char *path)
{
	static char *buffer;
	static size_t size;
	size_t len = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	do {
		if (size - len < 4096) {
			size += 1 << 20;
			buffer = realloc(buffer, size);
			if (!buffer)
				ksft_exit_fail_msg("out of memory\n");
		}
		n = read(fd, buffer + len, size - len - 1);
		if (n > 0)
			len += n;
	} while (n > 0);
	close(fd);
	if (n < 0)
		return NULL;
	buffer[len] = 0;
	return buffer;
}

int write_file(const char *path, const char *text)
{
	size_t done = 0;
	int fd, err = 0;
	ssize_t n;

	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Some files of tracefs take one word at a time. */
	do {
		n = write(fd, text + done, strlen(text) - done);
		if (n < 0)
			err = -errno;
		else
			done += n;
	} while (n > 0 && text[done]);
	close(fd);
	return err;
}

/* By its mode: root may write to any file, as far as access() knows. */
bool is_writable(const char *path)
{
	struct stat st;

	return !stat(path, &st) && st.st_mode & 0200;
}

char *line_of(char *text, const char *function)
{
	size_t len = strlen(function);
	char *line, *end;

	for (line = text; line && *line; line = end ? end + 1 : NULL) {
		end = strchr(line, '\n');
		if (!strncmp(line, function, len) && strchr(" \t\n", line[len]))
			return line;
	}
	return NULL;
}

/*
 * Modules and livepatches
 */

char module_dir[PATH_MAX];

/* Where our own file is, the modules are in the suite beside it. */
static void find_modules(void)
{
	char self[PATH_MAX];
	ssize_t n;

	if (module_dir[0])
		return;
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		ksft_exit_fail_perror("/proc/self/exe");
	self[n] = 0;
	snprintf(module_dir, sizeof(module_dir), "%.*s/../livepatch/test_modules",
		 PATH_MAX - 64, dirname(self));
}

static int silent(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return level == LIBBPF_WARN && getenv("VERBOSE") ? vfprintf(stderr, fmt, args) : 0;
}

void begin(void)
{
	ksft_print_header();
	if (geteuid())
		ksft_exit_skip("has to be root\n");
	if (access(TRACEFS "/enabled_functions", F_OK))
		ksft_exit_skip("no " TRACEFS "/enabled_functions\n");
	find_modules();
	libbpf_set_print(silent);
}

int load_module(const char *name, const char *params)
{
	char path[PATH_MAX + 64];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/%s.ko", module_dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		ksft_exit_fail_perror(path);
	if (syscall(SYS_finit_module, fd, params, 0))
		err = -errno;
	close(fd);
	return err;
}

int try_unload_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

int unload_module(const char *name)
{
	int err;

	/* The work that drops the last reference may not have run yet. */
	wait_until((err = try_unload_module(name)) != -EWOULDBLOCK);
	return err;
}

bool in_transition(const char *patch)
{
	char path[256], *text;

	snprintf(path, sizeof(path), KLP "/%s/transition", patch);
	text = read_file(path);
	return text && text[0] == '1';
}

int load_livepatch(const char *name)
{
	int err;

	err = load_module(name, "");
	if (err)
		return err;
	return wait_until(!in_transition(name)) ? 0 : -ETIMEDOUT;
}

int disable_livepatch(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), KLP "/%s/enabled", name);
	return write_file(path, "0");
}

/* It has been disabled, or replaced. */
int unload_livepatch(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), KLP "/%s", name);
	if (!wait_until(access(path, F_OK)))
		return -ETIMEDOUT;
	return unload_module(name);
}

/*
 * The functions of test_klp_share_target
 */

int share_fd = -1;

void target_comes(void)
{
	int err = load_module(TARGET_MODULE, "");

	if (err)
		ksft_exit_fail_msg("cannot load %s: %s\n", TARGET_MODULE, strerror(-err));
	share_fd = open("/dev/klp_share", O_RDWR | O_CLOEXEC);
	if (share_fd < 0)
		ksft_exit_fail_perror("/dev/klp_share");
}

void target_goes(void)
{
	int err;

	close(share_fd);
	share_fd = -1;
	err = unload_module(TARGET_MODULE);
	if (err)
		ksft_exit_fail_msg("%s does not unload: %s\n", TARGET_MODULE, strerror(-err));
}

/*
 * In a child, since on some kernels the call kills its caller and leaves others
 * waiting. Returns -EFAULT for such a death.
 */
int call_function(enum klp_share_function function, int arg, unsigned int how, long *ret)
{
	struct klp_share_call c = { .function = function, .arg = arg };
	int fds[2], status = 0;
	double end;
	pid_t child;

	if (pipe(fds))
		ksft_exit_fail_perror("pipe");
	child = fork();
	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (!child) {
		if (ioctl(share_fd, how, &c))
			_exit(errno);
		_exit(write(fds[1], &c.ret[0], sizeof(c.ret[0])) != sizeof(c.ret[0]));
	}
	close(fds[1]);
	end = seconds() + PATIENCE / 4;
	while (!waitpid(child, &status, WNOHANG) && seconds() < end)
		usleep(500);
	if (WIFEXITED(status) && !WEXITSTATUS(status) &&
	    read(fds[0], ret, sizeof(*ret)) == sizeof(*ret)) {
		close(fds[0]);
		return 0;
	}
	close(fds[0]);
	if (seconds() >= end)
		return -ETIMEDOUT;
	return WIFSIGNALED(status) ? -EFAULT : -WEXITSTATUS(status);
}

void close_all_but_share(void)
{
	close_range(3, share_fd - 1, 0);
	close_range(share_fd + 1, ~0U, 0);
}

pid_t fall_asleep(void)
{
	struct klp_share_call c = { .function = KLP_SHARE_SLEEP, .arg = 1 };
	pid_t child;

	child = fork();
	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (!child) {
		close_all_but_share();
		_exit(ioctl(share_fd, KLP_SHARE_CALL, &c) ? 255 : c.ret[0]);
	}
	if (!wait_until(ioctl(share_fd, KLP_SHARE_ASLEEP) == 1))
		ksft_exit_fail_msg("the child does not sleep\n");
	return child;
}

int wake_up(pid_t child)
{
	int status = 0;

	ioctl(share_fd, KLP_SHARE_WAKE);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
