/* SPDX-License-Identifier: BSD-3-Clause */
#include <cpuid.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "chain.h"

#define RED_ZONE 128
#define FPU_ALIGN 64
#define FLAGS_AT_ENTRY 0x202 /* interrupts on; direction and arithmetic flags clear, as the ABI asks */

/*
 * struct rt_sigframe of arch/x86/include/asm/sigframe.h up to what rt_sigreturn reads:
 *
 *     0  restorer    where a call returns to; popped by its ret
 *     8  uc_flags    uc_link    uc_stack
 *    48  registers   (struct sigcontext_64)
 *   304  signal mask
 */
struct frame {
	uint64_t restorer;
	uint64_t uc_flags;
	uint64_t uc_link;
	struct {
		uint64_t sp;
		uint32_t flags, pad;
		uint64_t size;
	} uc_stack;
	struct {
		uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
		uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
		uint16_t cs, gs, fs, ss;
		uint64_t err, trapno, oldmask, cr2;
		uint64_t fpstate;
		uint64_t reserved[8];
	} regs;
	uint64_t signals;
};
_Static_assert(sizeof(struct frame) == 312, "the kernel's layout");

#define UC_FP_XSTATE 1
#define UC_SIGCONTEXT_SS 2
#define UC_STRICT_RESTORE_SS 4

/* Neither of the kernel's: it refuses to set an alternate stack, and the thread's own stays. */
#define SS_KEEP 0x40

/*
 * FPU state in a frame: the XSAVE image, with a note for the kernel in the 48 bytes that
 * FXSAVE leaves to software, and a second mark behind it (struct _fpx_sw_bytes).
 */
#define FPU_NOTE 464
#define FPU_MAGIC1 0x46505853u
#define FPU_MAGIC2 0x46505845u
#define FXSAVE_SIZE 512
#define XSAVE_HEADER 64

struct fpu_note {
	uint32_t magic1;
	uint32_t extended_size; /* with the second mark */
	uint64_t features;
	uint32_t size;
	uint32_t padding[7];
};

/* AMX tiles: no part of a frame until the process asks for them, and empty in a thread that sleeps. */
#define XFEATURE_TILES (1ULL << 18)

/* End of the states that features speak of, by CPUID leaf 13. */
static size_t
fpu_end(uint64_t features)
{
	size_t end = FXSAVE_SIZE + XSAVE_HEADER;
	unsigned int size, offset, c, d;

	for (unsigned int i = 2; i < 63; i++)
		if ((features >> i & 1) && __get_cpuid_count(13, i, &size, &offset, &c, &d) && offset + size > end)
			end = offset + size;
	return end;
}

/* Write the state as a frame holds it; returns its size, 0 when it cannot. */
static size_t
put_fpu(uint8_t *out, size_t room, const struct stopped *stopped)
{
	struct fpu_note note = { .magic1 = FPU_MAGIC1 };
	const uint32_t magic2 = FPU_MAGIC2;
	uint64_t in_use;
	size_t size;

	if (stopped->fpu_size < FXSAVE_SIZE + XSAVE_HEADER)
		return 0;
	/* The regset tells there which features the kernel saves. */
	memcpy(&note.features, stopped->fpu + FPU_NOTE, sizeof(note.features));
	memcpy(&in_use, stopped->fpu + FXSAVE_SIZE, sizeof(in_use));
	if (in_use & XFEATURE_TILES)
		return 0;
	note.features &= ~XFEATURE_TILES;
	size = fpu_end(note.features);
	if (size > stopped->fpu_size || size + sizeof(magic2) > room)
		return 0;
	note.size = (uint32_t)size;
	note.extended_size = (uint32_t)(size + sizeof(magic2));
	memcpy(out, stopped->fpu, size);
	memcpy(out + FPU_NOTE, &note, sizeof(note));
	memcpy(out + size, &magic2, sizeof(magic2));
	return size + sizeof(magic2);
}

/* The thread at its syscall instruction, with the number of the call in rax as it was. */
static void
put_thread(struct frame *frame, const struct stopped *stopped, uint64_t fpstate)
{
	const struct user_regs_struct *r = &stopped->regs;

	frame->uc_flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	frame->regs.r8 = r->r8;
	frame->regs.r9 = r->r9;
	frame->regs.r10 = r->r10;
	frame->regs.r11 = r->r11;
	frame->regs.r12 = r->r12;
	frame->regs.r13 = r->r13;
	frame->regs.r14 = r->r14;
	frame->regs.r15 = r->r15;
	frame->regs.rdi = r->rdi;
	frame->regs.rsi = r->rsi;
	frame->regs.rbp = r->rbp;
	frame->regs.rbx = r->rbx;
	frame->regs.rdx = r->rdx;
	frame->regs.rax = r->orig_rax;
	frame->regs.rcx = r->rcx;
	frame->regs.rsp = r->rsp;
	frame->regs.rip = r->rip - 2; /* 0f 05: syscall */
	frame->regs.eflags = r->eflags;
	frame->regs.fpstate = fpstate;
	frame->signals = stopped->signals;
}

/* fpstate 0: the FPU as it is at the start of a program. */
static void
put_call(struct frame *frame, const struct call *call, uint64_t text, uint64_t sp)
{
	uint64_t args[3];

	memcpy(args, call->args, sizeof(args));
	if (call->text_arg >= 0)
		args[call->text_arg] = text;
	frame->uc_flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	frame->regs.rdi = args[0];
	frame->regs.rsi = args[1];
	frame->regs.rdx = args[2];
	frame->regs.rsp = sp;
	frame->regs.rip = call->function;
	frame->regs.eflags = FLAGS_AT_ENTRY;
	frame->signals = UINT64_MAX;
}

static uint64_t
round_down(uint64_t value, uint64_t to)
{
	return value & ~(to - 1);
}

int
chain_build(const struct stopped *stopped, const struct call *calls, unsigned int n, const char *text,
	    uint64_t sigreturn, uint8_t chain[static CHAIN_MAX_SIZE], size_t *size, uint64_t *address,
	    struct user_regs_struct *entry)
{
	/* A call begins with its return address at sp, and sp 8 below a multiple of 16. */
	const size_t step = sizeof(struct frame) + 8;
	uint64_t top = stopped->regs.rsp - RED_ZONE, text_at, fpu_at, last, first;
	size_t fpu_size, length = strlen(text) + 1;

	_Static_assert((sizeof(struct frame) + 8) % 16 == 0, "calls are aligned");
	if (n > CHAIN_MAX_CALLS || length > CHAIN_MAX_TEXT)
		return -E2BIG;
	text_at = round_down(top - length, 16);
	fpu_at = round_down(text_at - (stopped->fpu_size + sizeof(uint32_t)), FPU_ALIGN);
	last = round_down(fpu_at - sizeof(struct frame), 16) - 8;
	first = last - n * step;
	if (top - first > CHAIN_MAX_SIZE)
		return -E2BIG;

	memset(chain, 0, CHAIN_MAX_SIZE);
	memcpy(chain + (text_at - first), text, length);
	fpu_size = put_fpu(chain + (fpu_at - first), text_at - fpu_at, stopped);
	if (fpu_size == 0)
		return -ENOTSUP;
	for (unsigned int i = 0; i <= n; i++) {
		struct frame frame = { .restorer = sigreturn };

		frame.uc_stack.flags = SS_KEEP;
		frame.regs.cs = (uint16_t)stopped->regs.cs;
		frame.regs.ss = (uint16_t)stopped->regs.ss;
		if (i < n)
			put_call(&frame, &calls[i], text_at, first + (i + 1) * step);
		else
			put_thread(&frame, stopped, fpu_at);
		memcpy(chain + i * step, &frame, sizeof(frame));
	}
	*address = first;
	*size = top - first;
	*entry = stopped->regs;
	entry->rsp = first + 8; /* as after the ret of a handler */
	entry->rip = sigreturn;
	entry->orig_rax = UINT64_MAX; /* the interrupted system call is not made again here, but at the end */
	return 0;
}
