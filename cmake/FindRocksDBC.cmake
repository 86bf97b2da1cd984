# RocksDB through its C API. Sets the imported target RocksDBC::RocksDBC.
# INGOT_ROCKSDB_ROOT names the prefix of another build than the system's.
find_path(ROCKSDBC_INCLUDE_DIR rocksdb/c.h HINTS "${INGOT_ROCKSDB_ROOT}/include")
find_library(ROCKSDBC_LIBRARY rocksdb HINTS "${INGOT_ROCKSDB_ROOT}/lib" "${INGOT_ROCKSDB_ROOT}/lib64")
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(RocksDBC REQUIRED_VARS ROCKSDBC_LIBRARY ROCKSDBC_INCLUDE_DIR)
if(RocksDBC_FOUND AND NOT TARGET RocksDBC::RocksDBC)
  add_library(RocksDBC::RocksDBC UNKNOWN IMPORTED)
  set_target_properties(RocksDBC::RocksDBC PROPERTIES
    IMPORTED_LOCATION "${ROCKSDBC_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${ROCKSDBC_INCLUDE_DIR}")
endif()
