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
	 * loaded, so an access has to be proved by comparisons against it. It is at
	 * most 2^31 - 1. */
	DPCAP_VM_PACKET = 0,
	/* r1: writable memory of exactly mem_size bytes, r2: mem_size. Aligned to 8 bytes
	 * if the program has atomic operations on it. */
	DPCAP_VM_MEMORY = 1,
	/*
	 * r1: a context, a structure of the host that tells where a packet is (as XDP
	 * programs get theirs); its fields are in ctx_fields. All other registers are
	 * uninitialised. The program is run with mem pointing to the host's structure.
	 */
	DPCAP_VM_CONTEXT = 2,
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
	DPCAP_VM_MAP_LRU_HASH = 3, /* full: the least recently used key goes (approximately) */
	DPCAP_VM_MAP_RING = 4,	   /* no keys; max_entries: its size in bytes, a power of two */
};

#define DPCAP_VM_MAP_NAME_SIZE 32
/* The largest memory of one map, and the largest key. */
#define DPCAP_VM_MAP_MAX_BYTES 0x40000000
#define DPCAP_VM_MAP_MAX_KEY 512

/* The shape of a map. */
struct dpcap_vm_map_def {
	char name[DPCAP_VM_MAP_NAME_SIZE];
	uint32_t type;	     /* enum dpcap_vm_map_type */
	uint32_t key_size;   /* bytes; arrays: 4; ring: 0 */
	uint32_t value_size; /* bytes; ring: 0 */
	uint32_t max_entries;
	uint32_t read_only; /* programs may not write its values (.rodata) */
};

struct dpcap_vm_map;

/*
 * Make a map in memory of its own (a memfd), for lcores 0 to n_lcores - 1 where its
 * type tells lcores apart. 0, or -EINVAL (a shape that makes no sense), -E2BIG,
 * -ENOMEM or what memfd_create(2) says.
 */
int dpcap_vm_map_create(const struct dpcap_vm_map_def *def, uint32_t n_lcores,
			struct dpcap_vm_map **map);

/*
 * Map the memory of a map that another process made, to read it (and, for a ring,
 * to take records out). The descriptor is duplicated. -EPROTO: fd holds no map of
 * this version.
 */
int dpcap_vm_map_open(int fd, struct dpcap_vm_map **map);

void dpcap_vm_map_free(struct dpcap_vm_map *map);

const struct dpcap_vm_map_def *dpcap_vm_map_def(const struct dpcap_vm_map *map);

/* Lcores that the map has values for; 1 for the types that do not tell them apart. */
uint32_t dpcap_vm_map_lcores(const struct dpcap_vm_map *map);

/* The descriptor of its memory, to hand to a reader. It belongs to the map. */
int dpcap_vm_map_fd(const struct dpcap_vm_map *map);

/* What bpf_map_update_elem() takes as flags. */
enum dpcap_vm_map_flags {
	DPCAP_VM_MAP_ANY = 0,
	DPCAP_VM_MAP_NOEXIST = 1, /* only a new key, else -EEXIST */
	DPCAP_VM_MAP_EXIST = 2,	  /* only a key that is there, else -ENOENT */
};

/*
 * Where the value of a key is, NULL when there is none; in a per-lcore array the
 * value of the calling lcore. The memory stays, but another thread may delete the
 * key and use it for another one.
 */
void *dpcap_vm_map_lookup(struct dpcap_vm_map *map, const void *key);

/*
 * 0, or -ENOENT, -EEXIST, -E2BIG (full, or no such index), -EBUSY (the lock of the
 * bucket was not to be had in time), -EINVAL, -EPERM (opened to read).
 */
int dpcap_vm_map_update(struct dpcap_vm_map *map, const void *key, const void *value,
			uint64_t flags);
int dpcap_vm_map_delete(struct dpcap_vm_map *map, const void *key);

/*
 * Copy the value of a key (lcore: whose, in a per-lcore array), as no update of
 * dpcap_vm_map_update() tears it. No system call, and no writer waits for it.
 * 0, -ENOENT, or -EBUSY when the value changed all the time.
 */
int dpcap_vm_map_read(const struct dpcap_vm_map *map, const void *key, uint32_t lcore, void *value);

/*
 * Copy the next key of a hash; *cursor is 0 at first. 0, or -ENOENT after the last.
 * Each key that is there all the time comes once.
 */
int dpcap_vm_map_next_key(const struct dpcap_vm_map *map, uint32_t *cursor, void *key);

/* Put a record into a ring. 0, or -EAGAIN (full: counted), -E2BIG (never fits). */
int dpcap_vm_ring_output(struct dpcap_vm_map *map, const void *data, uint64_t size);

/*
 * Take the oldest record out, one reader at a time. Its size in bytes, or -EAGAIN
 * (there is none), -EMSGSIZE (it is larger than size and stays), -EPROTO (the ring's
 * memory is damaged).
 */
int64_t dpcap_vm_ring_read(struct dpcap_vm_map *map, void *data, uint64_t size);

/* Records that did not fit since the ring was made. */
uint64_t dpcap_vm_ring_dropped(const struct dpcap_vm_map *map);

/* The lcore that the calling thread is, for per-lcore arrays and programs that ask. */
void dpcap_vm_set_lcore(uint32_t lcore);
uint32_t dpcap_vm_lcore(void);

/*
 * The helpers that the VM brings, under the numbers that they have in Linux
 * (bpf-helpers(7)), so that what clang compiles finds them:
 *
 *    1 bpf_map_lookup_elem     5 bpf_ktime_get_ns        8 bpf_get_smp_processor_id
 *    2 bpf_map_update_elem     6 bpf_trace_printk      130 bpf_ringbuf_output
 *    3 bpf_map_delete_elem     7 bpf_get_prandom_u32
 *
 * They are offered to a program by its load attributes, as any other.
 */
const struct dpcap_vm_helper *dpcap_vm_helpers(uint32_t *n);

/*
 * Who gets the lines that bpf_trace_printk() prints (without a line end), in place
 * of standard error; NULL: standard error again. Called on the lcore that runs the program.
 */
void dpcap_vm_set_print(void (*print)(const char *line));

/* What a context field holds. */
enum dpcap_vm_ctx_kind {
	DPCAP_VM_CTX_SCALAR = 0,
	DPCAP_VM_CTX_PACKET,	 /* pointer to the first byte of the packet */
	DPCAP_VM_CTX_PACKET_END, /* pointer behind its last byte, at most 2^31 - 1 further */
};

/*
 * One field of a context. A program sees it at offset, size bytes wide; the host has
 * it at host_offset, host_size bytes wide (8 for pointers). Where they differ, as they
 * do for the 32-bit data and data_end of XDP, the program's loads are rewritten.
 */
struct dpcap_vm_ctx_field {
	uint16_t offset;
	uint16_t host_offset;
	uint8_t size; /* 1, 2, 4 or 8, as host_size */
	uint8_t host_size;
	uint8_t kind;	  /* enum dpcap_vm_ctx_kind */
	uint8_t writable; /* scalars only */
};

struct dpcap_vm_load_attr {
	const struct dpcap_insn *insns;
	uint32_t n_insns;
	enum dpcap_vm_prog_type type;
	uint64_t mem_size; /* DPCAP_VM_MEMORY only */
	const struct dpcap_vm_ctx_field *ctx_fields; /* DPCAP_VM_CONTEXT only; copied */
	uint32_t n_ctx_fields;
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
	/* Not 0: have the memory of all records fetched before the program looks at the first.
	 * Wins where packets are not in the cache, costs about a cycle a packet where they are. */
	uint8_t prefetch;
};

/*
 * Run over up to DPCAP_VM_MAX_BURST records. Bit i of the result is set when the
 * program returned non-zero for records[i].
 */
typedef uint64_t (*dpcap_vm_burst_fn)(void *const *records, uint32_t n, uint64_t meta);

/*
 * Translate a burst entry with the loop in the generated code. Errors of dpcap_vm_jit(),
 * and -EINVAL for a program that is not of type DPCAP_VM_PACKET.
 */
int dpcap_vm_jit_burst(struct dpcap_vm_prog *prog, const struct dpcap_vm_burst_layout *layout);

/* The translated burst entry, NULL before dpcap_vm_jit_burst(). */
dpcap_vm_burst_fn dpcap_vm_burst_entry(const struct dpcap_vm_prog *prog);

/* Its machine code and size in bytes, NULL before dpcap_vm_jit_burst(). */
const void *dpcap_vm_burst_code(const struct dpcap_vm_prog *prog, size_t *size);

/*
 * An object file made by "clang -target bpf -g -c": programs, the maps that they
 * define and their data.
 *
 *  - A program is a global function in a section of its own (SEC("...")); functions in
 *    .text are linked into the programs that call them. Where there are no such
 *    sections, the global functions in .text are the programs.
 *  - Maps are variables in SEC(".maps") as libbpf's bpf_helpers.h defines them (this
 *    takes BTF, -g), or struct bpf_map_def in SEC("maps"). Their types are the kernel's.
 *  - .rodata, .data and .bss are array maps with one value.
 */
struct dpcap_vm_object;

struct dpcap_vm_object_program {
	const char *name;
	const char *section;
	const struct dpcap_insn *insns; /* with its functions, maps loaded by index */
	uint32_t n_insns;
};

/*
 * Read an object and make its maps. 0, or -EINVAL with the reason in the log (may be
 * NULL), -ENOMEM, or what dpcap_vm_map_create() returns. The image is not kept.
 */
int dpcap_vm_object_open(const void *image, size_t size, uint32_t n_lcores,
			 struct dpcap_vm_object **object, char *log, size_t log_size);

/* Frees its maps, too. */
void dpcap_vm_object_free(struct dpcap_vm_object *object);

/* Its maps, as the load attributes of each of its programs take them. */
struct dpcap_vm_map *const *dpcap_vm_object_maps(const struct dpcap_vm_object *object, uint32_t *n);

const struct dpcap_vm_object_program *dpcap_vm_object_programs(const struct dpcap_vm_object *object,
								uint32_t *n);

#ifdef __cplusplus
}
#endif

#endif /* DPCAP_VM_H */
