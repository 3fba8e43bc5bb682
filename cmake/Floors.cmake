# One object library a floor, bottom to top; then the library and the program. `csi_floor(name libraries…)`.
include_directories(${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include ${CMAKE_BINARY_DIR}/generated)
set(CS_FLOORS "")
set(CS_LINK Threads::Threads m)

# Instruction-set flags by file name.
function(csi_isa_flags)
  # On Arm gcc's -O2 orders instructions before it gives out registers, loads far ahead, and then has too few for register tiles.
  set(arm "")
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    set(arm "-fno-schedule-insns")
  endif()
  foreach(file ${ARGN})
    if(file MATCHES "_avx512vnni\\.c$")
      set(flags "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx2;-mfma;-mf16c")
    elseif(file MATCHES "_avx512amx\\.c$")
      set(flags "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mamx-tile;-mamx-int8;-mavx2;-mfma;-mf16c")
    elseif(file MATCHES "_avx512\\.c$")
      set(flags "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx2;-mfma;-mf16c")
    elseif(file MATCHES "_avx2\\.c$")
      set(flags "-mavx2;-mfma;-mf16c")
    elseif(file MATCHES "_dotprod\\.c$")
      set(flags "-march=armv8.2-a+dotprod;${arm}")
    elseif(file MATCHES "_neon\\.c$")
      set(flags "${arm}")
    else()
      continue()
    endif()
    set_property(SOURCE ${file} APPEND PROPERTY COMPILE_OPTIONS ${flags})
  endforeach()
endfunction()

macro(csi_floor name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.c)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(FILTER sources EXCLUDE REGEX "/x86/|_avx2\\.c$|_avx512\\.c$|_avx512(vnni|amx)\\.c$")
  endif()
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    list(FILTER sources EXCLUDE REGEX "/arm/|_neon\\.c$|_dotprod\\.c$")
  endif()
  if(sources)
    csi_isa_flags(${sources})
    add_library(csi_${name} OBJECT ${sources})
    foreach(dependency ${ARGN})
      target_link_libraries(csi_${name} PRIVATE ${dependency})
      list(APPEND CS_LINK ${dependency})
    endforeach()
    list(APPEND CS_FLOORS csi_${name})
  endif()
endmacro()

csi_floor(base PkgConfig::SODIUM)
csi_floor(image PkgConfig::JPEG PkgConfig::PNG PkgConfig::ZLIB PkgConfig::WEBP PkgConfig::EXIF)
csi_floor(graph PkgConfig::JANSSON)
csi_floor(formats PkgConfig::ZIP PkgConfig::PROTOBUF_C PkgConfig::JANSSON)
csi_floor(kernels)
csi_floor(engine)
csi_floor(explain)
csi_floor(store PkgConfig::SQLITE)
csi_floor(diagnosis PkgConfig::JANSSON)
csi_floor(library)
list(REMOVE_DUPLICATES CS_LINK)

# ONNX's schema comes from Debian's package and is compiled to C here: nothing of it is in the repository.
find_file(CS_ONNX_PROTO onnx/onnx.proto PATHS /usr/include /usr/local/include)
find_program(CS_PROTOC_C protoc-c)
if(TARGET csi_formats AND CS_ONNX_PROTO AND CS_PROTOC_C)
  set(onnx_dir ${CMAKE_BINARY_DIR}/generated/onnx)
  file(MAKE_DIRECTORY ${onnx_dir})
  get_filename_component(onnx_root ${CS_ONNX_PROTO} DIRECTORY)
  get_filename_component(onnx_root ${onnx_root} DIRECTORY)
  add_custom_command(OUTPUT ${onnx_dir}/onnx.pb-c.c ${onnx_dir}/onnx.pb-c.h
    COMMAND ${CS_PROTOC_C} --c_out=${CMAKE_BINARY_DIR}/generated -I${onnx_root} ${CS_ONNX_PROTO}
    DEPENDS ${CS_ONNX_PROTO} VERBATIM)
  add_library(csi_onnx_schema OBJECT ${onnx_dir}/onnx.pb-c.c)
  target_compile_options(csi_onnx_schema PRIVATE -w)
  target_link_libraries(csi_onnx_schema PRIVATE PkgConfig::PROTOBUF_C)
  add_dependencies(csi_formats csi_onnx_schema)
  target_compile_definitions(csi_formats PRIVATE CSI_HAVE_ONNX=1)
  list(APPEND CS_FLOORS csi_onnx_schema)
endif()

# The models and build facts.
set(embedded "")
if(EXISTS ${CS_MODEL})
  csi_embed(embedded model_default ${CS_MODEL})
else()
  message(FATAL_ERROR "CS_MODEL: no such file: ${CS_MODEL}")
endif()
if(EXISTS ${CS_MODEL_LITE})
  csi_embed(embedded model_lite ${CS_MODEL_LITE})
  if(TARGET csi_formats)
    target_compile_definitions(csi_formats PRIVATE CSI_HAVE_LITE=1)
  endif()
endif()
if(TARGET csi_formats)
  csi_digest(digest ${CS_MODEL})
  csi_digest(digest_lite ${CS_MODEL_LITE})
  set_source_files_properties(${CMAKE_SOURCE_DIR}/src/formats/embedded.c PROPERTIES COMPILE_DEFINITIONS
    "CSI_MODEL_DIGEST=\"${digest}\";CSI_LITE_DIGEST=\"${digest_lite}\"")
endif()
if(TARGET csi_library)
  target_compile_definitions(csi_library PRIVATE CSI_GIT_HASH="${CS_GIT_HASH}" CSI_LIBEXIF_VERSION="${EXIF_VERSION}")
endif()

# The library: everything up to src/library.
set(objects "")
foreach(floor ${CS_FLOORS})
  list(APPEND objects $<TARGET_OBJECTS:${floor}>)
endforeach()
add_library(cropshield_static STATIC ${objects} ${embedded})
set_target_properties(cropshield_static PROPERTIES OUTPUT_NAME cropshield LINKER_LANGUAGE C)
target_link_libraries(cropshield_static PUBLIC ${CS_LINK})
target_include_directories(cropshield_static PUBLIC ${CMAKE_SOURCE_DIR}/include)
add_library(cropshield_shared SHARED ${objects} ${embedded})
set_target_properties(cropshield_shared PROPERTIES OUTPUT_NAME cropshield LINKER_LANGUAGE C VERSION ${PROJECT_VERSION} SOVERSION 1)
target_link_libraries(cropshield_shared PRIVATE ${CS_LINK})

# The program: server and command line stand on the public header and base alone.
file(GLOB web_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/web/*)
set(embedded_web "")
foreach(file ${web_files})
  get_filename_component(name ${file} NAME)
  if(name MATCHES "\\.(html|css|js|svg|png|webmanifest|json|ico)$")
    string(REGEX REPLACE "[^A-Za-z0-9]" "_" symbol ${name})
    csi_embed(embedded_web web_${symbol} ${file})
    string(APPEND web_declarations "extern const uint8_t csi_blob_web_${symbol}[];\nextern const size_t csi_blob_web_${symbol}_size;\n")
    string(APPEND web_rows "    {\"${name}\", csi_blob_web_${symbol}, &csi_blob_web_${symbol}_size},\n")
  endif()
endforeach()
csi_embed(embedded_web openapi ${CMAKE_SOURCE_DIR}/src/server/openapi.json)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/web_files.h CONTENT [[
/* Generated: the page's files as they stand in web/. Included by src/server/assets.c alone. */
#include <stddef.h>
#include <stdint.h>
@web_declarations@
struct csi_web_file {
    const char *name;
    const uint8_t *bytes;
    const size_t *size;
};
static const struct csi_web_file csi_web_files[] = {
@web_rows@    {NULL, NULL, NULL},
};
]] @ONLY)
file(GLOB_RECURSE server_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/server/*.c)
if(server_sources)
  # The page's files belong to the server: whoever links it (program, tests) gets them.
  add_library(csi_server OBJECT ${server_sources} ${embedded_web})
  target_link_libraries(csi_server PRIVATE PkgConfig::MHD PkgConfig::JANSSON PkgConfig::SODIUM)
endif()
file(GLOB_RECURSE cli_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/cli/*.c)
if(cli_sources)
  add_executable(cropshield ${cli_sources} $<$<TARGET_EXISTS:csi_server>:$<TARGET_OBJECTS:csi_server>>)
  target_link_libraries(cropshield PRIVATE cropshield_static PkgConfig::MHD PkgConfig::JANSSON PkgConfig::SODIUM PkgConfig::PNG)
  if(TARGET csi_server)
    target_compile_definitions(cropshield PRIVATE CSI_HAVE_SERVER=1)
  endif()
endif()
