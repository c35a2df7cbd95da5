// SPDX-License-Identifier: GPL-2.0

/* See direct_share_util.h. */

#define _GNU_SOURCE
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "kselftest.h"
#include "direct_share_util.h"
#include "direct_share_faults.skel.h"

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

static bool is_complaint(const char *text)
{
	static const char *const bad[] = {
		"WARNING: ", "BUG: ", "kernel BUG at ", "Oops: ", "Missing ENDBR",
		"general protection fault", "blocked for more than", "rcu_preempt detected",
	};
	unsigned int i;

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
	int fd, err = 0;

	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* The line of a function, in a file that starts each with its name */
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
	return 0;
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
	int err = 0;

	/* The work that drops the last reference may not have run yet. */
	wait_until(!syscall(SYS_delete_module, name, O_NONBLOCK) ||
		   (err = -errno) != -EWOULDBLOCK || (err = 0));
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

pid_t fall_asleep(void)
{
	struct klp_share_call c = { .function = KLP_SHARE_SLEEP, .arg = 1 };
	pid_t child;

	child = fork();
	if (child < 0)
		ksft_exit_fail_perror("fork");
	if (!child) {
		ioctl(share_fd, KLP_SHARE_CALL, &c);
		_exit(0);
	}
	if (!wait_until(ioctl(share_fd, KLP_SHARE_ASLEEP) == 1))
		ksft_exit_fail_msg("the child does not sleep\n");
	return child;
}

void wake_up(pid_t child)
{
	ioctl(share_fd, KLP_SHARE_WAKE);
	waitpid(child, NULL, 0);
}

/*
 * BPF programs
 */

static struct btf *vmlinux_btf(void)
{
	static struct btf *btf;

	if (!btf)
		btf = btf__load_vmlinux_btf();
	if (!btf)
		ksft_exit_fail_perror("no BTF of the kernel");
	return btf;
}

/* @function is NULL for a program of a set. */
void load_party(struct party *p, const char *name, const char *function)
{
	struct bpf_program *prog;
	int err = 0;

	p->link = NULL;
	p->skel = direct_share_faults__open();
	if (!p->skel)
		ksft_exit_fail_perror("cannot open the BPF programs");
	bpf_object__for_each_program(prog, p->skel->obj)
		bpf_program__set_autoload(prog, false);
	p->prog = bpf_object__find_program_by_name(p->skel->obj, name);
	if (!p->prog)
		ksft_exit_fail_msg("no program %s\n", name);
	bpf_program__set_autoload(p->prog, true);
	bpf_program__set_autoload(p->skel->progs.read_text, true);
	if (function)
		err = bpf_program__set_attach_target(p->prog, 0, function);
	if (!err)
		err = direct_share_faults__load(p->skel);
	if (err)
		ksft_exit_fail_msg("cannot load %s for %s: %s\n", name, function ?: "a set",
				   strerror(-err));
}

int attach_party(struct party *p)
{
	p->link = bpf_program__attach(p->prog);
	return p->link ? 0 : -errno;
}

int attach_party_to_ids(struct party *p, const __u32 *ids, int n)
{
	LIBBPF_OPTS(bpf_tracing_multi_opts, opts, .ids = ids, .cnt = n);

	p->link = bpf_program__attach_tracing_multi(p->prog, NULL, &opts);
	return p->link ? 0 : -errno;
}

/* @module is NULL for functions of the kernel. */
int attach_party_to(struct party *p, const char *module, const char *const *functions, int n)
{
	struct btf *btf = vmlinux_btf();
	__u32 ids[n];
	int i, id;

	if (module)
		btf = btf__load_module_btf(module, btf);
	if (!btf)
		ksft_exit_fail_msg("no BTF of %s\n", module);
	for (i = 0; i < n; i++) {
		id = btf__find_by_name_kind(btf, functions[i], BTF_KIND_FUNC);
		if (id < 0)
			ksft_exit_fail_msg("no BTF of %s\n", functions[i]);
		ids[i] = id;
	}
	if (module)
		btf__free(btf);
	return attach_party_to_ids(p, ids, n);
}

int detach_party(struct party *p)
{
	int err = bpf_link__destroy(p->link);

	p->link = NULL;
	return err;
}

void free_party(struct party *p)
{
	detach_party(p);
	direct_share_faults__destroy(p->skel);
	p->skel = NULL;
}

/*
 * Kernel text
 */

static FILE *open_kallsyms(void)
{
	FILE *f = fopen("/proc/kallsyms", "r");

	if (!f)
		ksft_exit_fail_perror("/proc/kallsyms");
	return f;
}

/* How many symbols have this name, and where the last one of them is */
static int find_symbol(const char *name, unsigned long *addr)
{
	char line[512], found[512];
	FILE *f = open_kallsyms();
	unsigned long at;
	int n = 0;

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx %*c %511s", &at, found) == 2 && !strcmp(found, name)) {
			*addr = at;
			n++;
		}
	}
	fclose(f);
	return n;
}

unsigned long symbol_address(const char *name)
{
	unsigned long addr = 0;

	if (!find_symbol(name, &addr))
		ksft_exit_fail_msg("no symbol %s\n", name);
	return addr;
}

/* Images that are not in use any more keep their name until they are freed. */
bool find_image(struct party *p, struct image *image)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	char name[64];

	if (bpf_obj_get_info_by_fd(bpf_link__fd(p->link), &info, &len))
		ksft_exit_fail_perror("no information on a link");
	/* As bpf_trampoline_compute_key() does. */
	snprintf(name, sizeof(name), "bpf_trampoline_%llu",
		 (unsigned long long)info.tracing.target_obj_id << 32 | 0x80000000 |
		 info.tracing.target_btf_id);
	if (!wait_until(find_symbol(name, &image->addr) == 1))
		return false;

	p->skel->bss->text_addr = image->addr;
	if (bpf_prog_test_run_opts(bpf_program__fd(p->skel->progs.read_text), &opts) ||
	    opts.retval)
		return false;
	memcpy(image->text, p->skel->bss->text, sizeof(image->text));
	return true;
}

/*
 * Functions of terminals: there are many, BPF may attach to each, and without a
 * user at a terminal nobody calls them often.
 */
int quiet_functions(const char **names, int max)
{
	char *text = read_file(TRACEFS "/available_filter_functions");
	struct btf *btf = vmlinux_btf();
	char *name, *end, *state;
	int i, n = 0;

	if (!text)
		ksft_exit_fail_perror("no list of functions");
	for (name = strtok_r(text, "\n", &state); name && n < max;
	     name = strtok_r(NULL, "\n", &state)) {
		end = name + strcspn(name, " .");
		if (strncmp(name, "tty_", 4) || *end ||
		    btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) < 0)
			continue;
		/* A set with a function twice is refused. */
		for (i = 0; i < n && strcmp(names[i], name); i++)
			;
		if (i < n)
			continue;
		names[n] = strdup(name);
		if (!names[n++])
			ksft_exit_fail_msg("out of memory\n");
	}
	return n;
}
