/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DIRECT_SHARE_NOISE_H
#define _DIRECT_SHARE_NOISE_H

/*
 * A task that does at random what has to make no difference to calls of
 * klp_share_target_one: all that can be asked of the kernel about fentry sites,
 * sense and nonsense, and what disturbs: no memory, a processor that goes and
 * comes, tasks that are stopped and frozen. What a call returns, and the programs
 * of others, it leaves alone.
 */

#include <stdbool.h>
#include <sys/types.h>

/*
 * There is one transition at a time, and one patch_state for each task: of whose
 * livepatch it tells has who holds this lock. For a process that has it already,
 * nothing happens.
 */
void lock_transitions(void);
void unlock_transitions(void);

/* @caller: a task to be stopped and frozen for a moment, now and then */
void start_noise(unsigned int seed, pid_t caller);

/* All is undone, and said how often what was done; false if something never was */
bool stop_noise(void);

/* To be called once the task that is frozen and stopped has ended */
void end_noise(void);

#endif /* _DIRECT_SHARE_NOISE_H */
