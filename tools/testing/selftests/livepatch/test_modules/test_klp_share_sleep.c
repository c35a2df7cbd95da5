// SPDX-License-Identifier: GPL-2.0

/* A livepatch of klp_share_target_sleep() alone, to be below another one. */

#include <linux/compiler.h>

#include "test_klp_share.h"

#define SHARE_FUNCTION	klp_share_target_sleep
#define SHARE_NEW	livepatch_share_sleep
#define SHARE_REPLACE	false

static int livepatch_share_sleep(int a, void *serve);

#include "test_klp_share_patch.h"

static int livepatch_share_sleep(int a, void *serve)
{
	klp_share_fn fn = serve;
	int ret = fn(a, NULL);

	OPTIMIZER_HIDE_VAR(ret);
	return ret + 1000;
}

MODULE_DESCRIPTION("Livepatch test: patch of the function that sleeps");
