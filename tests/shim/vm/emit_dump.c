/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every emitter with every register it can take, and what it is meant to be: one line
 * of "bytes in hex <TAB> mnemonic <TAB> operand ...". A disassembler is asked to agree
 * (tests/ubpf_host/test_emitters.py).
 *
 * Operands: a register's name; #imm; or [base,index,scale,disp:bytes].
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "emit_x86_64.h"

static const char *const names64[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
				      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const names32[] = {"eax", "ecx", "edx",  "ebx",  "esp",  "ebp",  "esi",  "edi",
				      "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d"};
static const char *const names16[] = {"ax",  "cx",  "dx",   "bx",   "sp",   "bp",   "si",   "di",
				      "r8w", "r9w", "r10w", "r11w", "r12w", "r13w", "r14w", "r15w"};
static const char *const names8[] = {"al",  "cl",  "dl",   "bl",   "spl",  "bpl",  "sil",  "dil",
				     "r8b", "r9b", "r10b", "r11b", "r12b", "r13b", "r14b", "r15b"};

static struct x64_asm as;
static char line[256];

static const char *name(uint8_t bytes, uint8_t reg)
{
	return bytes == 8 ? names64[reg] : bytes == 4 ? names32[reg] : bytes == 2 ? names16[reg] :
									      names8[reg];
}

static uint8_t width_bytes(enum x64_width w)
{
	return w == W64 ? 8 : 4;
}

static void begin(const char *mnemonic)
{
	as.used = 0;
	x64_reserve(&as);
	snprintf(line, sizeof(line), "%s", mnemonic);
}

static void operand(const char *text)
{
	size_t n = strlen(line);

	snprintf(line + n, sizeof(line) - n, "\t%s", text);
}

static void reg_operand(uint8_t bytes, uint8_t reg)
{
	operand(name(bytes, reg));
}

static void imm_operand(int64_t imm)
{
	char text[32];

	snprintf(text, sizeof(text), "#%" PRId64, imm);
	operand(text);
}

static void mem_operand(uint8_t bytes, struct x64_mem mem)
{
	char text[64];

	snprintf(text, sizeof(text), "[%s,%s,%u,%d:%u]", names64[mem.base],
		 mem.index == NO_REG ? "-" : names64[mem.index], 1u << mem.scale, mem.disp, bytes);
	operand(text);
}

static void end(void)
{
	uint32_t i;

	for (i = 0; i < as.used; i++)
		printf("%02x", as.code[i]);
	printf("\t%s\n", line);
}

static const char *const alu_names[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};
static const char *const shift_names[] = {"rol", NULL, NULL, NULL, "shl", "shr", NULL, "sar"};
static const char *const unary_names[] = {NULL, NULL, "not", "neg", NULL, NULL, "div", "idiv"};
static const int32_t imms[] = {1, -1, 127, 128, -128, -129, 0x12345678, INT32_MIN};

static void dump_alu(enum x64_width w, uint8_t a, uint8_t b)
{
	uint8_t bytes = width_bytes(w), op;
	size_t i;

	for (op = 0; op < 8; op++) {
		begin(alu_names[op]);
		reg_operand(bytes, a);
		reg_operand(bytes, b);
		x64_alu(&as, w, op, a, b);
		end();
		for (i = 0; b == 0 && i < sizeof(imms) / sizeof(imms[0]); i++) {
			begin(alu_names[op]);
			reg_operand(bytes, a);
			imm_operand(imms[i]);
			x64_alu_imm(&as, w, op, a, imms[i]);
			end();
		}
	}
}

static void dump_two(enum x64_width w, uint8_t a, uint8_t b)
{
	uint8_t bytes = width_bytes(w);
	size_t i;

	dump_alu(w, a, b);
#define DUMP(mnemonic, ...)                                                                        \
	begin(mnemonic);                                                                           \
	reg_operand(bytes, a);                                                                     \
	reg_operand(bytes, b);                                                                     \
	__VA_ARGS__;                                                                               \
	end()
	DUMP("mov", x64_mov(&as, w, a, b));
	DUMP("test", x64_test(&as, w, a, b));
	DUMP("imul", x64_imul(&as, w, a, b));
#undef DUMP
	for (i = 0; i < sizeof(imms) / sizeof(imms[0]); i++) {
		begin("imul");
		reg_operand(bytes, a);
		reg_operand(bytes, b);
		imm_operand(imms[i]);
		x64_imul_imm(&as, w, a, b, imms[i]);
		end();
	}
}

static void dump_extend(enum x64_width w, uint8_t a, uint8_t b)
{
	uint8_t bits;

	for (bits = 8; bits <= 32; bits *= 2) {
		if (w == W32) {
			begin(bits == 32 ? "mov" : "movzx");
			reg_operand(4, a);
			reg_operand(bits / 8, b);
			x64_zero_extend(&as, bits, a, b);
			end();
		}
		if (bits == 32 && w == W32)
			continue; /* never asked for: a mov would do */
		begin(bits == 32 ? "movsxd" : "movsx");
		reg_operand(width_bytes(w), a);
		reg_operand(bits / 8, b);
		x64_sign_extend(&as, w, bits, a, b);
		end();
	}
}

static void dump_vex(enum x64_width w, uint8_t a, uint8_t b, uint8_t c)
{
	static const char *const shiftx[] = {[X_SHL] = "shlx", [X_SHR] = "shrx", [X_SAR] = "sarx"};
	static const enum x64_shift ops[] = {X_SHL, X_SHR, X_SAR};
	uint8_t bytes = width_bytes(w);
	size_t i;

	for (i = 0; i < 3; i++) {
		begin(shiftx[ops[i]]);
		reg_operand(bytes, a);
		reg_operand(bytes, b);
		reg_operand(bytes, c);
		x64_shiftx(&as, w, ops[i], a, b, c);
		end();
	}
	begin("andn");
	reg_operand(bytes, a);
	reg_operand(bytes, b);
	reg_operand(bytes, c);
	x64_andn(&as, w, a, b, c);
	end();
}

static void dump_test_imm(enum x64_width w, uint8_t a, int32_t imm)
{
	uint8_t bytes = imm < 0 ? width_bytes(w) : imm <= UINT8_MAX ? 1 : 4;

	begin("test");
	reg_operand(bytes, a);
	imm_operand(imm);
	x64_test_imm(&as, w, a, imm);
	end();
}

static void dump_mov_imm(uint8_t a)
{
	static const uint64_t values[] = {1, UINT32_MAX, 0xffffffff80000000, 0x123456789abcdef0};
	size_t i;

	begin("xor");
	reg_operand(4, a);
	reg_operand(4, a);
	x64_mov_imm(&as, a, 0);
	end();
	for (i = 0; i < 4; i++) {
		begin(i == 3 ? "movabs" : "mov");
		reg_operand(i < 2 ? 4 : 8, a);
		imm_operand((int64_t)values[i]);
		x64_mov_imm(&as, a, values[i]);
		end();
	}
}

static void dump_one(enum x64_width w, uint8_t a)
{
	uint8_t bytes = width_bytes(w), op, count;
	size_t i;

	for (i = 0; i < sizeof(imms) / sizeof(imms[0]); i++)
		dump_test_imm(w, a, imms[i]);
	dump_test_imm(w, a, 255);
	dump_test_imm(w, a, 256);
	for (op = 0; op < 8; op++) {
		for (count = 1; shift_names[op] && count < 32; count += 5) {
			begin(shift_names[op]);
			reg_operand(bytes, a);
			imm_operand(count);
			x64_shift_imm(&as, w, op, a, count);
			end();
		}
		if (shift_names[op]) {
			begin(shift_names[op]);
			reg_operand(bytes, a);
			reg_operand(1, RCX);
			x64_shift_cl(&as, w, op, a);
			end();
		}
		if (unary_names[op]) {
			begin(unary_names[op]);
			reg_operand(bytes, a);
			x64_unary(&as, w, op, a);
			end();
		}
	}
	begin("bswap");
	reg_operand(bytes, a);
	x64_bswap(&as, w, a);
	end();
}

static void dump_plain(uint8_t a)
{
#define DUMP(mnemonic, bytes, ...)                                                                 \
	begin(mnemonic);                                                                           \
	reg_operand(bytes, a);                                                                     \
	__VA_ARGS__;                                                                               \
	end()
	dump_mov_imm(a);
	DUMP("push", 8, x64_push(&as, a));
	DUMP("pop", 8, x64_pop(&as, a));
	DUMP("call", 8, x64_call_reg(&as, a));
	DUMP("rol", 2, imm_operand(8); x64_swap16(&as, a));
#undef DUMP
}

static void dump_mem_widths(uint8_t reg, struct x64_mem mem, enum x64_width w)
{
	uint8_t bytes = width_bytes(w), op;

#define DUMP(mnemonic, ...)                                                                        \
	begin(mnemonic);                                                                           \
	mem_operand(bytes, mem);                                                                   \
	reg_operand(bytes, reg);                                                                   \
	__VA_ARGS__;                                                                               \
	end()
	for (op = 0; op < 8; op++) {
		if (op == X_ADD || op == X_OR || op == X_AND || op == X_XOR) {
			char mnemonic[16];

			snprintf(mnemonic, sizeof(mnemonic), "lock %s", alu_names[op]);
			DUMP(mnemonic, x64_lock_alu(&as, w, op, mem, reg));
		}
	}
	DUMP("lock xadd", x64_lock_xadd(&as, w, mem, reg));
	DUMP("lock cmpxchg", x64_lock_cmpxchg(&as, w, mem, reg));
	DUMP("xchg", x64_xchg(&as, w, mem, reg));
#undef DUMP
	for (op = 0; op < 8; op++) {
		begin(alu_names[op]);
		reg_operand(bytes, reg);
		mem_operand(bytes, mem);
		x64_alu_mem(&as, w, op, reg, mem);
		end();
	}
	begin("lea");
	reg_operand(bytes, reg);
	mem_operand(bytes, mem);
	x64_lea(&as, w, reg, mem);
	end();
	begin("movbe");
	reg_operand(bytes, reg);
	mem_operand(bytes, mem);
	x64_load_be(&as, bytes, reg, mem);
	end();
}

static void dump_mem(uint8_t reg, struct x64_mem mem)
{
	uint8_t bytes;

	for (bytes = 1; bytes <= 8; bytes *= 2) {
		begin(bytes <= 2 ? "movzx" : "mov");
		reg_operand(bytes == 8 ? 8 : 4, reg);
		mem_operand(bytes, mem);
		x64_load(&as, bytes, reg, mem);
		end();
		if (bytes < 8) {
			begin(bytes == 4 ? "movsxd" : "movsx");
			reg_operand(8, reg);
			mem_operand(bytes, mem);
			x64_load_signed(&as, bytes, reg, mem);
			end();
		}
		begin("mov");
		mem_operand(bytes, mem);
		reg_operand(bytes, reg);
		x64_store(&as, bytes, mem, reg);
		end();
		begin("mov");
		mem_operand(bytes, mem);
		imm_operand(bytes == 1 ? -128 : bytes == 2 ? -32768 : INT32_MIN);
		x64_store_imm(&as, bytes, mem, bytes == 1 ? -128 : bytes == 2 ? -32768 : INT32_MIN);
		end();
	}
	begin("prefetcht0");
	mem_operand(1, mem);
	x64_prefetch(&as, mem);
	end();
	dump_mem_widths(reg, mem, W32);
	dump_mem_widths(reg, mem, W64);
	begin("call");
	mem_operand(8, mem);
	x64_call_mem(&as, mem);
	end();
}

static void dump_bare(void)
{
#define DUMP(mnemonic, ...)                                                                        \
	begin(mnemonic);                                                                           \
	__VA_ARGS__;                                                                               \
	end()
	DUMP("cdq", x64_cqo(&as, W32));
	DUMP("cqo", x64_cqo(&as, W64));
	DUMP("cmc", x64_cmc(&as));
	DUMP("leave", x64_leave(&as));
	DUMP("ret", x64_ret(&as));
#undef DUMP
}

int main(void)
{
	static const int32_t disps[] = {0, 8, -128, 127, 128, -129, INT32_MAX, INT32_MIN};
	uint8_t a, b;
	size_t i;

	for (a = 0; a < 16; a++) {
		dump_plain(a);
		dump_one(W32, a);
		dump_one(W64, a);
		for (b = 0; b < 16; b++) {
			dump_two(W32, a, b);
			dump_two(W64, a, b);
			dump_extend(W32, a, b);
			dump_extend(W64, a, b);
			dump_vex(W32, a, b, (a * 7 + b * 3) & 15);
			dump_vex(W64, a, b, (a * 5 + b) & 15);
			for (i = 0; i < sizeof(disps) / sizeof(disps[0]); i++)
				dump_mem(a, x64_at(b, disps[i]));
			if (a != RSP)
				dump_mem(15 - a, x64_at_index(b, a, a & 3, disps[b & 7]));
		}
	}
	dump_bare();
	x64_end(&as);
	return 0;
}
