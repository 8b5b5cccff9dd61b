/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs of an object: each function that is a program, followed by the functions
 * that it calls, in the order in which they are met:
 *
 *	+---------+------------------+--------------------------+
 *	| program | function it calls | function that one calls | ...
 *	+---------+------------------+--------------------------+
 *
 * Relocations (Documentation/bpf/llvm_reloc.rst in Linux): R_BPF_64_64 at a 64-bit
 * immediate load names a map or a variable; R_BPF_64_32 at a call names a function.
 * The addend is in the instruction.
 */
#include "object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isa.h"

#ifndef R_BPF_64_64
#define R_BPF_64_64 1
#define R_BPF_64_32 10
#endif

/* Functions of one program at most. */
#define MAX_FUNCTIONS 256

/* A function of the object. */
struct function {
	uint32_t section;
	uint32_t first; /* instruction in its section */
	uint32_t n;
};

struct linker {
	struct dpcap_vm_object *object;
	/* For each section, the relocation of each instruction: its number + 1. */
	uint32_t **relocations;
	struct function functions[MAX_FUNCTIONS];
	uint32_t starts[MAX_FUNCTIONS]; /* where they are in insns */
	uint32_t n_functions;
	struct dpcap_insn *insns;
	uint32_t n_insns;
};

static bool is_code(const struct dpcap_vm_object *object, uint32_t section)
{
	const Elf64_Shdr *header = &object->sections[section];

	return header->sh_type == SHT_PROGBITS && (header->sh_flags & SHF_EXECINSTR);
}

static Elf64_Rel get_relocation(const struct dpcap_vm_object *object, uint32_t section, uint32_t i)
{
	Elf64_Rel relocation;

	memcpy(&relocation, object->image + object->sections[section].sh_offset + i * sizeof(relocation),
	       sizeof(relocation));
	return relocation;
}

/* The section with the relocations of a section; 0 for none. */
static uint32_t relocations_of(const struct dpcap_vm_object *object, uint32_t section)
{
	for (uint32_t i = 1; i < object->n_sections; i++)
		if (object->sections[i].sh_type == SHT_REL && object->sections[i].sh_info == section)
			return i;
	return 0;
}

/* Fill linker->relocations for one section of code. */
static int index_relocations(struct linker *linker, uint32_t section)
{
	struct dpcap_vm_object *object = linker->object;
	uint64_t n_insns = object->sections[section].sh_size / sizeof(struct dpcap_insn);
	uint32_t table = relocations_of(object, section);
	const Elf64_Shdr *header = &object->sections[table];
	uint32_t *index;

	if (object->sections[section].sh_size % sizeof(struct dpcap_insn) != 0)
		return object_refuse(object, "section %s is no whole number of instructions",
				     object_section_name(object, section));
	index = calloc(n_insns + 1, sizeof(*index));
	if (!index)
		return -ENOMEM;
	linker->relocations[section] = index;
	if (table == 0)
		return 0;
	if (header->sh_entsize != sizeof(Elf64_Rel) || header->sh_size % sizeof(Elf64_Rel) != 0 ||
	    header->sh_size / sizeof(Elf64_Rel) >= UINT32_MAX)
		return object_refuse(object, "the relocations of section %s are damaged",
				     object_section_name(object, section));
	for (uint32_t i = 0; i < header->sh_size / sizeof(Elf64_Rel); i++) {
		Elf64_Rel relocation = get_relocation(object, table, i);

		if (relocation.r_offset % sizeof(struct dpcap_insn) != 0 ||
		    relocation.r_offset / sizeof(struct dpcap_insn) >= n_insns ||
		    ELF64_R_SYM(relocation.r_info) >= object->n_symbols)
			return object_refuse(object, "the relocations of section %s are damaged",
					     object_section_name(object, section));
		index[relocation.r_offset / sizeof(struct dpcap_insn)] = i + 1;
	}
	return 0;
}

static const char *symbol_name(const struct dpcap_vm_object *object, const Elf64_Sym *symbol)
{
	const char *name = object_string(object, object->symbol_names, symbol->st_name);

	if (name[0] == '\0' && symbol->st_shndx < object->n_sections)
		return object_section_name(object, symbol->st_shndx);
	return name;
}

/* The function of a symbol. False: it is none, or not inside of its section. */
static bool function_of(const struct dpcap_vm_object *object, const Elf64_Sym *symbol,
			struct function *function)
{
	uint64_t size;

	if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx >= object->n_sections ||
	    !is_code(object, symbol->st_shndx))
		return false;
	size = object->sections[symbol->st_shndx].sh_size;
	if (symbol->st_value > size || symbol->st_size > size - symbol->st_value ||
	    symbol->st_size == 0 || symbol->st_value % sizeof(struct dpcap_insn) != 0 ||
	    symbol->st_size % sizeof(struct dpcap_insn) != 0 ||
	    symbol->st_size / sizeof(struct dpcap_insn) > DPCAP_VM_MAX_INSNS)
		return false;
	function->section = symbol->st_shndx;
	function->first = (uint32_t)(symbol->st_value / sizeof(struct dpcap_insn));
	function->n = (uint32_t)(symbol->st_size / sizeof(struct dpcap_insn));
	return true;
}

/* The function that begins at an instruction of a section. */
static bool find_function(const struct dpcap_vm_object *object, uint32_t section, int64_t insn,
			  struct function *function)
{
	for (uint32_t i = 0; i < object->n_symbols; i++)
		if (object->symbols[i].st_shndx == section &&
		    function_of(object, &object->symbols[i], function) && function->first == insn)
			return true;
	return false;
}

/* Number of a function in the program; it is added when it is new. */
static int add_function(struct linker *linker, const struct function *function, uint32_t *number)
{
	struct dpcap_vm_object *object = linker->object;
	const uint8_t *code;

	for (*number = 0; *number < linker->n_functions; (*number)++)
		if (linker->functions[*number].section == function->section &&
		    linker->functions[*number].first == function->first)
			return 0;
	if (linker->n_functions == MAX_FUNCTIONS)
		return object_refuse(object, "a program calls more than %d functions", MAX_FUNCTIONS);
	if (function->n > DPCAP_VM_MAX_INSNS - linker->n_insns)
		return object_refuse(object, "a program has more than %d instructions",
				     DPCAP_VM_MAX_INSNS);
	code = object_section_data(object, function->section);
	memcpy(linker->insns + linker->n_insns, code + function->first * sizeof(struct dpcap_insn),
	       function->n * sizeof(struct dpcap_insn));
	linker->functions[linker->n_functions] = *function;
	linker->starts[linker->n_functions++] = linker->n_insns;
	linker->n_insns += function->n;
	return 0;
}

/* A 64-bit immediate load of a map or of the address of a variable. */
static int relocate_load(struct linker *linker, struct dpcap_insn *insn, const Elf64_Sym *symbol)
{
	struct dpcap_vm_object *object = linker->object;
	uint64_t offset = symbol->st_value + (uint64_t)(int64_t)insn[0].imm;

	for (uint32_t i = 0; i < object->n_maps; i++) {
		const struct object_map *map = &object->maps[i];

		if (map->section != symbol->st_shndx || (!map->is_data && map->offset != offset))
			continue;
		insn[0].regs &= 0x0f;
		insn[1].imm = 0;
		if (map->is_data) {
			insn[0].regs |= BPF_LDDW_MAP_VALUE_BY_INDEX << 4;
			insn[0].imm = (int32_t)i + 1;
			insn[1].imm = (int32_t)offset;
		} else {
			insn[0].regs |= BPF_LDDW_MAP_BY_INDEX << 4;
			insn[0].imm = (int32_t)i;
		}
		return 0;
	}
	return object_refuse(object, "%s is neither a map nor a variable of this object",
			     symbol_name(object, symbol));
}

static int relocate_call(struct linker *linker, uint32_t at, const struct function *caller,
			 uint32_t insn_in_section, const Elf64_Sym *symbol)
{
	struct dpcap_vm_object *object = linker->object;
	struct dpcap_insn *insn = &linker->insns[at];
	struct function callee;
	uint32_t number;
	bool found;
	int ret;

	if (!symbol)
		found = find_function(object, caller->section,
				      (int64_t)insn_in_section + 1 + insn->imm, &callee);
	else if (ELF64_ST_TYPE(symbol->st_info) == STT_SECTION &&
		 symbol->st_shndx < object->n_sections)
		found = find_function(object, symbol->st_shndx, (int64_t)insn->imm + 1, &callee);
	else
		found = function_of(object, symbol, &callee);
	if (!found)
		return object_refuse(object, "call of %s, which is no function of this object",
				     symbol ? symbol_name(object, symbol) : "something");
	ret = add_function(linker, &callee, &number);
	if (ret != 0)
		return ret;
	insn->imm = (int32_t)linker->starts[number] - (int32_t)at - 1;
	return 0;
}

/* Relocate one function of the program; its calls add functions. */
static int relocate_function(struct linker *linker, uint32_t number)
{
	struct dpcap_vm_object *object = linker->object;
	struct function function = linker->functions[number];
	const uint32_t *index = linker->relocations[function.section];
	uint32_t table = relocations_of(object, function.section);
	int ret = 0;

	for (uint32_t i = 0; i < function.n && ret == 0; i++) {
		uint32_t at = linker->starts[number] + i;
		struct dpcap_insn *insn = &linker->insns[at];
		uint32_t relocation = index[function.first + i];
		const Elf64_Sym *symbol = NULL;
		uint32_t type = 0;

		if (relocation != 0) {
			Elf64_Rel entry = get_relocation(object, table, relocation - 1);

			symbol = &object->symbols[ELF64_R_SYM(entry.r_info)];
			type = ELF64_R_TYPE(entry.r_info);
		}
		if (insn->opcode == BPF_OPCODE_CALL && insn_src(insn) == BPF_CALL_LOCAL &&
		    (!symbol || type == R_BPF_64_32))
			ret = relocate_call(linker, at, &function, function.first + i, symbol);
		else if (symbol && insn->opcode == BPF_OPCODE_LDDW && type == R_BPF_64_64 &&
			 i + 1 < function.n)
			ret = relocate_load(linker, insn, symbol);
		else if (symbol)
			ret = object_refuse(object, "%s: relocation %u is not supported",
					    symbol_name(object, symbol), type);
		if (insn->opcode == BPF_OPCODE_LDDW)
			i++;
	}
	return ret;
}

static int link_program(struct linker *linker, const Elf64_Sym *symbol,
			const struct function *function)
{
	struct dpcap_vm_object *object = linker->object;
	struct dpcap_vm_object_program *program = &object->programs[object->n_programs];
	struct dpcap_insn *insns;
	uint32_t number;
	int ret;

	if (object->n_programs == OBJECT_MAX_PROGRAMS)
		return object_refuse(object, "more than %d programs", OBJECT_MAX_PROGRAMS);
	linker->n_functions = linker->n_insns = 0;
	ret = add_function(linker, function, &number);
	for (uint32_t i = 0; i < linker->n_functions && ret == 0; i++)
		ret = relocate_function(linker, i);
	if (ret != 0)
		return ret;
	insns = malloc(linker->n_insns * sizeof(*insns));
	if (insns)
		memcpy(insns, linker->insns, linker->n_insns * sizeof(*insns));
	program->insns = insns;
	program->n_insns = linker->n_insns;
	program->name = strdup(symbol_name(object, symbol));
	program->section = strdup(object_section_name(object, function->section));
	object->n_programs++;
	return insns && program->name && program->section ? 0 : -ENOMEM;
}

/* Link the global functions in .text, or those in all other sections. */
static int link_from(struct linker *linker, bool text)
{
	struct dpcap_vm_object *object = linker->object;
	int ret = 0;

	for (uint32_t i = 0; i < object->n_symbols && ret == 0; i++) {
		const Elf64_Sym *symbol = &object->symbols[i];
		struct function function;

		if (ELF64_ST_BIND(symbol->st_info) == STB_GLOBAL &&
		    function_of(object, symbol, &function) &&
		    (strcmp(object_section_name(object, function.section), ".text") == 0) == text)
			ret = link_program(linker, symbol, &function);
	}
	return ret;
}

int object_link_programs(struct dpcap_vm_object *object)
{
	struct linker linker = {.object = object};
	int ret = -ENOMEM;

	linker.insns = calloc(DPCAP_VM_MAX_INSNS, sizeof(*linker.insns));
	linker.relocations = calloc(object->n_sections, sizeof(*linker.relocations));
	if (!linker.insns || !linker.relocations)
		goto out;
	ret = 0;
	for (uint32_t i = 0; i < object->n_sections && ret == 0; i++)
		if (is_code(object, i))
			ret = index_relocations(&linker, i);
	if (ret == 0)
		ret = link_from(&linker, false);
	if (ret == 0 && object->n_programs == 0)
		ret = link_from(&linker, true);
	if (ret == 0 && object->n_programs == 0)
		ret = object_refuse(object, "there is no global function in this object");
out:
	for (uint32_t i = 0; linker.relocations && i < object->n_sections; i++)
		free(linker.relocations[i]);
	free(linker.relocations);
	free(linker.insns);
	return ret;
}
