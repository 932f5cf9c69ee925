# One function per kind of thing, so that a folder's CMakeLists.txt is a line or two and no list of files is kept by hand.

add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wno-sign-conversion;-Werror>")
# g++ 12 sees overlaps in std::string's operator+ and replace that aren't there (gcc.gnu.org/PR105651).
add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-restrict>)
# One rounding for one expression, whatever the compiler: contraction is written out (std::fma) where it is wanted.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
if(TRIMETER_CUDA)
  # nvcc's own host code breaks -Wpedantic, -Wshadow and -Wconversion.
  add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror,-ffp-contract=off>")
endif()
# What is tested is in the libraries; the tests themselves take longer to optimize than to run.
set(TM_TEST_FLAGS -O0)
if(TRIMETER_SANITIZE)
  # Nor is undefined behaviour looked for in the tests' own lines and in what headers inline there: it is a fifth of their
  # build.
  list(APPEND TM_TEST_FLAGS -fno-sanitize=undefined)
  # Kernels are intrinsics on plain pointers: ASan sees what goes wrong there, and UBSan's checks double their build.
  set(TM_KERNEL_FLAGS -fno-sanitize=undefined)
  add_compile_options(-fsanitize=${TRIMETER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  # Null pointers ASan finds, too; both checks cost a third of the time to build.
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-fno-sanitize=vptr,null>)
  add_link_options(-fsanitize=${TRIMETER_SANITIZE})
  # g++ 12 under ASan takes members of std::regex for uninitialized (gcc.gnu.org/PR105562).
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()

if(TRIMETER_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)  # coverage of the libraries is what guides the fuzzer
  set(TM_KERNEL_FLAGS -O0 -fno-sanitize=all)  # targets parse and run no kernel, which take half of the time to build
endif()

# The ISAs that a kernel source is compiled for; the order is the order of preference, worst first (base/cpu.h).
set(TM_ISA_FLAGS_scalar "")
set(TM_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(TM_ISA_FLAGS_avx512 -mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl)
set(TM_ISA_FLAGS_avx512_bf16 ${TM_ISA_FLAGS_avx512} -mavx512vnni -mavx512bf16 -mavx512vbmi)
# GCC 12's AVX-512 headers start from registers left undefined on purpose, and it warns of them (GCC bug 105593).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND TM_ISA_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
  list(APPEND TM_ISA_FLAGS_avx512_bf16 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
set(TM_ISAS scalar avx2 avx512 avx512_bf16)

# tm_library(NAME DEPS ...): a static library trimeter_NAME of every *.cc in this folder and below, and one gtest program
# per *_test.cc. What lies in a folder named cuda/, *.cu too, is compiled with TRIMETER_CUDA alone; its tests need a card,
# skip themselves where there is none, and are labelled gpu. Files named *_isa.cc are compiled once per ISA with TM_ISA set to its name; they may use nothing but
# plain types and intrinsics (tests/check_symbols.py says why).
function(tm_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;TEST_DEPS;CUDA_DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} *.cc *.cu)
  if(NOT TRIMETER_CUDA)
    list(FILTER sources EXCLUDE REGEX "(^|/)cuda/")
  endif()
  set(tests ${sources})
  set(isa_sources ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER isa_sources INCLUDE REGEX "_isa\\.cc$")
  list(FILTER sources EXCLUDE REGEX "(_test|_isa)\\.cc$")
  set(target trimeter_${name})
  if(sources OR isa_sources)
    add_library(${target} STATIC ${sources})
    set(scope PUBLIC)
    foreach(isa ${TM_ISAS})
      if(isa_sources)
        add_library(${target}_${isa} OBJECT ${isa_sources})
        target_include_directories(${target}_${isa} PRIVATE ${PROJECT_SOURCE_DIR}/src)
        target_compile_definitions(${target}_${isa} PRIVATE TM_ISA=${isa} TM_ISA_${isa}=1)
        target_compile_options(${target}_${isa} PRIVATE ${TM_ISA_FLAGS_${isa}} ${TM_KERNEL_FLAGS})
        target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${isa}>)
      endif()
    endforeach()
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope} ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${target} ${scope} ${ARG_DEPS} fmt::fmt)
  # Those alone that have something of CUDA: all others compile as they do without it.
  set(cuda_sources ${sources} ${tests})
  list(FILTER cuda_sources INCLUDE REGEX "(^|/)cuda/")
  if(cuda_sources AND NOT scope STREQUAL "INTERFACE")
    target_compile_definitions(${target} PRIVATE TM_CUDA)
    target_link_libraries(${target} PRIVATE CUDA::cudart_static ${ARG_CUDA_DEPS})
  endif()
  foreach(test ${tests})
    get_filename_component(test_name ${test} NAME_WE)
    add_executable(${test_name} ${test})
    target_link_libraries(${test_name} PRIVATE ${target} ${ARG_TEST_DEPS} GTest::gtest GTest::gtest_main)
    if(cuda_sources)
      target_compile_definitions(${test_name} PRIVATE TM_CUDA)
      target_link_libraries(${test_name} PRIVATE CUDA::cudart_static)
    endif()
    target_compile_options(${test_name} PRIVATE ${TM_TEST_FLAGS})
    if(test MATCHES "(^|/)cuda/")
      tm_add_test(${test_name} gpu)
      set_property(GLOBAL APPEND_STRING PROPERTY TM_GPU_TESTS "${test_name}\n")
    else()
      tm_add_test(${test_name} unit)
    endif()
  endforeach()
endfunction()

function(tm_add_test name label)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 1800
    ENVIRONMENT "TRIMETER_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()
