/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of the verifier to each other. docs/vm.md tells what is proved. */
#ifndef DPCAP_VM_VERIFIER_H
#define DPCAP_VM_VERIFIER_H

#include "cfg.h"
#include "isa.h"
#include "prog.h"
#include "state.h"

/* Instructions that the verifier walks through at most, loops unrolled: a bound
 * on what a program executes, too. */
#ifndef DPCAP_VM_MAX_STEPS /* fuzzers are built with fewer */
#define DPCAP_VM_MAX_STEPS 1000000
#endif

/*
 * Called with the state before each instruction that is walked, and with NULL when
 * the walk starts (again). For tests: what they see may not be changed.
 */
typedef void (*verify_observer)(void *arg, uint32_t pc, const struct state *state);

struct verifier {
	verify_observer observer; /* may be NULL */
	void *observer_arg;
	struct dpcap_vm_prog *prog;
	struct dpcap_vm_log *log;
	struct cfg cfg;
	uint32_t next_symbol;
	uint32_t max_states; /* kept apart at one point; beyond that they are joined */
	uint64_t steps, max_steps;
	uint64_t visits; /* of blocks, also of those that no state enters */
	uint32_t stack_used;
	size_t live_states; /* waiting for their block */
	bool joined;	    /* something was joined, so less may have been proved */
};

/* dpcap_vm_verify() with an observer. */
int verify_observed(struct dpcap_vm_prog *prog, struct dpcap_vm_log *log, verify_observer observer,
		    void *arg);

/* What an instruction does to the state. All return 0, or a negative errno with
 * the reason in the log: -EINVAL for what is not proved. */
int verify_alu(struct verifier *v, struct state *state, uint32_t pc);
int verify_lddw(struct verifier *v, struct state *state, uint32_t pc);
int verify_load(struct verifier *v, struct state *state, uint32_t pc);
int verify_store(struct verifier *v, struct state *state, uint32_t pc);
int verify_atomic(struct verifier *v, struct state *state, uint32_t pc);
int verify_exit(struct verifier *v, struct state *state, uint32_t pc);
int verify_helper_call(struct verifier *v, struct state *state, uint32_t pc);
int verify_local_call(struct verifier *v, struct state *state, uint32_t pc);

/*
 * Make state what holds where the jump is taken, or is not. *possible is false
 * when it cannot go that way.
 */
int verify_jump(struct verifier *v, struct state *state, uint32_t pc, bool taken, bool *possible);

/* Accesses of the stack, verify_stack.c. pointer is one into a frame. */
int stack_load(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
	       unsigned int size, bool sign, struct reg *out);
int stack_store(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
		unsigned int size, const struct reg *value);

/* Memory that a helper reads or fills; certain: fills all of it. */
int stack_argument(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
		   unsigned int size, bool write, bool certain);
/* Anything but the stack, verify_mem.c. */
int check_access(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
		 unsigned int size, bool write);

/* verify_ctx.c: a load or store of a context field, and the rewriting of them all
 * once the program is accepted. */
int ctx_load(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
	     unsigned int size, bool sign, struct reg *out);
int ctx_store(struct verifier *v, struct state *state, uint32_t pc, const struct reg *pointer,
	      unsigned int size, const struct reg *value);
int ctx_check_fields(const struct dpcap_vm_prog *prog, struct dpcap_vm_log *log);
void ctx_rewrite(struct dpcap_vm_prog *prog);

/* What a load of size bytes may give. */
struct scalar loaded_value(unsigned int size, bool sign);

/* A number with an origin of its own. */
struct reg new_number(struct verifier *v, struct scalar value);

/* A register that is read: refused unless it holds a value. */
int check_readable(struct verifier *v, struct state *state, uint32_t pc, unsigned int n);

/* Log `insn PC: TEXT: reason` and the state; returns -EINVAL. */
__attribute__((format(printf, 4, 5)))
int refuse(struct verifier *v, const struct state *state, uint32_t pc, const char *format, ...);

/* log.c. One instruction in the syntax of the kernel's verifier. */
void insn_format(const struct dpcap_insn *insn, char *text, size_t size);
void state_log(struct dpcap_vm_log *log, const struct state *state);
void reg_format(const struct reg *reg, char *text, size_t size);

#endif /* DPCAP_VM_VERIFIER_H */
