/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _DIRECT_SHARE_H
#define _DIRECT_SHARE_H

/* What direct_share and its BPF programs agree on. */

enum direct_share_prog {
	DIRECT_SHARE_FENTRY,
	DIRECT_SHARE_FEXIT,
	DIRECT_SHARE_FMOD_RET,
	DIRECT_SHARE_FSESSION,
	DIRECT_SHARE_FENTRY_MULTI,
	DIRECT_SHARE_FEXIT_MULTI,
	DIRECT_SHARE_FSESSION_MULTI,
	DIRECT_SHARE_KPROBE,
	DIRECT_SHARE_PROGS,
};

/* The most arguments that a traced function has, a struct's halves counted */
#define DIRECT_SHARE_ARGS	12

/**
 * struct direct_share_runs - what a program saw since the counts were set to 0
 * @entry:	runs before the function
 * @exit:	runs after it
 * @wrong:	runs with an argument or a returned value that is not as it has to be
 */
struct direct_share_runs {
	unsigned long long entry;
	unsigned long long exit;
	unsigned long long wrong;
};

/**
 * struct direct_share_want - what the function returns
 * @times:	factor of its first argument
 * @plus:	added to that
 */
struct direct_share_want {
	int times;
	int plus;
};

#endif /* _DIRECT_SHARE_H */
