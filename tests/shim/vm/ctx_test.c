/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs with a context, and programs with maps and helpers: what is proved of them. */
#include "vmtest.h"

/* The host's side of the context. */
struct host_context {
	uint64_t queue; /* not where the program sees it */
	const uint8_t *data, *data_end;
	uint32_t mark;
};

/* As Linux's struct xdp_md: 32-bit data and data_end. */
static const struct dpcap_vm_ctx_field fields[] = {
	{.offset = 0, .size = 4, .host_offset = 8, .host_size = 8, .kind = DPCAP_VM_CTX_PACKET},
	{.offset = 4, .size = 4, .host_offset = 16, .host_size = 8, .kind = DPCAP_VM_CTX_PACKET_END},
	{.offset = 16, .size = 4, .host_offset = 0, .host_size = 2},
	{.offset = 20, .size = 4, .host_offset = 24, .host_size = 4, .writable = 1},
};

struct context_case {
	const char *name;
	const char *refused; /* NULL: accepted, with this result for 20 bytes 0, 1, 2, ... */
	uint64_t result;
	struct dpcap_insn insns[16];
};

#define PROGRAM(...) {__VA_ARGS__}
/* r2 = data, r3 = data_end */
#define PACKET LDX(BPF_W, 2, 1, 0), LDX(BPF_W, 3, 1, 4)

static const struct context_case context_cases[] = {
	{"packet", NULL, 13,
	 PROGRAM(PACKET, MOV_K(0, 0), MOV_X(4, 2), ALU64_K(BPF_ADD, 4, 14), JMP_X(BPF_JGT, 4, 3, 1),
		 LDX(BPF_B, 0, 2, 13), EXIT())},
	{"packet, one short", "packet access at 14..14 not proved", 0,
	 PROGRAM(PACKET, MOV_K(0, 0), MOV_X(4, 2), ALU64_K(BPF_ADD, 4, 14), JMP_X(BPF_JGT, 4, 3, 1),
		 LDX(BPF_B, 0, 2, 14), EXIT())},
	{"length", NULL, 20, PROGRAM(PACKET, MOV_X(0, 3), ALU64_X(BPF_SUB, 0, 2), EXIT())},
	{"last byte", NULL, 19,
	 PROGRAM(PACKET, MOV_K(0, 0), JMP_X(BPF_JGE, 2, 3, 1), LDX(BPF_B, 0, 3, -1), EXIT())},
	{"queue, narrower at the host", NULL, 0x1234, PROGRAM(LDX(BPF_W, 0, 1, 16), EXIT())},
	{"mark, written", NULL, 7,
	 PROGRAM(ST(BPF_W, 1, 20, 7), LDX(BPF_W, 0, 1, 20), EXIT())},
	{"queue, written", "read-only", 0, PROGRAM(ST(BPF_W, 1, 16, 7), MOV_K(0, 0), EXIT())},
	{"data, written", "read-only", 0, PROGRAM(ST(BPF_W, 1, 0, 7), MOV_K(0, 0), EXIT())},
	{"mark, a pointer written", "outside the stack", 0, PROGRAM(STX(BPF_W, 1, 20, 1), MOV_K(0, 0), EXIT())},
	{"data, sign-extended", "cannot be sign-extended", 0,
	 PROGRAM(LDXSX(BPF_W, 2, 1, 0), MOV_K(0, 0), EXIT())},
	{"queue, sign-extended", "cannot be sign-extended", 0,
	 PROGRAM(LDXSX(BPF_W, 0, 1, 16), EXIT())},
	{"a field that is not there", "has no field of 4 bytes at 8", 0,
	 PROGRAM(LDX(BPF_W, 0, 1, 8), EXIT())},
	{"half of a field", "has no field of 2 bytes at 16", 0, PROGRAM(LDX(BPF_H, 0, 1, 16), EXIT())},
	{"a moved context", "was moved", 0,
	 PROGRAM(ALU64_K(BPF_ADD, 1, 4), LDX(BPF_W, 0, 1, 12), EXIT())},
	{"context or stack", "on some ways", 0,
	 PROGRAM(ST(BPF_W, 10, -4, 0), LDX(BPF_W, 0, 1, 16), MOV_X(2, 1), JMP_K(BPF_JEQ, 0, 0, 2),
		 MOV_X(2, 10), ALU64_K(BPF_SUB, 2, 20), LDX(BPF_W, 0, 2, 16), MOV_K(0, 0), EXIT())},
	{"atomic operation", "not memory", 0,
	 PROGRAM(MOV_K(0, 1), ATOMIC(BPF_W, BPF_ADD, 1, 20, 0), EXIT())},
	{"a second argument", "r2 is not initialised", 0, PROGRAM(MOV_X(0, 2), EXIT())},
};

static void check_refused(const char *name, int rc, const char *log, const char *wanted)
{
	if (rc && wanted && strstr(log, wanted))
		return;
	fprintf(stderr, "%s: %s\n", name, rc ? log : "accepted");
	vmtest_failures++;
}

static uint32_t count_insns(const struct dpcap_insn *insns, uint32_t most)
{
	while (most > 1 && insns[most - 1].opcode == 0)
		most--;
	return most;
}

static void run_context_case(const struct context_case *test)
{
	struct dpcap_vm_load_attr attr = {
		.insns = test->insns,
		.n_insns = count_insns(test->insns, N_ELEMENTS(test->insns)),
		.type = DPCAP_VM_CONTEXT,
		.ctx_fields = fields,
		.n_ctx_fields = N_ELEMENTS(fields),
	};
	struct dpcap_vm_prog *prog = NULL;
	uint8_t packet[20];
	struct host_context context = {0x551234, packet, packet + sizeof(packet), 3};
	char log[2048];
	int rc = dpcap_vm_load(&attr, &prog, log, sizeof(log));

	for (size_t i = 0; i < sizeof(packet); i++)
		packet[i] = (uint8_t)i;
	if (rc || test->refused) {
		check_refused(test->name, rc, log, test->refused);
		goto out;
	}
	check_equal(test->name, dpcap_vm_interp(prog, &context, 0, 0, 0), test->result);
	context.mark = 3;
	if (dpcap_vm_jit(prog) == 0)
		check_equal(test->name, dpcap_vm_jit_entry(prog)(&context, 0, 0, 0), test->result);
out:
	dpcap_vm_free(prog);
}

/* r0 = lookup(map, fp - 4), where the key is 0. */
#define LOOKUP ST(BPF_W, 10, -4, 0), MOV_X(2, 10), ALU64_K(BPF_ADD, 2, -4), \
	       INSN(BPF_OPCODE_LDDW, 1, BPF_LDDW_MAP_BY_INDEX, 0, 0), INSN(0, 0, 0, 0, 0), CALL(1)

struct map_case {
	const char *name;
	const char *refused;
	struct dpcap_insn insns[24];
};

static const struct map_case map_cases[] = {
	{"value, after a check", NULL,
	 PROGRAM(LOOKUP, JMP_K(BPF_JEQ, 0, 0, 1), LDX(BPF_DW, 0, 0, 8), MOV_K(0, 0), EXIT())},
	{"value, its copy after a check", NULL,
	 PROGRAM(LOOKUP, MOV_X(6, 0), JMP_K(BPF_JNE, 0, 0, 1), EXIT(), ST(BPF_DW, 6, 8, 1), MOV_K(0, 0),
		 EXIT())},
	{"value, without a check", "may be null", PROGRAM(LOOKUP, LDX(BPF_DW, 0, 0, 0), EXIT())},
	{"value, on the wrong way", "r0 is a number",
	 PROGRAM(LOOKUP, JMP_K(BPF_JNE, 0, 0, 1), LDX(BPF_DW, 0, 0, 0), MOV_K(0, 0), EXIT())},
	{"value, beyond its end", "map value access at 9..16 is not within its 16 bytes",
	 PROGRAM(LOOKUP, JMP_K(BPF_JEQ, 0, 0, 1), LDX(BPF_DW, 0, 0, 9), MOV_K(0, 0), EXIT())},
	{"CVE-2022-23222: moved before the check", "may be null",
	 PROGRAM(LOOKUP, ALU64_K(BPF_ADD, 0, 8), JMP_K(BPF_JEQ, 0, 0, 1), LDX(BPF_B, 0, 0, 0),
		 MOV_K(0, 0), EXIT())},
	{"value, its copy after a check behind a place where ways meet", NULL,
	 PROGRAM(MOV_X(8, 3), LOOKUP, MOV_X(6, 0), JMP_K(BPF_JEQ, 8, 0, 1), MOV_K(7, 1),
		 JMP_K(BPF_JNE, 0, 0, 1), EXIT(), LDX(BPF_DW, 0, 6, 8), EXIT())},
	{"half of a value's pointer that may be null", "may be null",
	 PROGRAM(LOOKUP, JMP32_K(BPF_JEQ, 0, 0, 1), LDX(BPF_DW, 0, 0, 8), MOV_K(0, 0), EXIT())},
	{"text at a number", "number, not a pointer",
	 PROGRAM(MOV_K(1, 8), MOV_K(2, 8), CALL(6), EXIT())},
	{"text of a size that is a pointer", "is a pointer, not a size",
	 PROGRAM(ST(BPF_DW, 10, -8, 0), MOV_X(1, 10), ALU64_K(BPF_ADD, 1, -8), MOV_X(2, 10), CALL(6),
		 EXIT())},
	{"another lookup's check", "may be null",
	 PROGRAM(LOOKUP, MOV_X(6, 0), LOOKUP, JMP_K(BPF_JEQ, 0, 0, 1), LDX(BPF_DW, 0, 6, 0), MOV_K(0, 0),
		 EXIT())},
	{"a pointer stored in a value", "outside the stack",
	 PROGRAM(LOOKUP, JMP_K(BPF_JEQ, 0, 0, 1), STX(BPF_DW, 0, 0, 10), MOV_K(0, 0), EXIT())},
	{"a value returned", "returns a pointer", PROGRAM(LOOKUP, EXIT())},
	{"key not initialised", "not initialised",
	 PROGRAM(MOV_X(2, 10), ALU64_K(BPF_ADD, 2, -4),
		 INSN(BPF_OPCODE_LDDW, 1, BPF_LDDW_MAP_BY_INDEX, 0, 0), INSN(0, 0, 0, 0, 0), CALL(1),
		 MOV_K(0, 0), EXIT())},
	{"key that is a number", "r2 is a number",
	 PROGRAM(MOV_K(2, 5), INSN(BPF_OPCODE_LDDW, 1, BPF_LDDW_MAP_BY_INDEX, 0, 0),
		 INSN(0, 0, 0, 0, 0), CALL(1), MOV_K(0, 0), EXIT())},
	{"key in a packet that is too short", "not proved",
	 PROGRAM(MOV_X(2, 1), INSN(BPF_OPCODE_LDDW, 1, BPF_LDDW_MAP_BY_INDEX, 0, 0),
		 INSN(0, 0, 0, 0, 0), CALL(1), MOV_K(0, 0), EXIT())},
	{"map that is a number", "not a map",
	 PROGRAM(ST(BPF_W, 10, -4, 0), MOV_X(2, 10), ALU64_K(BPF_ADD, 2, -4), MOV_K(1, 0), CALL(1),
		 MOV_K(0, 0), EXIT())},
	{"arithmetic on a map", "arithmetic on a map",
	 PROGRAM(INSN(BPF_OPCODE_LDDW, 1, BPF_LDDW_MAP_BY_INDEX, 0, 0), INSN(0, 0, 0, 0, 0),
		 ALU64_K(BPF_ADD, 1, 8), MOV_K(0, 0), EXIT())},
	{"load from a map itself", "not memory",
	 PROGRAM(INSN(BPF_OPCODE_LDDW, 1, BPF_LDDW_MAP_BY_INDEX, 0, 0), INSN(0, 0, 0, 0, 0),
		 LDX(BPF_DW, 0, 1, 0), EXIT())},
	{"arguments are gone after a call", "r2 is not initialised", PROGRAM(LOOKUP, MOV_X(0, 2), EXIT())},
	{"text of an unknown size", "has no bound",
	 PROGRAM(MOV_X(1, 10), ALU64_K(BPF_ADD, 1, -8), ST(BPF_DW, 10, -8, 0), MOV_X(2, 3),
		 ALU64_K(BPF_OR, 2, 1), CALL(6), EXIT())},
	{"text of size 0", "may be 0",
	 PROGRAM(MOV_X(1, 10), ALU64_K(BPF_ADD, 1, -8), ST(BPF_DW, 10, -8, 0), MOV_K(2, 0), CALL(6),
		 EXIT())},
	{"text beyond the stack", "not within",
	 PROGRAM(MOV_X(1, 10), ALU64_K(BPF_ADD, 1, -8), ST(BPF_DW, 10, -8, 0), MOV_K(2, 9), CALL(6),
		 EXIT())},
	{"text that is the whole packet", NULL,
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JEQ, 2, 0, 1), CALL(6), EXIT())},
	{"text beyond the packet", "not proved",
	 PROGRAM(MOV_K(0, 0), JMP_K(BPF_JEQ, 2, 0, 2), ALU64_K(BPF_ADD, 2, 1), CALL(6), EXIT())},
	{"array value by its address", NULL,
	 PROGRAM(INSN(BPF_OPCODE_LDDW, 1, BPF_LDDW_MAP_VALUE_BY_INDEX, 0, 1), INSN(0, 0, 0, 0, 24),
		 LDX(BPF_DW, 0, 1, 0), EXIT())},
	{"array value behind the last", "not within",
	 PROGRAM(INSN(BPF_OPCODE_LDDW, 1, BPF_LDDW_MAP_VALUE_BY_INDEX, 0, 1), INSN(0, 0, 0, 0, 60),
		 LDX(BPF_DW, 0, 1, 0), EXIT())},
};

static void run_map_case(const struct map_case *test, struct dpcap_vm_map *map)
{
	struct dpcap_vm_load_attr attr = {
		.insns = test->insns,
		.n_insns = count_insns(test->insns, N_ELEMENTS(test->insns)),
		.type = DPCAP_VM_PACKET,
		.maps = &map,
		.n_maps = 1,
	};
	uint8_t packet[64] = {'o', 'k'};
	struct dpcap_vm_prog *prog = NULL;
	char log[2048];
	int rc;

	attr.helpers = dpcap_vm_helpers(&attr.n_helpers);
	rc = dpcap_vm_load(&attr, &prog, log, sizeof(log));
	if (rc || test->refused)
		check_refused(test->name, rc, log, test->refused);
	else
		dpcap_vm_interp(prog, packet, sizeof(packet), 0, 0);
	dpcap_vm_free(prog);
}

/* What the host says wrong. */
static void check_nonsense(void)
{
	static const struct dpcap_insn insns[] = {MOV_K(0, 0), EXIT()};
	static const struct dpcap_vm_ctx_field nonsense[] = {
		{.offset = 0, .size = 3, .host_size = 4},
		{.offset = 0, .size = 4, .host_size = 8},
		{.offset = 0, .size = 2, .host_size = 8, .kind = DPCAP_VM_CTX_PACKET},
		{.offset = 0, .size = 4, .host_size = 8, .kind = DPCAP_VM_CTX_PACKET, .writable = 1},
		{.offset = 0, .size = 8, .host_size = 4, .writable = 1},
		{.offset = 0, .size = 4, .host_size = 4, .kind = 77},
		{.offset = 0, .size = 4, .host_size = 4, .host_offset = 0x8000},
	};
	struct dpcap_vm_load_attr attr = {
		.insns = insns,
		.n_insns = N_ELEMENTS(insns),
		.type = DPCAP_VM_CONTEXT,
		.n_ctx_fields = 1,
	};
	struct dpcap_vm_prog *prog;
	char log[256];

	for (size_t i = 0; i < N_ELEMENTS(nonsense); i++) {
		attr.ctx_fields = &nonsense[i];
		check_refused("a field", dpcap_vm_load(&attr, &prog, log, sizeof(log)), log,
			      "context field 0 makes no sense");
	}
	attr.type = 9;
	check_refused("a type", dpcap_vm_load(&attr, &prog, log, sizeof(log)), log,
		      "unknown program type 9");
}

int main(void)
{
	const struct dpcap_vm_map_def def = {
		.name = "values",
		.type = DPCAP_VM_MAP_ARRAY,
		.key_size = 4,
		.value_size = 16,
		.max_entries = 4,
	};
	struct dpcap_vm_map *map;

	check_nonsense();
	for (size_t i = 0; i < N_ELEMENTS(context_cases); i++)
		run_context_case(&context_cases[i]);
	if (dpcap_vm_map_create(&def, 1, &map) != 0)
		return 1;
	for (size_t i = 0; i < N_ELEMENTS(map_cases); i++)
		run_map_case(&map_cases[i], map);
	dpcap_vm_map_free(map);
	return vmtest_failures != 0;
}
