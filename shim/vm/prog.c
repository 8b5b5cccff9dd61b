/* SPDX-License-Identifier: BSD-3-Clause */
/* Loading a program: copy it, check it, make it ready to run. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "interp.h"
#include "isa.h"
#include "maps.h"
#include "prog.h"

void dpcap_vm_log_printf(struct dpcap_vm_log *log, const char *format, ...)
{
	size_t room;
	va_list args;
	int n;

	if (!log || !log->text || log->used >= log->size)
		return;
	room = log->size - log->used;
	va_start(args, format);
	n = vsnprintf(log->text + log->used, room, format, args);
	va_end(args);
	if (n > 0)
		log->used += (size_t)n < room ? (size_t)n : room - 1;
}

/* An array of n elements, or NULL for none. */
static int copy_array(void *copy, const void *array, size_t n, size_t element_size)
{
	void *memory;

	if (n == 0)
		return 0;
	memory = malloc(n * element_size);
	if (!memory)
		return -ENOMEM;
	memcpy(memory, array, n * element_size);
	memcpy(copy, &memory, sizeof(memory));
	return 0;
}

/* In pages of their own that nothing can write any more, neither a program nor its host. */
static int copy_rodata(struct dpcap_vm_prog *prog, const struct dpcap_vm_load_attr *attr)
{
	void *pages;

	if (attr->rodata_size == 0)
		return 0;
	pages = mmap(NULL, attr->rodata_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	if (pages == MAP_FAILED)
		return -ENOMEM;
	prog->rodata = pages;
	prog->rodata_size = attr->rodata_size;
	memcpy(pages, attr->rodata, attr->rodata_size);
	if (mprotect(pages, attr->rodata_size, PROT_READ) != 0)
		return -ENOMEM;
	return 0;
}

static int copy_program(struct dpcap_vm_prog *prog, const struct dpcap_vm_load_attr *attr)
{
	int ret;

	prog->type = attr->type;
	prog->mem_size = attr->mem_size;
	ret = copy_array(&prog->insns, attr->insns, attr->n_insns, sizeof(*attr->insns));
	if (ret != 0)
		return ret;
	prog->n_insns = attr->n_insns;
	ret = copy_array(&prog->ctx_fields, attr->ctx_fields, attr->n_ctx_fields,
			 sizeof(*attr->ctx_fields));
	if (ret != 0)
		return ret;
	prog->n_ctx_fields = attr->n_ctx_fields;
	ret = copy_array(&prog->helpers, attr->helpers, attr->n_helpers, sizeof(*attr->helpers));
	if (ret != 0)
		return ret;
	prog->n_helpers = attr->n_helpers;
	ret = copy_array(&prog->maps, attr->maps, attr->n_maps, sizeof(*attr->maps));
	if (ret != 0)
		return ret;
	prog->n_maps = attr->n_maps;
	ret = copy_rodata(prog, attr);
	if (ret != 0)
		return ret;
	prog->aux = calloc(prog->n_insns, sizeof(*prog->aux));
	prog->ops = calloc(prog->n_insns, sizeof(*prog->ops));
	return prog->aux && prog->ops ? 0 : -ENOMEM;
}

static int check_size(const struct dpcap_vm_load_attr *attr, struct dpcap_vm_log *log)
{
	if (attr->type != DPCAP_VM_PACKET && attr->type != DPCAP_VM_MEMORY &&
	    attr->type != DPCAP_VM_CONTEXT) {
		dpcap_vm_log_printf(log, "unknown program type %d\n", (int)attr->type);
		return -EINVAL;
	}
	if (attr->n_insns == 0) {
		dpcap_vm_log_printf(log, "the program is empty\n");
		return -EINVAL;
	}
	if (attr->n_insns > DPCAP_VM_MAX_INSNS) {
		dpcap_vm_log_printf(log, "the program has %u instructions, at most %u are accepted\n",
				    attr->n_insns, DPCAP_VM_MAX_INSNS);
		return -E2BIG;
	}
	return 0;
}

int dpcap_vm_load(const struct dpcap_vm_load_attr *attr, struct dpcap_vm_prog **prog, char *log,
		  size_t log_size)
{
	struct dpcap_vm_log text = {.text = log, .size = log_size};
	struct dpcap_vm_prog *new = NULL;
	int ret;

	if (log && log_size > 0)
		log[0] = '\0';
	ret = check_size(attr, &text);
	if (ret != 0)
		goto fail;
	ret = -ENOMEM;
	new = calloc(1, sizeof(*new));
	if (!new)
		goto fail;
	ret = copy_program(new, attr);
	if (ret != 0)
		goto fail;
	ret = dpcap_vm_check_structure(new, &text);
	if (ret != 0)
		goto fail;
	ret = dpcap_vm_verify(new, &text);
	if (ret != 0)
		goto fail;
	dpcap_vm_interp_prepare(new);
	*prog = new;
	return 0;
fail:
	if (ret == -ENOMEM)
		dpcap_vm_log_printf(&text, "out of memory\n");
	dpcap_vm_free(new);
	return ret;
}

void dpcap_vm_free(struct dpcap_vm_prog *prog)
{
	if (!prog)
		return;
	if (prog->burst_code)
		munmap(prog->burst_code, prog->burst_size);
	if (prog->jit_code)
		munmap(prog->jit_code, prog->jit_size);
	if (prog->rodata)
		munmap(prog->rodata, prog->rodata_size);
	free(prog->ops);
	free(prog->aux);
	free(prog->maps);
	free(prog->helpers);
	free(prog->ctx_fields);
	free(prog->insns);
	free(prog);
}

uint64_t dpcap_vm_lddw_value(const struct dpcap_vm_prog *prog, const struct dpcap_insn *insn)
{
	switch (insn_src(insn)) {
	case BPF_LDDW_MAP_BY_INDEX:
		return (uintptr_t)prog->maps[insn->imm];
	case BPF_LDDW_MAP_VALUE_BY_INDEX:
		if (insn->imm == 0)
			return (uintptr_t)prog->rodata + (uint32_t)insn[1].imm;
		return (uintptr_t)prog->maps[insn->imm - 1]->values + (uint32_t)insn[1].imm;
	default:
		return insn_imm64(insn);
	}
}

const struct dpcap_vm_helper *dpcap_vm_find_helper(const struct dpcap_vm_prog *prog, uint64_t id)
{
	uint32_t i;

	for (i = 0; i < prog->n_helpers; i++)
		if (prog->helpers[i].id == id)
			return &prog->helpers[i];
	return NULL;
}
