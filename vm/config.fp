# SPDX-License-Identifier: GPL-2.0
#
# On top of vm/config for FLAVOR=fp: the other unwinder that livepatch can rely on,
# and the other preemption, without a choice at boot.
# CONFIG_UNWINDER_ORC is not set
CONFIG_UNWINDER_FRAME_POINTER=y
CONFIG_STACK_VALIDATION=y
# CONFIG_PREEMPT_DYNAMIC is not set
# CONFIG_PREEMPT is not set
CONFIG_PREEMPT_LAZY=y
