/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The x86-64 JIT. The program has been verified: nothing is checked when it runs.
 *
 *   jit_regs_x86_64.c    registers and frame of a function
 *   jit_live_x86_64.c    which of them are still needed, where
 *   jit_insn_x86_64.c    its instructions
 *   jit_fuse_x86_64.c    several of them at once
 *   jit_long_x86_64.c    those that need long sequences
 *   jit_burst_x86_64.c   the loop over a burst around it
 *   emit_x86_64.h        machine instructions
 *   asm_x86_64.c         the buffer, labels, sizes of jumps
 */
#if defined(__x86_64__)
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "jit_x86_64.h"

unsigned dpcap_vm_cpu;

__attribute__((constructor)) static void detect_cpu(void)
{
	unsigned eax, ebx, ecx, edx;

	if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_MOVBE))
		dpcap_vm_cpu |= DPCAP_VM_CPU_MOVBE;
	if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
		if (ebx & bit_BMI)
			dpcap_vm_cpu |= DPCAP_VM_CPU_BMI1;
		if (ebx & bit_BMI2)
			dpcap_vm_cpu |= DPCAP_VM_CPU_BMI2;
	}
}

int jit_init(struct jit *jit, const struct dpcap_vm_prog *prog)
{
	*jit = (struct jit){.prog = prog, .cpu = dpcap_vm_cpu, .live = jit_liveness(prog)};
	if (!jit->live)
		return -ENOMEM;
	x64_start(&jit->as, 2 * prog->n_insns);
	return 0;
}

/* Never writable and executable at the same time. */
static void *executable_copy(const struct x64_asm *as, size_t size)
{
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		return NULL;
	x64_write(as, pages);
	if (mprotect(pages, size, PROT_READ | PROT_EXEC) != 0) {
		munmap(pages, size);
		return NULL;
	}
	return pages;
}

int jit_finish(struct jit *jit, void **code, size_t *size)
{
	uint32_t n = x64_layout(&jit->as);
	void *pages = n > 0 ? executable_copy(&jit->as, n) : NULL;

	x64_end(&jit->as);
	free(jit->live);
	if (!pages)
		return -ENOMEM;
	*code = pages;
	*size = n;
	return 0;
}

/* r0 = carry ? value : 0 */
static void exit_carry(struct jit *jit, int32_t value)
{
	x64_alu(&jit->as, W32, X_SBB, RAX, RAX);
	x64_alu_imm(&jit->as, W32, X_AND, RAX, value);
	jit_emit_epilogue(jit);
}

void jit_emit_functions(struct jit *jit)
{
	uint32_t start = 0;

	jit->exit = jit_emit_epilogue;
	jit->exit_carry = exit_carry;
	while (start < jit->prog->n_insns && x64_reserve(&jit->as)) {
		const struct jit_function function = jit_analyse(jit->prog, start);

		jit_map_registers(jit, &function);
		x64_place(&jit->as, jit_entry_label(jit, start));
		jit_emit_prologue(jit);
		jit_emit_body(jit, function.start, function.end);
		start = function.end;
	}
}

int dpcap_vm_jit(struct dpcap_vm_prog *prog)
{
	struct jit jit;
	int ret;

	if (prog->jit_code)
		return 0;
	ret = jit_init(&jit, prog);
	if (ret != 0)
		return ret;
	jit_emit_functions(&jit);
	ret = jit_finish(&jit, &prog->jit_code, &prog->jit_size);
	if (ret == 0)
		prog->jit_entry = (dpcap_vm_fn)(uintptr_t)prog->jit_code;
	return ret;
}
#endif
