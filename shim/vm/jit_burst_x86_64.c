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
 *	<prefetch of what the records point to, if asked for>
 *   next:
 *	mov	r11, [records + count * 8 - 8]
 *	movzx	esi, word [r11 + len]		if the program uses r2
 *	mov	edx, [r11 + wirelen]		r3
 *	mov	rcx, meta			r4, if the program changes it
 *	movzx	edi, word [r11 + offset]	r1
 *	add	rdi, [r11 + base]
 *	<the program up to its first exit>
 *	cmp	rax, 1				a comparison between two constant results. Or:
 *	add	rax, rax			r0 >>= 63; exit. Or:
 *	neg	rax				carry: not zero
 *   carry:
 *	adc	mask, mask
 *	sub	count, 1
 *	jnz	next
 *   done:
 *	mov	rax, mask
 *	ret
 *	<the rest of the program>
 *   reject:					r0 = 0; exit
 *	add	mask, mask
 *	sub	count, 1
 *	jnz	next
 *	jmp	done
 *   accept:					r0 = another constant; exit
 *	lea	mask, [mask + mask + 1]
 *	...
 *
 * Short programs are unrolled: several copies of what lies between `next` and `sub`, each
 * with its own rest and exits behind the loop. The count is then rounded up, and the first
 * round starts at the copy that has the last record.
 *
 * A program that calls is a function of its own that the loop calls.
 */
#if defined(__x86_64__)
#include <errno.h>

#include "jit_x86_64.h"

/* Copies of the program in the loop, a power of two. */
#define MAX_COPIES 4
/* Unrolled are programs of so many instructions, with so many branches up to the first exit. */
#define UNROLL_MAX_INSNS 256
#define UNROLL_MAX_BRANCHES 3

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
	uint16_t arguments; /* r1 to r4, one bit each: what the program reads */
	uint8_t records;
	uint8_t count;
	uint8_t mask;
	uint8_t meta; /* NO_REG: r4 is unused or stays as it is */
	uint32_t n_copies;
	uint32_t copy; /* at work */
	uint32_t done;
	struct {
		uint32_t start;
		uint32_t insns; /* of instruction 0 */
		uint32_t tails[N_TAILS];
	} labels[MAX_COPIES];
};

/* The program reads this argument. */
static bool uses(const struct burst *burst, unsigned reg)
{
	return burst->arguments & 1u << reg;
}

/* r1 to r4 from the record. */
static void emit_load_record(struct burst *burst)
{
	const struct dpcap_vm_burst_layout *layout = burst->layout;
	int32_t disp = -8 - 8 * (int32_t)burst->copy;
	struct x64_asm *as = &burst->jit.as;

	if (uses(burst, 1) || uses(burst, 2) || uses(burst, 3))
		x64_load(as, 8, TEMP, x64_at_index(burst->records, burst->count, 3, disp));
	if (uses(burst, 2))
		x64_load(as, 2, RSI, x64_at(TEMP, layout->len));
	if (uses(burst, 3))
		x64_load(as, 4, RDX, x64_at(TEMP, layout->wirelen));
	if (burst->meta != NO_REG)
		x64_mov(as, W64, RCX, burst->meta);
	if (uses(burst, 1)) {
		x64_load(as, 2, RDI, x64_at(TEMP, layout->offset));
		x64_alu_mem(as, W64, X_ADD, RDI, x64_at(TEMP, layout->base));
	}
}

/*
 * The first bytes of every packet are asked for before any is looked at: a program that
 * waits for one packet holds up the fetching of the next.
 */
static void emit_prefetch(struct burst *burst)
{
	const struct dpcap_vm_burst_layout *layout = burst->layout;
	struct x64_asm *as = &burst->jit.as;
	uint32_t next = x64_new_label(as);

	x64_mov(as, W32, TEMP, burst->count);
	x64_place(as, next);
	x64_load(as, 8, RDI, x64_at_index(burst->records, TEMP, 3, -8));
	x64_load(as, 2, RAX, x64_at(RDI, layout->offset));
	x64_alu_mem(as, W64, X_ADD, RAX, x64_at(RDI, layout->base));
	x64_prefetch(as, x64_at(RAX, 0));
	x64_alu_imm(as, W32, X_SUB, TEMP, 1);
	x64_jcc(as, CC_NE, next);
}

/* Round the count up; what it grew by is the copy to start with. */
static void emit_enter_copies(struct burst *burst)
{
	int32_t n = (int32_t)burst->n_copies;
	struct x64_asm *as = &burst->jit.as;
	int32_t copy;

	x64_mov(as, W32, TEMP, burst->count);
	x64_alu_imm(as, W32, X_ADD, burst->count, n - 1);
	x64_alu_imm(as, W32, X_AND, burst->count, -n);
	x64_unary(as, W32, X_NEG, TEMP);
	x64_alu_imm(as, W32, X_AND, TEMP, n - 1);
	for (copy = 1; copy < n; copy++) {
		x64_alu_imm(as, W32, X_CMP, TEMP, copy);
		x64_jcc(as, CC_E, burst->labels[copy].start);
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
	if (burst->layout->prefetch && uses(burst, 1))
		emit_prefetch(burst);
	if (burst->n_copies > 1)
		emit_enter_copies(burst);
}

/* Shift the result in. */
static void emit_tail(struct burst *burst, enum tail tail)
{
	struct x64_asm *as = &burst->jit.as;
	uint8_t mask = burst->mask;

	x64_reserve(as);
	x64_place(as, burst->labels[burst->copy].tails[tail]);
	if (tail == TAIL_REJECT)
		x64_alu(as, W64, X_ADD, mask, mask);
	else if (tail == TAIL_ACCEPT)
		x64_lea(as, W64, mask, x64_at_index(mask, mask, 0, 1));
	else
		x64_alu(as, W64, X_ADC, mask, mask);
}

/* To the next round, or fall through behind the last record. */
static void emit_next_round(struct burst *burst)
{
	x64_alu_imm(&burst->jit.as, W32, X_SUB, burst->count, (int32_t)burst->n_copies);
	x64_jcc(&burst->jit.as, CC_NE, burst->labels[0].start);
}

static void exit_value(struct jit *jit)
{
	struct burst *burst = (struct burst *)jit;

	x64_unary(&jit->as, W64, X_NEG, RAX);
	x64_jmp(&jit->as, burst->labels[burst->copy].tails[TAIL_CARRY]);
}

static void exit_carry(struct jit *jit, int32_t value)
{
	struct burst *burst = (struct burst *)jit;

	(void)value;
	x64_jmp(&jit->as, burst->labels[burst->copy].tails[TAIL_CARRY]);
}

static void exit_bit63(struct jit *jit)
{
	struct burst *burst = (struct burst *)jit;

	x64_alu(&jit->as, W64, X_ADD, RAX, RAX);
	x64_jmp(&jit->as, burst->labels[burst->copy].tails[TAIL_CARRY]);
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

/* The instruction behind the first exit: what comes later is put behind the loop. */
static uint32_t first_exit(const struct dpcap_vm_prog *prog)
{
	uint32_t pc = 0;

	while (prog->insns[pc].opcode != BPF_OPCODE_EXIT)
		pc += prog->insns[pc].opcode == BPF_OPCODE_LDDW ? 2 : 1;
	return pc + 1;
}

/* Copies that pay: short programs without much branching (up to `hot`) gain from one loop for several. */
static uint32_t choose_copies(const struct dpcap_vm_prog *prog, uint32_t hot)
{
	uint32_t pc, branches = 0;

	if (prog->n_insns > UNROLL_MAX_INSNS)
		return 1;
	for (pc = 0; pc < hot; pc++) {
		uint8_t class = insn_class(&prog->insns[pc]);

		if (!prog->aux[pc].second_slot && (class == BPF_JMP || class == BPF_JMP32) &&
		    prog->insns[pc].opcode != BPF_OPCODE_EXIT)
			branches++;
	}
	return branches <= UNROLL_MAX_BRANCHES ? MAX_COPIES : 1;
}

static void start_copy(struct burst *burst, uint32_t copy)
{
	struct jit *jit = &burst->jit;

	burst->copy = copy;
	jit->first_label = burst->labels[copy].insns;
	jit->exit_labels[0] = burst->labels[copy].tails[TAIL_REJECT];
	jit->exit_labels[1] = burst->labels[copy].tails[TAIL_ACCEPT];
}

/* What the loop seldom comes to: the rest of a copy, and the exits that did not fall through. */
static void emit_rest(struct burst *burst, uint32_t hot, enum tail placed)
{
	struct x64_asm *as = &burst->jit.as;
	bool last = burst->copy + 1 == burst->n_copies;
	enum tail tail;

	jit_emit_body(&burst->jit, hot, burst->jit.function.end);
	for (tail = 0; tail < N_TAILS; tail++) {
		if (tail == placed || !x64_label_used(as, burst->labels[burst->copy].tails[tail]))
			continue;
		emit_tail(burst, tail);
		if (last)
			emit_next_round(burst);
		x64_jmp(as, last ? burst->done : burst->labels[burst->copy + 1].start);
	}
}

static void emit_inline_loop(struct burst *burst)
{
	uint32_t hot = first_exit(burst->jit.prog), copy;
	struct jit *jit = &burst->jit;
	struct jit_verdict verdict;
	bool ends_in_verdict;
	int exit;

	jit->exit = exit_value;
	jit->exit_bit63 = exit_bit63;
	jit->exit_carry = exit_carry;
	jit->known_exits = true;
	ends_in_verdict = hot >= 3 && jit_verdict(jit, hot - 3, &verdict);
	exit = hot < 2 || ends_in_verdict ? -1 : jit_known_exit(jit, hot - 2);
	burst->n_copies = choose_copies(jit->prog, hot - ends_in_verdict * 3);
	for (copy = 1; copy < burst->n_copies; copy++)
		burst->labels[copy].insns = x64_new_labels(&jit->as, jit->prog->n_insns);
	if (!x64_reserve(&jit->as))
		return;
	jit_emit_prologue(jit);
	emit_load_arguments(burst);
	x64_align(&jit->as);
	for (copy = 0; copy < burst->n_copies; copy++) {
		if (!x64_reserve(&jit->as))
			return;
		start_copy(burst, copy);
		x64_place(&jit->as, burst->labels[copy].start);
		emit_load_record(burst);
		jit_emit_body(jit, 0, hot);
		emit_tail(burst, exit < 0 ? TAIL_CARRY : (enum tail)exit);
	}
	emit_next_round(burst);
	x64_place(&jit->as, burst->done);
	x64_mov(&jit->as, W64, RAX, burst->mask);
	jit_emit_epilogue(jit);
	for (copy = 0; copy < burst->n_copies; copy++) {
		start_copy(burst, copy);
		emit_rest(burst, hot, exit < 0 ? TAIL_CARRY : (enum tail)exit);
	}
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
	for (i = 0; i < sizeof(kept); i++)
		x64_push(as, kept[i]);
	emit_load_arguments(burst);
	x64_place(as, burst->labels[0].start);
	emit_load_record(burst);
	x64_call_label(as, jit_entry_label(jit, 0));
	x64_unary(as, W64, X_NEG, RAX);
	emit_tail(burst, TAIL_CARRY);
	emit_next_round(burst);
	x64_place(as, burst->done);
	x64_mov(as, W64, RAX, burst->mask);
	for (i = sizeof(kept); i > 0; i--)
		x64_pop(as, kept[i - 1]);
	x64_ret(as);
	jit_emit_functions(jit);
}

static void make_labels(struct burst *burst)
{
	struct x64_asm *as = &burst->jit.as;
	uint32_t copy, tail;

	burst->done = x64_new_label(as);
	for (copy = 0; copy < MAX_COPIES; copy++) {
		burst->labels[copy].start = x64_new_label(as);
		for (tail = 0; tail < N_TAILS; tail++)
			burst->labels[copy].tails[tail] = x64_new_label(as);
	}
}

int dpcap_vm_jit_burst(struct dpcap_vm_prog *prog, const struct dpcap_vm_burst_layout *layout)
{
	struct burst burst = {.layout = layout, .n_copies = 1};
	struct jit *jit = &burst.jit;
	struct jit_function function;
	int ret;

	/* What a record has is a packet of any length: nothing that the others were proved for. */
	if (prog->type != DPCAP_VM_PACKET)
		return -EINVAL;
	if (prog->burst_code)
		return 0;
	ret = jit_init(jit, prog);
	if (ret != 0)
		return ret;
	make_labels(&burst);
	burst.arguments = jit->live[0];
	function = jit_analyse(prog, 0);
	jit_map_registers(jit, &function);
	if (x64_reserve(&jit->as)) {
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
