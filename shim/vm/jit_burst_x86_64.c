/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The burst entry: the loop over the records in the generated code, the program in the
 * middle of it. Nothing is stored; the result grows in a register.
 *
 * The loop runs from the last record to the first, so that `adc mask, mask` shifts the
 * result of each into its place: the carry flag is the verdict.
 *
 *	mov	records, rdi
 *	mov	count, esi
 *	xor	mask, mask
 *	test	count, count
 *	jz	done
 *   next:
 *	mov	rdi, [records + count * 8 - 8]
 *	movzx	esi, word [rdi + len]		if the program uses r2
 *	mov	edx, [rdi + wirelen]		r3
 *	mov	rcx, meta			r4, if the program changes it
 *	movzx	r11, word [rdi + offset]	r1
 *	mov	rdi, [rdi + base]
 *	add	rdi, r11
 *	<the program>				exits by jumping to one of
 *   value:
 *	neg	rax				carry: not zero
 *	adc	mask, mask
 *	sub	count, 1
 *	jnz	next
 *   done:
 *	mov	rax, mask
 *	ret
 *   reject:					r0 = 0; exit
 *	add	mask, mask
 *	sub	count, 1
 *	jnz	next
 *	jmp	done
 *   accept:					r0 = another constant; exit
 *	lea	mask, [mask + mask + 1]
 *	...
 *
 * A program that calls is a function of its own that the loop calls.
 */
#if defined(__x86_64__)
#include <errno.h>

#include "jit_x86_64.h"

/* Ways to end the program for one record. */
enum tail {
	TAIL_REJECT, /* as in jit.exit_labels */
	TAIL_ACCEPT,
	TAIL_CARRY, /* the carry flag is the result */
	N_TAILS,
};

struct burst {
	struct jit jit; /* first: the exit functions are given this */
	const struct dpcap_vm_burst_layout *layout;
	uint8_t records;
	uint8_t count;
	uint8_t mask;
	uint8_t meta; /* NO_REG: r4 is unused or stays as it is */
	uint32_t next;
	uint32_t done;
	uint32_t tails[N_TAILS];
};

static bool uses(const struct burst *burst, unsigned reg)
{
	return burst->jit.function.used & 1u << reg;
}

/* r1 to r4 from the record. */
static void emit_load_record(struct burst *burst)
{
	const struct dpcap_vm_burst_layout *layout = burst->layout;
	struct x64_asm *as = &burst->jit.as;
	struct x64_mem record = x64_at_index(burst->records, burst->count, 3, -8);

	if (uses(burst, 1) || uses(burst, 2) || uses(burst, 3))
		x64_load(as, 8, RDI, record);
	if (uses(burst, 2))
		x64_load(as, 2, RSI, x64_at(RDI, layout->len));
	if (uses(burst, 3))
		x64_load(as, 4, RDX, x64_at(RDI, layout->wirelen));
	if (burst->meta != NO_REG)
		x64_mov(as, W64, RCX, burst->meta);
	if (uses(burst, 1)) {
		x64_load(as, 2, TEMP, x64_at(RDI, layout->offset));
		x64_load(as, 8, RDI, x64_at(RDI, layout->base));
		x64_alu(as, W64, X_ADD, RDI, TEMP);
	}
}

/* Arguments into their registers, by way of two that hold nothing else. */
static void emit_load_arguments(struct burst *burst)
{
	bool meta_stays = uses(burst, 4) && burst->meta == NO_REG;
	struct x64_asm *as = &burst->jit.as;

	x64_mov(as, W64, TEMP, RDX);
	x64_mov(as, W32, RAX, RSI);
	x64_mov(as, W64, burst->records, RDI);
	x64_mov(as, W32, burst->count, RAX);
	if (burst->meta != NO_REG)
		x64_mov(as, W64, burst->meta, TEMP);
	else if (meta_stays)
		x64_mov(as, W64, RCX, TEMP);
	x64_alu(as, W32, X_XOR, burst->mask, burst->mask);
	x64_test(as, W32, burst->count, burst->count);
	x64_jcc(as, CC_E, burst->done);
}

static void emit_tail(struct burst *burst, enum tail tail)
{
	struct x64_asm *as = &burst->jit.as;
	uint8_t mask = burst->mask;

	x64_reserve(as);
	x64_place(as, burst->tails[tail]);
	if (tail == TAIL_REJECT)
		x64_alu(as, W64, X_ADD, mask, mask);
	else if (tail == TAIL_ACCEPT)
		x64_lea(as, W64, mask, x64_at_index(mask, mask, 0, 1));
	else
		x64_alu(as, W64, X_ADC, mask, mask);
	x64_alu_imm(as, W32, X_SUB, burst->count, 1);
	x64_jcc(as, CC_NE, burst->next);
}

/* The tail that the program's last instruction leads to comes first: no jump. */
static enum tail first_tail(const struct burst *burst)
{
	uint32_t n = burst->jit.prog->n_insns;
	int exit = n < 2 ? -1 : jit_known_exit(&burst->jit, n - 2);

	return exit < 0 ? TAIL_CARRY : exit;
}

static void emit_tails(struct burst *burst)
{
	struct x64_asm *as = &burst->jit.as;
	enum tail first = first_tail(burst), tail;

	emit_tail(burst, first);
	x64_place(as, burst->done);
	x64_mov(as, W64, RAX, burst->mask);
	jit_emit_epilogue(&burst->jit);
	for (tail = 0; tail < N_TAILS; tail++) {
		if (tail == first || !x64_label_used(as, burst->tails[tail]))
			continue;
		emit_tail(burst, tail);
		x64_jmp(as, burst->done);
	}
}

static void exit_value(struct jit *jit)
{
	struct burst *burst = (struct burst *)jit;

	x64_unary(&jit->as, W64, X_NEG, RAX);
	x64_jmp(&jit->as, burst->tails[TAIL_CARRY]);
}

static void exit_bit63(struct jit *jit)
{
	struct burst *burst = (struct burst *)jit;

	x64_alu(&jit->as, W64, X_ADD, RAX, RAX);
	x64_jmp(&jit->as, burst->tails[TAIL_CARRY]);
}

/* Registers for the loop; false if the program leaves too few. */
static bool take_loop_registers(struct burst *burst)
{
	struct jit *jit = &burst->jit;
	bool changes_r4 = jit->function.written & 1u << 4;

	burst->records = jit_take_register(jit);
	burst->count = jit_take_register(jit);
	burst->mask = jit_take_register(jit);
	burst->meta = NO_REG;
	if (uses(burst, 4) && changes_r4) {
		burst->meta = jit_take_register(jit);
		if (burst->meta == NO_REG)
			return false;
	}
	return burst->mask != NO_REG;
}

static void emit_inline_loop(struct burst *burst)
{
	struct jit *jit = &burst->jit;

	jit->exit = exit_value;
	jit->exit_bit63 = exit_bit63;
	jit->known_exits = true;
	jit->exit_labels[0] = burst->tails[TAIL_REJECT];
	jit->exit_labels[1] = burst->tails[TAIL_ACCEPT];
	jit_emit_prologue(jit);
	emit_load_arguments(burst);
	x64_align(&jit->as);
	x64_place(&jit->as, burst->next);
	emit_load_record(burst);
	jit_emit_body(jit);
	emit_tails(burst);
}

/* Registers that calls leave alone; with the return address they are a multiple of 16 bytes. */
static const uint8_t kept[] = {RBX, RBP, R12, R14, R15};

static void emit_calling_loop(struct burst *burst)
{
	struct jit *jit = &burst->jit;
	struct x64_asm *as = &jit->as;
	size_t i;

	burst->records = RBX;
	burst->count = RBP;
	burst->mask = R14;
	burst->meta = R15;
	jit->function.used |= 0x1e; /* all arguments */
	for (i = 0; i < sizeof(kept); i++)
		x64_push(as, kept[i]);
	emit_load_arguments(burst);
	x64_place(as, burst->next);
	emit_load_record(burst);
	x64_call_label(as, jit_entry_label(jit, 0));
	x64_unary(as, W64, X_NEG, RAX);
	emit_tail(burst, TAIL_CARRY);
	x64_place(as, burst->done);
	x64_mov(as, W64, RAX, burst->mask);
	for (i = sizeof(kept); i > 0; i--)
		x64_pop(as, kept[i - 1]);
	x64_ret(as);
	jit_emit_functions(jit);
}

int dpcap_vm_jit_burst(struct dpcap_vm_prog *prog, const struct dpcap_vm_burst_layout *layout)
{
	struct burst burst = {.layout = layout};
	struct jit *jit = &burst.jit;
	struct jit_function function;
	int ret, i;

	if (prog->burst_code)
		return 0;
	jit_init(jit, prog);
	burst.next = x64_new_label(&jit->as);
	burst.done = x64_new_label(&jit->as);
	for (i = 0; i < N_TAILS; i++)
		burst.tails[i] = x64_new_label(&jit->as);
	function = jit_analyse(prog, 0);
	if (function.used & (1u << 2 | 1u << 3))
		function.used |= 1u << 1; /* rdi: the record first */
	jit_map_registers(jit, &function);
	x64_reserve(&jit->as);
	if (!jit->as.no_memory) {
		if (!function.calls && take_loop_registers(&burst))
			emit_inline_loop(&burst);
		else
			emit_calling_loop(&burst);
	}
	ret = jit_finish(jit, &prog->burst_code, &prog->burst_size);
	if (ret == 0)
		prog->burst_entry = (dpcap_vm_burst_fn)(uintptr_t)prog->burst_code;
	return ret;
}
#endif
