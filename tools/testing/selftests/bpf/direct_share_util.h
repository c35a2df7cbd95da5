/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DIRECT_SHARE_UTIL_H
#define _DIRECT_SHARE_UTIL_H

/*
 * What direct_share_faults, _locks and _parked have in common: files,
 * modules, livepatches, calls of the functions of test_klp_share_target, and one
 * BPF program at one function or a set of them. Of all this their BPF programs
 * only need the size below.
 *
 * Errors are negative numbers, unless without what failed no test makes sense:
 * then the whole program ends.
 */

/* More than a trampoline of a few programs has */
#define DIRECT_SHARE_TEXT	1024

#ifndef __bpf__
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <bpf/libbpf.h>

#include "../livepatch/test_modules/test_klp_share.h"

#define TRACEFS		"/sys/kernel/tracing"
#define KLP		"/sys/kernel/livepatch"
#define TARGET_MODULE	"test_klp_share_target"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x)	(sizeof(x) / sizeof((x)[0]))
#endif

/* Nothing that is waited for takes longer, on the slowest of machines. */
#define PATIENCE	60

/* Options have been read: prints the header, or skips all and ends. */
void begin(void);

double seconds(void);
void pin(int cpu);
int processors(void);

/* Returns false if it has not come true after all that time. */
#define wait_until(condition)					\
({								\
	double end = seconds() + PATIENCE;			\
	bool holds;						\
								\
	while (!(holds = (condition)) && seconds() < end)	\
		usleep(500);					\
	holds;							\
})

/*
 * The next complaint in the kernel's log since listen_to_kernel() was called,
 * NULL if there is none.
 */
void listen_to_kernel(void);
const char *kernel_complaint(void);

/* Files. read_file() has one buffer, and returns NULL if it cannot read. */
char *read_file(const char *path);
int write_file(const char *path, const char *text);
char *line_of(char *text, const char *function);

/* Modules lie in module_dir, by default in the livepatch suite beside us. */
extern char module_dir[];
int load_module(const char *name, const char *params);
int try_unload_module(const char *name);
int unload_module(const char *name);

/* Livepatches; to load one is to enable it. */
bool in_transition(const char *patch);
int load_livepatch(const char *name);
int disable_livepatch(const char *name);
int unload_livepatch(const char *name);

/* The functions of test_klp_share_target */
extern int share_fd;
void target_comes(void);
void target_goes(void);
int call_function(enum klp_share_function function, int arg, unsigned int how, long *ret);

/* A child that sleeps in KLP_SHARE_SLEEP, and so holds up a livepatch of it */
pid_t fall_asleep(void);
void wake_up(pid_t child);

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
int detach_party(struct party *p);
void free_party(struct party *p);

/* The image of the trampoline at which @p is, with a copy of its beginning */
struct image {
	unsigned long addr;
	unsigned char text[DIRECT_SHARE_TEXT];
};

unsigned long symbol_address(const char *name);
bool find_image(struct party *p, struct image *image);

/* Functions of the kernel that are rarely called; returns how many of them. */
int quiet_functions(const char **names, int max);

#endif /* !__bpf__ */
#endif /* _DIRECT_SHARE_UTIL_H */
