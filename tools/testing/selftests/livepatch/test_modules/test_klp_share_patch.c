// SPDX-License-Identifier: GPL-2.0

/* The livepatch of a function that BPF programs share. */

#define SHARE_FUNCTION	klp_share_target_one
#define SHARE_ADD	100
#define SHARE_REPLACE	false
#include "test_klp_share_patch.h"

MODULE_DESCRIPTION("Livepatch test: patch of a function that BPF programs share");
