/* SPDX-License-Identifier: BSD-3-Clause */
/* ELF objects: sections, symbols, the maps of data sections, the API. Format: elf(5). */
#include "object.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef EM_BPF
#define EM_BPF 247
#endif

int object_refuse(const struct dpcap_vm_object *object, const char *format, ...)
{
	char reason[256];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	dpcap_vm_log_printf(object->log, "%s\n", reason);
	return -EINVAL;
}

static bool inside(const struct dpcap_vm_object *object, uint64_t offset, uint64_t size)
{
	return offset <= object->size && size <= object->size - offset;
}

/* Its offset and size mean bytes of the file (and were checked). */
static bool has_contents(const Elf64_Shdr *section)
{
	return section->sh_type != SHT_NOBITS && section->sh_type != SHT_NULL;
}

const uint8_t *object_section_data(const struct dpcap_vm_object *object, uint32_t section)
{
	const Elf64_Shdr *header = &object->sections[section];

	return has_contents(header) ? object->image + header->sh_offset : NULL;
}

const char *object_string(const struct dpcap_vm_object *object, uint32_t section, uint32_t offset)
{
	const Elf64_Shdr *header = &object->sections[section];
	const char *string;

	if (header->sh_type != SHT_STRTAB || offset >= header->sh_size)
		return "";
	string = (const char *)object->image + header->sh_offset + offset;
	return memchr(string, '\0', header->sh_size - offset) ? string : "";
}

const char *object_section_name(const struct dpcap_vm_object *object, uint32_t section)
{
	return object_string(object, object->names, object->sections[section].sh_name);
}

static int read_sections(struct dpcap_vm_object *object)
{
	Elf64_Ehdr header;

	if (!inside(object, 0, sizeof(header)) || memcmp(object->image, ELFMAG, SELFMAG) != 0)
		return object_refuse(object, "this is no ELF object");
	memcpy(&header, object->image, sizeof(header));
	if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
	    header.e_machine != EM_BPF || header.e_type != ET_REL)
		return object_refuse(object, "this is no BPF object (clang -target bpf -c makes one)");
	if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum == 0 ||
	    header.e_shstrndx >= header.e_shnum ||
	    !inside(object, header.e_shoff, (uint64_t)header.e_shnum * sizeof(Elf64_Shdr)))
		return object_refuse(object, "the section headers are damaged");
	object->sections = calloc(header.e_shnum, sizeof(*object->sections));
	if (!object->sections)
		return -ENOMEM;
	memcpy(object->sections, object->image + header.e_shoff,
	       header.e_shnum * sizeof(*object->sections));
	object->n_sections = header.e_shnum;
	object->names = header.e_shstrndx;
	for (uint32_t i = 0; i < object->n_sections; i++) {
		const Elf64_Shdr *section = &object->sections[i];

		if (has_contents(section) &&
		    !inside(object, section->sh_offset, section->sh_size))
			return object_refuse(object, "section %u is not inside the file", i);
	}
	return 0;
}

static int read_symbols(struct dpcap_vm_object *object)
{
	const Elf64_Shdr *table = NULL;

	for (uint32_t i = 0; i < object->n_sections; i++)
		if (object->sections[i].sh_type == SHT_SYMTAB)
			table = &object->sections[i];
	if (!table)
		return object_refuse(object, "there is no symbol table");
	if (table->sh_entsize != sizeof(Elf64_Sym) || table->sh_size % sizeof(Elf64_Sym) != 0 ||
	    table->sh_link >= object->n_sections || table->sh_size / sizeof(Elf64_Sym) > UINT32_MAX)
		return object_refuse(object, "the symbol table is damaged");
	object->n_symbols = (uint32_t)(table->sh_size / sizeof(Elf64_Sym));
	object->symbol_names = table->sh_link;
	object->symbols = calloc(object->n_symbols + 1, sizeof(*object->symbols));
	if (!object->symbols)
		return -ENOMEM;
	memcpy(object->symbols, object->image + table->sh_offset, table->sh_size);
	return 0;
}

int object_map_type(uint32_t kernel_type)
{
	switch (kernel_type) {
	case 1:
		return DPCAP_VM_MAP_HASH;
	case 2:
		return DPCAP_VM_MAP_ARRAY;
	case 6:
		return DPCAP_VM_MAP_PERCPU_ARRAY;
	case 9:
		return DPCAP_VM_MAP_LRU_HASH;
	case 27:
		return DPCAP_VM_MAP_RING;
	default:
		return -1;
	}
}

int object_add_map(struct dpcap_vm_object *object, const struct dpcap_vm_map_def *def,
		   uint32_t section, uint64_t offset, const void *value)
{
	struct object_map *entry = &object->maps[object->n_maps];
	uint32_t key = 0;
	int ret;

	if (object->n_maps == OBJECT_MAX_MAPS)
		return object_refuse(object, "more than %d maps", OBJECT_MAX_MAPS);
	ret = dpcap_vm_map_create(def, object->n_lcores, &entry->map);
	if (ret == -EINVAL || ret == -E2BIG)
		return object_refuse(object, "map %s: a map of type %u with keys of %u bytes, values of %u "
				     "and %u entries cannot be made",
				     def->name, def->type, def->key_size, def->value_size,
				     def->max_entries);
	if (ret != 0)
		return ret;
	object->map_bytes += entry->map->layout.size;
	if (object->map_bytes > DPCAP_VM_MAP_MAX_BYTES) {
		dpcap_vm_map_free(entry->map);
		return object_refuse(object, "the maps take more than %d bytes", DPCAP_VM_MAP_MAX_BYTES);
	}
	if (value)
		dpcap_vm_map_update(entry->map, &key, value, 0);
	entry->section = section;
	entry->offset = offset;
	object->map_list[object->n_maps++] = entry->map;
	return 0;
}

static bool starts_with(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* .rodata, .rodata.str1.1, .data, .bss ... */
static int add_data_map(struct dpcap_vm_object *object, uint32_t section)
{
	const Elf64_Shdr *header = &object->sections[section];
	const char *name = object_section_name(object, section);
	struct dpcap_vm_map_def def = {
		.type = DPCAP_VM_MAP_ARRAY,
		.key_size = 4,
		.max_entries = 1,
		.read_only = starts_with(name, ".rodata"),
	};
	int ret;

	if (header->sh_size == 0 || !(header->sh_flags & SHF_ALLOC))
		return 0;
	if (header->sh_size > DPCAP_VM_MAP_MAX_BYTES)
		return object_refuse(object, "section %s is too large", name);
	def.value_size = (uint32_t)header->sh_size;
	snprintf(def.name, sizeof(def.name), "%s", name);
	ret = object_add_map(object, &def, section, 0, object_section_data(object, section));
	if (ret == 0)
		object->maps[object->n_maps - 1].is_data = true;
	return ret;
}

static int read_maps(struct dpcap_vm_object *object)
{
	int ret = 0;

	for (uint32_t i = 0; i < object->n_sections && ret == 0; i++) {
		const char *name = object_section_name(object, i);

		if (strcmp(name, ".maps") == 0)
			ret = object_read_btf_maps(object, i);
		else if (strcmp(name, "maps") == 0)
			ret = object_read_legacy_maps(object, i);
		else if (starts_with(name, ".rodata") || starts_with(name, ".data") ||
			 starts_with(name, ".bss"))
			ret = add_data_map(object, i);
	}
	return ret;
}

int dpcap_vm_object_open(const void *image, size_t size, uint32_t n_lcores,
			 struct dpcap_vm_object **object, char *log, size_t log_size)
{
	struct dpcap_vm_log text = {.text = log, .size = log_size};
	struct dpcap_vm_object *new = calloc(1, sizeof(*new));
	int ret = -ENOMEM;

	if (log && log_size > 0)
		log[0] = '\0';
	if (!new)
		return ret;
	new->image = image;
	new->size = size;
	new->log = &text;
	new->n_lcores = n_lcores;
	ret = read_sections(new);
	if (ret == 0)
		ret = read_symbols(new);
	if (ret == 0)
		ret = object_refuse_core(new);
	if (ret == 0)
		ret = read_maps(new);
	if (ret == 0)
		ret = object_link_programs(new);
	new->image = NULL;
	new->log = NULL;
	if (ret == 0)
		*object = new;
	else
		dpcap_vm_object_free(new);
	return ret;
}

void dpcap_vm_object_free(struct dpcap_vm_object *object)
{
	if (!object)
		return;
	for (uint32_t i = 0; i < object->n_programs; i++) {
		free((char *)object->programs[i].name);
		free((char *)object->programs[i].section);
		free((struct dpcap_insn *)object->programs[i].insns);
	}
	for (uint32_t i = 0; i < object->n_maps; i++)
		dpcap_vm_map_free(object->map_list[i]);
	free(object->symbols);
	free(object->sections);
	free(object);
}

struct dpcap_vm_map *const *dpcap_vm_object_maps(const struct dpcap_vm_object *object, uint32_t *n)
{
	*n = object->n_maps;
	return object->map_list;
}

const struct dpcap_vm_object_program *dpcap_vm_object_programs(const struct dpcap_vm_object *object,
								uint32_t *n)
{
	*n = object->n_programs;
	return object->programs;
}
