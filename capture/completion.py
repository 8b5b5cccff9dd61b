# SPDX-License-Identifier: BSD-3-Clause
"""``dpcap completion bash|zsh``: completion for shells, made of the table of options.

The names of ports and process ids are asked of dpcap itself when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpcap.capture import cli, discovery
from dpcap.capture.client import Connection
from dpcap.capture.errors import DpcapError, UsageError
from dpcap.capture.options import OPTIONS, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dpcap.capture.options import Option

HELP = """\
usage: dpcap completion bash|zsh

Prints what a shell needs to complete dpcap's options and the names of ports:

  bash   dpcap completion bash > /etc/bash_completion.d/dpcap
         or, in ~/.bashrc: source <(dpcap completion bash)
  zsh    dpcap completion zsh > a folder of $fpath/_dpcap
"""

_WORDS_ONLY = {
    "shim": "path install uninstall",
    "attach": "--pid --file-prefix --dry-run",
    "detach": "--pid --file-prefix",
    "extcap": "install uninstall status",
}
_FILES = {"-r", "-w", "-F"}
_ASKED = {"-i": "ports", "--interface": "ports", "--pid": "pids", "--file-prefix": "prefixes"}


def run(argv: Sequence[str]) -> int:
    """Run ``dpcap completion ARGV`` and return the exit code."""
    if list(argv) == ["bash"]:
        print(bash(), end="")
    elif list(argv) == ["zsh"]:
        print(zsh(), end="")
    elif list(argv) in (["-h"], ["--help"]):
        print(HELP, end="")
    elif len(argv) == 2 and argv[0] == "names" and argv[1] in _ASKED.values():  # asked by the scripts
        for name in _names(argv[1]):
            print(name)
    else:
        raise UsageError("completion: bash or zsh? (dpcap completion --help explains)")
    return 0


def _names(kind: str) -> Iterator[str]:
    """Yield what can be given to an option now. What does not answer is left out."""
    if kind == "ports":
        yield "any"
    for application in discovery.applications():
        if kind == "pids":
            yield str(application.pid)
        elif kind == "prefixes":
            yield application.file_prefix
        elif application.socket is not None:
            try:
                with Connection.open(application.socket, application.who) as connection:
                    connection.hello()
                    for port in connection.ports():
                        yield port.label
                        yield port.name
            except DpcapError:
                continue


def _takes_value(option: Option) -> bool:
    return option.kind not in ("flag", "counted", "printer")


def _values(option: Option) -> str:
    """Return the words that a shell offers for an option's value: a list, or a command that prints one."""
    if option.choices:
        return " ".join(option.choices)
    asked = _ASKED.get(option.flags[0])
    return f"$(dpcap completion names {asked} 2>/dev/null)" if asked else ""


def bash() -> str:
    """Return the script for bash."""
    cases = []
    for option in filter(_takes_value, OPTIONS):
        flags = "|".join(option.flags)
        words = _values(option)
        if words:
            cases.append(f'        {flags}) COMPREPLY=($(compgen -W "{words}" -- "$cur")); return ;;')
        elif _FILES & set(option.flags):
            cases.append(f'        {flags}) COMPREPLY=($(compgen -f -- "$cur")); return ;;')
        else:
            cases.append(f"        {flags}) return ;;")
    flags = " ".join(flag for option in OPTIONS for flag in option.flags)
    commands = [c.name for c in cli.COMMANDS]
    first = [
        f'        {name}) COMPREPLY=($(compgen -W "{_WORDS_ONLY.get(name, "")} --help" -f -- "$cur"))\n'
        "            return ;;"
        for name in commands
    ]
    return "\n".join(
        [
            "# bash completion for dpcap",
            "_dpcap() {",
            "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}",
            "    COMPREPLY=()",
            '    case "$prev" in',
            *cases,
            "    esac",
            '    [ "$COMP_CWORD" -gt 1 ] && case "${COMP_WORDS[1]}" in',
            *first,
            "    esac",
            f'    local words="{flags}"',
            f'    [ "$COMP_CWORD" -eq 1 ] && words="$words {" ".join(commands)}"',
            '    COMPREPLY=($(compgen -W "$words" -- "$cur"))',
            "}",
            "complete -o default -F _dpcap dpcap",
            "",
        ]
    )


def zsh() -> str:
    """Return the function for zsh."""
    specs = []
    for option in OPTIONS:
        text = sentence(option.help or option.more).replace("'", "").replace("[", "(").replace("]", ")")
        text = text.replace(":", " -").replace("\\", "")
        value = ""
        if _takes_value(option):
            words = _values(option)
            action = f"({words})" if option.choices else "_files" if _FILES & set(option.flags) else " "
            if words.startswith("$("):
                action = f"_dpcap_{_ASKED[option.flags[0]]}"
            value = f":{option.metavar or 'value'}:{action}"
        specs += [f"    '*{flag}[{text}]{value}'" for flag in option.flags]
    commands = [f"    '{c.name}:{c.description.replace(chr(39), '')}'" for c in cli.COMMANDS]
    asking = [
        f'_dpcap_{kind}() {{ compadd -- ${{(f)"$(dpcap completion names {kind} 2>/dev/null)"}} }}'
        for kind in dict.fromkeys(_ASKED.values())
    ]
    return "\n".join(
        [
            "#compdef dpcap",
            *asking,
            "_dpcap_first() {",
            "  local -a commands=(",
            *commands,
            "  )",
            "  _describe command commands",
            "}",
            "_dpcap() {",
            "  _arguments -s \\",
            *(f"{spec} \\" for spec in specs),
            "    '1:command or filter:_dpcap_first' '*:filter: '",
            "}",
            'if [ "$funcstack[1]" = "_dpcap" ]; then _dpcap "$@"; else compdef _dpcap dpcap; fi',
            "",
        ]
    )
