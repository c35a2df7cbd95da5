/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _SHARE_BENCH_H
#define _SHARE_BENCH_H

int klp_share_bench_target(int a, int b);
int klp_share_bench_target2(int a, int b);
int klp_share_bench_twin(int a, int b);

/* So many functions has the module besides the one that is measured. */
#define SHARE_BENCH_OTHERS	400

#endif /* _SHARE_BENCH_H */
