// SPDX-License-Identifier: GPL-2.0
/*
 * The ways of a call, in user space: see bench/native/run, which writes what is
 * included here. The pieces of each way are copied to memory that may be run,
 * near to each other, and what they call or jump to is looked up in this order:
 * a piece of the same way, a stand-in, or a trap, which nothing may run into.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <x86intrin.h>

struct piece {
	const char *way, *name;
	uint64_t address;
	const unsigned char *bytes;
	unsigned int len;
};

static const struct piece pieces[] = {
#include "pieces.inc"
};

struct relocation {
	const char *way, *piece;
	unsigned int at;		/* the four bytes, from where the piece begins */
	uint64_t target;
};

static const struct relocation relocations[] = {
#include "relocations.inc"
};

struct symbol {
	const char *way;
	uint64_t address;
	const char *name;
};

static const struct symbol symbols[] = {
#include "symbols.inc"
};

#define ARRAY_SIZE(x)	(sizeof(x) / sizeof((x)[0]))
#define PAGE		4096
#define CALLS		1000
#define ROUNDS		2000

/*
 * At the start of each way's memory: data, and on the next page the stand-ins. A
 * processor takes a write near to what it executes for a change of the text, and
 * begins anew. The offsets are those of pt_regs, see
 * arch/x86/include/asm/ptrace.h.
 */
struct stand_ins {
	uint64_t count;			/* runs of the program */
	uint64_t ip, direct;		/* what the walk over all ops comes to */
	uint64_t data;			/* function_trace_op, which nobody looks at */
	unsigned char rest_of_page[PAGE - 4 * 8];
	unsigned char enter[16], program[16], exit[16], walk[32], ret[16], trap[16];
} __attribute__((packed));

static void write_stand_ins(struct stand_ins *s)
{
	int32_t disp;

	/* enter: mov $1, %eax; ret -- a start time of BPF's statistics, not 0 */
	memcpy(s->enter, "\xb8\x01\x00\x00\x00\xc3", 6);
	/* program: incq count(%rip); xor %eax, %eax; ret */
	disp = (unsigned char *)&s->count - (s->program + 7);
	memcpy(s->program, "\x48\xff\x05", 3);
	memcpy(s->program + 3, &disp, 4);
	memcpy(s->program + 7, "\x31\xc0\xc3", 3);
	memcpy(s->exit, "\xc3", 1);
	/* walk: mov ip(%rip), %rax; mov %rax, 0x80(%rcx) -- regs->ip */
	disp = (unsigned char *)&s->ip - (s->walk + 7);
	memcpy(s->walk, "\x48\x8b\x05", 3);
	memcpy(s->walk + 3, &disp, 4);
	memcpy(s->walk + 7, "\x48\x89\x81\x80\x00\x00\x00", 7);
	/* mov direct(%rip), %rax; mov %rax, 0x78(%rcx); ret -- regs->orig_ax */
	disp = (unsigned char *)&s->direct - (s->walk + 21);
	memcpy(s->walk + 14, "\x48\x8b\x05", 3);
	memcpy(s->walk + 17, &disp, 4);
	memcpy(s->walk + 21, "\x48\x89\x41\x78\xc3", 5);
	memcpy(s->ret, "\xc3", 1);
	memset(s->trap, 0xcc, sizeof(s->trap));
}

static unsigned char *stand_in(struct stand_ins *s, const char *name)
{
	if (strstr(name, "return_thunk"))
		return s->ret;
	if (!strncmp(name, "__bpf_prog_enter", 16))
		return s->enter;
	if (!strncmp(name, "__bpf_prog_exit", 15))
		return s->exit;
	if (!strncmp(name, "bpf_prog_", 9))
		return s->program;
	if (!strcmp(name, "arch_ftrace_ops_list_func"))
		return s->walk;
	return s->trap;
}

struct way {
	const char *name;
	unsigned char *memory;
	struct stand_ins *s;
};

static const struct piece *find_piece(const char *way, const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pieces); i++)
		if (!strcmp(pieces[i].way, way) && !strcmp(pieces[i].name, name))
			return &pieces[i];
	return NULL;
}

/* Each piece has a page, in the order of the table. */
static unsigned char *place(const struct way *w, const struct piece *p)
{
	return p ? w->memory + PAGE * (2 + p - pieces) : NULL;
}

static unsigned char *resolve(const struct way *w, const struct relocation *r)
{
	const struct piece *p;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pieces); i++) {
		p = &pieces[i];
		if (!strcmp(p->way, w->name) && r->target >= p->address &&
		    r->target < p->address + p->len)
			return place(w, p) + (r->target - p->address);
	}
	for (i = 0; i < ARRAY_SIZE(symbols); i++)
		if (!strcmp(symbols[i].way, w->name) && symbols[i].address == r->target)
			return stand_in(w->s, symbols[i].name);
	return w->s->trap;
}

static void relocate(const struct way *w, const struct relocation *r)
{
	const struct piece *p = find_piece(w->name, r->piece);
	unsigned char *at = place(w, p) + r->at, *to = resolve(w, r);
	int32_t rel;

	/* The one reference to data: a mov, by which the handler gets its ops */
	if (at[-2] == 0x8b)
		to = (unsigned char *)&w->s->data;
	rel = to - (at + 4);
	memcpy(at, &rel, sizeof(rel));
}

static struct way load(const char *name)
{
	struct way w = { .name = name };
	unsigned int i;

	w.memory = mmap(NULL, PAGE * (2 + ARRAY_SIZE(pieces)), PROT_READ | PROT_WRITE | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w.memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	w.s = (struct stand_ins *)w.memory;
	write_stand_ins(w.s);
	for (i = 0; i < ARRAY_SIZE(pieces); i++)
		if (!strcmp(pieces[i].way, name))
			memcpy(place(&w, &pieces[i]), pieces[i].bytes, pieces[i].len);
	for (i = 0; i < ARRAY_SIZE(relocations); i++)
		if (!strcmp(relocations[i].way, name))
			relocate(&w, &relocations[i]);
	w.s->ip = (uint64_t)place(&w, find_piece(name, "function2"));
	w.s->direct = (uint64_t)place(&w, find_piece(name, "image"));
	return w;
}

/* Cycles of so many calls; all of them have to return this, and run the program. */
static uint64_t calls(const struct way *w, int want, int runs)
{
	int (*volatile function)(int a, int b) = (void *)place(w, find_piece(w->name, "function"));
	uint64_t start, before = w->s->count;
	unsigned int aux;
	int i, wrong = 0;

	start = __rdtscp(&aux);
	_mm_lfence();
	for (i = 0; i < CALLS; i++)
		wrong |= function(5, 2) ^ want;
	start = __rdtscp(&aux) - start;
	if (wrong || w->s->count - before != (uint64_t)runs * CALLS) {
		fprintf(stderr, "native: %s does not do what it does in the kernel\n", w->name);
		exit(1);
	}
	return start;
}

/* What interrupts it only adds. */
static double least(const struct way *w, int want, int runs)
{
	uint64_t took, best = UINT64_MAX;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		took = calls(w, want, runs);
		if (took < best)
			best = took;
	}
	return (double)best / CALLS;
}

int main(void)
{
	static const struct {
		const char *name, *what;
		int want;
	} ways[] = {
		{ "solo", "fentry alone", 7 },
		{ "fused", "livepatch + fentry, ours (`fused`)", 3 },
		{ "shared", "livepatch + fentry, stock, without its walk over all ops", 3 },
	};
	struct way untraced = load("untraced"), w;
	double base = least(&untraced, 7, 0), cycles, solo = 0;
	unsigned int i;

	printf("| a call, on this processor | cycles above untraced | / solo |\n|---|---:|---:|\n");
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		w = load(ways[i].name);
		cycles = least(&w, ways[i].want, 1) - base;
		if (!i)
			solo = cycles;
		printf("| %s | %.1f | %.2f |\n", ways[i].what, cycles, cycles / solo);
	}
	return 0;
}
