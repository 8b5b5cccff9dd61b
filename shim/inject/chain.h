/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that a stopped thread makes by itself, one after another, before it goes on as
 * if nothing had been. They are laid on its stack as signal frames, each of which the
 * kernel unpacks into all registers at once (rt_sigreturn):
 *
 *     highest    ... the thread's own stack
 *                ─────────────────────────────  sp where it sleeps
 *                red zone, 128 bytes
 *                text: the arguments of the calls
 *                FPU state of the thread
 *                frame n: the thread, about to make its system call again
 *                frame n-1: call n-1 ─ returns into rt_sigreturn of frame n
 *                ...
 *                frame 0: call 0 ─ returns into rt_sigreturn of frame 1
 *     lowest     ─────────────────────────────  sp of the first rt_sigreturn
 *
 * A call uses the stack below its own frame, where only spent frames are. While the
 * chain runs all signals are blocked: no handler and no cancellation can find the thread
 * inside of the loader. The last frame gives the thread its own mask back.
 *
 * All is written below what the thread uses. It becomes true by the one system call
 * that sets the registers; from then on nobody else is needed.
 */
#ifndef DPCAP_INJECT_CHAIN_H
#define DPCAP_INJECT_CHAIN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/user.h>

#define CHAIN_MAX_CALLS 4
#define CHAIN_MAX_TEXT 256
/* Bytes below the sleeping thread's sp that a chain takes at most; the rest is for the calls. */
#define CHAIN_MAX_SIZE (24u << 10)

struct call {
	uint64_t function;
	uint64_t args[3];
	int text_arg; /* the argument that is the text's address; -1: none */
};

/* A stopped thread. */
struct stopped {
	struct user_regs_struct regs;
	uint64_t signals; /* its mask, as the kernel keeps it */
	uint8_t fpu[16384]; /* NT_X86_XSTATE */
	size_t fpu_size;
};

/*
 * Lay out n calls. text is one string for their arguments. On return chain[0..*size) is to be written at
 * *address, and *entry has the registers that start it. Returns 0, -E2BIG, or -ENOTSUP
 * when the FPU state cannot be expressed in a signal frame.
 */
int chain_build(const struct stopped *stopped, const struct call *calls, unsigned int n, const char *text,
		uint64_t sigreturn, uint8_t chain[static CHAIN_MAX_SIZE], size_t *size, uint64_t *address,
		struct user_regs_struct *entry);

#endif /* DPCAP_INJECT_CHAIN_H */
