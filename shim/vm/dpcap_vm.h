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
