/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs with the verifier's answer. What it accepts is run, too: soundness.h. */
#ifndef DPCAP_TESTS_VERIFYCASE_H
#define DPCAP_TESTS_VERIFYCASE_H

#include "soundness.h"

struct verify_case {
	const char *name;
	const char *refused; /* part of the reason; NULL: accepted */
	struct dpcap_insn insns[40];
	enum dpcap_vm_prog_type type;
	uint64_t mem_size;
	uint32_t rodata_size;
};

#define PROGRAM(...) .insns = {__VA_ARGS__}

/* Packets of every short length, of small and of large bytes. */
static void run_accepted(struct dpcap_vm_prog *prog)
{
	static struct soundness s;
	struct dpcap_vm_log log = {0};
	uint8_t content[SOUNDNESS_MAX_LEN];

	s.prog = prog;
	if (verify_observed(prog, &log, soundness_observe, &s))
		soundness_fail(prog, "verified only the first time", 0);
	if (dpcap_vm_jit(prog) == -ENOMEM)
		abort();
	for (uint64_t fill = 0; fill < 8; fill++) {
		static const uint8_t fills[] = {0, 1, 0x45, 0x7f, 0x80, 0xff, 0x0f, 0xf0};

		memset(content, fills[fill], sizeof(content));
		for (uint64_t len = 0; len <= 70; len++)
			soundness_run(&s, prog->type == DPCAP_VM_MEMORY ? prog->mem_size : len, content,
				      fill << (8 * (len & 7)));
	}
}

/* The program ends behind its last instruction that is not 0. */
static uint32_t count_insns(const struct verify_case *test)
{
	uint32_t n = N_ELEMENTS(test->insns);

	while (n > 1 && test->insns[n - 1].opcode == 0)
		n--;
	return n;
}

static void run_case(const struct verify_case *test)
{
	static const uint8_t rodata[64];
	struct dpcap_vm_load_attr attr = {
		.insns = test->insns,
		.n_insns = count_insns(test),
		.type = test->type,
		.mem_size = test->mem_size,
		.rodata = rodata,
		.rodata_size = test->rodata_size,
	};
	struct dpcap_vm_prog *prog = NULL;
	char log[4096];
	int rc = dpcap_vm_load(&attr, &prog, log, sizeof(log));

	if (!rc)
		run_accepted(prog);
	dpcap_vm_free(prog);
	if (getenv("VERBOSE"))
		printf("%s: %s\n", test->name, rc ? log : "accepted");
	if (rc && !test->refused) {
		fprintf(stderr, "%s: refused: %s\n", test->name, log);
		vmtest_failures++;
	} else if (test->refused && !rc) {
		fprintf(stderr, "%s: accepted\n", test->name);
		vmtest_failures++;
	} else if (test->refused && !strstr(log, test->refused)) {
		fprintf(stderr, "%s: refused for another reason: %s\n", test->name, log);
		vmtest_failures++;
	}
}

#endif /* DPCAP_TESTS_VERIFYCASE_H */
