# Files that become part of the binary: models and the web page. `.incbin` keeps the compiler out of megabytes of data; a
# changed file rebuilds what holds it.
#
# csi_embed(<list of sources> SYMBOL FILE) appends a generated assembler source that defines csi_blob_SYMBOL and
# csi_blob_SYMBOL_size (a size_t).
# csi_digest(VARIABLE FILE) sets it to the file's BLAKE2b-256 in hex, or to nothing where coreutils' b2sum is missing: the program
# then hashes what it embeds at every start.
find_program(CSI_B2SUM b2sum)
function(csi_digest variable file)
  set(digest "")
  if(CSI_B2SUM)
    execute_process(COMMAND ${CSI_B2SUM} -l 256 ${file} OUTPUT_VARIABLE output)
    string(REGEX MATCH "^[0-9a-f]+" digest "${output}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  endif()
  set(${variable} "${digest}" PARENT_SCOPE)
endfunction()

enable_language(ASM)
function(csi_embed sources symbol file)
  set(generated ${CMAKE_BINARY_DIR}/embedded/${symbol}.S)
  file(CONFIGURE OUTPUT ${generated} CONTENT [[
    .section .rodata
    .balign 64
    .global csi_blob_@symbol@
    .hidden csi_blob_@symbol@
csi_blob_@symbol@:
    .incbin "@file@"
csi_blob_@symbol@_end:
    .byte 0
    .balign 8
    .global csi_blob_@symbol@_size
    .hidden csi_blob_@symbol@_size
csi_blob_@symbol@_size:
    .quad csi_blob_@symbol@_end - csi_blob_@symbol@
    .section .note.GNU-stack,"",%progbits
]] @ONLY)
  set_source_files_properties(${generated} PROPERTIES OBJECT_DEPENDS ${file} COMPILE_OPTIONS "-Wno-unused-command-line-argument")
  set(${sources} ${${sources}} ${generated} PARENT_SCOPE)
endfunction()
