#!/usr/bin/env bash
# install.sh SOURCE_DIR BUILD_DIR CC CXX: installs into an empty place, builds outside projects
# against what is there and runs them. Nothing of them sees the source tree.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source_dir=$1 build=$2 cc=$3 cxx=$4

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
say() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

say "install --prefix"
cmake --install "$build" --prefix "$prefix" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
pc=$(find "$prefix" -name ingot.pc)
libdir=$(dirname "$(dirname "$pc")")
for file in bin/ingot include/ingot/ingot.h share/man/man1/ingot.1; do
    [ -f "$prefix/$file" ] || fail "$file is not installed"
done
for file in libingot.so libingot.so.0 libingot.a cmake/ingot/ingotConfig.cmake; do
    [ -e "$libdir/$file" ] || fail "$file is not installed"
done
[ "$(find "$prefix/include" -type f | wc -l)" = 1 ] || fail "more headers than the public one"
if grep -rIlF -e "$build" -e "$source_dir" "$prefix"; then
    fail "installed files name the build or the source tree"
fi

say "install with DESTDIR"
DESTDIR=$work/dest cmake --install "$build" >"$work/install.log"
[ "$(find "$work/dest" -type f -o -type l | wc -l)" = "$(find "$prefix" -type f -o -type l | wc -l)" ] ||
    fail "DESTDIR and --prefix install different files"

say "the command"
"$prefix/bin/ingot" --version

stores=0
expect_ok() { # PROGRAM: runs it on a new store
    stores=$((stores + 1))
    local answer
    answer=$("$1" "$work/store$stores") || fail "$1 exits with $?"
    [ "$answer" = ok ] || fail "$1 says: $answer"
}
needs_shared() { readelf -d "$1" | grep -q 'NEEDED.*libingot\.so\.0'; }

export PKG_CONFIG_PATH=$libdir/pkgconfig
warnings=(-Wall -Wextra -Wpedantic -Werror)

say "pkg-config, shared"
# shellcheck disable=SC2046 # flags are words
"$cc" -std=c11 "${warnings[@]}" $(pkg-config --cflags ingot) "$here/consumer/consumer.c" \
    -o "$work/pc_shared" $(pkg-config --libs ingot) -Wl,-rpath,"$libdir"
expect_ok "$work/pc_shared"
needs_shared "$work/pc_shared" || fail "pkg-config --libs did not link libingot.so.0"

say "pkg-config, shared, C++17"
# shellcheck disable=SC2046
"$cxx" -std=c++17 "${warnings[@]}" $(pkg-config --cflags ingot) "$here/consumer/consumer.cc" \
    -o "$work/pc_cxx" $(pkg-config --libs ingot) -Wl,-rpath,"$libdir"
expect_ok "$work/pc_cxx"

say "pkg-config --static"
# Both libraries are there, and the linker prefers the shared one: name the archive.
libs=$(pkg-config --static --libs ingot)
# shellcheck disable=SC2046,SC2086
"$cc" -std=c11 "${warnings[@]}" $(pkg-config --static --cflags ingot) "$here/consumer/consumer.c" \
    -o "$work/pc_static" ${libs/-lingot/-l:libingot.a}
expect_ok "$work/pc_static"
if needs_shared "$work/pc_static"; then fail "the archive was not linked"; fi

say "the example of README.md"
sed -n '/^```c$/,/^```$/p' "$source_dir/README.md" | sed '/^```/d' >"$work/demo.c"
# shellcheck disable=SC2046
"$cc" -std=c11 "${warnings[@]}" $(pkg-config --cflags ingot) "$work/demo.c" -o "$work/demo" \
    $(pkg-config --libs ingot) -Wl,-rpath,"$libdir"
[ "$(cd "$work" && ./demo)" = hello ] || fail "the example of README.md does not print hello"

say "CMake find_package"
cmake -S "$here/consumer" -B "$work/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" >"$work/cmake.log" 2>&1 &&
    cmake --build "$work/consumer" >>"$work/cmake.log" 2>&1 || { cat "$work/cmake.log"; exit 1; }
for program in consumer_shared consumer_static consumer_cxx; do
    expect_ok "$work/consumer/$program"
done
if needs_shared "$work/consumer/consumer_static"; then fail "ingot::ingot_static is not static"; fi

say "a moved tree"
mv "$prefix" "$work/moved"
case $(PKG_CONFIG_PATH=${libdir/#"$prefix"/"$work/moved"}/pkgconfig pkg-config --cflags ingot) in
    *"$work/moved"*) ;;
    *) fail "ingot.pc still names its first place" ;;
esac
say "$stores consumers ok"
