# The official C implementation of BLAKE3 with its assembly, kernels included (blake3_impl.h).
# A system libblake3 does not export its kernels, which the hash tree needs, so the sources are
# compiled: those of BLAKE3_SOURCE_DIR, else those that Debian's librust-blake3-dev installs.
# Sets the object library target Blake3::Blake3.
file(GLOB _blake3_candidates LIST_DIRECTORIES true /usr/share/cargo/registry/blake3-*/c)
find_path(BLAKE3_SOURCE_DIR blake3_impl.h PATHS ${_blake3_candidates} NO_DEFAULT_PATH)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Blake3 REQUIRED_VARS BLAKE3_SOURCE_DIR)
if(Blake3_FOUND AND NOT TARGET ingot_blake3)
  set(_d "${BLAKE3_SOURCE_DIR}")
  add_library(ingot_blake3 OBJECT ${_d}/blake3.c ${_d}/blake3_dispatch.c ${_d}/blake3_portable.c)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_sources(ingot_blake3 PRIVATE
      ${_d}/blake3_sse2_x86-64_unix.S ${_d}/blake3_sse41_x86-64_unix.S
      ${_d}/blake3_avx2_x86-64_unix.S ${_d}/blake3_avx512_x86-64_unix.S)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    target_sources(ingot_blake3 PRIVATE ${_d}/blake3_neon.c)
    target_compile_definitions(ingot_blake3 PRIVATE BLAKE3_USE_NEON=1)
  else()
    target_compile_definitions(ingot_blake3 PRIVATE BLAKE3_USE_NEON=0 BLAKE3_NO_SSE2
      BLAKE3_NO_SSE41 BLAKE3_NO_AVX2 BLAKE3_NO_AVX512)
  endif()
  target_include_directories(ingot_blake3 SYSTEM INTERFACE "${_d}")
  set_target_properties(ingot_blake3 PROPERTIES POSITION_INDEPENDENT_CODE ON C_CLANG_TIDY "")
  add_library(Blake3::Blake3 ALIAS ingot_blake3)
endif()
