// SPDX-License-Identifier: GPL-2.0

/*
 * Four thousand functions, so that ftrace has as many records of this module:
 * its coming and going changes a good part of the list of all.
 */

#include <linux/module.h>

#define CROWD_1(name)						\
	noinline __used static int klp_share_crowd_##name(int a)	\
	{							\
		return a + 0x##name;				\
	}

#define CROWD_16(name)						\
	CROWD_1(name##0) CROWD_1(name##1) CROWD_1(name##2) CROWD_1(name##3)	\
	CROWD_1(name##4) CROWD_1(name##5) CROWD_1(name##6) CROWD_1(name##7)	\
	CROWD_1(name##8) CROWD_1(name##9) CROWD_1(name##a) CROWD_1(name##b)	\
	CROWD_1(name##c) CROWD_1(name##d) CROWD_1(name##e) CROWD_1(name##f)

#define CROWD_256(name)						\
	CROWD_16(name##0) CROWD_16(name##1) CROWD_16(name##2) CROWD_16(name##3)	\
	CROWD_16(name##4) CROWD_16(name##5) CROWD_16(name##6) CROWD_16(name##7)	\
	CROWD_16(name##8) CROWD_16(name##9) CROWD_16(name##a) CROWD_16(name##b)	\
	CROWD_16(name##c) CROWD_16(name##d) CROWD_16(name##e) CROWD_16(name##f)

CROWD_256(0) CROWD_256(1) CROWD_256(2) CROWD_256(3)
CROWD_256(4) CROWD_256(5) CROWD_256(6) CROWD_256(7)
CROWD_256(8) CROWD_256(9) CROWD_256(a) CROWD_256(b)
CROWD_256(c) CROWD_256(d) CROWD_256(e) CROWD_256(f)

static int test_klp_share_crowd_init(void)
{
	return 0;
}

static void test_klp_share_crowd_exit(void)
{
}

module_init(test_klp_share_crowd_init);
module_exit(test_klp_share_crowd_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Livepatch test: a module with very many functions");
