# Compiler settings shared by every target: C++20, x86-64-v3, warnings as errors, sanitizers by preset, mold.
set(SLUICE_SANITIZE "" CACHE STRING "comma-separated sanitizers: address,undefined or thread")
option(SLUICE_FUZZ "build the fuzz targets (needs clang)" OFF)
option(SLUICE_BENCH "build the benchmarks" OFF)

if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 19)
  # g++ 12 frees twice on ordinary co_await expressions; docs/adr/0001-clang.md.
  message(FATAL_ERROR "sluice needs clang 19 or newer, found ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}; run `make setup`")
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

add_compile_options(-march=x86-64-v3 -fno-omit-frame-pointer -fdiagnostics-color=always)
add_link_options(-fuse-ld=mold -Wl,--gc-sections)
add_compile_options(-ffunction-sections -fdata-sections)

add_library(sluice_warnings INTERFACE)
target_compile_options(sluice_warnings INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough -Wextra-semi -Wno-missing-field-initializers)

if(SLUICE_SANITIZE)
  add_compile_options(-fsanitize=${SLUICE_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SLUICE_SANITIZE})
endif()
if(SLUICE_FUZZ)
  # Coverage of the code under test, not only of the fuzz targets' own files: without it the fuzzer is blind.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
