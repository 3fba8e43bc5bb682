# make install: binary, libraries, header, pkg-config file; man page and completions where they exist.
include(GNUInstallDirs)
if(TARGET cropshield)
  install(TARGETS cropshield RUNTIME)
endif()
install(TARGETS cropshield_static cropshield_shared ARCHIVE LIBRARY)
if(TARGET cropshield_cuda) # opened by the program, which looks for it there (src/kernels/device_plugin.c)
  install(TARGETS cropshield_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/cropshield)
endif()
install(DIRECTORY include/cropshield DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/cropshield.pc CONTENT [[
prefix=@CMAKE_INSTALL_PREFIX@
libdir=${prefix}/@CMAKE_INSTALL_LIBDIR@
includedir=${prefix}/include

Name: cropshield
Description: diagnosis of crop diseases from leaf photos
Version: @PROJECT_VERSION@
Libs: -L${libdir} -lcropshield
Cflags: -I${includedir}
Requires.private: libjpeg libpng zlib libwebp libexif libzip libprotobuf-c jansson libsodium sqlite3
Libs.private: -lm -lpthread -ldl
]] @ONLY)
# `cmake --install --prefix` may name another prefix than the one that was configured.
install(CODE "
  file(READ \"${CMAKE_BINARY_DIR}/cropshield.pc\" text)
  string(REGEX REPLACE \"prefix=/[^\n]*\" \"prefix=\${CMAKE_INSTALL_PREFIX}\" text \"\${text}\")
  file(WRITE \"${CMAKE_BINARY_DIR}/installed/cropshield.pc\" \"\${text}\")")
install(FILES ${CMAKE_BINARY_DIR}/installed/cropshield.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(EXISTS ${CMAKE_SOURCE_DIR}/docs/cropshield.1)
  install(FILES docs/cropshield.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()
if(EXISTS ${CMAKE_SOURCE_DIR}/deploy/completions)
  install(FILES deploy/completions/cropshield.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME cropshield)
  install(FILES deploy/completions/_cropshield DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES deploy/completions/cropshield.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
