// SPDX-License-Identifier: GPL-2.0

/*
 * Replaces all other livepatches with one of another function: what they
 * patched is a "nop" while the transition lasts, and then not patched any more.
 */

#define SHARE_FUNCTION	klp_share_target_other
#define SHARE_ADD	400
#define SHARE_REPLACE	true
#include "test_klp_share_patch.h"

MODULE_DESCRIPTION("Livepatch test: atomic replace that gives up functions that BPF programs share");
