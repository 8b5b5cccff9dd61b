/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The definitions of maps in an object.
 *
 * In .maps each map is a variable whose type, told by BTF, says it all; numbers are
 * sizes of arrays (the macros __uint and __type of libbpf's bpf_helpers.h):
 *
 *	struct {
 *		int (*type)[BPF_MAP_TYPE_HASH];
 *		int (*max_entries)[1024];
 *		unsigned int *key;
 *		struct counters *value;
 *	} flows SEC(".maps");
 *
 * BTF: Documentation/bpf/btf.rst in Linux. Types are records of 12 bytes and what their
 * kind adds; type 0 is void, type 1 the first record.
 */
#include "object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BTF_MAGIC 0xeb9f
/* Typedefs, arrays of arrays: no sane type nests deeper. */
#define BTF_MAX_DEPTH 32

enum btf_kind {
	BTF_INT = 1,
	BTF_PTR = 2,
	BTF_ARRAY = 3,
	BTF_STRUCT = 4,
	BTF_UNION = 5,
	BTF_ENUM = 6,
	BTF_TYPEDEF = 8,
	BTF_VOLATILE = 9,
	BTF_CONST = 10,
	BTF_RESTRICT = 11,
	BTF_FUNC_PROTO = 13,
	BTF_VAR = 14,
	BTF_DATASEC = 15,
	BTF_FLOAT = 16,
	BTF_DECL_TAG = 17,
	BTF_TYPE_TAG = 18,
	BTF_ENUM64 = 19,
};

struct btf_header {
	uint16_t magic;
	uint8_t version;
	uint8_t flags;
	uint32_t header_size;
	uint32_t types_offset;
	uint32_t types_size;
	uint32_t strings_offset;
	uint32_t strings_size;
};

/* info: bits 0-15: how many members, 24-28: kind. */
struct btf_type {
	uint32_t name;
	uint32_t info;
	uint32_t size_or_type;
};

struct btf_member {
	uint32_t name;
	uint32_t type;
	uint32_t offset;
};

struct btf_array {
	uint32_t type;
	uint32_t index_type;
	uint32_t n;
};

struct btf {
	const struct dpcap_vm_object *object;
	const uint8_t *types;
	uint32_t types_size;
	const char *strings;
	uint32_t strings_size;
	uint32_t *offsets; /* of type i in types */
	uint32_t n_types;
};

static uint32_t kind_of(const struct btf_type *type)
{
	return type->info >> 24 & 0x1f;
}

static uint32_t members_of(const struct btf_type *type)
{
	return type->info & 0xffff;
}

/* Bytes that follow the record of a type. */
static uint32_t extra_size(const struct btf_type *type)
{
	switch (kind_of(type)) {
	case BTF_INT:
	case BTF_VAR:
	case BTF_DECL_TAG:
		return 4;
	case BTF_ARRAY:
		return sizeof(struct btf_array);
	case BTF_STRUCT:
	case BTF_UNION:
	case BTF_DATASEC:
	case BTF_ENUM64:
		return members_of(type) * 12;
	case BTF_ENUM:
	case BTF_FUNC_PROTO:
		return members_of(type) * 8;
	default:
		return 0;
	}
}

static const char *name_of(const struct btf *btf, uint32_t offset)
{
	if (offset >= btf->strings_size ||
	    !memchr(btf->strings + offset, '\0', btf->strings_size - offset))
		return "";
	return btf->strings + offset;
}

/* False: no such type. */
static bool get_type(const struct btf *btf, uint32_t id, struct btf_type *type)
{
	if (id == 0 || id > btf->n_types)
		return false;
	memcpy(type, btf->types + btf->offsets[id - 1], sizeof(*type));
	return true;
}

/* Member i of the list after a type's record; each is 12 bytes. */
static struct btf_member get_member(const struct btf *btf, uint32_t id, uint32_t i)
{
	struct btf_member member;

	memcpy(&member, btf->types + btf->offsets[id - 1] + sizeof(struct btf_type) + i * sizeof(member),
	       sizeof(member));
	return member;
}

/* Look through typedefs and qualifiers. Returns the type's number, 0 for void or a bad one. */
static uint32_t strip(const struct btf *btf, uint32_t id, struct btf_type *type)
{
	for (uint32_t depth = 0; depth < BTF_MAX_DEPTH && get_type(btf, id, type); depth++) {
		switch (kind_of(type)) {
		case BTF_TYPEDEF:
		case BTF_VOLATILE:
		case BTF_CONST:
		case BTF_RESTRICT:
		case BTF_TYPE_TAG:
			id = type->size_or_type;
			break;
		default:
			return id;
		}
	}
	return 0;
}

/* Bytes of a type; 0 when it has no size that we know. */
static uint64_t size_of(const struct btf *btf, uint32_t id)
{
	uint64_t count = 1;
	struct btf_type type;

	for (uint32_t depth = 0; depth < BTF_MAX_DEPTH; depth++) {
		struct btf_array array;

		id = strip(btf, id, &type);
		if (id == 0)
			return 0;
		switch (kind_of(&type)) {
		case BTF_INT:
		case BTF_STRUCT:
		case BTF_UNION:
		case BTF_ENUM:
		case BTF_ENUM64:
		case BTF_FLOAT:
			return count * type.size_or_type;
		case BTF_PTR:
			return count * 8;
		case BTF_ARRAY:
			memcpy(&array, btf->types + btf->offsets[id - 1] + sizeof(type),
			       sizeof(array));
			count *= array.n;
			/* What is larger than any map is too large whatever comes. */
			if (count > UINT32_MAX)
				return UINT32_MAX;
			id = array.type;
			break;
		default:
			return 0;
		}
	}
	return 0;
}

/* __uint(name, value): a pointer to an array of so many. */
static bool uint_value(const struct btf *btf, uint32_t id, uint32_t *value)
{
	struct btf_type type;
	struct btf_array array;

	id = strip(btf, id, &type);
	if (id == 0 || kind_of(&type) != BTF_PTR)
		return false;
	id = strip(btf, type.size_or_type, &type);
	if (id == 0 || kind_of(&type) != BTF_ARRAY)
		return false;
	memcpy(&array, btf->types + btf->offsets[id - 1] + sizeof(type), sizeof(array));
	*value = array.n;
	return true;
}

/* __type(name, type): a pointer to the type. */
static bool pointee_size(const struct btf *btf, uint32_t id, uint32_t *size)
{
	struct btf_type type;
	uint64_t bytes;

	if (strip(btf, id, &type) == 0 || kind_of(&type) != BTF_PTR)
		return false;
	bytes = size_of(btf, type.size_or_type);
	*size = (uint32_t)bytes;
	return bytes > 0 && bytes < UINT32_MAX;
}

static int read_member(const struct btf *btf, const struct btf_member *member,
		       struct dpcap_vm_map_def *def, bool *has_type)
{
	const char *name = name_of(btf, member->name);
	uint32_t number = 0;
	bool known = true;

	if (strcmp(name, "key") == 0) {
		known = pointee_size(btf, member->type, &def->key_size);
	} else if (strcmp(name, "value") == 0) {
		known = pointee_size(btf, member->type, &def->value_size);
	} else if (!uint_value(btf, member->type, &number)) {
		known = false;
	} else if (strcmp(name, "type") == 0) {
		if (object_map_type(number) < 0)
			return object_refuse(btf->object, "map %s: type %u of Linux is not supported",
					     def->name, number);
		def->type = (uint32_t)object_map_type(number);
		*has_type = true;
	} else if (strcmp(name, "key_size") == 0) {
		def->key_size = number;
	} else if (strcmp(name, "value_size") == 0) {
		def->value_size = number;
	} else if (strcmp(name, "max_entries") == 0) {
		def->max_entries = number;
	} else if (strcmp(name, "map_flags") != 0) {
		/* Flags tell the kernel how to allocate; there is one way here. */
		known = false;
	}
	if (!known)
		return object_refuse(btf->object, "map %s: member %s is not supported", def->name, name);
	return 0;
}

/* The symbol of a map. (BTF has an offset, too, but clang leaves it 0.) NULL: there is none. */
static const Elf64_Sym *symbol_of(const struct dpcap_vm_object *object, const char *name,
				  uint32_t section)
{
	for (uint32_t i = 0; i < object->n_symbols; i++)
		if (object->symbols[i].st_shndx == section &&
		    strcmp(object_string(object, object->symbol_names, object->symbols[i].st_name),
			   name) == 0)
			return &object->symbols[i];
	return NULL;
}

/* One variable of the section .maps. */
static int read_variable(struct dpcap_vm_object *object, const struct btf *btf,
			 const struct btf_member *info, uint32_t maps_section)
{
	struct dpcap_vm_map_def def = {0};
	struct btf_type variable, type;
	const Elf64_Sym *symbol;
	bool has_type = false;
	uint32_t id;
	int ret = 0;

	/* In a DATASEC a member is: type, offset, size. */
	if (!get_type(btf, info->name, &variable) || kind_of(&variable) != BTF_VAR)
		return object_refuse(object, "the BTF of .maps is damaged");
	snprintf(def.name, sizeof(def.name), "%s", name_of(btf, variable.name));
	symbol = symbol_of(object, name_of(btf, variable.name), maps_section);
	if (!symbol)
		return object_refuse(object, "map %s has no symbol", def.name);
	id = strip(btf, variable.size_or_type, &type);
	if (id == 0 || kind_of(&type) != BTF_STRUCT)
		return object_refuse(object, "map %s is no structure", def.name);
	for (uint32_t i = 0; i < members_of(&type) && ret == 0; i++) {
		struct btf_member member = get_member(btf, id, i);

		ret = read_member(btf, &member, &def, &has_type);
	}
	if (ret != 0)
		return ret;
	if (!has_type)
		return object_refuse(object, "map %s has no type", def.name);
	return object_add_map(object, &def, maps_section, symbol->st_value, NULL);
}

static int index_types(struct btf *btf)
{
	uint32_t offset = 0;

	btf->offsets = calloc(btf->types_size / sizeof(struct btf_type) + 1, sizeof(*btf->offsets));
	if (!btf->offsets)
		return -ENOMEM;
	while (offset < btf->types_size) {
		struct btf_type type;
		uint32_t left = btf->types_size - offset;

		if (left < sizeof(type))
			return object_refuse(btf->object, "the BTF is damaged");
		memcpy(&type, btf->types + offset, sizeof(type));
		if (extra_size(&type) > left - sizeof(type))
			return object_refuse(btf->object, "the BTF is damaged");
		btf->offsets[btf->n_types++] = offset;
		offset += (uint32_t)sizeof(type) + extra_size(&type);
	}
	return 0;
}

static int read_btf(const struct dpcap_vm_object *object, struct btf *btf)
{
	struct btf_header header;
	const uint8_t *data = NULL;
	uint64_t size = 0;

	for (uint32_t i = 0; i < object->n_sections; i++) {
		if (strcmp(object_section_name(object, i), ".BTF") == 0) {
			data = object_section_data(object, i);
			size = object->sections[i].sh_size;
		}
	}
	if (!data)
		return object_refuse(object, "maps in .maps need BTF: compile with -g");
	btf->object = object;
	if (size < sizeof(header))
		return object_refuse(object, "the BTF is damaged");
	memcpy(&header, data, sizeof(header));
	if (header.magic != BTF_MAGIC || header.version != 1 || header.header_size > size ||
	    header.types_offset > size - header.header_size ||
	    header.types_size > size - header.header_size - header.types_offset ||
	    header.strings_offset > size - header.header_size ||
	    header.strings_size > size - header.header_size - header.strings_offset)
		return object_refuse(object, "the BTF is damaged");
	btf->types = data + header.header_size + header.types_offset;
	btf->types_size = header.types_size;
	btf->strings = (const char *)data + header.header_size + header.strings_offset;
	btf->strings_size = header.strings_size;
	return index_types(btf);
}

int object_read_btf_maps(struct dpcap_vm_object *object, uint32_t maps_section)
{
	struct btf btf = {0};
	struct btf_type type;
	int ret = read_btf(object, &btf);

	for (uint32_t id = 1; id <= btf.n_types && ret == 0; id++) {
		get_type(&btf, id, &type);
		if (kind_of(&type) != BTF_DATASEC || strcmp(name_of(&btf, type.name), ".maps") != 0)
			continue;
		for (uint32_t i = 0; i < members_of(&type) && ret == 0; i++) {
			struct btf_member info = get_member(&btf, id, i);

			ret = read_variable(object, &btf, &info, maps_section);
		}
	}
	free(btf.offsets);
	return ret;
}

/*
 * Relocations of structure fields (CO-RE) ask for the types of the running kernel, which
 * have no meaning here. .BTF.ext: two sections of information, then theirs.
 */
struct btf_ext_header {
	uint16_t magic;
	uint8_t version;
	uint8_t flags;
	uint32_t header_size;
	uint32_t function_info[2]; /* offset, size */
	uint32_t line_info[2];
	uint32_t core_relocations[2];
};

int object_refuse_core(const struct dpcap_vm_object *object)
{
	for (uint32_t i = 0; i < object->n_sections; i++) {
		const uint8_t *data = object_section_data(object, i);
		struct btf_ext_header header;

		if (strcmp(object_section_name(object, i), ".BTF.ext") != 0 || !data ||
		    object->sections[i].sh_size < sizeof(header))
			continue;
		memcpy(&header, data, sizeof(header));
		if (header.header_size >= sizeof(header) && header.core_relocations[1] != 0)
			return object_refuse(object, "structures with preserve_access_index (CO-RE) are not "
						     "supported");
	}
	return 0;
}

/* struct bpf_map_def of the first libbpf: type, key, value, entries, flags; at each symbol. */
int object_read_legacy_maps(struct dpcap_vm_object *object, uint32_t maps_section)
{
	const Elf64_Shdr *section = &object->sections[maps_section];
	const uint8_t *data = object_section_data(object, maps_section);
	int ret = 0;

	for (uint32_t i = 0; i < object->n_symbols && ret == 0; i++) {
		const Elf64_Sym *symbol = &object->symbols[i];
		const char *name = object_string(object, object->symbol_names, symbol->st_name);
		struct dpcap_vm_map_def def = {0};
		uint32_t numbers[5];

		if (symbol->st_shndx != maps_section || ELF64_ST_TYPE(symbol->st_info) != STT_OBJECT)
			continue;
		if (!data || section->sh_size < sizeof(numbers) ||
		    symbol->st_value > section->sh_size - sizeof(numbers))
			return object_refuse(object, "map %s is not inside its section", name);
		memcpy(numbers, data + symbol->st_value, sizeof(numbers));
		snprintf(def.name, sizeof(def.name), "%s", name);
		if (object_map_type(numbers[0]) < 0)
			return object_refuse(object, "map %s: type %u of Linux is not supported", name,
					     numbers[0]);
		def.type = (uint32_t)object_map_type(numbers[0]);
		def.key_size = numbers[1];
		def.value_size = numbers[2];
		def.max_entries = numbers[3];
		ret = object_add_map(object, &def, maps_section, symbol->st_value, NULL);
	}
	return ret;
}
