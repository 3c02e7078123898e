# One object library per instruction set from the same sources, one shared library from all of them.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

include(CheckCXXCompilerFlag)
find_package(OpenMP COMPONENTS CXX)  # single-threaded without it

set(source ${CMAKE_CURRENT_SOURCE_DIR}/msm3d/csrc)
set(kernels conv gradient finish attend blend similar entropy kernels)
list(TRANSFORM kernels REPLACE "(.+)" "${source}/\\1.cpp")

# Neither -ffast-math nor the compiler's own contraction: the order of operations is what the source says.
if(MSVC)
  set(common /O2 /fp:precise)
else()
  set(common -O3 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wno-psabi)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set(quiet -Wno-maybe-uninitialized -Wno-uninitialized)  # its own headers of AVX-512 make it complain
  endif()
  if(NOT OpenMP_CXX_FOUND)
    list(APPEND common -Wno-unknown-pragmas -Wno-unused-parameter)  # the numbers of threads
  endif()
endif()

if(MSM3D_SANITIZE)
  list(APPEND common -O1 -g -fsanitize=${MSM3D_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
endif()

add_library(msm3d_native SHARED ${source}/dispatch.cpp ${source}/group.cpp ${source}/nearest.cpp ${source}/octree.cpp
            ${source}/pairs.cpp)
target_compile_options(msm3d_native PRIVATE ${common})
set_target_properties(msm3d_native PROPERTIES PREFIX "" OUTPUT_NAME _native)
if(APPLE)
  set_target_properties(msm3d_native PROPERTIES SUFFIX .dylib)
endif()

function(add_instruction_set name)
  cmake_parse_arguments(set "" "" "DEFINE;FLAGS" ${ARGN})
  add_library(msm3d_${name} OBJECT ${kernels})
  target_compile_definitions(msm3d_${name} PRIVATE MSM3D_ISA=${name} ${set_DEFINE})
  target_compile_options(msm3d_${name} PRIVATE ${common} ${set_FLAGS})
  if(OpenMP_CXX_FOUND)
    target_link_libraries(msm3d_${name} PRIVATE OpenMP::OpenMP_CXX)
  endif()
  target_sources(msm3d_native PRIVATE $<TARGET_OBJECTS:msm3d_${name}>)
endfunction()

string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" processor)
if(CMAKE_OSX_ARCHITECTURES)
  string(TOLOWER "${CMAKE_OSX_ARCHITECTURES}" processor)
endif()

add_instruction_set(portable DEFINE MSM3D_WIDTH=${MSM3D_WIDTH})
if(MINGW)
  message(STATUS "msm3d: GCC does not align the stack of Windows for vectors; build with MSVC or clang for AVX.")
elseif(processor MATCHES "^(x86_64|amd64)$")
  target_compile_definitions(msm3d_native PRIVATE MSM3D_HAS_X86)
  if(MSVC)
    add_instruction_set(avx2 DEFINE MSM3D_AVX2 FLAGS /arch:AVX2)
    add_instruction_set(avx512 DEFINE MSM3D_AVX512 FLAGS /arch:AVX512)
  else()
    set(avx2 -mavx2 -mfma -mf16c)
    set(avx512 ${avx2} -mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512)
    add_instruction_set(avx2 DEFINE MSM3D_AVX2 FLAGS ${avx2})
    add_instruction_set(avx512 DEFINE MSM3D_AVX512 FLAGS ${avx512} ${quiet})
    check_cxx_compiler_flag(-mavx512bf16 MSM3D_COMPILES_BF16)
    if(MSM3D_COMPILES_BF16)
      target_compile_definitions(msm3d_native PRIVATE MSM3D_HAS_BF16)
      add_instruction_set(avx512bf16 DEFINE MSM3D_AVX512 MSM3D_BF16
                          FLAGS ${avx512} ${quiet} -mavx512bf16)
    endif()
    check_cxx_compiler_flag(-mamx-bf16 MSM3D_COMPILES_AMX)
    if(MSM3D_COMPILES_AMX AND MSM3D_COMPILES_BF16 AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
      target_compile_definitions(msm3d_native PRIVATE MSM3D_HAS_AMX)
      add_instruction_set(amx DEFINE MSM3D_AVX512 MSM3D_BF16 MSM3D_AMX
                          FLAGS ${avx512} ${quiet} -mavx512bf16 -mamx-tile -mamx-bf16)
      target_sources(msm3d_amx PRIVATE ${source}/amx.cpp ${source}/amx_gradient.cpp)
    endif()
  endif()
elseif(processor MATCHES "^(aarch64|arm64)$")
  target_compile_definitions(msm3d_native PRIVATE MSM3D_HAS_NEON)
  add_instruction_set(neon DEFINE MSM3D_NEON)
endif()

# libgomp is linked by its plain name, so that a process that has torch's copy loaded keeps one runtime.
if(OpenMP_CXX_FOUND)
  target_link_libraries(msm3d_native PRIVATE OpenMP::OpenMP_CXX)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT WIN32 AND NOT MSM3D_SANITIZE)
  target_link_options(msm3d_native PRIVATE -static-libstdc++ -static-libgcc -Wl,--exclude-libs,ALL)
endif()

if(MSM3D_SANITIZE)
  target_compile_definitions(msm3d_native PRIVATE MSM3D_KEPT=0)  # each call's memory has its own end
  add_executable(msm3d_driver tests/csrc/driver.cpp)
  target_include_directories(msm3d_driver PRIVATE ${source})
  target_compile_options(msm3d_driver PRIVATE ${common})
  target_link_libraries(msm3d_driver PRIVATE msm3d_native)
  target_link_options(msm3d_native PRIVATE -fsanitize=${MSM3D_SANITIZE})
  target_link_options(msm3d_driver PRIVATE -fsanitize=${MSM3D_SANITIZE})
elseif(DEFINED SKBUILD)
  install(TARGETS msm3d_native LIBRARY DESTINATION msm3d RUNTIME DESTINATION msm3d)
else()
  set_target_properties(msm3d_native PROPERTIES
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/msm3d
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/msm3d)
endif()
