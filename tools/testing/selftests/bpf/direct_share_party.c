// SPDX-License-Identifier: GPL-2.0

/* See direct_share_party.h. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "kselftest.h"
#include "direct_share_party.h"
#include "direct_share_util.h"
#include "direct_share_faults.skel.h"

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
void find_ids(const char *module, const char *const *functions, __u32 *ids, int n)
{
	struct btf *btf = vmlinux_btf();
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
}

int attach_party_to(struct party *p, const char *module, const char *const *functions, int n)
{
	__u32 ids[n];

	find_ids(module, functions, ids, n);
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

/* As bpf_trampoline_compute_key() does. */
static void image_name(struct party *p, char *name, size_t size)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_link__fd(p->link), &info, &len))
		ksft_exit_fail_perror("no information on a link");
	snprintf(name, size, "bpf_trampoline_%llu",
		 (unsigned long long)info.tracing.target_obj_id << 32 | 0x80000000 |
		 info.tracing.target_btf_id);
}

/* Images that are not in use any more keep their name until they are freed. */
int images_of(struct party *p)
{
	unsigned long addr;
	char name[64];

	image_name(p, name, sizeof(name));
	return find_symbol(name, &addr);
}

/* How many there are of all trampolines; their symbols come and go with them. */
int all_images(bool print)
{
	FILE *f = open_kallsyms();
	char line[512];
	int n = 0;

	while (fgets(line, sizeof(line), f)) {
		if (!strstr(line, "bpf_trampoline_") || !strstr(line, "[bpf]"))
			continue;
		n++;
		if (print)
			ksft_print_msg("%s", line);
	}
	fclose(f);
	return n;
}

bool find_image(struct party *p, struct image *image)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	char name[64];

	image_name(p, name, sizeof(name));
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
