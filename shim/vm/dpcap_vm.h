/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dpcap's eBPF virtual machine: load (verify), interpret, JIT.
 *
 * It stands alone: libc only, no DPDK, no notion of packets beyond "memory of
 * a given length". Nothing runs before the verifier has proved it safe.
 *
 * The convention of a program is uBPF's, extended by two arguments:
 *
 *     uint64_t f(const void *mem, uint64_t len, uint64_t wirelen, uint64_t meta)
 *                r1               r2            r3                r4        r10 = end of stack
 *
 * Bytes that use only r1 and r2 run unchanged on libubpf.
 */
#ifndef DPCAP_VM_H
#define DPCAP_VM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One instruction, RFC 9669 section 3, little-endian:
 *
 *   byte 0    byte 1           bytes 2-3   bytes 4-7
 *  +--------+----------------+-----------+-----------+
 *  | opcode | src:4 | dst:4  | offset    | imm       |
 *  +--------+----------------+-----------+-----------+
 */
struct dpcap_insn {
	uint8_t opcode;
	uint8_t regs; /* low nibble: destination, high nibble: source */
	int16_t offset;
	int32_t imm;
};

/* The longest program accepted. */
#define DPCAP_VM_MAX_INSNS 65536
/* Bytes of stack below r10, for each frame. */
#define DPCAP_VM_STACK_SIZE 512
/* Packets a burst entry takes at most: one bit of its result for each. */
#define DPCAP_VM_MAX_BURST 64

/* Program metadata word (r4) of a packet program. */
#define DPCAP_VM_META_DIRECTION 0x3 /* as in epb_flags: 1 inbound, 2 outbound */
#define DPCAP_VM_META_PORT_SHIFT 32 /* port id, 16 bits */
#define DPCAP_VM_META_QUEUE_SHIFT 16 /* queue id, 16 bits */

enum dpcap_vm_prog_type {
	/* r1: read-only packet of r2 bytes; r2 is unknown when the program is
	 * loaded, so an access has to be proved by comparisons against it. */
	DPCAP_VM_PACKET = 0,
	/* r1: writable memory of exactly mem_size bytes, r2: mem_size. */
	DPCAP_VM_MEMORY = 1,
};

/*
 * What a helper's argument has to be. The verifier checks every call against it;
 * nothing is checked when the program runs.
 */
enum dpcap_vm_arg {
	DPCAP_VM_ARG_NONE = 0, /* not used: the last arguments of a helper that takes fewer than 5 */
	DPCAP_VM_ARG_SCALAR,   /* any number, no pointer */
	DPCAP_VM_ARG_MAP,      /* a map, loaded by the 64-bit immediate load with source 5 */
	/* Initialised memory that holds a key or a value of the map in an argument before it. */
	DPCAP_VM_ARG_MAP_KEY,
	DPCAP_VM_ARG_MAP_VALUE,
	/* Memory whose size in bytes is the next argument. */
	DPCAP_VM_ARG_MEM,	   /* initialised: stack, packet, map value, read-only table */
	DPCAP_VM_ARG_MEM_WRITABLE, /* the helper fills it: stack, map value, DPCAP_VM_MEMORY */
	DPCAP_VM_ARG_SIZE,	   /* size of the argument before it, at least 1 */
	DPCAP_VM_ARG_SIZE_OR_ZERO,
};

/* What a helper leaves in r0. */
enum dpcap_vm_ret {
	DPCAP_VM_RET_SCALAR = 0,
	DPCAP_VM_RET_MAP_VALUE_OR_NULL, /* a writable value of the map in its first DPCAP_VM_ARG_MAP */
};

/* A function of the host that programs call by number. */
struct dpcap_vm_helper {
	uint32_t id; /* imm of the call instruction */
	uint8_t ret; /* enum dpcap_vm_ret */
	uint8_t args[5]; /* enum dpcap_vm_arg, r1 to r5 */
	const char *name; /* for the verifier's log */
	uint64_t (*function)(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5);
};

enum dpcap_vm_map_type {
	DPCAP_VM_MAP_ARRAY = 0,
	DPCAP_VM_MAP_PERCPU_ARRAY = 1, /* one array for each lcore */
	DPCAP_VM_MAP_HASH = 2,
	DPCAP_VM_MAP_LRU_HASH = 3,
	DPCAP_VM_MAP_RING = 4, /* no keys; max_entries: its size in bytes */
};

#define DPCAP_VM_MAP_NAME_SIZE 32

/* The shape of a map. */
struct dpcap_vm_map_def {
	char name[DPCAP_VM_MAP_NAME_SIZE];
	uint32_t type; /* enum dpcap_vm_map_type */
	uint32_t key_size; /* bytes; arrays: 4 */
	uint32_t value_size; /* bytes; ring: 0 */
	uint32_t max_entries;
	uint32_t read_only; /* programs may not write its values (.rodata) */
};

struct dpcap_vm_map;

const struct dpcap_vm_map_def *dpcap_vm_map_def(const struct dpcap_vm_map *map);

struct dpcap_vm_load_attr {
	const struct dpcap_insn *insns;
	uint32_t n_insns;
	enum dpcap_vm_prog_type type;
	uint64_t mem_size; /* DPCAP_VM_MEMORY only */
	/*
	 * Read-only tables of the program (copied). Addressed by the 64-bit
	 * immediate load with source 6 (map value by index), imm 0, next_imm = offset
	 * into the blob (RFC 9669 section 5.4).
	 */
	const void *rodata;
	uint32_t rodata_size;
	/*
	 * Helpers that the program may call (the array is copied; names and functions
	 * have to outlive the program), in any order, no id twice.
	 */
	const struct dpcap_vm_helper *helpers;
	uint32_t n_helpers;
	/*
	 * Maps that the program uses (the array is copied; the maps have to outlive the
	 * program). Map i of the 64-bit immediate load with source 5 is maps[i]; with
	 * source 6 and imm i + 1 the value of the array map maps[i] at offset next_imm.
	 */
	struct dpcap_vm_map *const *maps;
	uint32_t n_maps;
};

struct dpcap_vm_prog;

/*
 * Verify a program and make it ready for the interpreter.
 *
 * Returns 0 and sets *prog, or a negative errno: -EINVAL (refused by the
 * verifier), -E2BIG (too long), -ENOMEM. log (may be NULL) receives a
 * NUL-terminated text: why it was refused, with instruction and register state.
 */
int dpcap_vm_load(const struct dpcap_vm_load_attr *attr, struct dpcap_vm_prog **prog,
		  char *log, size_t log_size);

void dpcap_vm_free(struct dpcap_vm_prog *prog);

/* Run in the interpreter. */
uint64_t dpcap_vm_interp(const struct dpcap_vm_prog *prog, void *mem, uint64_t len,
			 uint64_t wirelen, uint64_t meta);

typedef uint64_t (*dpcap_vm_fn)(const void *mem, uint64_t len, uint64_t wirelen, uint64_t meta);

/*
 * Translate to machine code. Returns 0, -ENOTSUP where there is no JIT for this
 * machine, -ENOMEM. The code lives as long as the program.
 */
int dpcap_vm_jit(struct dpcap_vm_prog *prog);

/* The translated program, NULL before dpcap_vm_jit(). */
dpcap_vm_fn dpcap_vm_jit_entry(const struct dpcap_vm_prog *prog);

/* The machine code and its size in bytes, NULL before dpcap_vm_jit(). */
const void *dpcap_vm_jit_code(const struct dpcap_vm_prog *prog, size_t *size);

/*
 * Where a burst entry finds the memory of one record: the record is a structure
 * that holds a base pointer, a 16-bit offset to add to it, the number of bytes
 * there and the length on the wire. (An rte_mbuf is such a record.)
 */
struct dpcap_vm_burst_layout {
	uint16_t base;	  /* uint64_t: base pointer */
	uint16_t offset;  /* uint16_t: added to the base pointer */
	uint16_t len;	  /* uint16_t: bytes available */
	uint16_t wirelen; /* uint32_t: bytes on the wire */
};

/*
 * Run over up to DPCAP_VM_MAX_BURST records. Bit i of the result is set when the
 * program returned non-zero for records[i].
 */
typedef uint64_t (*dpcap_vm_burst_fn)(void *const *records, uint32_t n, uint64_t meta);

/*
 * Translate a burst entry with the loop in the generated code. Same errors as
 * dpcap_vm_jit().
 */
int dpcap_vm_jit_burst(struct dpcap_vm_prog *prog, const struct dpcap_vm_burst_layout *layout);

dpcap_vm_burst_fn dpcap_vm_burst_entry(const struct dpcap_vm_prog *prog);

#ifdef __cplusplus
}
#endif

#endif /* DPCAP_VM_H */
