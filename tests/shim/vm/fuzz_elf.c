/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer: any bytes as an object. Whatever is read from it, programs are verified,
 * and what is accepted runs: no crash, no access outside.
 *
 *	clang -target bpf -g -O2 -c program.c -o corpus/program.o
 *	fuzz_elf corpus/
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dpcap_vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const struct dpcap_vm_object_program *program,
		struct dpcap_vm_map *const *maps, uint32_t n_maps)
{
	uint32_t n_helpers;
	struct dpcap_vm_load_attr attr = {
		.insns = program->insns,
		.n_insns = program->n_insns,
		.helpers = dpcap_vm_helpers(&n_helpers),
		.maps = maps,
		.n_maps = n_maps,
	};
	struct dpcap_vm_prog *prog;
	uint8_t *packet;
	char log[1024];

	attr.n_helpers = n_helpers;
	if (dpcap_vm_load(&attr, &prog, log, sizeof(log)) != 0)
		return;
	packet = calloc(1, 64); /* ASan guards its end */
	dpcap_vm_interp(prog, packet, 64, 64, 0);
	free(packet);
	dpcap_vm_free(prog);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct dpcap_vm_object_program *programs;
	struct dpcap_vm_map *const *maps;
	struct dpcap_vm_object *object;
	uint32_t n_programs, n_maps;
	char log[1024];

	if (dpcap_vm_object_open(data, size, 2, &object, log, sizeof(log)) != 0)
		return 0;
	maps = dpcap_vm_object_maps(object, &n_maps);
	programs = dpcap_vm_object_programs(object, &n_programs);
	for (uint32_t i = 0; i < n_programs; i++)
		run(&programs[i], maps, n_maps);
	dpcap_vm_object_free(object);
	return 0;
}
