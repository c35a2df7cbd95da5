// SPDX-License-Identifier: GPL-2.0

/* The livepatch of another function, for who does not care about the first one. */

#define SHARE_FUNCTION	klp_share_target_other
#define SHARE_ADD	1000
#define SHARE_REPLACE	false
#include "test_klp_share_patch.h"

MODULE_DESCRIPTION("Livepatch test: patch of another function that BPF programs share");
