// SPDX-License-Identifier: GPL-2.0
/*
 * What it costs to change something, in the guest's instructions: the TSC counts
 * them, idle ones too, so each line is only good if nothing waited. On the one
 * processor none of the measured calls does: a transition is over when it
 * returns, which is checked.
 *
 *	ops attach OBJECT		attach its program, the least of five times
 *	ops enable MODULE PATCH [PARAMS]	load a livepatch
 *	ops memory			memory that the kernel uses, in KiB
 *	ops hold OBJECT MODULE PREFIX N	attach its program to the functions
 *					PREFIX000 and on of MODULE; ends with its stdin
 */

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#define TIMES	5

static void die(const char *what)
{
	fprintf(stderr, "ops: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct bpf_program *load(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);

	if (!object || bpf_object__load(object))
		die(path);
	return bpf_object__next_program(object, NULL);
}

/* The first time touches memory for the first time. */
static unsigned long long attach(const char *path)
{
	struct bpf_program *program = load(path);
	unsigned long long start, took, least = 0;
	struct bpf_link *link;
	int i;

	for (i = 0; i < TIMES; i++) {
		start = __rdtsc();
		link = bpf_program__attach(program);
		took = __rdtsc() - start;
		if (!link)
			die("cannot attach");
		if (!least || took < least)
			least = took;
		bpf_link__destroy(link);
		/* What is freed later shall not be freed in the next one. */
		usleep(300000);
	}
	return least;
}

static unsigned long long enable(const char *path, const char *patch, const char *params)
{
	unsigned long long start, took;
	char file[256], transition = 0;
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		die(path);
	start = __rdtsc();
	if (syscall(SYS_finit_module, fd, params, 0))
		die(path);
	took = __rdtsc() - start;
	close(fd);

	snprintf(file, sizeof(file), "/sys/kernel/livepatch/%s/transition", patch);
	fd = open(file, O_RDONLY);
	if (fd < 0 || read(fd, &transition, 1) != 1 || transition != '0') {
		fprintf(stderr, "ops: the transition of %s is not over\n", patch);
		exit(1);
	}
	return took;
}

static void write_one(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

/* Slabs without an object in them are free memory. */
static void shrink_slabs(void)
{
	glob_t caches;
	size_t i;

	if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &caches))
		die("/sys/kernel/slab");
	for (i = 0; i < caches.gl_pathc; i++)
		write_one(caches.gl_pathv[i], "1");
	globfree(&caches);
}

/*
 * A trampoline of ftrace has a page. It is one of a huge page that the kernel
 * keeps for such purposes, so it does not show in the memory that is used.
 */
static long trampolines(void)
{
	char line[512];
	long n = 0;
	FILE *f;

	f = fopen("/proc/kallsyms", "r");
	if (!f)
		die("/proc/kallsyms");
	while (fgets(line, sizeof(line), f))
		n += strstr(line, " ftrace_trampoline\t") != NULL;
	fclose(f);
	return n;
}

/* What is free says less: it changes with what processors keep for later. */
static long memory(void)
{
	long kib, sum = 0;
	char line[128];
	int found = 0;
	FILE *f;

	write_one("/proc/sys/vm/drop_caches", "3");
	shrink_slabs();
	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Slab: %ld", &kib) == 1 ||
		    sscanf(line, "VmallocUsed: %ld", &kib) == 1 ||
		    sscanf(line, "Percpu: %ld", &kib) == 1) {
			sum += kib;
			found++;
		}
	}
	if (found != 3)
		die("/proc/meminfo");
	fclose(f);
	return sum + trampolines() * sysconf(_SC_PAGESIZE) / 1024;
}

static void hold(const char *path, const char *module, const char *prefix, int n)
{
	LIBBPF_OPTS(bpf_tracing_multi_opts, opts);
	struct btf *vmlinux = btf__load_vmlinux_btf(), *btf;
	struct bpf_program *program = load(path);
	char name[128], byte;
	__u32 ids[n];
	int i, id;

	btf = vmlinux ? btf__load_module_btf(module, vmlinux) : NULL;
	if (!btf)
		die(module);
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s%03d", prefix, i);
		id = btf__find_by_name_kind(btf, name, BTF_KIND_FUNC);
		if (id < 0)
			die(name);
		ids[i] = id;
	}
	opts.ids = ids;
	opts.cnt = n;
	if (!bpf_program__attach_tracing_multi(program, NULL, &opts))
		die("cannot attach the set");
	btf__free(btf);
	btf__free(vmlinux);
	puts("attached");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "attach") && argc == 3)
		printf("%llu\n", attach(argv[2]));
	else if (!strcmp(what, "enable") && argc >= 4)
		printf("%llu\n", enable(argv[2], argv[3], argc > 4 ? argv[4] : ""));
	else if (!strcmp(what, "memory") && argc == 2)
		printf("%ld\n", memory());
	else if (!strcmp(what, "hold") && argc == 6)
		hold(argv[2], argv[3], argv[4], atoi(argv[5]));
	else
		return 2;
	return 0;
}
