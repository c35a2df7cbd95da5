// SPDX-License-Identifier: GPL-2.0

/* Replaces all other livepatches with one of the same function. */

#define SHARE_FUNCTION	klp_share_target_one
#define SHARE_ADD	300
#define SHARE_REPLACE	true
#include "test_klp_share_patch.h"

MODULE_DESCRIPTION("Livepatch test: atomic replace of a function that BPF programs share");
