/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DIRECT_SHARE_UTIL_H
#define _DIRECT_SHARE_UTIL_H

/*
 * What all direct_share* tests have in common: files, modules, livepatches, the
 * kernel's log, and calls of the functions of test_klp_share_target.
 *
 * Errors are negative numbers, unless without what failed no test makes sense:
 * then the whole program ends.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "../livepatch/test_modules/test_klp_share.h"

#define TRACEFS		"/sys/kernel/tracing"
#define KLP		"/sys/kernel/livepatch"
#define TARGET_MODULE	"test_klp_share_target"

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x)	(sizeof(x) / sizeof((x)[0]))
#endif

/* Nothing that is waited for takes longer, on the slowest of machines. */
#define PATIENCE	60

/*
 * Options have been read: prints the header, or skips all and ends. What libbpf
 * has to say is left out, unless VERBOSE is in the environment.
 */
void begin(void);

double seconds(void);
void pin(int cpu);
int processors(void);

/*
 * With SCHED_IDLE, who waits for RCU tasks waits shorter on an idle machine; back to
 * SCHED_OTHER afterwards.
 */
void yield_rcu_tasks(int policy);

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
bool is_writable(const char *path);

/* The line of a function, in a file that starts each with its name */
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
/* For a child that goes on for a while: its links would keep programs attached. */
void close_all_but_share(void);
int call_function(enum klp_share_function function, int arg, unsigned int how, long *ret);

/*
 * A child that sleeps in KLP_SHARE_SLEEP, and so holds up a livepatch of it. Woken
 * up, it tells what its call with 1 returned.
 */
pid_t fall_asleep(void);
int wake_up(pid_t child);

#endif /* _DIRECT_SHARE_UTIL_H */
