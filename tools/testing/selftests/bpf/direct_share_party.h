/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DIRECT_SHARE_PARTY_H
#define _DIRECT_SHARE_PARTY_H

/*
 * What direct_share_faults, _hammer, _locks and _parked have in common: one BPF
 * program at one function or a set of them, and the trampoline that it has there.
 * Of all this their BPF programs only need the size below. Errors are as in
 * direct_share_util.h.
 */

/* More than a trampoline of a few programs has */
#define DIRECT_SHARE_TEXT	1024

#ifndef __bpf__
#include <stdbool.h>

#include <bpf/libbpf.h>

struct direct_share_faults;

/**
 * struct party - a BPF program at one function, or at a set of them
 * @skel:	an instance of the programs, of which one is loaded
 * @prog:	that one
 * @link:	its link, or NULL while it is not attached
 */
struct party {
	struct direct_share_faults *skel;
	struct bpf_program *prog;
	struct bpf_link *link;
};

/* @name is that of a program in progs/direct_share_faults.c. */
void load_party(struct party *p, const char *name, const char *function);
int attach_party(struct party *p);
int attach_party_to(struct party *p, const char *module, const char *const *functions, int n);
int attach_party_to_ids(struct party *p, const __u32 *ids, int n);
void find_ids(const char *module, const char *const *functions, __u32 *ids, int n);
int detach_party(struct party *p);
void free_party(struct party *p);

/* The image of the trampoline at which @p is, with a copy of its beginning */
struct image {
	unsigned long addr;
	unsigned char text[DIRECT_SHARE_TEXT];
};

unsigned long symbol_address(const char *name);
int images_of(struct party *p);
int all_images(bool print);
bool find_image(struct party *p, struct image *image);

/* Functions of the kernel that are rarely called; returns how many of them. */
int quiet_functions(const char **names, int max);

#endif /* !__bpf__ */
#endif /* _DIRECT_SHARE_PARTY_H */
