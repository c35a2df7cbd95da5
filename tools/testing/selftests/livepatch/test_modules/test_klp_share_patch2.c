// SPDX-License-Identifier: GPL-2.0

/* A second livepatch of the function that test_klp_share_patch patches. */

#define SHARE_FUNCTION	klp_share_target_one
#define SHARE_ADD	200
#define SHARE_REPLACE	false
#include "test_klp_share_patch.h"

MODULE_DESCRIPTION("Livepatch test: second patch of a function that BPF programs share");
