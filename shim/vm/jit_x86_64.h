/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the x86-64 JIT share. */
#ifndef DPCAP_VM_JIT_X86_64_H
#define DPCAP_VM_JIT_X86_64_H

#include "emit_x86_64.h"
#include "isa.h"
#include "prog.h"

/* Always free between two eBPF instructions. */
#define TEMP R11
/* Free as well in functions that need more (struct jit_function.needs_temps). */
#define TEMP2 R10
#define TEMP3 R9

/* Bytes below rsp that no signal handler touches (System V ABI, "red zone"). */
#define RED_ZONE 128

/* What the machine has. Tests take bits out, to see the code made for older machines. */
enum {
	DPCAP_VM_CPU_BMI1 = 1,
	DPCAP_VM_CPU_BMI2 = 2,
	DPCAP_VM_CPU_MOVBE = 4,
};
extern unsigned dpcap_vm_cpu;

/* What a function of the program uses. */
struct jit_function {
	uint32_t start;
	uint32_t end;
	uint16_t used;	  /* eBPF registers, one bit each */
	uint16_t written;
	bool calls;	  /* no leaf */
	bool needs_temps; /* divides, or fetches by compare and exchange */
	uint32_t stack;	  /* bytes below r10 */
};

struct jit {
	struct x64_asm as;
	const struct dpcap_vm_prog *prog;
	unsigned cpu; /* dpcap_vm_cpu */

	/* Registers whose value is still needed when an instruction starts, one bit each. */
	uint16_t *live;
	struct jit_function function; /* at work */
	uint8_t reg[BPF_N_REGS];      /* where each eBPF register lives */
	uint8_t free[16];	      /* machine registers left over, the cheap ones first */
	uint32_t n_free;
	uint8_t saved[8]; /* pushed by the prologue */
	uint32_t n_saved;
	bool frame;	  /* rbp is r10 */
	uint32_t rsp_down; /* bytes below the saved registers */

	/* Label of instruction 0; each copy of the program in a burst entry has its own. */
	uint32_t first_label;
	/* Emits what `exit` does with the result in rax. */
	void (*exit)(struct jit *jit);
	/* The same with bit 63 of rax alone as the result; NULL: there is no shorter way. */
	void (*exit_bit63)(struct jit *jit);
	/* Emits what is done with a verdict in the carry flag: carry is `value`, no carry 0. */
	void (*exit_carry)(struct jit *jit, int32_t value);
	/*
	 * Where `r0 = 0; exit` and `r0 = something else; exit` go without touching rax:
	 * jumps to them go there at once. Burst entries only.
	 */
	bool known_exits;
	uint32_t exit_labels[2];

	/* Which register's value, compared with 0, the flags show. */
	uint8_t flags_reg; /* NO_REG: none */
	uint8_t flags_width;
};

/* jit_x86_64.c */
/* 0 or -ENOMEM. */
int jit_init(struct jit *jit, const struct dpcap_vm_prog *prog);
/* Lay out the code in pages of its own; 0 or -ENOMEM. */
int jit_finish(struct jit *jit, void **code, size_t *size);
void jit_emit_functions(struct jit *jit);

/* jit_live_x86_64.c: jit.live, n_insns + 1 of them; NULL: no memory. */
uint16_t *jit_liveness(const struct dpcap_vm_prog *prog);

/* jit_regs_x86_64.c */
struct jit_function jit_analyse(const struct dpcap_vm_prog *prog, uint32_t start);
/* Choose registers for the function, callee-saved ones last. */
void jit_map_registers(struct jit *jit, const struct jit_function *function);
/* Take one of the registers that are left; NO_REG if none is. */
uint8_t jit_take_register(struct jit *jit);
void jit_emit_prologue(struct jit *jit);
void jit_emit_epilogue(struct jit *jit);

/* jit_insn_x86_64.c: translate the instructions from pc to end, all of one function. */
void jit_emit_body(struct jit *jit, uint32_t pc, uint32_t end);
/*
 * With jit.known_exits: `r0 = constant; exit` stands at pc. 0 or 1 as the constant is
 * 0 or not, -1: something else stands there.
 */
int jit_known_exit(const struct jit *jit, uint32_t pc);

/* The result that a comparison decides on: `value` if it holds or does not, as `when` says; else 0. */
struct jit_verdict {
	int32_t value;
	bool when;
};

/* jit_verdict_x86_64.c */
/* The jump at pc and the two instructions behind it are a verdict. */
bool jit_verdict(const struct jit *jit, uint32_t pc, struct jit_verdict *verdict);
/* The carry flag is set when the comparison at pc comes out as `when` says. */
void jit_emit_verdict(struct jit *jit, uint32_t pc, bool when);

/*
 * jit_fuse_x86_64.c: translate several instructions at once, where the machine has one
 * for them. The number of slots dealt with; 0: nothing was done.
 */
uint32_t jit_fuse(struct jit *jit, uint32_t pc);

/* jit_long_x86_64.c: what takes more than a few machine instructions. */
void jit_emit_division(struct jit *jit, const struct dpcap_insn *insn);
void jit_emit_atomic(struct jit *jit, const struct dpcap_insn *insn);
void jit_emit_call(struct jit *jit, uint32_t pc);
void jit_emit_shift_by_register(struct jit *jit, enum x64_width w, enum x64_shift op, uint8_t dst,
				uint8_t count);

/* Where instruction pc starts. */
static inline uint32_t jit_label(const struct jit *jit, uint32_t pc)
{
	return jit->first_label + pc;
}

/* Somebody reads the register behind instruction pc, which does not jump and takes one slot. */
static inline bool live_after(const struct jit *jit, uint32_t pc, uint8_t reg)
{
	return jit->live[pc + 1] & 1u << reg;
}

/* Where the prologue of the function at pc starts: jumps to pc come in behind it. */
static inline uint32_t jit_entry_label(const struct jit *jit, uint32_t pc)
{
	return jit->prog->n_insns + pc;
}

static inline const struct dpcap_insn *insn_at(const struct jit *jit, uint32_t pc)
{
	return &jit->prog->insns[pc];
}

static inline uint8_t dst_reg(const struct jit *jit, const struct dpcap_insn *insn)
{
	return jit->reg[insn_dst(insn)];
}

static inline uint8_t src_reg(const struct jit *jit, const struct dpcap_insn *insn)
{
	return jit->reg[insn_src(insn)];
}

static inline enum x64_width insn_width(const struct dpcap_insn *insn)
{
	return insn_class(insn) == BPF_ALU64 || insn_class(insn) == BPF_JMP ? W64 : W32;
}

static inline bool is_op(const struct dpcap_insn *insn, uint8_t opcode)
{
	return insn->opcode == opcode;
}

/* The instruction behind, if it can be taken together with this one; NULL if not. */
static inline const struct dpcap_insn *fusible(const struct jit *jit, uint32_t pc)
{
	if (pc + 1 >= jit->function.end || jit->prog->aux[pc + 1].jump_target)
		return NULL;
	return insn_at(jit, pc + 1);
}

/* The flags now show the value of this register compared with 0. */
static inline void flags_show(struct jit *jit, uint8_t reg, enum x64_width w)
{
	jit->flags_reg = reg;
	jit->flags_width = w;
}

static inline bool ends_flow(const struct dpcap_insn *insn)
{
	return insn->opcode == BPF_OPCODE_EXIT || insn->opcode == (BPF_JMP | BPF_JA) ||
	       insn->opcode == (BPF_JMP32 | BPF_JA);
}

#endif /* DPCAP_VM_JIT_X86_64_H */
