/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading ELF objects, as its parts share it. Not part of the API.
 *
 * An object comes from anywhere: every offset, size, index and string is checked
 * before it is used, and nothing of the image is written to.
 *
 *   object.c       sections and symbols, the maps of data sections, the API
 *   object_btf.c   the maps of .maps (BTF) and of maps (struct bpf_map_def)
 *   object_link.c  programs: functions put together, relocations applied
 */
#ifndef DPCAP_VM_OBJECT_H
#define DPCAP_VM_OBJECT_H

#include <elf.h>
#include <stdbool.h>

#include "maps.h"
#include "prog.h"

#define OBJECT_MAX_MAPS 64
#define OBJECT_MAX_PROGRAMS 256

/* Where a map is defined, so that a relocation finds it. */
struct object_map {
	struct dpcap_vm_map *map;
	uint32_t section;
	uint64_t offset; /* in a section of map definitions */
	bool is_data;	 /* the whole section is its value */
};

struct dpcap_vm_object {
	const uint8_t *image; /* while it is read */
	size_t size;
	struct dpcap_vm_log *log;
	uint32_t n_lcores;

	Elf64_Shdr *sections;
	uint32_t n_sections;
	uint32_t names; /* section of the section names */

	Elf64_Sym *symbols;
	uint32_t n_symbols;
	uint32_t symbol_names; /* section */

	struct object_map maps[OBJECT_MAX_MAPS];
	struct dpcap_vm_map *map_list[OBJECT_MAX_MAPS];
	uint32_t n_maps;
	uint64_t map_bytes; /* of all of them */

	struct dpcap_vm_object_program programs[OBJECT_MAX_PROGRAMS];
	uint32_t n_programs;
};

/* Write the reason to the log. Returns -EINVAL. */
__attribute__((format(printf, 2, 3)))
int object_refuse(const struct dpcap_vm_object *object, const char *format, ...);

/* A string of a string section; "" when it is not inside. */
const char *object_string(const struct dpcap_vm_object *object, uint32_t section, uint32_t offset);

const char *object_section_name(const struct dpcap_vm_object *object, uint32_t section);

/* The contents of a section in the image; NULL for one without (.bss). */
const uint8_t *object_section_data(const struct dpcap_vm_object *object, uint32_t section);

/* Make a map. value (may be NULL) is what key 0 has. */
int object_add_map(struct dpcap_vm_object *object, const struct dpcap_vm_map_def *def,
		   uint32_t section, uint64_t offset, const void *value);

/* Translate a map type of Linux; -1 for one that we do not have. */
int object_map_type(uint32_t kernel_type);

int object_read_btf_maps(struct dpcap_vm_object *object, uint32_t maps_section);
int object_read_legacy_maps(struct dpcap_vm_object *object, uint32_t maps_section);
int object_refuse_core(const struct dpcap_vm_object *object);
int object_link_programs(struct dpcap_vm_object *object);

#endif /* DPCAP_VM_OBJECT_H */
