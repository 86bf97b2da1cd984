#!/bin/bash
# Whole commands, timed by hyperfine: one big file into a store and out again, beside cp and b3sum;
# a tree of files into a store, beside the tools that people use for that. Every run starts with an
# empty destination and a source that is in the page cache, and ends with the data on the device:
# commands that do not see to that themselves are followed by sync. One run of each command a round,
# so that a machine that changes its speed changes it for all of them. Tools that are not installed
# are left out.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: bench/ingest.sh --build DIR --dir DIR --out DIR [--tree DIR] [--size BYTES] [--rounds N]
  --build DIR    a build directory, e.g. build/release; nothing is built here
  --dir DIR      scratch space for file, stores and repositories
  --out DIR      where hyperfine's JSON goes
  --tree DIR     the tree to ingest, default /usr/share; it is copied to --dir first
  --size BYTES   of the big file, default 1G
  --rounds N     default 3
EOF
}

die() { echo "bench/ingest.sh: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }
# The arguments as words of a shell command.
q() {
    local word separator=''
    for word; do
        printf '%s%q' "$separator" "$word"
        separator=' '
    done
}

build="" dir="" out="" tree=/usr/share size=1G rounds=3
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=${2:?}; shift 2 ;;
    --dir) dir=${2:?}; shift 2 ;;
    --out) out=${2:?}; shift 2 ;;
    --tree) tree=${2:?}; shift 2 ;;
    --size) size=${2:?}; shift 2 ;;
    --rounds) rounds=${2:?}; shift 2 ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
done
if [ -z "$build" ] || [ -z "$dir" ] || [ -z "$out" ]; then
    usage >&2
    exit 2
fi
have hyperfine || die "hyperfine is not installed"
have b3sum || die "b3sum is not installed"
ingot=$(realpath -e "$build/tools/ingot") || die "$build/tools/ingot is not there: build first"
mkdir -p "$dir" "$out"
out=$(realpath "$out")
work=$(mktemp -d "$(realpath "$dir")/ingot-ingest-XXXXXX")
trap 'chmod -R u+w -- "$work"; rm -rf -- "$work"' EXIT
trap 'exit 130' INT TERM

# The tools must not find or leave anything in the user's home, and must not ask.
export HOME=$work/home BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
export BORG_BASE_DIR=$work/home RESTIC_CACHE_DIR=$work/home/restic RESTIC_PASSWORD=bench
export GIT_CONFIG_NOSYSTEM=1
mkdir -p "$HOME"

file=$work/source.bin
source=$work/source
dest=$work/dest
mkdir "$source"
head -c "$size" /dev/urandom >"$file"
# Readable files only, and no device or socket: every tool can take all of it.
(cd "$tree" && find . -type f -readable -print0 | tar -cf - --null -T -) | tar -xf - -C "$source"
sync -f "$work"
id=$(b3sum --no-names "$file")
files=$(find "$source" -type f -printf . | wc -c)
bytes=$(du -sb --apparent-size "$source" | cut -f1)
distinct=$(find "$source" -type f -exec b3sum --no-names {} + | sort -u | wc -l)
echo "file: $(stat -c %s "$file") bytes; tree: $files files, $distinct distinct, $bytes bytes" >&2

# Fills `arguments` for one hyperfine call: add NAME PREPARE COMMAND.
arguments=()
add() { arguments+=(--prepare "$2" --command-name "$1" "$3"); }
measure() { # GROUP ROUND
    hyperfine --style basic --runs 1 --export-json "$out/$1-r$2.json" "${arguments[@]}" >&2
    arguments=()
}

empty="rm -rf $(q "$dest") && mkdir $(q "$dest")"
settle="sync -f $(q "$work")"
store="$(q "$ingot") -q -C $(q "$dest/store")"
fresh_store="$empty && $store init >$(q "$work/init.out") && $settle"

file_in() {
    add "ingot put" "$fresh_store" "$store put $(q "$file") >$(q "$work/put.out")"
    add "cp + fsync" "$empty && $settle" \
        "cp --reflink=never $(q "$file" "$dest/copy") && sync $(q "$dest/copy" "$dest")"
    add "b3sum" "$settle" "b3sum $(q "$file") >$(q "$work/b3sum.out")"
    measure file-in "$1"
    [ "$(cut -d' ' -f1 <"$work/put.out")" = "$id" ] || die "ingot put printed another id"
}

file_out() {
    local target=$work/out.bin
    bash -c "$fresh_store && $store put $(q "$file") >$(q "$work/put.out")"
    add "ingot get" "rm -f $(q "$target") && $settle" \
        "$store get -o $(q "$target") $id && sync $(q "$target")"
    add "cp + fsync" "cmp $(q "$file" "$target") && rm -f $(q "$target") && $settle" \
        "cp --reflink=never $(q "$file" "$target") && sync $(q "$target")"
    add "b3sum" "cmp $(q "$file" "$target") && $settle" "b3sum $(q "$file") >$(q "$work/b3sum.out")"
    measure file-out "$1"
    rm -f "$target"
}

tree_in() {
    add "ingot put -r" "$fresh_store" "$store put -r $(q "$source") >$(q "$work/put.out")"
    add "cp -a" "$empty && $settle" "cp -a --reflink=never $(q "$source" "$dest/copy") && $settle"
    add "tar" "$empty && $settle" \
        "tar -cf $(q "$dest/tree.tar") -C $(q "$source") . && sync $(q "$dest/tree.tar")"
    ! have git || add "git add" \
        "$empty && git init -q --bare $(q "$dest/git") && $settle" \
        "git -c core.fsync=all --git-dir=$(q "$dest/git") --work-tree=$(q "$source") add -A -f"
    ! have borg || add "borg create" \
        "$empty && borg init -e none $(q "$dest/borg") && $settle" \
        "borg create --compression none $(q "$dest/borg::tree" "$source")"
    ! have restic || add "restic backup" \
        "$empty && restic -q init --repo $(q "$dest/restic") && $settle" \
        "restic -q --repo $(q "$dest/restic") backup $(q "$source")"
    ! have casync || add "casync make" "$empty && $settle" \
        "casync make --store=$(q "$dest/casync.castr") $(q "$dest/tree.caidx" "$source") && $settle"
    measure tree-in "$1"
}

# Outside the timing: is all of the tree there, under the ids that b3sum gives?
check_tree() {
    local listed
    bash -c "$fresh_store && $store put -r $(q "$source") >$(q "$work/put.out")"
    (cd "$work" && b3sum --quiet -c "$work/put.out") || die "b3sum does not agree with ingot put"
    listed=$(bash -c "$store ls" | wc -l)
    [ "$listed" = "$distinct" ] || die "$distinct distinct files, but $listed objects"
}

check_tree
for ((round = 1; round <= rounds; round++)); do
    file_in "$round"
    file_out "$round"
    tree_in "$round"
done
cat >"$out/ingest-source.json" <<EOF
{"file_bytes": $(stat -c %s "$file"), "tree_files": $files, "tree_distinct": $distinct,
 "tree_bytes": $bytes,
 "tools": {"git": "$(git --version 2>/dev/null || true)",
  "borg": "$(borg --version 2>/dev/null || true)",
  "restic": "$(restic version 2>/dev/null | cut -d' ' -f1,2 || true)",
  "casync": "$(casync --version 2>/dev/null | head -n 1 || true)",
  "tar": "$(tar --version | head -n 1)", "hyperfine": "$(hyperfine --version)"}}
EOF
echo "bench/ingest.sh: results in $out; next: bench/render.py --results $out" >&2
