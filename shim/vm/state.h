/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the verifier knows at one point of the program: registers, stack frames
 * and what relates numbers to the length of the packet.
 */
#ifndef DPCAP_VM_STATE_H
#define DPCAP_VM_STATE_H

#include "form.h"
#include "isa.h"
#include "prog.h"
#include "scalar.h"

#define STACK_SLOTS (DPCAP_VM_STACK_SIZE / 8)
/* Facts remembered at a time; the oldest is forgotten. */
#define MAX_FACTS 24
/* No pointer is moved further from its base than this: addresses never wrap. */
#define POINTER_OFFSET_LIMIT (INT64_C(1) << 34)
/* The longest packet: a length is a non-negative 32-bit number. */
#define MAX_PACKET_LEN INT64_C(0x7fffffff)

enum reg_type {
	REG_UNINIT,
	REG_MIXED, /* different kinds of value on the ways to here: not usable */
	REG_PART,  /* the low half of a pointer: tested for 0, or subtracted */
	REG_SCALAR,
	REG_POINTER,
};

/* What a pointer points into. */
enum region {
	REGION_PACKET, /* read-only, L bytes */
	REGION_MEMORY, /* DPCAP_VM_MEMORY: mem_size bytes */
	REGION_RODATA, /* the program's tables, read-only */
	REGION_CONTEXT, /* DPCAP_VM_CONTEXT: its fields */
	REGION_STACK,  /* offset from r10 of frame `object` */
	REGION_MAP,    /* map `object` itself: only for helpers */
	REGION_MAP_VALUE, /* a value of map `object` */
	REGION_MAP_ARRAY, /* all values of array map `object` */
};

/* How a number was made of another whose form is made_of. Known until it meets
 * another one: these are steps of idioms in one straight piece of code. */
enum reg_made {
	MADE_UNKNOWN,
	MADE_SIGN_MASK, /* -1 where made_of < 0, otherwise 0 */
	MADE_SHIFTED,	/* made_of << shift, which lost nothing */
};

struct reg {
	uint8_t type;
	uint8_t region;
	bool or_null;	      /* a pointer that may be 0 instead; so may all of the same null_id */
	uint32_t null_id;
	uint32_t object;
	uint8_t made;	      /* enum reg_made */
	uint8_t shift;
	struct form made_of;
	struct form form;     /* of value */
	struct scalar value;  /* the number, or a pointer's offset in its region */
};

/* Eight bytes of stack. `saved` is the value that `size` bytes at `offset` hold,
 * size 0: nothing is known of what the initialised bytes hold. */
struct slot {
	uint8_t init; /* bit i: byte i is initialised */
	uint8_t offset;
	uint8_t size;
	struct reg saved;
};

struct frame {
	struct reg regs[BPF_N_REGS];
	uint32_t n_slots;   /* slots[0] is the one just below r10 */
	uint32_t capacity;
	struct slot slots[];
};

/* The sum of the symbols + bound <= L. */
struct fact {
	struct symbols symbols;
	int64_t bound;
};

struct state {
	struct scalar len; /* L */
	uint32_t n_facts;
	struct fact facts[MAX_FACTS];
	uint32_t n_frames; /* frames[n_frames - 1] is running */
	struct frame *frames[DPCAP_VM_MAX_FRAMES];
	struct state *next; /* in a set of states */
};

/* NULL: out of memory. */
struct state *state_new(void);
struct state *state_clone(const struct state *state);
void state_free(struct state *state);

/* Enter a function: a frame with nothing known but r10. False: out of memory. */
bool state_push_frame(struct state *state);
void state_pop_frame(struct state *state);

static inline struct frame *state_frame(struct state *state)
{
	return state->frames[state->n_frames - 1];
}

static inline struct reg *state_reg(struct state *state, unsigned int n)
{
	return &state_frame(state)->regs[n];
}

/* The slot that holds the byte at offset (-512..-1) from r10 of a frame; it is
 * created (uninitialised) if need be. NULL: out of memory. */
struct slot *state_slot(struct state *state, unsigned int frame, int64_t offset);

/* Call visit for every register and saved value of every frame. */
#define FOR_EACH_VALUE(state, reg, ...) \
	for (uint32_t f_ = 0; f_ < (state)->n_frames; f_++) { \
		struct frame *frame_ = (state)->frames[f_]; \
		for (uint32_t i_ = 0; i_ < BPF_N_REGS + frame_->n_slots; i_++) { \
			struct reg *reg = i_ < BPF_N_REGS \
						  ? &frame_->regs[i_] \
						  : &frame_->slots[i_ - BPF_N_REGS].saved; \
			if (reg->type < REG_SCALAR || \
			    (i_ >= BPF_N_REGS && !frame_->slots[i_ - BPF_N_REGS].size)) \
				continue; \
			__VA_ARGS__ \
		} \
	}

/* Values. A number that comes from nowhere gets a symbol of its own. */
struct reg reg_const(uint64_t value);
struct reg reg_from_scalar(struct scalar value, uint32_t symbol);
struct reg reg_pointer(enum region region, unsigned int object, int64_t offset);

static inline bool reg_is_scalar(const struct reg *reg)
{
	return reg->type == REG_SCALAR;
}

static inline bool reg_is_pointer(const struct reg *reg)
{
	return reg->type == REG_POINTER;
}

/* Tighten a value by what its form says: a constant, L + delta, a fact. False:
 * it cannot be. */
bool state_tighten(const struct state *state, struct reg *reg);

void state_add_fact(struct state *state, const struct symbols *symbols, int64_t bound);

/* Learn `f + slack <= g`. False: the state cannot be. */
bool state_learn(struct state *state, struct form f, struct form g, int64_t slack);

/* value has become known better: tell the values of the same origin. False: the
 * state cannot be. */
bool state_propagate(struct state *state, const struct reg *reg);

/* The largest n such that value + n <= L is proved. */
int64_t state_room(const struct state *state, const struct reg *reg);

/*
 * Two ways that meet. a becomes a state that describes both; next_symbol is
 * advanced by the symbols made. False: out of memory. Frames are the same
 * chain of calls.
 */
bool state_join(struct state *a, const struct state *b, uint32_t *next_symbol);

/* Whatever b allows, a allows: what is proved from a is proved from b. */
bool state_includes(const struct state *a, const struct state *b);

/* Registers and stack hold values of the same kinds: joining loses little. */
bool state_same_shape(const struct state *a, const struct state *b);

#endif /* DPCAP_VM_STATE_H */
