# Puts the kernels into a C++ file as one text, in the order in which they build on each other. Each part is a literal of
# its own, so that no compiler's limit for one is met.
set(KVFOLD_METAL_TEXT_PARTS layout.h types.metal rope.metal q8_sums.metal fold.metal copy.metal rows.metal score.metal
  attend.metal fit.metal)
set(KVFOLD_METAL_TEXT_FOLDER ${CMAKE_CURRENT_LIST_DIR})

function(kvfold_metal_kernel_text output)
  set(text "// Made by kernel_text.cmake: the text of the Metal kernels.\n#include \"metal/device.h\"\n\n")
  string(APPEND text "const char *const kvfold::metal::kKernelText =\n")
  foreach(part IN LISTS KVFOLD_METAL_TEXT_PARTS)
    file(READ ${KVFOLD_METAL_TEXT_FOLDER}/${part} content)
    string(APPEND text "R\"KVFOLD(${content})KVFOLD\"\n")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${KVFOLD_METAL_TEXT_FOLDER}/${part})
  endforeach()
  string(APPEND text ";\n")
  file(GENERATE OUTPUT ${output} CONTENT "${text}")
endfunction()
