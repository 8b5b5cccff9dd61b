/* SPDX-License-Identifier: BSD-3-Clause */
/* Functions, basic blocks, what is reachable and which registers are live. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cfg.h"
#include "isa.h"
#include "loops.h"

#define MAX_LIVE_ROUNDS 64

static bool is_jump(const struct dpcap_insn *insn)
{
	uint8_t class = insn_class(insn);

	return (class == BPF_JMP || class == BPF_JMP32) && insn_code(insn) != BPF_CALL &&
	       insn_code(insn) != BPF_EXIT;
}

static bool is_goto(const struct dpcap_insn *insn)
{
	return is_jump(insn) && insn_code(insn) == BPF_JA;
}

static bool is_local_call(const struct dpcap_insn *insn)
{
	return insn->opcode == BPF_OPCODE_CALL && insn_src(insn) == BPF_CALL_LOCAL;
}

static uint32_t jump_target(const struct dpcap_insn *insn, uint32_t pc)
{
	bool gotol = insn->opcode == (BPF_JMP32 | BPF_JA);

	return pc + 1 + (uint32_t)(gotol ? insn->imm : insn->offset);
}

/* The instruction is the last of its block. */
static bool ends_block(const struct dpcap_insn *insn)
{
	return is_jump(insn) || is_local_call(insn) || insn->opcode == BPF_OPCODE_EXIT;
}

static uint32_t insn_slots(const struct dpcap_insn *insn)
{
	return insn->opcode == BPF_OPCODE_LDDW ? 2 : 1;
}

static int find_blocks(struct cfg *cfg, const struct dpcap_vm_prog *prog)
{
	bool leader = true;

	for (uint32_t pc = 0; pc < prog->n_insns; pc += insn_slots(&prog->insns[pc])) {
		if (prog->aux[pc].function_start || prog->aux[pc].jump_target || leader)
			cfg->n_blocks++;
		if (prog->aux[pc].function_start)
			cfg->n_functions++;
		leader = ends_block(&prog->insns[pc]);
	}
	cfg->blocks = calloc(cfg->n_blocks, sizeof(*cfg->blocks));
	cfg->functions = calloc(cfg->n_functions, sizeof(*cfg->functions));
	cfg->order = calloc(cfg->n_blocks, sizeof(*cfg->order));
	cfg->block_of = malloc(prog->n_insns * sizeof(*cfg->block_of));
	if (!cfg->blocks || !cfg->functions || !cfg->order || !cfg->block_of)
		return -ENOMEM;
	return 0;
}

static void fill_blocks(struct cfg *cfg, const struct dpcap_vm_prog *prog)
{
	uint32_t n_blocks = 0, n_functions = 0;
	bool leader = true;

	for (uint32_t pc = 0; pc < prog->n_insns; pc += insn_slots(&prog->insns[pc])) {
		if (prog->aux[pc].function_start) {
			cfg->functions[n_functions++] = (struct function){
				.start = pc,
				.first_block = n_blocks,
			};
			leader = true;
		}
		if (prog->aux[pc].jump_target || leader)
			cfg->blocks[n_blocks++].start = pc;
		cfg->blocks[n_blocks - 1].end = pc + insn_slots(&prog->insns[pc]);
		cfg->functions[n_functions - 1].n_blocks =
			n_blocks - cfg->functions[n_functions - 1].first_block;
		cfg->block_of[pc] = n_blocks - 1;
		leader = ends_block(&prog->insns[pc]);
	}
}

/* The instruction that a block ends with. A jump is never the second slot. */
static uint32_t last_insn(const struct dpcap_vm_prog *prog, const struct block *block)
{
	uint32_t pc = block->end - 1;

	return prog->aux[pc].second_slot ? pc - 1 : pc;
}

static void find_edges(struct cfg *cfg, const struct dpcap_vm_prog *prog)
{
	for (uint32_t i = 0; i < cfg->n_blocks; i++) {
		struct block *block = &cfg->blocks[i];
		uint32_t pc = last_insn(prog, block);
		const struct dpcap_insn *insn = &prog->insns[pc];

		block->next = block->jump = NO_BLOCK;
		if (insn->opcode == BPF_OPCODE_EXIT)
			continue;
		if (is_jump(insn))
			block->jump = cfg->block_of[jump_target(insn, pc)];
		if (!is_goto(insn))
			block->next = i + 1;
	}
}

/* Registers as bits: what an instruction reads and what it sets. */
static void insn_registers(const struct dpcap_insn *insn, uint16_t *reads, uint16_t *sets)
{
	uint16_t dst = (uint16_t)(1u << insn_dst(insn)), src = (uint16_t)(1u << insn_src(insn));
	uint8_t code = insn_code(insn);

	*reads = *sets = 0;
	switch (insn_class(insn)) {
	case BPF_LD:
		*sets = dst;
		return;
	case BPF_LDX:
		*reads = src;
		*sets = dst;
		return;
	case BPF_ST:
		*reads = dst;
		return;
	case BPF_STX:
		/* A compare-and-exchange reads r0 too. */
		*reads = dst | src | 1;
		return;
	case BPF_ALU:
	case BPF_ALU64:
		*sets = dst;
		if (code != BPF_MOV)
			*reads |= dst;
		if (code != BPF_END && code != BPF_NEG && insn_is_x(insn))
			*reads |= src;
		return;
	}
	if (code == BPF_CALL) {
		*reads = 0x3e | (insn_is_x(insn) ? dst : 0);
		*sets = 0x3f;
	} else if (code == BPF_EXIT) {
		*reads = 1;
	} else if (code != BPF_JA) {
		*reads = dst | (insn_is_x(insn) ? src : 0);
	}
}

static uint16_t live_before(const struct dpcap_vm_prog *prog, const struct block *block,
			    uint16_t live)
{
	for (uint32_t pc = block->end; pc-- > block->start;) {
		uint16_t reads, sets;

		if (prog->aux[pc].second_slot)
			continue;
		insn_registers(&prog->insns[pc], &reads, &sets);
		live = (live & ~sets) | reads;
	}
	return live;
}

/* Backwards until nothing changes; loops need a few rounds. Where jumps back are
 * chained, to make it slow, everything is taken to be live. */
static void find_live_registers(struct cfg *cfg, const struct dpcap_vm_prog *prog)
{
	bool changed = true;

	for (int round = 0; changed && round < MAX_LIVE_ROUNDS; round++) {
		changed = false;
		for (uint32_t i = cfg->n_blocks; i-- > 0;) {
			struct block *block = &cfg->blocks[i];
			uint16_t live = 0;

			if (block->next != NO_BLOCK)
				live |= cfg->blocks[block->next].live_in;
			if (block->jump != NO_BLOCK)
				live |= cfg->blocks[block->jump].live_in;
			live = live_before(prog, block, live);
			changed |= live != block->live_in;
			block->live_in = live;
		}
	}
	for (uint32_t i = 0; changed && i < cfg->n_blocks; i++)
		cfg->blocks[i].live_in = UINT16_MAX;
}

int cfg_build(struct cfg *cfg, struct dpcap_vm_prog *prog, struct dpcap_vm_log *log)
{
	int rc;

	*cfg = (struct cfg){0};
	rc = find_blocks(cfg, prog);
	if (rc)
		return rc;
	fill_blocks(cfg, prog);
	find_edges(cfg, prog);
	find_live_registers(cfg, prog);
	for (uint32_t i = 0; i < cfg->n_functions && !rc; i++)
		rc = loops_order(cfg, &cfg->functions[i], log);
	return rc;
}

void cfg_free(struct cfg *cfg)
{
	free(cfg->functions);
	free(cfg->blocks);
	free(cfg->order);
	free(cfg->block_of);
}

const struct function *cfg_function_at(const struct cfg *cfg, uint32_t insn)
{
	uint32_t lo = 0, hi = cfg->n_functions;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (cfg->functions[mid].start <= insn)
			lo = mid;
		else
			hi = mid;
	}
	return &cfg->functions[lo];
}
