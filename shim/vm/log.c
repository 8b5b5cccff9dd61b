/* SPDX-License-Identifier: BSD-3-Clause */
/* What the verifier says: instructions and states in the kernel verifier's style. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "verifier.h"

static const char *const size_names[] = {[1] = "u8", [2] = "u16", [4] = "u32", [8] = "u64"};
static const char *const signed_names[] = {[1] = "s8", [2] = "s16", [4] = "s32"};

static const char *operator_of(const struct dpcap_insn *insn)
{
	static const char *const plain[16] = {"+=", "-=", "*=",	 "/=", "|=", "&=",   "<<=",
					      ">>=", "",  "%=", "^=", "=",  "s>>=", ""};

	if (insn->offset == 1 && insn_code(insn) == BPF_DIV)
		return "s/=";
	if (insn->offset == 1 && insn_code(insn) == BPF_MOD)
		return "s%=";
	return plain[insn_code(insn) >> 4];
}

static void format_alu(const struct dpcap_insn *insn, char *text, size_t size)
{
	bool is32 = insn_class(insn) == BPF_ALU;
	char r = is32 ? 'w' : 'r';
	unsigned int dst = insn_dst(insn), src = insn_src(insn);

	if (insn_code(insn) == BPF_END)
		snprintf(text, size, "r%u = %s%d r%u", dst,
			 !is32		   ? "bswap"
			 : insn_is_x(insn) ? "be"
					   : "le",
			 insn->imm, dst);
	else if (insn_code(insn) == BPF_NEG)
		snprintf(text, size, "%c%u = -%c%u", r, dst, r, dst);
	else if (insn_code(insn) == BPF_MOV && insn->offset)
		snprintf(text, size, "%c%u = (s%d)%c%u", r, dst, insn->offset, r, src);
	else if (insn_is_x(insn))
		snprintf(text, size, "%c%u %s %c%u", r, dst, operator_of(insn), r, src);
	else
		snprintf(text, size, "%c%u %s %d", r, dst, operator_of(insn), insn->imm);
}

static void format_jump(const struct dpcap_insn *insn, char *text, size_t size)
{
	static const char *const relations[16] = {"",	"==", ">", ">=", "&",  "!=", "s>",
						  "s>=", "", "",  "<",	"<=", "s<", "s<="};
	char r = insn_class(insn) == BPF_JMP32 ? 'w' : 'r';

	switch (insn_code(insn)) {
	case BPF_JA:
		snprintf(text, size, "goto %+d", r == 'w' ? insn->imm : insn->offset);
		return;
	case BPF_EXIT:
		snprintf(text, size, "exit");
		return;
	case BPF_CALL:
		if (insn_is_x(insn))
			snprintf(text, size, "callx r%u", insn_dst(insn));
		else if (insn_src(insn) == BPF_CALL_LOCAL)
			snprintf(text, size, "call pc%+d", insn->imm);
		else
			snprintf(text, size, "call %d", insn->imm);
		return;
	}
	if (insn_is_x(insn))
		snprintf(text, size, "if %c%u %s %c%u goto %+d", r, insn_dst(insn),
			 relations[insn_code(insn) >> 4], r, insn_src(insn), insn->offset);
	else
		snprintf(text, size, "if %c%u %s %d goto %+d", r, insn_dst(insn),
			 relations[insn_code(insn) >> 4], insn->imm, insn->offset);
}

static void format_atomic(const struct dpcap_insn *insn, char *text, size_t size)
{
	static const char *const names[16] = {
		[BPF_ADD >> 4] = "add", [BPF_OR >> 4] = "or", [BPF_AND >> 4] = "and",
		[BPF_XOR >> 4] = "xor", [0xe] = "xchg",	      [0xf] = "cmpxchg",
	};
	const char *name = names[(insn->imm & 0xf0) >> 4];
	const char *type = size_names[insn_mem_size(insn)];
	unsigned int dst = insn_dst(insn), src = insn_src(insn);

	if (insn->imm == BPF_ATOMIC_CMPXCHG)
		snprintf(text, size, "r0 = atomic_cmpxchg((%s *)(r%u %+d), r0, r%u)", type, dst,
			 insn->offset, src);
	else if (insn->imm & BPF_FETCH)
		snprintf(text, size, "r%u = atomic_fetch_%s((%s *)(r%u %+d), r%u)", src, name, type,
			 dst, insn->offset, src);
	else
		snprintf(text, size, "lock %s *(%s *)(r%u %+d), r%u", name, type, dst, insn->offset,
			 src);
}

void insn_format(const struct dpcap_insn *insn, char *text, size_t size)
{
	unsigned int bytes = insn_mem_size(insn);

	switch (insn_class(insn)) {
	case BPF_ALU:
	case BPF_ALU64:
		format_alu(insn, text, size);
		break;
	case BPF_JMP:
	case BPF_JMP32:
		format_jump(insn, text, size);
		break;
	case BPF_LD:
		if (insn_src(insn) == BPF_LDDW_IMM)
			snprintf(text, size, "r%u = %#" PRIx64 " ll", insn_dst(insn),
				 insn_imm64(insn));
		else if (insn_src(insn) == BPF_LDDW_MAP_BY_INDEX)
			snprintf(text, size, "r%u = map[%d]", insn_dst(insn), insn->imm);
		else
			snprintf(text, size, "r%u = map value[%d]%+d", insn_dst(insn), insn->imm,
				 insn[1].imm);
		break;
	case BPF_LDX:
		snprintf(text, size, "r%u = *(%s *)(r%u %+d)", insn_dst(insn),
			 insn_mode(insn) == BPF_MEMSX ? signed_names[bytes] : size_names[bytes],
			 insn_src(insn), insn->offset);
		break;
	case BPF_ST:
		snprintf(text, size, "*(%s *)(r%u %+d) = %d", size_names[bytes], insn_dst(insn),
			 insn->offset, insn->imm);
		break;
	default:
		if (insn_mode(insn) == BPF_ATOMIC)
			format_atomic(insn, text, size);
		else
			snprintf(text, size, "*(%s *)(r%u %+d) = r%u", size_names[bytes],
				 insn_dst(insn), insn->offset, insn_src(insn));
		break;
	}
}

/* Text that grows in a buffer; what does not fit is left out. */
struct text {
	char *at;
	size_t room;
	const char *separator;
};

__attribute__((format(printf, 2, 3)))
static void append(struct text *text, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text->at, text->room, format, args);
	va_end(args);
	if (n < 0)
		return;
	if ((size_t)n >= text->room)
		n = text->room ? (int)text->room - 1 : 0;
	text->at += n;
	text->room -= (size_t)n;
}

#define APPEND_BOUND(text, name, format, value) \
	do { \
		append(text, "%s" name "=%" format, (text)->separator, value); \
		(text)->separator = ","; \
	} while (0)

/* The bounds that say more than the width and the other bounds do. */
static void append_scalar(struct text *text, const struct scalar *a)
{
	const struct range full = range_full(64), half = range_full(32);
	bool same = a->word.smin >= 0;

	if (a->word.umin != full.umin)
		APPEND_BOUND(text, "umin", PRIu64, a->word.umin);
	if (a->word.umax != full.umax)
		APPEND_BOUND(text, "umax", PRIu64, a->word.umax);
	if (!same && a->word.smin != full.smin)
		APPEND_BOUND(text, "smin", PRId64, a->word.smin);
	if (!same && a->word.smax != full.smax)
		APPEND_BOUND(text, "smax", PRId64, a->word.smax);
	if (!(a->word.umax <= half.umax) && a->half.umin != half.umin)
		APPEND_BOUND(text, "umin32", PRIu64, a->half.umin);
	if (!(a->word.umax <= half.umax) && a->half.umax != half.umax)
		APPEND_BOUND(text, "umax32", PRIu64, a->half.umax);
	if (a->bits.mask != UINT64_MAX)
		append(text, "%svar_off=(%#" PRIx64 "; %#" PRIx64 ")", text->separator,
		       a->bits.value, a->bits.mask);
}

static void append_symbols(struct text *text, const struct symbols *symbols, int sign)
{
	for (int i = 0; i < FORM_SYMBOLS && symbols->s[i]; i++)
		append(text, "%sid%u", sign < 0 ? "-" : i ? "+" : "", symbols->s[i]);
}

static void append_form(struct text *text, struct form form)
{
	append_symbols(text, &form.symbols, form.sign);
	if (form.len)
		append(text, "%s", form.len < 0 ? "-len" : form.sign ? "+len" : "len");
	if (form.delta)
		append(text, "%+" PRId64, form.delta);
}

static const char *const region_names[] = {
	[REGION_PACKET] = "pkt",
	[REGION_MEMORY] = "mem",
	[REGION_RODATA] = "table",
	[REGION_CONTEXT] = "ctx",
	[REGION_STACK] = "fp",
	[REGION_MAP] = "map",
	[REGION_MAP_VALUE] = "map_value",
	[REGION_MAP_ARRAY] = "map_array",
};

void reg_format(const struct reg *reg, char *buffer, size_t size)
{
	struct text text = {buffer, size, ""};

	switch (reg->type) {
	case REG_UNINIT:
		append(&text, "?");
		return;
	case REG_MIXED:
		append(&text, "mixed");
		return;
	case REG_PART:
		append(&text, "part");
		return;
	case REG_POINTER:
		append(&text, "%s", region_names[reg->region]);
		if (reg->region >= REGION_MAP || reg->object)
			append(&text, "[%u]", reg->object);
		if (reg->or_null)
			append(&text, "_or_null");
		break;
	default:
		if (scalar_is_const(&reg->value)) {
			append(&text, "%" PRId64, (int64_t)reg->value.bits.value);
			return;
		}
		if (!reg->form.sign) {
			append_form(&text, reg->form);
			return;
		}
		append(&text, "scalar");
		break;
	}
	append(&text, "(");
	if (scalar_is_const(&reg->value)) {
		append(&text, "off=%" PRId64, (int64_t)reg->value.bits.value);
	} else {
		append(&text, "%s", reg->type == REG_POINTER ? "off=" : "");
		append_form(&text, reg->form);
		text.separator = ",";
		append_scalar(&text, &reg->value);
	}
	append(&text, ")");
}

static void log_reg(struct dpcap_vm_log *log, const char *name, int number, const struct reg *reg)
{
	char text[256];

	reg_format(reg, text, sizeof(text));
	dpcap_vm_log_printf(log, " %s%d=%s", name, number, text);
}

/* Registers and saved values of the running function, then what is known of the
 * packet's length. */
void state_log(struct dpcap_vm_log *log, const struct state *state)
{
	const struct frame *frame = state->frames[state->n_frames - 1];

	if (state->n_frames > 1)
		dpcap_vm_log_printf(log, " frame%u:", state->n_frames - 1);
	for (int i = 0; i < BPF_N_REGS; i++)
		if (frame->regs[i].type != REG_UNINIT)
			log_reg(log, "r", i, &frame->regs[i]);
	for (uint32_t i = 0; i < frame->n_slots; i++)
		if (frame->slots[i].size)
			log_reg(log, "fp", (int)frame->slots[i].offset - 8 * (int)(i + 1),
				&frame->slots[i].saved);
	dpcap_vm_log_printf(log, " len>=%" PRIu64, state->len.word.umin);
	for (uint32_t i = 0; i < state->n_facts; i++) {
		char sum[64];
		struct text text = {sum, sizeof(sum), ""};

		append_symbols(&text, &state->facts[i].symbols, 1);
		dpcap_vm_log_printf(log, " len>=%s%+" PRId64, sum, state->facts[i].bound);
	}
	dpcap_vm_log_printf(log, "\n");
}

int refuse(struct verifier *v, const struct state *state, uint32_t pc, const char *format, ...)
{
	char insn[96], reason[256];
	va_list args;

	insn_format(&v->prog->insns[pc], insn, sizeof(insn));
	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	dpcap_vm_log_printf(v->log, "insn %u: %s: %s\n", pc, insn, reason);
	state_log(v->log, state);
	return -EINVAL;
}
