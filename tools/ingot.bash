# Completion of ingot(1) for bash. Commands and options are those that --help names.
_ingot() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command="" skip="" word
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ -n $skip ]]; then
            skip=""
        elif [[ $word == -C || $word == --store || $word == --key-file || $word == --wait ]]; then
            skip=1
        elif [[ $word != -* && $word != "=" ]]; then
            command=$word
            break
        fi
    done
    case $previous in
    -C | --store | -d | --directory)
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    -o | --output | --key-file | --files0-from)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(ingot $command --help 2>/dev/null |
            grep -o -- '--[a-z0-9-]*')" -- "$current")
    elif [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(ingot --help 2>/dev/null |
            sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')" -- "$current")
    elif [[ $command == put || $command == init ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    elif [[ $current =~ ^[0-9a-f]{2,}$ && $command =~ ^(get|has|stat|ref|unref)$ ]]; then
        mapfile -t COMPREPLY < <(ingot ls --prefix="$current" 2>/dev/null | head -n 50)
    fi
}
complete -o filenames -F _ingot ingot
