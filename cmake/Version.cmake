# The git hash that --version prints. Outside a checkout: "unknown".
execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} rev-parse --short=12 HEAD
  OUTPUT_VARIABLE CS_GIT_HASH OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT CS_GIT_HASH)
  set(CS_GIT_HASH unknown)
endif()
