# fish completion for cropshield
complete -c cropshield -n __fish_use_subcommand -f -a "(cropshield --help 2>/dev/null | sed -n '/^commands:/,/^\$/s/^  \([a-z]*\) *\(.*\)/\1\t\2/p')"
complete -c cropshield -n 'not __fish_use_subcommand' -a "(cropshield (commandline -opc)[2] --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*')"
