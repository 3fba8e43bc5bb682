# The page in the binary. A browser asks for every module on a connection of its own, so scripts and styles are put into one file each
# where esbuild is there; else the files of web/ travel as they stand. Sets `embedded_page`, the sources, and writes web_files.h, the
# server's table of them.
option(CS_BUNDLE "put the page's scripts and styles into one file each, where esbuild is there" ON)
find_program(CSI_ESBUILD esbuild)

file(GLOB page_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/web/*)
list(FILTER page_files INCLUDE REGEX "\\.(html|css|js|svg|png|webmanifest|json|ico)$")
set(page_entries "") # what stands for all that it imports
if(CS_BUNDLE AND CSI_ESBUILD)
  set(page_sources ${page_files})
  list(FILTER page_sources INCLUDE REGEX "\\.(css|js)$")
  set(page_entries main.js style.css)
  set(bundles ${CMAKE_BINARY_DIR}/generated/page)
  add_custom_command(
    OUTPUT ${bundles}/main.js ${bundles}/style.css
    COMMAND ${CSI_ESBUILD} main.js style.css --bundle --minify --format=esm --charset=utf8 --target=chrome80,firefox78,safari13
            --log-level=warning --outdir=${bundles}
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/web
    DEPENDS ${page_sources}
    COMMENT "page: one script, one style sheet"
    VERBATIM)
  # What index.html does not name is in one of them.
  file(STRINGS ${CMAKE_SOURCE_DIR}/web/index.html named REGEX "(href|src)=\"/[^\"]")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/web/index.html)
endif()

set(embedded_page "")
set(web_declarations "")
set(web_rows "")
foreach(file ${page_files})
  get_filename_component(name ${file} NAME)
  if(page_entries)
    if(name MATCHES "\\.(css|js)$" AND NOT named MATCHES "\"/${name}\"")
      continue()
    endif()
    if(name IN_LIST page_entries)
      set(file ${bundles}/${name})
    endif()
  endif()
  string(REGEX REPLACE "[^A-Za-z0-9]" "_" symbol ${name})
  csi_embed(embedded_page web_${symbol} ${file})
  string(APPEND web_declarations "extern const uint8_t csi_blob_web_${symbol}[];\nextern const size_t csi_blob_web_${symbol}_size;\n")
  string(APPEND web_rows "    {\"${name}\", csi_blob_web_${symbol}, &csi_blob_web_${symbol}_size},\n")
endforeach()
csi_embed(embedded_page openapi ${CMAKE_SOURCE_DIR}/src/server/openapi.json)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/web_files.h CONTENT [[
/* Generated: the page's files. Included by src/server/assets.c alone. */
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
