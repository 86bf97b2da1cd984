option(INGOT_WERROR "Warnings are errors" OFF)

function(ingot_warnings target)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Wcast-qual -Wformat=2 -Wswitch-enum
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>
    $<$<C_COMPILER_ID:Clang>:-Wno-gnu-statement-expression -Wno-language-extension-token>
    $<$<BOOL:${INGOT_WERROR}>:-Werror>)
endfunction()

if(INGOT_SANITIZE)
  add_compile_options(-fsanitize=${INGOT_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${INGOT_SANITIZE})
endif()
