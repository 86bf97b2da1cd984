# What `cmake --install` puts where, and how other projects find it: pkg-config and CMake.
include(CMakePackageConfigHelpers)

set(INGOT_CMAKEDIR "${CMAKE_INSTALL_LIBDIR}/cmake/ingot")

install(FILES "${PROJECT_SOURCE_DIR}/include/ingot/ingot.h"
        DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/ingot")
install(FILES "${PROJECT_SOURCE_DIR}/docs/ingot.1" DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
install(TARGETS ingot EXPORT ingotTargets
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
# Two export sets, so that who links the shared library needs none of its parts' headers.
install(TARGETS ingot_static EXPORT ingotStaticTargets
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
# The command finds the library of its own tree, and both find a RocksDB outside the system's places.
get_target_property(command_links ingot_command LINK_LIBRARIES)
if("ingot" IN_LIST command_links OR "ingot::ingot" IN_LIST command_links)
  cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_LIBDIR BASE_DIRECTORY "${CMAKE_INSTALL_FULL_BINDIR}"
             OUTPUT_VARIABLE bin_to_lib)
  set_target_properties(ingot_command PROPERTIES INSTALL_RPATH "$ORIGIN/${bin_to_lib}")
endif()
set_target_properties(ingot ingot_command PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS ingot_command RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")

install(EXPORT ingotTargets NAMESPACE ingot:: DESTINATION "${INGOT_CMAKEDIR}")
install(EXPORT ingotStaticTargets NAMESPACE ingot:: DESTINATION "${INGOT_CMAKEDIR}")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/ingotConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/package/ingotConfig.cmake" INSTALL_DESTINATION "${INGOT_CMAKEDIR}")
# Before 1.0 a minor version may break what links to it.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/ingotConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/package/ingotConfig.cmake"
              "${PROJECT_BINARY_DIR}/package/ingotConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/FindRocksDBC.cmake"
        DESTINATION "${INGOT_CMAKEDIR}")

# ingot.pc finds its own place, so `cmake --install --prefix` and a moved tree work.
function(ingot_pc_dir variable dir)
  if(IS_ABSOLUTE "${dir}")
    set(${variable} "${dir}" PARENT_SCOPE)
  else()
    set(${variable} "\${prefix}/${dir}" PARENT_SCOPE)
  endif()
endfunction()
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(INGOT_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
else()
  file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
  string(REGEX REPLACE "/$" "" up "${up}")
  set(INGOT_PC_PREFIX "\${pcfiledir}/${up}")
endif()
ingot_pc_dir(INGOT_PC_LIBDIR "${CMAKE_INSTALL_LIBDIR}")
ingot_pc_dir(INGOT_PC_INCLUDEDIR "${CMAKE_INSTALL_INCLUDEDIR}")

# Plain link names, not Requires.private: that would ask every user of the shared library for the
# development files of RocksDB, OpenSSL and xxHash.
cmake_path(GET ROCKSDBC_LIBRARY PARENT_PATH rocksdb_dir)
set(INGOT_PC_LIBS_PRIVATE "-lrocksdb -lcrypto -lxxhash -pthread")
if(NOT rocksdb_dir IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
  string(PREPEND INGOT_PC_LIBS_PRIVATE "-L${rocksdb_dir} ")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/ingot.pc.in" "${PROJECT_BINARY_DIR}/package/ingot.pc"
               @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/package/ingot.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
