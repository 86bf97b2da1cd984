# ingot_module(NAME SOURCES ... HEADERS ... DEPENDS ... LINKS ...)
#
# One layer of the library. Its directory is its only public include root, so a module that is not
# named in DEPENDS cannot be included: the layering is a build error. Each header compiles alone
# (target all_verify_interface_header_sets).
function(ingot_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;HEADERS;DEPENDS;LINKS")
  add_library(${name} OBJECT ${arg_SOURCES})
  target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS "${CMAKE_CURRENT_SOURCE_DIR}"
                 FILES ${arg_HEADERS})
  set_target_properties(${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  target_compile_definitions(${name} PUBLIC _GNU_SOURCE)
  target_link_libraries(${name} PUBLIC ingot_headers Threads::Threads ${arg_DEPENDS}
                        PRIVATE ${arg_LINKS})
  ingot_warnings(${name})
endfunction()

# ingot_internal(TARGET MODULE...): let a test or a bench use internal headers of these modules. The
# code itself comes from the static library.
function(ingot_internal target)
  target_link_libraries(${target} PRIVATE ingot_static Threads::Threads)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  foreach(module IN LISTS ARGN)
    target_include_directories(${target} PRIVATE
      $<TARGET_PROPERTY:${module},INTERFACE_INCLUDE_DIRECTORIES>)
  endforeach()
  ingot_warnings(${target})
endfunction()
